//! `remora fs …`: single files of a project, one file a verb.

pub(crate) mod edit;
pub(crate) mod entries;
pub(crate) mod glob;
pub(crate) mod grep;
pub(crate) mod ls;
pub(crate) mod read;
pub(crate) mod stat;
pub(crate) mod watch;
pub(crate) mod write;

use std::{ffi::OsString, os::unix::ffi::OsStringExt as _};

use bytes::Bytes;
use clap::Subcommand;

use crate::{Context, Failure};

/// The verbs on files.
#[derive(Subcommand, Clone, Debug)]
pub enum FsCommand {
    /// Print a file: byte for byte into a pipe, with line numbers on a terminal.
    #[command(alias = "cat")]
    Read(read::ReadArgs),
    /// Write standard input to a file, whole or not at all.
    Write(write::WriteArgs),
    /// Change a file: replace a text or a range of lines, and print the difference.
    Edit(edit::EditArgs),
    /// List a folder.
    Ls(ls::LsArgs),
    /// Search files for a regular expression; exits with 1 where nothing matches.
    Grep(grep::GrepArgs),
    /// List what matches a pattern.
    Glob(glob::GlobArgs),
    /// Print changes as they happen.
    Watch(watch::WatchArgs),
    /// Show what is at paths, without reading it.
    Stat(stat::StatArgs),
    /// Remove files and folders.
    Rm(entries::RmArgs),
    /// Rename or move an entry.
    Mv(entries::MvArgs),
    /// Make folders.
    Mkdir(entries::MkdirArgs),
}

/// Runs one of them.
pub(crate) async fn run(context: &Context, command: FsCommand) -> Result<(), Failure> {
    match command {
        FsCommand::Read(args) => read::run(context, args).await,
        FsCommand::Write(args) => write::run(context, args).await,
        FsCommand::Edit(args) => edit::run(context, args).await,
        FsCommand::Ls(args) => ls::run(context, args).await,
        FsCommand::Grep(args) => grep::run(context, args).await,
        FsCommand::Glob(args) => glob::run(context, args).await,
        FsCommand::Watch(args) => watch::run(context, args).await,
        FsCommand::Stat(args) => stat::run(context, args).await,
        FsCommand::Rm(args) => entries::remove(context, args).await,
        FsCommand::Mv(args) => entries::rename(context, args).await,
        FsCommand::Mkdir(args) => entries::make(context, args).await,
    }
}

/// A path of the command line as the contract has it: bytes.
fn wire_path(path: OsString) -> Bytes {
    path.into_vec().into()
}
