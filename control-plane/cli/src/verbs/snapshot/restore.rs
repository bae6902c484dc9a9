//! `remora snapshot restore NAME SNAPSHOT`.

use std::io::Write as _;

use clap::Args;
use remora_proto::control::v1::{RestoreProjectRequest, RestoreProjectResponse};
use remora_proto_model::ProjectName;
use serde::Serialize;

use super::snapshot_id;
use crate::{
    Context, Failure, clients,
    output::{OutputArgs, escape, print_one},
    progress::{ClearOnDrop, Progress},
    project_name::project_name,
};

/// Flags of `remora snapshot restore`.
#[derive(Args, Clone, Debug)]
pub struct RestoreArgs {
    /// Name of the project; it has to run.
    #[arg(value_parser = project_name)]
    name: ProjectName,
    /// Id of the snapshot.
    #[arg(value_parser = snapshot_id)]
    snapshot: String,
    #[command(flatten)]
    output: OutputArgs,
}

#[derive(Serialize)]
struct Restored {
    restored: String,
    before: String,
    head: String,
}

/// Runs the verb. Nothing is asked: what was there before is a snapshot too.
pub(crate) async fn run(context: &Context, args: RestoreArgs) -> Result<(), Failure> {
    let mut client = clients::projects(context).await?;
    let progress = Progress::spinner(&format!("{}: restoring {}", args.name, args.snapshot));
    let line = ClearOnDrop(progress);
    let request = RestoreProjectRequest { name: args.name.to_string(), snapshot: args.snapshot.clone() };
    let RestoreProjectResponse { before, head, .. } = client.restore(request).await?.into_inner();
    drop(line);
    let restored = Restored { restored: args.snapshot, before, head };
    print_one(args.output.format, &restored, restored.head.as_bytes(), |text| {
        writeln!(
            text,
            "{}: as in {}; the newest snapshot is {}",
            args.name,
            restored.restored,
            escape(&restored.head)
        )?;
        writeln!(text, "back: remora snapshot restore {} {}", args.name, escape(&restored.before))
    })
}
