//! A [`Store`] that wraps another and fails as planned: for the tests that hold
//! the engine to its invariants, with real bytes behind every answer.
//!
//! Requests are numbered from 1 in the order they are made. Whether the n-th
//! one fails depends on the plan and n only, so a failure is repeated by its seed.

use std::{
    collections::BTreeMap,
    ops::Range,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use bytes::Bytes;
use futures_util::future::{BoxFuture, FutureExt as _};
use rand::{Rng as _, SeedableRng as _, rngs::StdRng};

use super::{ListPage, ObjectInfo, PutCondition, PutOutcome, Store, StoreError};

/// How one request goes wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Injection {
    /// Answered with a server error; without effect.
    Fail,
    /// Takes effect, then no answer arrives: a conditional put reports an
    /// unknown outcome, everything else a server error.
    LoseAnswer,
    /// Never answered; without effect.
    Hang,
    /// A read answers with the first half of the bytes only, as a store that
    /// lies would; any other request fails.
    Cut,
    /// A read answers with one bit changed; any other request fails.
    Flip,
    /// This process is killed (SIGKILL) before the request is made.
    KillBefore,
    /// This process is killed (SIGKILL) after the request took effect.
    KillAfter,
}

/// Which requests go wrong.
#[derive(Clone, Debug, Default)]
pub struct FaultPlan {
    at: BTreeMap<u64, Injection>,
    random: Option<Random>,
}

#[derive(Clone, Debug)]
struct Random {
    seed: u64,
    percent: u32,
    kinds: Vec<Injection>,
}

impl FaultPlan {
    /// Nothing goes wrong; requests are only counted.
    pub fn none() -> Self {
        FaultPlan::default()
    }

    /// The `number`-th request (from 1) goes wrong.
    #[must_use]
    pub fn at(mut self, number: u64, injection: Injection) -> Self {
        self.at.insert(number, injection);
        self
    }

    /// `percent` of all requests go wrong, each in one of the ways of `kinds`.
    #[must_use]
    pub fn random(mut self, seed: u64, percent: u32, kinds: &[Injection]) -> Self {
        self.random = Some(Random { seed, percent, kinds: kinds.to_vec() });
        self
    }

    /// What happens to request `number`.
    fn decide(&self, number: u64) -> Option<Injection> {
        if let Some(injection) = self.at.get(&number) {
            return Some(*injection);
        }
        let Random { seed, percent, kinds } = self.random.as_ref().filter(|random| !random.kinds.is_empty())?;
        // A generator of its own for each number: concurrent requests do not
        // take one another's draws.
        let mut draw = StdRng::seed_from_u64(seed.rotate_left(32) ^ number);
        draw.random_ratio((*percent).min(100), 100).then(|| kinds[draw.random_range(0..kinds.len())])
    }
}

/// See the module.
#[derive(Clone, Debug)]
pub struct FaultyStore {
    inner: Arc<dyn Store>,
    plan: Arc<FaultPlan>,
    requests: Arc<AtomicU64>,
}

impl FaultyStore {
    /// `inner`, failing as `plan` says.
    pub fn new(inner: Arc<dyn Store>, plan: FaultPlan) -> Self {
        FaultyStore { inner, plan: Arc::new(plan), requests: Arc::default() }
    }

    /// How many requests were made so far.
    pub fn requests(&self) -> u64 {
        self.requests.load(Ordering::Relaxed)
    }

    fn next(&self) -> Option<Injection> {
        self.plan.decide(self.requests.fetch_add(1, Ordering::Relaxed) + 1)
    }

    /// The answer to one request: `real` makes it, `lost` is what the caller
    /// learns when the answer does not arrive, `spoil` what a read's bytes become.
    fn answer<'a, T: Send + 'a>(
        &self,
        action: &'static str,
        key: &str,
        real: BoxFuture<'a, Result<T, StoreError>>,
        lost: impl FnOnce(StoreError) -> StoreError + Send + 'a,
        spoil: Option<fn(T, Injection) -> T>,
    ) -> BoxFuture<'a, Result<T, StoreError>> {
        let refused = StoreError::Unavailable {
            action,
            key: key.to_owned(),
            detail: "503 ServiceUnavailable (injected)".to_owned(),
        };
        let injection = self.next();
        async move {
            match injection {
                None => real.await,
                Some(Injection::Fail) => Err(refused),
                Some(Injection::Hang) => std::future::pending().await,
                Some(Injection::LoseAnswer) => {
                    real.await?;
                    Err(lost(refused))
                }
                Some(kind @ (Injection::Cut | Injection::Flip)) => match spoil {
                    Some(spoil) => Ok(spoil(real.await?, kind)),
                    None => Err(refused),
                },
                Some(Injection::KillBefore) => die(),
                Some(Injection::KillAfter) => {
                    let _ = real.await;
                    die()
                }
            }
        }
        .boxed()
    }
}

impl Store for FaultyStore {
    fn put(&self, key: &str, body: Bytes, condition: PutCondition) -> BoxFuture<'_, Result<PutOutcome, StoreError>> {
        let named = key.to_owned();
        let lost = move |error| match condition {
            PutCondition::Always => error,
            PutCondition::IfAbsent => {
                StoreError::OutcomeUnknown { key: named, detail: "the connection was reset (injected)".to_owned() }
            }
        };
        let real = self.inner.put(key, body, condition);
        self.answer("PUT", key, real, lost, None)
    }

    fn get(&self, key: &str, range: Option<Range<u64>>) -> BoxFuture<'_, Result<Bytes, StoreError>> {
        let real = self.inner.get(key, range);
        self.answer("GET", key, real, |error| error, Some(spoiled))
    }

    fn head(&self, key: &str) -> BoxFuture<'_, Result<Option<ObjectInfo>, StoreError>> {
        let real = self.inner.head(key);
        self.answer("HEAD", key, real, |error| error, None)
    }

    fn list(&self, prefix: &str, start_after: Option<&str>) -> BoxFuture<'_, Result<ListPage, StoreError>> {
        let real = self.inner.list(prefix, start_after);
        self.answer("LIST", prefix, real, |error| error, None)
    }

    fn delete(&self, key: &str) -> BoxFuture<'_, Result<(), StoreError>> {
        let real = self.inner.delete(key);
        self.answer("DELETE", key, real, |error| error, None)
    }
}

fn spoiled(bytes: Bytes, kind: Injection) -> Bytes {
    if kind == Injection::Cut {
        return bytes.slice(..bytes.len() / 2);
    }
    let mut changed = bytes.to_vec();
    let middle = changed.len() / 2;
    if let Some(byte) = changed.get_mut(middle) {
        *byte ^= 1;
    }
    changed.into()
}

/// Ends this process as kill -9 does: nothing is unwound, flushed or closed.
fn die() -> ! {
    let _ = rustix::process::kill_process(rustix::process::getpid(), rustix::process::Signal::KILL);
    loop {
        std::thread::park();
    }
}

#[cfg(test)]
mod tests {
    use super::{super::DirStore, *};

    fn store(plan: FaultPlan) -> (tempfile::TempDir, FaultyStore) {
        let folder = tempfile::tempdir().unwrap();
        let inner = DirStore::open(folder.path()).unwrap();
        (folder, FaultyStore::new(Arc::new(inner), plan))
    }

    #[tokio::test]
    async fn each_request_fails_as_planned() {
        let (_folder, store) = store(
            FaultPlan::none()
                .at(1, Injection::Fail)
                .at(2, Injection::LoseAnswer)
                .at(4, Injection::Cut)
                .at(5, Injection::Flip),
        );
        let put = || store.put("a", Bytes::from_static(b"1234"), PutCondition::IfAbsent);
        assert!(matches!(put().await, Err(StoreError::Unavailable { .. })));
        assert!(matches!(put().await, Err(StoreError::OutcomeUnknown { .. })));
        assert_eq!(put().await, Ok(PutOutcome::Exists));
        assert_eq!(store.get("a", None).await.unwrap(), &b"12"[..]);
        assert_eq!(store.get("a", None).await.unwrap(), &b"1224"[..]);
        assert_eq!(store.requests(), 5);
    }

    #[test]
    fn the_same_seed_fails_the_same_requests() {
        let kinds = [Injection::Fail, Injection::LoseAnswer];
        let decisions = |seed| {
            let plan = FaultPlan::none().random(seed, 30, &kinds);
            (1..=1_000).map(|number| plan.decide(number)).collect::<Vec<_>>()
        };
        assert_eq!(decisions(7), decisions(7));
        assert_ne!(decisions(7), decisions(8));
        let failed = decisions(7).iter().flatten().count();
        assert!((250..350).contains(&failed), "{failed} of 1,000");
    }
}
