//! The local runtime: a project's pod is an agent process and a shim process per
//! container on this machine.

pub(crate) mod layout;
