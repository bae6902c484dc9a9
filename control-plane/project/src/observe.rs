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
    /// It began a final snapshot, so the writers are held or may be.
    pub held: bool,
    /// What that snapshot, or one of a tree at rest, has shown of the tree since.
    pub proof: Option<Tree>,
    /// It has removed the snapshots.
    pub purged: bool,
    /// Its failed attempts.
    pub failure: Option<Failure>,
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
        _ if memory.held => Pod::Held,
        Seen { missing: 1.., .. } => Pod::Broken,
        Seen { ready: true, .. } => Pod::Ready,
        _ => Pod::Starting,
    };
    let tree = match pod {
        Pod::Broken | Pod::Starting | Pod::Ready => Tree::Kept,
        Pod::Held | Pod::Condemned => memory.proof.unwrap_or(Tree::Kept),
        Pod::Absent | Pod::Raised => memory.proof.unwrap_or(recorded.tree),
        Pod::Stray => recorded.tree,
    };
    let lineage = match recorded {
        _ if memory.purged => Lineage::Purged,
        Recorded { tombstone: true, .. } => Lineage::Tombstoned,
        Recorded { generation: Generation(0), .. } => Lineage::Unborn,
        _ => Lineage::Live,
    };
    Observed { generation: recorded.generation, pod, tree, lineage, source: recorded.source, failure: memory.failure }
}
