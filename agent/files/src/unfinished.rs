//! Names of what is not finished: a file before it takes its place, a tree that is
//! copied, a directory on its way out. Each carries the process that made it, and
//! is locked while that process works on it, so that whoever comes after a process
//! that was killed can tell what nobody needs any more.

use std::{
    ffi::OsStr,
    os::{fd::AsFd, unix::ffi::OsStrExt as _},
    sync::OnceLock,
};

use remora_agent_root::{EntryKind, RelPath, Root};
use rustix::{
    fs::{FlockOperation, Mode, OFlags, flock, openat},
    io::Errno,
    rand::{GetRandomFlags, getrandom},
};

use crate::{
    FileError,
    remove::remove_at,
    tree_walk::{Found, TreeWalk},
};

/// Start of the name of what is not finished.
pub(crate) const HIDDEN_PREFIX: &str = ".remora-tmp-";
/// Hexadecimal digits of the process, before the dash.
const PROCESS_DIGITS: usize = 12;
/// Hexadecimal digits behind it.
const OWN_DIGITS: usize = 24;

/// A name that nobody else uses.
pub(crate) fn hidden_name() -> Result<String, Errno> {
    static PROCESS: OnceLock<String> = OnceLock::new();
    let process = match PROCESS.get() {
        Some(process) => process,
        None => {
            let new = random::<{ PROCESS_DIGITS / 2 }>()?;
            PROCESS.get_or_init(|| new)
        }
    };
    Ok(format!("{HIDDEN_PREFIX}{process}-{}", random::<{ OWN_DIGITS / 2 }>()?))
}

fn random<const BYTES: usize>() -> Result<String, Errno> {
    let mut random = [0_u8; BYTES];
    getrandom(&mut random, GetRandomFlags::empty())?;
    Ok(hex::encode(random))
}

/// Marks the file or directory as worked on, for as long as `fd` is open.
pub(crate) fn in_use(fd: impl AsFd) {
    // A file system without locks has no marks, and nothing is cleared there.
    let _ = flock(fd, FlockOperation::NonBlockingLockExclusive);
}

/// Removes what processes that are gone left unfinished below `root`, and says how
/// many entries that were. Ends early where `stop` says so.
pub fn clear_unfinished(root: &Root, stop: impl Fn() -> bool) -> Result<u64, FileError> {
    let own = hidden_name().map_err(|errno| FileError::system("name", &RelPath::root(), errno))?;
    let own = &own.as_bytes()[..HIDDEN_PREFIX.len() + PROCESS_DIGITS];
    let top = root.open_dir(&RelPath::root())?;
    let mut walk = TreeWalk::new(top).map_err(|errno| FileError::system("list", &RelPath::root(), errno))?;
    let mut cleared = 0;
    while !stop() {
        let ours = match walk.step() {
            None => break,
            // What cannot be read holds nothing that was written by us.
            Some(Err(_)) => continue,
            Some(Ok(found)) => {
                let ours = is_unfinished(found.name);
                if ours && !found.name.as_bytes().starts_with(own) && clear(&found) {
                    cleared += 1;
                }
                ours
            }
        };
        if ours {
            walk.skip_below();
        }
    }
    Ok(cleared)
}

/// Whether the name is one of [`hidden_name`], of whatever process.
fn is_unfinished(name: &OsStr) -> bool {
    let rest = name.as_bytes().strip_prefix(HIDDEN_PREFIX.as_bytes());
    let hex = |digits: &[u8]| digits.iter().all(|digit| matches!(digit, b'0'..=b'9' | b'a'..=b'f'));
    rest.is_some_and(|rest| {
        rest.len() == PROCESS_DIGITS + 1 + OWN_DIGITS
            && rest[PROCESS_DIGITS] == b'-'
            && hex(&rest[..PROCESS_DIGITS])
            && hex(&rest[PROCESS_DIGITS + 1..])
    })
}

/// Removes the entry unless somebody works on it.
fn clear(found: &Found<'_>) -> bool {
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let held = match found.kind {
        EntryKind::File | EntryKind::Directory => {
            let Ok(fd) = openat(found.dir, found.name, flags, Mode::empty()) else { return false };
            if flock(&fd, FlockOperation::NonBlockingLockExclusive).is_err() {
                return false;
            }
            Some(fd)
        }
        // A link is made and renamed in one go; nothing else is ever made by us.
        EntryKind::Symlink => None,
        EntryKind::Fifo | EntryKind::Socket | EntryKind::CharDevice | EntryKind::BlockDevice => return false,
    };
    let removed = openat(found.dir, ".", OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())
        .and_then(|dir| remove_at(&dir, found.name, true));
    drop(held);
    removed.is_ok()
}
