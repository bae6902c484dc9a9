//! A snapshot of the workspace.

use std::sync::Arc;

use remora_agent_snapshot::{CreateOptions, Progress, Rules, SnapshotInfo, StoredRoot, create};
use remora_proto::{
    convert::snapshot::CreateSnapshot,
    model::{Effect, Fault, Reason},
};

use super::{Operation, Snapshots};

impl Snapshots {
    /// Makes a snapshot and commits it. What the workspace comes from is then that.
    pub(crate) async fn create(
        &self,
        operation: &Operation,
        wanted: &CreateSnapshot,
        progress: Arc<dyn Progress>,
    ) -> Result<SnapshotInfo, Fault> {
        self.check_whole()?;
        let lineage = self.lineage().await?;
        let origin = self.state("read what the workspace comes from", self.0.state.origin())?;
        if origin.is_none() && lineage.newest_snapshot().await?.is_some() {
            return Err(Fault::new(
                Reason::FailedPrecondition,
                "there are snapshots, and this workspace comes from none of them",
            )
            .hint("restore one, or run `remora-agent hydrate`; a snapshot of it would take their place"));
        }
        let committed = self.commit(operation, wanted, progress).await?;
        let noted = self.0.state.set_origin(&self.origin_of(&committed));
        self.state("note the commit", noted).map_err(|fault| fault.effect(Effect::Applied))?;
        Ok(committed.info())
    }

    /// Commits the workspace as it is.
    pub(super) async fn commit(
        &self,
        operation: &Operation,
        wanted: &CreateSnapshot,
        progress: Arc<dyn Progress>,
    ) -> Result<StoredRoot, Fault> {
        let rules = Rules::load(&self.0.workspace, &self.0.args.exclude)?;
        let options = CreateOptions {
            full: wanted.full,
            labels: wanted.labels.clone(),
            only_changes: wanted.only_changes,
            scratch: Some(self.0.state.folder().to_owned()),
            ..CreateOptions::default()
        };
        let lineage = self.lineage().await?;
        Ok(create(lineage, &self.0.workspace, &rules, options, progress, &operation.cancel).await?)
    }
}
