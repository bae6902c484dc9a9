//! [`Parent`]: the snapshot before, in step with the walk, and what it proves.

use std::cmp::Ordering;

use remora_agent_root::EntryKind;
use rustix::fs::Stat;

use super::{
    Creator, clock, observed,
    packs::Packs,
    pages::{Pages, Part, Place},
};
use crate::{
    SnapshotError, StoredRoot,
    format::{ClockReading, Entry, Node, Observed, Timestamp, path_order},
    manifest::Manifest,
    restore::until,
};

/// The manifest of the head, in step with the walk.
pub(super) struct Parent {
    manifest: Option<Manifest>,
    clock: ClockReading,
    /// Whether times prove anything.
    trusted: bool,
    /// Whether the clock was set since the head's scan.
    pub(super) clock_was_set: bool,
    at: usize,
    ahead: std::vec::IntoIter<Part>,
    next: Option<Part>,
}

impl Parent {
    pub(super) fn open(
        creator: &Creator,
        head: Option<&StoredRoot>,
        now: &ClockReading,
        packs: &mut Packs,
        pages: &mut Pages,
    ) -> Result<Self, SnapshotError> {
        let mut parent = Parent {
            manifest: None,
            clock: ClockReading::default(),
            trusted: false,
            clock_was_set: false,
            at: 0,
            ahead: Vec::new().into_iter(),
            next: None,
        };
        let Some(head) = head else { return Ok(parent) };
        parent.clock = head.root.clock;
        parent.clock_was_set = clock::was_set(&parent.clock, now);
        parent.trusted = !creator.full && !parent.clock_was_set;
        let manifest = until(&creator.runtime, &creator.cancel, Manifest::open(&creator.lineage, head, true))?;
        // Contents that are stored already are not stored again, whatever they are called now.
        for at in 0..manifest.len() {
            let (page, dedup) = until(&creator.runtime, &creator.cancel, manifest.whole_page(at))?;
            let table = packs.adopt(&page.frames);
            let chunks = page.entries.iter().flat_map(Entry::chunks);
            for (chunk, blob) in chunks.zip(&dedup.blobs) {
                if let Some(frame) = table[chunk.frame as usize] {
                    packs.know(*blob, Place { frame, offset: chunk.offset, length: chunk.length });
                }
            }
        }
        pages.know(&head.root.pages);
        parent.manifest = Some(manifest);
        Ok(parent)
    }

    /// Goes on to `path`, past all that lies before it; the entry that is there.
    pub(super) fn advance(
        &mut self,
        creator: &Creator,
        path: &[u8],
        packs: &mut Packs,
    ) -> Result<Option<Part>, SnapshotError> {
        loop {
            if self.next.is_none() {
                self.next = self.entry(creator, packs)?;
            }
            let Some(next) = &self.next else { return Ok(None) };
            match path_order(&next.entry.path, path) {
                Ordering::Less => self.next = None,
                Ordering::Equal => return Ok(self.next.take()),
                Ordering::Greater => return Ok(None),
            }
        }
    }

    /// The next entry, with all of its records.
    fn entry(&mut self, creator: &Creator, packs: &mut Packs) -> Result<Option<Part>, SnapshotError> {
        let Some(mut part) = self.record(creator, packs)? else { return Ok(None) };
        if !matches!(&part.entry.node, Node::File(content) if content.more) {
            return Ok(Some(part));
        }
        let mut places = part.places.to_vec();
        while matches!(&part.entry.node, Node::File(content) if content.more) {
            let Some(record) = self.record(creator, packs)? else { break };
            if record.observed == Observed::default() {
                // Not all of it can be taken over.
                part.observed = Observed::default();
            }
            places.extend_from_slice(&record.places);
            if let (Node::File(all), Node::File(record)) = (&mut part.entry.node, &record.entry.node) {
                all.more = record.more;
            }
        }
        part.places = places.into();
        Ok(Some(part))
    }

    fn record(&mut self, creator: &Creator, packs: &mut Packs) -> Result<Option<Part>, SnapshotError> {
        loop {
            if let Some(part) = self.ahead.next() {
                return Ok(Some(part));
            }
            let Some(manifest) = self.manifest.as_ref().filter(|manifest| self.at < manifest.len()) else {
                return Ok(None);
            };
            let (page, dedup) = until(&creator.runtime, &creator.cancel, manifest.whole_page(self.at))?;
            self.at += 1;
            let table = packs.adopt(&page.frames);
            let mut blobs = dedup.blobs.iter();
            let parts = page.entries.into_iter().zip(dedup.observed).map(|(mut entry, mut observed)| {
                let mut places = Vec::new();
                if let Node::File(content) = &mut entry.node {
                    for (chunk, blob) in std::mem::take(&mut content.chunks).iter().zip(blobs.by_ref()) {
                        let Some(frame) = table[chunk.frame as usize] else {
                            // Where it is was one frame too many to remember: the file is read again.
                            observed = Observed::default();
                            continue;
                        };
                        let place = Place { frame, offset: chunk.offset, length: chunk.length };
                        places.push(((chunk.hole, *blob), place));
                    }
                }
                Part { entry, places: places.into(), observed }
            });
            self.ahead = parts.collect::<Vec<_>>().into_iter();
        }
    }

    /// Whether inode and times say that nothing about the entry has changed.
    pub(super) fn proves(&self, before: &Part, stat: &Stat) -> bool {
        let mtime = Timestamp { seconds: stat.st_mtime, nanos: stat.st_mtime_nsec as u32 };
        let kind = match &before.entry.node {
            Node::Directory => EntryKind::Directory,
            Node::Symlink { .. } => EntryKind::Symlink,
            Node::Fifo => EntryKind::Fifo,
            Node::File(content) if content.size == stat.st_size as u64 => EntryKind::File,
            Node::File(_) | Node::Hardlink { .. } => return false,
        };
        self.trusted
            && kind == EntryKind::of_mode(stat.st_mode)
            && observed(stat) == before.observed
            && mtime == before.entry.mtime
            && (stat.st_uid, stat.st_gid) == (before.entry.uid, before.entry.gid)
            && (kind == EntryKind::Symlink || stat.st_mode & 0o7777 == before.entry.mode)
            && before.observed.ctime < self.clock.racy_since
            && mtime < self.clock.racy_since
    }
}
