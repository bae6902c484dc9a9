//! What a shim may answer. The user's code shares its container, so an answer is
//! checked as a stranger's request would be: what is shown is bounded and
//! escaped, what cannot be is a violation of the protocol and ends the call.

pub(crate) mod exec;
pub(crate) mod terminal;

use remora_agent_term::{
    ARGV_SHOWN_BYTES, COMMAND_LINE_CHARACTERS, CWD_BYTES, LABEL_BYTES, LABELS, NAMED_PROCESSES, SIZE_MAX, Target,
    signal_number, visible,
};
use remora_proto::{
    agent::v1::{ExitStatus, Process, SignalResponse, StreamRange, TerminalSize, exit_status::Cause},
    model::{ContainerName, Fault, Reason, SessionId},
};

/// What a shim said that it may not say; for the log.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub(crate) struct Violation(pub(crate) &'static str);

impl Violation {
    /// Logs it; the caller is told no more than that.
    pub(crate) fn fault(&self, container: &ContainerName) -> Fault {
        tracing::warn!(%container, violation = self.0, "the shim broke the protocol");
        Fault::new(Reason::ProtocolViolation, format!("the shim of container {container} broke the protocol: {self}"))
            .hint("what runs in the container may have tampered with it; restart the container")
    }
}

/// How a process ended, if it can have ended so.
pub(crate) fn exit(exit: ExitStatus) -> Result<ExitStatus, Violation> {
    let code = exit.code.is_none_or(|code| (0..=255).contains(&code));
    let signal = exit.signal.is_none_or(|number| signal_number(number).is_some());
    let shape = match exit.cause() {
        Cause::Exited => exit.code.is_some() && exit.signal.is_none(),
        Cause::Signaled | Cause::OutOfMemory | Cause::KilledByRequest => exit.code.is_none() && exit.signal.is_some(),
        Cause::TimedOut => exit.code.is_some() != exit.signal.is_some(),
        Cause::Unknown => exit.code.is_none() && exit.signal.is_none(),
        Cause::Unspecified => false,
    };
    if code && signal && shape { Ok(exit) } else { Err(Violation("an exit status that no process can have")) }
}

/// An end that nobody observed.
pub(crate) fn unknown_exit() -> ExitStatus {
    ExitStatus { cause: Cause::Unknown.into(), code: None, signal: None }
}

pub(crate) fn optional_exit(given: Option<ExitStatus>) -> Result<Option<ExitStatus>, Violation> {
    given.map(exit).transpose()
}

/// The id of a session, in its one spelling.
fn id(text: &str) -> Result<SessionId, Violation> {
    text.parse().map_err(|_| Violation("an id that is no UUID"))
}

/// The session that was asked for.
fn same_id(text: &str, asked: &str) -> Result<(), Violation> {
    if id(text)?.to_string() == asked { Ok(()) } else { Err(Violation("another session than was asked for")) }
}

/// How many got a signal.
pub(crate) fn signalled(target: Target, answer: SignalResponse) -> Result<SignalResponse, Violation> {
    if answer.delivered <= 1 || target == Target::Tree {
        return Ok(answer);
    }
    Err(Violation("a signal for one that many got"))
}

fn range(given: Option<StreamRange>) -> Result<StreamRange, Violation> {
    match given {
        Some(range) if range.base <= range.head => Ok(range),
        _ => Err(Violation("a range of bytes that ends before it begins")),
    }
}

fn size(given: Option<TerminalSize>) -> Result<TerminalSize, Violation> {
    let bounds = 1..=u32::from(SIZE_MAX);
    match given {
        Some(size) if bounds.contains(&size.columns) && bounds.contains(&size.rows) => Ok(size),
        _ => Err(Violation("a size that no terminal has")),
    }
}

fn argv(words: &[String]) -> Result<(), Violation> {
    // The mark of what was clipped comes on top.
    let bytes: usize = words.iter().map(String::len).sum();
    if bytes <= ARGV_SHOWN_BYTES + 4 && words.len() <= ARGV_SHOWN_BYTES {
        return Ok(());
    }
    Err(Violation("an argv above its bound"))
}

fn cwd(folder: &str) -> Result<(), Violation> {
    // The workspace's own folder comes before what a caller may give.
    if folder.len() <= 2 * CWD_BYTES { Ok(()) } else { Err(Violation("a working directory above its bound")) }
}

fn labels(labels: &std::collections::HashMap<String, String>) -> Result<(), Violation> {
    let fits = |(key, value): (&String, &String)| key.len() <= LABEL_BYTES && value.len() <= LABEL_BYTES;
    if labels.len() <= LABELS && labels.iter().all(fits) { Ok(()) } else { Err(Violation("labels above their bound")) }
}

fn processes(processes: Vec<Process>) -> Vec<Process> {
    processes
        .into_iter()
        .take(NAMED_PROCESSES)
        .map(|Process { pid, command }| Process { pid, command: line(&command) })
        .collect()
}

fn line(text: &str) -> String {
    visible(text).chars().take(COMMAND_LINE_CHARACTERS).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_exit_status_is_one_that_the_kernel_gives() {
        let check = |cause: Cause, code, signal| exit(ExitStatus { cause: cause.into(), code, signal }).is_ok();
        assert!(check(Cause::Exited, Some(0), None) && check(Cause::Exited, Some(255), None));
        assert!(check(Cause::Signaled, None, Some(9)) && check(Cause::TimedOut, None, Some(15)));
        assert!(check(Cause::TimedOut, Some(0), None) && check(Cause::Unknown, None, None));
        for (cause, code, signal) in [
            (Cause::Exited, None, None),
            (Cause::Exited, Some(256), None),
            (Cause::Exited, Some(-1), None),
            (Cause::Exited, Some(0), Some(9)),
            (Cause::Signaled, None, Some(0)),
            (Cause::Signaled, None, Some(33)),
            (Cause::Signaled, Some(1), Some(9)),
            (Cause::Unknown, Some(0), None),
            (Cause::Unspecified, Some(0), None),
        ] {
            assert!(!check(cause, code, signal), "{cause:?} {code:?} {signal:?}");
        }
        assert!(exit(ExitStatus { cause: 99, code: Some(0), signal: None }).is_err());
    }
}
