//! Commits as a state machine: writers of several generations, each held up just
//! before its root is stored for as long as the schedule says, answers that are
//! lost, and roots that are deleted far earlier than the rules allow.

use std::{
    collections::HashMap,
    ops::Range,
    sync::{Arc, Mutex},
};

use bytes::Bytes;
use futures_util::future::{BoxFuture, FutureExt as _};
use proptest::prelude::*;
use remora_agent_snapshot::{
    Lineage, SnapshotError, StoredRoot,
    format::{Class, ClockReading, Crypt, Dedup, Entry, Node, Page, Root, SnapshotId, Statistics, Timestamp},
    format::{ROOTS_PREFIX, root_key, sequence_of_key},
    store::{DirStore, ListPage, ObjectInfo, PutCondition, PutOutcome, Store, StoreError},
};
use remora_proto_model::{Effect, Reason};
use tokio::{
    sync::{
        Mutex as Turn,
        mpsc::{Receiver, Sender, channel},
    },
    task::JoinHandle,
};

/// Every root that was ever stored, with its parent.
type History = Arc<Mutex<HashMap<SnapshotId, Option<SnapshotId>>>>;

/// A store whose conditional puts of roots wait until they are let go, and lose
/// their answer where they are told to.
#[derive(Debug)]
struct Gated {
    inner: Arc<dyn Store>,
    arrived: Sender<()>,
    let_go: Turn<Receiver<bool>>,
    history: History,
}

impl Gated {
    async fn put_root(&self, key: &str, body: Bytes) -> Result<PutOutcome, StoreError> {
        self.arrived.send(()).await.expect("the schedule listens");
        let lose = self.let_go.lock().await.recv().await.expect("the schedule lets everybody go");
        let outcome = self.inner.put(key, body.clone(), PutCondition::IfAbsent).await?;
        if outcome == PutOutcome::Stored {
            let sequence = sequence_of_key(key).expect("the key of a root");
            let root = Root::decode(&Crypt::plain(), sequence, &body).expect("a root");
            self.history.lock().unwrap().insert(root.id, root.parent);
        }
        if lose {
            return Err(StoreError::OutcomeUnknown { key: key.to_owned(), detail: "lost".to_owned() });
        }
        Ok(outcome)
    }
}

impl Store for Gated {
    fn put(&self, key: &str, body: Bytes, condition: PutCondition) -> BoxFuture<'_, Result<PutOutcome, StoreError>> {
        if condition == PutCondition::IfAbsent && key.starts_with(ROOTS_PREFIX) {
            let key = key.to_owned();
            return async move { self.put_root(&key, body).await }.boxed();
        }
        self.inner.put(key, body, condition)
    }

    fn get(&self, key: &str, range: Option<Range<u64>>) -> BoxFuture<'_, Result<Bytes, StoreError>> {
        self.inner.get(key, range)
    }

    fn head(&self, key: &str) -> BoxFuture<'_, Result<Option<ObjectInfo>, StoreError>> {
        self.inner.head(key)
    }

    fn list(&self, prefix: &str, start_after: Option<&str>) -> BoxFuture<'_, Result<ListPage, StoreError>> {
        self.inner.list(prefix, start_after)
    }

    fn delete(&self, key: &str) -> BoxFuture<'_, Result<(), StoreError>> {
        self.inner.delete(key)
    }
}

type Outcome = Result<StoredRoot, SnapshotError>;

/// One writer and what it is doing.
struct Writer {
    generation: u64,
    lineage: Lineage,
    arrived: Receiver<()>,
    let_go: Sender<bool>,
    running: Option<JoinHandle<Outcome>>,
}

impl Writer {
    async fn new(inner: &Arc<dyn Store>, history: &History, generation: u64) -> Self {
        let ((arrived_at, arrived), (let_go, go)) = (channel(1), channel(1));
        let (inner, history) = (Arc::clone(inner), Arc::clone(history));
        let store = Arc::new(Gated { inner, arrived: arrived_at, let_go: Turn::new(go), history });
        let lineage = Lineage::open(store, None, generation).await.unwrap();
        Writer { generation, lineage, arrived, let_go, running: None }
    }

    /// Begins a commit or a claim, unless one is under way. What ended at once.
    async fn begin(&mut self, page: &[remora_agent_snapshot::format::PageRef], claim: bool) -> Option<Outcome> {
        if self.running.is_some() {
            return None;
        }
        let (lineage, root) = (self.lineage.clone(), snapshot(page));
        self.running =
            Some(tokio::spawn(async move { if claim { lineage.claim().await } else { lineage.commit(root).await } }));
        self.goes_on().await
    }

    /// Lets it go, where it is held up. What ended.
    async fn release(&mut self, lose: bool) -> Option<Outcome> {
        self.running.as_ref()?;
        self.let_go.send(lose).await.unwrap();
        self.goes_on().await
    }

    /// Until it is held up again or ends.
    async fn goes_on(&mut self) -> Option<Outcome> {
        let running = self.running.as_mut()?;
        tokio::select! {
            outcome = running => {
                self.running = None;
                Some(outcome.unwrap())
            }
            Some(()) = self.arrived.recv() => None,
        }
    }
}

/// An empty tree.
fn page() -> Vec<remora_agent_snapshot::format::PageRef> {
    let top = Entry {
        path: Vec::new(),
        mode: 0o755,
        uid: 0,
        gid: 0,
        mtime: Timestamp::default(),
        class: Class::Keep,
        xattrs: Vec::new(),
        node: Node::Directory,
    };
    let page = Page { frames: Vec::new(), entries: vec![top] };
    let dedup = Dedup { blobs: Vec::new(), observed: vec![Default::default()] };
    vec![page.draft(&dedup, &Crypt::plain()).encode(&Crypt::plain()).unwrap().reference]
}

fn snapshot(pages: &[remora_agent_snapshot::format::PageRef]) -> Root {
    Root {
        id: SnapshotId { sequence: 0, generation: 0, nonce: [0; 16] },
        parent: None,
        claim: false,
        origin: None,
        removed: false,
        created_ms: 0,
        labels: Default::default(),
        statistics: Statistics::default(),
        fuzzy: Vec::new(),
        rules: Vec::new(),
        clock: ClockReading::default(),
        pages: pages.to_vec(),
    }
}

/// Deletes every root but the newest one that it sees.
async fn delete_all_but_the_newest(store: &dyn Store) {
    let roots = store.list(ROOTS_PREFIX, None).await.unwrap().objects;
    for object in roots.iter().rev().skip(1) {
        store.delete(&object.key).await.unwrap();
    }
}

#[derive(Clone, Copy, Debug)]
enum Step {
    Begin { writer: usize, claim: bool },
    Release { writer: usize, lose: bool },
    Delete,
}

/// Two writers share a generation.
const GENERATIONS: [u64; 4] = [1, 2, 2, 3];

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let writer = 0..GENERATIONS.len();
    let step = prop_oneof![
        4 => (writer.clone(), prop::bool::weighted(0.2)).prop_map(|(writer, claim)| Step::Begin { writer, claim }),
        6 => (writer, prop::bool::weighted(0.3)).prop_map(|(writer, lose)| Step::Release { writer, lose }),
        1 => Just(Step::Delete),
    ];
    prop::collection::vec(step, 1..40)
}

async fn run(steps: &[Step]) {
    let folder = tempfile::tempdir().unwrap();
    let store: Arc<dyn Store> = Arc::new(DirStore::open(folder.path()).unwrap());
    let history = History::default();
    let pages = page();
    let mut writers = Vec::new();
    for generation in GENERATIONS {
        writers.push(Writer::new(&store, &history, generation).await);
    }
    let watcher = Lineage::open(Arc::clone(&store), None, u64::MAX).await.unwrap();
    let (mut acknowledged, mut highest) = (Vec::new(), (0, 0));
    // At the end everybody is let go, and answered.
    let last = (0..GENERATIONS.len()).flat_map(|writer| [Step::Release { writer, lose: false }; 20]);
    for step in steps.iter().copied().chain(last) {
        let (outcome, generation) = match step {
            Step::Begin { writer, claim } => (writers[writer].begin(&pages, claim).await, writers[writer].generation),
            Step::Release { writer, lose } => (writers[writer].release(lose).await, writers[writer].generation),
            Step::Delete => {
                delete_all_but_the_newest(&*store).await;
                (None, 0)
            }
        };
        match outcome {
            None => {}
            Some(Ok(stored)) => acknowledged.push(stored.root.id),
            Some(Err(error)) => match error.reason() {
                Reason::LineageFenced => {
                    let newer = history.lock().unwrap().keys().any(|id| id.generation > generation);
                    assert!(newer, "{error}, and nobody newer ever wrote");
                }
                Reason::Conflict => {}
                Reason::StoreUnavailable => assert_eq!(error.effect(), Effect::MayHaveApplied, "{error}"),
                _ => panic!("{error}"),
            },
        }
        if let Some(head) = watcher.head().await.unwrap() {
            let SnapshotId { sequence, generation, .. } = head.root.id;
            assert!(sequence >= highest.0 && generation >= highest.1, "{:?} after {highest:?}", head.root.id);
            highest = (sequence, generation);
        }
    }
    assert!(writers.iter().all(|writer| writer.running.is_none()), "a writer does not end");
    let mut ancestors = Vec::new();
    let mut next = watcher.head().await.unwrap().map(|head| head.root.id);
    let history = history.lock().unwrap();
    while let Some(id) = next {
        ancestors.push(id);
        next = history[&id];
    }
    for id in acknowledged {
        assert!(ancestors.contains(&id), "{id} was acknowledged and is no ancestor of the head");
    }
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// The head never goes back, in sequence or generation, and what was
    /// acknowledged is in its history.
    #[test]
    fn a068_no_schedule_loses_a_commit_or_lets_a_stale_one_be_head(steps in steps()) {
        runtime().block_on(run(&steps));
    }
}

/// A writer sleeps while its sequence is used, removed and deleted. It gets in where
/// nobody looks, takes that back, and commits after the head.
#[test]
fn a068_a_sleeper_in_a_freed_sequence_takes_it_back() {
    runtime().block_on(async {
        let folder = tempfile::tempdir().unwrap();
        let store: Arc<dyn Store> = Arc::new(DirStore::open(folder.path()).unwrap());
        let (history, pages) = (History::default(), page());
        let mut sleeper = Writer::new(&store, &history, 1).await;
        let mut stale = Writer::new(&store, &history, 1).await;
        let awake = Lineage::open(Arc::clone(&store), None, 1).await.unwrap();
        awake.commit(snapshot(&pages)).await.unwrap();
        assert!(sleeper.begin(&pages, false).await.is_none());
        assert!(stale.begin(&pages, false).await.is_none());
        for _ in 0..2 {
            awake.commit(snapshot(&pages)).await.unwrap();
        }
        delete_all_but_the_newest(&*store).await;
        assert!(sleeper.release(false).await.is_none(), "it has to go on after the head");
        assert!(awake.root_at(2).await.unwrap().is_none());
        let outcome = sleeper.release(false).await.unwrap().unwrap();
        assert_eq!((outcome.root.id.sequence, outcome.root.parent.unwrap().sequence), (4, 3));

        // The same for one whose generation has ended meanwhile.
        let newer = Lineage::open(Arc::clone(&store), None, 2).await.unwrap();
        newer.claim().await.unwrap();
        let fenced = stale.release(false).await;
        assert!(fenced.is_none() || fenced.unwrap().is_err());
        if stale.running.is_some() {
            panic!("a stale writer goes on");
        }
        let error = stale.lineage.commit(snapshot(&pages)).await.unwrap_err();
        assert_eq!(error.reason(), Reason::LineageFenced);
        let roots = store.list(ROOTS_PREFIX, None).await.unwrap().objects;
        let keys: Vec<_> = roots.iter().map(|object| object.key.as_str()).collect();
        assert!(!keys.contains(&root_key(2).as_str()), "{keys:?}");
    });
}
