//! The sagas in a small world whose every step may fail or lose its driver
//! before, after or in the middle of it, while writers write and wishes change.

use proptest::prelude::*;
use remora_control_plane_project::{
    Failure, Memory, Observed, Pod, Proof, RETRY_MOST_MS, Recorded, Seen, Step, Tree, Wish, observe, plan,
};
use remora_proto_model::Generation;

/// What happens to one step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fate {
    Succeeds,
    Fails,
    /// The driver is killed before anything happened.
    KilledBefore,
    /// The driver is killed when it happened and nothing of it was noted.
    KilledAfter,
}

/// What else happens before a step.
#[derive(Clone, Copy, Debug)]
enum Event {
    Nothing,
    Writes,
    AgentDies,
    EverythingDies,
    /// Somebody changes a container.
    Edits,
    Wants(Wish),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Process {
    generation: Generation,
    agent: bool,
    answers: bool,
    /// What it served was saved and read back.
    saved: bool,
}

/// The world: content is a number that each write raises.
#[derive(Debug)]
struct World {
    now_ms: u64,
    recorded: Recorded,
    memory: Memory,
    pod: Option<Process>,
    /// A restore or commit whose driver was killed.
    orphan: Option<Generation>,
    /// What the tree holds; `None` is no tree or a part of one.
    tree: Option<u64>,
    stored: Option<u64>,
    /// Whether the spec changed since what runs was made.
    behind: bool,
    written: u64,
    purge: bool,
    gone: bool,
}

impl World {
    fn new() -> World {
        World {
            now_ms: 1,
            recorded: Recorded {
                generation: Generation(0),
                tree: Tree::Absent,
                condemned: false,
                tombstone: false,
                source: true,
            },
            memory: Memory::default(),
            pod: None,
            orphan: None,
            tree: None,
            stored: None,
            behind: false,
            written: 0,
            purge: false,
            gone: false,
        }
    }

    fn observe(&self) -> Observed {
        let parts = self.pod.map_or(0, |pod| 1 + usize::from(pod.agent));
        let seen = Seen {
            strays: self.orphan.is_some(),
            running: parts,
            missing: if parts == 0 { 0 } else { 2 - parts },
            behind: self.behind && parts > 0,
            ready: self.pod.is_some_and(|pod| pod.agent && pod.answers),
        };
        observe(&self.recorded, &self.memory, &seen)
    }

    /// Whoever may write writes.
    fn write(&mut self) {
        if self.pod.is_some() && self.tree.is_some() {
            self.written += 1;
            self.tree = Some(self.written);
        }
    }

    fn lose_driver(&mut self) {
        self.memory = Memory::default();
        self.write();
    }

    fn nobody_runs(&self, why: Step) {
        assert!(self.pod.is_none() && self.orphan.is_none(), "{why:?} while something runs: {self:?}");
    }

    /// Nothing that only the tree has is lost by `why`.
    fn nothing_lost(&self, why: Step) {
        let safe = self.tree.is_none() || self.tree == self.stored || self.purge;
        assert!(safe, "{why:?} loses content: {self:?}");
    }

    /// Performs `step`. What is recorded before the effect and after it is as in the driver.
    fn perform(&mut self, step: Step, fate: Fate) {
        if fate == Fate::KilledBefore {
            return self.lose_driver();
        }
        let failed = fate == Fate::Fails;
        let killed = fate == Fate::KilledAfter;
        match step {
            Step::WaitUntil(at) => {
                self.now_ms = self.now_ms.max(at);
                self.write();
            }
            Step::Sweep => {
                if !failed {
                    self.orphan = None;
                }
            }
            Step::RaiseGeneration(generation) => {
                self.nobody_runs(step);
                if !failed {
                    self.behind = false;
                    assert!(generation > self.recorded.generation);
                    self.recorded.generation = generation;
                    if self.recorded.tree == Tree::Stored {
                        self.recorded.tree = Tree::Kept;
                    }
                    self.memory.proof = None;
                    self.memory.raised = Some(generation);
                }
            }
            Step::Hydrate(generation) => {
                self.nobody_runs(step);
                assert_eq!(generation, self.recorded.generation);
                assert!(self.tree.is_none(), "a restore over content: {self:?}");
                self.recorded.tree = Tree::Partial;
                match fate {
                    Fate::Fails => {}
                    Fate::KilledAfter => self.orphan = Some(generation),
                    _ => {
                        self.tree = Some(self.stored.unwrap_or(0));
                        self.stored = self.tree;
                        self.recorded.tree = Tree::Stored;
                    }
                }
            }
            Step::Dehydrate(generation) => {
                self.nobody_runs(step);
                assert_eq!(generation, self.recorded.generation);
                if killed {
                    self.orphan = Some(generation);
                } else if !failed {
                    self.stored = self.tree;
                    self.memory.proof = Some(Proof::Committed);
                }
            }
            Step::StartPod(generation) => {
                assert!(self.orphan.is_none(), "{self:?}");
                assert!(self.pod.is_none_or(|pod| pod.generation == generation), "a second writer: {self:?}");
                assert!(self.tree.is_some(), "a pod without its tree: {self:?}");
                self.recorded.tree = Tree::Kept;
                self.memory.proof = None;
                self.memory.raised = None;
                self.pod = Some(Process { generation, agent: !failed, answers: false, saved: false });
            }
            Step::Follow(generation) => {
                assert_eq!(generation, self.recorded.generation);
                assert!(self.pod.is_some(), "{step:?} where nothing runs: {self:?}");
                if !failed {
                    self.behind = false;
                }
            }
            Step::AwaitReady => match &mut self.pod {
                Some(pod) if failed => pod.agent = false,
                Some(pod) => pod.answers = true,
                None => {}
            },
            Step::Save => {
                self.memory.proof = None;
                if !failed {
                    self.stored = self.tree;
                    self.memory.proof = Some(Proof::Committed);
                }
            }
            Step::ReadBack => {
                self.memory.proof = (!failed).then_some(Proof::ReadBack);
                match &mut self.pod {
                    Some(pod) => pod.saved = !failed,
                    None if !failed => {
                        self.recorded.tree = Tree::Stored;
                        self.memory.proof = None;
                    }
                    None => {}
                }
            }
            Step::Condemn => {
                let served = self.pod.is_some_and(|pod| pod.agent && pod.answers);
                assert!(!served || self.purge || self.pod.is_some_and(|pod| pod.saved), "{self:?}");
                self.recorded.condemned |= !failed;
            }
            Step::Kill | Step::Stop => {
                assert!(self.recorded.condemned, "{self:?}");
                self.memory.proof = None;
                self.write();
                // A half of it may be gone where it fails or where the driver is killed.
                if failed || killed {
                    self.pod = self.pod.map(|pod| Process { agent: false, answers: false, ..pod });
                } else {
                    self.pod = None;
                    self.orphan = None;
                    self.recorded.condemned = false;
                }
            }
            Step::RemoveTree => {
                self.nobody_runs(step);
                self.nothing_lost(step);
                self.recorded.tree = Tree::Partial;
                self.memory.proof = None;
                self.tree = None;
                if !failed && !killed {
                    self.recorded.tree = Tree::Absent;
                }
            }
            Step::Tombstone => {
                self.nobody_runs(step);
                self.nothing_lost(step);
                self.recorded.tombstone |= !failed;
            }
            Step::PurgeSnapshots => {
                assert!(self.purge && self.recorded.tombstone, "{self:?}");
                self.stored = None;
                self.memory.purged = !failed;
            }
            Step::Forget => {
                self.nobody_runs(step);
                assert!(self.tree.is_none(), "{self:?}");
                self.gone = !failed;
            }
        }
        if killed {
            return self.lose_driver();
        }
        if failed {
            let attempts = self.memory.failure.map_or(0, |failure| failure.attempts) + 1;
            self.memory.failure = Some(Failure { attempts, at_ms: self.now_ms });
        }
    }

    fn happen(&mut self, event: Event, wish: &mut Wish) {
        match event {
            Event::Nothing => {}
            Event::Writes => self.write(),
            Event::AgentDies => {
                if let Some(pod) = &mut self.pod {
                    pod.agent = false;
                    pod.answers = false;
                }
            }
            Event::EverythingDies => {
                self.pod = None;
                self.orphan = None;
                self.memory.proof = None;
            }
            Event::Edits => self.behind = self.pod.is_some(),
            Event::Wants(wanted) if !matches!(wish, Wish::Delete { .. }) => {
                *wish = wanted;
                self.purge = wanted == Wish::Delete { purge: true };
                self.memory.failure = None;
                self.memory.proof = None;
            }
            Event::Wants(_) => {}
        }
    }
}

fn wishes() -> impl Strategy<Value = Wish> {
    prop_oneof![
        4 => Just(Wish::Run),
        2 => Just(Wish::Stop),
        4 => Just(Wish::Hibernate),
        1 => Just(Wish::Delete { purge: false }),
        1 => Just(Wish::Delete { purge: true }),
    ]
}

fn events() -> impl Strategy<Value = Event> {
    prop_oneof![
        6 => Just(Event::Nothing),
        3 => Just(Event::Writes),
        1 => Just(Event::AgentDies),
        1 => Just(Event::EverythingDies),
        1 => Just(Event::Edits),
        2 => wishes().prop_map(Event::Wants),
    ]
}

fn fates() -> impl Strategy<Value = Fate> {
    prop_oneof![
        6 => Just(Fate::Succeeds),
        2 => Just(Fate::Fails),
        1 => Just(Fate::KilledBefore),
        1 => Just(Fate::KilledAfter),
    ]
}

/// From any state, without further faults, the wish comes true.
fn converges(world: &mut World, wish: Wish) {
    for round in 0.. {
        assert!(round < 60, "{wish:?} does not come true: {world:?}");
        let steps = plan(wish, &world.observe(), world.now_ms);
        let Some(step) = steps.first().copied() else { break };
        world.perform(step, Fate::Succeeds);
        if world.gone {
            break;
        }
    }
    let last = world.tree == world.stored;
    match wish {
        Wish::Run => assert_eq!(world.observe().pod, Pod::Ready),
        Wish::Stop => assert!(world.pod.is_none() && (world.tree.is_none() || last), "{world:?}"),
        Wish::Hibernate => assert!(world.pod.is_none() && world.tree.is_none(), "{world:?}"),
        Wish::Delete { .. } => assert!(world.gone && world.pod.is_none() && world.tree.is_none(), "{world:?}"),
    }
    if !world.purge && world.tree.is_none() {
        assert_eq!(world.stored.unwrap_or(0), world.written, "the last write is not on the store: {world:?}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 4_000, ..ProptestConfig::default() })]

    #[test]
    fn whatever_fails_nothing_is_lost_and_the_last_wish_comes_true(
        script in prop::collection::vec((events(), fates()), 0..80),
    ) {
        let mut world = World::new();
        let mut wish = Wish::Run;
        for (event, fate) in script {
            world.happen(event, &mut wish);
            let observed = world.observe();
            let steps = plan(wish, &observed, world.now_ms);
            if let Some(Step::WaitUntil(at)) = steps.first() {
                prop_assert!(*at <= world.now_ms + RETRY_MOST_MS);
            }
            if let Some(step) = steps.first() {
                world.perform(*step, fate);
            }
            if world.gone {
                return Ok(());
            }
        }
        converges(&mut world, wish);
    }
}

/// What is read off the plan, where nothing fails.
#[test]
fn the_sagas_read_as_they_should() {
    let g = Generation;
    let fresh = World::new().observe();
    let at = |pod, tree| Observed {
        generation: g(3),
        pod,
        behind: false,
        tree,
        lineage: remora_control_plane_project::Lineage::Live,
        ..fresh
    };
    let steps = |wish, observed: Observed| plan(wish, &observed, 0);
    for (wish, observed, expected) in [
        (
            Wish::Run,
            fresh,
            vec![Step::RaiseGeneration(g(1)), Step::Hydrate(g(1)), Step::StartPod(g(1)), Step::AwaitReady],
        ),
        (Wish::Run, Observed { source: false, ..fresh }, vec![]),
        (Wish::Run, at(Pod::Ready, Tree::Kept), vec![]),
        (
            Wish::Run,
            at(Pod::Absent, Tree::Kept),
            vec![
                Step::RaiseGeneration(g(4)),
                Step::Dehydrate(g(4)),
                Step::ReadBack,
                Step::StartPod(g(4)),
                Step::AwaitReady,
            ],
        ),
        (Wish::Run, at(Pod::Broken, Tree::Kept), vec![Step::StartPod(g(3)), Step::AwaitReady]),
        (Wish::Run, Observed { behind: true, ..at(Pod::Ready, Tree::Kept) }, vec![Step::Follow(g(3))]),
        (
            Wish::Run,
            Observed { behind: true, ..at(Pod::Starting, Tree::Kept) },
            vec![Step::Follow(g(3)), Step::AwaitReady],
        ),
        (
            Wish::Hibernate,
            at(Pod::Ready, Tree::Kept),
            vec![
                Step::Save,
                Step::ReadBack,
                Step::Condemn,
                Step::Stop,
                Step::Dehydrate(g(3)),
                Step::ReadBack,
                Step::RemoveTree,
            ],
        ),
        (
            Wish::Stop,
            at(Pod::Ready, Tree::Kept),
            vec![Step::Save, Step::ReadBack, Step::Condemn, Step::Stop, Step::Dehydrate(g(3)), Step::ReadBack],
        ),
        (Wish::Hibernate, at(Pod::Absent, Tree::Kept), vec![Step::Dehydrate(g(3)), Step::ReadBack, Step::RemoveTree]),
        (Wish::Hibernate, fresh, vec![]),
        (Wish::Delete { purge: false }, fresh, vec![Step::Forget]),
        (
            Wish::Delete { purge: true },
            at(Pod::Ready, Tree::Kept),
            vec![Step::Condemn, Step::Kill, Step::Tombstone, Step::RemoveTree, Step::PurgeSnapshots, Step::Forget],
        ),
        (
            Wish::Delete { purge: false },
            at(Pod::Ready, Tree::Kept),
            vec![
                Step::Save,
                Step::ReadBack,
                Step::Condemn,
                Step::Stop,
                Step::Dehydrate(g(3)),
                Step::ReadBack,
                Step::Tombstone,
                Step::RemoveTree,
                Step::Forget,
            ],
        ),
        (
            Wish::Run,
            at(Pod::Stray, Tree::Partial),
            vec![Step::Sweep, Step::RaiseGeneration(g(4)), Step::Hydrate(g(4)), Step::StartPod(g(4)), Step::AwaitReady],
        ),
    ] {
        assert_eq!(steps(wish, observed), expected, "{wish:?} from {observed:?}");
    }
}

/// The pod serves on while the store is away, and the next attempt waits.
#[test]
fn a_pod_that_cannot_be_saved_serves_on_and_is_tried_again_later() {
    let mut world = World::new();
    converges(&mut world, Wish::Run);
    world.now_ms = 10_000;
    let mut waits = Vec::new();
    for _ in 0..8 {
        let first = |world: &World| plan(Wish::Hibernate, &world.observe(), world.now_ms).first().copied().unwrap();
        assert_eq!(first(&world), Step::Save);
        world.perform(Step::Save, Fate::Fails);
        assert_eq!(world.observe().pod, Pod::Ready);
        let Step::WaitUntil(at) = first(&world) else { panic!("{:?}", first(&world)) };
        waits.push(at - world.now_ms);
        world.now_ms = at;
    }
    assert_eq!(waits, [500, 1_000, 2_000, 4_000, 8_000, 16_000, 30_000, 30_000]);
    world.perform(Step::Save, Fate::Succeeds);
    world.perform(Step::ReadBack, Fate::Fails);
    assert!(matches!(plan(Wish::Hibernate, &world.observe(), world.now_ms)[0], Step::WaitUntil(_)));
    assert_eq!(world.observe().pod, Pod::Ready);
    converges(&mut world, Wish::Hibernate);
}
