//! What callers are told.

use remora_proto_model::project::Project;

/// What happened to a project.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ChangeKind {
    /// It was made.
    Added,
    /// Its spec or its status changed.
    Modified,
    /// It is gone, and this is what it was last.
    Deleted,
}

/// One change of one project.
#[derive(Clone, Debug, PartialEq)]
pub struct Change {
    /// What happened.
    pub kind: ChangeKind,
    /// The project after it.
    pub project: Project,
}

/// A restore that is done.
#[derive(Clone, Debug, PartialEq)]
pub struct Restored {
    /// The project after it.
    pub project: Project,
    /// Id of the snapshot of what was there before.
    pub before: String,
    /// Id of the snapshot that is the newest now.
    pub head: String,
}
