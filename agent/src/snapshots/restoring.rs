//! A restore of the workspace, with the flag beside it.

use std::{
    io,
    sync::{Arc, atomic::Ordering},
};

use remora_agent_snapshot::{Counts, Progress, RestoreObserver, Restored, StoredRoot, restore};
use remora_proto::model::Fault;

use super::{Operation, Snapshots};

/// Takes what a restore reports, but the flag.
pub(crate) trait Watcher: Progress {
    /// All that cannot be derived again is there; this much follows.
    fn usable(&self, files_left: u64, bytes_left: u64);
}

/// Sets the flag before the first change.
struct Flagging {
    snapshots: Snapshots,
    id: String,
    watcher: Arc<dyn Watcher>,
}

impl Progress for Flagging {
    fn report(&self, counts: Counts) {
        self.watcher.report(counts);
    }
}

impl RestoreObserver for Flagging {
    fn before_change(&self) -> io::Result<()> {
        self.snapshots.0.state.begin_restore(&self.id)?;
        self.snapshots.0.restoring.store(true, Ordering::Release);
        Ok(())
    }

    fn usable(&self, files_left: u64, bytes_left: u64) {
        self.watcher.usable(files_left, bytes_left);
    }
}

impl Snapshots {
    /// Makes the workspace equal to `snapshot`. From the first change to the end
    /// the flag says that it is neither.
    pub(crate) async fn restore(
        &self,
        operation: &Operation,
        snapshot: &StoredRoot,
        watcher: Arc<dyn Watcher>,
    ) -> Result<Restored, Fault> {
        let lineage = self.lineage().await?;
        let observer = Flagging { snapshots: self.clone(), id: snapshot.root.id.to_string(), watcher };
        let restored =
            restore(lineage, snapshot, &self.0.workspace, self.keep_out()?, Arc::new(observer), &operation.cancel)
                .await?;
        let finished = self.0.state.finish_restore(&self.origin_of(snapshot));
        self.state("note that the restore is done", finished)?;
        self.0.restoring.store(false, Ordering::Release);
        self.0.durability.send_replace(None);
        if let Some(example) = &restored.refused.example {
            let entries = restored.refused.entries;
            tracing::warn!(entries, example, "the system did not let the agent set all owners and attributes");
        }
        Ok(restored)
    }
}
