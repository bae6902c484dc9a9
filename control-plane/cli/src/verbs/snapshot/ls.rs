//! `remora snapshot ls NAME`.

use clap::Args;
use remora_proto::agent::v1::ListSnapshotsRequest;
use remora_proto_model::ProjectName;

use crate::{
    Context, Failure, clients,
    limits::PAGE,
    output::{Format, Listing, OutputArgs, note},
    project_name::project_name,
    view::snapshot::SnapshotView,
};

/// Flags of `remora snapshot ls`.
#[derive(Args, Clone, Debug)]
pub struct LsArgs {
    /// Name of the project.
    #[arg(value_parser = project_name)]
    name: ProjectName,
    #[command(flatten)]
    output: OutputArgs,
}

/// Runs the verb.
pub(crate) async fn run(context: &Context, args: LsArgs) -> Result<(), Failure> {
    let mut client = clients::snapshots(context, &args.name).await?;
    let mut listing = Listing::new(args.output.format);
    let mut page_token = String::new();
    loop {
        let page = client.list(ListSnapshotsRequest { page_size: PAGE, page_token }).await?.into_inner();
        let snapshots: Vec<_> = page.snapshots.into_iter().map(SnapshotView::from).collect();
        listing.push(&snapshots)?;
        page_token = page.next_page_token;
        if page_token.is_empty() {
            break;
        }
    }
    if listing.finish()? == 0 && matches!(args.output.format, Format::Table | Format::Wide) {
        note(&format!("no snapshots yet; `remora snapshot create {}` makes one", args.name));
    }
    Ok(())
}
