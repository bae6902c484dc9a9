//! How a command that failed ends: its text on stderr and its exit code.

use std::{ffi::OsString, process::ExitCode};

use remora_proto::fault::from_status;
use remora_proto_model::{Effect, Fault, Reason};

use crate::{
    context::ContextError,
    output::{escape, note},
};

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
    #[error("{message}")]
    Usage {
        /// What is wrong.
        message: String,
        /// What to write instead.
        hint: String,
    },
    /// The verb did its work and ends with this code: the exit code of a remote command.
    #[error("exit code {0}")]
    Code(u8),
    /// Whoever reads standard output left, as `head` does. That is no failure.
    #[error("standard output is closed")]
    OutputClosed,
}

impl Failure {
    /// A failure of this machine at `what`.
    pub(crate) fn local(what: impl Into<String>) -> impl FnOnce(std::io::Error) -> Failure {
        let what = what.into();
        move |error| Failure::Local { what, error }
    }

    /// A command line that makes no sense.
    pub(crate) fn usage(message: impl Into<String>, hint: impl Into<String>) -> Failure {
        Failure::Usage { message: message.into(), hint: hint.into() }
    }

    /// The exit code of the process (the table of reasons, sysexits.h for the rest).
    pub fn exit_code(&self) -> u8 {
        match self {
            Failure::Fault(fault) => fault.reason.exit_code(),
            Failure::Context(_) => 78,
            Failure::Local { .. } => 74,
            Failure::Usage { .. } => 64,
            Failure::Code(code) => *code,
            Failure::OutputClosed => 0,
        }
    }

    /// What to print on stderr, `remora: …` and, where there is something to
    /// do, `hint: …`; `None` where all has been said.
    pub fn text(&self) -> Option<String> {
        let (message, hint) = match self {
            Failure::Code(_) | Failure::OutputClosed => return None,
            Failure::Fault(fault) => (fault.message.to_string(), fault_hint(fault)),
            Failure::Context(error) => (error.to_string(), error.hint().to_owned()),
            Failure::Local { .. } => (self.to_string(), String::new()),
            Failure::Usage { message, hint } => (message.clone(), hint.clone()),
        };
        let mut text = format!("remora: {}", escape(&message));
        if !hint.is_empty() {
            text.push_str(&format!("\nhint: {}", escape(&hint)));
        }
        Some(text)
    }
}

/// The fault's hint, and whether it took effect, where that is in doubt.
fn fault_hint(fault: &Fault) -> String {
    let doubt = match fault.effect {
        Effect::MayHaveApplied if fault.reason != Reason::Unavailable || fault.hint.is_empty() => {
            "it may have taken effect all the same; look before you repeat it"
        }
        Effect::Applied => "the change itself was made",
        _ => "",
    };
    match (fault.hint.is_empty(), doubt.is_empty()) {
        (true, _) => doubt.to_owned(),
        (false, true) => fault.hint.to_string(),
        (false, false) => format!("{}; {doubt}", fault.hint),
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

/// Ends the process for a command line that clap did not take: prints what was
/// wrong, or the help or version that was asked for.
pub fn refuse(error: &clap::Error, words: &[OsString]) -> ExitCode {
    match refused_line(error, words) {
        Some((text, code)) => {
            note(&text);
            ExitCode::from(code)
        }
        None => {
            // Help that nobody reads any more is no failure.
            _ = error.print();
            ExitCode::SUCCESS
        }
    }
}

/// A refused line in the form of every other failure and with the exit code of
/// the verb: 125 for `exec`, whose other codes are the command's own. Help and
/// versions are no failures: `None`.
pub(crate) fn refused_line(error: &clap::Error, words: &[OsString]) -> Option<(String, u8)> {
    if !error.use_stderr() {
        return None;
    }
    let rendered = error.render().to_string();
    if error.kind() == clap::error::ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand {
        return Some((rendered, 64));
    }
    // clap's own words, up to where it repeats the usage.
    let mut parts = rendered.lines().take_while(|line| !line.starts_with("Usage:") && !line.starts_with("For more"));
    let first = parts.next().unwrap_or_default().trim_start_matches("error: ").trim_end().to_owned();
    let mut message = first;
    let mut hints = Vec::new();
    for line in parts.map(str::trim).filter(|line| !line.is_empty()) {
        match line.strip_prefix("tip: ") {
            Some(tip) => hints.push(tip),
            None if line.starts_with('[') => hints.push(line.trim_matches(['[', ']'])),
            None if message.ends_with(':') => message = format!("{message} {line}"),
            None => message = format!("{message}, {line}"),
        }
    }
    if hints.is_empty() {
        hints.push("see `remora help` and `remora VERB --help`");
    }
    let is_exec = words.iter().skip(1).find(|word| !word.as_encoded_bytes().starts_with(b"-"));
    let code = if is_exec.is_some_and(|word| word == "exec") { 125 } else { 64 };
    Some((format!("remora: {}\nhint: {}", escape(&message), escape(&hints.join("; "))), code))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failure_is_one_line_and_one_hint() {
        let fault = Fault::new(Reason::NotFound, "there is no project \"a\x1b[2J\nb\"").hint("`remora ls` lists them");
        let failure = Failure::from(fault);
        assert_eq!(failure.exit_code(), 66);
        let text = failure.text().unwrap();
        assert_eq!(text, "remora: there is no project \"a\\x1b[2J\\nb\"\nhint: `remora ls` lists them");
        assert_eq!(Failure::from(Fault::new(Reason::NotFound, "no")).text().unwrap(), "remora: no");
    }

    #[test]
    fn what_may_have_happened_is_said() {
        let fault = Fault::new(Reason::DeadlineExceeded, "no answer").effect(Effect::MayHaveApplied);
        assert!(Failure::from(fault).text().unwrap().contains("may have taken effect"));
        assert_eq!(Failure::Code(3).text(), None);
        assert_eq!((Failure::OutputClosed.text(), Failure::OutputClosed.exit_code()), (None, 0));
    }
}
