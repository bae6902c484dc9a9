//! The control plane against an API server over real HTTP that fails in every way it can:
//! its drivers, its records and what it makes of pods.

mod agent;
mod bucket;
mod claims;
mod faults;
#[path = "../http/server.rs"]
mod http_server;
mod kubelet;
mod lists;
mod objects;
mod place;
mod records;
mod restarts;
mod reuse;
mod server;
mod site;
mod skew;
mod stalls;
mod storms;
mod stuck;
