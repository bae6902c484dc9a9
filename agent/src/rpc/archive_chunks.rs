//! An archive as messages: what an engine writes on a thread of its own, and a short
//! queue between it and the client.

use std::io::{self, Write};

use bytes::Bytes;
use remora_proto::agent::v1::{ArchiveChunk, archive_chunk};
use tokio::{runtime::Handle, sync::mpsc, time::timeout};
use tonic::Status;

use crate::limits::{ARCHIVE_CHUNK_BYTES, ARCHIVE_CHUNKS_AHEAD, DOWNLOAD_STALL};

/// What goes out, with the error that may end it.
pub(super) type Chunks = mpsc::Receiver<Result<ArchiveChunk, Status>>;

/// Makes messages of what the engine writes, and holds it up while the client is slow.
pub(super) struct ChunkWriter {
    sender: mpsc::Sender<Result<ArchiveChunk, Status>>,
    data: Vec<u8>,
    runtime: Handle,
}

impl ChunkWriter {
    /// A writer, and what becomes of what is written.
    pub(super) fn open() -> (ChunkWriter, Chunks) {
        let (sender, chunks) = mpsc::channel(ARCHIVE_CHUNKS_AHEAD);
        (ChunkWriter { sender, data: Vec::new(), runtime: Handle::current() }, chunks)
    }

    /// Where its messages go, for a last one.
    pub(super) fn sender(&self) -> mpsc::Sender<Result<ArchiveChunk, Status>> {
        self.sender.clone()
    }

    /// Says how it ended. Whoever is gone by now needs no last word.
    pub(super) fn end(self, last: Result<ArchiveChunk, Status>) {
        let _ = self.send(last);
    }

    fn send(&self, chunk: Result<ArchiveChunk, Status>) -> io::Result<()> {
        match self.runtime.block_on(timeout(DOWNLOAD_STALL, self.sender.send(chunk))) {
            Ok(Ok(())) => Ok(()),
            Ok(Err(_)) => Err(io::ErrorKind::BrokenPipe.into()),
            Err(_) => Err(io::ErrorKind::TimedOut.into()),
        }
    }
}

impl Write for ChunkWriter {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let taken = bytes.len().min(ARCHIVE_CHUNK_BYTES - self.data.len());
        self.data.extend_from_slice(&bytes[..taken]);
        if self.data.len() == ARCHIVE_CHUNK_BYTES {
            self.flush()?;
        }
        Ok(taken)
    }

    fn flush(&mut self) -> io::Result<()> {
        if self.data.is_empty() {
            return Ok(());
        }
        let data = Bytes::from(std::mem::take(&mut self.data));
        self.send(Ok(ArchiveChunk { part: Some(archive_chunk::Part::Data(data)) }))
    }
}
