//! What a caller is told of a shim's error. Its reason must be one that the call
//! can have, its words are shown escaped and clipped, and what only concerns the
//! agent and the shim stays between them.

use remora_agent_term::visible;
use remora_proto::{
    fault::carried,
    model::{ContainerName, Effect, Fault, Reason},
};
use tonic::{Code, Status};

use super::Call;
use crate::limits::{SHIM_RETRY_AFTER, SHIM_TEXT_CHARACTERS};

pub(super) fn told(container: &ContainerName, status: &Status, call: Call) -> Fault {
    let unknown = if call == Call::Changes { Effect::MayHaveApplied } else { Effect::NotApplied };
    // A shim of ours explains each refusal. What comes without is the transport's
    // word for a connection that broke, or for an answer that nobody may give.
    let fault = carried(status).unwrap_or_else(|| {
        let broke = matches!(
            status.code(),
            Code::Unavailable | Code::Unknown | Code::Cancelled | Code::Internal | Code::DeadlineExceeded
        );
        let reason = if broke { Reason::Unavailable } else { Reason::ProtocolViolation };
        Fault::new(reason, status.message().to_owned())
    });
    match fault.reason {
        Reason::InvalidArgument
        | Reason::NotFound
        | Reason::OutOfRange
        | Reason::LimitReached
        | Reason::IdempotencyKeyReused
        | Reason::WriterTaken
        | Reason::ProgramNotFound
        | Reason::ProgramNotPermitted
        | Reason::ProgramNotExecutable
        | Reason::WorkingDirectoryInvalid
        | Reason::ProcessLimitReached
        | Reason::SessionEnded
        | Reason::IoError
        // Of the folder that a program is to be kept in.
        | Reason::FailedPrecondition
        | Reason::PathInvalid
        | Reason::PathEscapesRoot
        | Reason::SymlinkLoop
        | Reason::NotADirectory
        | Reason::AccessDenied => {
            let mut told = Fault::new(fault.reason, clipped(&fault.message)).hint(clipped(&fault.hint));
            told.errno = fault.errno.filter(|number| (1..4_096).contains(number));
            told.retry_after = fault.retry_after.map(|wait| wait.min(SHIM_RETRY_AFTER));
            told
        }
        Reason::Unavailable | Reason::Cancelled | Reason::DeadlineExceeded | Reason::Internal => Fault::new(
            Reason::ContainerUnavailable,
            format!("the connection to the shim of container {container} broke during the call"),
        )
        .hint("terminals and commands live on where only the agent was restarted; call again")
        .effect(unknown)
        .retry_after(SHIM_RETRY_AFTER),
        Reason::ContainerUnavailable => {
            Fault::new(Reason::ContainerUnavailable, format!("container {container} is being stopped"))
                .hint("WatchStatus tells when it is reachable again")
                .retry_after(SHIM_RETRY_AFTER)
        }
        Reason::CredentialsMissing | Reason::CredentialsInvalid => {
            Fault::new(Reason::ContainerUnavailable, format!("the shim of container {container} refuses the agent"))
                .hint("it was started with another secret; restart the container")
                .retry_after(SHIM_RETRY_AFTER)
        }
        other => {
            tracing::warn!(%container, reason = %other, "the shim answered with a reason that the call cannot have");
            Fault::new(Reason::ProtocolViolation, format!("the shim of container {container} broke the protocol"))
                .effect(unknown)
        }
    }
}

/// For a shim that does not answer, or falls silent within its answer.
pub(super) fn silent(container: &ContainerName, call: Call) -> Fault {
    let effect = if call == Call::Changes { Effect::MayHaveApplied } else { Effect::NotApplied };
    Fault::new(Reason::ContainerUnavailable, format!("the shim of container {container} did not answer in time"))
        .hint("if it happens again, restart the container")
        .effect(effect)
        .retry_after(SHIM_RETRY_AFTER)
}

fn clipped(text: &str) -> String {
    visible(text).chars().take(SHIM_TEXT_CHARACTERS).collect()
}

#[cfg(test)]
mod tests {
    use remora_proto::fault::to_status;

    use super::*;

    fn check(fault: Fault) -> Fault {
        told(&"dev".parse().unwrap(), &to_status(&fault), Call::Changes)
    }

    #[test]
    fn only_reasons_of_the_calls_pass_and_their_words_are_escaped() {
        let passed = check(Fault::new(Reason::ProgramNotFound, "no \u{1b}[31mred\n").hint("x").errno(2));
        assert_eq!((passed.reason, passed.errno), (Reason::ProgramNotFound, Some(2)));
        assert!(!passed.message.chars().any(char::is_control), "{}", passed.message);
        for reason in [Reason::CredentialsInvalid, Reason::Unavailable, Reason::Internal] {
            assert_eq!(check(Fault::new(reason, "x")).reason, Reason::ContainerUnavailable, "{reason}");
        }
        for reason in [Reason::VerbNotGranted, Reason::ProjectNotReady, Reason::LineageFenced] {
            let told = check(Fault::new(reason, "a lie"));
            assert_eq!(told.reason, Reason::ProtocolViolation, "{reason}");
            assert!(!told.message.contains("lie"));
        }
        let long = check(Fault::new(Reason::IoError, "é".repeat(5_000)));
        assert_eq!(long.message.chars().count(), SHIM_TEXT_CHARACTERS);
    }

    #[test]
    fn what_is_not_explained_is_no_reason_of_a_call() {
        let name = "dev".parse().unwrap();
        for status in [
            Status::out_of_range("decoded message length too large"),
            Status::resource_exhausted("more"),
            Status::not_found("nothing"),
            Status::unimplemented("no such method"),
        ] {
            assert_eq!(told(&name, &status, Call::Reads).reason, Reason::ProtocolViolation, "{status:?}");
        }
        for status in [Status::internal("h2"), Status::unknown("h2"), Status::cancelled("h2")] {
            assert_eq!(told(&name, &status, Call::Reads).reason, Reason::ContainerUnavailable, "{status:?}");
        }
    }

    #[test]
    fn a_broken_connection_leaves_open_only_what_changes_something() {
        let status = Status::unavailable("connection reset");
        let name = "dev".parse().unwrap();
        assert_eq!(told(&name, &status, Call::Changes).effect, Effect::MayHaveApplied);
        assert_eq!(told(&name, &status, Call::Reads).effect, Effect::NotApplied);
        assert!(told(&name, &status, Call::Reads).retry_after.is_some());
    }
}
