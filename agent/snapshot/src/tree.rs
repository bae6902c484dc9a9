//! The living workspace, by descriptors: the way to a directory that passes no
//! link, a walk in the order of manifests, and what is set on an entry.

mod attributes;
mod cursor;
mod walk;

pub use attributes::Refused;
pub(crate) use attributes::{apply, apply_to_link, differs, extended, extended_of_link, same_stat, set_mtime};
pub(crate) use cursor::{Cursor, split};
pub(crate) use walk::{Found, Ignored, Step, Walk};
