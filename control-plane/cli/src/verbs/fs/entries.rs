//! `remora fs rm|mv|mkdir`: entries and not their contents.

use std::ffi::OsString;

use clap::Args;
use remora_proto::agent::v1::{MkdirRequest, MoveRequest, RemoveRequest};
use remora_proto_model::ProjectName;

use super::wire_path;
use crate::{Context, Failure, args::parse_mode, clients, project_name::project_name};

/// Flags of `remora fs rm`.
#[derive(Args, Clone, Debug)]
pub struct RmArgs {
    /// Name of the project.
    #[arg(value_parser = project_name)]
    name: ProjectName,
    /// Paths in the workspace.
    #[arg(required = true, value_name = "PATH")]
    paths: Vec<OsString>,
    /// Remove folders with all that is in them.
    #[arg(short, long)]
    recursive: bool,
}

/// Runs `rm`.
pub(crate) async fn remove(context: &Context, args: RmArgs) -> Result<(), Failure> {
    let mut files = clients::files(context, &args.name).await?;
    for path in args.paths {
        files.remove(RemoveRequest { path: wire_path(path), recursive: args.recursive }).await?;
    }
    Ok(())
}

/// Flags of `remora fs mv`.
#[derive(Args, Clone, Debug)]
pub struct MvArgs {
    /// Name of the project.
    #[arg(value_parser = project_name)]
    name: ProjectName,
    /// What to rename.
    from: OsString,
    /// Its new path.
    to: OsString,
    /// Replace a file, or an empty folder, that is there.
    #[arg(long)]
    overwrite: bool,
}

/// Runs `mv`.
pub(crate) async fn rename(context: &Context, args: MvArgs) -> Result<(), Failure> {
    let mut files = clients::files(context, &args.name).await?;
    let request = MoveRequest { from: wire_path(args.from), to: wire_path(args.to), overwrite: args.overwrite };
    files.r#move(request).await?;
    Ok(())
}

/// Flags of `remora fs mkdir`.
#[derive(Args, Clone, Debug)]
pub struct MkdirArgs {
    /// Name of the project.
    #[arg(value_parser = project_name)]
    name: ProjectName,
    /// Paths in the workspace.
    #[arg(required = true, value_name = "PATH")]
    paths: Vec<OsString>,
    /// Make those above it too; one that exists is fine.
    #[arg(short, long)]
    parents: bool,
    /// Permission bits in octal; 755 where none are given.
    #[arg(long, value_parser = parse_mode)]
    mode: Option<u32>,
}

/// Runs `mkdir`.
pub(crate) async fn make(context: &Context, args: MkdirArgs) -> Result<(), Failure> {
    let mut files = clients::files(context, &args.name).await?;
    for path in args.paths {
        files.mkdir(MkdirRequest { path: wire_path(path), parents: args.parents, mode: args.mode }).await?;
    }
    Ok(())
}
