//! Stat: what is at a path.

use remora_agent_root::{EntryKind, RelPath, Root};
use rustix::fs::Stat;

use crate::{FileError, etag};

/// What is known of one entry without reading it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Metadata {
    /// What it is.
    pub kind: EntryKind,
    /// Permission bits with set-id and sticky bits.
    pub mode: u32,
    /// Length in bytes.
    pub size: u64,
    /// Bytes that the file system holds for it, less than `size` where there are holes.
    pub allocated: u64,
    /// Last change of its content, seconds since the epoch.
    pub modified_seconds: i64,
    /// The nanoseconds within that second.
    pub modified_nanos: u32,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// Names it has.
    pub links: u64,
    /// Its version; changes with every write.
    pub etag: String,
    /// Where a symbolic link leads, as its bytes.
    pub link_target: Option<Vec<u8>>,
}

impl Metadata {
    pub(crate) fn of(stat: &Stat) -> Self {
        Metadata {
            kind: EntryKind::of_mode(stat.st_mode),
            mode: stat.st_mode & 0o7777,
            size: u64::try_from(stat.st_size).unwrap_or(0),
            allocated: u64::try_from(stat.st_blocks).unwrap_or(0) * 512,
            modified_seconds: stat.st_mtime,
            modified_nanos: u32::try_from(stat.st_mtime_nsec).unwrap_or(0),
            uid: stat.st_uid,
            gid: stat.st_gid,
            links: stat.st_nlink,
            etag: etag::of(stat),
            link_target: None,
        }
    }
}

/// What is at `path`; with `follow` a last link is followed.
pub fn stat(root: &Root, path: &RelPath, follow: bool) -> Result<Metadata, FileError> {
    let mut metadata = Metadata::of(&root.stat(path, follow)?);
    if metadata.kind == EntryKind::Symlink {
        metadata.link_target = Some(root.read_link(path)?);
    }
    Ok(metadata)
}
