//! [`Stop`]: how long a search may go on.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use remora_proto_model::Reason;

use crate::FileError;

/// Tells a search that nobody waits for it any more, or that its time is over.
/// Clones are one.
#[derive(Clone, Debug)]
pub struct Stop {
    asked: Arc<AtomicBool>,
    deadline: Instant,
}

/// Why a search ended before its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stopped {
    /// The caller went away.
    Asked,
    /// Its time was over.
    Time,
}

impl Stop {
    /// Lets a search go on for `budget`.
    pub fn after(budget: Duration) -> Self {
        Stop { asked: Arc::default(), deadline: Instant::now() + budget }
    }

    /// Ends it now.
    pub fn ask(&self) {
        self.asked.store(true, Ordering::Relaxed);
    }

    pub(crate) fn reached(&self) -> Option<Stopped> {
        if self.asked.load(Ordering::Relaxed) {
            return Some(Stopped::Asked);
        }
        (Instant::now() >= self.deadline).then_some(Stopped::Time)
    }
}

/// The error of a search that nobody waits for.
pub(crate) fn nobody_waits() -> FileError {
    FileError::refused(Reason::Cancelled, "the search was given up: its caller is gone", "ask again")
}
