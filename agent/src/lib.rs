//! `remora-agent`: rides along in every dev-server pod. One module a role or a
//! part of `serve`; the engines are crates of their own.

mod accept;
mod answers;
pub mod app;
pub mod auth;
pub mod config;
mod folders;
pub mod gates;
pub mod hydrate;
pub mod install;
pub mod last_snapshot;
pub mod limits;
mod metrics;
pub mod precopy;
mod probes;
mod requests;
mod rpc;
pub mod serve;
pub mod shim;
pub mod shims;
pub mod snapshot_args;
mod snapshots;
mod termination;
pub mod usage;
