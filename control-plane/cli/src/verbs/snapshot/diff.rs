//! `remora snapshot diff NAME [FROM [TO]]`.

use clap::Args;
use remora_proto::agent::v1::DiffSnapshotsRequest;
use remora_proto_model::ProjectName;

use super::snapshot_id;
use crate::{
    Context, Failure, clients,
    output::{Listing, OutputArgs},
    project_name::project_name,
    view::snapshot::DifferenceView,
};

/// Flags of `remora snapshot diff`.
#[derive(Args, Clone, Debug)]
pub struct DiffArgs {
    /// Name of the project.
    #[arg(value_parser = project_name)]
    name: ProjectName,
    /// The older side; the newest snapshot where none is given.
    #[arg(value_parser = snapshot_id)]
    from: Option<String>,
    /// The newer side; the workspace as it is where none is given.
    #[arg(value_parser = snapshot_id)]
    to: Option<String>,
    #[command(flatten)]
    output: OutputArgs,
}

/// Runs the verb.
pub(crate) async fn run(context: &Context, args: DiffArgs) -> Result<(), Failure> {
    let mut client = clients::snapshots(context, &args.name).await?;
    let request = DiffSnapshotsRequest { from: args.from.unwrap_or_default(), to: args.to.unwrap_or_default() };
    let mut batches = client.diff(request).await?.into_inner();
    let mut listing = Listing::new(args.output.format);
    while let Some(batch) = batches.message().await? {
        let differences: Vec<_> = batch
            .differences
            .into_iter()
            .map(|difference| DifferenceView::new(difference.change(), difference.path.to_vec()))
            .collect();
        listing.push(&differences)?;
    }
    listing.finish().map(drop)
}
