//! Answers of the agent as `-o json` and tables show them. Projects and keys
//! have their form from the contract's model; these are what has none there.

mod access_token;
pub(crate) mod file;
mod orphan;
pub(crate) mod project;
pub(crate) mod snapshot;
pub(crate) mod terminal;
