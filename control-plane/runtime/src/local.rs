//! The local runtime: a project's pod is an agent process and a shim process per
//! container on this machine.
//!
//! A process is found again by the mark in its environment and told from a later
//! one of its number by its start time; a bare pid means nothing. The processes
//! are this user's, as is everything that a project runs: the local runtime
//! keeps projects apart from each other's mistakes, not from each other's malice.

pub(crate) mod agent;
pub(crate) mod environment;
pub(crate) mod layout;
pub(crate) mod logs;
pub(crate) mod once;
pub(crate) mod pod;
pub(crate) mod pods;
pub(crate) mod process;
pub(crate) mod runtime;

pub(crate) use self::runtime::Local;
