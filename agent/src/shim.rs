//! The role `shim`: wraps a container's own command, reaps its orphans, and owns
//! the container's terminals and commands, which so outlive the agent.
//!
//! ```text
//! start ─► (wait for others) ─► main command runs ──it ends──► (linger: serve on) ─► all ended ─► exit as it did
//!                     └─────────────────┴─SIGTERM or Stop: everything is asked to end, budget, then SIGKILL─┘
//! ```
//!
//! Terminals and commands are served while the main command waits, and after it gave up
//! waiting too: that is when somebody wants to look around.
//!
//! On SIGTERM what stands still goes on, the container's command and all that runs for
//! clients get SIGTERM, terminals are hung up, and all have --stop-grace. What is left then, or was
//! forked away, is asked once more and killed. From the signal to the exit it takes at
//! most --stop-grace and [`crate::limits::SHIM_STOP_SLACK`], whatever runs here.

mod confiner;
mod control;
mod exec;
mod freezer;
mod listen;
mod main_command;
mod peer;
mod terminal;
mod usage;
mod wire;

use std::{
    path::{Path, PathBuf},
    process::ExitCode,
    sync::Arc,
    time::Duration,
};

use anyhow::Context as _;
use remora_agent_term::{
    Adopt, Children, Environment, KILL_GRACE, Registry, TermError, close_on_exec_from, kill_descendants,
};
use remora_proto::{
    agent::v1::{exec_service_server::ExecServiceServer, terminal_service_server::TerminalServiceServer},
    shim::v1::shim_service_server::ShimServiceServer,
};
use remora_proto_serving::limits::HTTP2_FRAME_BYTES;
use rustix::process::Signal;
use tokio::{
    sync::watch,
    time::{Instant, timeout_at},
};
use tokio_util::task::AbortOnDropHandle;
use tracing::{info, warn};

use self::{
    confiner::Confiner,
    control::ShimRpc,
    exec::ExecRpc,
    freezer::Freezer,
    main_command::{Main, MainState, Signals},
    terminal::TerminalRpc,
    usage::Usage,
};
pub use self::{control::PROTOCOL, peer::SECRET_METADATA};
use crate::gates::{self, Gate};

/// Exit code of a shim that could not start; the command's own codes are passed on.
const EXIT_FAILURE: u8 = 125;
/// Exit code of a shim whose command may not be executed or is no program, as shells have it.
const EXIT_NOT_EXECUTABLE: u8 = 126;
/// Exit code of a shim whose command does not exist, as shells have it.
const EXIT_NOT_FOUND: u8 = 127;
/// How often idle terminals are looked for: their bound is in minutes.
const IDLE_TICK: Duration = Duration::from_secs(5);
/// Receive window of a connection, bytes: larger than all streams' windows
/// together, so that one stream that is not read never stalls the others.
const CONNECTION_WINDOW_BYTES: u32 = 32 << 20;
/// Receive window of a stream, bytes.
const STREAM_WINDOW_BYTES: u32 = 128 << 10;
/// Streams of a connection.
const STREAMS: u32 = 256;

/// `remora-agent shim`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Name of the container, as in the project's spec.
    #[arg(long)]
    pub container: String,
    /// Unix socket to listen on; its folder becomes private to this user.
    #[arg(long)]
    pub socket: PathBuf,
    /// File with the secret that the agent presents.
    #[arg(long)]
    pub secret_file: PathBuf,
    /// The workspace: where the command, terminals and commands start.
    #[arg(long)]
    pub workdir: PathBuf,
    /// The workspace's root, where programs can be kept in a folder of it.
    #[arg(long)]
    pub workspace: Option<PathBuf>,
    /// Written once the socket listens: JSON with `socket` and `pid`.
    #[arg(long)]
    pub ready_file: Option<PathBuf>,
    /// Folder for output that is too large for memory.
    #[arg(long)]
    pub spill_dir: Option<PathBuf>,
    /// Seconds that the command, terminals and commands have to end after SIGTERM.
    #[arg(long, default_value_t = 10)]
    pub stop_grace: u64,
    /// Go on serving after the command has ended, until SIGTERM.
    #[arg(long)]
    pub linger: bool,
    /// What the command waits for, as `remora-agent wait --for` takes it; repeatable
    #[arg(long = "wait-for", value_name = "NAME=CHECK")]
    pub wait_for: Vec<Gate>,
    /// Seconds that it waits; after that it does not begin.
    #[arg(long, value_name = "SECONDS", default_value_t = 300, value_parser = clap::value_parser!(u64).range(1..=86_400))]
    pub wait_timeout: u64,
    /// Written once the command has begun.
    #[arg(long)]
    pub started_file: Option<PathBuf>,
    /// The container's own command.
    #[arg(last = true, required = true)]
    pub command: Vec<String>,
}

/// Runs the container until its command has ended; the exit code is the command's.
pub async fn run(args: Args) -> anyhow::Result<ExitCode> {
    let Args { container, socket, secret_file, workdir, workspace, ready_file, spill_dir, stop_grace, linger, .. } =
        &args;
    let (container, socket, stop_grace) = (container.clone(), socket.clone(), Duration::from_secs(*stop_grace));
    close_on_exec_from(3).context("mark inherited descriptors")?;
    let secret = std::fs::read(secret_file).with_context(|| format!("read the secret {}", secret_file.display()))?;
    anyhow::ensure!(secret.trim_ascii().len() >= 16, "the secret in {} has under 16 bytes", secret_file.display());
    let workdir = std::path::absolute(workdir)?;
    let children = Children::start(Adopt::Orphans).context("become the reaper of the container")?;
    let environment = Environment::inherited(workdir);
    let spill = spill_dir.clone().unwrap_or_else(|| socket.with_extension("spill"));
    let own = [socket.parent().map(Path::to_owned).unwrap_or_default(), secret_file.clone(), spill.clone()];
    let confiner = Arc::new(Confiner::new(workspace.clone(), own));
    let registry = Arc::new(Registry::new(environment.clone(), Arc::clone(&children), spill));
    let listener = listen::bind(&socket).with_context(|| format!("listen on {}", socket.display()))?;

    let (stop, mut stopping) = watch::channel(None);
    // Before the command: as PID 1 a signal without a handler would be lost.
    let mut signals = Signals::new()?;
    let (state, status) = watch::channel(MainState::Waiting(gates::names(&args.wait_for)));
    // One that waits for nothing is there before anybody can ask.
    let mut main = match args.wait_for.as_slice() {
        [] => Some(begin(&args, &environment, Arc::clone(&children), state.clone()).await?),
        _ => None,
    };
    let freezer = Freezer::default();
    let usage = Usage::begun();
    let _watching = AbortOnDropHandle::new(tokio::spawn(usage.clone().watch(Arc::clone(&registry))));
    let rpc = ShimRpc::new(container.clone(), Arc::clone(&registry), status, stop, freezer.clone(), usage);
    let guard = peer::Guard::new(&secret);
    let server = tonic::transport::Server::builder()
        .initial_connection_window_size(CONNECTION_WINDOW_BYTES)
        .initial_stream_window_size(STREAM_WINDOW_BYTES)
        .max_frame_size(HTTP2_FRAME_BYTES)
        .max_concurrent_streams(STREAMS)
        .add_service(ShimServiceServer::with_interceptor(rpc, guard.clone()))
        .add_service(TerminalServiceServer::with_interceptor(
            TerminalRpc::new(container.clone(), Arc::clone(&registry), Arc::clone(&confiner)),
            guard.clone(),
        ))
        .add_service(ExecServiceServer::with_interceptor(
            ExecRpc::new(container.clone(), Arc::clone(&registry), confiner),
            guard,
        ))
        .serve_with_incoming(listen::incoming(listener));
    let mut server = AbortOnDropHandle::new(tokio::spawn(server));
    if let Some(file) = ready_file {
        announce(file, &socket)?;
    }
    info!(%container, socket = %socket.display(), "shim is ready");

    let mut idle = tokio::time::interval(IDLE_TICK);
    let patience = Duration::from_secs(args.wait_timeout);
    let waited = gates::open(&args.wait_for, patience, |why| {
        state.send_replace(MainState::Waiting(why.to_owned()));
    });
    tokio::pin!(waited);
    let mut waits = main.is_none();
    let mut ended = main.as_ref().map(|main| Box::pin(main.ended()));
    let stopped = loop {
        let grace = tokio::select! {
            outcome = &mut waited, if waits => {
                waits = false;
                match outcome {
                    Ok(()) => {
                        let begun = begin(&args, &environment, Arc::clone(&children), state.clone()).await?;
                        ended = Some(Box::pin(begun.ended()));
                        main = Some(begun);
                    }
                    Err(why) => {
                        warn!(why, "gave up waiting; the container's command does not begin");
                        state.send_replace(MainState::GaveUp(why));
                    }
                }
                continue;
            }
            () = async { if let Some(ended) = &mut ended { ended.await } }, if ended.is_some() => {
                info!("the container's command has ended");
                if !linger {
                    break None;
                }
                ended = None;
                continue;
            }
            signal = signals.next() => match (signal, &main) {
                (Some(signal), Some(main)) => { main.signal(signal); continue }
                (Some(_), None) => continue,
                (None, _) => stop_grace,
            },
            Ok(()) = stopping.changed() => stopping.borrow().unwrap_or(stop_grace),
            _ = idle.tick() => { registry.close_idle().await; continue }
            broken = &mut server => {
                // Without it nobody reaches the sessions: end, so that the container is started anew.
                warn!(?broken, "the shim's server has ended");
                break None;
            }
        };
        break Some(grace);
    };
    end(main.as_ref(), &registry, freezer, stopped.unwrap_or_default()).await?;
    if let Some(main) = &main {
        main.reported().await;
    }
    drop(server);
    let _ = std::fs::remove_file(&socket);
    Ok(main.map_or(ExitCode::SUCCESS, |main| main.exit_code()))
}

/// Starts the container's command, and leaves word that it has begun.
async fn begin(
    args: &Args,
    environment: &Environment,
    children: Arc<Children>,
    state: watch::Sender<MainState>,
) -> anyhow::Result<Main> {
    let main = Main::start(&args.command, environment, children, state).await?;
    if let Some(file) = &args.started_file {
        file.parent()
            .map_or(Ok(()), std::fs::create_dir_all)
            .and_then(|()| std::fs::write(file, ""))
            .with_context(|| format!("write {}", file.display()))?;
    }
    Ok(main)
}

/// Ends everything in the container, within `grace` and [`crate::limits::SHIM_STOP_SLACK`].
async fn end(main: Option<&Main>, registry: &Arc<Registry>, freezer: Freezer, grace: Duration) -> anyhow::Result<()> {
    let deadline = Instant::now() + grace;
    if let Some(main) = main {
        main.ask_to_end();
    }
    tokio::task::spawn_blocking(move || freezer.end()).await?;
    let asked = async {
        registry.ask_all_to_end().await;
        let main_ended = async {
            if let Some(main) = main {
                main.ended().await;
            }
        };
        tokio::join!(main_ended, registry.all_ended());
    };
    if timeout_at(deadline, asked).await.is_err()
        && let Some(main) = main
    {
        main.signal(Signal::KILL);
    }
    let survivors = tokio::task::spawn_blocking(|| kill_descendants(KILL_GRACE)).await?;
    if !survivors.is_empty() {
        warn!(?survivors, "processes live on after SIGKILL");
    }
    Ok(())
}

/// The exit code of a shim that ended with `error`.
pub fn exit_code_of(error: &anyhow::Error) -> ExitCode {
    ExitCode::from(match error.downcast_ref::<TermError>() {
        Some(TermError::ProgramNotFound { .. }) => EXIT_NOT_FOUND,
        Some(TermError::ProgramNotPermitted { .. } | TermError::ProgramNotExecutable { .. }) => EXIT_NOT_EXECUTABLE,
        _ => EXIT_FAILURE,
    })
}

fn announce(file: &Path, socket: &Path) -> anyhow::Result<()> {
    let text = serde_json::json!({ "socket": socket, "pid": std::process::id() }).to_string();
    let fresh = file.with_extension("new");
    std::fs::write(&fresh, text).and_then(|()| std::fs::rename(&fresh, file)).context("write the ready file")
}
