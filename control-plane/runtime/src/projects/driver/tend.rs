//! What a project gets while it is as it should be: snapshots from time to time,
//! the removal of old ones, and bounded logs.

use std::time::Duration;

use remora_control_plane_project::{Observed, Pod, Wish};
use remora_proto_model::Fault;
use tokio::{sync::watch, time::Instant};
use tracing::warn;

use super::Driver;
use crate::{
    agents::{Making, create_snapshot, prune},
    limits::LOG_INTERVAL,
};

/// When what was done last.
#[derive(Default)]
pub(super) struct Tending {
    saved: Option<Instant>,
    pruned: Option<Instant>,
    cut: Option<Instant>,
    /// Why the last snapshot was not made.
    pub(super) fault: Option<Fault>,
}

/// A project that is at rest and wants nothing is looked at this often.
const AT_REST: Duration = Duration::from_secs(3_600);

impl Driver {
    pub(super) async fn tend(&mut self, wish: Wish, observed: &Observed, changed: &mut watch::Receiver<u64>) {
        if wish != Wish::Run || observed.pod != Pod::Ready {
            return self.wait(changed, AT_REST).await;
        }
        if due(&mut self.tending.cut, LOG_INTERVAL) {
            self.pods.tidy(&self.entry.record()).await;
        }
        let policy = self.entry.project().spec.snapshots;
        if due(&mut self.tending.saved, Duration::from_secs(policy.interval_seconds.into()))
            && let Some((_, agent)) = self.agent.clone()
        {
            let entry = std::sync::Arc::clone(&self.entry);
            let work = async {
                let _one = entry.snapshots.lock().await;
                create_snapshot(&agent, Making { held: None, why: "periodic", only_changes: true }, |_| {}).await
            };
            match self.unless_unwanted(work, changed).await {
                Ok(None) => return,
                Ok(Some(info)) => {
                    self.tending.fault = None;
                    let head = crate::agents::committed(&info).map(|committed| committed.head());
                    let noted = self.inner.change(&self.entry, |record| {
                        record.project.status.head = Some(head.clone()?);
                        Ok(())
                    });
                    if let Err(fault) = noted.await {
                        warn!(%fault, "a snapshot was made and not noted");
                    }
                }
                Err(fault) => self.tending.fault = Some(fault),
            }
            if self.tending.fault.is_none() && due(&mut self.tending.pruned, self.inner.settings.prune_interval) {
                // Not while a restore needs what the policy no longer keeps.
                let _one = self.entry.snapshots.lock().await;
                if let Err(fault) = prune(&agent, &policy).await {
                    warn!(%fault, "old snapshots stay");
                }
            }
            return;
        }
        self.wait(changed, self.pods.look_interval()).await;
    }
}

/// Whether `interval` has passed since `last`, which then is now. The first time is one interval after the start.
fn due(last: &mut Option<Instant>, interval: Duration) -> bool {
    match last {
        Some(at) if at.elapsed() < interval => false,
        Some(at) => {
            *at = Instant::now();
            true
        }
        None => {
            *last = Some(Instant::now());
            false
        }
    }
}
