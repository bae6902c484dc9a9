//! The last snapshot of `serve --final-snapshot`: what the containers wrote until they
//! ended is committed within a budget, or it is said why not.
//!
//! ```text
//! SIGTERM ─► calls drain ─► what runs already ends ─► snapshot ──► committed | unchanged
//!    └──────────────── the flush budget ───────────────┘ ▲  │
//!                                                 again ─┴──┘ while the store fails
//! ```

use std::{
    path::PathBuf,
    process::ExitCode,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use remora_agent_snapshot::SnapshotInfo;
use remora_proto::{
    convert::snapshot::CreateSnapshot,
    model::{Effect, Fault, Reason},
};
use tokio::time::{Instant, sleep, timeout_at};

use crate::{
    hydrate::{Log, conclude},
    limits::{DRAIN_TIMEOUT, FLUSH_RETRY},
    snapshots::Snapshots,
    termination::Termination,
};

/// What `serve` was told of its last snapshot.
#[derive(Clone, Debug)]
pub struct LastSnapshot {
    /// Time from the request to stop until the outcome is written.
    pub budget: Duration,
    /// Where it is written.
    pub termination_message: Option<PathBuf>,
    /// Whether the end of the shims is a request to stop, once the pod is known to end:
    /// what else is in the pod may take all of the time that a kubelet gives it.
    pub with_shims: bool,
}

impl LastSnapshot {
    /// Time that running calls get of the budget: their files shall be in the snapshot,
    /// and the larger part of the budget is for that.
    pub(crate) fn drain_timeout(&self) -> Duration {
        DRAIN_TIMEOUT.min(self.budget / 3)
    }

    /// Makes it, within the budget that began at `told`; 0 or the exit code of what went wrong.
    pub(crate) async fn make(&self, snapshots: &Snapshots, told: Instant) -> ExitCode {
        let outcome = self.attempts(snapshots, told + self.budget).await;
        conclude("serve", outcome, self.termination_message.as_deref())
    }

    async fn attempts(&self, snapshots: &Snapshots, deadline: Instant) -> Result<Termination, Fault> {
        let mut last: Option<Fault> = None;
        let trying = AtomicBool::new(false);
        let work = async {
            // Whatever it has sent to the store counts only once it is done, and would be sent again.
            snapshots.settle().await;
            loop {
                trying.store(true, Ordering::Relaxed);
                let outcome = attempt(snapshots).await;
                trying.store(false, Ordering::Relaxed);
                match outcome {
                    Err(fault) if passes(fault.reason) => {
                        tracing::warn!(reason = %fault.reason, "the last snapshot failed; trying again: {fault}");
                        last = Some(fault);
                        sleep(FLUSH_RETRY).await;
                    }
                    outcome => return outcome,
                }
            }
        };
        match timeout_at(deadline, work).await {
            Ok(outcome) => outcome,
            Err(_) => Err(self.over(last, trying.load(Ordering::Relaxed))),
        }
    }

    /// What is said once the budget is over, `within` an attempt or between two.
    fn over(&self, last: Option<Fault>, within: bool) -> Fault {
        let seconds = self.budget.as_secs();
        let mut fault = match last {
            Some(last) => {
                let message = format!("{}; tried for {seconds} s", last.message);
                Fault { message: message.into(), ..last }
            }
            None => Fault::new(Reason::DeadlineExceeded, format!("the last snapshot was not done within {seconds} s"))
                .hint("give the pod a longer grace period and --flush-budget, or make snapshots more often"),
        };
        if within {
            // The commit may be on its way.
            fault.effect = Effect::MayHaveApplied;
        }
        fault
    }
}

async fn attempt(snapshots: &Snapshots) -> Result<Termination, Fault> {
    let operation = snapshots.begin("the last snapshot")?;
    let (before, info) = snapshots.create_changes(&operation, Arc::new(Log)).await?;
    Ok(told(before.as_deref(), &info))
}

fn told(before: Option<&str>, info: &SnapshotInfo) -> Termination {
    let outcome = if before == Some(info.id.as_str()) { "unchanged" } else { "committed" };
    Termination::done(outcome, Some(info))
}

/// Whether the same attempt can succeed a moment later: the store's failures, also those
/// that an operator may be mending right now. A newer owner is for good.
fn passes(reason: Reason) -> bool {
    matches!(
        reason,
        Reason::StoreUnavailable
            | Reason::StoreDenied
            | Reason::BucketMissing
            | Reason::NoSpace
            | Reason::Conflict
            | Reason::OperationInProgress
    )
}

impl Snapshots {
    /// Makes a snapshot unless the head holds the workspace as it is; with the id of the
    /// head that was there before.
    pub(crate) async fn create_changes(
        &self,
        operation: &crate::snapshots::Operation,
        progress: Arc<Log>,
    ) -> Result<(Option<String>, SnapshotInfo), Fault> {
        let head = self.lineage().await?.head().await?;
        let wanted = CreateSnapshot { only_changes: true, ..CreateSnapshot::default() };
        let info = self.create(operation, &wanted, progress).await?;
        Ok((head.map(|head| head.root.id.to_string()), info))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn last(seconds: u64) -> LastSnapshot {
        LastSnapshot { budget: Duration::from_secs(seconds), termination_message: None, with_shims: false }
    }

    #[test]
    fn calls_get_the_smaller_part_of_the_budget() {
        assert_eq!(last(30).drain_timeout(), DRAIN_TIMEOUT);
        assert_eq!(last(6).drain_timeout(), Duration::from_secs(2));
    }

    #[test]
    fn the_stores_failures_pass_and_a_newer_owner_does_not() {
        for reason in [Reason::StoreUnavailable, Reason::StoreDenied, Reason::BucketMissing, Reason::Conflict] {
            assert!(passes(reason), "{reason}");
        }
        for reason in [Reason::LineageFenced, Reason::FailedPrecondition, Reason::KeyWrong, Reason::SnapshotDamaged] {
            assert!(!passes(reason), "{reason}");
        }
    }

    #[test]
    fn when_the_budget_is_over_the_cause_is_told_and_what_is_left_open() {
        let cause = Fault::new(Reason::StoreDenied, "no");
        let between = last(30).over(Some(cause.clone()), false);
        assert_eq!((between.reason, between.effect), (Reason::StoreDenied, Effect::NotApplied));
        assert!(between.message.contains("no; tried for 30 s"), "{between}");
        assert_eq!(last(30).over(Some(cause), true).effect, Effect::MayHaveApplied);
        assert_eq!(last(30).over(None, true).reason, Reason::DeadlineExceeded);
    }
}
