//! Copy: a file, a link or a whole tree, with owners, extended attributes, modes,
//! times and holes.

use std::{
    ffi::OsStr,
    fs::File,
    os::{
        fd::{AsFd, BorrowedFd, OwnedFd},
        unix::fs::FileExt as _,
    },
};

use remora_agent_root::{EntryKind, ReadDir, RelPath, Root, RootError, read_dir};
use remora_proto_model::Reason;
use rustix::{
    buffer::spare_capacity,
    fs::{
        AtFlags, Gid, Mode, OFlags, RenameFlags, SeekFrom, Stat, Timespec, Timestamps, Uid, XattrFlags, chownat,
        fchmod, fchown, fgetxattr, flistxattr, fsetxattr, fstat, ftruncate, futimens, mkdirat, openat, readlinkat,
        renameat_with, seek, statat, symlinkat, utimensat,
    },
    io::Errno,
};

use crate::{
    FileError,
    limits::{COPY_BLOCK_BYTES, MAX_COPY_DEPTH, XATTR_BYTES},
    remove::remove_at,
    unfinished::{hidden_name, in_use},
    write::exists,
};

/// Copies what is at `from` to `to`, which must not exist unless `overwrite`
/// and both are files. Links are copied as links. The copy appears whole or,
/// where it fails, not at all.
pub fn copy(root: &Root, from: &RelPath, to: &RelPath, overwrite: bool) -> Result<(), FileError> {
    let (from_dir, from_name) = root.open_parent(from)?;
    let (to_dir, to_name) = root.open_parent(to)?;
    let system = |errno| FileError::system("copy", from, errno);
    let source = statat(&from_dir, &from_name, AtFlags::SYMLINK_NOFOLLOW).map_err(system)?;
    if EntryKind::of_mode(source.st_mode) == EntryKind::Directory {
        outside(root, &source, from, to)?;
    }
    match statat(&to_dir, &to_name, AtFlags::SYMLINK_NOFOLLOW) {
        Err(Errno::NOENT) => {}
        Err(errno) => return Err(FileError::system("look at", to, errno)),
        Ok(_) if !overwrite => return Err(exists(to)),
        Ok(_) => {}
    }
    let hidden = hidden_name().map_err(system)?;
    let hidden = OsStr::new(&hidden);
    let flags = if overwrite { RenameFlags::empty() } else { RenameFlags::NOREPLACE };
    let copied = copy_entry(&from_dir, &from_name, &to_dir, hidden, from).and_then(|()| {
        renameat_with(&to_dir, hidden, &to_dir, &to_name, flags).map_err(|errno| match errno {
            Errno::EXIST => exists(to),
            errno => FileError::system("copy to", to, errno),
        })
    });
    if copied.is_err() {
        // The first error is the one to tell; the hidden name says whose the rest is.
        let _ = remove_at(&to_dir, hidden, true);
    }
    copied
}

/// Refuses a copy of a directory into itself, which would never end.
fn outside(root: &Root, source: &Stat, from: &RelPath, to: &RelPath) -> Result<(), FileError> {
    let mut above = to.parent();
    while let Some(place) = above {
        let stat = root.stat(&place, true)?;
        if (stat.st_dev, stat.st_ino) == (source.st_dev, source.st_ino) {
            return Err(FileError::refused(
                Reason::InvalidArgument,
                format!("\"{to}\" lies inside \"{from}\""),
                "name a target outside of the directory that is copied",
            ));
        }
        above = place.parent();
    }
    Ok(())
}

struct Level {
    from: OwnedFd,
    to: OwnedFd,
    entries: ReadDir,
    stat: Stat,
}

fn copy_entry(
    from_dir: &OwnedFd,
    from_name: &OsStr,
    to_dir: &OwnedFd,
    to_name: &OsStr,
    path: &RelPath,
) -> Result<(), FileError> {
    let system = |errno| FileError::system("copy", path, errno);
    let mut levels: Vec<Level> = Vec::new();
    levels.extend(copy_one(from_dir.as_fd(), from_name, to_dir.as_fd(), to_name, path)?);
    while let Some(level) = levels.last_mut() {
        let Some(entry) = level.entries.next().transpose().map_err(system)? else {
            // Last, so that filling it does not undo its time.
            keep_attributes(&level.from, &level.to, &level.stat).map_err(system)?;
            levels.pop();
            continue;
        };
        let below = copy_one(level.from.as_fd(), &entry.name, level.to.as_fd(), &entry.name, path)?;
        levels.extend(below);
        if levels.len() > MAX_COPY_DEPTH {
            return Err(FileError::refused(
                Reason::LimitReached,
                format!("\"{path}\" is deeper than {MAX_COPY_DEPTH} directories"),
                "copy its parts, or use an archive",
            ));
        }
    }
    Ok(())
}

/// Copies one entry; a directory is made and returned to be filled.
fn copy_one(
    from: BorrowedFd<'_>,
    name: &OsStr,
    to: BorrowedFd<'_>,
    to_name: &OsStr,
    path: &RelPath,
) -> Result<Option<Level>, FileError> {
    let system = |errno| FileError::system("copy", path, errno);
    let stat = statat(from, name, AtFlags::SYMLINK_NOFOLLOW).map_err(system)?;
    match EntryKind::of_mode(stat.st_mode) {
        EntryKind::Symlink => {
            let target = readlinkat(from, name, Vec::new()).map_err(system)?;
            symlinkat(&target, to, to_name).map_err(system)?;
            let (owner, group) = (Uid::from_raw(stat.st_uid), Gid::from_raw(stat.st_gid));
            match chownat(to, to_name, Some(owner), Some(group), AtFlags::SYMLINK_NOFOLLOW) {
                Ok(()) | Err(Errno::PERM) => {}
                Err(errno) => return Err(system(errno)),
            }
            utimensat(to, to_name, &times(&stat), AtFlags::SYMLINK_NOFOLLOW).map_err(system)?;
            Ok(None)
        }
        EntryKind::File => copy_file(from, name, to, to_name).map_err(system).map(|()| None),
        EntryKind::Directory => {
            let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
            let from = openat(from, name, flags, Mode::empty()).map_err(system)?;
            mkdirat(to, to_name, Mode::RWXU).map_err(system)?;
            let to = openat(to, to_name, flags, Mode::empty()).map_err(system)?;
            in_use(&to);
            let stat = fstat(&from).map_err(system)?;
            Ok(Some(Level { entries: read_dir(&from).map_err(system)?, from, to, stat }))
        }
        kind => Err(RootError::NotRegular {
            path: format!("{path} … {}", name.to_string_lossy().escape_debug()),
            kind: kind.as_str(),
        }
        .into()),
    }
}

fn copy_file(from: BorrowedFd<'_>, name: &OsStr, to: BorrowedFd<'_>, to_name: &OsStr) -> Result<(), Errno> {
    let flags = OFlags::NOFOLLOW | OFlags::CLOEXEC | OFlags::NONBLOCK | OFlags::NOCTTY;
    let source = openat(from, name, OFlags::RDONLY | flags, Mode::empty())?;
    let stat = fstat(&source)?;
    if EntryKind::of_mode(stat.st_mode) != EntryKind::File {
        return Err(Errno::NXIO);
    }
    let create = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL;
    let target = File::from(openat(to, to_name, create | flags, Mode::RUSR | Mode::WUSR)?);
    in_use(&target);
    let size = u64::try_from(stat.st_size).unwrap_or(0);
    ftruncate(&target, size)?;
    copy_data(&source, &target, size)?;
    keep_attributes(&source, &target, &stat)
}

/// Copies what holds data and leaves the holes.
fn copy_data(source: &OwnedFd, target: &File, size: u64) -> Result<(), Errno> {
    let reader = File::from(rustix::io::fcntl_dupfd_cloexec(source, 0)?);
    let mut block = vec![0; COPY_BLOCK_BYTES];
    let mut at = 0;
    while at < size {
        at = match seek(source, SeekFrom::Data(at)) {
            Ok(start) => start,
            // Only a hole is left.
            Err(Errno::NXIO) => return Ok(()),
            Err(errno) => return Err(errno),
        };
        let end = seek(source, SeekFrom::Hole(at))?.min(size);
        while at < end {
            let want = usize::try_from(end - at).unwrap_or(usize::MAX).min(block.len());
            let got =
                reader.read_at(&mut block[..want], at).map_err(|e| Errno::from_io_error(&e).unwrap_or(Errno::IO))?;
            if got == 0 {
                return Ok(());
            }
            target.write_all_at(&block[..got], at).map_err(|e| Errno::from_io_error(&e).unwrap_or(Errno::IO))?;
            at += got as u64;
        }
    }
    Ok(())
}

/// Gives the copy the owner, the extended attributes, the mode and the times.
fn keep_attributes(from: &OwnedFd, to: impl AsFd, stat: &Stat) -> Result<(), Errno> {
    match fchown(&to, Some(Uid::from_raw(stat.st_uid)), Some(Gid::from_raw(stat.st_gid))) {
        // A process that may not give files away leaves its own, as cp does.
        Ok(()) | Err(Errno::PERM) => {}
        Err(errno) => return Err(errno),
    }
    // Before the mode, which may forbid it, and after the owner, whose change takes some away.
    copy_xattrs(from, &to)?;
    fchmod(&to, Mode::from_raw_mode(stat.st_mode & 0o7777))?;
    futimens(&to, &times(stat))
}

/// Copies every extended attribute that this process may read and set.
fn copy_xattrs(from: &OwnedFd, to: impl AsFd) -> Result<(), Errno> {
    let mut names = Vec::with_capacity(XATTR_BYTES);
    match flistxattr(from, spare_capacity(&mut names)) {
        Ok(_) => {}
        Err(Errno::NOTSUP) => return Ok(()),
        Err(errno) => return Err(errno),
    }
    let mut value = Vec::with_capacity(if names.is_empty() { 0 } else { XATTR_BYTES });
    for name in names.split(|byte| *byte == 0).filter(|name| !name.is_empty()) {
        value.clear();
        match fgetxattr(from, name, spare_capacity(&mut value)) {
            Ok(_) => {}
            // Taken away since it was listed, or not for our eyes.
            Err(Errno::NODATA | Errno::PERM | Errno::ACCESS) => continue,
            Err(errno) => return Err(errno),
        }
        match fsetxattr(&to, name, &value, XattrFlags::empty()) {
            // Labels of the system are the system's to set.
            Ok(()) | Err(Errno::PERM | Errno::ACCESS | Errno::NOTSUP) => {}
            Err(errno) => return Err(errno),
        }
    }
    Ok(())
}

fn times(stat: &Stat) -> Timestamps {
    Timestamps {
        last_access: Timespec { tv_sec: stat.st_atime, tv_nsec: stat.st_atime_nsec as _ },
        last_modification: Timespec { tv_sec: stat.st_mtime, tv_nsec: stat.st_mtime_nsec as _ },
    }
}
