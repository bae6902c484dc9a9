//! A process that cannot be taken for another.

use rustix::process::{Pid, PidfdFlags, Signal, kill_process, pidfd_open, pidfd_send_signal};

use crate::stat::look;

/// A process that cannot be taken for a later one of the same number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Identity {
    /// Its number.
    pub pid: i32,
    /// When it started, in ticks since the machine did.
    pub(crate) start: u64,
}

impl Identity {
    /// The living process of this number.
    pub fn of(pid: u32) -> Option<Identity> {
        look(i32::try_from(pid).ok()?).filter(|stat| stat.lives()).map(|stat| stat.identity)
    }

    /// Whether it still runs; a zombie does not.
    pub fn lives(self) -> bool {
        look(self.pid).is_some_and(|stat| stat.identity == self && stat.lives())
    }

    /// Sends a signal to it and to no later process of its number. False where it has ended,
    /// or belongs to a user whom this one may not signal.
    pub fn signal(self, signal: Signal) -> bool {
        let Some(pid) = Pid::from_raw(self.pid) else { return false };
        // The descriptor first, then the look: what it names can no longer change.
        let descriptor = pidfd_open(pid, PidfdFlags::empty());
        if look(self.pid).is_none_or(|stat| stat.identity != self) {
            return false;
        }
        match descriptor {
            Ok(descriptor) => pidfd_send_signal(descriptor, signal).is_ok(),
            // Kernels and sandboxes without pidfd: the look just above is the best there is.
            Err(_) => kill_process(pid, signal).is_ok(),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;

    #[test]
    fn a_signal_reaches_the_process_and_no_other_of_its_number() {
        let mut child = Command::new("sleep").arg("600").spawn().unwrap();
        let child_is = Identity::of(child.id()).unwrap();
        let later = Identity { start: child_is.start + 1, ..child_is };
        assert!(!later.lives() && !later.signal(Signal::KILL));
        assert!(child_is.lives() && child_is.signal(Signal::KILL));
        child.wait().unwrap();
        assert!(!child_is.lives() && !child_is.signal(Signal::KILL));
    }
}
