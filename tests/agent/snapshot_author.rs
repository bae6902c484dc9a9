//! Writes snapshots by hand, object by object: such as no agent would make, and
//! such as any agent must restore.

use std::{collections::BTreeMap, sync::Arc};

use bytes::Bytes;
use remora_agent_snapshot::{
    Lineage, SnapshotError, StoredRoot,
    format::{
        BlobId, Chunk, Class, ClockReading, Content, Dedup, Entry, FrameRef, Node, ObjectId, Observed, PackFrame,
        PackIndex, Page, PageRef, Root, SnapshotId, Statistics, Timestamp, encode_frame, root_key,
    },
    store::{PutCondition, Store},
};

/// A directory, file, link or FIFO to be.
pub(crate) fn entry(path: &str, node: Node) -> Entry {
    let mode = if node == Node::Directory { 0o755 } else { 0o644 };
    Entry {
        path: path.into(),
        mode,
        uid: rustix::process::getuid().as_raw(),
        gid: rustix::process::getgid().as_raw(),
        mtime: Timestamp { seconds: 1_600_000_000, nanos: 123_456_789 },
        class: Class::Keep,
        xattrs: Vec::new(),
        node,
    }
}

/// The root of the tree.
pub(crate) fn top() -> Entry {
    entry("", Node::Directory)
}

/// A symbolic link.
pub(crate) fn symlink(path: &str, target: &str) -> Entry {
    Entry { mode: 0o777, ..entry(path, Node::Symlink { target: target.into() }) }
}

/// A further name of the entry `first`.
pub(crate) fn hardlink(path: &str, first: &str) -> Entry {
    entry(path, Node::Hardlink { first: first.into() })
}

/// The snapshots that are being written.
pub(crate) struct Author {
    pub(crate) store: Arc<dyn Store>,
    pub(crate) lineage: Lineage,
    sequence: u64,
}

impl Author {
    /// Of a new lineage in `store`; with a `key` an encrypted one.
    pub(crate) async fn new(store: Arc<dyn Store>, key: Option<&[u8; 32]>) -> Self {
        let lineage = Lineage::open(Arc::clone(&store), key, 1).await.unwrap();
        Author { store, lineage, sequence: 0 }
    }

    /// Stores `contents`, each as one blob of a frame of its own, in one pack.
    /// The table for a page, and the ids of the blobs.
    pub(crate) async fn pack(&self, contents: &[&[u8]]) -> (Vec<FrameRef>, Vec<BlobId>) {
        let crypt = self.lineage.crypt();
        let (mut stored, mut frames, mut index) = (Vec::new(), Vec::new(), PackIndex::default());
        for content in contents {
            let frame = encode_frame(crypt, content).unwrap();
            let blake3 = *blake3::hash(&frame).as_bytes();
            let raw = content.len() as u32;
            index.frames.push(PackFrame { stored: frame.len() as u32, raw, blake3 });
            index.blobs.push((crypt.blob_id(content), raw));
            frames.push((stored.len() as u64, frame.len() as u32, raw, blake3));
            stored.extend_from_slice(&frame);
        }
        stored.extend_from_slice(&index.encode(crypt).unwrap());
        let pack = ObjectId::of(&stored);
        self.store.put(&pack.pack_key(), Bytes::from(stored), PutCondition::Always).await.unwrap();
        let frames =
            frames.into_iter().map(|(offset, stored, raw, blake3)| FrameRef { pack, offset, stored, raw, blake3 });
        (frames.collect(), index.blobs.iter().map(|(id, _)| *id).collect())
    }

    /// Stores a page.
    pub(crate) async fn page(&self, page: &Page, blobs: Vec<BlobId>) -> PageRef {
        let dedup = Dedup { blobs, observed: vec![Observed::default(); page.entries.len()] };
        let encoded = page.draft(&dedup, self.lineage.crypt()).encode(self.lineage.crypt()).unwrap();
        let key = encoded.reference.id.page_key();
        self.store.put(&key, Bytes::from(encoded.bytes), PutCondition::Always).await.unwrap();
        encoded.reference
    }

    /// Commits a snapshot of these pages, and reads it back.
    pub(crate) async fn commit(&mut self, pages: Vec<PageRef>) -> Result<StoredRoot, SnapshotError> {
        self.sequence += 1;
        let id = |sequence| SnapshotId { sequence, generation: 1, nonce: [7; 16] };
        let root = Root {
            id: id(self.sequence),
            parent: (self.sequence > 1).then(|| id(self.sequence - 1)),
            claim: false,
            origin: None,
            removed: false,
            created_ms: 1_700_000_000_000,
            labels: BTreeMap::new(),
            statistics: Statistics::default(),
            fuzzy: Vec::new(),
            rules: Vec::new(),
            clock: ClockReading::default(),
            pages,
        };
        let bytes = root.encode(self.lineage.crypt()).unwrap();
        let key = root_key(self.sequence);
        self.store.put(&key, Bytes::from(bytes), PutCondition::IfAbsent).await.unwrap();
        Ok(self.lineage.root_at(self.sequence).await?.expect("it was stored"))
    }

    /// A snapshot of one page: `entries`, in which a file's chunks are taken from
    /// `contents`, one frame each.
    pub(crate) async fn snapshot(
        &mut self,
        entries: Vec<Entry>,
        contents: &[&[u8]],
    ) -> Result<StoredRoot, SnapshotError> {
        let (frames, blobs) = self.pack(contents).await;
        let of_chunks = entries.iter().flat_map(Entry::chunks).map(|chunk| blobs[chunk.frame as usize]).collect();
        let page = self.page(&Page { frames, entries }, of_chunks).await;
        self.commit(vec![page]).await
    }
}

/// A file that is the content of the frames `frames`, of these lengths, one after the other.
pub(crate) fn file(path: &str, frames: &[(u32, usize)]) -> Entry {
    let chunk = |&(frame, length): &(u32, usize)| Chunk { hole: 0, frame, offset: 0, length: length as u32 };
    let size = frames.iter().map(|(_, length)| *length as u64).sum();
    entry(path, Node::File(Content { size, start: 0, more: false, chunks: frames.iter().map(chunk).collect() }))
}
