//! Where the control plane's decisions happen: the durable state, the identities,
//! one driver task a project, and the processes of the local runtime.
//!
//! [`Projects`] is the whole surface. What is to happen next is decided in
//! `remora-control-plane-project`; nothing here decides, everything here acts.

mod agents;
mod config;
pub mod identity;
pub mod limits;
mod local;
mod orphans;
pub mod pods;
mod projects;
pub mod records;
pub mod state;
mod store;
mod termination;

pub use config::{RuntimeConfig, Shutdown, StoreCredentials, StoreEndpoint, WebIdentity};
pub use projects::{
    AgentHandle, Change, ChangeKind, Minted, Parts, Projects, Restored, Settings, SnapshotExport, SourceUpload,
};
pub use state::State;
pub use store::{Committed, Presigned, PresignedUrl, Store, lineage_prefix};
pub use termination::Termination;
