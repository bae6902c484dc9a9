//! What is to happen to a project next, decided without touching anything.
//!
//! [`plan`] takes what is wanted and what is there and names the steps to get
//! from one to the other; [`Observed::after`] says what a step leaves behind.
//! One driver a project (in `control-plane/runtime`) performs the first step,
//! looks again, and plans anew, so that it can be killed between any two.
//!
//! ```text
//!             RaiseGeneration            Hydrate (no tree)             StartPod           AwaitReady
//!  Absent ──────────────────► Raised ─────────────────────► Raised ───────────► Starting ─────────► Ready
//!    ▲                               Dehydrate, ReadBack                 ▲       a process of it has   │
//!    │                               (a tree that was kept)              └─ Broken ◄── ended ──────────┤
//!    │                                                                  StartPod                       │
//!    │   Stop        Condemn (durable)           ReadBack         Save                                 │
//!    └──────── Condemned ◄──────── SavedForSure ◄──────── Saved ◄──────────────────────────────────────┘
//!                                                  a failure: it serves on, and the next attempt waits
//!
//!  then: Kept ─Dehydrate─► Committed ─ReadBack─► Stored ─(asleep) RemoveTree─► no tree
//!  deleted: Tombstone ─► RemoveTree ─► (purge: PurgeSnapshots) ─► Forget
//! ```
//!
//! An end saves twice: once while the pod serves, since that can fail without
//! harm, and once when nothing runs any more, since only that holds the last
//! byte (docs/adr/0005-a-pod-is-saved-before-and-after-it-ends.md).
//!
//! What holds whatever fails and whenever the driver is killed (`tests/sagas.rs`):
//!
//! - nothing writes at a generation while anything of another one may still run;
//! - a pod that serves is ended only after a snapshot of it was read back from
//!   the store, or because the owner purges;
//! - a tree is removed only when a snapshot that was made while nothing ran was
//!   read back and nothing ran since, when it never was whole, or because the
//!   owner purges.

mod hosts;
mod idle;
mod limits;
mod observe;
mod phase;
mod plan;
mod wish;

pub use hosts::{Whose, exposed, host_label, port_of, whose};
pub use idle::{Idleness, Usage, goes_on, idleness};
pub use limits::{REPAIR_ATTEMPTS, RETRY_FIRST_MS, RETRY_MOST_MS};
pub use observe::{Memory, Proof, Recorded, Seen, observe};
pub use phase::phase;
pub use plan::{Failure, Lineage, Observed, Pod, Step, Tree, plan};
pub use wish::Wish;
