//! The roles `hydrate` and `dehydrate`: a workspace from its snapshots before the
//! containers start, and into them after they have ended.

use std::{
    path::{Path, PathBuf},
    process::ExitCode,
    sync::Arc,
};

use remora_agent_snapshot::{Counts, Progress, SnapshotInfo, format::SnapshotId};
use remora_proto::{
    convert::snapshot::CreateSnapshot,
    model::{Fault, Generation, ProjectId, Reason},
};
use tokio::signal::unix::{SignalKind, signal};

use crate::{
    limits::STOP_BUDGET,
    snapshot_args::SnapshotArgs,
    snapshots::{Awakened, Hydration, Operation, Seed, Snapshots, Watcher, missing, missing_settings},
    termination::Termination,
};

/// The command line of `remora-agent dehydrate`, and the larger part of that of `hydrate`.
#[derive(clap::Args, Clone, Debug)]
pub struct DehydrateArgs {
    /// The project whose workspace it is
    #[arg(long, env = "REMORA_PROJECT")]
    project: ProjectId,
    /// The generation of the project that this agent was started for
    #[arg(long, env = "REMORA_GENERATION")]
    generation: u64,
    /// The project's workspace
    #[arg(long, env = "REMORA_WORKSPACE", value_name = "DIR")]
    workspace: PathBuf,
    /// Folder for what is known of the workspace, outside of it and on a disk that lives as long
    #[arg(long, env = "REMORA_STATE_DIR", value_name = "DIR")]
    state_dir: PathBuf,
    /// Where the outcome is written as JSON, at most 4096 bytes
    #[arg(long, env = "REMORA_TERMINATION_MESSAGE", value_name = "FILE")]
    termination_message: Option<PathBuf>,
    #[command(flatten)]
    snapshots: SnapshotArgs,
}

/// The command line of `remora-agent hydrate`.
#[derive(clap::Args, Clone, Debug)]
pub struct HydrateArgs {
    #[command(flatten)]
    workspace: DehydrateArgs,
    /// The snapshot that the workspace is to become; without it the newest
    #[arg(long, value_name = "ID")]
    snapshot: Option<String>,
    /// A tar or tar.zst that fills an empty workspace where there is no snapshot yet
    #[arg(long, env = "REMORA_SEED", value_name = "FILE", conflicts_with = "seed_object")]
    seed: Option<PathBuf>,
    /// The same, as an object of the store: its key below --s3-prefix
    #[arg(long, env = "REMORA_SEED_OBJECT", value_name = "KEY")]
    seed_object: Option<String>,
}

/// Fills the workspace; 0 or the exit code of what went wrong.
pub async fn hydrate(args: HydrateArgs) -> ExitCode {
    let HydrateArgs { workspace, snapshot, seed, seed_object } = args;
    let seed = seed.map(Seed::File).or(seed_object.map(Seed::Object));
    let outcome = async |snapshots: &Snapshots, operation: &Operation| {
        let snapshot = snapshot.as_deref().map(str::parse::<SnapshotId>).transpose()?;
        let awakened = snapshots.hydrate(operation, &Hydration { snapshot, seed: seed.clone() }, Arc::new(Log)).await?;
        Ok(match awakened {
            Awakened::Restored(info, restored) => {
                tracing::info!(files = restored.files_written, bytes = restored.bytes_written, "restored");
                Termination::done("restored", Some(&info))
            }
            Awakened::Adopted(info) => Termination::done("adopted", Some(&info)),
            Awakened::Seeded(info) => Termination::done("seeded", Some(&info)),
            Awakened::Empty => Termination::done("empty", None),
        })
    };
    run(workspace, "hydrate", Snapshots::with_folders, outcome).await
}

/// Makes the last snapshot; 0 or the exit code of what went wrong.
pub async fn dehydrate(args: DehydrateArgs) -> ExitCode {
    let outcome = async |snapshots: &Snapshots, operation: &Operation| {
        let committed: SnapshotInfo = snapshots.create(operation, &CreateSnapshot::default(), Arc::new(Log)).await?;
        Ok(Termination::done("committed", Some(&committed)))
    };
    run(args, "dehydrate", Snapshots::new, outcome).await
}

async fn run(
    args: DehydrateArgs,
    name: &'static str,
    open: fn(SnapshotArgs, Generation, &Path, &Path) -> Result<Snapshots, Fault>,
    work: impl AsyncFnOnce(&Snapshots, &Operation) -> Result<Termination, Fault>,
) -> ExitCode {
    let DehydrateArgs { project, generation, workspace, state_dir, termination_message, snapshots } = args;
    let attempt = async {
        let missing_flags = missing_settings(&snapshots, Some(&workspace), Some(&state_dir));
        if !missing_flags.is_empty() {
            return Err(missing(&missing_flags));
        }
        let snapshots = open(snapshots, Generation(generation), &workspace, &state_dir)?;
        let operation = snapshots.begin(name)?;
        let signals =
            |error: std::io::Error| Fault::new(Reason::Unavailable, format!("cannot wait for signals: {error}"));
        let mut terminate = signal(SignalKind::terminate()).map_err(signals)?;
        let mut interrupt = signal(SignalKind::interrupt()).map_err(signals)?;
        let cancel = operation.cancel.clone();
        let stopping = async move {
            tokio::select! { _ = terminate.recv() => {}, _ = interrupt.recv() => {} }
            tracing::info!("told to stop; ending at the next step");
            cancel.cancel();
            // A step that waits for the store ends too late for whoever asked twice.
            tokio::select! {
                _ = terminate.recv() => {}
                _ = interrupt.recv() => {}
                () = tokio::time::sleep(STOP_BUDGET) => {}
            }
        };
        tracing::info!(%project, generation, role = name, "started");
        tokio::select! {
            outcome = work(&snapshots, &operation) => outcome,
            () = stopping => Err(Fault::new(Reason::Cancelled, "told to stop")),
        }
    };
    conclude(name, attempt.await, termination_message.as_deref())
}

/// Tells how the role `name` ended, in the log and in its termination message; the exit code.
pub(crate) fn conclude(name: &'static str, ended: Result<Termination, Fault>, message: Option<&Path>) -> ExitCode {
    let (termination, code) = match ended {
        Ok(termination) => (termination, ExitCode::SUCCESS),
        Err(fault) => {
            tracing::error!(reason = %fault.reason, "{name} failed: {fault}");
            (Termination::failed(&fault), ExitCode::from(fault.reason.exit_code()))
        }
    };
    if let Some(path) = message
        && let Err(error) = termination.write(path)
    {
        tracing::error!(%error, path = %path.display(), "cannot write the termination message");
    }
    tracing::info!(outcome = termination.outcome(), role = name, "done");
    code
}

/// Progress goes nowhere but into the log of a debugging run.
pub(crate) struct Log;

impl Progress for Log {
    fn report(&self, counts: Counts) {
        tracing::trace!(?counts, "progress");
    }
}

impl Watcher for Log {
    fn usable(&self, files_left: u64, bytes_left: u64) {
        tracing::info!(files_left, bytes_left, "usable");
    }
}
