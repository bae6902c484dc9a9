//! Whether a store keeps the one promise that commits rest on.

use bytes::Bytes;
use futures_util::future::join_all;
use uuid::Uuid;

use super::{PutCondition, PutOutcome, Store, StoreError};

/// How many writers race: enough that a store that checks first and writes
/// later lets several win (one that did let 5 to 10 of 64 through).
const RACERS: usize = 16;

/// Races conditional puts for one fresh key and reports a store that lets
/// another number than one of them win. Leaves nothing behind.
pub async fn probe(store: &dyn Store) -> Result<(), StoreError> {
    let key = format!("probe/{}", Uuid::new_v4().simple());
    let race = (0..RACERS).map(|number| store.put(&key, Bytes::from(format!("{number}\n")), PutCondition::IfAbsent));
    let outcomes = join_all(race).await;
    let removed = store.delete(&key).await;
    let mut winners = 0;
    for outcome in outcomes {
        winners += usize::from(outcome? == PutOutcome::Stored);
    }
    removed?;
    if winners == 1 { Ok(()) } else { Err(StoreError::Unsafe { racers: RACERS, winners }) }
}

#[cfg(test)]
mod tests {
    use super::{super::DirStore, *};

    #[tokio::test]
    async fn the_directory_store_is_safe_and_stays_clean() {
        let folder = tempfile::tempdir().unwrap();
        let store = DirStore::open(folder.path()).unwrap();
        probe(&store).await.unwrap();
        assert!(store.list("", None).await.unwrap().objects.is_empty());
    }
}
