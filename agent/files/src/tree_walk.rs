//! A walk below a directory, over descriptors: each directory is followed by what
//! it holds, in the order of the names' bytes.
//!
//! It opens every directory by a single name relative to the one above, never
//! through a link, so it cannot be led out. Of a deep tree it keeps the lowest
//! directories open and goes back up by `..`, which counts only where it is the
//! very directory that was walked before: one that was moved meanwhile ends the
//! walk of what it held, and never leads elsewhere.

use std::{
    collections::VecDeque,
    ffi::{OsStr, OsString},
    os::{
        fd::{AsFd, BorrowedFd, OwnedFd},
        unix::ffi::OsStrExt as _,
    },
};

use remora_agent_root::{EntryKind, limits::MAX_PATH_BYTES, read_dir};
use rustix::{
    fs::{AtFlags, Mode, OFlags, fstat, openat, statat},
    io::Errno,
};

use crate::limits::{MAX_WALK_DIRECTORIES, MAX_WALK_NAMES};

/// One step of a walk.
pub(crate) struct Found<'walk> {
    /// The directory that holds it.
    pub(crate) dir: BorrowedFd<'walk>,
    /// Its name there.
    pub(crate) name: &'walk OsStr,
    /// Its path from where the walk began.
    pub(crate) path: &'walk [u8],
    /// What it is; a link is not followed.
    pub(crate) kind: EntryKind,
}

/// A place that the walk could not enter.
#[derive(Debug)]
pub(crate) struct Unreachable {
    /// Its path from where the walk began.
    pub(crate) path: Vec<u8>,
    /// Why.
    pub(crate) errno: Errno,
}

struct Level {
    /// Device and inode, by which it is known again.
    identity: (u64, u64),
    /// What is still to come of it, last one first.
    ahead: Vec<(OsString, EntryKind)>,
    /// Length of the path of this directory.
    path_bytes: usize,
}

/// See the module.
pub(crate) struct TreeWalk {
    /// From the top down; the open ones are the last of them.
    levels: Vec<Level>,
    open: VecDeque<OwnedFd>,
    /// Path of the lowest directory, then of the entry that was found.
    path: Vec<u8>,
    name: OsString,
    /// Names held in all levels.
    names: usize,
    /// Whether what was found last is a directory that is to be entered.
    below: bool,
}

impl TreeWalk {
    /// A walk of what is below `top`, which itself is not found.
    pub(crate) fn new(top: OwnedFd) -> Result<Self, Errno> {
        let mut walk = TreeWalk {
            levels: Vec::new(),
            open: VecDeque::new(),
            path: Vec::new(),
            name: OsString::new(),
            names: 0,
            below: false,
        };
        walk.push(top)?;
        Ok(walk)
    }

    /// The next entry; the end is `None`. An error is of one directory, and the
    /// walk goes on behind it.
    pub(crate) fn step(&mut self) -> Option<Result<Found<'_>, Unreachable>> {
        loop {
            if std::mem::take(&mut self.below) {
                match self.enter() {
                    // It went or became something else since it was found.
                    Ok(()) | Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => {}
                    Err(errno) => return Some(Err(self.unreachable(errno))),
                }
            }
            let level = self.levels.last_mut()?;
            self.path.truncate(level.path_bytes);
            let Some((name, kind)) = level.ahead.pop() else {
                if let Err(errno) = self.leave() {
                    return Some(Err(self.unreachable(errno)));
                }
                continue;
            };
            self.names -= 1;
            self.below = kind == EntryKind::Directory;
            if !self.path.is_empty() {
                self.path.push(b'/');
            }
            self.path.extend_from_slice(name.as_bytes());
            self.name = name;
            let dir = self.open.back()?.as_fd();
            return Some(Ok(Found { dir, name: &self.name, path: &self.path, kind }));
        }
    }

    /// Leaves out what is below the directory that was found last.
    pub(crate) fn skip_below(&mut self) {
        self.below = false;
    }

    fn unreachable(&self, errno: Errno) -> Unreachable {
        Unreachable { path: self.path.clone(), errno }
    }

    fn enter(&mut self) -> Result<(), Errno> {
        if self.path.len() > MAX_PATH_BYTES {
            return Err(Errno::NAMETOOLONG);
        }
        let Some(here) = self.open.back() else { return Err(Errno::NOENT) };
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let below = openat(here, &self.name, flags, Mode::empty())?;
        self.push(below)
    }

    fn push(&mut self, dir: OwnedFd) -> Result<(), Errno> {
        let stat = fstat(&dir)?;
        let mut ahead = Vec::new();
        for entry in read_dir(&dir)? {
            let entry = entry?;
            let kind = match entry.kind {
                Some(kind) => kind,
                None => match statat(&dir, &entry.name, AtFlags::SYMLINK_NOFOLLOW) {
                    Ok(stat) => EntryKind::of_mode(stat.st_mode),
                    Err(Errno::NOENT) => continue,
                    Err(errno) => return Err(errno),
                },
            };
            ahead.push((entry.name, kind));
            if self.names + ahead.len() > MAX_WALK_NAMES {
                return Err(Errno::NOBUFS);
            }
        }
        ahead.sort_unstable_by(|(one, _), (other, _)| other.cmp(one));
        self.names += ahead.len();
        self.levels.push(Level { identity: (stat.st_dev, stat.st_ino), ahead, path_bytes: self.path.len() });
        self.open.push_back(dir);
        if self.open.len() > MAX_WALK_DIRECTORIES {
            self.open.pop_front();
        }
        Ok(())
    }

    /// Goes back to the directory above.
    fn leave(&mut self) -> Result<(), Errno> {
        let left = self.open.pop_back();
        self.levels.pop();
        let (Some(left), Some(above)) = (left, self.levels.last()) else { return Ok(()) };
        if !self.open.is_empty() {
            return Ok(());
        }
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let back = openat(&left, "..", flags, Mode::empty())
            .and_then(|back| fstat(&back).map(|stat| (back, (stat.st_dev, stat.st_ino))));
        match back {
            Ok((back, identity)) if identity == above.identity => {
                self.open.push_back(back);
                Ok(())
            }
            // Nothing is left from which the rest could be reached.
            Ok(_) | Err(_) => {
                self.levels.clear();
                Err(Errno::STALE)
            }
        }
    }
}
