//! The agent as its callers meet it: a real process, real TLS, real bytes.

mod accept;
mod auth;
mod cli;
mod drain;
mod files;
mod in_pod;
mod relay;
mod skew;
mod snapshot_author;
mod snapshot_export;
mod snapshot_hostile;
mod snapshot_hydrate;
mod snapshot_kill;
mod snapshot_project;
mod snapshot_quiet;
mod snapshot_races;
mod snapshot_round_trip;
mod snapshot_service;
mod snapshot_store;
mod snapshot_store_faults;
mod snapshot_store_kill;
mod start;
mod web_identity;
