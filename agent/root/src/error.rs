//! [`RootError`]: why a path does not lead to what was asked for.

use remora_proto_model::{Fault, Reason, errno_reason};
use rustix::io::Errno;

use crate::RelPath;

/// Why a path was refused or could not be acted on.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RootError {
    /// The path is none a client may name.
    #[error("the path \"{path}\" is not accepted: {problem}")]
    PathInvalid {
        /// The path, escaped for a message.
        path: String,
        /// What is wrong with it.
        problem: &'static str,
    },
    /// Following the path would leave the root.
    #[error("the path \"{path}\" leads out of the workspace through a symbolic link")]
    Escapes {
        /// The path, escaped for a message.
        path: String,
    },
    /// More links than any honest path has, or a link of procfs that is none.
    #[error("the path \"{path}\" passes too many symbolic links or a link of /proc, which is never followed")]
    Loop {
        /// The path, escaped for a message.
        path: String,
    },
    /// Something else than a regular file is there.
    #[error("\"{path}\" is a {kind}, not a regular file")]
    NotRegular {
        /// The path, escaped for a message.
        path: String,
        /// What is there, in a word.
        kind: &'static str,
    },
    /// A directory is there where a file was wanted.
    #[error("\"{path}\" is a directory")]
    IsDirectory {
        /// The path, escaped for a message.
        path: String,
    },
    /// The system refused.
    #[error("cannot {action} \"{path}\": {errno}")]
    System {
        /// What was tried, as a verb.
        action: &'static str,
        /// The path, escaped for a message.
        path: String,
        /// The system's answer.
        errno: Errno,
    },
}

impl RootError {
    /// The error of `action` on `path` that the system answered with `errno`.
    pub fn system(action: &'static str, path: &RelPath, errno: Errno) -> Self {
        match errno {
            Errno::XDEV => RootError::Escapes { path: path.to_string() },
            Errno::LOOP => RootError::Loop { path: path.to_string() },
            errno => RootError::System { action, path: path.to_string(), errno },
        }
    }

    /// The system error behind it, where there is one.
    pub fn errno(&self) -> Option<Errno> {
        match self {
            RootError::System { errno, .. } => Some(*errno),
            _ => None,
        }
    }

    /// Whether the path leads to nothing.
    pub fn is_not_found(&self) -> bool {
        self.errno() == Some(Errno::NOENT)
    }

    /// The stable word for it.
    pub fn reason(&self) -> Reason {
        match self {
            RootError::PathInvalid { .. } => Reason::PathInvalid,
            RootError::Escapes { .. } => Reason::PathEscapesRoot,
            RootError::Loop { .. } => Reason::SymlinkLoop,
            RootError::NotRegular { .. } => Reason::NotARegularFile,
            RootError::IsDirectory { .. } => Reason::IsADirectory,
            RootError::System { errno, .. } => errno_reason(errno.raw_os_error()),
        }
    }

    fn hint(&self) -> &'static str {
        match self.reason() {
            Reason::PathInvalid => "send a path relative to the workspace, for example src/main.ts",
            Reason::PathEscapesRoot => "only what lies in the workspace can be reached; use ReadLink to see the target",
            Reason::SymlinkLoop => "use ReadLink on its components to see where they lead",
            Reason::NotARegularFile => "only regular files have content; use Stat to see what is there",
            Reason::IsADirectory => "use List for its entries",
            Reason::NotFound => "use List on its directory to see what exists",
            Reason::NotADirectory => "use Stat on its components to see which one is a file",
            Reason::NoSpace => "free some space in the workspace and repeat the call",
            _ => "",
        }
    }
}

impl From<RootError> for Fault {
    fn from(error: RootError) -> Fault {
        let fault = Fault::new(error.reason(), error.to_string()).hint(error.hint());
        match error.errno() {
            Some(errno) => fault.errno(errno.raw_os_error()),
            None => fault,
        }
    }
}
