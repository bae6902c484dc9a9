//! Confined paths: the only code that resolves a path a client sent.
//!
//! [`RelPath`] is a path that is safe to *look at* (relative, bounded, no NUL,
//! no lexical way out). [`Root`] is a directory descriptor that resolves such a
//! path so that the result is below it, whatever is renamed or linked meanwhile:
//! by `openat2(RESOLVE_BENEATH | RESOLVE_NO_MAGICLINKS)` where the kernel has it,
//! else by a walk over descriptors with the same guarantee ([`Resolver`]).
//!
//! Whoever changes the tree asks for a descriptor of the parent
//! ([`Root::open_parent`]) and then acts on a single name relative to it, so
//! that nothing is ever resolved twice.

mod dir;
mod error;
mod kernel;
pub mod limits;
mod rel_path;
mod root;
mod walk;

pub use dir::{DirEntry, EntryKind, ReadDir, read_dir};
pub use error::RootError;
pub use rel_path::RelPath;
pub use root::{Resolver, Root};
