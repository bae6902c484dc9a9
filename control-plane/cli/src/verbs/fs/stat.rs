//! `remora fs stat NAME PATH…`.

use std::ffi::OsString;

use clap::Args;
use remora_proto::agent::v1::{StatRequest, stat_result::Result as StatResult};
use remora_proto_model::{ProjectName, Reason};

use super::wire_path;
use crate::{
    Context, Failure, clients,
    output::{Listing, OutputArgs, escape, note},
    project_name::project_name,
    view::file::{FileView, ProblemView},
};

/// Flags of `remora fs stat`.
#[derive(Args, Clone, Debug)]
pub struct StatArgs {
    /// Name of the project.
    #[arg(value_parser = project_name)]
    name: ProjectName,
    /// Paths in the workspace.
    #[arg(required = true, value_name = "PATH")]
    paths: Vec<OsString>,
    /// Look at what a link leads to.
    #[arg(short = 'L', long)]
    follow: bool,
    #[command(flatten)]
    output: OutputArgs,
}

/// Most paths in one call; the contract's bound.
const BATCH: usize = 1_000;

/// Runs the verb.
pub(crate) async fn run(context: &Context, args: StatArgs) -> Result<(), Failure> {
    let mut files = clients::files(context, &args.name).await?;
    let paths: Vec<_> = args.paths.into_iter().map(wire_path).collect();
    let mut listing = Listing::new(args.output.format);
    let mut code = None;
    for batch in paths.chunks(BATCH) {
        let request = StatRequest { paths: batch.to_vec(), follow: args.follow };
        let results = files.stat(request).await?.into_inner().results;
        let mut found = Vec::new();
        for (path, result) in batch.iter().zip(results) {
            match result.result {
                Some(StatResult::Info(info)) => found.push(FileView::from(info)),
                Some(StatResult::Error(error)) => {
                    let problem = ProblemView::new(path.to_vec(), error);
                    note(&format!("remora: {}", escape(&problem.message)));
                    code.get_or_insert(problem.reason.parse().map_or(1, Reason::exit_code));
                }
                None => {}
            }
        }
        listing.push(&found)?;
    }
    listing.finish()?;
    code.map_or(Ok(()), |code| Err(Failure::Code(code)))
}
