//! What can go wrong here.

use std::{io, path::PathBuf};

use remora_proto_model::{Effect, Fault, Reason};

/// An error of this engine.
#[derive(Debug, thiserror::Error)]
pub enum TermError {
    /// A field of the request is wrong.
    #[error("{field}: {problem}")]
    Invalid {
        /// The field, as in the contract.
        field: &'static str,
        /// What is wrong with it.
        problem: String,
    },
    /// The program does not exist.
    #[error("there is no program {program:?} (PATH is {path:?})")]
    ProgramNotFound {
        /// As it was given.
        program: String,
        /// Where was looked.
        path: String,
    },
    /// The program may not be executed.
    #[error("{program:?} may not be executed")]
    ProgramNotPermitted {
        /// As it was given.
        program: String,
    },
    /// It is no program, or what should interpret it is missing.
    #[error("{program:?} cannot be executed: {problem}")]
    ProgramNotExecutable {
        /// As it was given.
        program: String,
        /// What is wrong with it.
        problem: String,
    },
    /// The working directory does not exist, is none or is closed to us.
    #[error("the working directory {} cannot be entered: {problem}", path.display())]
    WorkingDirectory {
        /// The directory.
        path: PathBuf,
        /// What is wrong with it.
        problem: String,
    },
    /// No process or PTY is left.
    #[error("the system has no room for another {what}: {problem}")]
    ProcessLimit {
        /// What there is no room for.
        what: &'static str,
        /// What the system said.
        problem: String,
    },
    /// A bound of ours is reached.
    #[error("{what} are limited to {limit} a container")]
    Limit {
        /// What is limited.
        what: &'static str,
        /// The bound.
        limit: usize,
        /// What to do.
        hint: &'static str,
    },
    /// The kernel cannot keep a program in a folder.
    #[error("the program cannot be kept in its folder: {problem}")]
    CannotConfine {
        /// What is missing.
        problem: String,
    },
    /// The container ends.
    #[error("the container is being stopped; nothing starts in it any more")]
    Closed,
    /// There is no such session or command.
    #[error("there is no {what} {id}")]
    NotFound {
        /// `terminal` or `command`.
        what: &'static str,
        /// As it was given.
        id: String,
    },
    /// The session has ended and takes no more input or signals.
    #[error("the {what} has ended ({how})")]
    Ended {
        /// `terminal` or `command`.
        what: &'static str,
        /// How.
        how: String,
    },
    /// Another client types.
    #[error("client {writer:?} writes to this terminal")]
    WriterTaken {
        /// That client.
        writer: String,
    },
    /// An offset or number that cannot be.
    #[error("{what} is {given}, but {problem}")]
    OutOfRange {
        /// What is out of range.
        what: &'static str,
        /// The number.
        given: u64,
        /// What there is.
        problem: String,
    },
    /// The key was used before with another request.
    #[error("the idempotency key {key:?} was used before with another request (it started {first})")]
    KeyReused {
        /// The key.
        key: String,
        /// What the first request started.
        first: String,
    },
    /// The system said no in a way that no row foresees.
    #[error("{stage}: {source}")]
    System {
        /// What was tried.
        stage: &'static str,
        /// What the system said.
        #[source]
        source: io::Error,
    },
}

impl TermError {
    /// The word for it on every surface.
    pub fn reason(&self) -> Reason {
        match self {
            TermError::Invalid { .. } => Reason::InvalidArgument,
            TermError::ProgramNotFound { .. } => Reason::ProgramNotFound,
            TermError::ProgramNotPermitted { .. } => Reason::ProgramNotPermitted,
            TermError::ProgramNotExecutable { .. } => Reason::ProgramNotExecutable,
            TermError::WorkingDirectory { .. } => Reason::WorkingDirectoryInvalid,
            TermError::ProcessLimit { .. } => Reason::ProcessLimitReached,
            TermError::Limit { .. } => Reason::LimitReached,
            TermError::CannotConfine { .. } => Reason::FailedPrecondition,
            TermError::Closed => Reason::ContainerUnavailable,
            TermError::NotFound { .. } => Reason::NotFound,
            TermError::Ended { .. } => Reason::SessionEnded,
            TermError::WriterTaken { .. } => Reason::WriterTaken,
            TermError::OutOfRange { .. } => Reason::OutOfRange,
            TermError::KeyReused { .. } => Reason::IdempotencyKeyReused,
            TermError::System { .. } => Reason::IoError,
        }
    }

    fn hint(&self) -> &'static str {
        match self {
            TermError::Invalid { .. } | TermError::System { .. } => "",
            TermError::CannotConfine { .. } => {
                "use a token that is not limited to a folder, or run the project on nodes with Linux 6.12 or later"
            }
            TermError::ProgramNotFound { .. } => "give a path, or a name that PATH of the container finds",
            TermError::ProgramNotPermitted { .. } => {
                "set its executable bit (chmod +x), or run it through its interpreter"
            }
            TermError::ProgramNotExecutable { .. } => "run it through an interpreter that exists in this container",
            TermError::WorkingDirectory { .. } => "give a directory that exists; empty is the workspace",
            TermError::ProcessLimit { .. } => "end terminals or commands that are no longer needed and try again",
            TermError::Limit { hint, .. } => hint,
            TermError::Closed => "WatchStatus tells when the container is reachable again",
            TermError::NotFound { .. } => {
                "List shows what there is; ended ones are forgotten oldest first, and all with a restart of their container"
            }
            TermError::Ended { .. } => "its output can still be read; start another one",
            TermError::WriterTaken { .. } => "attach with TAKEOVER to take the terminal over, or as VIEWER to watch",
            TermError::OutOfRange { .. } => "Get tells the offsets that exist",
            TermError::KeyReused { .. } => "use a new key for a new request",
        }
    }
}

impl From<TermError> for Fault {
    fn from(error: TermError) -> Fault {
        let errno = match &error {
            TermError::System { source, .. } => source.raw_os_error(),
            _ => None,
        };
        let mut fault = Fault::new(error.reason(), error.to_string()).hint(error.hint()).effect(Effect::NotApplied);
        fault.errno = errno;
        fault
    }
}

/// Shorthand for a wrong field.
pub(crate) fn invalid(field: &'static str, problem: impl Into<String>) -> TermError {
    TermError::Invalid { field, problem: problem.into() }
}
