//! [`SnapshotError`]: why a snapshot was not made, restored or read.

use remora_agent_root::{RelPath, RootError};
use remora_proto_model::{Effect, Fault, Reason, errno_reason};
use rustix::io::Errno;

use crate::store::StoreError;

/// See the module.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SnapshotError {
    /// The object store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The workspace's root or a path in it was refused.
    #[error(transparent)]
    Path(#[from] RootError),
    /// The system refused something in the workspace.
    #[error("cannot {action} \"{path}\": {errno}")]
    File {
        /// What was tried, as a verb.
        action: &'static str,
        /// The path, escaped for a message.
        path: String,
        /// The system's answer.
        errno: Errno,
    },
    /// An object is missing or is not what was stored.
    #[error("the stored object {object} is damaged: {problem}")]
    Damaged {
        /// Its key.
        object: String,
        /// What is wrong with it.
        problem: String,
    },
    /// An object is of a version that this code does not know.
    #[error("the stored object {object} has format version {version}; this version reads 1")]
    Unsupported {
        /// Its key.
        object: String,
        /// What it says.
        version: u8,
    },
    /// The lineage is encrypted and no key was supplied.
    #[error("the snapshots are encrypted and no key was supplied")]
    KeyMissing,
    /// The supplied key does not fit the lineage.
    #[error("{problem}")]
    KeyWrong {
        /// In which way.
        problem: &'static str,
    },
    /// A newer generation has taken the lineage over.
    #[error("generation {own} no longer owns the snapshots: generation {found} has taken them over")]
    Fenced {
        /// This writer's.
        own: u64,
        /// The newer one.
        found: u64,
    },
    /// Other writers of the same generation kept being faster.
    #[error("other writers committed {tries} snapshots while this one was being written")]
    Conflict {
        /// How often it tried.
        tries: u32,
    },
    /// The root was sent and whether it was stored is not known.
    #[error("whether snapshot {snapshot} was committed is unknown: {detail}")]
    OutcomeUnknown {
        /// Its id.
        snapshot: String,
        /// The last answer.
        detail: String,
    },
    /// It took so long that what it builds on may be gone.
    #[error("the snapshot was not committed within {hours} hours of its beginning")]
    TooSlow {
        /// The bound.
        hours: u64,
    },
    /// There is no such snapshot.
    #[error("there is no snapshot {snapshot}")]
    NotFound {
        /// Its id.
        snapshot: String,
    },
    /// There is no snapshot at all.
    #[error("there is no snapshot yet")]
    Empty,
    /// A value is not one that can be.
    #[error("{what} {value:?} {problem}")]
    Invalid {
        /// The field.
        what: &'static str,
        /// What was given, shortened.
        value: String,
        /// What is wrong with it and what is right.
        problem: &'static str,
    },
    /// A rule does not compile.
    #[error("{place}: {problem}")]
    Rule {
        /// Where it stands.
        place: String,
        /// What is wrong with it.
        problem: String,
    },
    /// Something is larger than its bound.
    #[error("{what} ({found}) goes beyond the limit of {limit}{}", at(path))]
    TooLarge {
        /// What.
        what: &'static str,
        /// How large it is, as far as it was counted.
        found: u64,
        /// The bound.
        limit: u64,
        /// The path where it was noticed, escaped; empty where none is.
        path: String,
    },
    /// The folder beside the workspace could not be read or written.
    #[error("cannot {action}: {detail}")]
    State {
        /// What was tried, as a verb.
        action: &'static str,
        /// The system's answer.
        detail: String,
    },
    /// Whoever a snapshot is exported for does not take it.
    #[error("the archive was not taken: {detail}")]
    Output {
        /// What became of it.
        detail: String,
        /// Whether they are only too slow.
        slow: bool,
    },
    /// The caller asked for it to stop.
    #[error("the operation was cancelled")]
    Cancelled,
    /// Something that cannot happen did.
    #[error("internal defect: {what}")]
    Defect {
        /// What.
        what: &'static str,
    },
}

fn at(path: &str) -> String {
    if path.is_empty() { String::new() } else { format!(" at \"{path}\"") }
}

impl SnapshotError {
    /// Damage of `object`.
    pub fn damaged(object: &str, problem: impl Into<String>) -> Self {
        SnapshotError::Damaged { object: object.to_owned(), problem: problem.into() }
    }

    /// The system's refusal of `action` at `path` of the workspace.
    pub fn file(action: &'static str, path: &[u8], errno: Errno) -> Self {
        SnapshotError::File { action, path: shown(path), errno }
    }

    /// The stable word for it.
    pub fn reason(&self) -> Reason {
        match self {
            SnapshotError::Store(error) => error.reason(),
            SnapshotError::Path(error) => error.reason(),
            SnapshotError::File { errno, .. } => errno_reason(errno.raw_os_error()),
            SnapshotError::Damaged { .. } => Reason::SnapshotDamaged,
            SnapshotError::Unsupported { .. } => Reason::FormatUnsupported,
            SnapshotError::KeyMissing => Reason::KeyMissing,
            SnapshotError::KeyWrong { .. } => Reason::KeyWrong,
            SnapshotError::Fenced { .. } => Reason::LineageFenced,
            SnapshotError::Conflict { .. } => Reason::Conflict,
            SnapshotError::OutcomeUnknown { .. } => Reason::StoreUnavailable,
            SnapshotError::TooSlow { .. } => Reason::DeadlineExceeded,
            SnapshotError::NotFound { .. } | SnapshotError::Empty => Reason::NotFound,
            SnapshotError::Invalid { .. } => Reason::InvalidArgument,
            SnapshotError::Rule { .. } => Reason::PatternInvalid,
            SnapshotError::TooLarge { .. } => Reason::TooLarge,
            SnapshotError::State { .. } => Reason::IoError,
            SnapshotError::Output { slow: true, .. } => Reason::DeadlineExceeded,
            SnapshotError::Cancelled | SnapshotError::Output { .. } => Reason::Cancelled,
            SnapshotError::Defect { .. } => Reason::Internal,
        }
    }

    /// Whether anything was changed for good.
    pub fn effect(&self) -> Effect {
        match self {
            SnapshotError::OutcomeUnknown { .. } | SnapshotError::Store(StoreError::OutcomeUnknown { .. }) => {
                Effect::MayHaveApplied
            }
            _ => Effect::NotApplied,
        }
    }

    fn hint(&self) -> &'static str {
        match self {
            SnapshotError::Damaged { .. } => {
                "verify the lineage to learn which snapshots are affected, and restore another one"
            }
            SnapshotError::Unsupported { .. } => "use a newer version of Remora",
            SnapshotError::KeyMissing => "supply the key that the snapshots were made with",
            SnapshotError::KeyWrong { .. } => "supply the key that this lineage began with, or begin a new lineage",
            SnapshotError::Fenced { .. } => {
                "this agent stops making snapshots; what it committed before is kept, and the new owner goes on"
            }
            SnapshotError::Conflict { .. } | SnapshotError::Output { .. } => "repeat the call",
            SnapshotError::OutcomeUnknown { .. } => "list the snapshots to see whether it is there",
            SnapshotError::TooSlow { .. } => "check how fast the store takes uploads, then repeat",
            SnapshotError::NotFound { .. } => "list the snapshots to see which exist",
            SnapshotError::Empty => "make one first",
            SnapshotError::Rule { .. } => "correct the pattern; it is written as in .gitignore",
            SnapshotError::State { .. } => "check the state folder, its disk and its rights, then repeat",
            SnapshotError::TooLarge { .. } => "remove it, leave it out with .remoraignore, or raise the limit",
            SnapshotError::File { errno: Errno::ACCESS | Errno::PERM, .. } => {
                "make it readable for the agent, or leave it out with .remoraignore"
            }
            SnapshotError::File { errno: Errno::IO, .. } => {
                "the disk could not read it; leave it out with .remoraignore to save the rest"
            }
            _ => "",
        }
    }
}

impl From<SnapshotError> for Fault {
    fn from(error: SnapshotError) -> Fault {
        match error {
            SnapshotError::Store(error) => error.into(),
            SnapshotError::Path(error) => error.into(),
            error => {
                let fault = Fault::new(error.reason(), error.to_string()).hint(error.hint()).effect(error.effect());
                match error {
                    SnapshotError::File { errno, .. } => fault.errno(errno.raw_os_error()),
                    _ => fault,
                }
            }
        }
    }
}

/// A path of the workspace as messages show it.
pub fn shown(path: &[u8]) -> String {
    match RelPath::new(path) {
        Ok(path) if path.is_root() => ".".to_owned(),
        Ok(path) => path.to_string(),
        Err(_) => path.escape_ascii().take(200).map(char::from).collect(),
    }
}
