//! Archives by way of the store: a snapshot that somebody downloads, and a source that
//! somebody brings, each by a signed URL. Neither passes through this server on the way
//! to whoever has the URL.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use futures_util::{
    StreamExt as _,
    stream::{self, BoxStream},
};
use remora_proto::convert::snapshot::SnapshotId;
use remora_proto_model::{Fault, ProjectId, Reason, project::Project};
use tokio::time::{Instant, MissedTickBehavior, interval, sleep_until};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use super::{AgentHandle, Inner, alive, now_ms, source};
use crate::{
    agents::{export_snapshot, find_snapshot},
    limits::{
        DEFAULT_URL_LIFE, EXPORT_WITHIN, MAX_PROJECT_TRANSFERS, MAX_SOURCE_BYTES, MAX_URL_LIFE, TRANSFER_SWEEP_INTERVAL,
    },
    records::SourceFile,
    store::{Presigned, Transfer, Way},
};

type Chunks = BoxStream<'static, Result<Bytes, Fault>>;

/// An archive of a snapshot on the store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SnapshotExport {
    /// Id of the snapshot.
    pub snapshot: String,
    /// How to get it.
    pub signed: Presigned,
    /// Its length.
    pub bytes: u64,
}

/// A place on the store for one archive.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SourceUpload {
    /// Names it.
    pub upload: String,
    /// How to bring it.
    pub signed: Presigned,
}

/// How long a URL lives of which a caller said `seconds`.
fn life(seconds: u32) -> Result<Duration, Fault> {
    match Duration::from_secs(seconds.into()) {
        Duration::ZERO => Ok(DEFAULT_URL_LIFE),
        life if life <= MAX_URL_LIFE => Ok(life),
        _ => Err(Fault::invalid("ttlSeconds", format!("is {seconds}; at most {}", MAX_URL_LIFE.as_secs()))),
    }
}

pub(super) async fn export(
    inner: &Arc<Inner>,
    agent: &AgentHandle,
    snapshot: &str,
    ttl_seconds: u32,
) -> Result<SnapshotExport, Fault> {
    let life = life(ttl_seconds)?;
    if !snapshot.is_empty() {
        snapshot.parse::<SnapshotId>()?;
    }
    let entry = inner.entry(agent.project)?;
    alive(&entry.record())?;
    let snapshot = find_snapshot(agent, snapshot).await?.id;
    room(inner, Way::Out, agent.project).await?;
    let export = Exporting { inner: Arc::clone(inner), agent: agent.clone(), snapshot, life };
    let name = format!("{}-{}.tar.zst", entry.project().name, export.snapshot);
    // Whoever leaves ends it in a way that leaves nothing half done on the store.
    let gone = CancellationToken::new();
    let _leaving = gone.clone().drop_guard();
    let made = tokio::spawn(async move { export.make(&name, gone).await });
    made.await.unwrap_or_else(|error| Err(Fault::new(Reason::Internal, format!("the export ended early: {error}"))))
}

struct Exporting {
    inner: Arc<Inner>,
    agent: AgentHandle,
    snapshot: String,
    life: Duration,
}

impl Exporting {
    async fn make(self, name: &str, gone: CancellationToken) -> Result<SnapshotExport, Fault> {
        let Exporting { inner, agent, snapshot, life } = self;
        let (store, prefix) = (&inner.store, inner.settings.prefix.as_str());
        // The URL is signed once the archive is there, and the name must not end before it.
        let ends_ms = now_ms() + millis(EXPORT_WITHIN) + millis(life);
        let transfer = Transfer::new(Way::Out, ends_ms, agent.project, true);
        let key = transfer.key(prefix);
        let made = async {
            let chunks = within(export_snapshot(&agent, &snapshot).await?, gone, Instant::now() + EXPORT_WITHIN);
            let bytes = store.put_long_archive(&key, chunks).await?;
            Ok((bytes, store.presign_get(&key, name, life).await?))
        };
        match made.await {
            Ok((bytes, signed)) => Ok(SnapshotExport { snapshot, signed, bytes }),
            Err(fault) => {
                forget(&inner, &transfer).await;
                Err(fault)
            }
        }
    }
}

/// The same bytes, as long as they are wanted and until `deadline`.
fn within(chunks: Chunks, gone: CancellationToken, deadline: Instant) -> Chunks {
    let state = (chunks, gone);
    Box::pin(stream::unfold(Some(state), move |state| async move {
        let (mut chunks, gone) = state?;
        let late = || {
            let text = format!("the archive was not on the store within {} s", EXPORT_WITHIN.as_secs());
            Fault::new(Reason::DeadlineExceeded, text).hint("check how fast the store takes uploads")
        };
        tokio::select! {
            biased;
            () = gone.cancelled() => Some((Err(Fault::new(Reason::Cancelled, "whoever asked for the archive left")), None)),
            () = sleep_until(deadline) => Some((Err(late()), None)),
            chunk = chunks.next() => chunk.map(|chunk| (chunk, Some((chunks, gone)))),
        }
    }))
}

pub(super) async fn begin_upload(
    inner: &Inner,
    id: ProjectId,
    bytes: u64,
    zstd: bool,
    ttl_seconds: u32,
) -> Result<SourceUpload, Fault> {
    let life = life(ttl_seconds)?;
    if !(1..=MAX_SOURCE_BYTES).contains(&bytes) {
        return Err(Fault::invalid("bytes", format!("is {bytes}; an archive has 1 to {MAX_SOURCE_BYTES}"))
            .hint("say how long the archive is, which is part of what is signed"));
    }
    source::wanted(&inner.entry(id)?.record())?;
    room(inner, Way::In, id).await?;
    let transfer = Transfer::new(Way::In, now_ms() + millis(life), id, zstd);
    let signed = inner.store.presign_put(&transfer.key(&inner.settings.prefix), bytes, life).await?;
    Ok(SourceUpload { upload: transfer.name(), signed })
}

pub(super) async fn complete_upload(inner: &Inner, id: ProjectId, upload: &str) -> Result<Project, Fault> {
    let unknown = || {
        let shown: String = upload.chars().take(80).collect();
        Fault::new(Reason::NotFound, format!("nothing was brought as upload {shown:?}, or its time is over"))
            .hint("PUT the archive to the URL of the upload before it ends, or begin another one")
    };
    let transfer = Transfer::named(Way::In, id, upload).ok_or_else(unknown)?;
    let entry = inner.entry(id)?;
    let record = entry.record();
    if record.source.as_ref().is_some_and(|source| source.is_of_upload(transfer.id)) {
        return Ok(record.project);
    }
    source::wanted(&record)?;
    let (store, prefix) = (&inner.store, inner.settings.prefix.as_str());
    let found = store.find_transfer(prefix, &transfer).await?.ok_or_else(unknown)?;
    // One that is longer was not brought by our URL.
    if found.bytes > MAX_SOURCE_BYTES {
        forget(inner, &transfer).await;
        return Err(crate::local::runtime::too_large(MAX_SOURCE_BYTES));
    }
    let chunks = store.read_transfer(prefix, &transfer, &found).await?;
    let file = SourceFile::name_of_upload(transfer.id, transfer.zstd);
    let taken = source::put_as(inner, id, transfer.zstd, file, chunks).await;
    if let Ok(_) | Err(Fault { reason: Reason::ArchiveInvalid | Reason::ContentUnsupported, .. }) = &taken {
        forget(inner, &transfer).await;
    }
    taken
}

/// Whether the project may have one more; what is over goes first.
async fn room(inner: &Inner, way: Way, id: ProjectId) -> Result<(), Fault> {
    let (store, prefix, now) = (&inner.store, inner.settings.prefix.as_str(), now_ms());
    store.sweep_transfers(prefix, now).await?;
    if store.count_transfers(prefix, way, id, now).await? < MAX_PROJECT_TRANSFERS {
        return Ok(());
    }
    let (what, hint) = match way {
        Way::Out => ("archives of its snapshots on the store", "download one that is there, or wait until one ends"),
        Way::In => ("archives that were brought and not taken", "complete one of the uploads, or wait until one ends"),
    };
    Err(Fault::new(Reason::LimitReached, format!("the project has {MAX_PROJECT_TRANSFERS} {what} already")).hint(hint))
}

async fn forget(inner: &Inner, transfer: &Transfer) {
    // Best effort: what stays goes when its time is over.
    if let Err(fault) = inner.store.remove_transfer(&inner.settings.prefix, transfer).await {
        warn!(%fault, project = %transfer.project, "an archive that nothing needs stays on the store for now");
    }
}

/// Removes what is over from time to time, for ever.
pub(super) async fn sweep(inner: &Inner) {
    let mut looks = interval(TRANSFER_SWEEP_INTERVAL);
    looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        looks.tick().await;
        match inner.store.sweep_transfers(&inner.settings.prefix, now_ms()).await {
            Ok(0) => {}
            Ok(removed) => info!(removed, "archives whose URL has ended were removed from the store"),
            Err(fault) => warn!(%fault, "archives whose URL has ended stay on the store for now"),
        }
    }
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_lives_as_long_as_was_said_within_bounds() {
        assert_eq!(life(0).unwrap(), DEFAULT_URL_LIFE);
        assert_eq!(life(604_800).unwrap(), MAX_URL_LIFE);
        assert_eq!(life(604_801).unwrap_err().reason, Reason::InvalidArgument);
    }
}
