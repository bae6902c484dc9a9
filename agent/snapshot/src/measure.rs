//! [`Baseline`]: how far the living workspace is from a snapshot, cheaply: by
//! sizes, modes and times, without a byte of content.

use std::{cmp::Ordering, sync::Arc};

use remora_agent_root::{EntryKind, Root};
use tokio::runtime::Handle;
use tokio_util::sync::CancellationToken;

use crate::{
    KeepOut, Lineage, SnapshotError, StoredRoot,
    format::{Entry, Node, path_order},
    manifest::{Manifest, continues},
    restore::{is_ours_or_the_systems, until},
    tree::{Found, Walk, same_stat},
};

/// What would be lost if the workspace vanished.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Dirty {
    /// Files and links that were added, changed or removed.
    pub files: u64,
    /// Bytes of those that are there.
    pub bytes: u64,
}

/// A snapshot to measure from. Its manifest stays in memory.
#[derive(Clone, Debug)]
pub struct Baseline {
    manifest: Arc<Manifest>,
}

impl Baseline {
    /// Reads the manifest of `snapshot`.
    pub async fn open(lineage: &Lineage, snapshot: &StoredRoot) -> Result<Self, SnapshotError> {
        Ok(Baseline { manifest: Arc::new(Manifest::open(lineage, snapshot, false).await?) })
    }

    /// Looks through the workspace.
    pub async fn measure(
        &self,
        workspace: &Root,
        keep_out: KeepOut,
        cancel: &CancellationToken,
    ) -> Result<Dirty, SnapshotError> {
        let cancel = cancel.child_token();
        let _stop = cancel.clone().drop_guard();
        let (manifest, root, runtime) = (Arc::clone(&self.manifest), workspace.clone(), Handle::current());
        tokio::task::spawn_blocking(move || measure(&manifest, root, &keep_out, &runtime, &cancel))
            .await
            .unwrap_or(Err(SnapshotError::Defect { what: "the thread of a measurement ended early" }))
    }
}

fn measure(
    manifest: &Manifest,
    root: Root,
    keep_out: &KeepOut,
    runtime: &Handle,
    cancel: &CancellationToken,
) -> Result<Dirty, SnapshotError> {
    let ignored = |path: &[u8], kind: EntryKind| is_ours_or_the_systems(path) || keep_out(path, kind);
    let mut walk = Walk::new(root, &ignored)?;
    let mut dirty = Dirty::default();
    let mut found = walk.entry()?;
    for at in 0..manifest.len() {
        let page = until(runtime, cancel, manifest.page(at))?;
        for entry in page.entries.iter().filter(|entry| !entry.path.is_empty() && !continues(entry)) {
            loop {
                let order = found.as_ref().map_or(Ordering::Greater, |found| path_order(&found.path, &entry.path));
                if order == Ordering::Greater {
                    dirty.files += u64::from(entry.node != Node::Directory);
                    break;
                }
                if let Some(there) = &found
                    && (order == Ordering::Less || !is_same(there, entry))
                {
                    dirty.add(there);
                }
                found = walk.entry()?;
                if order == Ordering::Equal {
                    break;
                }
            }
        }
    }
    while let Some(there) = found {
        dirty.add(&there);
        found = walk.entry()?;
    }
    Ok(dirty)
}

impl Dirty {
    fn add(&mut self, found: &Found) {
        match found.kind() {
            EntryKind::Directory => {}
            EntryKind::File => {
                self.files += 1;
                self.bytes += found.stat.st_size as u64;
            }
            _ => self.files += 1,
        }
    }
}

fn is_same(found: &Found, entry: &Entry) -> bool {
    match &entry.node {
        Node::Directory => found.kind() == EntryKind::Directory,
        Node::File(content) => {
            found.kind() == EntryKind::File
                && found.stat.st_size as u64 == content.size
                && same_stat(&found.stat, entry, true)
        }
        Node::Symlink { .. } => found.kind() == EntryKind::Symlink && same_stat(&found.stat, entry, false),
        Node::Fifo => found.kind() == EntryKind::Fifo && same_stat(&found.stat, entry, true),
        Node::Hardlink { .. } => found.kind() != EntryKind::Directory && same_stat(&found.stat, entry, false),
    }
}
