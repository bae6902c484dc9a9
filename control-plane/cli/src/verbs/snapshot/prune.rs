//! `remora snapshot prune NAME`.

use std::io::Write as _;

use clap::Args;
use remora_proto::{
    agent::v1::{PruneSnapshotsRequest, PruneSnapshotsResponse},
    convert::snapshot::PruneSnapshots,
};
use remora_proto_model::ProjectName;
use serde::Serialize;

use super::in_turn;
use crate::{
    Context, Failure, clients,
    output::{OutputArgs, bytes, escape, print_one},
    progress::{ClearOnDrop, Progress},
    project_name::project_name,
};

/// Flags of `remora snapshot prune`.
#[derive(Args, Clone, Debug)]
pub struct PruneArgs {
    /// Name of the project.
    #[arg(value_parser = project_name)]
    name: ProjectName,
    /// Keep this many of the newest.
    #[arg(long, value_name = "COUNT", value_parser = clap::value_parser!(u32).range(1..))]
    keep_last: u32,
    /// Keep the newest of each of this many hours.
    #[arg(long, value_name = "COUNT", default_value_t = 0)]
    keep_hourly: u32,
    /// Keep the newest of each of this many days (UTC).
    #[arg(long, value_name = "COUNT", default_value_t = 0)]
    keep_daily: u32,
    /// Keep every one that has a label with this key; repeat for more.
    #[arg(long = "keep-label", value_name = "KEY")]
    keep_labels: Vec<String>,
    /// Only say what would be removed.
    #[arg(long)]
    dry_run: bool,
    #[command(flatten)]
    output: OutputArgs,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Pruned {
    dry_run: bool,
    removed: Vec<String>,
    kept: u64,
    objects_removed: u64,
    bytes_removed: u64,
}

/// Runs the verb.
pub(crate) async fn run(context: &Context, args: PruneArgs) -> Result<(), Failure> {
    let request = PruneSnapshotsRequest {
        keep_last: args.keep_last,
        keep_hourly: args.keep_hourly,
        keep_daily: args.keep_daily,
        keep_labels: args.keep_labels,
        dry_run: args.dry_run,
    };
    PruneSnapshots::try_from(request.clone())?;
    let mut client = clients::snapshots(context, &args.name).await?;
    let line = ClearOnDrop(Progress::spinner("looking for what nothing needs"));
    let PruneSnapshotsResponse { removed, kept, objects_removed, bytes_removed } =
        in_turn(async || client.prune(request.clone()).await).await?;
    drop(line);
    let pruned = Pruned { dry_run: args.dry_run, removed, kept, objects_removed, bytes_removed };
    let names = pruned.removed.join("\n");
    print_one(args.output.format, &pruned, names.as_bytes(), |text| {
        for id in &pruned.removed {
            writeln!(text, "{}", escape(id))?;
        }
        let verb = if pruned.dry_run { "would be removed" } else { "removed" };
        writeln!(
            text,
            "{} snapshots and {} objects ({}) {verb}, {} snapshots kept",
            pruned.removed.len(),
            pruned.objects_removed,
            bytes(pruned.bytes_removed),
            pruned.kept
        )
    })
}
