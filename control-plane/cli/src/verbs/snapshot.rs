//! `remora snapshot …`: one file a verb.

pub(crate) mod create;
pub(crate) mod diff;
pub(crate) mod export;
pub(crate) mod ls;
pub(crate) mod prune;
pub(crate) mod restore;
pub(crate) mod verify;

use clap::Subcommand;
use remora_proto::{
    agent::v1::{SnapshotProgress, snapshot_progress::Stage},
    convert::snapshot::SnapshotId,
    fault::from_status,
};
use remora_proto_model::Reason;
use tonic::{Response, Status};

use crate::{Context, Failure, output::bytes, patience::Patience, progress::Progress};

/// The verbs on snapshots.
#[derive(Subcommand, Clone, Debug)]
pub enum SnapshotCommand {
    /// Make a snapshot now.
    Create(create::CreateArgs),
    /// List snapshots, oldest first.
    #[command(alias = "list")]
    Ls(ls::LsArgs),
    /// Show what differs between two snapshots, or a snapshot and the workspace.
    Diff(diff::DiffArgs),
    /// Make the workspace equal to a snapshot; what was there becomes a snapshot first.
    Restore(restore::RestoreArgs),
    /// Check that a snapshot is whole on the store.
    Verify(verify::VerifyArgs),
    /// Get a snapshot as a tar.zst, into a file or behind a URL for somebody else.
    Export(export::ExportArgs),
    /// Remove snapshots that nothing keeps, and what only they needed.
    Prune(prune::PruneArgs),
}

/// Runs one of them.
pub(crate) async fn run(context: &Context, command: SnapshotCommand) -> Result<(), Failure> {
    match command {
        SnapshotCommand::Create(args) => create::run(context, args).await,
        SnapshotCommand::Ls(args) => ls::run(context, args).await,
        SnapshotCommand::Diff(args) => diff::run(context, args).await,
        SnapshotCommand::Restore(args) => restore::run(context, args).await,
        SnapshotCommand::Verify(args) => verify::run(context, args).await,
        SnapshotCommand::Export(args) => export::run(context, args).await,
        SnapshotCommand::Prune(args) => prune::run(context, args).await,
    }
}

/// Parses the id of a snapshot.
fn snapshot_id(text: &str) -> Result<String, String> {
    match text.parse::<SnapshotId>() {
        Ok(id) => Ok(id.to_string()),
        Err(fault) => Err(format!("{}; `remora snapshot ls` shows them", fault.message)),
    }
}

/// Begins an operation. While the agent is at another one, such as a snapshot that
/// the project's policy makes, waits for its turn.
async fn in_turn<T>(mut begin: impl AsyncFnMut() -> Result<Response<T>, Status>) -> Result<T, Failure> {
    let mut patience = Patience::default();
    loop {
        let fault = match begin().await {
            Ok(response) => return Ok(response.into_inner()),
            Err(status) => from_status(&status),
        };
        if fault.reason != Reason::OperationInProgress {
            return Err(fault.into());
        }
        patience.wait_or_give_up(fault).await?;
    }
}

/// Shows how far an operation is.
fn show(progress: &Progress, state: &SnapshotProgress) {
    progress.say(&words(state));
}

fn words(state: &SnapshotProgress) -> String {
    let stage = match state.stage() {
        Stage::Freeze => "holding the processes still",
        Stage::Scan => "reading the tree",
        Stage::Upload => "uploading",
        Stage::Commit => "committing",
        Stage::Plan => "comparing",
        Stage::Fetch => "fetching",
        Stage::Finish => "finishing",
        Stage::Unspecified => "working",
    };
    let of = |done: String, total: String, known: bool| if known { format!("{done} of {total}") } else { done };
    let files = of(state.files_done.to_string(), state.files_total.to_string(), state.files_total > 0);
    let sizes = of(bytes(state.bytes_done), bytes(state.bytes_total), state.bytes_total > 0);
    format!("{stage}: {files} files, {sizes}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn progress_says_what_is_known() {
        let state = SnapshotProgress {
            stage: Stage::Upload.into(),
            files_done: 3,
            files_total: 9,
            bytes_done: 2_048,
            bytes_total: 0,
        };
        assert_eq!(words(&state), "uploading: 3 of 9 files, 2.0 KiB");
    }

    #[test]
    fn an_id_is_checked_before_anything_is_asked() {
        assert_eq!(snapshot_id("1-2-ab").as_deref(), Ok("1-2-ab"));
        assert!(snapshot_id("../x").unwrap_err().contains("remora snapshot ls"));
    }
}
