//! The first content of a workspace: an archive that somebody made for it.

use std::{
    fs::File,
    io::{self, Read, Seek as _, SeekFrom},
    path::{Path, PathBuf},
    sync::{Arc, Mutex, atomic::Ordering},
};

use bytes::{Buf as _, Bytes};
use remora_agent_files::{ArchiveFormat, archive_put};
use remora_agent_root::RelPath;
use remora_agent_snapshot::{
    Progress, SnapshotInfo,
    store::{ObjectInfo, Store, StoreError},
};
use remora_proto::{
    convert::snapshot::CreateSnapshot,
    model::{Fault, Reason},
};
use tokio::runtime::Handle;
use tokio_util::sync::CancellationToken;

use super::{Operation, Snapshots, lock};
use crate::limits::SEED_PART_BYTES;

/// How a zstd frame begins (RFC 8878, 3.1.1).
const ZSTD_MAGIC: [u8; 4] = [0x28, 0xB5, 0x2F, 0xFD];
/// What the flag says while a seed is unpacked, in place of a snapshot's id.
const SEED: &str = "seed";

/// Where the archive is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Seed {
    /// A file.
    File(PathBuf),
    /// An object of the store, below the lineage's prefix.
    Object(String),
}

impl Snapshots {
    /// Fills the workspace from the archive, tar or tar.zst, and makes the first
    /// snapshot. Until that is there the workspace counts as half restored, so that a
    /// seed that was cut short is unpacked again.
    pub(crate) async fn seed(
        &self,
        operation: &Operation,
        seed: &Seed,
        progress: Arc<dyn Progress>,
    ) -> Result<SnapshotInfo, Fault> {
        match seed {
            Seed::File(path) => {
                let (file, format) = open_file(path)?;
                self.unpack(format, file).await?;
            }
            Seed::Object(key) => {
                let store = Arc::clone(self.lineage().await?.store());
                let object = open_object(&store, key).await?;
                let (reader, format) = ObjectReader::new(Arc::clone(&store), &object, &operation.cancel).await?;
                let failure = Arc::clone(&reader.failure);
                if let Err(fault) = self.unpack(format, reader).await {
                    // What the archive's reader was told, where that is why the archive ended early.
                    return Err(lock(&failure).take().unwrap_or(fault));
                }
                check_unchanged(&store, &object).await?;
            }
        }
        let committed = self.commit(operation, &CreateSnapshot::default(), progress).await?;
        let finished = self.0.state.finish_restore(&self.origin_of(&committed));
        self.state("note that the workspace is whole", finished)?;
        self.0.restoring.store(false, Ordering::Release);
        Ok(committed.info())
    }

    async fn unpack(&self, format: ArchiveFormat, archive: impl Read + Send + 'static) -> Result<(), Fault> {
        self.state("note that the workspace changes", self.0.state.begin_restore(SEED))?;
        self.0.restoring.store(true, Ordering::Release);
        let root = self.0.workspace.clone();
        let unpacked = tokio::task::spawn_blocking(move || archive_put(&root, &RelPath::root(), format, archive));
        let summary = unpacked
            .await
            .map_err(|error| Fault::new(Reason::Internal, format!("the thread that unpacks ended early: {error}")))??;
        tracing::info!(entries = summary.entries, bytes = summary.content_bytes, "the seed is unpacked");
        Ok(())
    }

    /// Whether the workspace holds nothing but what the file system put there.
    pub(crate) fn is_blank(&self) -> Result<bool, Fault> {
        let entries = self.0.workspace.read_dir(&RelPath::root())?;
        let blank = entries.map(|entry| entry.map(|entry| entry.name == "lost+found"));
        blank.collect::<Result<Vec<_>, _>>().map(|found| found.into_iter().all(|blank| blank)).map_err(|errno| {
            Fault::new(Reason::IoError, format!("cannot list the workspace: {errno}")).errno(errno.raw_os_error())
        })
    }
}

fn format_of(start: &[u8]) -> ArchiveFormat {
    if start.starts_with(&ZSTD_MAGIC) { ArchiveFormat::TarZstd } else { ArchiveFormat::Tar }
}

fn open_file(path: &Path) -> Result<(File, ArchiveFormat), Fault> {
    let unusable = |error: io::Error| {
        Fault::new(Reason::NotFound, format!("--seed {}: {error}", path.display()))
            .hint("name a tar or tar.zst file that the agent may read")
    };
    let mut file = File::open(path).map_err(unusable)?;
    let mut magic = Vec::new();
    (&mut file).take(ZSTD_MAGIC.len() as u64).read_to_end(&mut magic).map_err(unusable)?;
    file.seek(SeekFrom::Start(0)).map_err(unusable)?;
    Ok((file, format_of(&magic)))
}

async fn open_object(store: &Arc<dyn Store>, key: &str) -> Result<ObjectInfo, Fault> {
    store.head(key).await?.ok_or_else(|| {
        Fault::new(Reason::NotFound, format!("--seed-object {key}: there is no such object below the lineage's prefix"))
            .hint("upload a tar or tar.zst there first, or begin with an empty workspace by leaving the flag out")
    })
}

/// An object that was replaced while it was read is neither the old archive nor the new one.
async fn check_unchanged(store: &Arc<dyn Store>, read: &ObjectInfo) -> Result<(), Fault> {
    match store.head(&read.key).await? {
        Some(now) if now == *read => Ok(()),
        _ => Err(changed(&read.key)),
    }
}

fn changed(key: &str) -> Fault {
    Fault::new(Reason::Conflict, format!("--seed-object {key}: it was replaced while it was read"))
        .hint("run hydrate again; what is in the workspace by now is unpacked anew")
}

/// An object as a stream of parts, for a thread that may block. The first part is there
/// from the beginning.
struct ObjectReader {
    store: Arc<dyn Store>,
    key: String,
    size: u64,
    /// Where the next part begins.
    next: u64,
    part: Bytes,
    /// Why no more bytes came, as the store had it.
    failure: Arc<Mutex<Option<Fault>>>,
    cancel: CancellationToken,
    runtime: Handle,
}

impl ObjectReader {
    async fn new(
        store: Arc<dyn Store>,
        object: &ObjectInfo,
        cancel: &CancellationToken,
    ) -> Result<(Self, ArchiveFormat), Fault> {
        let mut reader = ObjectReader {
            store,
            key: object.key.clone(),
            size: object.size,
            next: 0,
            part: Bytes::new(),
            failure: Arc::default(),
            cancel: cancel.clone(),
            runtime: Handle::current(),
        };
        reader.part = reader.fetch().await?;
        let format = format_of(&reader.part);
        Ok((reader, format))
    }

    /// The next part; empty at the end.
    async fn fetch(&mut self) -> Result<Bytes, Fault> {
        let end = self.size.min(self.next + SEED_PART_BYTES);
        if self.next == end {
            return Ok(Bytes::new());
        }
        let part = tokio::select! {
            () = self.cancel.cancelled() => return Err(Fault::new(Reason::Cancelled, "told to stop")),
            part = self.store.get(&self.key, Some(self.next..end)) => part,
        };
        self.next = end;
        part.map_err(|error| match error {
            StoreError::NotFound { .. } | StoreError::OutOfRange { .. } => changed(&self.key),
            error => error.into(),
        })
    }
}

impl Read for ObjectReader {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.part.is_empty() {
            let runtime = self.runtime.clone();
            self.part = runtime.block_on(self.fetch()).map_err(|fault| {
                let told = io::Error::other(fault.message.to_string());
                *lock(&self.failure) = Some(fault);
                told
            })?;
        }
        let count = buffer.len().min(self.part.len());
        self.part.copy_to_slice(&mut buffer[..count]);
        Ok(count)
    }
}

#[cfg(test)]
mod tests {
    use remora_agent_snapshot::store::{DirStore, FaultPlan, FaultyStore, Injection, PutCondition};

    use super::*;

    async fn stored(length: usize) -> (tempfile::TempDir, Arc<dyn Store>, Vec<u8>) {
        let folder = tempfile::tempdir().unwrap();
        let store: Arc<dyn Store> = Arc::new(DirStore::open(folder.path()).unwrap());
        let bytes: Vec<u8> = (0..length).map(|at| (at % 251) as u8).collect();
        store.put("seed", bytes.clone().into(), PutCondition::Always).await.unwrap();
        (folder, store, bytes)
    }

    async fn read_all(mut reader: ObjectReader) -> io::Result<Vec<u8>> {
        tokio::task::spawn_blocking(move || {
            let mut bytes = Vec::new();
            reader.read_to_end(&mut bytes).map(|_| bytes)
        })
        .await
        .unwrap()
    }

    #[tokio::test]
    async fn an_object_is_read_in_parts_to_its_last_byte() {
        let part = usize::try_from(SEED_PART_BYTES).unwrap();
        for length in [0, 1, part - 1, part, part + 1, 2 * part + 7] {
            let (_folder, store, bytes) = stored(length).await;
            let object = open_object(&store, "seed").await.unwrap();
            let (reader, _) = ObjectReader::new(store, &object, &CancellationToken::new()).await.unwrap();
            assert!(read_all(reader).await.unwrap() == bytes, "{length}");
        }
    }

    #[tokio::test]
    async fn why_the_bytes_end_is_not_lost_on_the_way_through_the_archive() {
        let (_folder, store, _) = stored(usize::try_from(SEED_PART_BYTES).unwrap() + 1).await;
        let object = open_object(&store, "seed").await.unwrap();
        let faulty: Arc<dyn Store> = Arc::new(FaultyStore::new(store, FaultPlan::none().at(2, Injection::Fail)));
        let (reader, _) = ObjectReader::new(Arc::clone(&faulty), &object, &CancellationToken::new()).await.unwrap();
        let failure = Arc::clone(&reader.failure);
        read_all(reader).await.unwrap_err();
        assert_eq!(lock(&failure).take().unwrap().reason, Reason::StoreUnavailable);
    }

    #[tokio::test]
    async fn what_is_missing_or_replaced_is_said() {
        let (_folder, store, _) = stored(10).await;
        let missing = open_object(&store, "other").await.unwrap_err();
        assert_eq!((missing.reason, missing.message.contains("other")), (Reason::NotFound, true));
        let outside = open_object(&store, "../other").await.unwrap_err();
        assert_eq!(outside.reason, Reason::InvalidArgument, "{outside}");
        let object = open_object(&store, "seed").await.unwrap();
        check_unchanged(&store, &object).await.unwrap();
        store.put("seed", Bytes::from_static(b"another one"), PutCondition::Always).await.unwrap();
        assert_eq!(check_unchanged(&store, &object).await.unwrap_err().reason, Reason::Conflict);
        let longer = ObjectInfo { size: 99, ..object };
        let shrunk = ObjectReader::new(store, &longer, &CancellationToken::new()).await;
        assert_eq!(shrunk.err().map(|fault| fault.reason), Some(Reason::Conflict));
    }
}
