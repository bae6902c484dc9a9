//! A [`Store`] that tries again what another one failed at for a moment.
//!
//! Repeated is what cannot do harm twice: reads, listings, deletions, and puts
//! of content-addressed objects. A conditional put is repeated only where the
//! store says that it did nothing ([`StoreError::Unavailable`]); where the
//! outcome is unknown the engine reads the object back instead.

use std::{ops::Range, sync::Arc, time::Duration};

use bytes::Bytes;
use futures_util::future::{BoxFuture, FutureExt as _};
use rand::Rng as _;

use super::{ListPage, ObjectInfo, PutCondition, PutOutcome, Store, StoreError};

/// Tries in all: with the waits below, about 3 s of a store that refuses.
const TRIES: u32 = 5;

/// Longest wait after the first try; it doubles with each. The actual wait is
/// random below it, so that writers that failed together do not return together.
const FIRST_WAIT: Duration = Duration::from_millis(200);

/// See the module.
#[derive(Clone, Debug)]
pub struct RetryingStore {
    inner: Arc<dyn Store>,
}

impl RetryingStore {
    /// `inner`, asked again where it fails for a moment.
    pub fn new(inner: Arc<dyn Store>) -> Self {
        RetryingStore { inner }
    }
}

/// Whether the same request may succeed a moment later and does no harm twice.
fn passes(error: &StoreError) -> bool {
    matches!(error, StoreError::Unavailable { .. })
}

async fn repeat<'a, T>(mut request: impl FnMut() -> BoxFuture<'a, Result<T, StoreError>>) -> Result<T, StoreError> {
    let mut wait = FIRST_WAIT;
    for _ in 1..TRIES {
        match request().await {
            Err(error) if passes(&error) => tracing::debug!(%error, "the store failed; trying again"),
            answer => return answer,
        }
        let jittered = wait.mul_f64(rand::rng().random());
        tokio::time::sleep(jittered).await;
        wait *= 2;
    }
    request().await
}

impl Store for RetryingStore {
    fn put(&self, key: &str, body: Bytes, condition: PutCondition) -> BoxFuture<'_, Result<PutOutcome, StoreError>> {
        let key = key.to_owned();
        async move { repeat(|| self.inner.put(&key, body.clone(), condition)).await }.boxed()
    }

    fn get(&self, key: &str, range: Option<Range<u64>>) -> BoxFuture<'_, Result<Bytes, StoreError>> {
        let key = key.to_owned();
        async move { repeat(|| self.inner.get(&key, range.clone())).await }.boxed()
    }

    fn head(&self, key: &str) -> BoxFuture<'_, Result<Option<ObjectInfo>, StoreError>> {
        let key = key.to_owned();
        async move { repeat(|| self.inner.head(&key)).await }.boxed()
    }

    fn list(&self, prefix: &str, start_after: Option<&str>) -> BoxFuture<'_, Result<ListPage, StoreError>> {
        let prefix = prefix.to_owned();
        let start_after = start_after.map(str::to_owned);
        async move { repeat(|| self.inner.list(&prefix, start_after.as_deref())).await }.boxed()
    }

    fn delete(&self, key: &str) -> BoxFuture<'_, Result<(), StoreError>> {
        let key = key.to_owned();
        async move { repeat(|| self.inner.delete(&key)).await }.boxed()
    }
}

#[cfg(test)]
mod tests {
    use super::{
        super::{DirStore, FaultPlan, FaultyStore, Injection},
        *,
    };

    fn store(plan: FaultPlan) -> (tempfile::TempDir, FaultyStore, RetryingStore) {
        let folder = tempfile::tempdir().unwrap();
        let faulty = FaultyStore::new(Arc::new(DirStore::open(folder.path()).unwrap()), plan);
        (folder, faulty.clone(), RetryingStore::new(Arc::new(faulty)))
    }

    #[tokio::test]
    async fn a_moment_of_refusal_is_not_seen() {
        let plan = (1..TRIES).fold(FaultPlan::none(), |plan, number| plan.at(u64::from(number), Injection::Fail));
        let (_folder, faulty, store) = store(plan);
        let put = store.put("a", Bytes::from_static(b"1"), PutCondition::IfAbsent).await;
        assert_eq!((put, faulty.requests()), (Ok(PutOutcome::Stored), u64::from(TRIES)));
    }

    #[tokio::test]
    async fn a_lasting_refusal_is_reported_after_five_tries() {
        let (_folder, faulty, store) = store(FaultPlan::none().random(1, 100, &[Injection::Fail]));
        let answer = store.get("a", None).await;
        assert!(matches!(answer, Err(StoreError::Unavailable { .. })));
        assert_eq!(faulty.requests(), u64::from(TRIES));
    }

    #[tokio::test]
    async fn an_unknown_outcome_and_an_answer_are_final() {
        let (_folder, faulty, store) = store(FaultPlan::none().at(1, Injection::LoseAnswer));
        let put = store.put("a", Bytes::from_static(b"1"), PutCondition::IfAbsent).await;
        assert!(matches!(put, Err(StoreError::OutcomeUnknown { .. })));
        assert!(store.get("b", None).await.unwrap_err().is_not_found());
        assert_eq!(faulty.requests(), 2);
    }
}
