//! The server, put together: [`build`] binds every port and says where,
//! [`Bound::run`] serves until it is told to stop.

mod cluster;
mod local;
mod orphans;

use std::{fs, io, net::SocketAddr, path::PathBuf, sync::Arc};

use remora_control_plane_kube::service_accounts::ServiceAccounts;
use remora_control_plane_runtime::{Projects, Shutdown, StoreEndpoint};
use remora_proto_model::Fault;
use remora_proto_serving::calls::Calls;
use serde::Serialize;
use tokio::{net::TcpListener, task::JoinHandle, time::interval};
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;
use tonic_health::server::HealthReporter;

use crate::{
    accept::Acceptor,
    audit::{Audit, Destination, Sink},
    auth::{access::AccessTokens, keys::Keys},
    bucket::BucketError,
    config::{Config, Place},
    control::{About, Control},
    front::{Front, Hosts},
    gate::Gate,
    grpc,
    limits::{KEYS_FLUSH, MAX_CALLS},
    metrics::Metrics,
    proxy::Proxy,
    rest::{self, sockets::Sockets},
};

/// Why the server does not start.
#[derive(Debug, thiserror::Error)]
pub(crate) enum StartError {
    #[error("--listen {address}: {source}; another server may run there, choose another port")]
    Listen { address: SocketAddr, source: io::Error },
    #[error(transparent)]
    Bucket(#[from] BucketError),
    #[error("{0}")]
    State(#[from] Fault),
    #[error("{what}: {source}")]
    Io { what: String, source: io::Error },
}

/// Where a server serves; also the content of the ready file.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Addresses {
    /// gRPC and REST.
    pub(crate) url: String,
    pub(crate) address: SocketAddr,
    /// The server's process.
    pub(crate) pid: u32,
}

/// A server whose ports are bound and which serves nothing yet.
pub(crate) struct Bound {
    acceptor: Acceptor,
    sockets: Sockets,
    projects: Projects,
    keys: Arc<Keys>,
    health: HealthReporter,
    served: Served,
    draining: CancellationToken,
    pub(crate) addresses: Addresses,
    pub(crate) data_dir: Option<PathBuf>,
    ready_file: Option<PathBuf>,
    /// Where snapshots go.
    pub(crate) store_name: String,
    /// The secret of an admin key, for whoever runs the server.
    pub(crate) admin_key: Option<String>,
}

/// What is behind the ports: different for each place that projects can be in.
struct Behind {
    projects: Projects,
    keys: Arc<Keys>,
    access_tokens: Arc<AccessTokens>,
    /// Callers that are ServiceAccounts of the cluster.
    accounts: Option<Arc<ServiceAccounts>>,
    /// Where snapshots go, without credentials.
    store_name: String,
    data_dir: Option<PathBuf>,
    admin_key: Option<String>,
    served: Served,
}

/// What runs as long as the server does, and ends with it.
#[derive(Default)]
struct Served {
    tasks: Vec<JoinHandle<()>>,
    stop: CancellationToken,
}

impl Served {
    async fn end(self) {
        self.stop.cancel();
        for task in self.tasks {
            _ = task.await;
        }
    }
}

/// Opens the state and binds the ports. `draining` ends the server.
pub(crate) async fn build(config: Config, draining: &CancellationToken) -> Result<Bound, StartError> {
    let Config { listen, tls, ca_file: _, allowed_hosts, allowed_origins, audit_log, ready_file, gate, place } = config;
    let refused = |source| StartError::Listen { address: listen, source };
    let listener = TcpListener::bind(listen).await.map_err(refused)?;
    let address = listener.local_addr().map_err(refused)?;
    let Behind { projects, keys, access_tokens, accounts, store_name, data_dir, admin_key, mut served } = match place {
        Place::Local(place) => local::open(*place).await?,
        Place::Cluster(place) => cluster::open(*place).await?,
    };
    served.tasks.push(tokio::spawn({
        let (keys, stop) = (Arc::clone(&keys), served.stop.clone());
        async move { stop.run_until_cancelled_owned(keys.follow()).await.unwrap_or_default() }
    }));
    served.tasks.push(tokio::spawn({
        let (tokens, stop) = (Arc::clone(&access_tokens), served.stop.clone());
        async move { stop.run_until_cancelled_owned(tokens.follow()).await.unwrap_or_default() }
    }));
    let sink = match &audit_log {
        Destination::Nowhere => None,
        somewhere => Some(
            Sink::open(somewhere)
                .map_err(|source| StartError::Io { what: format!("--audit-log {somewhere:?}"), source })?,
        ),
    };
    let about =
        About { boot_id: uuid::Uuid::new_v4().to_string(), runtime: projects.runtime(), store: store_name.clone() };
    let control = Control {
        projects: projects.clone(),
        keys: Arc::clone(&keys),
        access_tokens,
        accounts,
        gate: gate.map(|settings| Arc::new(Gate::new(settings, projects.session_key()))),
        about: Arc::new(about),
        draining: draining.clone(),
    };
    let services = grpc::services(&control)
        .await
        .map_err(|error| StartError::Io { what: "reflection".to_owned(), source: io::Error::other(error) })?;
    let (metrics, calls) = (Metrics::registered(), Calls::new("calls", MAX_CALLS));
    served.tasks.push(tokio::spawn({
        let (watch, stop) = (orphans::watch(projects.clone(), metrics.clone()), served.stop.clone());
        async move { stop.run_until_cancelled_owned(watch).await.unwrap_or_default() }
    }));
    let proxy = Arc::new(Proxy::new(control.clone(), projects.clone()));
    let sockets = Sockets::default();
    let shared = rest::Shared {
        control: control.clone(),
        metrics: metrics.clone(),
        proxy: Arc::clone(&proxy),
        sockets: sockets.clone(),
        allowed_origins: allowed_origins.into(),
    };
    let front = Front {
        hosts: Hosts::new(address.ip().is_loopback(), allowed_hosts),
        calls: calls.clone(),
        metrics: metrics.clone(),
        services: services.routes,
        methods: services.methods,
        proxy,
        rest: rest::router(shared),
        audit: Audit::new(sink),
        control,
    };
    let scheme = if tls.is_some() { "https" } else { "http" };
    let addresses = Addresses { url: format!("{scheme}://{address}"), address, pid: std::process::id() };
    let tls = tls.map(TlsAcceptor::from);
    let acceptor = Acceptor { listener, tls, front: Arc::new(front), calls, metrics };
    Ok(Bound {
        acceptor,
        sockets,
        projects,
        keys,
        health: services.health,
        served,
        draining: draining.clone(),
        addresses,
        data_dir,
        ready_file,
        store_name,
        admin_key,
    })
}

impl Bound {
    /// Whether `secret` is an API key of this server.
    pub(crate) fn knows(&self, secret: &str) -> bool {
        self.keys.authenticate(secret).is_ok()
    }

    /// Writes the ready file. Whoever waits for it finds it whole or not at all.
    pub(crate) fn announce(&self) -> io::Result<()> {
        let Some(path) = &self.ready_file else { return Ok(()) };
        let temporary = path.with_extension(format!("{}.tmp", self.addresses.pid));
        fs::write(&temporary, serde_json::to_vec(&self.addresses)?)?;
        fs::rename(temporary, path)
    }

    /// Serves until the token given to [`build`] is cancelled, and ends the
    /// projects as `how` says. `hurry` ends all waiting.
    pub(crate) async fn run(self, how: Shutdown, hurry: CancellationToken) {
        let Bound { acceptor, sockets, projects, keys, health, served, draining, .. } = self;
        let flushing = {
            let (keys, draining) = (Arc::clone(&keys), draining.clone());
            tokio::spawn(async move { flush_keys(&keys, &draining).await })
        };
        let serving = acceptor.run(draining.clone(), hurry.clone());
        let ending = async {
            draining.cancelled().await;
            health.set_service_status("", tonic_health::ServingStatus::NotServing).await;
            // While the last calls end, those of them that are streams end with their projects.
            if let Shutdown::StopWithin(_) = how {
                stop_projects(&projects, how, &hurry).await;
            }
        };
        tokio::join!(serving, ending);
        tokio::select! { () = sockets.ended() => {}, () = hurry.cancelled() => {} }
        if how == Shutdown::LeaveRunning {
            stop_projects(&projects, how, &hurry).await;
        }
        _ = flushing.await;
        served.end().await;
    }
}

async fn stop_projects(projects: &Projects, how: Shutdown, hurry: &CancellationToken) {
    tokio::select! {
        () = projects.shutdown(how) => {}
        () = hurry.cancelled() => tracing::info!("told to stop at once; projects run on"),
    }
}

async fn flush_keys(keys: &Keys, draining: &CancellationToken) {
    let mut ticks = interval(KEYS_FLUSH);
    loop {
        let last = tokio::select! {
            _ = ticks.tick() => false,
            () = draining.cancelled() => true,
        };
        if let Err(error) = keys.flush().await {
            tracing::warn!(%error, "when API keys were used is not written down");
        }
        if last {
            return;
        }
    }
}

/// Where snapshots go, without credentials.
fn store_name(store: &StoreEndpoint) -> String {
    format!("{}/{}", store.endpoint.as_deref().unwrap_or("https://s3.amazonaws.com"), store.bucket)
}
