//! Remove: an entry, or a whole tree by its descriptors.
//!
//! The tree is emptied without recursion and with a bounded number of open
//! directories: what lies deeper than the bound is first moved up to the top
//! of the tree that goes, under a name of ours, and emptied from there.

use std::{
    ffi::{OsStr, OsString},
    os::fd::{AsFd, OwnedFd},
};

use remora_agent_root::{EntryKind, ReadDir, RelPath, Root, read_dir};
use remora_proto_model::Reason;
use rustix::{
    fs::{AtFlags, Mode, OFlags, openat, renameat, statat, unlinkat},
    io::Errno,
};

use crate::{FileError, limits::MAX_REMOVE_DEPTH, unfinished::hidden_name};

/// Removes the entry at `path`; a directory with entries only where `recursive`.
/// A link is removed, not what it names. A recursive removal that fails half
/// way has removed some; repeating it goes on.
pub fn remove(root: &Root, path: &RelPath, recursive: bool) -> Result<(), FileError> {
    let (dir, name) = root.open_parent(path)?;
    remove_at(&dir, &name, recursive).map_err(|errno| match errno {
        Errno::NOTEMPTY => FileError::refused(
            Reason::DirectoryNotEmpty,
            format!("the directory \"{path}\" has entries"),
            "ask for a recursive removal to remove them too",
        ),
        errno => FileError::system("remove", path, errno),
    })
}

pub(crate) fn remove_at(dir: &OwnedFd, name: &OsStr, recursive: bool) -> Result<(), Errno> {
    match unlinkat(dir, name, AtFlags::empty()) {
        // Linux answers EISDIR, POSIX allows EPERM.
        Err(Errno::ISDIR | Errno::PERM) if is_directory(dir, name)? => {}
        result => return result,
    }
    match unlinkat(dir, name, AtFlags::REMOVEDIR) {
        Err(Errno::NOTEMPTY | Errno::EXIST) if recursive => {}
        Err(Errno::EXIST) => return Err(Errno::NOTEMPTY),
        result => return result,
    }
    let top = open_child(dir, name)?;
    // Others may put entries in while it is emptied: they are given a few rounds.
    for _ in 0..64 {
        while empty(&top)? == Round::BroughtUp {}
        match unlinkat(dir, name, AtFlags::REMOVEDIR) {
            Err(Errno::NOTEMPTY | Errno::EXIST) => {}
            result => return result,
        }
    }
    Err(Errno::NOTEMPTY)
}

fn is_directory(dir: &OwnedFd, name: &OsStr) -> Result<bool, Errno> {
    Ok(EntryKind::of_mode(statat(dir, name, AtFlags::SYMLINK_NOFOLLOW)?.st_mode) == EntryKind::Directory)
}

fn open_child(dir: impl AsFd, name: &OsStr) -> Result<OwnedFd, Errno> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    openat(dir, name, flags, Mode::empty())
}

#[derive(PartialEq, Eq)]
enum Round {
    /// All that could be seen is gone.
    Done,
    /// Something deep is now at the top and waits for another round.
    BroughtUp,
}

struct Level {
    fd: OwnedFd,
    entries: ReadDir,
    /// Its name in the level above.
    name: OsString,
}

fn empty(top: &OwnedFd) -> Result<Round, Errno> {
    let mut round = Round::Done;
    let mut levels: Vec<Level> = Vec::new();
    let mut top_entries = read_dir(top)?;
    loop {
        let depth = levels.len();
        let (here, entry) = match levels.last_mut() {
            Some(level) => (level.fd.as_fd(), level.entries.next()),
            None => (top.as_fd(), top_entries.next()),
        };
        let Some(entry) = entry.transpose()? else {
            let Some(done) = levels.pop() else { return Ok(round) };
            let above = levels.last().map_or(top.as_fd(), |level| level.fd.as_fd());
            match unlinkat(above, &done.name, AtFlags::REMOVEDIR) {
                // Filled again or gone meanwhile: the next round sees.
                Ok(()) | Err(Errno::NOENT | Errno::NOTEMPTY | Errno::EXIST | Errno::NOTDIR) => {}
                Err(errno) => return Err(errno),
            }
            continue;
        };
        match unlinkat(here, &entry.name, AtFlags::empty()) {
            Ok(()) | Err(Errno::NOENT) => continue,
            Err(Errno::ISDIR | Errno::PERM) => {}
            Err(errno) => return Err(errno),
        }
        if depth >= MAX_REMOVE_DEPTH {
            match renameat(here, &entry.name, top, hidden_name()?) {
                Ok(()) => round = Round::BroughtUp,
                Err(Errno::NOENT) => {}
                Err(errno) => return Err(errno),
            }
            continue;
        }
        match open_child(here, &entry.name) {
            Ok(fd) => levels.push(Level { entries: read_dir(&fd)?, fd, name: entry.name }),
            // It went, or turned into a link, which the next round unlinks.
            Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => {}
            Err(errno) => return Err(errno),
        }
    }
}
