//! The server side of `remora`: projects over gRPC and REST, the way through to
//! their agents, and the store that snapshots go to where no other is named.

mod accept;
mod audit;
mod auth;
mod bucket;
mod config;
mod control;
mod front;
mod gate;
mod grpc;
pub mod limits;
mod metrics;
mod private_file;
mod proxy;
mod rest;
mod roles;
mod server;

pub use config::{ClusterArgs, Runtime, ServeArgs, ServerArgs};
pub use roles::{local, server};
