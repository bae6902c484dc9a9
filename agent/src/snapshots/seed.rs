//! The first content of a workspace: an archive that somebody made for it.

use std::{
    fs::File,
    io::{Read as _, Seek as _, SeekFrom},
    path::Path,
    sync::{Arc, atomic::Ordering},
};

use remora_agent_files::{ArchiveFormat, archive_put};
use remora_agent_root::RelPath;
use remora_agent_snapshot::{Progress, SnapshotInfo};
use remora_proto::{
    convert::snapshot::CreateSnapshot,
    model::{Fault, Reason},
};

use super::{Operation, Snapshots};

/// How a zstd frame begins (RFC 8878, 3.1.1).
const ZSTD_MAGIC: [u8; 4] = [0x28, 0xB5, 0x2F, 0xFD];
/// What the flag says while a seed is unpacked, in place of a snapshot's id.
const SEED: &str = "seed";

impl Snapshots {
    /// Fills the workspace from the archive at `path`, tar or tar.zst, and makes the
    /// first snapshot. Until that is there the workspace counts as half restored, so
    /// that a seed that was cut short is unpacked again.
    pub(crate) async fn seed(
        &self,
        operation: &Operation,
        path: &Path,
        progress: Arc<dyn Progress>,
    ) -> Result<SnapshotInfo, Fault> {
        let (file, format) = open(path)?;
        self.state("note that the workspace changes", self.0.state.begin_restore(SEED))?;
        self.0.restoring.store(true, Ordering::Release);
        let root = self.0.workspace.clone();
        let unpacked = tokio::task::spawn_blocking(move || archive_put(&root, &RelPath::root(), format, file));
        let summary = unpacked
            .await
            .map_err(|error| Fault::new(Reason::Internal, format!("the thread that unpacks ended early: {error}")))??;
        tracing::info!(entries = summary.entries, bytes = summary.content_bytes, "the seed is unpacked");
        let committed = self.commit(operation, &CreateSnapshot::default(), progress).await?;
        let finished = self.0.state.finish_restore(&self.origin_of(&committed));
        self.state("note that the workspace is whole", finished)?;
        self.0.restoring.store(false, Ordering::Release);
        Ok(committed.info())
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

fn open(path: &Path) -> Result<(File, ArchiveFormat), Fault> {
    let unusable = |error: std::io::Error| {
        Fault::new(Reason::NotFound, format!("--seed {}: {error}", path.display()))
            .hint("name a tar or tar.zst file that the agent may read")
    };
    let mut file = File::open(path).map_err(unusable)?;
    let mut magic = [0; 4];
    let zstd = match file.read_exact(&mut magic) {
        Ok(()) => magic == ZSTD_MAGIC,
        Err(error) if error.kind() == std::io::ErrorKind::UnexpectedEof => false,
        Err(error) => return Err(unusable(error)),
    };
    file.seek(SeekFrom::Start(0)).map_err(unusable)?;
    Ok((file, if zstd { ArchiveFormat::TarZstd } else { ArchiveFormat::Tar }))
}
