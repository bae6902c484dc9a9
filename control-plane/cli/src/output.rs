//! What a verb prints.

use std::io::{self, Write as _};

use crate::Failure;

/// A reader that left (`| head`) is no failure.
pub(crate) fn quiet_pipe(error: io::Error) -> Result<(), Failure> {
    if error.kind() == io::ErrorKind::BrokenPipe {
        return Ok(());
    }
    Err(Failure::Local { what: "standard output".to_owned(), error })
}

/// Says something to the person at the terminal; programs that read stdout never see it.
pub(crate) fn note(text: &str) {
    // Nothing can be done about a stderr that is closed.
    _ = writeln!(io::stderr(), "{text}");
}
