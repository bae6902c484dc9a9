//! How a command that failed ends: its text on stderr and its exit code.

use remora_proto::fault::from_status;
use remora_proto_model::{Fault, Reason};

use crate::context::ContextError;

/// Why a verb did not do what it was asked for.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// The server or the agent refused, or could not be reached.
    #[error("{0}")]
    Fault(Fault),
    /// There is no server to ask.
    #[error(transparent)]
    Context(#[from] ContextError),
    /// A file or terminal of this machine.
    #[error("{what}: {error}")]
    Local {
        /// What was being used.
        what: String,
        /// What the system said.
        error: std::io::Error,
    },
    /// The command line is well formed and makes no sense.
    #[error("{0}")]
    Usage(String),
    /// The verb did its work and ends with this code: the exit code of a remote command.
    #[error("exit code {0}")]
    Code(u8),
}

impl Failure {
    /// A failure of this machine at `what`.
    pub(crate) fn local(what: impl Into<String>) -> impl FnOnce(std::io::Error) -> Failure {
        let what = what.into();
        move |error| Failure::Local { what, error }
    }

    /// The exit code of the process (the table of reasons, sysexits.h for the rest).
    pub fn exit_code(&self) -> u8 {
        match self {
            Failure::Fault(fault) => fault.reason.exit_code(),
            Failure::Context(_) => 78,
            Failure::Local { .. } => 74,
            Failure::Usage(_) => 64,
            Failure::Code(code) => *code,
        }
    }

    /// What to print on stderr; `None` where the remote command has said it all.
    pub fn text(&self) -> Option<String> {
        match self {
            Failure::Code(_) => None,
            other => Some(format!("error: {other}")),
        }
    }
}

impl From<tonic::Status> for Failure {
    fn from(status: tonic::Status) -> Self {
        Failure::Fault(from_status(&status))
    }
}

impl From<Fault> for Failure {
    fn from(fault: Fault) -> Self {
        Failure::Fault(fault)
    }
}

/// A server that does not answer, in words.
pub(crate) fn unreachable(server: &str, error: &dyn std::error::Error) -> Failure {
    let mut cause = error;
    while let Some(source) = cause.source() {
        cause = source;
    }
    Failure::Fault(
        Fault::new(Reason::Unavailable, format!("the server at {server} does not answer: {cause}"))
            .hint("is `remora local` running? `remora doctor` looks for the cause"),
    )
}
