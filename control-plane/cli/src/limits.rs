//! Bounds of the command line.

use std::time::Duration;

/// Bytes of a file or archive in one message. The contract allows 1 MiB; a
/// quarter keeps a slow line's progress visible.
pub(crate) const CHUNK_BYTES: usize = 256 * 1024;
/// Messages that wait between disk and network, so that neither waits for the other.
pub(crate) const CHUNKS_IN_FLIGHT: usize = 4;
/// Pages of a file that are asked for ahead of the one that is being written.
pub(crate) const PAGES_IN_FLIGHT: usize = 4;
/// Largest source of a project, in bytes as they are sent; the contract's bound.
pub(crate) const MAX_SOURCE_BYTES: u64 = 4 * 1024 * 1024 * 1024;
/// Largest file of a project, in bytes: the specs of its containers, with room.
pub(crate) const MAX_PROJECT_FILE_BYTES: u64 = 1024 * 1024;
/// Largest answer that is taken, in bytes: a page of projects with large specs.
pub(crate) const MAX_ANSWER_BYTES: usize = 64 * 1024 * 1024;
/// Bytes of one HTTP/2 frame that is taken: a whole message of a command's output with its head.
pub(crate) const HTTP2_FRAME_BYTES: u32 = 128 * 1024;
/// Items asked for in one page of a listing of files: the contract's most.
pub(crate) const FILES_PAGE: u32 = 1_000;
/// Projects or snapshots in one page of a listing: their specs and labels are large.
pub(crate) const PAGE: u32 = 100;
/// How long a verb waits for a project by itself. A final snapshot of a large tree takes minutes.
pub(crate) const FOLLOW_SECONDS: u32 = 600;
/// How long a project that is degraded may take to mend itself before a verb that
/// waits for it says so: the server's first five attempts at a start.
pub(crate) const MEND_PATIENCE: Duration = Duration::from_secs(20);
/// Longest that may be asked for: a day.
pub(crate) const MAX_FOLLOW_SECONDS: u32 = 86_400;
/// How long a question of `doctor` may take: an answer that is slower is its own finding.
pub(crate) const DOCTOR_PATIENCE: Duration = Duration::from_secs(5);
/// How far the clocks of client and server may be apart before tokens, which
/// live 15 minutes at most and are taken with a leeway of 30 s, begin to fail.
pub(crate) const MAX_CLOCK_DIFFERENCE: Duration = Duration::from_secs(30);
