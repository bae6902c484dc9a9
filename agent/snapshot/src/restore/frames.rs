//! [`Frames`]: the frames that a run of files needs, fetched ahead in few
//! requests, verified, unpacked, and let go after their last use.

use std::{
    collections::{HashMap, VecDeque},
    ops::Range,
};

use bytes::Bytes;
use futures_util::{FutureExt as _, StreamExt as _, stream};
use tokio::{runtime::Handle, sync::mpsc};
use tokio_util::sync::CancellationToken;

use super::until;
use crate::{
    Lineage, SnapshotError,
    format::{FrameRef, ObjectId, decode_frame},
    limits::{FETCH_RAW_TARGET_BYTES, FETCH_TARGET_BYTES, FRAME_CACHE_BYTES, MAX_FETCHES},
};

/// Frames that lie one after the other in one pack: one request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Run {
    pack: ObjectId,
    range: Range<u64>,
    /// Indices in the page's table.
    frames: Vec<u32>,
}

/// The requests for the frames that `uses` names, in the order of their first use.
pub(super) fn runs(frames: &[FrameRef], uses: impl IntoIterator<Item = u32>) -> Vec<Run> {
    let mut met = vec![false; frames.len()];
    let mut runs: Vec<Run> = Vec::new();
    let mut raw = 0;
    for index in uses {
        if std::mem::replace(&mut met[index as usize], true) {
            continue;
        }
        let frame = &frames[index as usize];
        let end = frame.offset + u64::from(frame.stored);
        raw += u64::from(frame.raw);
        match runs.last_mut() {
            Some(run)
                if run.pack == frame.pack
                    && run.range.end == frame.offset
                    && end - run.range.start <= FETCH_TARGET_BYTES
                    && raw <= FETCH_RAW_TARGET_BYTES =>
            {
                run.range.end = end;
                run.frames.push(index);
            }
            _ => {
                raw = u64::from(frame.raw);
                runs.push(Run { pack: frame.pack, range: frame.offset..end, frames: vec![index] });
            }
        }
    }
    runs
}

type Fetched = (Run, Result<Bytes, SnapshotError>);

/// See the module. Of one page.
pub(crate) struct Frames<'a> {
    runtime: &'a Handle,
    lineage: &'a Lineage,
    cancel: &'a CancellationToken,
    table: &'a [FrameRef],
    /// How often each will be asked for again.
    uses: Vec<u32>,
    incoming: mpsc::Receiver<Fetched>,
    held: HashMap<u32, Vec<u8>>,
    /// In the order they came.
    order: VecDeque<u32>,
    bytes: usize,
}

impl<'a> Frames<'a> {
    /// Starts to fetch what `uses` names, in that order; each is asked for as often
    /// as it is named.
    pub(crate) fn new(
        runtime: &'a Handle,
        lineage: &'a Lineage,
        cancel: &'a CancellationToken,
        table: &'a [FrameRef],
        uses: &[u32],
    ) -> Self {
        let mut counts = vec![0; table.len()];
        uses.iter().for_each(|index| counts[*index as usize] += 1);
        // One run waits here while the next ones are on their way.
        let (sender, incoming) = mpsc::channel(1);
        let (lineage_of_task, runs) = (lineage.clone(), runs(table, uses.iter().copied()));
        runtime.spawn(async move {
            let lineage = &lineage_of_task;
            let fetches = runs.into_iter().map(|run| {
                async move {
                    let bytes = lineage.pack_bytes(&run.pack, Some(run.range.clone())).await;
                    (run, bytes)
                }
                .boxed()
            });
            let mut fetched = stream::iter(fetches).buffered(MAX_FETCHES);
            while let Some(run) = fetched.next().await {
                // Whoever wanted it has stopped.
                if sender.send(run).await.is_err() {
                    return;
                }
            }
        });
        let held = HashMap::new();
        Frames { runtime, lineage, cancel, table, uses: counts, incoming, held, order: VecDeque::new(), bytes: 0 }
    }

    /// The content of the frame at `index`, whose use this is.
    pub(crate) fn take(
        &mut self,
        index: u32,
        give: impl FnOnce(&[u8]) -> Result<(), SnapshotError>,
    ) -> Result<(), SnapshotError> {
        while !self.held.contains_key(&index) {
            let next = until(self.runtime, self.cancel, async { Ok(self.incoming.recv().await) })?;
            match next {
                Some((run, bytes)) => self.unpack(&run, &bytes?)?,
                None => self.fetch_again(index)?,
            }
        }
        give(&self.held[&index])?;
        let left = &mut self.uses[index as usize];
        *left = left.saturating_sub(1);
        if *left == 0 {
            self.let_go(index);
        }
        Ok(())
    }

    /// A frame that had to make room before its last use.
    fn fetch_again(&mut self, index: u32) -> Result<(), SnapshotError> {
        let frame = &self.table[index as usize];
        let range = frame.offset..frame.offset + u64::from(frame.stored);
        let run = Run { pack: frame.pack, range: range.clone(), frames: vec![index] };
        let bytes = until(self.runtime, self.cancel, self.lineage.pack_bytes(&frame.pack, Some(range)))?;
        self.unpack(&run, &bytes)
    }

    fn unpack(&mut self, run: &Run, bytes: &Bytes) -> Result<(), SnapshotError> {
        let key = run.pack.pack_key();
        for index in &run.frames {
            let frame = &self.table[*index as usize];
            let content = unpack(self.lineage, &key, frame, bytes, run.range.start)?;
            self.bytes += content.len();
            self.held.insert(*index, content);
            self.order.push_back(*index);
        }
        // The newest stay: they are what is asked for next.
        let newest = run.frames.len();
        while self.bytes > FRAME_CACHE_BYTES && self.order.len() > newest {
            if let Some(oldest) = self.order.pop_front() {
                self.bytes -= self.held.remove(&oldest).map_or(0, |content| content.len());
            }
        }
        Ok(())
    }

    fn let_go(&mut self, index: u32) {
        if let Some(content) = self.held.remove(&index) {
            self.bytes -= content.len();
            self.order.retain(|held| *held != index);
        }
    }
}

/// The content of `frame`, from bytes of its pack that begin at `start`.
pub(crate) fn unpack(
    lineage: &Lineage,
    key: &str,
    frame: &FrameRef,
    bytes: &[u8],
    start: u64,
) -> Result<Vec<u8>, SnapshotError> {
    let from = frame.offset.checked_sub(start).and_then(|from| usize::try_from(from).ok());
    let stored = from.and_then(|from| bytes.get(from..)?.get(..frame.stored as usize));
    let stored = stored.ok_or_else(|| SnapshotError::damaged(key, "the store sent fewer bytes than were asked for"))?;
    if *blake3::hash(stored).as_bytes() != frame.blake3 {
        return Err(SnapshotError::damaged(key, format!("the bytes from {} on are not what was stored", frame.offset)));
    }
    decode_frame(lineage.crypt(), key, stored, frame.raw as usize)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(pack: u8, offset: u64, stored: u32) -> FrameRef {
        FrameRef { pack: ObjectId([pack; 32]), offset, stored, raw: 1, blake3: [0; 32] }
    }

    /// Frames that shrank to nothing lie by the hundred in the bytes of one request.
    #[test]
    fn a_request_brings_no_more_than_can_be_unpacked_at_once() {
        let table: Vec<_> = (0..1_000).map(|at| FrameRef { raw: 1 << 20, ..frame(1, at * 100, 100) }).collect();
        let found = runs(&table, 0..1_000);
        assert!(found.iter().all(|run| run.frames.len() << 20 <= FETCH_RAW_TARGET_BYTES as usize), "{found:?}");
        assert_eq!(found.len(), 125);
    }

    #[test]
    fn neighbours_are_one_request_and_each_frame_is_fetched_once() {
        let big = FETCH_TARGET_BYTES as u32;
        let table = [frame(1, 0, 10), frame(1, 10, 5), frame(1, 15, big), frame(2, 0, 7), frame(1, 100, 1)];
        let found = runs(&table, [0, 1, 0, 2, 3, 1, 4]);
        let expected: [(u8, Range<u64>, &[u32]); 4] =
            [(1, 0..15, &[0, 1]), (1, 15..15 + u64::from(big), &[2]), (2, 0..7, &[3]), (1, 100..101, &[4])];
        let expected =
            expected.map(|(pack, range, frames)| Run { pack: ObjectId([pack; 32]), range, frames: frames.to_vec() });
        assert_eq!(found, expected);
        assert_eq!(runs(&table, []), []);
    }
}
