//! `remora ls`.

use clap::Args;
use remora_proto::control::v1::ListProjectsRequest;

use crate::{
    Context, Failure, clients,
    follow::domain,
    limits::PAGE,
    output::{Format, Listing, OutputArgs, note},
};

/// Flags of `remora ls`.
#[derive(Args, Clone, Debug)]
pub struct LsArgs {
    #[command(flatten)]
    output: OutputArgs,
}

/// Runs the verb.
pub(crate) async fn run(context: &Context, args: LsArgs) -> Result<(), Failure> {
    let mut client = clients::projects(context).await?;
    let mut listing = Listing::new(args.output.format);
    let mut page_token = String::new();
    loop {
        let page = client.list(ListProjectsRequest { page_size: PAGE, page_token }).await?.into_inner();
        let projects: Vec<_> = page.projects.into_iter().map(domain).collect::<Result<_, _>>()?;
        listing.push(&projects)?;
        page_token = page.next_page_token;
        if page_token.is_empty() {
            break;
        }
    }
    if listing.finish()? == 0 && matches!(args.output.format, Format::Table | Format::Wide) {
        note("no projects; `remora up` makes one of this folder");
    }
    Ok(())
}
