//! An archive that is looked through while it passes: what would not be unpacked is
//! refused before anything is made of it.

use std::io::{self, Read};

use bytes::{Buf as _, Bytes};
use futures_util::{
    StreamExt as _,
    stream::{self, BoxStream},
};
use remora_proto_archive::{Inspected, Refusal, inspect};
use remora_proto_model::{Fault, Reason};
use tokio::{sync::mpsc, task::JoinHandle};

use crate::limits::INSPECT_AHEAD;

type Chunks<'a> = BoxStream<'a, Result<Bytes, Fault>>;

struct Passing<'a> {
    chunks: Chunks<'a>,
    ahead: mpsc::Sender<Bytes>,
    verdict: JoinHandle<Result<Inspected, Refusal>>,
    any: bool,
}

/// The same bytes. In place of the end of an archive that is not taken comes why.
pub(super) fn inspected(zstd: bool, chunks: Chunks<'_>) -> Chunks<'_> {
    let (ahead, received) = mpsc::channel(INSPECT_AHEAD);
    // It ends with its input, which ends with this stream.
    let verdict =
        tokio::task::spawn_blocking(move || inspect(zstd, Received { chunks: received, chunk: Bytes::new() }));
    let passing = Passing { chunks, ahead, verdict, any: false };
    stream::unfold(Some(passing), |passing| async {
        let mut passing = passing?;
        match passing.chunks.next().await {
            Some(Ok(chunk)) => {
                passing.any = true;
                match passing.ahead.send(chunk.clone()).await {
                    Ok(()) => Some((Ok(chunk), Some(passing))),
                    // It has seen enough.
                    Err(_) => refusal(passing.verdict.await).map(|fault| (Err(fault), None)),
                }
            }
            Some(Err(fault)) => Some((Err(fault), None)),
            // Whoever keeps it says that there is nothing.
            None if !passing.any => None,
            None => {
                drop(passing.ahead);
                refusal(passing.verdict.await).map(|fault| (Err(fault), None))
            }
        }
    })
    .boxed()
}

/// Why the archive is not taken; `None` where it is.
fn refusal(verdict: Result<Result<Inspected, Refusal>, tokio::task::JoinError>) -> Option<Fault> {
    let hint = "the archive was not kept; pack files, directories and links with names relative to the folder";
    let fault = |reason, text: String| Some(Fault::new(reason, format!("the archive {text}")).hint(hint));
    match verdict {
        Ok(Ok(_)) => None,
        Ok(Err(Refusal::Invalid(text))) => fault(Reason::ArchiveInvalid, text),
        Ok(Err(Refusal::Unsupported(text))) => fault(Reason::ContentUnsupported, text),
        Ok(Err(Refusal::Input(error))) => {
            Some(Fault::new(Reason::Internal, format!("the archive was not read: {error}")))
        }
        Err(error) => Some(Fault::new(Reason::Internal, format!("the archive was not looked through: {error}"))),
    }
}

/// What passes, as a reader of its own thread.
struct Received {
    chunks: mpsc::Receiver<Bytes>,
    chunk: Bytes,
}

impl Read for Received {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while self.chunk.is_empty() {
            match self.chunks.blocking_recv() {
                Some(chunk) => self.chunk = chunk,
                None => return Ok(0),
            }
        }
        let got = buffer.len().min(self.chunk.len());
        self.chunk.copy_to_slice(&mut buffer[..got]);
        Ok(got)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn passed(zstd: bool, bytes: &[u8]) -> (Vec<u8>, Option<Fault>) {
        let chunks: Vec<Result<Bytes, Fault>> =
            bytes.chunks(700).map(|chunk| Ok(Bytes::copy_from_slice(chunk))).collect();
        let mut passed = (Vec::new(), None);
        let mut stream = inspected(zstd, stream::iter(chunks).boxed());
        while let Some(chunk) = stream.next().await {
            match chunk {
                Ok(chunk) => passed.0.extend_from_slice(&chunk),
                Err(fault) => passed.1 = Some(fault),
            }
        }
        passed
    }

    /// Two blocks of zeros: the tar of an empty folder.
    #[tokio::test]
    async fn what_is_taken_passes_as_it_is() {
        assert_eq!(passed(false, &[0; 1_024]).await, (vec![0; 1_024], None));
        assert_eq!(passed(false, &[]).await, (Vec::new(), None));
        // A lone block of zeros is an end to what unpacks it, as it is to GNU tar.
        assert_eq!(passed(false, &[0; 512]).await, (vec![0; 512], None));
    }

    #[tokio::test]
    async fn what_is_not_taken_has_no_end() {
        for (zstd, bytes) in [(false, vec![b'x'; 300_000]), (true, vec![b'x'; 300])] {
            let (_, fault) = passed(zstd, &bytes).await;
            assert_eq!(fault.map(|fault| fault.reason), Some(Reason::ArchiveInvalid), "zstd {zstd}");
        }
    }

    #[tokio::test]
    async fn a_stream_that_fails_keeps_its_own_fault() {
        let cut = Fault::new(Reason::Cancelled, "cut");
        let mut stream = inspected(false, stream::iter([Ok(Bytes::from_static(&[0; 99])), Err(cut.clone())]).boxed());
        stream.next().await.unwrap().unwrap();
        assert_eq!(stream.next().await, Some(Err(cut)));
        assert_eq!(stream.next().await, None);
    }
}
