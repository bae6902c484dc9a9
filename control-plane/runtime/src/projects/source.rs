//! The archive that a project starts from: received whole or not at all.

use std::{io, path::Path, pin::pin};

use bytes::Bytes;
use futures_util::{Stream, StreamExt as _};
use remora_proto_model::{
    Fault, Generation, ProjectId, Reason, errno_reason,
    project::{Project, Source},
};
use tokio::{fs, io::AsyncWriteExt as _};
use uuid::Uuid;

use super::{Inner, alive};
use crate::{
    limits::MAX_SOURCE_BYTES,
    local::layout::ProjectDir,
    state::record::{Record, SourceFile},
};

/// What the names of archives begin with.
const PREFIX: &str = "source-";

pub(super) async fn put(
    inner: &Inner,
    id: ProjectId,
    zstd: bool,
    chunks: impl Stream<Item = Result<Bytes, Fault>>,
) -> Result<Project, Fault> {
    let entry = inner.entry(id)?;
    wanted(&entry.record())?;
    let folder = ProjectDir::of(&inner.config.data_dir, id);
    folder.make().map_err(|error| failed(&error))?;
    let file = format!("{PREFIX}{}.{}", Uuid::new_v4(), if zstd { "tar.zst" } else { "tar" });
    let path = folder.path().join(&file);
    let outcome = async {
        let bytes = receive(&path, chunks).await?;
        inner
            .change(&entry, |record| {
                wanted(record)?;
                record.source = Some(SourceFile { file, bytes });
                Ok(())
            })
            .await
    }
    .await;
    if outcome.is_err() {
        // Best effort: what stays goes with the project's folder.
        let _ = fs::remove_file(&path).await;
    }
    outcome
}

/// Removes archives, and halves of archives, but for `kept`: those that a server
/// which was killed received, and those that a snapshot holds.
pub(super) fn sweep(folder: &ProjectDir, kept: Option<&str>) -> io::Result<()> {
    let entries = match std::fs::read_dir(folder.path()) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        entries => entries?,
    };
    for entry in entries {
        let entry = entry?;
        let name = entry.file_name();
        let is_archive = name.as_encoded_bytes().starts_with(PREFIX.as_bytes());
        if is_archive && kept.is_none_or(|kept| name != kept) {
            std::fs::remove_file(entry.path())?;
        }
    }
    Ok(())
}

/// Whether the project takes an archive now.
fn wanted(record: &Record) -> Result<(), Fault> {
    alive(record)?;
    let name = &record.project.name;
    let refuse = |problem: &str, hint: &'static str| {
        Err(Fault::new(Reason::FailedPrecondition, format!("project {name} {problem}")).hint(hint))
    };
    if record.project.spec.source != Source::Archive {
        return refuse("does not start from an archive", "create it with an archive as its source");
    }
    if record.source.is_some() || record.project.status.generation != Generation(0) {
        return refuse("has its archive already", "write into its workspace, or create another project");
    }
    Ok(())
}

async fn receive(path: &Path, chunks: impl Stream<Item = Result<Bytes, Fault>>) -> Result<u64, Fault> {
    let mut chunks = pin!(chunks);
    let mut file = fs::OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path)
        .await
        .map_err(|error| failed(&error))?;
    let mut bytes = 0_u64;
    while let Some(chunk) = chunks.next().await {
        let chunk = chunk?;
        bytes += chunk.len() as u64;
        if bytes > MAX_SOURCE_BYTES {
            return Err(Fault::new(
                Reason::TooLarge,
                format!("the archive has more than {MAX_SOURCE_BYTES} bytes, which is the most"),
            )
            .hint("leave out what can be made again, or copy the rest in afterwards"));
        }
        file.write_all(&chunk).await.map_err(|error| failed(&error))?;
    }
    if bytes == 0 {
        return Err(Fault::new(Reason::ArchiveInvalid, "the archive has no bytes")
            .hint("send a tar, or create the project with an empty source"));
    }
    file.flush().await.map_err(|error| failed(&error))?;
    file.sync_all().await.map_err(|error| failed(&error))?;
    Ok(bytes)
}

fn failed(error: &io::Error) -> Fault {
    let fault = Fault::new(
        error.raw_os_error().map_or(Reason::IoError, errno_reason),
        format!("the archive cannot be kept in the data folder: {error}"),
    );
    error.raw_os_error().into_iter().fold(fault, Fault::errno)
}
