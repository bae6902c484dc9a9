//! What happens to a workspace before its containers start.

use std::sync::Arc;

use remora_agent_snapshot::{Awakening, Restored, SnapshotInfo, StoredRoot, awaken, content_of, format::SnapshotId};
use remora_proto::model::Fault;

use super::{Operation, Seed, Snapshots, restoring::Watcher};

/// What is asked for.
#[derive(Clone, Debug, Default)]
pub(crate) struct Hydration {
    /// The snapshot that the workspace is to become; `None` is the newest.
    pub(crate) snapshot: Option<SnapshotId>,
    /// The archive that fills an empty workspace where there is no snapshot yet.
    pub(crate) seed: Option<Seed>,
}

/// What became of the workspace.
#[derive(Clone, Debug)]
pub(crate) enum Awakened {
    /// It became this snapshot.
    Restored(SnapshotInfo, Restored),
    /// It comes from this snapshot and is used as it is.
    Adopted(SnapshotInfo),
    /// It was filled from the seed, and this first snapshot was made of it.
    Seeded(SnapshotInfo),
    /// There is no snapshot yet, and it is used as it is.
    Empty,
}

impl Snapshots {
    /// Takes the lineage over for this generation, then makes the workspace what it
    /// has to be.
    pub(crate) async fn hydrate(
        &self,
        operation: &Operation,
        hydration: &Hydration,
        watcher: Arc<dyn Watcher>,
    ) -> Result<Awakened, Fault> {
        let lineage = self.lineage().await?;
        // Before anything is read: from here on no older generation can commit.
        let claim = lineage.claim().await?;
        let wanted = hydration.snapshot.or_else(|| content_of(&claim));
        let origin = self.state("read what the workspace comes from", self.0.state.origin())?;
        match (awaken(origin.as_ref(), self.is_restoring(), wanted), wanted) {
            (Awakening::Begin, _) | (_, None) => {
                // One that was being seeded is neither blank nor whole.
                match &hydration.seed {
                    Some(seed) if self.is_restoring() || self.is_blank()? => {
                        Ok(Awakened::Seeded(self.seed(operation, seed, watcher).await?))
                    }
                    _ => self.check_whole().map(|()| Awakened::Empty),
                }
            }
            (Awakening::Adopt, Some(_)) => Ok(Awakened::Adopted(self.named(hydration).await?.info())),
            (Awakening::Restore, Some(wanted)) => {
                if let Some(origin) = origin {
                    tracing::info!(from = origin.snapshot, to = %wanted, "the workspace comes from another snapshot");
                }
                let snapshot = self.named(hydration).await?;
                let restored = self.restore(operation, &snapshot, watcher).await?;
                Ok(Awakened::Restored(snapshot.info(), restored))
            }
        }
    }

    async fn named(&self, hydration: &Hydration) -> Result<StoredRoot, Fault> {
        let id = hydration.snapshot.map(|id| id.to_string());
        self.find(id.as_deref()).await
    }
}
