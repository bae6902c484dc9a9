//! How long a command of the CLI puts up with a server that is gone.

use std::time::{Duration, Instant};

use remora_proto_model::{Fault, Reason};

use crate::{
    Failure,
    output::{escape, note},
};

/// Total time without an answer before giving up. A restart of the server or a
/// wake takes seconds; a person at a terminal waits for a minute.
const GIVE_UP_AFTER: Duration = Duration::from_secs(60);
/// First wait; each further one is twice as long.
const FIRST_WAIT: Duration = Duration::from_millis(200);
/// Longest wait: what a person notices as a delay after things are well again.
const LONGEST_WAIT: Duration = Duration::from_secs(3);

/// Waits between attempts, with an end.
#[derive(Debug, Default)]
pub(crate) struct Patience {
    since: Option<Instant>,
    attempts: u32,
}

impl Patience {
    /// It works again.
    pub(crate) fn reset(&mut self) {
        *self = Patience::default();
    }

    /// Waits before the next attempt, or returns the fault where another attempt
    /// cannot help or the time is over. A project that is stopped does not start by
    /// being asked again: of one that starts the server says when to come back.
    pub(crate) async fn wait_or_give_up(&mut self, fault: Fault) -> Result<(), Failure> {
        let now = Instant::now();
        let since = *self.since.get_or_insert(now);
        let Some(wait) = next_wait(&fault, now - since, self.attempts) else {
            return Err(Failure::Fault(fault));
        };
        if self.attempts == 0 {
            note(&format!("remora: {}; trying again", escape(&fault.message)));
        }
        self.attempts += 1;
        tokio::time::sleep(wait).await;
        Ok(())
    }
}

/// How long to wait after `attempts` waits and `gone` time without success; `None` is no longer.
fn next_wait(fault: &Fault, gone: Duration, attempts: u32) -> Option<Duration> {
    let stopped = fault.reason == Reason::ProjectNotReady && fault.retry_after.is_none();
    if !fault.retryable() || stopped || gone >= GIVE_UP_AFTER {
        return None;
    }
    let wait = FIRST_WAIT.saturating_mul(2_u32.saturating_pow(attempts)).min(LONGEST_WAIT);
    Some(fault.retry_after.unwrap_or(wait).min(LONGEST_WAIT))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_grow_and_end() {
        let gone = Fault::new(Reason::Unavailable, "gone");
        assert_eq!(next_wait(&gone, Duration::ZERO, 0), Some(FIRST_WAIT));
        assert_eq!(next_wait(&gone, Duration::ZERO, 2), Some(FIRST_WAIT * 4));
        assert_eq!(next_wait(&gone, Duration::ZERO, 40), Some(LONGEST_WAIT));
        assert_eq!(next_wait(&gone, GIVE_UP_AFTER, 1), None);
        assert_eq!(next_wait(&Fault::new(Reason::NotFound, "no"), Duration::ZERO, 0), None);
    }

    #[tokio::test]
    async fn a_project_that_is_stopped_is_not_waited_for() {
        let stopped = Fault::new(Reason::ProjectNotReady, "it is stopped");
        assert!(Patience::default().wait_or_give_up(stopped.clone()).await.is_err());
        let starting = stopped.retry_after(Duration::from_millis(1));
        assert!(Patience::default().wait_or_give_up(starting).await.is_ok());
    }

    #[test]
    fn the_servers_word_counts_but_not_for_ever() {
        let busy = Fault::new(Reason::Unavailable, "busy");
        let soon = busy.clone().retry_after(Duration::from_millis(500));
        assert_eq!(next_wait(&soon, Duration::ZERO, 0), Some(Duration::from_millis(500)));
        let late = busy.retry_after(Duration::from_secs(3_600));
        assert_eq!(next_wait(&late, Duration::ZERO, 0), Some(LONGEST_WAIT));
    }
}
