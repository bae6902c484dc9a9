//! [`plan`]: from what is wanted and what is there to the steps between.

use remora_proto_model::Generation;
use serde::{Deserialize, Serialize};

use crate::{
    Wish,
    limits::{REPAIR_ATTEMPTS, RETRY_FIRST_MS, RETRY_MOST_MS},
};

/// The project's processes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Pod {
    /// None runs, as the process table says.
    Absent,
    /// Something of the project runs that no pod accounts for: a restore whose
    /// server was killed, a generation that is past.
    Stray,
    /// None runs, and the present generation was raised for a start that goes on.
    Raised,
    /// Some run, and at least one that belongs to it does not.
    Broken,
    /// All run, and not all have answered.
    Starting,
    /// It serves.
    Ready,
    /// It serves, and the agent says that a snapshot of it was committed for its end.
    Saved,
    /// It serves, and we have read that snapshot's root back.
    SavedForSure,
    /// Its end was decided and recorded.
    Condemned,
}

/// The working tree.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Tree {
    /// There is none.
    #[default]
    Absent,
    /// A restore into it began and did not end: it holds nothing of its own.
    Partial,
    /// It may hold what the store has not.
    Kept,
    /// A snapshot holds all of it, as the agent says that made it while nothing
    /// ran. Known only to the driver that watched; after a restart it is [`Tree::Kept`].
    Committed,
    /// We have read that snapshot's root back, and nothing ran since.
    Stored,
}

/// The project's snapshots on the store.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Lineage {
    /// No generation ever ran: nothing is there.
    Unborn,
    /// They are there.
    Live,
    /// A tombstone says that they belong to nobody any more.
    Tombstoned,
    /// They were removed.
    Purged,
}

/// Attempts at the present wish that failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Failure {
    /// How many in a row, from 1.
    pub attempts: u32,
    /// When the last of them failed, in milliseconds since the epoch.
    pub at_ms: u64,
}

/// What is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Observed {
    /// As recorded.
    pub generation: Generation,
    /// The processes.
    pub pod: Pod,
    /// What runs is not what the spec says, and can become that part by part.
    pub behind: bool,
    /// The working tree.
    pub tree: Tree,
    /// The snapshots.
    pub lineage: Lineage,
    /// Whether what it starts from is here.
    pub source: bool,
    /// What failed since the wish changed or was last fulfilled.
    pub failure: Option<Failure>,
}

/// One thing to do. Each is safe to repeat after a crash in its middle.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Step {
    /// End what runs and belongs to no pod, and see it gone.
    Sweep,
    /// Record the next generation by compare-and-swap, before anything is made.
    RaiseGeneration(Generation),
    /// Restore the head into the tree, as this generation.
    Hydrate(Generation),
    /// Commit a tree that nothing writes to, as this generation.
    Dehydrate(Generation),
    /// Start what does not run of the pod.
    StartPod(Generation),
    /// Bring what runs to what the spec says, part by part: what has not changed goes on.
    Follow(Generation),
    /// Wait until every part of it answers.
    AwaitReady,
    /// Let the agent commit what is there, while it serves on: what stands in the
    /// way of the end shows before anything has ended.
    Save,
    /// Read the snapshot's root from the store and compare it with the agent's word.
    ReadBack,
    /// Record that this generation's processes are to end.
    Condemn,
    /// Let them end as they like (SIGTERM, then the grace), and see them gone.
    /// What they write meanwhile goes into the tree, which is committed after that.
    Stop,
    /// End them at once and see them gone: nobody wants what they hold.
    Kill,
    /// Remove the working tree.
    RemoveTree,
    /// Write to the store that the project is gone, before anything of it goes.
    Tombstone,
    /// Remove its snapshots.
    PurgeSnapshots,
    /// Remove its folder and its record.
    Forget,
    /// Do nothing before this time, in milliseconds since the epoch.
    WaitUntil(u64),
}

/// The steps from what is there to what is wanted, as far as they can be
/// foreseen if each succeeds; none when nothing is to be done.
pub fn plan(wish: Wish, observed: &Observed, now_ms: u64) -> Vec<Step> {
    let mut state = *observed;
    let mut steps = Vec::new();
    while let Some(step) = next(wish, &state) {
        let due = state.failure.map_or(0, retry_at_ms);
        if now_ms < due {
            steps.push(Step::WaitUntil(due));
            break;
        }
        steps.push(step);
        if step == Step::Forget {
            break;
        }
        state = state.after(step);
    }
    steps
}

fn next(wish: Wish, observed: &Observed) -> Option<Step> {
    use Pod::{Absent, Broken, Condemned, Raised, Ready, Saved, SavedForSure, Starting, Stray};
    let purge = matches!(wish, Wish::Delete { purge: true });
    match observed.pod {
        Stray => Some(Step::Sweep),
        Condemned if purge => Some(Step::Kill),
        Condemned => Some(Step::Stop),
        Broken | Starting | Ready | Saved | SavedForSure if purge => Some(Step::Condemn),
        Broken | Starting if wish != Wish::Run && gave_up(observed) => Some(Step::Condemn),
        Broken => Some(Step::StartPod(observed.generation)),
        // Before it is waited for: one part may wait for another that is not made yet.
        Starting | Ready | Saved | SavedForSure if wish == Wish::Run && observed.behind => {
            Some(Step::Follow(observed.generation))
        }
        Starting => Some(Step::AwaitReady),
        Ready | Saved | SavedForSure if wish == Wish::Run => None,
        Ready => Some(Step::Save),
        Saved => Some(Step::ReadBack),
        SavedForSure => Some(Step::Condemn),
        Absent | Raised => at_rest(wish, observed),
    }
}

fn gave_up(observed: &Observed) -> bool {
    observed.failure.is_some_and(|failure| failure.attempts >= REPAIR_ATTEMPTS)
}

/// What to do where nothing runs.
fn at_rest(wish: Wish, observed: &Observed) -> Option<Step> {
    let Observed { generation, pod, tree, lineage, source, .. } = *observed;
    let committed = match tree {
        Tree::Absent | Tree::Partial | Tree::Stored => None,
        Tree::Kept => Some(Step::Dehydrate(generation)),
        Tree::Committed => Some(Step::ReadBack),
    };
    match wish {
        Wish::Run if !source => None,
        Wish::Run if pod == Pod::Absent => Some(Step::RaiseGeneration(generation.next())),
        Wish::Run => committed.or(Some(match tree {
            Tree::Absent | Tree::Partial => Step::Hydrate(generation),
            _ => Step::StartPod(generation),
        })),
        Wish::Stop => committed,
        Wish::Hibernate => committed.or((tree != Tree::Absent).then_some(Step::RemoveTree)),
        Wish::Delete { purge } => committed.filter(|_| !purge).or(Some(match lineage {
            Lineage::Live => Step::Tombstone,
            _ if tree != Tree::Absent => Step::RemoveTree,
            Lineage::Tombstoned if purge => Step::PurgeSnapshots,
            _ => Step::Forget,
        })),
    }
}

fn retry_at_ms(failure: Failure) -> u64 {
    let doublings = failure.attempts.saturating_sub(1).min(u64::BITS - 1);
    let wait = RETRY_FIRST_MS.saturating_mul(1 << doublings).min(RETRY_MOST_MS);
    failure.at_ms.saturating_add(wait)
}

impl Observed {
    /// What `step` leaves behind where it succeeds.
    #[must_use]
    pub fn after(mut self, step: Step) -> Observed {
        match step {
            Step::Sweep => self.pod = Pod::Absent,
            Step::RaiseGeneration(generation) => {
                self.generation = generation;
                self.pod = Pod::Raised;
                self.lineage = Lineage::Live;
                // Whoever owns the disk may have worked in it since it was stored.
                if self.tree == Tree::Stored {
                    self.tree = Tree::Kept;
                }
            }
            Step::Hydrate(_) => self.tree = Tree::Stored,
            Step::Dehydrate(_) => self.tree = Tree::Committed,
            Step::StartPod(_) => {
                self.pod = Pod::Starting;
                self.tree = Tree::Kept;
            }
            Step::Follow(_) => self.behind = false,
            Step::AwaitReady => self.pod = Pod::Ready,
            Step::Save => self.pod = Pod::Saved,
            Step::ReadBack if self.pod == Pod::Saved => self.pod = Pod::SavedForSure,
            Step::ReadBack => self.tree = Tree::Stored,
            Step::Condemn => self.pod = Pod::Condemned,
            Step::Stop | Step::Kill => {
                self.pod = Pod::Absent;
                self.tree = Tree::Kept;
            }
            Step::RemoveTree => self.tree = Tree::Absent,
            Step::Tombstone => self.lineage = Lineage::Tombstoned,
            Step::PurgeSnapshots => self.lineage = Lineage::Purged,
            Step::Forget | Step::WaitUntil(_) => {}
        }
        self
    }
}
