//! ArchiveGet and ArchivePut: the engine packs and unpacks on a thread of its
//! own, and a short queue of messages stands between it and the client.

use std::{
    io::{self, Read},
    sync::Arc,
};

use bytes::{Buf as _, Bytes};
use remora_agent_files::{self as engine, ArchiveFormat};
use remora_agent_root::RelPath;
use remora_proto::{
    agent::v1::{
        ArchiveChunk, ArchiveGetRequest, ArchivePutRequest, ArchivePutResponse, ArchiveSummary, archive_chunk,
        archive_put_request::Part,
    },
    convert::files::{ArchiveGet, ArchivePut, Packing},
    fault::to_status,
    model::{Fault, Reason},
};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use tonic::Streaming;

use super::{
    View, panicked,
    write::{After, data, next},
};
use crate::{
    limits::{ARCHIVE_CHUNKS_AHEAD, MAX_ARCHIVE_CALLS},
    rpc::archive_chunks::{ChunkWriter, Chunks},
};

pub(super) fn get(archives: &Arc<Semaphore>, view: View, request: ArchiveGetRequest) -> Result<Chunks, Fault> {
    let ArchiveGet { path, packing, exclude } = request.try_into()?;
    let permit = permit(archives)?;
    let (mut out, chunks) = ChunkWriter::open();
    // The thread ends with its work or soon after the receiver; nothing waits for it.
    tokio::task::spawn_blocking(move || {
        let _permit = permit;
        let packed = view.root().and_then(|root| {
            let path = RelPath::new(&path)?;
            Ok(engine::archive_get(&root, &path, format(packing), &exclude, &mut out)?)
        });
        let last = match packed {
            Ok(packed) => Ok(ArchiveChunk { part: Some(archive_chunk::Part::Done(summary(packed))) }),
            Err(fault) => Err(to_status(&fault)),
        };
        out.end(last);
    });
    Ok(chunks)
}

pub(super) async fn put(
    archives: &Arc<Semaphore>,
    view: View,
    mut upload: Streaming<ArchivePutRequest>,
) -> Result<ArchivePutResponse, Fault> {
    let Some(ArchivePutRequest { part: Some(Part::Head(head)) }) = next(&mut upload).await? else {
        return Err(Fault::invalid("head", "is not the first message").hint("begin with a head, then send the bytes"));
    };
    let ArchivePut { path, packing } = head.try_into()?;
    let permit = permit(archives)?;
    let (sender, received) = mpsc::channel(ARCHIVE_CHUNKS_AHEAD);
    let unpacking = tokio::task::spawn_blocking(move || {
        let _permit = permit;
        let (root, path) = (view.root()?, RelPath::new(&path)?);
        let input = ChunkReader { received, data: Bytes::new(), ended: false };
        Ok::<_, Fault>(engine::archive_put(&root, &path, format(packing), input)?)
    });
    let fed = feed(&mut upload, &sender).await;
    drop(sender);
    let unpacked = unpacking.await.unwrap_or_else(|error| Err(panicked(&error)));
    match (fed, unpacked) {
        (_, Ok(unpacked)) => Ok(ArchivePutResponse { summary: Some(summary(unpacked)) }),
        // The upload's own fault is the cause, the engine's says what stays.
        (Err(cause), Err(told)) if told.reason == Reason::Cancelled => {
            Err(Fault { reason: cause.reason, message: format!("{}: {}", cause.message, told.message).into(), ..told })
        }
        (_, Err(fault)) => Err(fault),
    }
}

impl From<Part> for After {
    fn from(part: Part) -> Self {
        match part {
            Part::Head(_) => Self::Head,
            Part::Data(data) => Self::Data(data),
            Part::End(end) => Self::End(end),
        }
    }
}

/// Hands the upload to the engine, until either ends.
async fn feed(upload: &mut Streaming<ArchivePutRequest>, sender: &mpsc::Sender<Fed>) -> Result<(), Fault> {
    loop {
        let data = tokio::select! {
            data = data(upload, |message| message.part.map(Into::into)) => data?,
            // The engine has failed; its result says why.
            () = sender.closed() => return Ok(()),
        };
        let fed = data.map_or(Fed::End, Fed::Data);
        let end = matches!(fed, Fed::End);
        if sender.send(fed).await.is_err() || end {
            return Ok(());
        }
    }
}

fn permit(archives: &Arc<Semaphore>) -> Result<OwnedSemaphorePermit, Fault> {
    Arc::clone(archives).try_acquire_owned().map_err(|_| {
        Fault::new(Reason::LimitReached, format!("{MAX_ARCHIVE_CALLS} archives are packed or unpacked already"))
            .hint("wait for one of them to end")
            .retry_after(std::time::Duration::from_secs(1))
    })
}

fn format(packing: Packing) -> ArchiveFormat {
    match packing {
        Packing::Tar => ArchiveFormat::Tar,
        Packing::TarZstd => ArchiveFormat::TarZstd,
    }
}

fn summary(summary: engine::ArchiveSummary) -> ArchiveSummary {
    let engine::ArchiveSummary { entries, content_bytes, skipped, xattrs_refused } = summary;
    ArchiveSummary { entries, content_bytes, skipped, xattrs_refused }
}

/// What the engine is fed with; a queue that closes without `End` was cut.
enum Fed {
    Data(Bytes),
    End,
}

struct ChunkReader {
    received: mpsc::Receiver<Fed>,
    data: Bytes,
    ended: bool,
}

impl Read for ChunkReader {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while self.data.is_empty() && !self.ended {
            match self.received.blocking_recv() {
                Some(Fed::Data(data)) => self.data = data,
                Some(Fed::End) => self.ended = true,
                None => return Err(io::Error::new(io::ErrorKind::ConnectionAborted, "the upload broke off")),
            }
        }
        let got = buffer.len().min(self.data.len());
        self.data.copy_to_slice(&mut buffer[..got]);
        Ok(got)
    }
}
