//! Write: a whole file, in one step for everybody who looks.
//!
//! The content goes to a hidden file in the same directory; committing flushes
//! it to the disk and renames it over the name. A writer that is dropped before
//! takes its hidden file with it.

use std::{
    ffi::{OsStr, OsString},
    fs::File,
    io::Write as _,
    os::fd::OwnedFd,
};

use remora_agent_root::{EntryKind, RelPath, Root, RootError};
use remora_proto_model::Reason;
use rustix::{
    fs::{
        AtFlags, Gid, Mode, OFlags, RenameFlags, Stat, Uid, fchmod, fchown, fstat, fsync, openat, renameat_with,
        statat, unlinkat,
    },
    io::Errno,
};

use crate::{
    FileError, etag,
    unfinished::{hidden_name, in_use},
};

/// What must be true of the file that is there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Condition {
    /// Nothing: make it or replace it.
    Overwrite,
    /// It must not exist.
    Create,
    /// It must exist and be this version.
    IfMatch(String),
}

/// How to write.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WriteOptions {
    /// What must be true of the file that is there.
    pub condition: Condition,
    /// Whether missing directories above it are made.
    pub parents: bool,
    /// Permission bits; `None` keeps those of the file that is replaced, else 0644.
    pub mode: Option<u32>,
    /// The length that the caller announced: anything else is refused.
    pub length: Option<u64>,
}

impl Default for WriteOptions {
    fn default() -> Self {
        WriteOptions { condition: Condition::Overwrite, parents: false, mode: None, length: None }
    }
}

/// What a write left behind.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Written {
    /// The new version.
    pub etag: String,
    /// The new length in bytes.
    pub size: u64,
    /// Whether there was no such file before.
    pub created: bool,
}

/// A file that is being written.
#[derive(Debug)]
pub struct Writer {
    path: RelPath,
    dir: OwnedFd,
    name: OsString,
    hidden: Hidden,
    options: WriteOptions,
    written: u64,
}

impl Writer {
    /// Prepares to write the file at `path`, or at what a link there names.
    pub fn begin(root: &Root, path: &RelPath, options: WriteOptions) -> Result<Writer, FileError> {
        if options.mode.is_some_and(|mode| mode > 0o7777) {
            return Err(FileError::refused(
                Reason::InvalidArgument,
                "mode: more than permission bits",
                "send 0 to 07777",
            ));
        }
        let (dir, name) = match root.open_parent_following(path) {
            Err(error) if error.is_not_found() && options.parents => {
                root.mkdir_all(&path.parent().unwrap_or_default(), Mode::from_raw_mode(0o755))?;
                root.open_parent_following(path)?
            }
            result => result?,
        };
        check(path, &options.condition, look(&dir, &name, path)?.as_ref())?;
        let hidden = Hidden::new(&dir).map_err(|errno| FileError::system("write", path, errno))?;
        Ok(Writer { path: path.clone(), dir, name, hidden, options, written: 0 })
    }

    /// Adds bytes at the end.
    pub fn write(&mut self, data: &[u8]) -> Result<(), FileError> {
        self.written += data.len() as u64;
        if self.options.length.is_some_and(|length| self.written > length) {
            return Err(self.wrong_length());
        }
        self.hidden
            .file
            .write_all(data)
            .map_err(|error| FileError::system("write", &self.path, Errno::from_io_error(&error).unwrap_or(Errno::IO)))
    }

    /// Makes what was written the file. Until it returns, and where it fails,
    /// the old content is there, whole.
    pub fn commit(self) -> Result<Written, FileError> {
        if self.options.length.is_some_and(|length| self.written != length) {
            return Err(self.wrong_length());
        }
        let system = |errno| FileError::system("write", &self.path, errno);
        let old = look(&self.dir, &self.name, &self.path)?;
        let mode = self.options.mode.or(old.as_ref().map(|old| old.st_mode & 0o7777)).unwrap_or(0o644);
        if let Some(old) = &old {
            own_alike(&self.hidden.file, old).map_err(system)?;
        }
        // After the owner: changing that takes set-id bits away.
        fchmod(&self.hidden.file, Mode::from_raw_mode(mode)).map_err(system)?;
        fsync(&self.hidden.file).map_err(system)?;
        check(&self.path, &self.options.condition, old.as_ref())?;
        let flags = match self.options.condition {
            Condition::Create => RenameFlags::NOREPLACE,
            Condition::Overwrite | Condition::IfMatch(_) => RenameFlags::empty(),
        };
        let Writer { path, dir, name, mut hidden, written, .. } = self;
        let system = |errno| FileError::system("write", &path, errno);
        hidden.rename_to(&dir, &name, flags).map_err(|errno| match errno {
            Errno::EXIST => exists(&path),
            errno => system(errno),
        })?;
        // The new content is there for everybody from here on, also where this fails.
        let replaced = |errno| {
            system(errno).after(
                format!("\"{path}\" has the new content, but it may be lost if the machine fails"),
                "write it again once the cause is gone",
            )
        };
        fsync(&dir).map_err(replaced)?;
        let stat = fstat(&hidden.file).map_err(replaced)?;
        Ok(Written { etag: etag::of(&stat), size: written, created: old.is_none() })
    }

    fn wrong_length(&self) -> FileError {
        FileError::refused(
            Reason::InvalidArgument,
            format!(
                "\"{}\": {} bytes were announced and {} came",
                self.path,
                self.options.length.unwrap_or(0),
                self.written
            ),
            "nothing was changed; send exactly as many bytes as announced",
        )
    }
}

/// What is at `name`, refused unless it is a regular file or nothing.
fn look(dir: &OwnedFd, name: &OsStr, path: &RelPath) -> Result<Option<Stat>, FileError> {
    let stat = match statat(dir, name, AtFlags::SYMLINK_NOFOLLOW) {
        Ok(stat) => stat,
        Err(Errno::NOENT) => return Ok(None),
        Err(errno) => return Err(FileError::system("look at", path, errno)),
    };
    match EntryKind::of_mode(stat.st_mode) {
        EntryKind::File => Ok(Some(stat)),
        EntryKind::Directory => Err(RootError::IsDirectory { path: path.to_string() }.into()),
        kind => Err(RootError::NotRegular { path: path.to_string(), kind: kind.as_str() }.into()),
    }
}

fn check(path: &RelPath, condition: &Condition, old: Option<&Stat>) -> Result<(), FileError> {
    match (condition, old) {
        (Condition::Create, Some(_)) => Err(exists(path)),
        (Condition::IfMatch(wanted), Some(old)) => etag::check(path, wanted, old),
        (Condition::IfMatch(_), None) => Err(FileError::system("replace", path, Errno::NOENT)),
        (Condition::Overwrite, _) | (Condition::Create, None) => Ok(()),
    }
}

pub(crate) fn exists(path: &RelPath) -> FileError {
    FileError::refused(
        Reason::AlreadyExists,
        format!("\"{path}\" exists already"),
        "name another path, or allow it to be overwritten",
    )
}

/// Gives the new file the owner of the old one. A process that may not give
/// files away leaves its own, as every editor does.
fn own_alike(file: &File, old: &Stat) -> Result<(), Errno> {
    match fchown(file, Some(Uid::from_raw(old.st_uid)), Some(Gid::from_raw(old.st_gid))) {
        Ok(()) | Err(Errno::PERM) => Ok(()),
        Err(errno) => Err(errno),
    }
}

/// A file under a name of ours, gone when it is dropped under that name.
#[derive(Debug)]
pub(crate) struct Hidden {
    pub(crate) file: File,
    dir: OwnedFd,
    name: Option<String>,
}

impl Hidden {
    pub(crate) fn new(dir: &OwnedFd) -> Result<Self, Errno> {
        let dir = rustix::io::fcntl_dupfd_cloexec(dir, 0)?;
        let name = hidden_name()?;
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let file = File::from(openat(&dir, &name, flags, Mode::RUSR | Mode::WUSR)?);
        in_use(&file);
        Ok(Hidden { file, dir, name: Some(name) })
    }

    pub(crate) fn rename_to(&mut self, dir: &OwnedFd, name: &OsStr, flags: RenameFlags) -> Result<(), Errno> {
        if let Some(own) = &self.name {
            renameat_with(&self.dir, own, dir, name, flags)?;
            self.name = None;
        }
        Ok(())
    }
}

impl Drop for Hidden {
    fn drop(&mut self) {
        if let Some(name) = &self.name {
            // Nobody is left to tell; the name says whose it was.
            let _ = unlinkat(&self.dir, name, AtFlags::empty());
        }
    }
}
