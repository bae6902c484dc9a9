//! [`Packs`]: blobs into frames, frames into packs, packs into the store.

use std::{
    collections::{HashMap, VecDeque},
    sync::Arc,
};

use bytes::Bytes;
use tokio::{runtime::Handle, task::JoinHandle};
use tokio_util::sync::CancellationToken;

use super::{
    frame_table::FrameTable,
    pages::{Pages, Part, Place, Placed, length_of, weight},
};
use crate::{
    Lineage, SnapshotError,
    format::{
        BlobId, Chunk, Class, Content, Entry, FrameRef, Node, ObjectId, PackFrame, PackIndex, Timestamp, encode_frame,
    },
    limits::{
        MAX_FRAME_RAW, MAX_KNOWN_BLOBS, MAX_PACK_BLOBS, MAX_PACK_ENTRIES, MAX_PACK_FRAMES, MAX_UPLOADS,
        MAX_WAITING_ENTRIES, PACK_INDEX_TARGET_BYTES, PACK_TARGET_BYTES,
    },
    restore::until,
    store::PutCondition,
};

/// See the module.
pub(super) struct Packs {
    runtime: Handle,
    lineage: Lineage,
    cancel: CancellationToken,
    frames: FrameTable,
    known: HashMap<BlobId, Place>,
    /// Content of the frame that is being filled, and its number.
    raw: Vec<u8>,
    number: Option<u32>,
    /// The pack that is being filled.
    bytes: Vec<u8>,
    pack_frames: Vec<(u32, PackFrame)>,
    blobs: Vec<(BlobId, u32)>,
    /// Entries since the pack before, for the index.
    entries: Vec<Part>,
    index_weight: usize,
    uploads: VecDeque<JoinHandle<Result<(), SnapshotError>>>,
    stored: u64,
}

impl Packs {
    pub(super) fn new(runtime: &Handle, lineage: &Lineage, cancel: &CancellationToken) -> Self {
        Packs {
            runtime: runtime.clone(),
            lineage: lineage.clone(),
            cancel: cancel.clone(),
            frames: FrameTable::default(),
            known: HashMap::new(),
            raw: Vec::new(),
            number: None,
            bytes: Vec::new(),
            pack_frames: Vec::new(),
            blobs: Vec::new(),
            entries: Vec::new(),
            index_weight: 0,
            uploads: VecDeque::new(),
            stored: 0,
        }
    }

    /// Numbers for frames that are in the store; `None` for those that are too many.
    pub(super) fn adopt(&mut self, frames: &[FrameRef]) -> Vec<Option<u32>> {
        frames.iter().map(|frame| self.frames.adopt(frame)).collect()
    }

    /// Takes note of where a blob is. Up to a bound: a blob that is forgotten is
    /// stored twice.
    pub(super) fn know(&mut self, blob: BlobId, place: Place) {
        if self.known.len() < MAX_KNOWN_BLOBS {
            self.known.entry(blob).or_insert(place);
        }
    }

    /// Where the frame `number` is, once its pack has a name.
    pub(super) fn reference(&self, number: u32) -> Option<FrameRef> {
        self.frames.get(number)
    }

    /// Stores a blob, unless it is stored already. `current` is the file it is of, as
    /// far as it was read.
    pub(super) fn add(
        &mut self,
        bytes: &[u8],
        pages: &mut Pages,
        current: (&[u8], &[Placed]),
    ) -> Result<(BlobId, Place), SnapshotError> {
        let id = self.lineage.crypt().blob_id(bytes);
        if let Some(place) = self.known.get(&id) {
            return Ok((id, *place));
        }
        if self.raw.len() + bytes.len() > MAX_FRAME_RAW || self.blobs.len() + 1 >= MAX_PACK_BLOBS {
            self.close_frame()?;
            if self.is_full() {
                self.close_pack(Some(current))?;
                pages.flush(self)?;
            }
        }
        let number = *self.number.get_or_insert_with(|| self.frames.begin());
        let place = Place { frame: number, offset: self.raw.len() as u32, length: bytes.len() as u32 };
        self.raw.extend_from_slice(bytes);
        self.blobs.push((id, place.length));
        self.index_weight += 40;
        self.know(id, place);
        Ok((id, place))
    }

    fn is_full(&self) -> bool {
        self.bytes.len() >= PACK_TARGET_BYTES
            || self.pack_frames.len() + 1 >= MAX_PACK_FRAMES
            || self.blobs.len() + 1 >= MAX_PACK_BLOBS
            || self.index_weight >= PACK_INDEX_TARGET_BYTES
    }

    /// An entry is complete: the index of the pack that is being filled names it.
    pub(super) fn note(&mut self, part: &Part) {
        self.index_weight += weight(part);
        self.entries.push(part.clone());
    }

    /// Ends the pack where too many entries wait for its name.
    pub(super) fn make_room(&mut self, pages: &mut Pages) -> Result<(), SnapshotError> {
        let waiting = pages.waiting().max(self.entries.len());
        if waiting < MAX_WAITING_ENTRIES && self.index_weight < PACK_INDEX_TARGET_BYTES {
            return Ok(());
        }
        if self.number.is_none() && self.pack_frames.is_empty() {
            // No pack is being filled that could name them.
            self.entries.clear();
            self.index_weight = 0;
            return Ok(());
        }
        self.close_frame()?;
        self.close_pack(None)?;
        pages.flush(self)
    }

    fn close_frame(&mut self) -> Result<(), SnapshotError> {
        let Some(number) = self.number.take() else { return Ok(()) };
        let stored = encode_frame(self.lineage.crypt(), &self.raw)?;
        let frame = PackFrame {
            stored: stored.len() as u32,
            raw: self.raw.len() as u32,
            blake3: *blake3::hash(&stored).as_bytes(),
        };
        self.pack_frames.push((number, frame));
        self.bytes.extend_from_slice(&stored);
        self.raw.clear();
        Ok(())
    }

    fn close_pack(&mut self, current: Option<(&[u8], &[Placed])>) -> Result<(), SnapshotError> {
        let local: HashMap<u32, u32> =
            self.pack_frames.iter().enumerate().map(|(at, (number, _))| (*number, at as u32)).collect();
        let mut entries: Vec<Entry> = Vec::new();
        for part in self.entries.drain(..) {
            records(&part.entry, &part.places, &local, &mut entries);
        }
        if let Some((path, places)) = current {
            records(&half_read(path, length_of(places)), places, &local, &mut entries);
        }
        entries.truncate(MAX_PACK_ENTRIES);
        let index = PackIndex {
            frames: self.pack_frames.iter().map(|(_, frame)| *frame).collect(),
            blobs: std::mem::take(&mut self.blobs),
            entries,
        };
        let mut bytes = std::mem::take(&mut self.bytes);
        bytes.extend_from_slice(&index.encode(self.lineage.crypt())?);
        let pack = ObjectId::of(&bytes);
        let mut offset = 0;
        for (number, PackFrame { stored, raw, blake3 }) in self.pack_frames.drain(..) {
            self.frames.place(number, &FrameRef { pack, offset, stored, raw, blake3 });
            offset += u64::from(stored);
        }
        self.index_weight = 0;
        self.stored += bytes.len() as u64;
        while self.uploads.len() >= MAX_UPLOADS {
            self.settle_one()?;
        }
        let store = Arc::clone(self.lineage.store());
        self.uploads.push_back(self.runtime.spawn(async move {
            store.put(&pack.pack_key(), Bytes::from(bytes), PutCondition::Always).await?;
            Ok(())
        }));
        Ok(())
    }

    fn settle_one(&mut self) -> Result<(), SnapshotError> {
        let Some(upload) = self.uploads.front_mut() else { return Ok(()) };
        let result = until(&self.runtime, &self.cancel, async {
            upload.await.unwrap_or(Err(SnapshotError::Defect { what: "an upload ended early" }))
        });
        if result != Err(SnapshotError::Cancelled) {
            self.uploads.pop_front();
        }
        result
    }

    /// After the last blob.
    pub(super) fn finish(&mut self, pages: &mut Pages) -> Result<(), SnapshotError> {
        self.close_frame()?;
        if !self.pack_frames.is_empty() {
            self.close_pack(None)?;
        }
        pages.flush(self)
    }

    /// Waits until every pack is stored; their bytes.
    pub(super) fn settle(mut self) -> Result<u64, SnapshotError> {
        while !self.uploads.is_empty() {
            self.settle_one()?;
        }
        Ok(self.stored)
    }
}

impl Drop for Packs {
    fn drop(&mut self) {
        self.uploads.iter().for_each(JoinHandle::abort);
    }
}

/// A file whose attributes are not known yet, because it is still being read.
fn half_read(path: &[u8], size: u64) -> Entry {
    Entry {
        path: path.to_vec(),
        mode: 0o600,
        uid: 0,
        gid: 0,
        mtime: Timestamp::default(),
        class: Class::Keep,
        xattrs: Vec::new(),
        node: Node::File(Content { size, ..Content::default() }),
    }
}

/// The records of an entry in the index of the pack whose frames are `local`: one
/// for each run of its bytes that is in it; of what has no content the entry itself.
fn records(entry: &Entry, places: &[Placed], local: &HashMap<u32, u32>, out: &mut Vec<Entry>) {
    let Node::File(whole) = &entry.node else {
        out.push(entry.clone());
        return;
    };
    let (mut position, mut run): (u64, Option<Content>) = (0, None);
    let mut close = |run: Option<Content>| {
        if let Some(content) = run {
            out.push(Entry { node: Node::File(content), ..entry.clone() });
        }
    };
    for ((hole, _), place) in places {
        match local.get(&place.frame) {
            Some(frame) => {
                let begun = Content { size: whole.size, start: position, ..Content::default() };
                run.get_or_insert(begun).chunks.push(Chunk {
                    hole: *hole,
                    frame: *frame,
                    offset: place.offset,
                    length: place.length,
                });
            }
            None => close(run.take()),
        }
        position += hole + u64::from(place.length);
    }
    close(run);
}
