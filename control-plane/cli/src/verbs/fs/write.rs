//! `remora fs write NAME PATH`: standard input becomes the file.

use std::{ffi::OsString, io::Write as _};

use clap::Args;
use remora_proto::{
    agent::v1::{WriteHead, WriteRequest, WriteResponse, write_head::Condition, write_request::Part},
    convert::files::WriteStart,
};
use remora_proto_model::ProjectName;
use serde::Serialize;

use super::wire_path;
use crate::{
    Context, Failure,
    args::parse_mode,
    clients,
    output::{OutputArgs, escape, print_one},
    progress::Progress,
    project_name::project_name,
    transfer::upload::{Sink, send_all, upload},
};

/// Flags of `remora fs write`.
#[derive(Args, Clone, Debug)]
pub struct WriteArgs {
    /// Name of the project.
    #[arg(value_parser = project_name)]
    name: ProjectName,
    /// Path in the workspace.
    path: OsString,
    /// Fail where there is such a file already.
    #[arg(long, conflicts_with = "if_match")]
    create: bool,
    /// Fail unless the file has this version (`fs stat -o json` shows it).
    #[arg(long, value_name = "ETAG")]
    if_match: Option<String>,
    /// Make missing folders above it.
    #[arg(short, long)]
    parents: bool,
    /// Permission bits in octal; those of the file that is replaced, else 644, where none are given.
    #[arg(long, value_parser = parse_mode)]
    mode: Option<u32>,
    #[command(flatten)]
    output: OutputArgs,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Written {
    etag: String,
    size: u64,
    created: bool,
}

/// Runs the verb.
pub(crate) async fn run(context: &Context, args: WriteArgs) -> Result<(), Failure> {
    let condition = match (args.create, args.if_match) {
        (true, _) => Condition::Create(true),
        (false, Some(etag)) => Condition::IfMatch(etag),
        (false, None) => Condition::Overwrite(true),
    };
    let head = WriteHead {
        path: wire_path(args.path),
        condition: Some(condition),
        parents: args.parents,
        mode: args.mode,
        length: None,
    };
    WriteStart::try_from(head.clone())?;
    let mut files = clients::files(context, &args.name).await?;
    let fill = async |sink: Sink<WriteRequest>| {
        sink.send(WriteRequest { part: Some(Part::Head(head)) }).await;
        let wrap = |data| WriteRequest { part: Some(Part::Data(data)) };
        send_all(&sink, tokio::io::stdin(), "standard input", &Progress::hidden(), wrap).await
    };
    let end = WriteRequest { part: Some(Part::End(true)) };
    let WriteResponse { etag, size, created } = upload(fill, end, |messages| files.write(messages)).await?;
    let written = Written { etag, size, created };
    print_one(args.output.format, &written, written.etag.as_bytes(), |text| {
        let verb = if created { "made" } else { "replaced" };
        writeln!(text, "{verb}, {size} bytes, version {}", escape(&written.etag))
    })
}
