//! [`export`]: a snapshot as a tar, from the store alone.
//!
//! The manifest is in the order of a walk, so that one pass over its pages gives the
//! archive: directories before what is in them, the first name of a file before the
//! others. What is held is a page, and the frames that it needs next.

use std::{
    collections::HashSet,
    io::{self, Write},
};

use remora_proto_archive::{
    BLOCK, EntryType, Time, Written,
    limits::{MAX_ARCHIVE_BYTES, MAX_XATTRS, MAX_XATTRS_BYTES},
    padding, write_header,
    xattrs::Xattr,
};
use tokio::runtime::Handle;
use tokio_util::sync::CancellationToken;

use crate::{
    Lineage, SnapshotError, StoredRoot,
    format::{Content, Entry, Node, Page},
    limits::{EXPORT_LEVEL, EXPORT_ZEROS_BYTES, MAX_LINKED_NAMES, MAX_MANIFEST_RECORDS},
    manifest::{Manifest, Order, continues},
    restore::{Frames, until},
    shown,
};

/// The one namespace of attributes that an archive carries: the others are the system's to give.
const USERS: &[u8] = b"user.";

static ZEROS: [u8; EXPORT_ZEROS_BYTES] = [0; EXPORT_ZEROS_BYTES];

/// How an archive is packed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Packing {
    /// As it is.
    Tar,
    /// In one zstd stream (RFC 8878).
    TarZstd,
}

/// What an archive holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Exported {
    /// Files, directories and links.
    pub entries: u64,
    /// Bytes of the files' contents, holes counted.
    pub content_bytes: u64,
    /// FIFOs, which no archive holds.
    pub skipped: u64,
}

/// Writes `snapshot` to `out`, on a thread of its own. An error of `out` is one of kind
/// [`io::ErrorKind::TimedOut`] where whoever reads it is too slow.
pub async fn export(
    lineage: &Lineage,
    snapshot: &StoredRoot,
    packing: Packing,
    cancel: &CancellationToken,
    out: impl Write + Send + 'static,
) -> Result<Exported, SnapshotError> {
    // Whoever drops this future ends the work at its next step, too.
    let cancel = cancel.child_token();
    let _stop = cancel.clone().drop_guard();
    let runtime = Handle::current();
    let (lineage, snapshot) = (lineage.clone(), snapshot.clone());
    let records: u64 = snapshot.root.pages.iter().map(|page| u64::from(page.entries)).sum();
    if records > MAX_MANIFEST_RECORDS {
        let what = "the number of entries of the snapshot";
        return Err(SnapshotError::TooLarge { what, found: records, limit: MAX_MANIFEST_RECORDS, path: String::new() });
    }
    let work = move || {
        let manifest = until(&runtime, &cancel, Manifest::open(&lineage, &snapshot, false))?;
        let source = Source { runtime, lineage, snapshot, manifest, cancel };
        match packing {
            Packing::Tar => {
                let (exported, mut out) = pack(&source, out)?;
                out.flush().map_err(gone)?;
                Ok(exported)
            }
            Packing::TarZstd => {
                let encoder = zstd::Encoder::new(out, EXPORT_LEVEL).map_err(gone)?;
                let (exported, encoder) = pack(&source, encoder)?;
                encoder.finish().and_then(|mut out| out.flush()).map_err(gone)?;
                Ok(exported)
            }
        }
    };
    tokio::task::spawn_blocking(work)
        .await
        .unwrap_or(Err(SnapshotError::Defect { what: "the thread of an export ended early" }))
}

fn gone(error: io::Error) -> SnapshotError {
    SnapshotError::Output { detail: error.to_string(), slow: error.kind() == io::ErrorKind::TimedOut }
}

/// Where the content comes from.
struct Source {
    runtime: Handle,
    lineage: Lineage,
    snapshot: StoredRoot,
    manifest: Manifest,
    cancel: CancellationToken,
}

fn pack<W: Write>(source: &Source, out: W) -> Result<(Exported, W), SnapshotError> {
    let mut pack = Pack { out, done: Exported::default(), left_out: HashSet::new(), position: 0 };
    let mut order = Order::default();
    let misshapen =
        |problem: &str| SnapshotError::damaged(&source.snapshot.root.key(), format!("its manifest is none: {problem}"));
    for at in 0..source.manifest.len() {
        let page = until(&source.runtime, &source.cancel, source.manifest.page(at))?;
        for entry in &page.entries {
            order.next(entry).map_err(misshapen)?;
        }
        pack.page(source, &page)?;
    }
    order.end().map_err(misshapen)?;
    // The mark of the end.
    pack.out.write_all(&[0; 2 * BLOCK]).map_err(gone)?;
    Ok((pack.done, pack.out))
}

struct Pack<W> {
    out: W,
    done: Exported,
    /// Hashes of the first names that were left out: their further names are, too.
    left_out: HashSet<[u8; 32]>,
    /// Bytes written of the file that goes on in the next record.
    position: u64,
}

impl<W: Write> Pack<W> {
    fn page(&mut self, source: &Source, page: &Page) -> Result<(), SnapshotError> {
        let uses: Vec<u32> = page.entries.iter().flat_map(Entry::chunks).map(|chunk| chunk.frame).collect();
        let mut frames = Frames::new(&source.runtime, &source.lineage, &source.cancel, &page.frames, &uses);
        for entry in &page.entries {
            if source.cancel.is_cancelled() {
                return Err(SnapshotError::Cancelled);
            }
            // The folder that is packed has no name in the archive.
            if !entry.path.is_empty() {
                self.entry(entry, &mut frames)?;
            }
        }
        Ok(())
    }

    fn entry(&mut self, entry: &Entry, frames: &mut Frames<'_>) -> Result<(), SnapshotError> {
        match &entry.node {
            Node::File(content) => {
                if !continues(entry) {
                    self.begin(entry, content)?;
                }
                self.content(entry, content, frames)
            }
            Node::Directory => {
                let path = [&entry.path[..], b"/"].concat();
                self.header(entry, EntryType::Directory, &path, b"", 0)
            }
            Node::Symlink { target } => self.header(entry, EntryType::Symlink, &entry.path, target, 0),
            Node::Hardlink { first } if !self.left_out.contains(blake3::hash(first).as_bytes()) => {
                self.header(entry, EntryType::Link, &entry.path, first, 0)
            }
            Node::Fifo | Node::Hardlink { .. } => {
                self.done.skipped += 1;
                if self.left_out.len() >= MAX_LINKED_NAMES {
                    return Err(too_large("the number of FIFOs", MAX_LINKED_NAMES as u64, entry));
                }
                if entry.node == Node::Fifo {
                    self.left_out.insert(*blake3::hash(&entry.path).as_bytes());
                }
                Ok(())
            }
        }
    }

    fn begin(&mut self, entry: &Entry, content: &Content) -> Result<(), SnapshotError> {
        self.position = 0;
        self.done.content_bytes = self.done.content_bytes.saturating_add(content.size);
        if self.done.content_bytes > MAX_ARCHIVE_BYTES {
            return Err(too_large("the length of all files, holes counted,", MAX_ARCHIVE_BYTES, entry));
        }
        self.header(entry, EntryType::Regular, &entry.path, b"", content.size)
    }

    fn content(&mut self, entry: &Entry, content: &Content, frames: &mut Frames<'_>) -> Result<(), SnapshotError> {
        for chunk in &content.chunks {
            self.zeros(chunk.hole)?;
            let (from, length) = (chunk.offset as usize, chunk.length as usize);
            let out = &mut self.out;
            let put = |bytes: &[u8]| out.write_all(&bytes[from..from + length]).map_err(gone);
            frames.take(chunk.frame, put).map_err(|error| match error {
                SnapshotError::Damaged { object, problem } => SnapshotError::Damaged {
                    object,
                    problem: format!("{problem}; \"{}\" needs it", shown(&entry.path)),
                },
                error => error,
            })?;
            self.position += chunk.hole + u64::from(chunk.length);
        }
        if !content.more {
            self.zeros(content.size - self.position)?;
            self.zeros(padding(content.size) as u64)?;
        }
        Ok(())
    }

    fn zeros(&mut self, mut count: u64) -> Result<(), SnapshotError> {
        while count > 0 {
            let now = usize::try_from(count).unwrap_or(usize::MAX).min(ZEROS.len());
            self.out.write_all(&ZEROS[..now]).map_err(gone)?;
            count -= now as u64;
        }
        Ok(())
    }

    fn header(
        &mut self,
        entry: &Entry,
        kind: EntryType,
        path: &[u8],
        link: &[u8],
        size: u64,
    ) -> Result<(), SnapshotError> {
        let carries = matches!(kind, EntryType::Regular | EntryType::Directory);
        let users = entry.xattrs.iter().filter(|xattr| carries && xattr.name.starts_with(USERS));
        let xattrs: Vec<Xattr> =
            users.map(|xattr| Xattr { name: xattr.name.clone(), value: xattr.value.clone() }).collect();
        let bytes: usize = xattrs.iter().map(|xattr| xattr.name.len() + xattr.value.len()).sum();
        if xattrs.len() > MAX_XATTRS || bytes > MAX_XATTRS_BYTES {
            return Err(too_large("the length of extended attributes", MAX_XATTRS_BYTES as u64, entry));
        }
        let written = Written {
            kind,
            path,
            link,
            mode: entry.mode,
            uid: entry.uid,
            gid: entry.gid,
            size,
            modified: Time { seconds: entry.mtime.seconds, nanos: entry.mtime.nanos },
            xattrs: &xattrs,
        };
        self.done.entries += 1;
        write_header(&mut self.out, &written).map_err(gone)
    }
}

fn too_large(what: &'static str, limit: u64, entry: &Entry) -> SnapshotError {
    SnapshotError::TooLarge { what, found: limit + 1, limit, path: shown(&entry.path) }
}
