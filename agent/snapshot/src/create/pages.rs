//! [`Pages`]: the manifest to be, page by page. Pages that say what a page of the
//! head says are that page.

use std::{
    collections::{HashMap, VecDeque},
    ops::{Deref, Range},
    rc::Rc,
};

use bytes::Bytes;
use tokio::runtime::Handle;
use tokio_util::sync::CancellationToken;

use super::packs::Packs;
use crate::{
    Lineage, SnapshotError,
    format::{BlobId, Chunk, Dedup, Entry, Node, Observed, Page, PageRef},
    limits::{MAX_PAGE_CHUNKS, MAX_PAGE_ENTRIES, MAX_PAGE_XATTRS, MAX_ROOT_PAGES, MIN_PAGE_ENTRIES, PAGE_TARGET_BYTES},
    restore::until,
    shown,
    store::PutCondition,
};

/// Where a blob is: a frame by its number in this run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) frame: u32,
    pub(super) offset: u32,
    pub(super) length: u32,
}

/// A blob of a file with the hole before it, and where it is.
pub(super) type Placed = ((u64, BlobId), Place);

/// The places of a file, or of a run of it. What is cut off or cloned is the same list:
/// that of a large file is tens of megabytes.
#[derive(Clone, Debug, Default)]
pub(super) struct Places {
    all: Rc<Vec<Placed>>,
    run: Range<usize>,
}

impl From<Vec<Placed>> for Places {
    fn from(places: Vec<Placed>) -> Self {
        Places { run: 0..places.len(), all: Rc::new(places) }
    }
}

impl Deref for Places {
    type Target = [Placed];

    fn deref(&self) -> &[Placed] {
        &self.all[self.run.clone()]
    }
}

impl Places {
    /// Takes the first `count` off.
    fn split_first(&mut self, count: usize) -> Places {
        let middle = self.run.start + count;
        let first = Places { all: Rc::clone(&self.all), run: self.run.start..middle };
        self.run.start = middle;
        first
    }
}

/// An entry whose content is given by places.
#[derive(Clone, Debug)]
pub(super) struct Part {
    /// Without chunks.
    pub(super) entry: Entry,
    pub(super) places: Places,
    pub(super) observed: Observed,
}

/// What became of them.
#[derive(Debug, Default)]
pub(super) struct Finished {
    pub(super) references: Vec<PageRef>,
    /// Bytes of those that were stored.
    pub(super) stored: u64,
}

/// Of how many names one ends a page, on average: pages then begin and end at the
/// same entries in the next snapshot, whatever was added before them.
const ENDING_NAMES: u16 = 2_048;

/// See the module.
pub(super) struct Pages {
    runtime: Handle,
    lineage: Lineage,
    cancel: CancellationToken,
    /// Pages of the head, by what they say.
    known: HashMap<[u8; 32], PageRef>,
    open: Vec<Part>,
    weight: usize,
    chunks: usize,
    xattrs: usize,
    /// Closed, waiting for the packs of their frames.
    closed: VecDeque<Vec<Part>>,
    done: Finished,
}

impl Pages {
    pub(super) fn new(runtime: &Handle, lineage: &Lineage, cancel: &CancellationToken) -> Self {
        Pages {
            runtime: runtime.clone(),
            lineage: lineage.clone(),
            cancel: cancel.clone(),
            known: HashMap::new(),
            open: Vec::new(),
            weight: 0,
            chunks: 0,
            xattrs: 0,
            closed: VecDeque::new(),
            done: Finished::default(),
        }
    }

    pub(super) fn know(&mut self, pages: &[PageRef]) {
        self.known.extend(pages.iter().map(|page| (page.content, page.clone())));
    }

    /// Takes the next entry. A file with more blobs than a page may name goes over several.
    pub(super) fn push(&mut self, packs: &mut Packs, mut part: Part) -> Result<(), SnapshotError> {
        packs.note(&part);
        if self.xattrs + part.entry.xattrs.len() > MAX_PAGE_XATTRS || self.chunks + part.places.len() > MAX_PAGE_CHUNKS
        {
            self.close();
        }
        let mut start = 0;
        while part.places.len() > MAX_PAGE_CHUNKS {
            let places = part.places.split_first(MAX_PAGE_CHUNKS);
            let mut record = Part { entry: part.entry.clone(), places, observed: part.observed };
            let end = start + length_of(&record.places);
            if let Node::File(content) = &mut record.entry.node {
                (content.start, content.more) = (start, true);
            }
            start = end;
            self.add(record);
            self.close();
        }
        if let Node::File(content) = &mut part.entry.node {
            (content.start, content.more) = (start, false);
        }
        let ends = self.ends_at(&part.entry);
        self.add(part);
        if ends || self.open.len() >= MAX_PAGE_ENTRIES || self.weight >= PAGE_TARGET_BYTES {
            self.close();
        }
        packs.make_room(self)?;
        self.flush(packs)
    }

    fn ends_at(&self, entry: &Entry) -> bool {
        let hash = blake3::hash(&entry.path);
        let [first, second, ..] = hash.as_bytes();
        self.open.len() + 1 >= MIN_PAGE_ENTRIES && u16::from_le_bytes([*first, *second]).is_multiple_of(ENDING_NAMES)
    }

    fn add(&mut self, part: Part) {
        self.weight += weight(&part);
        self.chunks += part.places.len();
        self.xattrs += part.entry.xattrs.len();
        self.open.push(part);
    }

    fn close(&mut self) {
        if !self.open.is_empty() {
            self.closed.push_back(std::mem::take(&mut self.open));
            (self.weight, self.chunks, self.xattrs) = (0, 0, 0);
        }
    }

    /// How many entries wait.
    pub(super) fn waiting(&self) -> usize {
        self.open.len() + self.closed.iter().map(Vec::len).sum::<usize>()
    }

    /// Stores the closed pages whose frames all are in packs that have names.
    pub(super) fn flush(&mut self, packs: &Packs) -> Result<(), SnapshotError> {
        while let Some(parts) = self.closed.front() {
            if !parts
                .iter()
                .flat_map(|part| part.places.iter())
                .all(|(_, place)| packs.reference(place.frame).is_some())
            {
                return Ok(());
            }
            if let Some(parts) = self.closed.pop_front() {
                self.store(packs, parts)?;
            }
        }
        Ok(())
    }

    fn store(&mut self, packs: &Packs, parts: Vec<Part>) -> Result<(), SnapshotError> {
        let (page, dedup) = assemble(packs, parts)?;
        let draft = page.draft(&dedup, self.lineage.crypt());
        if let Some(known) = self.known.get(draft.content()) {
            self.done.references.push(known.clone());
            return Ok(());
        }
        if self.done.references.len() >= MAX_ROOT_PAGES {
            return Err(SnapshotError::TooLarge {
                what: "the number of manifest pages",
                found: self.done.references.len() as u64 + 1,
                limit: MAX_ROOT_PAGES as u64,
                path: page.entries.first().map(|entry| shown(&entry.path)).unwrap_or_default(),
            });
        }
        let encoded = draft.encode(self.lineage.crypt())?;
        // What could not be read again must not be committed.
        Page::decode(self.lineage.crypt(), &encoded.reference, &encoded.bytes)?;
        let key = encoded.reference.id.page_key();
        self.done.stored += encoded.bytes.len() as u64;
        let store = self.lineage.store();
        until(&self.runtime, &self.cancel, async {
            store.put(&key, Bytes::from(encoded.bytes), PutCondition::Always).await?;
            Ok(())
        })?;
        self.done.references.push(encoded.reference);
        Ok(())
    }

    /// After the last entry and the last pack.
    pub(super) fn finish(mut self, packs: &Packs) -> Result<Finished, SnapshotError> {
        self.close();
        self.flush(packs)?;
        if self.closed.is_empty() {
            Ok(self.done)
        } else {
            Err(SnapshotError::Defect { what: "a page waits for a pack that does not come" })
        }
    }
}

/// The page of `parts`, its frames in the order of their first use.
fn assemble(packs: &Packs, parts: Vec<Part>) -> Result<(Page, Dedup), SnapshotError> {
    let (mut page, mut dedup) = (Page::default(), Dedup::default());
    let mut table: HashMap<u32, u32> = HashMap::new();
    for Part { mut entry, places, observed } in parts {
        if let Node::File(content) = &mut entry.node {
            content.chunks.reserve_exact(places.len());
            for ((hole, blob), place) in places.iter().copied() {
                let frame = match table.get(&place.frame) {
                    Some(frame) => *frame,
                    None => {
                        let reference = packs
                            .reference(place.frame)
                            .ok_or(SnapshotError::Defect { what: "a page names a frame of no pack" })?;
                        page.frames.push(reference);
                        let frame = page.frames.len() as u32 - 1;
                        table.insert(place.frame, frame);
                        frame
                    }
                };
                content.chunks.push(Chunk { hole, frame, offset: place.offset, length: place.length });
                dedup.blobs.push(blob);
            }
        }
        page.entries.push(entry);
        dedup.observed.push(observed);
    }
    Ok((page, dedup))
}

/// How much of a file a run of blobs covers, with the holes before them.
pub(super) fn length_of(places: &[Placed]) -> u64 {
    places.iter().map(|((hole, _), place)| hole + u64::from(place.length)).sum()
}

/// Bytes that an entry takes in a page, about.
pub(super) fn weight(part: &Part) -> usize {
    let entry = &part.entry;
    let target = match &entry.node {
        Node::Symlink { target } => target.len(),
        Node::Hardlink { first } => first.len(),
        _ => 0,
    };
    let xattrs: usize = entry.xattrs.iter().map(|xattr| xattr.name.len() + xattr.value.len() + 8).sum();
    48 + entry.path.len() + target + xattrs + 24 * part.places.len()
}
