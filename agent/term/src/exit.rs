//! How a process ended.

use std::fmt;

use rustix::process::WaitStatus;

/// Why a process ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cause {
    /// It called exit.
    Exited,
    /// A signal ended it.
    Signaled,
    /// Its time ran out and we ended it.
    TimedOut,
    /// A caller ended it.
    KilledByRequest,
    /// Nobody could observe how.
    Unknown,
}

/// How a process ended; never invented.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ExitStatus {
    /// Why.
    pub cause: Cause,
    /// Its exit status, where it called exit.
    pub code: Option<i32>,
    /// The signal, where one ended it.
    pub signal: Option<i32>,
}

/// What we did to a process, which explains a death by signal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ended {
    /// Nothing.
    Itself,
    /// Its time ran out.
    Timeout,
    /// A caller sent it this signal, or closed it.
    Request,
}

impl ExitStatus {
    /// What the kernel reported, `None` where nobody could ask it, in the light of what we did.
    pub(crate) fn observed(status: Option<WaitStatus>, ended: Ended) -> Self {
        let Some(status) = status else {
            return ExitStatus { cause: Cause::Unknown, code: None, signal: None };
        };
        let (code, signal) = (status.exit_status(), status.terminating_signal());
        let cause = match (ended, code, signal) {
            // A program that handles SIGTERM and exits was ended by us all the same.
            (Ended::Timeout, ..) => Cause::TimedOut,
            (Ended::Request, _, Some(_)) => Cause::KilledByRequest,
            (_, Some(_), _) => Cause::Exited,
            (_, _, Some(_)) => Cause::Signaled,
            _ => Cause::Unknown,
        };
        ExitStatus { cause, code, signal }
    }
}

impl fmt::Display for ExitStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let by = match self.cause {
            Cause::TimedOut => "its time ran out, ",
            Cause::KilledByRequest => "ended by request, ",
            _ => "",
        };
        match (self.code, self.signal) {
            (Some(code), _) => write!(f, "{by}exit status {code}"),
            (_, Some(signal)) => write!(f, "{by}signal {signal}"),
            _ => f.write_str("nobody could observe how"),
        }
    }
}
