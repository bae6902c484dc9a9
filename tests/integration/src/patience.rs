//! How long is waited for what.

use std::time::Duration;

/// Longest run of one verb of the command line: a cold image on a busy node.
pub(crate) const VERB_PATIENCE: Duration = Duration::from_secs(300);
/// Longest wait for something that shows nowhere but where it is looked for.
pub(crate) const LOOK_PATIENCE: Duration = Duration::from_secs(120);
/// Time between two looks.
pub(crate) const LOOK: Duration = Duration::from_millis(100);
/// Longest time of one case.
pub(crate) const CASE_PATIENCE: Duration = Duration::from_secs(600);
