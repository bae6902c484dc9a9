//! Calls that stream from here to the server.

use std::{
    future::Future,
    io::{self, Write},
    path::PathBuf,
};

use bytes::{Bytes, BytesMut};
use tokio::{
    io::{AsyncRead, AsyncReadExt as _},
    sync::mpsc,
};
use tokio_stream::wrappers::ReceiverStream;

use super::pack::{Packed, Rules, pack};
use crate::{
    Failure,
    limits::{CHUNK_BYTES, CHUNKS_IN_FLIGHT},
    progress::Progress,
};

/// Where the messages of an upload go.
pub(crate) struct Sink<M> {
    messages: mpsc::Sender<M>,
}

impl<M> Sink<M> {
    /// Sends one message; `false` where the call has ended and wants no more.
    pub(crate) async fn send(&self, message: M) -> bool {
        self.messages.send(message).await.is_ok()
    }
}

/// Runs a call whose messages `fill` makes, with `end` as the last one. Where
/// `fill` fails there is no `end`, and the server never takes a part for the whole.
pub(crate) async fn upload<M, R, F, C>(
    fill: impl FnOnce(Sink<M>) -> F,
    end: M,
    call: impl FnOnce(ReceiverStream<M>) -> C,
) -> Result<R, Failure>
where
    F: Future<Output = Result<(), Failure>>,
    C: Future<Output = Result<tonic::Response<R>, tonic::Status>>,
{
    let (messages, receiver) = mpsc::channel(CHUNKS_IN_FLIGHT);
    let filling = async {
        fill(Sink { messages: messages.clone() }).await?;
        Sink { messages }.send(end).await;
        Ok::<_, Failure>(())
    };
    let calling = call(ReceiverStream::new(receiver));
    tokio::pin!(filling, calling);
    tokio::select! {
        answer = &mut calling => return Ok(answer?.into_inner()),
        filled = &mut filling => filled?,
    }
    Ok(calling.await?.into_inner())
}

/// Sends everything that `reader` has, in messages that `wrap` makes, as long as the call wants them.
pub(crate) async fn send_all<M>(
    sink: &Sink<M>,
    mut reader: impl AsyncRead + Unpin,
    what: &str,
    progress: &Progress,
    wrap: impl Fn(Bytes) -> M,
) -> Result<(), Failure> {
    loop {
        let mut chunk = BytesMut::with_capacity(CHUNK_BYTES);
        while chunk.len() < CHUNK_BYTES {
            if reader.read_buf(&mut chunk).await.map_err(Failure::local(what))? == 0 {
                break;
            }
        }
        if chunk.is_empty() {
            return Ok(());
        }
        progress.add(chunk.len() as u64);
        if !sink.send(wrap(chunk.freeze())).await {
            return Ok(());
        }
    }
}

/// Sends the folder `root` as a tar.zst, at most `limit` bytes of it, in messages that `wrap` makes.
pub(crate) async fn send_folder<M>(
    sink: &Sink<M>,
    root: PathBuf,
    rules: Rules,
    limit: u64,
    progress: Progress,
    wrap: impl Fn(Bytes) -> M,
) -> Result<Packed, Failure> {
    let (chunks, mut packed) = mpsc::channel(CHUNKS_IN_FLIGHT);
    let packer = tokio::task::spawn_blocking(move || {
        pack(&root, &rules, &progress, ChunkWriter { chunks, buffer: BytesMut::new(), left: limit })
    });
    while let Some(chunk) = packed.recv().await {
        if !sink.send(wrap(chunk)).await {
            // The call has its answer already; the packer ends when it finds nobody listening.
            drop(packed);
            break;
        }
    }
    packer.await.map_err(|error| Failure::Local { what: "packing".to_owned(), error: io::Error::other(error) })?
}

/// Cuts what is written into chunks of one size.
struct ChunkWriter {
    chunks: mpsc::Sender<Bytes>,
    buffer: BytesMut,
    left: u64,
}

impl Write for ChunkWriter {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if bytes.len() as u64 > self.left {
            return Err(io::Error::new(
                io::ErrorKind::FileTooLarge,
                "the source has more than the 4 GiB that it may have; leave more out with .remoraignore, or bring it later with `remora cp`",
            ));
        }
        let count = bytes.len().min(CHUNK_BYTES - self.buffer.len());
        self.buffer.extend_from_slice(&bytes[..count]);
        self.left -= count as u64;
        if self.buffer.len() == CHUNK_BYTES {
            self.flush()?;
        }
        Ok(count)
    }

    fn flush(&mut self) -> io::Result<()> {
        if self.buffer.is_empty() {
            return Ok(());
        }
        let chunk = std::mem::take(&mut self.buffer).freeze();
        self.chunks.blocking_send(chunk).map_err(|_| io::ErrorKind::BrokenPipe.into())
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use tokio_stream::StreamExt as _;

    use super::*;

    const END: Bytes = Bytes::from_static(b"END");

    /// Keeps what arrives, and answers at the end of the stream.
    async fn keep(
        mut stream: ReceiverStream<Bytes>,
        kept: Arc<Mutex<Vec<u8>>>,
    ) -> Result<tonic::Response<()>, tonic::Status> {
        while let Some(chunk) = stream.next().await {
            kept.lock().unwrap().extend_from_slice(&chunk);
        }
        Ok(tonic::Response::new(()))
    }

    #[tokio::test]
    async fn everything_arrives_and_the_end_is_last() {
        let kept = Arc::new(Mutex::new(Vec::new()));
        let mut content = vec![7; 3 * CHUNK_BYTES + 1];
        let progress = Progress::hidden();
        let fill = async |sink: Sink<Bytes>| send_all(&sink, &content[..], "content", &progress, |chunk| chunk).await;
        upload(fill, END, |stream| keep(stream, Arc::clone(&kept))).await.unwrap();
        content.extend_from_slice(&END);
        assert!(*kept.lock().unwrap() == content);
    }

    #[tokio::test]
    async fn a_source_that_fails_is_never_taken_for_whole() {
        let kept = Arc::new(Mutex::new(Vec::new()));
        let fill = async |sink: Sink<Bytes>| {
            sink.send(Bytes::from_static(b"half")).await;
            Err(Failure::Local { what: "disk".to_owned(), error: io::ErrorKind::UnexpectedEof.into() })
        };
        let failure = upload(fill, END, |stream| keep(stream, Arc::clone(&kept))).await.unwrap_err();
        assert!(failure.to_string().starts_with("disk"), "{failure}");
        assert!(!kept.lock().unwrap().ends_with(&END), "the server was told of an end");
    }

    #[tokio::test]
    async fn an_answer_that_comes_early_is_the_answer() {
        let progress = Progress::hidden();
        let fill =
            async |sink: Sink<Bytes>| send_all(&sink, tokio::io::repeat(1), "endless", &progress, |chunk| chunk).await;
        let refuse = |stream| async move {
            drop::<ReceiverStream<Bytes>>(stream);
            Err::<tonic::Response<()>, _>(tonic::Status::permission_denied("no"))
        };
        assert!(matches!(upload(fill, END, refuse).await, Err(Failure::Fault(_))));
    }

    #[tokio::test]
    async fn a_folder_over_the_limit_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let noise: Vec<u8> = (0..200_000_u32).flat_map(|n| n.wrapping_mul(2_654_435_761).to_le_bytes()).collect();
        std::fs::write(folder.path().join("a"), noise).unwrap();
        let root = folder.path().to_owned();
        let fill = async |sink: Sink<Bytes>| {
            send_folder(&sink, root, Rules::default(), 1_000, Progress::hidden(), |chunk| chunk).await.map(drop)
        };
        let failure = upload(fill, END, |stream| keep(stream, Arc::default())).await.unwrap_err();
        assert!(failure.to_string().contains(".remoraignore"), "{failure}");
    }
}
