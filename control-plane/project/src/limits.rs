//! Bounds of the sagas.

/// Wait after the first failure, in milliseconds: a store that hiccups is back by then.
pub const RETRY_FIRST_MS: u64 = 500;

/// Longest wait between two attempts, in milliseconds: a store that comes back
/// is noticed within half a minute.
pub const RETRY_MOST_MS: u64 = 30_000;

/// How often a pod that does not serve is mended before it is ended without the
/// snapshot that only a serving agent makes. Its tree stays until it is committed.
pub const REPAIR_ATTEMPTS: u32 = 3;
