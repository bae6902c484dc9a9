//! The archive that a project starts from: taken whole or not at all.

use bytes::Bytes;
use futures_util::{Stream, StreamExt as _};
use remora_proto_model::{
    Fault, Generation, ProjectId, Reason,
    project::{Project, Source},
};
use tracing::warn;

use super::{Inner, alive, inspected::inspected};
use crate::records::{Record, SourceFile};

pub(super) async fn put(
    inner: &Inner,
    id: ProjectId,
    zstd: bool,
    chunks: impl Stream<Item = Result<Bytes, Fault>> + Send,
) -> Result<Project, Fault> {
    put_as(inner, id, zstd, SourceFile::fresh_name(zstd), chunks).await
}

/// The same with a name for the archive, which no other one has.
pub(super) async fn put_as(
    inner: &Inner,
    id: ProjectId,
    zstd: bool,
    file: String,
    chunks: impl Stream<Item = Result<Bytes, Fault>> + Send,
) -> Result<Project, Fault> {
    let entry = inner.entry(id)?;
    let record = entry.record();
    wanted(&record)?;
    let bytes = inner.runtime.put_source(&record, &file, inspected(zstd, chunks.boxed())).await?;
    let source = SourceFile { file, bytes };
    let taken = inner
        .change(&entry, |record| {
            wanted(record)?;
            record.source = Some(source.clone());
            Ok(())
        })
        .await;
    if taken.is_err() {
        drop_unless(inner, &record, entry.record().source.as_ref()).await;
    }
    taken
}

async fn drop_unless(inner: &Inner, record: &Record, kept: Option<&SourceFile>) {
    // Best effort: what stays goes with the project.
    if let Err(fault) = inner.runtime.sweep_sources(record, kept.map(|kept| kept.file.as_str())).await {
        warn!(%fault, "an archive that nothing needs stays");
    }
}

/// Whether the project takes an archive now.
pub(super) fn wanted(record: &Record) -> Result<(), Fault> {
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
