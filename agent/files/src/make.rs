//! Mkdir, Symlink and ReadLink: single entries without content.

use std::{ffi::OsStr, os::unix::ffi::OsStrExt as _};

use remora_agent_root::{EntryKind, RelPath, Root, limits::MAX_PATH_BYTES};
use remora_proto_model::Reason;
use rustix::{
    fs::{Mode, mkdirat, symlinkat},
    io::Errno,
};

use crate::{FileError, write::exists};

/// Makes the directory at `path`. With `parents`, also those above it, and one
/// that exists is fine.
pub fn mkdir(root: &Root, path: &RelPath, parents: bool, mode: u32) -> Result<(), FileError> {
    if mode > 0o7777 {
        return Err(FileError::refused(Reason::InvalidArgument, "mode: more than permission bits", "send 0 to 07777"));
    }
    let mode = Mode::from_raw_mode(mode);
    if parents {
        root.mkdir_all(path, mode)?;
        return Ok(());
    }
    let (dir, name) = root.open_parent(path)?;
    mkdirat(dir, name, mode).map_err(|errno| match errno {
        Errno::EXIST => exists(path),
        errno => FileError::system("make the directory", path, errno),
    })
}

/// Makes a symbolic link at `path`. The target is only words: it may lead
/// nowhere or out, and is refused when something is resolved through it.
pub fn symlink(root: &Root, path: &RelPath, target: &[u8]) -> Result<(), FileError> {
    if target.is_empty() || target.len() > MAX_PATH_BYTES || target.contains(&0) {
        return Err(FileError::refused(
            Reason::InvalidArgument,
            "target: must be 1 to 4095 bytes without NUL",
            "send the text that the link is to hold",
        ));
    }
    let (dir, name) = root.open_parent(path)?;
    symlinkat(OsStr::from_bytes(target), dir, name).map_err(|errno| match errno {
        Errno::EXIST => exists(path),
        errno => FileError::system("make the link", path, errno),
    })
}

/// The target of the link at `path`, as its bytes.
pub fn read_link(root: &Root, path: &RelPath) -> Result<Vec<u8>, FileError> {
    let kind = EntryKind::of_mode(root.stat(path, false)?.st_mode);
    if kind != EntryKind::Symlink {
        return Err(FileError::refused(
            Reason::InvalidArgument,
            format!("\"{path}\" is a {}, not a symbolic link", kind.as_str()),
            "use Stat to see what is there",
        ));
    }
    Ok(root.read_link(path)?)
}
