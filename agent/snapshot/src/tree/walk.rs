//! [`Walk`]: everything below a root, in the order of manifests.

use std::{ffi::OsStr, os::unix::ffi::OsStrExt as _};

use remora_agent_root::{EntryKind, Root, RootError, read_dir};
use rustix::{
    fs::{AtFlags, Stat, statat},
    io::Errno,
};

use super::Cursor;
use crate::{
    SnapshotError,
    limits::{HELD_NAMES_BYTES, MIN_HELD_NAMES_BYTES},
};

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

/// See the module. The directories on the way to where it is share a bounded part of
/// memory for their names, of which the upper one has half, the next half of the rest,
/// and so on; each has at least a few.
pub(crate) struct Walk<'a> {
    cursor: Cursor,
    levels: Vec<Level>,
    ignored: Ignored<'a>,
    /// Bytes of names that all levels hold.
    room: usize,
}

struct Level {
    path: Vec<u8>,
    names: Names,
}

impl<'a> Walk<'a> {
    /// A walk through what lies below `root`, which itself is not shown.
    pub(crate) fn new(root: Root, ignored: Ignored<'a>) -> Result<Self, SnapshotError> {
        Walk::within(root, ignored, HELD_NAMES_BYTES)
    }

    fn within(root: Root, ignored: Ignored<'a>, room: usize) -> Result<Self, SnapshotError> {
        let mut walk = Walk { cursor: Cursor::new(root), levels: Vec::new(), ignored, room };
        walk.enter(Vec::new())?;
        Ok(walk)
    }

    /// The next step; `None` at the end. What vanishes meanwhile is not shown.
    pub(crate) fn step(&mut self) -> Result<Option<Step>, SnapshotError> {
        loop {
            let Some(level) = self.levels.last_mut() else { return Ok(None) };
            let Some(name) = level.names.next() else {
                if level.names.more {
                    self.list_on()?;
                    continue;
                }
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
        self.list(path, &[])
    }

    /// Goes on with the names of the last directory behind those that were held of it.
    fn list_on(&mut self) -> Result<(), SnapshotError> {
        let Some(Level { path, names }) = self.levels.pop() else { return Ok(()) };
        self.list(path, &names.last)
    }

    fn list(&mut self, path: Vec<u8>, after: &[u8]) -> Result<(), SnapshotError> {
        let held: usize = self.levels.iter().map(|level| level.names.held()).sum();
        let room = (self.room.saturating_sub(held) / 2).max(MIN_HELD_NAMES_BYTES.min(self.room));
        let names = match self.cursor.directory(&path) {
            Ok(fd) => Names::read(fd, after, room).map_err(|errno| SnapshotError::file("list", &path, errno))?,
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
    /// Whether the directory has names behind these, and the last of these.
    more: bool,
    last: Vec<u8>,
}

impl Names {
    /// The first names behind `after`, up to about `room` bytes of them.
    fn read(fd: impl std::os::fd::AsFd, after: &[u8], room: usize) -> Result<Self, Errno> {
        let mut gathered = Gathered::default();
        for entry in read_dir(fd)? {
            let name = entry?.name;
            if name.as_bytes() > after {
                gathered.add(name.as_bytes())?;
            }
            if gathered.held() > room {
                gathered.keep_first(room / 2);
            }
        }
        gathered.sort();
        let Gathered { bytes, places, beyond } = gathered;
        let more = beyond.is_some();
        Ok(Names { bytes, places: places.into_iter(), more, last: beyond.unwrap_or_default() })
    }

    fn next(&mut self) -> Option<&[u8]> {
        let (start, length) = self.places.next()?;
        Some(&self.bytes[start as usize..start as usize + usize::from(length)])
    }

    fn held(&self) -> usize {
        self.bytes.len() + self.places.len() * size_of::<(u32, u8)>()
    }
}

/// Names as a directory gives them, in no order.
#[derive(Debug, Default)]
struct Gathered {
    bytes: Vec<u8>,
    places: Vec<(u32, u8)>,
    /// The last name that was kept when there was no room for all; none behind it counts.
    beyond: Option<Vec<u8>>,
}

impl Gathered {
    fn add(&mut self, name: &[u8]) -> Result<(), Errno> {
        if self.beyond.as_deref().is_some_and(|beyond| name > beyond) {
            return Ok(());
        }
        let start = u32::try_from(self.bytes.len()).map_err(|_| Errno::OVERFLOW)?;
        let length = u8::try_from(name.len()).map_err(|_| Errno::NAMETOOLONG)?;
        self.bytes.extend_from_slice(name);
        self.places.push((start, length));
        Ok(())
    }

    fn held(&self) -> usize {
        self.bytes.len() + self.places.len() * size_of::<(u32, u8)>()
    }

    fn name(&self, (start, length): (u32, u8)) -> &[u8] {
        &self.bytes[start as usize..start as usize + usize::from(length)]
    }

    fn sort(&mut self) {
        let mut places = std::mem::take(&mut self.places);
        places.sort_unstable_by(|a, b| self.name(*a).cmp(self.name(*b)));
        self.places = places;
    }

    /// Keeps the first names, `room` bytes of them and at least one.
    fn keep_first(&mut self, room: usize) {
        self.sort();
        let mut kept = Gathered::default();
        for place in &self.places {
            if !kept.places.is_empty() && kept.held() >= room {
                break;
            }
            let start = kept.bytes.len() as u32;
            kept.bytes.extend_from_slice(self.name(*place));
            kept.places.push((start, place.1));
        }
        kept.beyond = kept.places.last().map(|last| kept.name(*last).to_vec());
        *self = kept;
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

    /// A directory with more names than a walk holds is listed in parts, in the same order.
    #[test]
    fn a021_names_come_in_order_and_once_however_few_are_held() {
        let folder = tempfile::tempdir().unwrap();
        let mut wanted = Vec::new();
        for number in 0..500_u32 {
            let name = format!("{:x}-{}", number.wrapping_mul(2_654_435_761), "n".repeat(number as usize % 200));
            std::fs::write(folder.path().join(&name), "").unwrap();
            wanted.push(name);
        }
        for directory in ["d", "d/e", "d/e/f"] {
            std::fs::create_dir(folder.path().join(directory)).unwrap();
            wanted.push(directory.to_owned());
            for name in ["a".repeat(255), "b".to_owned(), "y".repeat(200)] {
                let path = format!("{directory}/{name}");
                std::fs::write(folder.path().join(&path), "").unwrap();
                wanted.push(path);
            }
        }
        wanted.sort_unstable_by(|a, b| path_order(a.as_bytes(), b.as_bytes()));
        for room in [0, 1, 64, 1_000, 20_000, HELD_NAMES_BYTES] {
            let nothing = |_: &[u8], _: EntryKind| false;
            let mut walk = Walk::within(Root::open(folder.path()).unwrap(), &nothing, room).unwrap();
            let (mut found, mut most) = (Vec::new(), 0);
            while let Some(entry) = walk.entry().unwrap() {
                most = most.max(walk.levels.iter().map(|level| level.names.held()).sum());
                found.push(String::from_utf8(entry.path).unwrap());
            }
            assert_eq!(found, wanted, "{room}");
            // One name a level is always held.
            assert!(most <= room + 4 * MIN_HELD_NAMES_BYTES.min(room) + 4 * 263, "{most} bytes in {room}");
        }
    }
}
