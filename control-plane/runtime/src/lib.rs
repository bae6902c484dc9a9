//! Where the control plane's decisions happen: the durable state, the identities,
//! one driver task a project, and the processes of the local runtime.
//!
//! [`Projects`] is the whole surface. What is to happen next is decided in
//! `remora-control-plane-project`; nothing here decides, everything here acts.

mod agents;
mod config;
mod identity;
pub mod limits;
mod local;
mod projects;
pub mod state;
mod store;

pub use config::{RuntimeConfig, Shutdown, StoreEndpoint};
pub use projects::{AgentHandle, Change, ChangeKind, Minted, Projects, Restored};
pub use state::State;
