//! `remora orphans`: what was made for projects that are not there.

use clap::Args;
use remora_proto::control::v1::ListOrphansRequest;
use remora_proto_model::project::Orphans;

use crate::{
    Context, Failure, clients,
    output::{Format, Listing, OutputArgs, escape, note},
};

/// Flags of `remora orphans`.
#[derive(Args, Clone, Debug)]
pub struct OrphansArgs {
    #[command(flatten)]
    output: OutputArgs,
}

/// Runs the verb.
pub(crate) async fn run(context: &Context, args: OrphansArgs) -> Result<(), Failure> {
    let Orphans { orphans, unseen } = ask(context).await?;
    let mut listing = Listing::new(args.output.format);
    listing.push(&orphans)?;
    let count = listing.finish()?;
    for what in unseen {
        note(&format!("not looked at: {}", escape(&what)));
    }
    if count == 0 && matches!(args.output.format, Format::Table | Format::Wide) {
        note("nothing was found that belongs to no project");
    } else if count > 0 {
        note("nothing of it is removed by itself; look at each before you remove it, it may be all that is left");
    }
    Ok(())
}

/// What the server finds.
pub(crate) async fn ask(context: &Context) -> Result<Orphans, Failure> {
    let mut client = clients::server(context).await?;
    Ok(Orphans::from(client.list_orphans(ListOrphansRequest {}).await?.into_inner()))
}
