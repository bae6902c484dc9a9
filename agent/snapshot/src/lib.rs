//! The snapshot engine: what a workspace is on an object store, and the way
//! there and back. No RPC is known here; `docs/snapshot-format.md` describes
//! the stored objects.

mod create;
mod diff;
mod error;
mod export;
pub mod format;
mod info;
pub mod limits;
mod lineage;
mod manifest;
mod measure;
mod progress;
mod prune;
mod restore;
mod rules;
mod state;
pub mod store;
mod tree;
mod verify;

pub use create::{CreateOptions, TreeBounds, create};
pub use diff::{Change, Difference, DifferenceSink, diff_living, diff_snapshots};
pub use error::{SnapshotError, shown};
pub use export::{Exported, Packing, export};
pub use info::{SnapshotInfo, StoredRoot};
pub use lineage::{Lineage, SnapshotPage};
pub use measure::{Baseline, Dirty};
pub use progress::{Counts, Progress, Silent, Stage};
pub use prune::{Candidate, Pruned, Retention, prune, retain};
pub use restore::{KeepOut, RestoreObserver, Restored, restore};
pub use rules::{RULES_FILE, Rules};
pub use state::{Awakening, Origin, WorkspaceState, awaken, content_of};
pub use tree::Refused;
pub use verify::{Damage, Verified, VerifyObserver, verify};
