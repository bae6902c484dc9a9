//! [`Wish`]: what is to become of a project.

use remora_proto_model::project::Desired;

/// What is wanted: the spec's word, or the end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Wish {
    /// A pod that serves.
    Run,
    /// No pod; the tree stays, and the store has all of it.
    Stop,
    /// Neither pod nor tree; the store has all of it.
    Hibernate,
    /// No project.
    Delete {
        /// Without a final snapshot, and with the snapshots that are there.
        purge: bool,
    },
}

impl From<Desired> for Wish {
    fn from(desired: Desired) -> Self {
        match desired {
            Desired::Running => Wish::Run,
            Desired::Stopped => Wish::Stop,
            Desired::Hibernated => Wish::Hibernate,
        }
    }
}
