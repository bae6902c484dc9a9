//! The services: the only place that binds the engines to tonic.

pub(crate) mod agent;
pub(crate) mod exec;
pub(crate) mod files;
pub(crate) mod snapshot;
mod relay;
pub(crate) mod terminal;
