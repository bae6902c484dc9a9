//! `remora token ls NAME`.

use clap::Args;
use remora_proto::control::v1::ListTokensRequest;
use remora_proto_model::{AccessToken, ProjectName};

use crate::{
    Context, Failure, clients,
    output::{Listing, OutputArgs},
    project_name::project_name,
};

/// Flags of `remora token ls`.
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
    let mut client = clients::tokens(context).await?;
    let request = ListTokensRequest { project: args.name.to_string() };
    let tokens = client.list_tokens(request).await?.into_inner().tokens;
    let tokens = tokens.into_iter().map(AccessToken::try_from).collect::<Result<Vec<_>, _>>()?;
    let mut listing = Listing::new(args.output.format);
    listing.push(&tokens)?;
    listing.finish().map(drop)
}
