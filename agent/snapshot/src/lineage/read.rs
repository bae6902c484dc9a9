//! Reading roots and pages. What comes back has been verified.

use std::sync::atomic::Ordering;

use super::Lineage;
use crate::{
    SnapshotError, StoredRoot,
    format::{Dedup, ObjectId, Page, PageRef, ROOTS_PREFIX, Root, SnapshotId, root_key, sequence_of_key},
    store::StoreError,
};

/// One page of a listing of snapshots.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SnapshotPage {
    /// The snapshots.
    pub snapshots: Vec<StoredRoot>,
    /// The sequence to go on after; `None` on the last page.
    pub next: Option<u64>,
}

impl Lineage {
    /// The newest root, a claim or a snapshot; `None` where nothing was committed.
    ///
    /// It is the one with the highest sequence: `docs/snapshot-format.md` says why
    /// no stale generation can have written that.
    pub async fn head(&self) -> Result<Option<StoredRoot>, SnapshotError> {
        let known = self.newest.load(Ordering::Acquire);
        let Some(sequence) = self.newest_after(known).await?.or((known > 0).then_some(known)) else {
            return Ok(None);
        };
        self.newest.fetch_max(sequence, Ordering::AcqRel);
        self.root_at(sequence).await?.map(Some).ok_or_else(|| missing(&root_key(sequence)))
    }

    /// The newest snapshot that can be restored: the head, unless that is the
    /// claim of a lineage in which nothing was committed.
    pub async fn newest_snapshot(&self) -> Result<Option<StoredRoot>, SnapshotError> {
        Ok(self.head().await?.filter(|head| !head.root.claim || head.root.origin.is_some()))
    }

    /// The highest sequence above `after` that has a root.
    pub(crate) async fn newest_after(&self, after: u64) -> Result<Option<u64>, SnapshotError> {
        let mut newest = None;
        let mut from = (after > 0).then(|| root_key(after));
        loop {
            let page = self.store.list(ROOTS_PREFIX, from.as_deref()).await?;
            newest = page.objects.iter().rev().find_map(|object| sequence_of_key(&object.key)).or(newest);
            from = page.objects.last().map(|object| object.key.clone());
            if !page.more || from.is_none() {
                return Ok(newest);
            }
        }
    }

    /// The root at `sequence`, also a claim or a removed one; `None` where there is none.
    pub async fn root_at(&self, sequence: u64) -> Result<Option<StoredRoot>, SnapshotError> {
        let bytes = match self.store.get(&root_key(sequence), None).await {
            Ok(bytes) => bytes,
            Err(StoreError::NotFound { .. }) => return Ok(None),
            Err(error) => return Err(error.into()),
        };
        let root = Root::decode(&self.crypt, sequence, &bytes)?;
        let blake3 = *blake3::hash(&bytes).as_bytes();
        Ok(Some(StoredRoot { root, blake3, encrypted: self.crypt.is_encrypted() }))
    }

    /// The snapshot with the id `id`.
    pub async fn get(&self, id: &SnapshotId) -> Result<StoredRoot, SnapshotError> {
        match self.root_at(id.sequence).await? {
            Some(found) if found.root.id == *id && !found.root.removed => Ok(found),
            _ => Err(SnapshotError::NotFound { snapshot: id.to_string() }),
        }
    }

    /// At most `limit` snapshots after the sequence `after`, oldest first; neither
    /// claims nor removed ones.
    pub async fn list(&self, after: u64, limit: usize) -> Result<SnapshotPage, SnapshotError> {
        let mut found = SnapshotPage::default();
        let mut from = (after > 0).then(|| root_key(after));
        loop {
            let page = self.store.list(ROOTS_PREFIX, from.as_deref()).await?;
            for sequence in page.objects.iter().filter_map(|object| sequence_of_key(&object.key)) {
                if found.snapshots.len() >= limit {
                    found.next = found.snapshots.last().map(|last| last.root.id.sequence);
                    return Ok(found);
                }
                // Deleted since the listing: it is no snapshot any more.
                let Some(stored) = self.root_at(sequence).await? else { continue };
                if !stored.root.claim && !stored.root.removed {
                    found.snapshots.push(stored);
                }
            }
            from = page.objects.last().map(|object| object.key.clone());
            if !page.more || from.is_none() {
                return Ok(found);
            }
        }
    }

    /// The restore data of a page.
    pub async fn restore_page(&self, page: &PageRef) -> Result<Page, SnapshotError> {
        let bytes = self.object(&page.id.page_key(), Some(0..u64::from(page.restore_stored))).await?;
        Page::decode_restore(&self.crypt, page, &bytes)
    }

    /// A page with its dedup index.
    pub async fn whole_page(&self, page: &PageRef) -> Result<(Page, Dedup), SnapshotError> {
        let bytes = self.object(&page.id.page_key(), None).await?;
        Page::decode(&self.crypt, page, &bytes)
    }

    /// Bytes of a pack, not verified: a frame's hash is in its page.
    pub async fn pack_bytes(
        &self,
        pack: &ObjectId,
        range: Option<std::ops::Range<u64>>,
    ) -> Result<bytes::Bytes, SnapshotError> {
        self.object(&pack.pack_key(), range).await
    }

    /// An object that must be there.
    pub(crate) async fn object(
        &self,
        key: &str,
        range: Option<std::ops::Range<u64>>,
    ) -> Result<bytes::Bytes, SnapshotError> {
        match self.store.get(key, range).await {
            Ok(bytes) => Ok(bytes),
            Err(StoreError::NotFound { .. }) => Err(missing(key)),
            Err(StoreError::OutOfRange { .. }) => Err(SnapshotError::damaged(key, "it is shorter than it was")),
            Err(error) => Err(error.into()),
        }
    }
}

fn missing(key: &str) -> SnapshotError {
    SnapshotError::damaged(key, "it does not exist")
}
