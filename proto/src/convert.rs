//! The contract's messages as validated types: one file per `.proto`, for
//! clients before they send and for servers before they act.

pub mod control;
pub mod files;
pub mod snapshot;
