//! The agent's parts together, with real processes, files and servers.

mod snapshot_store;
