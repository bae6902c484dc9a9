//! [`Store`]: the object store as the engine sees it, five requests wide.
//!
//! Keys are relative to the lineage: a store is opened over one prefix (of a
//! bucket, or a folder) and cannot name an object outside it. What an answer
//! means is decided here once: every implementation reports a [`StoreError`]
//! of the same few kinds, so that the engine's decisions hold for all of them.

mod dir;
mod faults;
mod probe;
mod retry;
mod s3;

use std::{fmt::Debug, ops::Range, time::SystemTime};

use bytes::Bytes;
use futures_util::future::BoxFuture;
use remora_proto_model::{Effect, Fault, Reason};

pub use dir::DirStore;
pub use faults::{FaultPlan, FaultyStore, Injection};
pub use probe::probe;
pub use retry::RetryingStore;
pub use s3::{S3Settings, S3Store};

/// Most objects on one page of a listing: what S3 answers at most (ListObjectsV2).
pub const LIST_PAGE_OBJECTS: usize = 1_000;

/// Longest key, in bytes, prefix included: the bound of S3.
pub const MAX_KEY_BYTES: usize = 1_024;

/// What a `put` demands of what is there already.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PutCondition {
    /// Nothing: the last writer wins. For content-addressed objects, where every
    /// writer writes the same bytes.
    Always,
    /// That no object has the key. Of any number of writers exactly one gets
    /// [`PutOutcome::Stored`].
    IfAbsent,
}

/// What became of a `put`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PutOutcome {
    /// The object is durable.
    Stored,
    /// An object has the key already; nothing was written.
    Exists,
}

/// One stored object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ObjectInfo {
    /// Its key, relative to the store's prefix.
    pub key: String,
    /// Its length in bytes.
    pub size: u64,
    /// When it was stored, by the store's clock.
    pub modified: SystemTime,
}

/// One page of a listing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ListPage {
    /// In ascending order of their keys' bytes.
    pub objects: Vec<ObjectInfo>,
    /// Whether keys follow after the last one here.
    pub more: bool,
}

/// An object store, narrowed to what the format needs.
///
/// Dropping a future abandons its request; the request may still take effect.
pub trait Store: Send + Sync + Debug {
    /// Stores `body` under `key`, whole or not at all.
    fn put(&self, key: &str, body: Bytes, condition: PutCondition) -> BoxFuture<'_, Result<PutOutcome, StoreError>>;

    /// The bytes of the object, or of `range` of it. A range that goes beyond
    /// the end is an error and never a shorter answer.
    fn get(&self, key: &str, range: Option<Range<u64>>) -> BoxFuture<'_, Result<Bytes, StoreError>>;

    /// What is known of the object, or `None` where there is none.
    fn head(&self, key: &str) -> BoxFuture<'_, Result<Option<ObjectInfo>, StoreError>>;

    /// The objects whose keys begin with `prefix`, after `start_after`, at most
    /// [`LIST_PAGE_OBJECTS`].
    fn list(&self, prefix: &str, start_after: Option<&str>) -> BoxFuture<'_, Result<ListPage, StoreError>>;

    /// Removes the object. Removing what is not there succeeds.
    fn delete(&self, key: &str) -> BoxFuture<'_, Result<(), StoreError>>;
}

/// Why a request to the store failed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum StoreError {
    /// No answer, or a server error, after every retry.
    #[error("the object store did not answer {action} {key:?}: {detail}")]
    Unavailable {
        /// The request, for example `GET`.
        action: &'static str,
        /// The key it was for.
        key: String,
        /// The last answer.
        detail: String,
    },
    /// The credentials or the action were refused.
    #[error("the object store refused {action} {key:?}: {detail}")]
    Denied {
        /// The request, for example `GET`.
        action: &'static str,
        /// The key it was for.
        key: String,
        /// What the store said.
        detail: String,
    },
    /// There is no such bucket (or folder).
    #[error("bucket {bucket:?} does not exist")]
    BucketMissing {
        /// Its name.
        bucket: String,
    },
    /// There is no such object.
    #[error("object {key:?} does not exist")]
    NotFound {
        /// The key.
        key: String,
    },
    /// The wanted range is not inside the object.
    #[error("object {key:?} has no bytes {start}..{end}")]
    OutOfRange {
        /// The key.
        key: String,
        /// First byte wanted.
        start: u64,
        /// First byte no longer wanted.
        end: u64,
    },
    /// A conditional put got no answer: the object may or may not be there.
    /// Reading it back settles which.
    #[error("whether {key:?} was stored is unknown: {detail}")]
    OutcomeUnknown {
        /// The key.
        key: String,
        /// The last answer.
        detail: String,
    },
    /// The store has no room left.
    #[error("the object store has no room for {key:?}: {detail}")]
    Full {
        /// The key.
        key: String,
        /// What the store said.
        detail: String,
    },
    /// A key, a prefix or a setting is not one a store can have.
    #[error("{what} {value:?} {problem}")]
    Invalid {
        /// The setting, or `object key`.
        what: &'static str,
        /// What was given, shortened.
        value: String,
        /// What is wrong with it and what is right.
        problem: &'static str,
    },
    /// An answer that no other kind foresees.
    #[error("the object store answered {action} {key:?} with {detail}")]
    Rejected {
        /// The request, for example `GET`.
        action: &'static str,
        /// The key it was for.
        key: String,
        /// Status and code.
        detail: String,
    },
    /// The store let more than one conditional writer win, or none.
    #[error("of {racers} writers that raced for one key {winners} won; exactly one must")]
    Unsafe {
        /// How many raced.
        racers: usize,
        /// How many were told that they won.
        winners: usize,
    },
}

impl StoreError {
    /// The stable word for it.
    pub fn reason(&self) -> Reason {
        match self {
            StoreError::Unavailable { .. } | StoreError::OutcomeUnknown { .. } | StoreError::Rejected { .. } => {
                Reason::StoreUnavailable
            }
            StoreError::Denied { .. } => Reason::StoreDenied,
            StoreError::BucketMissing { .. } => Reason::BucketMissing,
            StoreError::NotFound { .. } | StoreError::OutOfRange { .. } => Reason::SnapshotDamaged,
            StoreError::Full { .. } => Reason::NoSpace,
            StoreError::Invalid { .. } => Reason::InvalidArgument,
            StoreError::Unsafe { .. } => Reason::StoreUnsafe,
        }
    }

    /// Whether the store simply has no such object, which is an answer and not
    /// a failure where the caller did not rely on it.
    pub fn is_not_found(&self) -> bool {
        matches!(self, StoreError::NotFound { .. })
    }

    fn hint(&self) -> &'static str {
        match self {
            StoreError::Unavailable { .. } | StoreError::OutcomeUnknown { .. } => {
                "nothing that was committed is affected; check the endpoint and the network, then repeat"
            }
            StoreError::Rejected { .. } => "check that the endpoint speaks S3 and what its own log says",
            StoreError::Denied { .. } => {
                "check the credentials, their clock, and that they may get, put, list and delete below the prefix"
            }
            StoreError::BucketMissing { .. } => "create the bucket, or name an existing one",
            StoreError::NotFound { .. } | StoreError::OutOfRange { .. } => {
                "verify the lineage to learn which snapshots are affected, and restore another one"
            }
            StoreError::Full { .. } => "make room or prune old snapshots, then repeat",
            StoreError::Invalid { .. } => "",
            StoreError::Unsafe { .. } => {
                "use a store whose If-None-Match is atomic: S3, SeaweedFS, R2, Ceph RGW and RustFS have it"
            }
        }
    }
}

impl From<StoreError> for Fault {
    fn from(error: StoreError) -> Fault {
        let effect = match error {
            StoreError::OutcomeUnknown { .. } => Effect::MayHaveApplied,
            _ => Effect::NotApplied,
        };
        Fault::new(error.reason(), error.to_string()).hint(error.hint()).effect(effect)
    }
}

/// Refuses a key that is not made of plain components: a key becomes a path in
/// the directory store, and a listing decides what a restore reads.
fn check_key(key: &str) -> Result<(), StoreError> {
    let plain = |part: &str| {
        !part.is_empty()
            && !part.starts_with('.')
            && part.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.'))
    };
    if key.len() <= MAX_KEY_BYTES && key.split('/').all(plain) {
        return Ok(());
    }
    Err(StoreError::Invalid {
        what: "object key",
        value: key.chars().take(80).collect(),
        problem: "must be components of a-z, A-Z, 0-9, '-', '_' and '.' (not first), separated by '/', at most 1024 bytes",
    })
}

/// Whether `range` lies in an object of `size` bytes; the indices where it does.
fn check_range(key: &str, range: &Range<u64>, size: u64) -> Result<(), StoreError> {
    if range.start <= range.end && range.end <= size {
        return Ok(());
    }
    Err(StoreError::OutOfRange { key: key.to_owned(), start: range.start, end: range.end })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// a016: what a key may be, before it becomes a path or a URL.
    #[test]
    fn a016_keys_outside_the_grammar_are_refused() {
        let long = "a".repeat(MAX_KEY_BYTES + 1);
        for bad in ["", "/", "/a", "a/", "a//b", "..", "a/../b", ".a", "a/.b", "a b", "a\0", "é", "a?b", long.as_str()]
        {
            assert_eq!(check_key(bad).unwrap_err().reason(), Reason::InvalidArgument, "{bad:?}");
        }
        for good in ["a", "roots/00000000000000000001-1-aa", "a.b/C_d"] {
            check_key(good).unwrap();
        }
    }

    #[test]
    fn an_unknown_outcome_says_so() {
        let fault = Fault::from(StoreError::OutcomeUnknown { key: "roots/1".to_owned(), detail: "timeout".to_owned() });
        assert_eq!((fault.reason, fault.effect), (Reason::StoreUnavailable, Effect::MayHaveApplied));
    }
}
