//! Bounds of a look at processes.

use std::time::Duration;

/// Time that a process has to get through the part of execve(2) in which it has no environment
/// yet: microseconds, unless the processors are taken or its file system does not answer.
pub const EXEC_SETTLE: Duration = Duration::from_millis(500);

/// Bytes that are read of an environment; the kernel takes less, 6 MiB with the arguments (execve(2)).
pub const MAX_ENVIRONMENT_BYTES: usize = 8 << 20;
