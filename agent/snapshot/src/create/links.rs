//! [`Links`]: files with several names in the workspace, and the first name of each.
//!
//! A tree may hold a million hard links, and what has to be known of each first name
//! is as long as a path. So the scan counts names by their inodes alone; the inodes
//! that have more than one name here keep a number each in memory, and the rest is
//! in a file without a name.

use std::{
    fs::File,
    io,
    os::unix::fs::FileExt as _,
    path::{Path, PathBuf},
};

use rustix::{
    fs::{CWD, Mode, OFlags, openat, unlink},
    io::Errno,
};

use crate::{
    SnapshotError,
    format::{Entry, Timestamp},
    limits::MAX_LINKED_NAMES,
    shown,
};

/// Device and inode.
pub(super) type Identity = (u64, u64);

/// The names that a scan meets of files with several, whether they are in the tree or not.
#[derive(Debug, Default)]
pub(super) struct Names(Vec<Identity>);

impl Names {
    pub(super) fn add(&mut self, identity: Identity, path: &[u8]) -> Result<(), SnapshotError> {
        if self.0.len() >= MAX_LINKED_NAMES {
            return Err(SnapshotError::TooLarge {
                what: "the number of names of files with several",
                found: self.0.len() as u64 + 1,
                limit: MAX_LINKED_NAMES as u64,
                path: shown(path),
            });
        }
        self.0.push(identity);
        Ok(())
    }

    /// The inodes that were met more than once.
    fn shared(mut self) -> Vec<Identity> {
        self.0.sort_unstable();
        let mut kept = 0;
        let mut at = 0;
        while at < self.0.len() {
            let run = self.0[at..].iter().take_while(|identity| **identity == self.0[at]).count();
            if run > 1 {
                self.0[kept] = self.0[at];
                kept += 1;
            }
            at += run;
        }
        self.0.truncate(kept);
        self.0.shrink_to_fit();
        self.0
    }
}

/// What all names of an inode have in common, and its first name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct First {
    pub(super) path: Vec<u8>,
    pub(super) mode: u32,
    pub(super) uid: u32,
    pub(super) gid: u32,
    pub(super) mtime: Timestamp,
}

impl First {
    pub(super) fn of(entry: &Entry) -> Self {
        First { path: entry.path.clone(), mode: entry.mode, uid: entry.uid, gid: entry.gid, mtime: entry.mtime }
    }
}

/// Where nothing is in the file yet.
const UNMET: u64 = u64::MAX;
/// Bytes of what is kept of a first name besides its path: five numbers and the path's length.
const FIXED_BYTES: usize = 28;

/// See the module. A name that comes up after the scan is taken for another file,
/// once: its change is met by the next snapshot.
#[derive(Debug)]
pub(super) struct Links {
    shared: Vec<Identity>,
    /// Where in the file the first name of each is.
    at: Vec<u64>,
    folder: PathBuf,
    file: Option<File>,
    end: u64,
}

impl Links {
    /// Of what the scan met; the file is made in `folder` when it is needed.
    pub(super) fn new(names: Names, folder: &Path) -> Self {
        let shared = names.shared();
        Links { at: vec![UNMET; shared.len()], shared, folder: folder.to_owned(), file: None, end: 0 }
    }

    /// The first name of the inode; `None` where it has not been met or has no other.
    pub(super) fn first(&self, identity: Identity) -> Result<Option<First>, SnapshotError> {
        let Ok(index) = self.shared.binary_search(&identity) else { return Ok(None) };
        match (self.at[index], &self.file) {
            (UNMET, _) | (_, None) => Ok(None),
            (at, Some(file)) => read(file, at).map(Some).map_err(|error| failed(&error)),
        }
    }

    /// Takes note of the first name of an inode.
    pub(super) fn meet(&mut self, identity: Identity, first: &First) -> Result<(), SnapshotError> {
        let Ok(index) = self.shared.binary_search(&identity) else { return Ok(()) };
        let file = match &mut self.file {
            Some(file) => file,
            none => none.insert(nameless(&self.folder).map_err(|error| failed(&error))?),
        };
        let bytes = encode(first);
        file.write_all_at(&bytes, self.end).map_err(|error| failed(&error))?;
        self.at[index] = self.end;
        self.end += bytes.len() as u64;
        Ok(())
    }
}

fn failed(error: &io::Error) -> SnapshotError {
    SnapshotError::State { action: "keep track of hard links", detail: error.to_string() }
}

fn encode(first: &First) -> Vec<u8> {
    let First { path, mode, uid, gid, mtime } = first;
    let mut bytes = Vec::with_capacity(FIXED_BYTES + path.len());
    bytes.extend_from_slice(&mtime.seconds.to_le_bytes());
    for number in [*mode, *uid, *gid, mtime.nanos, path.len() as u32] {
        bytes.extend_from_slice(&number.to_le_bytes());
    }
    bytes.extend_from_slice(path);
    bytes
}

fn read(file: &File, at: u64) -> io::Result<First> {
    let mut seconds = [0; 8];
    file.read_exact_at(&mut seconds, at)?;
    let mut numbers = [0; FIXED_BYTES - 8];
    file.read_exact_at(&mut numbers, at + 8)?;
    let (numbers, _) = numbers.as_chunks::<4>();
    let [mode, uid, gid, nanos, length] = [0, 1, 2, 3, 4].map(|at| u32::from_le_bytes(numbers[at]));
    let mut path = vec![0; length as usize];
    file.read_exact_at(&mut path, at + FIXED_BYTES as u64)?;
    Ok(First { path, mode, uid, gid, mtime: Timestamp { seconds: i64::from_le_bytes(seconds), nanos } })
}

/// A file in `folder` that is gone with this process.
fn nameless(folder: &Path) -> io::Result<File> {
    let flags = OFlags::RDWR | OFlags::CLOEXEC;
    match openat(CWD, folder, flags | OFlags::TMPFILE, Mode::RUSR | Mode::WUSR) {
        Ok(fd) => Ok(File::from(fd)),
        // A file system without such files.
        Err(Errno::NOTSUP | Errno::ISDIR | Errno::INVAL) => {
            let path = folder.join(format!("links-{}.tmp", uuid::Uuid::new_v4().simple()));
            let flags = flags | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW;
            let fd = openat(CWD, &path, flags, Mode::RUSR | Mode::WUSR)?;
            unlink(&path)?;
            Ok(File::from(fd))
        }
        Err(errno) => Err(errno.into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn first(path: &str) -> First {
        let mtime = Timestamp { seconds: -5, nanos: 7 };
        First { path: path.into(), mode: 0o4755, uid: 1, gid: u32::MAX, mtime }
    }

    #[test]
    fn only_what_was_met_twice_is_kept_and_comes_back_as_it_was() {
        let folder = tempfile::tempdir().unwrap();
        let mut names = Names::default();
        for inode in [7, 3, 7, 9, 3, 7, 1] {
            names.add((1, inode), b"x").unwrap();
        }
        names.add((2, 9), b"x").unwrap();
        let mut links = Links::new(names, folder.path());
        assert_eq!(links.shared, [(1, 3), (1, 7)]);
        for (inode, path) in [(7, "a"), (9, "alone"), (3, "d/é\n")] {
            assert_eq!(links.first((1, inode)).unwrap(), None);
            links.meet((1, inode), &first(path)).unwrap();
        }
        assert_eq!(links.first((1, 7)).unwrap(), Some(first("a")));
        assert_eq!(links.first((1, 3)).unwrap(), Some(first("d/é\n")));
        assert_eq!(links.first((1, 9)).unwrap(), None);
        assert_eq!(links.first((2, 7)).unwrap(), None);
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
    }

    #[test]
    fn a_name_too_many_is_refused_with_the_limit() {
        let mut names = Names(vec![(0, 0); MAX_LINKED_NAMES]);
        let error = names.add((0, 1), b"d/f").unwrap_err();
        assert!(error.to_string().contains("1000000") && error.to_string().contains("\"d/f\""), "{error}");
    }

    #[test]
    fn a_folder_that_is_not_there_is_named_as_the_cause() {
        let mut names = Names::default();
        names.add((1, 1), b"x").unwrap();
        names.add((1, 1), b"x").unwrap();
        let mut links = Links::new(names, Path::new("/nowhere/at/all"));
        let error = links.meet((1, 1), &first("a")).unwrap_err();
        assert!(error.to_string().contains("hard links"), "{error}");
    }
}
