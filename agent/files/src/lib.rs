//! File operations on a confined [`Root`](remora_agent_root::Root), one verb a
//! file. Synchronous: whoever serves them runs them where blocking is allowed.
//!
//! Every verb resolves a path once, through the root, and then acts on
//! descriptors and single names, so a rename or a link planted meanwhile can
//! make it fail but cannot make it act outside.

mod archive;
mod archive_get;
mod archive_put;
mod copy;
mod edit;
mod error;
mod etag;
mod glob;
mod grep;
mod ignore_rules;
pub mod limits;
mod list;
mod make;
mod move_entry;
mod page_token;
mod patterns;
mod read;
mod remove;
mod selection;
mod set_attr;
mod stat;
mod stop;
mod tree_walk;
mod unfinished;
mod watch;
mod write;

pub use archive::{ArchiveFormat, ArchiveSummary};
pub use archive_get::archive_get;
pub use archive_put::archive_put;
pub use copy::copy;
pub use edit::{Change, FileEdit, FileEdited, edit};
pub use error::FileError;
pub use glob::{GlobQuery, Globbed, glob};
pub use grep::{Grep, GrepHow, GrepMode, GrepResult, GrepSummary};
pub use list::{ListQuery, Listing, list};
pub use make::{mkdir, read_link, symlink};
pub use move_entry::move_entry;
pub use read::{LineFormat, Page, Range, read};
pub use remove::remove;
pub use set_attr::{Attributes, Time, set_attr};
pub use stat::{Metadata, stat};
pub use stop::Stop;
pub use unfinished::clear_unfinished;
pub use watch::{Batch as WatchBatch, Change as WatchChange, ChangeKind, Watch, WatchOptions, Watcher};
pub use write::{Condition, WriteOptions, Writer, Written};
