//! Bounds of the control plane's runtime. Each says its unit and its reason.

use std::time::Duration;

/// Projects on one server: each has a driver task and, while it runs, a status
/// stream and two processes at least, so this is past what one machine carries.
pub const MAX_PROJECTS: usize = 1_000;

/// Changes of projects that a slow watcher may be behind before it has to list
/// again: about a minute of a busy server.
pub const CHANGES_BEHIND: usize = 1_024;

/// Versions that are reserved with one write to the disk, so that a status which
/// changes every few seconds costs none.
pub const VERSION_BLOCK: u64 = 4_096;

/// Largest archive that a project starts from, in bytes: what a `git clone` of a
/// large repository with its history takes, with room.
pub const MAX_SOURCE_BYTES: u64 = 4 << 30;

/// What a caller waits before it asks again for a project that is on its way, at least.
pub const NOT_READY_RETRY: Duration = Duration::from_secs(1);

/// How many similar names an error for an unknown project shows.
pub const SIMILAR_NAMES: usize = 3;
