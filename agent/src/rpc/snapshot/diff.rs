//! The stream of Diff.

use remora_agent_snapshot::{Difference, DifferenceSink, StoredRoot, diff_living, diff_snapshots};
use remora_proto::{
    agent::v1::DiffSnapshotsBatch,
    fault::to_status,
    model::{Fault, Reason},
};
use tokio::sync::{OwnedSemaphorePermit, mpsc};
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::sync::CancellationToken;
use tonic::Status;

use super::wire;
use crate::{
    limits::{MAX_DIFF_BATCH, MAX_QUEUED_EVENTS},
    snapshots::Snapshots,
};

/// The refusal of one comparison too many.
pub(crate) fn too_many() -> Fault {
    Fault::new(Reason::LimitReached, "as many comparisons as may run at once are running").hint("wait for one to end")
}

type Sender = mpsc::Sender<Result<DiffSnapshotsBatch, Status>>;

/// What differs from `from` to `to`, or to the living workspace.
pub(crate) fn stream(
    snapshots: Snapshots,
    from: StoredRoot,
    to: Option<StoredRoot>,
    permit: OwnedSemaphorePermit,
) -> ReceiverStream<Result<DiffSnapshotsBatch, Status>> {
    let (sender, receiver) = mpsc::channel(MAX_QUEUED_EVENTS);
    tokio::spawn(async move {
        let _permit = permit;
        let cancel = CancellationToken::new();
        let sink = batches(sender.clone());
        let compared = async {
            let lineage = snapshots.lineage().await?;
            match &to {
                Some(to) => diff_snapshots(lineage, &from, to, sink, &cancel).await?,
                None => {
                    let keep_out = snapshots.keep_out()?;
                    diff_living(lineage, &from, snapshots.workspace(), keep_out, sink, &cancel).await?;
                }
            }
            Ok::<_, Fault>(())
        };
        tokio::select! {
            compared = compared => if let Err(fault) = compared {
                let _ = sender.send(Err(to_status(&fault))).await;
            },
            () = sender.closed() => {}
        }
    });
    ReceiverStream::new(receiver)
}

/// Differences in batches. What is left goes with the last of it.
struct Batches {
    sender: Sender,
    batch: DiffSnapshotsBatch,
}

impl Batches {
    fn flush(&mut self) -> bool {
        let batch = std::mem::take(&mut self.batch);
        batch.differences.is_empty() || self.sender.blocking_send(Ok(batch)).is_ok()
    }
}

impl Drop for Batches {
    fn drop(&mut self) {
        self.flush();
    }
}

fn batches(sender: Sender) -> DifferenceSink {
    let mut batches = Batches { sender, batch: DiffSnapshotsBatch::default() };
    Box::new(move |difference: Difference| {
        batches.batch.differences.push(wire::difference(difference));
        batches.batch.differences.len() < MAX_DIFF_BATCH || batches.flush()
    })
}
