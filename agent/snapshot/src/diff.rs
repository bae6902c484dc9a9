//! Diff: what two snapshots, or a snapshot and the living workspace, differ in.

use std::{cmp::Ordering, collections::VecDeque};

use remora_agent_root::{EntryKind, Root};
use rustix::fs::readlinkat;
use tokio::runtime::Handle;
use tokio_util::sync::CancellationToken;

use crate::{
    KeepOut, Lineage, SnapshotError, StoredRoot,
    format::{BlobId, Chunk, Entry, Node, Observed, path_order},
    manifest::{Manifest, continues},
    restore::{Action, Comparison, Gathered, Groups, is_ours_or_the_systems, until},
    tree::{Cursor, Found, Walk, differs, same_stat},
};

/// How a path differs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Change {
    /// Only the newer side has it.
    Added,
    /// Only the older side has it.
    Removed,
    /// Its bytes, link target or kind differ.
    Content,
    /// Only mode, owner, time or attributes differ.
    Metadata,
}

/// One path that differs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Difference {
    /// The path.
    pub path: Vec<u8>,
    /// How.
    pub change: Change,
}

/// Takes differences one by one; `false` ends the comparison.
pub type DifferenceSink = Box<dyn FnMut(Difference) -> bool + Send>;

/// What differs from the snapshot `from` to the snapshot `to`, in the order of
/// their paths' components.
pub async fn diff_snapshots(
    lineage: &Lineage,
    from: &StoredRoot,
    to: &StoredRoot,
    sink: DifferenceSink,
    cancel: &CancellationToken,
) -> Result<(), SnapshotError> {
    let (lineage, from, to) = (lineage.clone(), from.clone(), to.clone());
    blocking(cancel, sink, move |differ| {
        let mut old = Records::open(differ, &lineage, &from)?;
        let mut new = Records::open(differ, &lineage, &to)?;
        let (mut left, mut right) = (old.next(differ)?, new.next(differ)?);
        loop {
            let order = match (&left, &right) {
                (None, None) => return Ok(()),
                (Some(_), None) => Ordering::Less,
                (None, Some(_)) => Ordering::Greater,
                (Some(a), Some(b)) => path_order(&a.entry.path, &b.entry.path),
            };
            let change = match (order, &left, &right) {
                (Ordering::Equal, Some(a), Some(b)) => a.change_to(b),
                (Ordering::Less, ..) => Some(Change::Removed),
                _ => Some(Change::Added),
            };
            let path = if order == Ordering::Greater { &right } else { &left };
            if let (Some(change), Some(record)) = (change, path)
                && !differ.report(&record.entry.path, change)?
            {
                return Ok(());
            }
            if order != Ordering::Greater {
                left = old.next(differ)?;
            }
            if order != Ordering::Less {
                right = new.next(differ)?;
            }
        }
    })
    .await
}

/// What differs from the snapshot `from` to what is below `workspace` now.
pub async fn diff_living(
    lineage: &Lineage,
    from: &StoredRoot,
    workspace: &Root,
    keep_out: KeepOut,
    sink: DifferenceSink,
    cancel: &CancellationToken,
) -> Result<(), SnapshotError> {
    let (lineage, from, root) = (lineage.clone(), from.clone(), workspace.clone());
    blocking(cancel, sink, move |differ| {
        let mut old = Records::open(differ, &lineage, &from)?;
        let ignored = move |path: &[u8], kind: EntryKind| is_ours_or_the_systems(path) || keep_out(path, kind);
        let mut walk = Walk::new(root.clone(), &ignored)?;
        let linked = if from.root.statistics.hardlinks > 0 { old.linked(differ)? } else { Groups::default() };
        let mut living = Side { lineage, from, cursor: Cursor::new(root), linked };
        let (mut left, mut right) = (old.next(differ)?, walk.entry()?);
        loop {
            if let Some(record) = &left
                && record.entry.path.is_empty()
            {
                // The root of the tree is on both sides.
                left = old.next(differ)?;
                continue;
            }
            let order = match (&left, &right) {
                (None, None) => return Ok(()),
                (Some(_), None) => Ordering::Less,
                (None, Some(_)) => Ordering::Greater,
                (Some(record), Some(found)) => path_order(&record.entry.path, &found.path),
            };
            let (path, change) = match (order, &left, &right) {
                (Ordering::Equal, Some(record), Some(found)) => (&found.path, living.change(record, found, differ)?),
                (Ordering::Less, Some(record), _) => (&record.entry.path, Some(Change::Removed)),
                (_, _, Some(found)) => (&found.path, Some(Change::Added)),
                _ => return Ok(()),
            };
            if let Some(change) = change
                && !differ.report(path, change)?
            {
                return Ok(());
            }
            if order != Ordering::Greater {
                left = old.next(differ)?;
            }
            if order != Ordering::Less {
                right = walk.entry()?;
            }
        }
    })
    .await
}

/// A comparison on its blocking thread.
struct Differ {
    runtime: Handle,
    cancel: CancellationToken,
    sink: DifferenceSink,
}

impl Differ {
    fn report(&mut self, path: &[u8], change: Change) -> Result<bool, SnapshotError> {
        if self.cancel.is_cancelled() {
            return Err(SnapshotError::Cancelled);
        }
        Ok((self.sink)(Difference { path: path.to_vec(), change }))
    }
}

async fn blocking(
    cancel: &CancellationToken,
    sink: DifferenceSink,
    work: impl FnOnce(&mut Differ) -> Result<(), SnapshotError> + Send + 'static,
) -> Result<(), SnapshotError> {
    let cancel = cancel.child_token();
    let _stop = cancel.clone().drop_guard();
    let mut differ = Differ { runtime: Handle::current(), cancel, sink };
    tokio::task::spawn_blocking(move || work(&mut differ))
        .await
        .unwrap_or(Err(SnapshotError::Defect { what: "the thread of a comparison ended early" }))
}

/// One entry of a manifest with the content of all its records.
struct Record {
    entry: Entry,
    /// What it says of the content: chunks of all records and their blobs.
    chunks: Vec<(Chunk, BlobId)>,
    observed: Observed,
}

impl Record {
    fn change_to(&self, newer: &Record) -> Option<Change> {
        let (a, b) = (&self.entry, &newer.entry);
        let content = match (&a.node, &b.node) {
            (Node::File(before), Node::File(after)) => {
                let places = |record: &Record| -> Vec<(u64, u32, BlobId)> {
                    record.chunks.iter().map(|(chunk, blob)| (chunk.hole, chunk.length, *blob)).collect()
                };
                before.size == after.size && places(self) == places(newer)
            }
            (before, after) => before == after,
        };
        if !content {
            return Some(Change::Content);
        }
        let same = (a.mode, a.uid, a.gid, a.mtime, &a.xattrs) == (b.mode, b.uid, b.gid, b.mtime, &b.xattrs);
        (!same).then_some(Change::Metadata)
    }
}

/// The entries of a snapshot, one by one.
struct Records {
    manifest: Manifest,
    at: usize,
    page: VecDeque<Record>,
}

impl Records {
    fn open(differ: &Differ, lineage: &Lineage, snapshot: &StoredRoot) -> Result<Self, SnapshotError> {
        let manifest = until(&differ.runtime, &differ.cancel, Manifest::open(lineage, snapshot, true))?;
        Ok(Records { manifest, at: 0, page: VecDeque::new() })
    }

    /// The inodes with several names.
    fn linked(&self, differ: &Differ) -> Result<Groups, SnapshotError> {
        let mut gathered = Gathered::new();
        for at in 0..self.manifest.len() {
            for entry in until(&differ.runtime, &differ.cancel, self.manifest.page(at))?.entries {
                if let Node::Hardlink { first } = &entry.node {
                    gathered.add(first, &entry.path)?;
                }
            }
        }
        Ok(gathered.groups())
    }

    fn next(&mut self, differ: &Differ) -> Result<Option<Record>, SnapshotError> {
        let Some(mut record) = self.next_part(differ)? else { return Ok(None) };
        while matches!(&record.entry.node, Node::File(content) if content.more) {
            let Some(part) = self.next_part(differ)?.filter(|part| continues(&part.entry)) else { break };
            record.chunks.extend(part.chunks);
            record.entry = part.entry;
        }
        Ok(Some(record))
    }

    fn next_part(&mut self, differ: &Differ) -> Result<Option<Record>, SnapshotError> {
        while self.page.is_empty() {
            if self.at == self.manifest.len() {
                return Ok(None);
            }
            let (page, dedup) = until(&differ.runtime, &differ.cancel, self.manifest.whole_page(self.at))?;
            self.at += 1;
            let mut blobs = dedup.blobs.into_iter();
            for (entry, observed) in page.entries.into_iter().zip(dedup.observed) {
                let chunks = entry.chunks().iter().copied().zip(blobs.by_ref()).collect();
                self.page.push_back(Record { entry, chunks, observed });
            }
        }
        Ok(self.page.pop_front())
    }
}

/// The living side.
struct Side {
    lineage: Lineage,
    from: StoredRoot,
    cursor: Cursor,
    /// Inodes of the snapshot with several names, and which the first one is here.
    linked: Groups,
}

impl Side {
    fn change(&mut self, record: &Record, found: &Found, differ: &Differ) -> Result<Option<Change>, SnapshotError> {
        let entry = &record.entry;
        let identity = (found.stat.st_dev, found.stat.st_ino);
        if found.stat.st_nlink > 1
            && let Some(group) = self.linked.get_mut(&entry.path)
        {
            group.in_place = Some(identity);
        }
        let same_kind = match &entry.node {
            Node::Directory => found.kind() == EntryKind::Directory,
            Node::File(_) => return self.file(record, found, differ),
            Node::Fifo => found.kind() == EntryKind::Fifo,
            Node::Symlink { target } => {
                found.kind() == EntryKind::Symlink && {
                    let (directory, name) = self.cursor.parent(&entry.path)?;
                    readlinkat(directory, name, Vec::new()).is_ok_and(|there| there.as_bytes() == target)
                }
            }
            // What may differ about the inode is said of its first name.
            Node::Hardlink { first } => {
                let there = self.linked.get(first).and_then(|group| group.in_place);
                return Ok((there != Some(identity)).then_some(Change::Content));
            }
        };
        if !same_kind {
            return Ok(Some(Change::Content));
        }
        let same = match &entry.node {
            Node::Directory => {
                let fd = self.cursor.directory(&entry.path)?;
                !differs(fd, &found.stat, entry)
                    .map_err(|errno| SnapshotError::file("read the attributes of", &entry.path, errno))?
            }
            node => same_stat(&found.stat, entry, *node == Node::Fifo),
        };
        Ok((!same).then_some(Change::Metadata))
    }

    fn file(&mut self, record: &Record, found: &Found, differ: &Differ) -> Result<Option<Change>, SnapshotError> {
        let mut entry = record.entry.clone();
        let Node::File(content) = &mut entry.node else { return Ok(None) };
        let (chunks, blobs): (Vec<Chunk>, Vec<BlobId>) = record.chunks.iter().copied().unzip();
        (content.start, content.more, content.chunks) = (0, false, chunks);
        let content = content.clone();
        // The number of names is no matter here.
        let names = found.stat.st_nlink;
        let seen = (&record.observed, &self.from.root.clock);
        let mut comparison = Comparison::begin(&mut self.cursor, &entry, Some(found), names, seen)?;
        comparison.add(self.lineage.crypt(), &content, &blobs, &differ.cancel)?;
        Ok(match comparison.conclude(&entry)? {
            Action::Keep => None,
            Action::Adjust => Some(Change::Metadata),
            Action::Write | Action::Make => Some(Change::Content),
        })
    }
}
