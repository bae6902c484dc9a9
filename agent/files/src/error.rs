//! [`FileError`]: why a file operation did nothing.

use remora_agent_root::{RelPath, RootError};
use remora_proto_model::{Effect, Fault, Reason};
use rustix::io::Errno;

/// Why a file operation was refused or failed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FileError {
    /// The path, or the system.
    #[error(transparent)]
    Path(#[from] RootError),
    /// What was asked for does not fit what is there.
    #[error("{message}")]
    Refused {
        /// The stable word.
        reason: Reason,
        /// What was wrong.
        message: String,
        /// What to do next.
        hint: String,
    },
    /// Something failed after the change was made, in whole or in part.
    #[error("{cause}; {done}")]
    Applied {
        /// What failed.
        cause: Box<FileError>,
        /// What had been done by then and stays.
        done: String,
        /// What to do next.
        hint: String,
    },
}

impl FileError {
    pub(crate) fn refused(reason: Reason, message: impl Into<String>, hint: impl Into<String>) -> Self {
        FileError::Refused { reason, message: message.into(), hint: hint.into() }
    }

    /// This error of something that came after the change `done`.
    pub(crate) fn after(self, done: impl Into<String>, hint: impl Into<String>) -> Self {
        FileError::Applied { cause: Box::new(self), done: done.into(), hint: hint.into() }
    }

    /// The error of `action` on `path` once its directory is resolved: EXDEV is
    /// then a border of file systems and no escape.
    pub(crate) fn system(action: &'static str, path: &RelPath, errno: Errno) -> Self {
        FileError::Path(RootError::System { action, path: path.to_string(), errno })
    }

    /// The stable word for it.
    pub fn reason(&self) -> Reason {
        match self {
            FileError::Path(error) => error.reason(),
            FileError::Refused { reason, .. } => *reason,
            FileError::Applied { cause, .. } => cause.reason(),
        }
    }
}

impl From<FileError> for Fault {
    fn from(error: FileError) -> Fault {
        match error {
            FileError::Path(error) => error.into(),
            FileError::Refused { reason, message, hint } => Fault::new(reason, message).hint(hint),
            FileError::Applied { cause, done, hint } => {
                let fault = Fault::from(*cause);
                let message = format!("{}; {done}", fault.message);
                Fault { message: message.into(), hint: hint.into(), effect: Effect::Applied, ..fault }
            }
        }
    }
}
