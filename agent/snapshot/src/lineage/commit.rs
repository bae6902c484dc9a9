//! Writing roots: commits and claims. Of all who write at one sequence one wins,
//! and each learns whether it was that one.

use std::{
    collections::BTreeMap,
    sync::atomic::Ordering,
    time::{SystemTime, UNIX_EPOCH},
};

use bytes::Bytes;
use rand::RngCore as _;

use super::Lineage;
use crate::{
    SnapshotError, StoredRoot,
    format::{Root, SnapshotId, root_key},
    limits::MAX_COMMIT_TRIES,
    state::content_of,
    store::{PutCondition, PutOutcome, StoreError},
};

impl Lineage {
    /// Takes the lineage over for this generation: from the answer on no older one
    /// can commit. Answers with the head, whose content is what it was. Where this
    /// generation owns the lineage already, nothing is written.
    pub async fn claim(&self) -> Result<StoredRoot, SnapshotError> {
        for _ in 0..MAX_COMMIT_TRIES {
            let head = self.head().await?;
            if let Some(head) = &head {
                self.see_generation(head.root.id.generation)?;
                if head.root.id.generation == self.generation {
                    return Ok(head.clone());
                }
            }
            let root = Root {
                id: self.next_id(head.as_ref())?,
                parent: head.as_ref().map(|head| head.root.id),
                claim: true,
                origin: head.as_ref().and_then(content_of),
                removed: false,
                created_ms: now_ms(),
                labels: BTreeMap::new(),
                statistics: head.as_ref().map(|head| head.root.statistics).unwrap_or_default(),
                fuzzy: Vec::new(),
                rules: Vec::new(),
                clock: head.as_ref().map(|head| head.root.clock).unwrap_or_default(),
                pages: head.map(|head| head.root.pages).unwrap_or_default(),
            };
            if let Some(stored) = self.put_root(root).await? {
                return Ok(stored);
            }
        }
        Err(SnapshotError::Conflict { tries: MAX_COMMIT_TRIES })
    }

    /// Commits `root` as the newest one: it gets its id and its parent here. The
    /// head may have moved meanwhile, as long as it is of this generation.
    pub async fn commit(&self, mut root: Root) -> Result<StoredRoot, SnapshotError> {
        for _ in 0..MAX_COMMIT_TRIES {
            let head = self.head().await?;
            if let Some(head) = &head {
                self.see_generation(head.root.id.generation)?;
            }
            self.check_owned()?;
            root.id = self.next_id(head.as_ref())?;
            root.parent = head.map(|head| head.root.id);
            if let Some(stored) = self.put_root(root.clone()).await? {
                return Ok(stored);
            }
        }
        Err(SnapshotError::Conflict { tries: MAX_COMMIT_TRIES })
    }

    fn next_id(&self, head: Option<&StoredRoot>) -> Result<SnapshotId, SnapshotError> {
        let mut nonce = [0; 16];
        rand::rng().fill_bytes(&mut nonce);
        let sequence = head
            .map_or(0, |head| head.root.id.sequence)
            .checked_add(1)
            .ok_or_else(|| SnapshotError::damaged(&root_key(u64::MAX), "no sequence follows it"))?;
        Ok(SnapshotId { sequence, generation: self.generation, nonce })
    }

    /// Puts a root at its sequence; `None` where another one is there, or where it
    /// turned out not to follow the head. An outcome that is not known is settled by
    /// reading back whose nonce is there.
    async fn put_root(&self, root: Root) -> Result<Option<StoredRoot>, SnapshotError> {
        let bytes = Bytes::from(root.encode(&self.crypt)?);
        // What could not be read again must not become the head.
        Root::decode(&self.crypt, root.id.sequence, &bytes)?;
        let mut lost: Option<String> = None;
        for _ in 0..MAX_COMMIT_TRIES {
            match self.store.put(&root.key(), bytes.clone(), PutCondition::IfAbsent).await {
                Ok(PutOutcome::Stored) => {}
                // It may be ours, from a try whose answer was lost.
                Ok(PutOutcome::Exists) if lost.is_none() => return self.lost_to(&root).await,
                Ok(PutOutcome::Exists) => {}
                Err(StoreError::OutcomeUnknown { detail, .. }) => lost = Some(detail),
                Err(error) if lost.is_none() => return Err(error.into()),
                // This try did nothing, but one before it still may.
                Err(error) => return Err(unknown(&root, error.to_string())),
            }
            // Read back in any case: a commit is what was seen in the store.
            match self.root_at(root.id.sequence).await {
                Ok(Some(found)) if found.root.id == root.id => {
                    self.newest.fetch_max(root.id.sequence, Ordering::AcqRel);
                    return Ok(self.follows_the_head(&root).await?.then_some(found));
                }
                Ok(Some(found)) => {
                    self.see_generation(found.root.id.generation)?;
                    return Ok(None);
                }
                // It did not arrive: the same bytes may be sent again.
                Ok(None) => {}
                Err(error) => return Err(unknown(&root, lost.unwrap_or_else(|| error.to_string()))),
            }
        }
        Err(unknown(&root, lost.unwrap_or_default()))
    }

    /// Whether a root that was just stored was the newest one when it was. Below the
    /// head a key is free again once its root was removed and deleted; a writer that
    /// slept until then got in there, and takes it back.
    async fn follows_the_head(&self, root: &Root) -> Result<bool, SnapshotError> {
        let sequence = root.id.sequence;
        let newer = self.newest_after(sequence).await.map_err(|error| unknown(root, error.to_string()))?;
        let Some(newest) = newer else { return Ok(true) };
        self.newest.fetch_max(newest, Ordering::AcqRel);
        let next = self.root_at(sequence + 1).await.map_err(|error| unknown(root, error.to_string()))?;
        match next {
            Some(next) if next.root.parent == Some(root.id) => Ok(true),
            Some(next) => {
                self.store
                    .delete(&root_key(sequence))
                    .await
                    .map_err(|error| unknown(root, format!("it came too late, and is still there: {error}")))?;
                self.see_generation(next.root.id.generation)?;
                Ok(false)
            }
            None => Err(unknown(root, "newer snapshots exist, and the one right after it was removed".to_owned())),
        }
    }

    async fn lost_to(&self, root: &Root) -> Result<Option<StoredRoot>, SnapshotError> {
        let winner = self
            .root_at(root.id.sequence)
            .await?
            .ok_or_else(|| SnapshotError::damaged(&root_key(root.id.sequence), "it exists and cannot be read"))?;
        self.see_generation(winner.root.id.generation)?;
        Ok(None)
    }
}

fn unknown(root: &Root, detail: String) -> SnapshotError {
    SnapshotError::OutcomeUnknown { snapshot: root.id.to_string(), detail }
}

/// Milliseconds since the epoch, by this machine's clock.
pub(crate) fn now_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}
