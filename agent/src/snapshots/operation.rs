//! [`Operation`]: the one that runs.

use remora_proto::model::{Fault, Reason};
use tokio_util::sync::{CancellationToken, DropGuard};

use super::{Snapshots, lock};

/// What is known of the operation that runs.
#[derive(Clone)]
pub(crate) struct Running {
    name: &'static str,
    cancel: CancellationToken,
    ended: CancellationToken,
}

/// The right to change the lineage or the workspace. Dropping it lets the next one in.
pub(crate) struct Operation {
    owner: Snapshots,
    /// Cancelled when somebody asks for its end.
    pub(crate) cancel: CancellationToken,
    _ended: DropGuard,
}

impl Drop for Operation {
    fn drop(&mut self) {
        *lock(&self.owner.0.running) = None;
    }
}

impl Snapshots {
    /// Begins the operation `name`, unless another one runs.
    pub(crate) fn begin(&self, name: &'static str) -> Result<Operation, Fault> {
        let mut slot = lock(&self.0.running);
        if let Some(running) = &*slot {
            return Err(Fault::new(
                Reason::OperationInProgress,
                format!("{} is running; one snapshot operation runs at a time", running.name),
            )
            .hint("wait for its end, or call Cancel"));
        }
        let (cancel, ended) = (CancellationToken::new(), CancellationToken::new());
        *slot = Some(Running { name, cancel: cancel.clone(), ended: ended.clone() });
        Ok(Operation { owner: self.clone(), cancel, _ended: ended.drop_guard() })
    }

    /// The name of the operation that runs.
    pub(crate) fn running(&self) -> Option<&'static str> {
        lock(&self.0.running).as_ref().map(|running| running.name)
    }

    /// Waits until nothing runs. What changes neither the lineage nor the workspace for
    /// the better is asked to end first.
    pub(crate) async fn settle(&self) {
        let Some(running) = lock(&self.0.running).clone() else { return };
        if matches!(running.name, "verify" | "prune") {
            running.cancel.cancel();
        }
        tracing::info!(operation = running.name, "waiting for the end of what runs");
        running.ended.cancelled().await;
    }

    /// Asks the running operation to end and waits until it has; its name.
    pub(crate) async fn cancel(&self) -> Option<&'static str> {
        let running = lock(&self.0.running).clone()?;
        running.cancel.cancel();
        running.ended.cancelled().await;
        Some(running.name)
    }
}
