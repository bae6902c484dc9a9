//! The snapshot engine: what a workspace is on an object store, and the way
//! there and back. No RPC is known here; `docs/snapshot-format.md` describes
//! the stored objects.

pub mod store;
