//! `remora snapshot export NAME [SNAPSHOT]`: a snapshot as a tar.zst, into a file here or
//! behind a URL for somebody else.

use std::{
    io::{self, Write as _},
    path::{Path, PathBuf},
};

use clap::{Args, ValueHint};
use remora_proto::{
    agent::v1::{ArchiveChunk, ArchiveFormat, ArchiveSummary, ExportSnapshotRequest, archive_chunk::Part},
    control::v1::{self, SnapshotExport},
};
use remora_proto_model::{Fault, ProjectName, Reason};
use serde::Serialize;
use tokio::io::{AsyncWrite, AsyncWriteExt as _};

use super::snapshot_id;
use crate::{
    Context, Failure, clients,
    output::{OutputArgs, bytes, note, now_ms, print_one, stdout_failure},
    progress::{ClearOnDrop, Progress},
    project_name::project_name,
};

/// Flags of `remora snapshot export`.
#[derive(Args, Clone, Debug)]
pub struct ExportArgs {
    /// Name of the project; it has to run.
    #[arg(value_parser = project_name)]
    name: ProjectName,
    /// Id of the snapshot; the newest where none is given.
    #[arg(value_parser = snapshot_id)]
    snapshot: Option<String>,
    /// File that the archive is written to; - is standard output.
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath, required_unless_present = "url")]
    to: Option<PathBuf>,
    /// Put the archive on the store and print a URL by which whoever has it may download it.
    #[arg(long, conflicts_with = "to")]
    url: bool,
    /// Seconds until the URL ends, at most 7 days.
    #[arg(long, default_value_t = 3_600, value_name = "SECONDS", requires = "url",
          value_parser = clap::value_parser!(u32).range(1..=604_800))]
    ttl: u32,
    #[command(flatten)]
    output: OutputArgs,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Signed {
    snapshot: String,
    url: String,
    expires_ms: u64,
    bytes: u64,
}

/// Runs the verb.
pub(crate) async fn run(context: &Context, args: ExportArgs) -> Result<(), Failure> {
    let snapshot = args.snapshot.clone().unwrap_or_default();
    match &args.to {
        Some(file) => save(context, &args.name, snapshot, file).await,
        None => sign(context, args, snapshot).await,
    }
}

/// Standard output has the URL and nothing else.
async fn sign(context: &Context, args: ExportArgs, snapshot: String) -> Result<(), Failure> {
    let mut client = clients::projects(context).await?;
    let line = ClearOnDrop(Progress::spinner(&format!("{}: packing a snapshot", args.name)));
    let request = v1::ExportSnapshotRequest { name: args.name.to_string(), snapshot, ttl_seconds: args.ttl };
    let SnapshotExport { snapshot, url, expires_ms, bytes: length } =
        client.export_snapshot(request).await?.into_inner();
    drop(line);
    let signed = Signed { snapshot, url, expires_ms, bytes: length };
    print_one(args.output.format, &signed, signed.url.as_bytes(), |text| writeln!(text, "{}", signed.url))?;
    let seconds = expires_ms.saturating_sub(now_ms()).div_ceil(1_000);
    note(&format!(
        "snapshot {}, {}; whoever has the URL may download it for {seconds} s",
        signed.snapshot,
        bytes(length)
    ));
    Ok(())
}

async fn save(context: &Context, name: &ProjectName, snapshot: String, file: &Path) -> Result<(), Failure> {
    let mut client = clients::snapshots(context, name).await?;
    let progress = Progress::bytes(&format!("{name}: exporting"), None);
    let line = ClearOnDrop(progress.clone());
    let request = ExportSnapshotRequest { snapshot, format: ArchiveFormat::TarZstd.into() };
    let chunks = client.export(request).await?.into_inner();
    let summary = if file == Path::new("-") {
        take(chunks, tokio::io::stdout(), &progress, stdout_failure).await?
    } else {
        let shown = file.display().to_string();
        let failed = |error| Failure::local(shown.clone())(error);
        // Beside its place until it is whole: a part of it must never pass for it.
        let part = file.with_file_name(format!(
            ".{}.part-{}",
            file.file_name().unwrap_or_default().to_string_lossy(),
            std::process::id()
        ));
        let out = tokio::fs::File::create(&part).await.map_err(failed)?;
        let taken = take(chunks, out, &progress, failed).await;
        let placed = match taken {
            Ok(summary) => tokio::fs::rename(&part, file).await.map(|()| summary).map_err(failed),
            Err(failure) => Err(failure),
        };
        if placed.is_err() {
            // Best effort: the failure itself is what to tell.
            let _ = tokio::fs::remove_file(&part).await;
        }
        placed?
    };
    drop(line);
    note(&format!("{} entries, {}", summary.entries, bytes(summary.content_bytes)));
    if summary.skipped > 0 {
        note(&format!("left out {} pipes, which no archive holds", summary.skipped));
    }
    Ok(())
}

async fn take(
    mut chunks: tonic::Streaming<ArchiveChunk>,
    mut out: impl AsyncWrite + Unpin,
    progress: &Progress,
    failed: impl Fn(io::Error) -> Failure,
) -> Result<ArchiveSummary, Failure> {
    loop {
        match chunks.message().await? {
            Some(ArchiveChunk { part: Some(Part::Data(data)) }) => {
                progress.add(data.len() as u64);
                out.write_all(&data).await.map_err(&failed)?;
            }
            Some(ArchiveChunk { part: Some(Part::Done(summary)) }) => {
                out.flush().await.map_err(&failed)?;
                return Ok(summary);
            }
            Some(ArchiveChunk { part: None }) => {}
            None => {
                let cut = Fault::new(Reason::Unavailable, "the archive ended without its last message");
                return Err(Failure::Fault(cut.hint("try again")));
            }
        }
    }
}
