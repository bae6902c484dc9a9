//! Resolution without `openat2`: one descriptor a component, the same guarantee.
//!
//! Every component is opened with `O_NOFOLLOW` relative to the descriptor of
//! the one before, links are expanded here, and `..` goes back to the
//! descriptor through which the walk came, never to what the kernel would call
//! the parent now. So whatever is renamed meanwhile, each step stays where the
//! walk has been or goes one entry down from there, and never above the root.

use std::{
    collections::VecDeque,
    os::fd::{AsFd, BorrowedFd, OwnedFd},
};

use rustix::{
    fs::{FileType, Mode, OFlags, PROC_SUPER_MAGIC, fstat, fstatfs, openat, readlinkat},
    io::Errno,
};

use crate::limits::{MAX_HELD_DIRECTORIES, MAX_LAST_TRIES, MAX_SYMLINKS};

const LOOK: OFlags = OFlags::PATH.union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);

pub(crate) fn open(root: BorrowedFd<'_>, path: &[u8], flags: OFlags, mode: Mode) -> Result<OwnedFd, Errno> {
    let mut walk = Walk { root, held: VecDeque::new(), let_go: 0, ahead: Vec::new(), links: 0 };
    walk.expand(path);
    while let Some(part) = walk.ahead.pop() {
        match part.as_slice() {
            b"" | b"." => {}
            b".." => walk.up()?,
            name if walk.ahead.is_empty() => {
                if let Some(found) = walk.last(name, flags, mode)? {
                    return Ok(found);
                }
            }
            name => walk.down(name)?,
        }
    }
    // The path ends in a directory that the walk stands in already.
    again(|| openat(walk.here(), ".", flags & !(OFlags::CREATE | OFlags::EXCL), Mode::empty()))
}

struct Walk<'root> {
    root: BorrowedFd<'root>,
    /// The directories below the root through which the walk came, last one current.
    held: VecDeque<OwnedFd>,
    /// How many of the first ones were closed to stay within the bound.
    let_go: usize,
    /// Components still to come, last one first.
    ahead: Vec<Vec<u8>>,
    links: usize,
}

impl Walk<'_> {
    fn here(&self) -> BorrowedFd<'_> {
        self.held.back().map_or(self.root, |fd| fd.as_fd())
    }

    fn expand(&mut self, path: &[u8]) {
        self.ahead.extend(path.split(|byte| *byte == b'/').rev().map(<[u8]>::to_vec));
    }

    fn up(&mut self) -> Result<(), Errno> {
        match (self.held.pop_back(), self.let_go) {
            (None, _) => Err(Errno::XDEV),
            // What lies above was closed: standing at the root now would be a lie.
            (Some(_), let_go) if self.held.is_empty() && let_go > 0 => Err(Errno::NAMETOOLONG),
            (Some(_), _) => Ok(()),
        }
    }

    fn down(&mut self, name: &[u8]) -> Result<(), Errno> {
        let child = again(|| openat(self.here(), name, LOOK, Mode::empty()))?;
        match kind(&child)? {
            FileType::Directory => {
                self.held.push_back(child);
                if self.held.len() > MAX_HELD_DIRECTORIES {
                    self.held.pop_front();
                    self.let_go += 1;
                }
                Ok(())
            }
            FileType::Symlink => self.follow(&child),
            _ => Err(Errno::NOTDIR),
        }
    }

    /// Puts a link's target in front of what is still to come.
    fn follow(&mut self, link: &OwnedFd) -> Result<(), Errno> {
        self.links += 1;
        // The links of procfs lead wherever their process has been; the kernel
        // resolver refuses the magic ones, the walk cannot tell and refuses all.
        if self.links > MAX_SYMLINKS || fstatfs(link)?.f_type == PROC_SUPER_MAGIC {
            return Err(Errno::LOOP);
        }
        let target = readlinkat(link, "", Vec::new())?.into_bytes();
        match target.first() {
            None => Err(Errno::NOENT),
            Some(b'/') => Err(Errno::XDEV),
            Some(_) => {
                self.expand(&target);
                Ok(())
            }
        }
    }

    /// Opens the last component, or follows it and returns `None`.
    fn last(&mut self, name: &[u8], flags: OFlags, mode: Mode) -> Result<Option<OwnedFd>, Errno> {
        let exclusive = flags.contains(OFlags::CREATE | OFlags::EXCL);
        let follow = !flags.contains(OFlags::NOFOLLOW) && !exclusive;
        for _ in 0..MAX_LAST_TRIES {
            let found = match again(|| openat(self.here(), name, LOOK, Mode::empty())) {
                Ok(found) => Some(found),
                Err(Errno::NOENT) if flags.contains(OFlags::CREATE) => None,
                Err(errno) => return Err(errno),
            };
            if let Some(found) = found {
                let kind = kind(&found)?;
                if kind == FileType::Symlink && follow {
                    self.follow(&found)?;
                    return Ok(None);
                }
                if flags.contains(OFlags::PATH) {
                    let wanted = !flags.contains(OFlags::DIRECTORY) || kind == FileType::Directory;
                    return if wanted { Ok(Some(found)) } else { Err(Errno::NOTDIR) };
                }
            }
            match again(|| openat(self.here(), name, flags | OFlags::NOFOLLOW, mode)) {
                // It became a link, or went, between the two looks.
                Err(Errno::LOOP | Errno::NOTDIR) if follow && self.is_link(name) => {}
                Err(Errno::NOENT) if flags.contains(OFlags::CREATE) => {}
                result => return result.map(Some),
            }
        }
        Err(Errno::AGAIN)
    }

    fn is_link(&self, name: &[u8]) -> bool {
        openat(self.here(), name, LOOK, Mode::empty()).is_ok_and(|fd| kind(&fd) == Ok(FileType::Symlink))
    }
}

fn kind(fd: &OwnedFd) -> Result<FileType, Errno> {
    Ok(FileType::from_raw_mode(fstat(fd)?.st_mode))
}

/// A signal is no answer.
fn again<T>(mut call: impl FnMut() -> Result<T, Errno>) -> Result<T, Errno> {
    loop {
        match call() {
            Err(Errno::INTR) => {}
            result => return result,
        }
    }
}
