//! Files and folders on their way between this machine and a project.
//!
//! ```text
//!   folder ─ pack (thread) ─ tar.zst ─ chunks ─► upload ─► server
//!   folder ◄─ unpack (thread) ◄─ tar.zst ◄─ chunks ◄─ download ◄─ server
//! ```
//!
//! Every arrow is bounded, so that a transfer of any size needs the same memory.

pub(crate) mod chunks;
pub(crate) mod download;
pub(crate) mod local_tree;
pub(crate) mod pack;
pub(crate) mod unpack;
pub(crate) mod upload;
