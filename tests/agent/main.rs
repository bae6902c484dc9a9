//! The agent as its callers meet it: a real process, real TLS, real bytes.

mod accept;
mod auth;
mod drain;
mod snapshot_store;
mod start;
