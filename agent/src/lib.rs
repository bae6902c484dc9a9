//! The agent that rides along in every project: its roles and what they share.

pub mod snapshot_args;
