//! The services: the only place that binds the engines to tonic.

pub(crate) mod agent;
mod archive_chunks;
pub(crate) mod exec;
pub(crate) mod files;
mod relay;
pub(crate) mod snapshot;
pub(crate) mod terminal;
