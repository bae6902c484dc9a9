//! How a process ended.

use std::fmt;

use rustix::process::{Signal, WaitStatus};

/// Why a process ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cause {
    /// It called exit.
    Exited,
    /// A signal ended it.
    Signaled,
    /// Its time ran out and we ended it.
    TimedOut,
    /// The kernel ended it for want of memory.
    OutOfMemory,
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

/// How a process was collected.
#[derive(Clone, Copy, Debug)]
pub struct Death {
    /// What the kernel reported.
    pub status: WaitStatus,
    /// Whether it was killed while the container's memory group counted another kill for want of memory.
    pub out_of_memory: bool,
}

/// What we did to a process, which explains a death by signal.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Deeds {
    timeout: bool,
    /// Bit n-1 is signal n, where a caller had it sent to the process itself.
    sent: u64,
}

impl Deeds {
    /// Its time is over and it is being ended.
    pub(crate) fn time_over(&mut self) {
        self.timeout = true;
    }

    /// A caller has this signal sent to it.
    pub(crate) fn sending(&mut self, signal: Signal) {
        self.sent |= 1 << (signal.as_raw() - 1);
    }

    fn sent(self, signal: i32) -> bool {
        (1..=64).contains(&signal) && self.sent & (1 << (signal - 1)) != 0
    }
}

impl ExitStatus {
    /// What the kernel reported, `None` where nobody could ask it, in the light of what we did.
    pub(crate) fn observed(death: Option<Death>, deeds: Deeds) -> Self {
        let Some(Death { status, out_of_memory }) = death else {
            return ExitStatus { cause: Cause::Unknown, code: None, signal: None };
        };
        let (code, signal) = (status.exit_status(), status.terminating_signal());
        let cause = match (code, signal) {
            // A program that handles SIGTERM and exits was ended by us all the same.
            _ if deeds.timeout => Cause::TimedOut,
            (Some(_), _) => Cause::Exited,
            // The signal that it died of, not just any that it was ever sent.
            (_, Some(signal)) if deeds.sent(signal) => Cause::KilledByRequest,
            (_, Some(_)) if out_of_memory => Cause::OutOfMemory,
            (_, Some(_)) => Cause::Signaled,
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
            Cause::OutOfMemory => "out of memory, ",
            _ => "",
        };
        match (self.code, self.signal) {
            (Some(code), _) => write!(f, "{by}exit status {code}"),
            (_, Some(signal)) => write!(f, "{by}signal {signal}"),
            _ => f.write_str("nobody could observe how"),
        }
    }
}
