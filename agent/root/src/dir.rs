//! Entries of an open directory, raw: names as bytes, in the file system's order.

use std::{
    ffi::{OsStr, OsString},
    os::{fd::AsFd, unix::ffi::OsStrExt as _},
};

use rustix::{
    fs::{Dir, FileType},
    io::Errno,
};

/// What an entry is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum EntryKind {
    /// A regular file.
    File,
    /// A directory.
    Directory,
    /// A symbolic link, not followed.
    Symlink,
    /// A named pipe.
    Fifo,
    /// A Unix socket.
    Socket,
    /// A character device.
    CharDevice,
    /// A block device.
    BlockDevice,
}

impl EntryKind {
    /// From the kernel's word; `None` where the file system does not say.
    pub fn of(kind: FileType) -> Option<Self> {
        Some(match kind {
            FileType::RegularFile => EntryKind::File,
            FileType::Directory => EntryKind::Directory,
            FileType::Symlink => EntryKind::Symlink,
            FileType::Fifo => EntryKind::Fifo,
            FileType::Socket => EntryKind::Socket,
            FileType::CharacterDevice => EntryKind::CharDevice,
            FileType::BlockDevice => EntryKind::BlockDevice,
            FileType::Unknown => return None,
        })
    }

    /// From a `st_mode`. Linux knows no other kinds; what it might learn is read as a file
    /// that cannot be opened as one.
    pub fn of_mode(mode: u32) -> Self {
        EntryKind::of(FileType::from_raw_mode(mode)).unwrap_or(EntryKind::Socket)
    }

    /// The word for messages.
    pub const fn as_str(self) -> &'static str {
        match self {
            EntryKind::File => "regular file",
            EntryKind::Directory => "directory",
            EntryKind::Symlink => "symbolic link",
            EntryKind::Fifo => "FIFO",
            EntryKind::Socket => "socket",
            EntryKind::CharDevice => "character device",
            EntryKind::BlockDevice => "block device",
        }
    }
}

/// One entry of a directory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DirEntry {
    /// Its name, never `.` or `..`.
    pub name: OsString,
    /// What it is, where the file system says so without another look.
    pub kind: Option<EntryKind>,
    /// Its inode number.
    pub ino: u64,
}

/// The entries of one directory. After an error it ends.
#[derive(Debug)]
pub struct ReadDir {
    dir: Dir,
    failed: bool,
}

/// Starts over the entries of the directory that `fd` is open on; `fd` itself
/// keeps its position.
pub fn read_dir(fd: impl AsFd) -> Result<ReadDir, Errno> {
    Ok(ReadDir { dir: Dir::read_from(fd)?, failed: false })
}

impl Iterator for ReadDir {
    type Item = Result<DirEntry, Errno>;

    fn next(&mut self) -> Option<Self::Item> {
        while !self.failed {
            let entry = match self.dir.read()? {
                Ok(entry) => entry,
                Err(errno) => {
                    self.failed = true;
                    return Some(Err(errno));
                }
            };
            let name = entry.file_name().to_bytes();
            if name != b"." && name != b".." {
                return Some(Ok(DirEntry {
                    name: OsStr::from_bytes(name).to_owned(),
                    kind: EntryKind::of(entry.file_type()),
                    ino: entry.ino(),
                }));
            }
        }
        None
    }
}
