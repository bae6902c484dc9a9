//! The stream of Export.

use remora_agent_snapshot::{Exported, Packing, StoredRoot, export};
use remora_proto::{
    agent::v1::{ArchiveChunk, ArchiveSummary, archive_chunk},
    convert::files,
    fault::to_status,
    model::{Fault, Reason},
};
use tokio::{sync::OwnedSemaphorePermit, time::timeout};
use tokio_util::sync::CancellationToken;

use crate::{
    limits::{DOWNLOAD_STALL, MAX_EXPORTS},
    rpc::archive_chunks::{ChunkWriter, Chunks},
    snapshots::Snapshots,
};

/// The refusal of one export too many.
pub(crate) fn too_many() -> Fault {
    Fault::new(Reason::LimitReached, format!("{MAX_EXPORTS} snapshot is exported already, as many as may be at once"))
        .hint("wait for its end")
        .retry_after(std::time::Duration::from_secs(1))
}

/// The archive of `snapshot`, as the client takes it.
pub(crate) fn stream(
    snapshots: Snapshots,
    snapshot: StoredRoot,
    packing: files::Packing,
    permit: OwnedSemaphorePermit,
    stop: CancellationToken,
) -> Chunks {
    let (out, chunks) = ChunkWriter::open();
    let sender = out.sender();
    let packing = match packing {
        files::Packing::Tar => Packing::Tar,
        files::Packing::TarZstd => Packing::TarZstd,
    };
    tokio::spawn(async move {
        let _permit = permit;
        let exporting = async {
            let lineage = snapshots.lineage().await?;
            Ok::<_, Fault>(export(lineage, &snapshot, packing, &stop, out).await?)
        };
        let exported = tokio::select! {
            exported = exporting => exported,
            () = sender.closed() => return,
        };
        let last = match exported {
            Ok(exported) => Ok(ArchiveChunk { part: Some(archive_chunk::Part::Done(summary(exported))) }),
            Err(_) if stop.is_cancelled() => {
                let stopping = Fault::new(Reason::Unavailable, "the agent stops").hint("ask for the export again");
                Err(to_status(&stopping))
            }
            Err(fault) => Err(to_status(&fault)),
        };
        // Whoever is gone by now needs no last word.
        let _ = timeout(DOWNLOAD_STALL, sender.send(last)).await;
    });
    chunks
}

fn summary(exported: Exported) -> ArchiveSummary {
    let Exported { entries, content_bytes, skipped } = exported;
    ArchiveSummary { entries, content_bytes, skipped, xattrs_refused: 0 }
}
