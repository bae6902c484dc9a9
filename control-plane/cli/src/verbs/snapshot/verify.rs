//! `remora snapshot verify NAME [SNAPSHOT]`.

use clap::Args;
use remora_proto::agent::v1::{SnapshotDamage, VerifySnapshotRequest, verify_snapshot_event::Event};
use remora_proto_model::{Fault, ProjectName, Reason};

use super::{in_turn, show, snapshot_id};
use crate::{
    Context, Failure, clients,
    output::{Format, Listing, OutputArgs, bytes, escape, print},
    progress::{ClearOnDrop, Progress},
    project_name::project_name,
    view::snapshot::DamageView,
};

/// Flags of `remora snapshot verify`.
#[derive(Args, Clone, Debug)]
pub struct VerifyArgs {
    /// Name of the project.
    #[arg(value_parser = project_name)]
    name: ProjectName,
    /// Id of the snapshot; the newest where none is given.
    #[arg(value_parser = snapshot_id)]
    snapshot: Option<String>,
    /// Fetch the contents and check them too, and not only that they are there.
    #[arg(long)]
    read_contents: bool,
    #[command(flatten)]
    output: OutputArgs,
}

/// Runs the verb. Damage is listed on standard output and ends in the exit code of SNAPSHOT_DAMAGED.
pub(crate) async fn run(context: &Context, args: VerifyArgs) -> Result<(), Failure> {
    let mut client = clients::snapshots(context, &args.name).await?;
    let progress = Progress::spinner("verifying");
    let line = ClearOnDrop(progress.clone());
    let request =
        VerifySnapshotRequest { snapshot: args.snapshot.unwrap_or_default(), read_contents: args.read_contents };
    let mut events = in_turn(async || client.verify(request.clone()).await).await?;
    let mut listing = Listing::new(args.output.format);
    let summary = loop {
        match events.message().await?.map(|message| message.event) {
            Some(Some(Event::Progress(state))) => show(&progress, &state),
            Some(Some(Event::Damage(damage))) => {
                let SnapshotDamage { object_key, problem, paths } = damage;
                let paths = paths.into_iter().map(|path| path.to_vec().into()).collect();
                listing.push(&[DamageView { object_key, problem, paths }])?;
            }
            Some(Some(Event::Done(summary))) => break summary,
            Some(None) => {}
            None => {
                return Err(Fault::new(Reason::Unavailable, "the check ended without its summary")
                    .hint("try again")
                    .into());
            }
        }
    };
    drop(line);
    listing.finish()?;
    let id = summary.snapshot.map(|info| info.id).unwrap_or_default();
    if summary.damages > 0 {
        return Err(Fault::new(Reason::SnapshotDamaged, format!("{id} has {} damages", summary.damages))
            .hint("an older snapshot may be whole: `remora snapshot ls` shows them")
            .into());
    }
    if matches!(args.output.format, Format::Table | Format::Wide) {
        print(format!("{}: whole, {} objects, {}\n", escape(&id), summary.objects, bytes(summary.bytes)).as_bytes())?;
    }
    Ok(())
}
