//! [`Moment`]: when something happened, by two clocks.

use std::time::{Duration, Instant};

use crate::terminal::now_ms;

/// When something happened: by a clock that does not jump, which says how long ago that
/// is, and by the calendar, which is for people.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Moment {
    // First: it decides which of two is the later one.
    at: Instant,
    epoch_ms: u64,
}

impl Moment {
    /// Now.
    pub fn now() -> Moment {
        Moment { at: Instant::now(), epoch_ms: now_ms() }
    }

    /// How long ago it is.
    pub fn age(&self) -> Duration {
        self.at.elapsed()
    }

    /// In milliseconds since the epoch, as the calendar was then.
    pub fn epoch_ms(&self) -> u64 {
        self.epoch_ms
    }
}
