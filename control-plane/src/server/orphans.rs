//! Looks from time to time for what belongs to no project, and says so: in the log, once
//! for each thing, and as a number.

use std::collections::HashSet;

use remora_control_plane_runtime::Projects;
use remora_proto_model::project::{Orphan, Orphans};
use tokio::time::{Instant, MissedTickBehavior, interval_at};
use tracing::{info, warn};

use crate::{
    limits::{ORPHANS_FIRST, ORPHANS_INTERVAL},
    metrics::Metrics,
};

/// Looks while this server acts, for ever.
pub(super) async fn watch(projects: Projects, metrics: Metrics) {
    let mut told: HashSet<Orphan> = HashSet::new();
    // What is left of an end that was cut is swept by whoever begins to act.
    let mut looks = interval_at(Instant::now() + ORPHANS_FIRST, ORPHANS_INTERVAL);
    looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        looks.tick().await;
        if !projects.leads() {
            metrics.orphans(&[]);
            told.clear();
            continue;
        }
        match projects.orphans().await {
            Err(fault) => warn!(%fault, "what belongs to no project cannot be looked for"),
            Ok(Orphans { orphans, unseen }) => {
                metrics.orphans(&orphans);
                for orphan in orphans.iter().filter(|orphan| !told.contains(*orphan)) {
                    let Orphan { kind, namespace, name, project_id, .. } = orphan;
                    warn!(%kind, namespace, name, project = project_id, "it belongs to no project, and is left alone");
                }
                if !unseen.is_empty() {
                    info!(?unseen, "not everything was looked at for what belongs to no project");
                }
                // What is gone and comes back is told again.
                told = orphans.into_iter().collect();
            }
        }
    }
}
