//! `SnapshotService`: requests checked, one operation at a time, and its progress
//! as a stream.

mod diff;
mod export;
mod progress;
mod quiet;
mod wire;

use std::{sync::Arc, time::Duration};

use remora_agent_snapshot::{Damage, Retention, VerifyObserver, prune, verify};
use remora_proto::{
    agent::v1::{
        ArchiveChunk, CancelSnapshotOperationRequest, CancelSnapshotOperationResponse, CreateSnapshotEvent,
        CreateSnapshotRequest, DiffSnapshotsBatch, DiffSnapshotsRequest, ExportSnapshotRequest, GetSnapshotRequest,
        ListSnapshotsRequest, ListSnapshotsResponse, PruneSnapshotsRequest, PruneSnapshotsResponse, RestoreDone,
        RestoreSnapshotEvent, RestoreSnapshotRequest, RestoreUsable, SnapshotDamage, SnapshotInfo, VerifySnapshotEvent,
        VerifySnapshotRequest, VerifySummary, create_snapshot_event, restore_snapshot_event,
        snapshot_service_server::SnapshotService, verify_snapshot_event,
    },
    convert::snapshot::{CreateSnapshot, ExportSnapshot, ListSnapshots, PruneSnapshots, RestoreSnapshot, optional_id},
    fault::to_status,
    model::{Fault, Verb},
};
use tokio::sync::Semaphore;
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::sync::CancellationToken;
use tonic::{Request, Response, Status};

use crate::{
    limits::{MAX_DIFFS, MAX_EXPORTS},
    rpc::relay::capability,
    shims::Shims,
    snapshots::{Snapshots, Watcher, missing},
};
use progress::{Events, Reporter};
use quiet::Quiet;

/// The snapshots as their callers see them.
pub(crate) struct SnapshotRpc {
    snapshots: Result<Snapshots, Fault>,
    shims: Arc<Shims>,
    diffs: Arc<Semaphore>,
    exports: Arc<Semaphore>,
    stop: CancellationToken,
}

impl SnapshotRpc {
    /// Serves `snapshots`; without them every call names the settings that are missing.
    pub(crate) fn new(
        snapshots: Result<Snapshots, Vec<&'static str>>,
        shims: Arc<Shims>,
        stop: CancellationToken,
    ) -> Self {
        SnapshotRpc {
            snapshots: snapshots.map_err(|flags| missing(&flags)),
            shims,
            diffs: Arc::new(Semaphore::new(MAX_DIFFS)),
            exports: Arc::new(Semaphore::new(MAX_EXPORTS)),
            stop,
        }
    }

    fn snapshots(&self) -> Result<Snapshots, Fault> {
        self.snapshots.clone()
    }
}

fn refuse(fault: Fault) -> Status {
    to_status(&fault)
}

#[tonic::async_trait]
impl SnapshotService for SnapshotRpc {
    type CreateStream = ReceiverStream<Result<CreateSnapshotEvent, Status>>;

    async fn create(&self, request: Request<CreateSnapshotRequest>) -> Result<Response<Self::CreateStream>, Status> {
        let wanted = CreateSnapshot::try_from(request.into_inner()).map_err(refuse)?;
        let snapshots = self.snapshots().map_err(refuse)?;
        let operation = snapshots.begin("create").map_err(refuse)?;
        let shims = Arc::clone(&self.shims);
        let (events, stream) = Events::open(operation.cancel.clone(), self.stop.clone(), |progress| {
            CreateSnapshotEvent { event: Some(create_snapshot_event::Event::Progress(progress)) }
        });
        events.run(async move |reporter| {
            let quiet = match wanted.quiesced {
                true => Some(Quiet::begin(&shims).await?),
                false => None,
            };
            let committed = snapshots.create(&operation, &wanted, reporter).await?;
            if let Some(quiet) = quiet
                && let Err(fault) = quiet.end(wanted.hold).await
            {
                tracing::warn!(reason = %fault.reason, "after the commit: {fault}");
            }
            Ok(CreateSnapshotEvent { event: Some(create_snapshot_event::Event::Committed(wire::info(&committed))) })
        });
        Ok(Response::new(stream))
    }

    type RestoreStream = ReceiverStream<Result<RestoreSnapshotEvent, Status>>;

    async fn restore(&self, request: Request<RestoreSnapshotRequest>) -> Result<Response<Self::RestoreStream>, Status> {
        let wanted = RestoreSnapshot::try_from(request.into_inner()).map_err(refuse)?;
        let snapshots = self.snapshots().map_err(refuse)?;
        let shims = Arc::clone(&self.shims);
        let operation = snapshots.begin("restore").map_err(refuse)?;
        let (events, stream) = Events::open(operation.cancel.clone(), self.stop.clone(), |progress| {
            RestoreSnapshotEvent { event: Some(restore_snapshot_event::Event::Progress(progress)) }
        });
        events.run(async move |reporter| {
            let id = wanted.snapshot.as_ref().map(ToString::to_string);
            let snapshot = snapshots.find(id.as_deref()).await?;
            let quiet = match wanted.quiesced {
                true => Some(Quiet::begin(&shims).await?),
                false => None,
            };
            let restored = snapshots.restore(&operation, &snapshot, reporter).await?;
            if let Some(quiet) = quiet
                && let Err(fault) = quiet.end(Duration::ZERO).await
            {
                tracing::warn!(reason = %fault.reason, "after the restore: {fault}");
            }
            let done = RestoreDone {
                snapshot: Some(wire::info(&snapshot.info())),
                files_written: restored.files_written,
                bytes_written: restored.bytes_written,
                entries_removed: restored.entries_removed,
                attributes_refused: restored.refused.entries,
            };
            Ok(RestoreSnapshotEvent { event: Some(restore_snapshot_event::Event::Done(done)) })
        });
        Ok(Response::new(stream))
    }

    async fn list(&self, request: Request<ListSnapshotsRequest>) -> Result<Response<ListSnapshotsResponse>, Status> {
        let wanted = ListSnapshots::try_from(request.into_inner()).map_err(refuse)?;
        let snapshots = self.snapshots().map_err(refuse)?;
        let listed = async {
            let after = wanted.after.as_ref().map_or(0, |id| id.sequence());
            let page = snapshots.lineage().await?.list(after, wanted.page_size).await?;
            let last = page.snapshots.last().filter(|_| page.next.is_some()).map(|last| last.root.id.to_string());
            Ok(ListSnapshotsResponse {
                snapshots: page.snapshots.iter().map(|stored| wire::info(&stored.info())).collect(),
                next_page_token: last.unwrap_or_default(),
            })
        };
        listed.await.map(Response::new).map_err(refuse)
    }

    async fn get(&self, request: Request<GetSnapshotRequest>) -> Result<Response<SnapshotInfo>, Status> {
        let id = optional_id(&request.into_inner().snapshot).map_err(refuse)?;
        let snapshots = self.snapshots().map_err(refuse)?;
        let found = snapshots.find(id.as_ref().map(ToString::to_string).as_deref()).await.map_err(refuse)?;
        Ok(Response::new(wire::info(&found.info())))
    }

    type DiffStream = ReceiverStream<Result<DiffSnapshotsBatch, Status>>;

    async fn diff(&self, request: Request<DiffSnapshotsRequest>) -> Result<Response<Self::DiffStream>, Status> {
        let request = request.into_inner();
        let from = optional_id(&request.from).map_err(refuse)?;
        let to = optional_id(&request.to).map_err(refuse)?;
        let snapshots = self.snapshots().map_err(refuse)?;
        let permit = Arc::clone(&self.diffs).try_acquire_owned().map_err(|_| refuse(diff::too_many()))?;
        let from = snapshots.find(from.as_ref().map(ToString::to_string).as_deref()).await.map_err(refuse)?;
        let to = match to {
            Some(to) => Some(snapshots.find(Some(to.as_str())).await.map_err(refuse)?),
            None => None,
        };
        Ok(Response::new(diff::stream(snapshots, from, to, permit)))
    }

    type VerifyStream = ReceiverStream<Result<VerifySnapshotEvent, Status>>;

    async fn verify(&self, request: Request<VerifySnapshotRequest>) -> Result<Response<Self::VerifyStream>, Status> {
        let VerifySnapshotRequest { snapshot, read_contents } = request.into_inner();
        let id = optional_id(&snapshot).map_err(refuse)?;
        let snapshots = self.snapshots().map_err(refuse)?;
        let operation = snapshots.begin("verify").map_err(refuse)?;
        let (events, stream) = Events::open(operation.cancel.clone(), self.stop.clone(), |progress| {
            VerifySnapshotEvent { event: Some(verify_snapshot_event::Event::Progress(progress)) }
        });
        events.run(async move |reporter| {
            let snapshot = snapshots.find(id.as_ref().map(ToString::to_string).as_deref()).await?;
            let lineage = snapshots.lineage().await?;
            let done = verify(lineage, &snapshot, read_contents, &*reporter, &operation.cancel).await?;
            let summary = VerifySummary {
                snapshot: Some(wire::info(&snapshot.info())),
                objects: done.objects,
                bytes: done.bytes,
                damages: done.damages,
            };
            Ok(VerifySnapshotEvent { event: Some(verify_snapshot_event::Event::Done(summary)) })
        });
        Ok(Response::new(stream))
    }

    type ExportStream = ReceiverStream<Result<ArchiveChunk, Status>>;

    async fn export(&self, request: Request<ExportSnapshotRequest>) -> Result<Response<Self::ExportStream>, Status> {
        // What is in files is more than which snapshots there are.
        capability(request.extensions())?.allows(Verb::FileRead).map_err(refuse)?;
        let ExportSnapshot { snapshot, packing } = request.into_inner().try_into().map_err(refuse)?;
        let snapshots = self.snapshots().map_err(refuse)?;
        let permit = Arc::clone(&self.exports).try_acquire_owned().map_err(|_| refuse(export::too_many()))?;
        let found = snapshots.find(snapshot.as_ref().map(|id| id.as_str())).await.map_err(refuse)?;
        let stop = self.stop.clone();
        Ok(Response::new(ReceiverStream::new(export::stream(snapshots, found, packing, permit, stop))))
    }

    async fn prune(&self, request: Request<PruneSnapshotsRequest>) -> Result<Response<PruneSnapshotsResponse>, Status> {
        let PruneSnapshots { keep_last, keep_hourly, keep_daily, keep_labels, dry_run } =
            PruneSnapshots::try_from(request.into_inner()).map_err(refuse)?;
        let snapshots = self.snapshots().map_err(refuse)?;
        let operation = snapshots.begin("prune").map_err(refuse)?;
        let retention = Retention { keep_last, keep_hourly, keep_daily, keep_labels };
        let pruned = async {
            let lineage = snapshots.lineage().await?;
            Ok::<_, Fault>(prune(lineage, &retention, dry_run, &operation.cancel).await?)
        };
        let pruned = pruned.await.map_err(refuse)?;
        Ok(Response::new(PruneSnapshotsResponse {
            removed: pruned.removed,
            kept: pruned.kept,
            objects_removed: pruned.objects_removed,
            bytes_removed: pruned.bytes_removed,
        }))
    }

    async fn cancel(
        &self,
        _: Request<CancelSnapshotOperationRequest>,
    ) -> Result<Response<CancelSnapshotOperationResponse>, Status> {
        let operation = self.snapshots().map_err(refuse)?.cancel().await;
        Ok(Response::new(CancelSnapshotOperationResponse {
            was_running: operation.is_some(),
            operation: operation.unwrap_or_default().to_owned(),
        }))
    }
}

impl Watcher for Reporter<RestoreSnapshotEvent> {
    fn usable(&self, files_left: u64, bytes_left: u64) {
        let usable = RestoreUsable { files_left, bytes_left };
        self.send(RestoreSnapshotEvent { event: Some(restore_snapshot_event::Event::Usable(usable)) });
    }
}

impl VerifyObserver for Reporter<VerifySnapshotEvent> {
    fn damage(&self, damage: Damage) {
        let Damage { object_key, problem, paths } = damage;
        let damage = SnapshotDamage { object_key, problem, paths: paths.into_iter().map(Into::into).collect() };
        self.send(VerifySnapshotEvent { event: Some(verify_snapshot_event::Event::Damage(damage)) });
    }
}
