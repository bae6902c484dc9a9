//! What is to happen to a project next, decided without touching anything.
//!
//! [`plan`] takes what is wanted and what is there and names the steps to get
//! from one to the other; [`Observed::after`] says what a step leaves behind.
//! One driver a project (in `control-plane/runtime`) performs the first step,
//! looks again, and plans anew, so that it can be killed between any two.
//!
//! ```text
//!                      RaiseGeneration         Hydrate (no tree)            StartPod      AwaitReady
//!  Absent ───────────────────────────► Raised ───────────────────► Raised ─────────► Starting ────► Ready
//!    ▲                                        Dehydrate, ReadBack               ▲       a process of it │
//!    │                                        (a tree that was kept)            └─ Broken ◄─ ended ─────┤
//!    │                                                                        StartPod                  │
//!    │  Kill, Stop          Condemn (durable)     ReadBack            FinalSnapshot                     │
//!    └─────── Condemned ◄─────────────────── Held ◄──────── Held ◄──────────────────────────────────────┘
//!                                            (Stored)     (Committed) ── any failure: Thaw at once ──► Ready
//!
//!  then, asleep: Stored ─RemoveTree─► no tree          stopped: the tree stays, and is committed once more
//!  deleted: Tombstone ─► RemoveTree ─► (purge: PurgeSnapshots) ─► Forget
//! ```
//!
//! What holds whatever fails and whenever the driver is killed (`tests/sagas.rs`):
//!
//! - nothing writes at a generation while anything of another one may still run;
//! - a pod that serves is ended only after its last snapshot was read back from
//!   the store while its writers were held, or because the owner purges;
//! - a tree is removed only when it was read back and nothing wrote since, when
//!   it never was whole, or because the owner purges;
//! - writers are never left held while a failed attempt waits for its turn.

mod limits;
mod observe;
mod phase;
mod plan;
mod wish;

pub use limits::{REPAIR_ATTEMPTS, RETRY_FIRST_MS, RETRY_MOST_MS};
pub use observe::{Memory, Recorded, Seen, observe};
pub use phase::phase;
pub use plan::{Failure, Lineage, Observed, Pod, Step, Tree, plan};
pub use wish::Wish;
