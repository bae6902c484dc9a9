//! What a verb prints: results on standard output in the form that was asked
//! for, words for people on standard error.

mod escape;
mod format;
mod listing;
mod table;
mod units;

use std::io::{self, IsTerminal as _, Write as _};

pub(crate) use escape::{escape, escape_bytes};
pub(crate) use format::{Format, OutputArgs};
pub(crate) use listing::{Listed, Listing, print_one};
pub(crate) use table::Column;
pub(crate) use units::{age, bytes, now_ms, timestamp};

use crate::Failure;

/// Writes to standard output. A reader that left (`| head`) ends the verb without a word.
pub(crate) fn print(bytes: &[u8]) -> Result<(), Failure> {
    let mut stdout = io::stdout().lock();
    stdout.write_all(bytes).and_then(|()| stdout.flush()).map_err(stdout_failure)
}

/// What a failed write to standard output means.
pub(crate) fn stdout_failure(error: io::Error) -> Failure {
    if error.kind() == io::ErrorKind::BrokenPipe {
        return Failure::OutputClosed;
    }
    Failure::Local { what: "standard output".to_owned(), error }
}

/// Says something to the person at the terminal; programs that read stdout never see it.
pub(crate) fn note(text: &str) {
    // Nothing can be done about a stderr that is closed.
    _ = writeln!(io::stderr(), "{text}");
}

/// Whether standard output is a terminal, where control characters act.
pub(crate) fn stdout_is_terminal() -> bool {
    io::stdout().is_terminal()
}

/// Whether standard output takes colours: a terminal, and nobody said no
/// (<https://no-color.org>: any value that is not empty).
pub(crate) fn stdout_takes_colour() -> bool {
    let refused = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
    let dumb = std::env::var_os("TERM").is_some_and(|value| value == "dumb");
    stdout_is_terminal() && !refused && !dumb
}
