//! The data plane: what the agent of a project does, as JSON over HTTP. Each
//! handler maps one request onto one call of `remora.agent.v1`, which goes through
//! the proxy as a gRPC client's would.
//!
//! What is cut says so and says how to get the rest, in words that a language
//! model can act on.

mod agent;
pub(super) mod changes;
pub(super) mod commands;
pub(super) mod content;
pub(super) mod edit;
pub(super) mod entries;
pub(super) mod exec;
mod path_bytes;
pub(super) mod search;
mod shown;
pub(super) mod terminals;
