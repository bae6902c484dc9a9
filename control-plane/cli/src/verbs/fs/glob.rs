//! `remora fs glob NAME PATTERN…`.

use std::ffi::OsString;

use clap::Args;
use remora_proto::agent::v1::GlobRequest;
use remora_proto_model::{ProjectName, Reason};

use super::wire_path;
use crate::{
    Context, Failure, clients,
    limits::FILES_PAGE,
    output::{Format, Listing, OutputArgs, note},
    project_name::project_name,
    view::file::FileView,
};

/// Flags of `remora fs glob`.
#[derive(Args, Clone, Debug)]
pub struct GlobArgs {
    /// Name of the project.
    #[arg(value_parser = project_name)]
    name: ProjectName,
    /// Patterns with **, *, ?, [..] and {a,b}; one that begins with ! leaves out.
    #[arg(required = true, value_name = "PATTERN", allow_hyphen_values = true)]
    patterns: Vec<String>,
    /// Folder to look in; the workspace where none is given.
    #[arg(long, default_value = "", value_name = "PATH")]
    path: OsString,
    /// Leave out hidden files and what .gitignore and .ignore leave out.
    #[arg(long)]
    ignore_rules: bool,
    /// How to write the result; names where nothing is given.
    #[command(flatten)]
    output: GlobOutput,
}

/// As [`OutputArgs`], with names as the form that is meant.
#[derive(Args, Clone, Copy, Debug)]
pub(crate) struct GlobOutput {
    /// How to write the result.
    #[arg(short = 'o', long = "output", value_enum, default_value_t = Format::Name, value_name = "FORMAT")]
    format: Format,
}

/// Runs the verb.
pub(crate) async fn run(context: &Context, args: GlobArgs) -> Result<(), Failure> {
    let mut files = clients::files(context, &args.name).await?;
    let mut request = GlobRequest {
        path: wire_path(args.path),
        patterns: args.patterns,
        ignore_rules: args.ignore_rules,
        page_size: FILES_PAGE,
        page_token: String::new(),
    };
    let output = OutputArgs { format: args.output.format };
    let mut listing = Listing::new(output.format);
    let mut incomplete = None;
    loop {
        let page = files.glob(request.clone()).await?.into_inner();
        let entries: Vec<_> = page.entries.into_iter().map(FileView::from).collect();
        listing.push(&entries)?;
        incomplete = incomplete.or(page.truncated);
        request.page_token = page.next_page_token;
        if request.page_token.is_empty() {
            break;
        }
    }
    listing.finish()?;
    match incomplete {
        None => Ok(()),
        Some(cut) => {
            note(&format!("remora: not everything was looked at: the time of {} ms ran out", cut.limit));
            note("hint: name a folder with --path, or a narrower pattern");
            Err(Failure::Code(Reason::DeadlineExceeded.exit_code()))
        }
    }
}
