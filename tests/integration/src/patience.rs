//! How long is waited for what.

use std::time::{Duration, Instant};

/// Longest run of one verb of the command line: a cold image on a busy node.
pub(crate) const VERB_PATIENCE: Duration = Duration::from_secs(300);
/// Longest wait for something that shows nowhere but where it is looked for.
pub(crate) const LOOK_PATIENCE: Duration = Duration::from_secs(120);
/// Longest wait for an answer that the next look may have: a request that was on its way when its route was closed
/// is answered by nobody.
pub(crate) const ANSWER_PATIENCE: Duration = Duration::from_secs(10);
/// Time between two looks.
pub(crate) const LOOK: Duration = Duration::from_millis(100);
/// Longest time of one case.
pub(crate) const CASE_PATIENCE: Duration = Duration::from_secs(600);

/// Looks until a look finds what it is for; each other one says what it saw instead.
///
/// # Panics
///
/// With the last of these words, where nothing is found within [`LOOK_PATIENCE`].
pub(crate) async fn eventually<T, F: Future<Output = Result<T, String>>>(mut look: impl FnMut() -> F) -> T {
    let deadline = Instant::now() + LOOK_PATIENCE;
    loop {
        match look().await {
            Ok(found) => return found,
            Err(saw) => assert!(Instant::now() < deadline, "{saw}"),
        }
        tokio::time::sleep(LOOK).await;
    }
}

/// What a look says that found it `is` so, or else saw `saw`.
pub(crate) fn seen(is: bool, saw: impl FnOnce() -> String) -> Result<(), String> {
    if is { Ok(()) } else { Err(saw()) }
}
