//! What any running server must do, asked from outside by its address and a key: in a
//! cluster as a Job, and by `cargo test` of one on this machine.
//!
//! A case asserts effects (bytes, exit codes, what the cluster's own API says) and panics
//! where they are missing. Each makes projects of its own and removes them at its end;
//! those of a case that failed stay, for whoever looks why.

pub mod bench;
pub mod cases;
pub mod cli;
mod cluster;
mod control_plane;
pub mod harness;
mod host;
mod ingress;
mod junit;
mod patience;
mod program;
mod project;
pub mod pty;
mod remote;
pub mod rest;
pub mod soak;
mod store;
pub mod streams;
pub mod target;
mod token_service;
