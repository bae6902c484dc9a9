//! An agent's place in a pod: its address, its certificate and the calls that a project's
//! driver makes. What it commits is one object, the root.

use std::{
    net::SocketAddr,
    pin::Pin,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering},
    },
    time::Duration,
};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use bytes::Bytes;
use futures_util::{Stream, StreamExt as _, stream};
use remora_proto::{
    agent::v1::{
        agent_service_server::{AgentService, AgentServiceServer},
        snapshot_service_server::{SnapshotService, SnapshotServiceServer},
        *,
    },
    fault::to_status,
};
use remora_proto_model::{Fault, Reason};
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio_util::sync::{CancellationToken, DropGuard};
use tonic::{
    Request, Response, Status,
    transport::{Certificate, Identity, Server, ServerTlsConfig},
};

use crate::{bucket::Content, site::PATIENCE};

/// Of all snapshots, so that none has the root of another one.
static SNAPSHOTS: AtomicU64 = AtomicU64::new(1);

type Replies<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;

/// Which generation of which project it serves, and where it commits.
#[derive(Clone)]
pub(crate) struct Place {
    pub(crate) project: String,
    pub(crate) generation: u64,
    pub(crate) container: String,
    pub(crate) bucket: Arc<Mutex<Content>>,
    /// Calls that came.
    pub(crate) asked: Arc<AtomicUsize>,
    /// Whether it is of a release without snapshots.
    pub(crate) lacks_snapshots: Arc<AtomicBool>,
}

impl Place {
    /// Commits; the root's object and what the agent says of it.
    fn commit(&self) -> Result<SnapshotInfo, Fault> {
        let mut bucket = self.bucket.lock().unwrap();
        if bucket.down {
            return Err(Fault::new(Reason::StoreUnavailable, "the store does not answer").stage("store"));
        }
        let sequence = SNAPSHOTS.fetch_add(1, Ordering::Relaxed);
        let root_key = format!("roots/{sequence:020}");
        let root = Bytes::from(format!("root {sequence} of {} g{}", self.project, self.generation));
        let root_blake3 = Bytes::from(blake3::hash(&root).as_bytes().to_vec());
        bucket.objects.insert(format!("projects/{}/{root_key}", self.project), root);
        let id = format!("{sequence}-{}-x", self.generation);
        let generation = self.generation;
        Ok(SnapshotInfo { id, root_key, root_blake3, sequence, generation, created_ms: 1, ..Default::default() })
    }

    /// What it writes for the kubelet after its last snapshot.
    pub(crate) fn last_word(&self) -> Value {
        match self.commit() {
            Ok(info) => json!({ "snapshot": {
                "id": info.id, "root_key": info.root_key, "root_blake3": hex::encode(&info.root_blake3),
                "sequence": info.sequence, "created_ms": info.created_ms,
            }}),
            Err(fault) => json!({ "reason": fault.reason.as_str(), "message": fault.to_string() }),
        }
    }
}

/// Serves at `address` with the identity in `secret`, until what is returned is dropped.
pub(crate) async fn serve(place: Place, address: SocketAddr, secret: &Value) -> DropGuard {
    let part = |name: &str| STANDARD.decode(secret["data"][name].as_str().unwrap()).unwrap();
    let tls = ServerTlsConfig::new()
        .identity(Identity::from_pem(part("agent.crt"), part("agent.key")))
        .client_ca_root(Certificate::from_pem(part("ca.crt")));
    // Whoever had the address before may be on its way out.
    let free = async {
        loop {
            match TcpListener::bind(address).await {
                Ok(listener) => return listener,
                Err(_) => tokio::time::sleep(Duration::from_millis(10)).await,
            }
        }
    };
    let listener = tokio::time::timeout(PATIENCE, free).await.expect("the address becomes free");
    let incoming = stream::unfold(listener, |listener| async {
        let stream = listener.accept().await.map(|(stream, _)| stream);
        Some((stream, listener))
    });
    let server = Server::builder()
        .tls_config(tls)
        .unwrap()
        .add_service(AgentServiceServer::new(place.clone()))
        .add_service(SnapshotServiceServer::new(place));
    let ends = CancellationToken::new();
    let told = ends.clone().cancelled_owned();
    // An error is that of a client.
    tokio::spawn(async { drop(server.serve_with_incoming_shutdown(incoming, told).await) });
    ends.drop_guard()
}

fn unasked<T>() -> Result<T, Status> {
    Err(Status::unimplemented("there is no such call"))
}

#[tonic::async_trait]
impl AgentService for Place {
    async fn get_info(&self, _: Request<GetInfoRequest>) -> Result<Response<GetInfoResponse>, Status> {
        self.asked.fetch_add(1, Ordering::SeqCst);
        let (project_id, generation) = (self.project.clone(), self.generation);
        Ok(Response::new(GetInfoResponse { project_id, generation, ..Default::default() }))
    }

    type WatchStatusStream = Replies<AgentStatus>;

    async fn watch_status(&self, _: Request<WatchStatusRequest>) -> Result<Response<Replies<AgentStatus>>, Status> {
        self.asked.fetch_add(1, Ordering::SeqCst);
        let container = ContainerStatus {
            name: self.container.clone(),
            reachable: true,
            main_running: true,
            ..ContainerStatus::default()
        };
        let status = AgentStatus { ready: true, containers: vec![container], ..AgentStatus::default() };
        Ok(Response::new(stream::once(async { Ok(status) }).chain(stream::pending()).boxed()))
    }

    async fn freeze(&self, _: Request<FreezeContainersRequest>) -> Result<Response<FreezeContainersResponse>, Status> {
        unasked()
    }

    async fn thaw(&self, _: Request<ThawContainersRequest>) -> Result<Response<ThawContainersResponse>, Status> {
        unasked()
    }

    async fn drain(&self, _: Request<DrainRequest>) -> Result<Response<DrainResponse>, Status> {
        unasked()
    }
}

#[tonic::async_trait]
impl SnapshotService for Place {
    type CreateStream = Replies<CreateSnapshotEvent>;
    type RestoreStream = Replies<RestoreSnapshotEvent>;
    type DiffStream = Replies<DiffSnapshotsBatch>;
    type VerifyStream = Replies<VerifySnapshotEvent>;
    type ExportStream = Replies<ArchiveChunk>;

    async fn create(
        &self,
        _: Request<CreateSnapshotRequest>,
    ) -> Result<Response<Replies<CreateSnapshotEvent>>, Status> {
        self.asked.fetch_add(1, Ordering::SeqCst);
        if self.lacks_snapshots.load(Ordering::SeqCst) {
            return unasked();
        }
        let info = self.commit().map_err(|fault| to_status(&fault))?;
        let event = CreateSnapshotEvent { event: Some(create_snapshot_event::Event::Committed(info)) };
        Ok(Response::new(stream::once(async { Ok(event) }).boxed()))
    }

    async fn restore(
        &self,
        _: Request<RestoreSnapshotRequest>,
    ) -> Result<Response<Replies<RestoreSnapshotEvent>>, Status> {
        unasked()
    }

    async fn list(&self, _: Request<ListSnapshotsRequest>) -> Result<Response<ListSnapshotsResponse>, Status> {
        unasked()
    }

    async fn get(&self, _: Request<GetSnapshotRequest>) -> Result<Response<SnapshotInfo>, Status> {
        unasked()
    }

    async fn diff(&self, _: Request<DiffSnapshotsRequest>) -> Result<Response<Replies<DiffSnapshotsBatch>>, Status> {
        unasked()
    }

    async fn verify(
        &self,
        _: Request<VerifySnapshotRequest>,
    ) -> Result<Response<Replies<VerifySnapshotEvent>>, Status> {
        unasked()
    }

    async fn export(&self, _: Request<ExportSnapshotRequest>) -> Result<Response<Replies<ArchiveChunk>>, Status> {
        unasked()
    }

    async fn prune(&self, _: Request<PruneSnapshotsRequest>) -> Result<Response<PruneSnapshotsResponse>, Status> {
        unasked()
    }

    async fn cancel(
        &self,
        _: Request<CancelSnapshotOperationRequest>,
    ) -> Result<Response<CancelSnapshotOperationResponse>, Status> {
        unasked()
    }
}
