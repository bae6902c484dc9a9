//! Processes as Linux shows them in /proc (proc(5)): told from a later one of the same
//! number, found by parentage or by a mark in their environment, and sent signals. Both
//! binaries end what they started with it: the agent a session, the local runtime a pod.

mod environment;
mod identity;
pub mod limits;
mod stat;

pub use environment::{environments, variables};
pub use identity::Identity;
pub use stat::{Stat, all, descendants, look};
