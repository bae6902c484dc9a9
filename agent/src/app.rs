//! `serve`, put together: `build` binds every port and says where, `run` serves
//! until it is told to stop.

use std::{fs, io, net::SocketAddr, path::Path, process::ExitCode, sync::Arc};

use prometheus_client::registry::Registry;
use remora_agent_root::Root;
use remora_proto::{
    DESCRIPTORS,
    agent::v1::{
        agent_service_server::AgentServiceServer, exec_service_server::ExecServiceServer,
        file_service_server::FileServiceServer, snapshot_service_server::SnapshotServiceServer,
        terminal_service_server::TerminalServiceServer,
    },
};
use remora_proto_serving::calls::Calls;
use serde::Serialize;
use tokio::{net::TcpListener, signal::unix::Signal, time::Instant};
use tokio_rustls::TlsAcceptor;
use tokio_util::{sync::CancellationToken, task::AbortOnDropHandle};
use tonic::service::Routes;

use crate::{
    accept::Acceptor,
    auth::{Gate, Guarded},
    config::ServeConfig,
    folders,
    last_snapshot::LastSnapshot,
    limits::{DRAIN_TIMEOUT, MAX_CALLS, MAX_MESSAGE_BYTES},
    metrics::Metrics,
    precopy,
    probes::{self, Readiness},
    rpc::{
        agent::{Agent, Seen},
        exec::Commands,
        files::Files,
        snapshot::SnapshotRpc,
        terminal::Terminals,
    },
    shims::Shims,
    snapshots::{Snapshots, missing_settings},
    usage::{Usage, visitors::Visitors},
};

/// An agent whose ports are bound and which serves nothing yet.
pub struct Bound {
    acceptor: Acceptor,
    probes: TcpListener,
    registry: Arc<Registry>,
    draining: CancellationToken,
    shims: Arc<Shims>,
    snapshots: Option<Snapshots>,
    last: Option<LastSnapshot>,
    /// Where it will serve.
    pub addresses: Addresses,
}

/// Where an agent serves; also the content of the ready file.
#[derive(Clone, Debug, Serialize)]
pub struct Addresses {
    /// gRPC over mutual TLS.
    pub grpc: SocketAddr,
    /// Probes and metrics over plain HTTP.
    pub metrics: SocketAddr,
    /// The agent's process.
    pub pid: u32,
}

/// Binds the ports. `stop` ends the agent; a call of Drain cancels it.
pub async fn build(config: ServeConfig, stop: &CancellationToken) -> io::Result<Bound> {
    let ServeConfig {
        project,
        generation,
        listen,
        metrics_listen,
        tls,
        client_san,
        verifier,
        workspace,
        state_dir,
        shims,
        shim_secret,
        ports,
        ready_file,
        last,
        snapshots,
    } = config;
    let snapshots = match (&workspace, &state_dir) {
        (Some(workspace), Some(state)) if snapshots.s3_bucket.is_some() => {
            Ok(Snapshots::with_folders(snapshots, generation, workspace, state).map_err(io::Error::other)?)
        }
        _ => Err(missing_settings(&snapshots, workspace.as_deref(), state_dir.as_deref())),
    };
    let listener = TcpListener::bind(listen).await?;
    let probes = TcpListener::bind(metrics_listen).await?;
    let addresses = Addresses { grpc: listener.local_addr()?, metrics: probes.local_addr()?, pid: std::process::id() };
    let (metrics, registry) = Metrics::registered();
    let calls = Calls::new("calls", MAX_CALLS);
    let shims = Arc::new(Shims::start(shims, shim_secret));
    let durability = snapshots.as_ref().ok().map(Snapshots::durability);
    let (usage, visitors) = (Usage::default(), Visitors::default());
    tokio::spawn(stop.clone().run_until_cancelled_owned(visitors.clone().watch(ports)));
    let seen = Seen { calls: calls.clone(), usage: usage.clone(), visitors, durability };
    let agent = Agent::new(project, generation, Arc::clone(&shims), seen, stop.clone());
    let agent = AgentServiceServer::new(agent)
        .max_decoding_message_size(MAX_MESSAGE_BYTES)
        .max_encoding_message_size(MAX_MESSAGE_BYTES);
    let terminals = TerminalServiceServer::new(Terminals::new(Arc::clone(&shims), stop.clone()))
        .max_decoding_message_size(MAX_MESSAGE_BYTES)
        .max_encoding_message_size(MAX_MESSAGE_BYTES);
    let commands = ExecServiceServer::new(Commands::new(Arc::clone(&shims), stop.clone()))
        .max_decoding_message_size(MAX_MESSAGE_BYTES)
        .max_encoding_message_size(MAX_MESSAGE_BYTES);
    if let Some(workspace) = &workspace {
        folders::make(workspace, folders::WORKSPACE_MODE).map_err(io::Error::other)?;
    }
    let workspace =
        workspace.map(Root::open).transpose().map_err(|error| io::Error::other(format!("--workspace: {error}")))?;
    let files = FileServiceServer::new(Files::new(workspace, stop.clone()))
        .max_decoding_message_size(MAX_MESSAGE_BYTES)
        .max_encoding_message_size(MAX_MESSAGE_BYTES);
    let of_workspace = snapshots.as_ref().ok().cloned();
    if let Ok(snapshots) = &snapshots {
        tokio::spawn(snapshots.clone().measure(stop.clone()));
    }
    let snapshots = SnapshotServiceServer::new(SnapshotRpc::new(snapshots, Arc::clone(&shims), stop.clone()))
        .max_decoding_message_size(MAX_MESSAGE_BYTES)
        .max_encoding_message_size(MAX_MESSAGE_BYTES);
    let (health, health_service) = tonic_health::server::health_reporter();
    health.set_serving::<AgentServiceServer<Agent>>().await;
    health.set_serving::<TerminalServiceServer<Terminals>>().await;
    health.set_serving::<ExecServiceServer<Commands>>().await;
    health.set_serving::<FileServiceServer<Files>>().await;
    health.set_serving::<SnapshotServiceServer<SnapshotRpc>>().await;
    let reflection = tonic_reflection::server::Builder::configure()
        .register_encoded_file_descriptor_set(DESCRIPTORS)
        .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET)
        .with_service_name("remora.agent.v1.AgentService")
        .with_service_name("remora.agent.v1.TerminalService")
        .with_service_name("remora.agent.v1.ExecService")
        .with_service_name("remora.agent.v1.FileService")
        .with_service_name("remora.agent.v1.SnapshotService")
        .with_service_name("grpc.health.v1.Health")
        .build_v1()
        .map_err(io::Error::other)?;
    let routes = Routes::new(agent)
        .add_service(terminals)
        .add_service(commands)
        .add_service(files)
        .add_service(snapshots)
        .add_service(health_service)
        .add_service(reflection)
        .prepare();
    let gate = Arc::new(Gate { verifier, project, generation });
    let service = Guarded::new(routes, gate, calls.clone(), metrics.clone(), usage);
    if let Some(path) = &ready_file {
        announce(path, &addresses)?;
    }
    Ok(Bound {
        acceptor: Acceptor {
            listener,
            tls: TlsAcceptor::from(tls),
            client_san: client_san.into(),
            service,
            calls,
            metrics,
            drain_timeout: last.as_ref().map_or(DRAIN_TIMEOUT, LastSnapshot::drain_timeout),
        },
        probes,
        registry,
        draining: stop.clone(),
        shims,
        snapshots: of_workspace,
        last,
        addresses,
    })
}

impl Bound {
    /// Serves until the token given to [`build`] is cancelled, the drain is over and the
    /// last snapshot is made or given up. Each `precopy` signal asks for a snapshot.
    pub async fn run(self, precopy: Signal) -> ExitCode {
        let Bound { acceptor, probes, registry, draining, shims, snapshots, last, addresses: _ } = self;
        // Probes are answered until the end: an agent that saves what there is to save must not be restarted.
        let ended = CancellationToken::new();
        let readiness =
            Readiness { draining: draining.clone(), restoring: snapshots.clone(), shims: Arc::clone(&shims) };
        let probes = tokio::spawn(probes::run(probes, registry, readiness, ended.clone()));
        let pod_ends = CancellationToken::new();
        let copying = precopy::on_signal(precopy, snapshots.clone(), draining.clone(), pod_ends.clone());
        let copying = AbortOnDropHandle::new(tokio::spawn(copying));
        let with_shims = last.as_ref().filter(|last| last.with_shims).map(|_| {
            let draining = draining.clone();
            AbortOnDropHandle::new(tokio::spawn(async move {
                pod_ends.cancelled().await;
                shims.have_ended().await;
                tracing::info!("the pod ends and every shim has ended: nothing more is written");
                draining.cancel();
            }))
        });
        let told = async {
            draining.cancelled().await;
            Instant::now()
        };
        let (told, ()) = tokio::join!(told, acceptor.run(draining.clone()));
        let code = match (&last, &snapshots) {
            (Some(last), Some(snapshots)) => last.make(snapshots, told).await,
            _ => ExitCode::SUCCESS,
        };
        drop((copying, with_shims));
        ended.cancel();
        if let Err(error) = probes.await {
            tracing::error!(%error, "the probe port ended early");
        }
        code
    }
}

/// Whoever waits for the file finds it whole or not at all.
fn announce(path: &Path, addresses: &Addresses) -> io::Result<()> {
    let temporary = path.with_extension(format!("{}.tmp", addresses.pid));
    fs::write(&temporary, serde_json::to_vec(addresses)?)?;
    fs::rename(temporary, path)
}
