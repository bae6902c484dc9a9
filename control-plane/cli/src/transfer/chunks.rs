//! Bytes that come from the network, for a thread that reads them.

use std::io::{self, Read};

use bytes::{Buf as _, Bytes};
use tokio::sync::mpsc;

use crate::limits::CHUNKS_IN_FLIGHT;

enum Chunk {
    Data(Bytes),
    /// Everything came. A channel that closes without it was cut.
    End,
}

/// A bounded channel from a task to a thread.
pub(crate) fn channel() -> (Chunks, ChunkReader) {
    let (sender, chunks) = mpsc::channel(CHUNKS_IN_FLIGHT);
    (Chunks { sender }, ChunkReader { chunks, current: Bytes::new(), whole: false })
}

/// The task's end. Dropped without [`Chunks::end`] the reader fails.
pub(crate) struct Chunks {
    sender: mpsc::Sender<Chunk>,
}

impl Chunks {
    /// Hands over further bytes; `false` where nobody reads any more.
    pub(crate) async fn data(&self, data: Bytes) -> bool {
        self.sender.send(Chunk::Data(data)).await.is_ok()
    }

    /// Says that this was all.
    pub(crate) async fn end(self) {
        // A reader that left wants no end.
        _ = self.sender.send(Chunk::End).await;
    }
}

/// The thread's end.
pub(crate) struct ChunkReader {
    chunks: mpsc::Receiver<Chunk>,
    current: Bytes,
    whole: bool,
}

impl Read for ChunkReader {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while self.current.is_empty() && !self.whole {
            match self.chunks.blocking_recv() {
                Some(Chunk::Data(data)) => self.current = data,
                Some(Chunk::End) => self.whole = true,
                None => return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "the connection was cut")),
            }
        }
        let count = buffer.len().min(self.current.len());
        self.current.copy_to_slice(&mut buffer[..count]);
        Ok(count)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(mut reader: ChunkReader) -> tokio::task::JoinHandle<io::Result<Vec<u8>>> {
        tokio::task::spawn_blocking(move || {
            let mut bytes = Vec::new();
            reader.read_to_end(&mut bytes).map(|_| bytes)
        })
    }

    #[tokio::test]
    async fn only_what_was_ended_is_whole() {
        let (chunks, reader) = channel();
        let reading = read(reader);
        assert!(chunks.data(Bytes::from_static(b"ab")).await && chunks.data(Bytes::from_static(b"c")).await);
        chunks.end().await;
        assert_eq!(reading.await.unwrap().unwrap(), b"abc");

        let (chunks, reader) = channel();
        let reading = read(reader);
        chunks.data(Bytes::from_static(b"ab")).await;
        drop(chunks);
        assert_eq!(reading.await.unwrap().unwrap_err().kind(), io::ErrorKind::UnexpectedEof);
    }
}
