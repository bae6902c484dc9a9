//! When the container was used last, as far as that shows in it: somebody typed, a
//! command runs, or its processes take processor time. What a terminal prints is no use
//! of it: `top` that somebody left open prints for ever.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use remora_agent_term::{Counts, Load, Moment, Registry, load};
use tokio::time::{MissedTickBehavior, interval};

use crate::limits::{BUSY_MILLICORES, BUSY_WINDOW, USAGE_LOOK};

/// See the module. Cloning shares it.
#[derive(Clone)]
pub(super) struct Usage(Arc<Mutex<Moment>>);

impl Usage {
    /// Of a container that begins, which is use of it.
    pub(super) fn begun() -> Usage {
        Usage(Arc::new(Mutex::new(Moment::now())))
    }

    /// When it was used last, with what `counts` says of now.
    pub(super) fn last(&self, counts: &Counts) -> Moment {
        let mut last = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if counts.commands > 0 {
            *last = Moment::now();
        }
        *last = (*last).max(counts.used.unwrap_or(*last));
        *last
    }

    fn now(&self) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Moment::now();
    }

    /// Looks at the container from time to time, whether anybody asks for its status or not.
    pub(super) async fn watch(self, registry: Arc<Registry>) {
        let mut looks = interval(USAGE_LOOK);
        looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut since = (Instant::now(), look().await);
        loop {
            looks.tick().await;
            self.last(&registry.counts());
            let span = since.0.elapsed();
            if span >= BUSY_WINDOW {
                let load = look().await;
                if is_busy(since.1, load, span) {
                    self.now();
                }
                since = (Instant::now(), load);
            }
        }
    }
}

/// Off the runtime's threads: it reads a file a process.
async fn look() -> Load {
    tokio::task::spawn_blocking(load).await.unwrap_or_default()
}

/// Whether something is at work: it took processor time within `span`, or wanted it at
/// both ends and got too little, on a node that is short of it.
fn is_busy(before: Load, now: Load, span: Duration) -> bool {
    let took = now.time.saturating_sub(before.time);
    (before.wants && now.wants) || took.as_micros() * 1_000 >= span.as_micros() * BUSY_MILLICORES
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_at_work_is_told_from_one_that_waits() {
        let (span, ms) = (Duration::from_secs(5), Duration::from_millis);
        for (took, wants, busy) in [
            (0, [false, false], false),
            (20, [true, false], false),
            (240, [false, true], false),
            (250, [false, false], true),
            (5_000, [true, true], true),
            (20, [true, true], true),
        ] {
            let before = Load { time: ms(700), wants: wants[0] };
            let now = Load { time: ms(700 + took), wants: wants[1] };
            assert_eq!(is_busy(before, now, span), busy, "{took} {wants:?}");
        }
        let less = Load { time: ms(600), wants: false };
        assert!(!is_busy(Load { time: ms(700), wants: false }, less, span), "of some that ended the time is lost");
    }

    #[test]
    fn use_is_what_was_last() {
        let usage = Usage::begun();
        let began = usage.last(&Counts::default());
        assert_eq!(usage.last(&Counts::default()), began, "a look is no use");
        let typed = Moment::now();
        assert_eq!(usage.last(&Counts { used: Some(typed), ..Counts::default() }), typed);
        assert_eq!(usage.last(&Counts { used: Some(began), ..Counts::default() }), typed, "not back");
        let runs = usage.last(&Counts { commands: 1, ..Counts::default() });
        assert!(runs > typed);
        assert_eq!(usage.last(&Counts { terminals: 1, ..Counts::default() }), runs, "an open terminal alone");
    }
}
