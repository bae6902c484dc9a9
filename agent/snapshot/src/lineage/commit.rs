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
                id: self.next_id(head.as_ref()),
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
            root.id = self.next_id(head.as_ref());
            root.parent = head.map(|head| head.root.id);
            if let Some(stored) = self.put_root(root.clone()).await? {
                return Ok(stored);
            }
        }
        Err(SnapshotError::Conflict { tries: MAX_COMMIT_TRIES })
    }

    fn next_id(&self, head: Option<&StoredRoot>) -> SnapshotId {
        let mut nonce = [0; 16];
        rand::rng().fill_bytes(&mut nonce);
        let sequence = head.map_or(1, |head| head.root.id.sequence + 1);
        SnapshotId { sequence, generation: self.generation, nonce }
    }

    /// Puts a root at its sequence; `None` where another one is there. An outcome
    /// that is not known is settled by reading back whose nonce is there.
    async fn put_root(&self, root: Root) -> Result<Option<StoredRoot>, SnapshotError> {
        let bytes = Bytes::from(root.encode(&self.crypt)?);
        let mut lost = None;
        for _ in 0..MAX_COMMIT_TRIES {
            match self.store.put(&root.key(), bytes.clone(), PutCondition::IfAbsent).await {
                Ok(PutOutcome::Stored) => {}
                // It may be ours, from a try whose answer was lost.
                Ok(PutOutcome::Exists) if lost.is_none() => return self.lost_to(&root).await,
                Ok(PutOutcome::Exists) => {}
                Err(StoreError::OutcomeUnknown { detail, .. }) => lost = Some(detail),
                Err(error) => return Err(error.into()),
            }
            // Read back in any case: a commit is what was seen in the store.
            match self.root_at(root.id.sequence).await {
                Ok(Some(found)) if found.root.id == root.id => {
                    self.newest.fetch_max(root.id.sequence, Ordering::AcqRel);
                    return Ok(Some(found));
                }
                Ok(Some(found)) => {
                    self.see_generation(found.root.id.generation)?;
                    return Ok(None);
                }
                // It did not arrive: the same bytes may be sent again.
                Ok(None) => {}
                Err(error) => {
                    return Err(SnapshotError::OutcomeUnknown {
                        snapshot: root.id.to_string(),
                        detail: lost.unwrap_or_else(|| error.to_string()),
                    });
                }
            }
        }
        Err(SnapshotError::OutcomeUnknown { snapshot: root.id.to_string(), detail: lost.unwrap_or_default() })
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

/// Milliseconds since the epoch, by this machine's clock.
pub(crate) fn now_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}
