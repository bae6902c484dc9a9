//! [`Lineage`]: the snapshots of one project, opened for one generation of it.

mod commit;
mod read;

use std::{
    fmt,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use bytes::Bytes;

pub(crate) use commit::now_ms;
pub use read::SnapshotPage;

use crate::{
    SnapshotError,
    format::{Crypt, LINEAGE_KEY, LineageHeader, ROOTS_PREFIX},
    store::{PutCondition, Store, StoreError},
};

/// See the module. Cloning shares all of it.
#[derive(Clone)]
pub struct Lineage {
    store: Arc<dyn Store>,
    crypt: Crypt,
    generation: u64,
    /// The highest sequence seen so far: where to look for the newest root. It
    /// only grows, because the newest root is never deleted.
    newest: Arc<AtomicU64>,
    /// A generation that has taken over; 0 while none has.
    fenced_by: Arc<AtomicU64>,
}

impl fmt::Debug for Lineage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Lineage({:?}, {:?}, generation {})", self.store, self.crypt, self.generation)
    }
}

impl Lineage {
    /// Opens the lineage in `store` for `generation`, and begins it where there is
    /// none: with a `key` an encrypted one.
    pub async fn open(store: Arc<dyn Store>, key: Option<&[u8; 32]>, generation: u64) -> Result<Self, SnapshotError> {
        let header = match read_header(&*store).await? {
            Some(header) => header,
            None => begin(&*store, key).await?,
        };
        let crypt = header.open(key)?;
        Ok(Lineage { store, crypt, generation, newest: Arc::default(), fenced_by: Arc::default() })
    }

    /// The object store.
    pub fn store(&self) -> &Arc<dyn Store> {
        &self.store
    }

    /// What is secret about it.
    pub fn crypt(&self) -> &Crypt {
        &self.crypt
    }

    /// The generation it was opened for.
    pub fn generation(&self) -> u64 {
        self.generation
    }

    /// Fails where a newer generation is known to have taken over. Once it has,
    /// this holds for good.
    pub fn check_owned(&self) -> Result<(), SnapshotError> {
        match self.fenced_by.load(Ordering::Acquire) {
            0 => Ok(()),
            found => Err(SnapshotError::Fenced { own: self.generation, found }),
        }
    }

    /// Takes note of a root's generation.
    pub fn see_generation(&self, generation: u64) -> Result<(), SnapshotError> {
        if generation > self.generation {
            self.fenced_by.fetch_max(generation, Ordering::AcqRel);
        }
        self.check_owned()
    }
}

async fn read_header(store: &dyn Store) -> Result<Option<LineageHeader>, SnapshotError> {
    match store.get(LINEAGE_KEY, None).await {
        Ok(bytes) => LineageHeader::decode(&bytes).map(Some),
        Err(StoreError::NotFound { .. }) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

async fn begin(store: &dyn Store, key: Option<&[u8; 32]>) -> Result<LineageHeader, SnapshotError> {
    // Roots without a header: it was lost. A new one could not open them, and it
    // would hide that.
    if !store.list(ROOTS_PREFIX, None).await?.objects.is_empty() {
        return Err(SnapshotError::damaged(LINEAGE_KEY, "it is missing, and there are snapshots"));
    }
    let header = LineageHeader::new(key)?;
    match store.put(LINEAGE_KEY, Bytes::from(header.encode()?), PutCondition::IfAbsent).await {
        Ok(_) | Err(StoreError::OutcomeUnknown { .. }) => {}
        Err(error) => return Err(error.into()),
    }
    // Whoever else began it at the same time may have been first.
    read_header(store).await?.ok_or_else(|| SnapshotError::Store(StoreError::NotFound { key: LINEAGE_KEY.to_owned() }))
}
