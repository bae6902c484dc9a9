//! [`Walk`]: everything below a root, in the order of manifests.

use std::{ffi::OsStr, os::unix::ffi::OsStrExt as _};

use remora_agent_root::{EntryKind, Root, RootError, read_dir};
use rustix::{
    fs::{AtFlags, Stat, statat},
    io::Errno,
};

use super::Cursor;
use crate::SnapshotError;

/// An entry that was found.
#[derive(Debug)]
pub(crate) struct Found {
    pub(crate) path: Vec<u8>,
    pub(crate) stat: Stat,
}

impl Found {
    pub(crate) fn kind(&self) -> EntryKind {
        EntryKind::of_mode(self.stat.st_mode)
    }
}

/// One step of a walk.
#[derive(Debug)]
pub(crate) enum Step {
    /// An entry; a directory before what lies in it.
    Entry(Found),
    /// The directory at this path and all below it is done.
    Leave(Vec<u8>),
}

/// Says of an entry that it is none of the walk's business: neither it nor what
/// lies below it is shown.
pub(crate) type Ignored<'a> = &'a (dyn Fn(&[u8], EntryKind) -> bool + Sync);

/// See the module. Memory goes with the directories on the way to where it is.
pub(crate) struct Walk<'a> {
    cursor: Cursor,
    levels: Vec<Level>,
    ignored: Ignored<'a>,
}

struct Level {
    path: Vec<u8>,
    names: Names,
}

impl<'a> Walk<'a> {
    /// A walk through what lies below `root`, which itself is not shown.
    pub(crate) fn new(root: Root, ignored: Ignored<'a>) -> Result<Self, SnapshotError> {
        let mut walk = Walk { cursor: Cursor::new(root), levels: Vec::new(), ignored };
        walk.enter(Vec::new())?;
        Ok(walk)
    }

    /// The next step; `None` at the end. What vanishes meanwhile is not shown.
    pub(crate) fn step(&mut self) -> Result<Option<Step>, SnapshotError> {
        loop {
            let Some(level) = self.levels.last_mut() else { return Ok(None) };
            let Some(name) = level.names.next() else {
                let done = self.levels.pop().map(|level| level.path).unwrap_or_default();
                return Ok((!self.levels.is_empty()).then_some(Step::Leave(done)));
            };
            let mut path = level.path.clone();
            if !path.is_empty() {
                path.push(b'/');
            }
            path.extend_from_slice(name);
            let stat = match look(&mut self.cursor, &level.path, name) {
                Ok(Some(stat)) => stat,
                Ok(None) => continue,
                Err(error) => return Err(error),
            };
            let found = Found { path, stat };
            if (self.ignored)(&found.path, found.kind()) {
                continue;
            }
            if found.kind() == EntryKind::Directory {
                self.enter(found.path.clone())?;
            }
            return Ok(Some(Step::Entry(found)));
        }
    }

    /// The next entry, where it does not matter which directories are done.
    pub(crate) fn entry(&mut self) -> Result<Option<Found>, SnapshotError> {
        loop {
            match self.step()? {
                Some(Step::Entry(found)) => return Ok(Some(found)),
                Some(Step::Leave(_)) => {}
                None => return Ok(None),
            }
        }
    }

    fn enter(&mut self, path: Vec<u8>) -> Result<(), SnapshotError> {
        let names = match self.cursor.directory(&path) {
            Ok(fd) => Names::read(fd).map_err(|errno| SnapshotError::file("list", &path, errno))?,
            // It went, or became something else: its next look will tell.
            Err(error) if !path.is_empty() && is_gone(&error) => Names::default(),
            Err(error) => return Err(error.into()),
        };
        self.levels.push(Level { path, names });
        Ok(())
    }
}

fn look(cursor: &mut Cursor, directory: &[u8], name: &[u8]) -> Result<Option<Stat>, SnapshotError> {
    let fd = match cursor.directory(directory) {
        Ok(fd) => fd,
        Err(error) if is_gone(&error) => return Ok(None),
        Err(error) => return Err(error.into()),
    };
    match statat(fd, OsStr::from_bytes(name), AtFlags::SYMLINK_NOFOLLOW) {
        Ok(stat) => Ok(Some(stat)),
        Err(Errno::NOENT) => Ok(None),
        Err(errno) => Err(SnapshotError::file("look at", &[directory, b"/", name].concat(), errno)),
    }
}

fn is_gone(error: &RootError) -> bool {
    matches!(error, RootError::Loop { .. }) || matches!(error.errno(), Some(Errno::NOENT | Errno::NOTDIR))
}

/// Names of one directory in the order of their bytes, held in two pieces of
/// memory: a directory may have a million.
#[derive(Debug, Default)]
struct Names {
    bytes: Vec<u8>,
    /// Start and length of each.
    places: std::vec::IntoIter<(u32, u8)>,
}

impl Names {
    fn read(fd: impl std::os::fd::AsFd) -> Result<Self, Errno> {
        let (mut bytes, mut places) = (Vec::new(), Vec::new());
        for entry in read_dir(fd)? {
            let name = entry?.name;
            // 4 GiB of names in one directory: no file system holds that many.
            let start = u32::try_from(bytes.len()).map_err(|_| Errno::OVERFLOW)?;
            let length = u8::try_from(name.len()).map_err(|_| Errno::NAMETOOLONG)?;
            bytes.extend_from_slice(name.as_bytes());
            places.push((start, length));
        }
        let name = |(start, length): (u32, u8)| &bytes[start as usize..start as usize + usize::from(length)];
        places.sort_unstable_by(|a, b| name(*a).cmp(name(*b)));
        Ok(Names { bytes, places: places.into_iter() })
    }

    fn next(&mut self) -> Option<&[u8]> {
        let (start, length) = self.places.next()?;
        Some(&self.bytes[start as usize..start as usize + usize::from(length)])
    }
}

#[cfg(test)]
mod tests {
    use std::{cmp::Ordering, os::unix::fs::symlink};

    use super::*;
    use crate::format::path_order;

    #[test]
    fn entries_come_in_manifest_order_and_each_directory_is_left() {
        let folder = tempfile::tempdir().unwrap();
        let at = |path: &str| folder.path().join(path);
        std::fs::create_dir_all(at("a/b/c")).unwrap();
        std::fs::create_dir_all(at("ignored/x")).unwrap();
        for file in ["a.txt", "a/b.txt", "a/b/z", "a-", "z"] {
            std::fs::write(at(file), file).unwrap();
        }
        symlink("a", at("link")).unwrap();
        let ignored = |path: &[u8], _: EntryKind| path == b"ignored";
        let mut walk = Walk::new(Root::open(folder.path()).unwrap(), &ignored).unwrap();
        let (mut found, mut left) = (Vec::new(), Vec::new());
        while let Some(step) = walk.step().unwrap() {
            match step {
                Step::Entry(entry) => found.push(String::from_utf8(entry.path).unwrap()),
                Step::Leave(path) => left.push(String::from_utf8(path).unwrap()),
            }
        }
        assert_eq!(found, ["a", "a/b", "a/b/c", "a/b/z", "a/b.txt", "a-", "a.txt", "link", "z"]);
        assert_eq!(left, ["a/b/c", "a/b", "a"]);
        assert!(found.is_sorted_by(|a, b| path_order(a.as_bytes(), b.as_bytes()) == Ordering::Less));
    }
}
