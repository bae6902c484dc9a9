//! `remora fs ls NAME [PATH]`.

use std::ffi::OsString;

use clap::Args;
use remora_proto::agent::v1::ListRequest;
use remora_proto_model::ProjectName;

use super::wire_path;
use crate::{
    Context, Failure, clients,
    limits::FILES_PAGE,
    output::{Listing, OutputArgs, escape, escape_bytes, note},
    project_name::project_name,
    view::file::FileView,
};

/// Flags of `remora fs ls`.
#[derive(Args, Clone, Debug)]
pub struct LsArgs {
    /// Name of the project.
    #[arg(value_parser = project_name)]
    name: ProjectName,
    /// Folder in the workspace; the workspace itself where none is given.
    #[arg(default_value = "")]
    path: OsString,
    /// How many levels.
    #[arg(short, long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=64))]
    depth: u32,
    /// Leave out hidden files and what .gitignore and .ignore leave out.
    #[arg(long)]
    ignore_rules: bool,
    #[command(flatten)]
    output: OutputArgs,
}

/// Runs the verb.
pub(crate) async fn run(context: &Context, args: LsArgs) -> Result<(), Failure> {
    let mut files = clients::files(context, &args.name).await?;
    let mut request = ListRequest {
        path: wire_path(args.path),
        depth: args.depth,
        ignore_rules: args.ignore_rules,
        page_size: FILES_PAGE,
        page_token: String::new(),
    };
    let mut listing = Listing::new(args.output.format);
    let mut unreadable = None;
    loop {
        let page = files.list(request.clone()).await?.into_inner();
        let entries: Vec<_> = page.entries.into_iter().map(FileView::from).collect();
        listing.push(&entries)?;
        for problem in page.problems {
            let error = problem.error.unwrap_or_default();
            note(&format!("remora: {}: {}", escape_bytes(&problem.path), escape(&error.message)));
            unreadable.get_or_insert(error.reason);
        }
        request.page_token = page.next_page_token;
        if request.page_token.is_empty() {
            break;
        }
    }
    listing.finish()?;
    // As ls(1): what could be listed is there, and the exit code says that it is not all.
    match unreadable {
        None => Ok(()),
        Some(reason) => Err(Failure::Code(reason.parse().map_or(1, remora_proto_model::Reason::exit_code))),
    }
}
