//! `remora snapshot create NAME`.

use std::io::Write as _;

use clap::Args;
use remora_proto::{
    agent::v1::{CreateSnapshotRequest, SnapshotConsistency, create_snapshot_event::Event},
    convert::snapshot::CreateSnapshot,
};
use remora_proto_model::{Effect, Fault, ProjectName, Reason};

use super::{in_turn, show};
use crate::{
    Context, Failure,
    args::parse_label,
    clients,
    output::{OutputArgs, bytes, escape, note, print_one},
    progress::{ClearOnDrop, Progress},
    project_name::project_name,
    view::snapshot::SnapshotView,
};

/// Flags of `remora snapshot create`.
#[derive(Args, Clone, Debug)]
pub struct CreateArgs {
    /// Name of the project.
    #[arg(value_parser = project_name)]
    name: ProjectName,
    /// Read every file, even one that seems unchanged.
    #[arg(long)]
    full: bool,
    /// Hold every process still until the snapshot is committed.
    #[arg(long)]
    quiesce: bool,
    /// Make none where the newest one holds the files as they are: that one is shown.
    #[arg(long)]
    only_changes: bool,
    /// Words to keep with it, KEY=VALUE; repeat for more.
    #[arg(long = "label", value_name = "KEY=VALUE", value_parser = parse_label)]
    labels: Vec<(String, String)>,
    #[command(flatten)]
    output: OutputArgs,
}

/// Runs the verb.
pub(crate) async fn run(context: &Context, args: CreateArgs) -> Result<(), Failure> {
    let consistency = if args.quiesce { SnapshotConsistency::Quiesced } else { SnapshotConsistency::Online };
    let request = CreateSnapshotRequest {
        full: args.full,
        consistency: consistency.into(),
        hold_ms: 0,
        labels: args.labels.into_iter().collect(),
        only_changes: args.only_changes,
    };
    CreateSnapshot::try_from(request.clone())?;
    let mut client = clients::snapshots(context, &args.name).await?;
    let progress = Progress::spinner("making a snapshot");
    let line = ClearOnDrop(progress.clone());
    let mut events = in_turn(async || client.create(request.clone()).await).await?;
    let committed = loop {
        match events.message().await?.map(|message| message.event) {
            Some(Some(Event::Progress(state))) => show(&progress, &state),
            Some(Some(Event::Committed(info))) => break SnapshotView::from(info),
            Some(None) => {}
            None => {
                return Err(Fault::new(Reason::Unavailable, "the stream ended without a snapshot")
                    .effect(Effect::MayHaveApplied)
                    .hint("`remora snapshot ls` shows whether it was committed")
                    .into());
            }
        }
    };
    drop(line);
    if committed.fuzzy_files > 0 {
        note(&format!(
            "remora: {} files changed each time they were read and hold what was read last; --quiesce avoids that",
            committed.fuzzy_files
        ));
    }
    print_one(args.output.format, &committed, committed.id.as_bytes(), |text| {
        let SnapshotView { id, files, content_bytes, stored_bytes, .. } = &committed;
        writeln!(
            text,
            "{}: {files} files, {}, {} new on the store",
            escape(id),
            bytes(*content_bytes),
            bytes(*stored_bytes)
        )
    })
}
