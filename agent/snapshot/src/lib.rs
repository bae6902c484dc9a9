//! The snapshot engine: what a workspace is on an object store, and the way
//! there and back. No RPC is known here; `docs/snapshot-format.md` describes
//! the stored objects.

mod error;
pub mod format;
mod info;
pub mod limits;
mod lineage;
mod manifest;
mod progress;
mod restore;
pub mod store;
mod tree;

pub use error::{SnapshotError, shown};
pub use info::{SnapshotInfo, StoredRoot};
pub use lineage::{Lineage, SnapshotPage};
pub use progress::{Counts, Progress, Silent, Stage};
pub use restore::{KeepOut, RestoreObserver, Restored, restore};
pub use tree::Refused;
