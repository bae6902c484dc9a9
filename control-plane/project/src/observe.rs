//! [`observe`]: what is recorded, remembered and seen, as one [`Observed`].

use remora_proto_model::Generation;

use crate::{Failure, Lineage, Observed, Pod, Tree};

/// What is on the disk: it outlives the driver.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Recorded {
    /// The present generation; 0 before the first start.
    pub generation: Generation,
    /// The working tree as recorded before its last change: never better than it is.
    pub tree: Tree,
    /// Whether the end of its processes was decided and not seen done.
    pub condemned: bool,
    /// Whether the tombstone is on the store.
    pub tombstone: bool,
    /// Whether what it starts from is here.
    pub source: bool,
}

/// What the driver knows of its own steps: gone when it is killed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Memory {
    /// The generation that it raised and started nothing of.
    pub raised: Option<Generation>,
    /// The snapshot that it had made last for an end that is wanted.
    pub proof: Option<Proof>,
    /// It has removed the snapshots.
    pub purged: bool,
    /// Its failed attempts.
    pub failure: Option<Failure>,
}

/// How sure a snapshot is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Proof {
    /// The agent says that it is committed.
    Committed,
    /// We have read its root back.
    ReadBack,
}

/// What the process table and the agent say.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Seen {
    /// Something of the project runs that is no part of the present pod.
    pub strays: bool,
    /// Parts of the pod that run.
    pub running: usize,
    /// Parts of the pod that do not.
    pub missing: usize,
    /// What runs is not what the spec says, and can become that part by part.
    pub behind: bool,
    /// Its agent says that every part answers.
    pub ready: bool,
}

/// Puts the three together.
pub fn observe(recorded: &Recorded, memory: &Memory, seen: &Seen) -> Observed {
    let pod = match seen {
        _ if recorded.condemned => Pod::Condemned,
        Seen { strays: true, .. } => Pod::Stray,
        Seen { running: 0, .. } if memory.raised == Some(recorded.generation) => Pod::Raised,
        Seen { running: 0, .. } => Pod::Absent,
        Seen { missing: 1.., .. } => Pod::Broken,
        Seen { ready: false, .. } => Pod::Starting,
        _ => match memory.proof {
            None => Pod::Ready,
            Some(Proof::Committed) => Pod::Saved,
            Some(Proof::ReadBack) => Pod::SavedForSure,
        },
    };
    let tree = match (pod, memory.proof) {
        (Pod::Absent | Pod::Raised, Some(Proof::Committed)) if recorded.tree == Tree::Kept => Tree::Committed,
        (Pod::Absent | Pod::Raised | Pod::Stray, _) => recorded.tree,
        _ => Tree::Kept,
    };
    let lineage = match recorded {
        _ if memory.purged => Lineage::Purged,
        Recorded { tombstone: true, .. } => Lineage::Tombstoned,
        Recorded { generation: Generation(0), .. } => Lineage::Unborn,
        _ => Lineage::Live,
    };
    Observed {
        generation: recorded.generation,
        pod,
        behind: seen.behind,
        tree,
        lineage,
        source: recorded.source,
        failure: memory.failure,
    }
}
