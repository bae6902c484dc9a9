//! What a process that serves has, whatever it serves: logs, calls in flight,
//! bodies that linger, and connections within bounds. Both binaries stand on it;
//! it knows the contract's words and nothing of agents or projects.

pub mod calls;
pub mod connections;
pub mod limits;
pub mod linger;
pub mod logging;
pub mod workers;
