//! Owner, mode, times and extended attributes of an entry: what differs, and
//! how it is set. Always on a descriptor, or on a link itself: nothing here
//! follows one.

use std::{
    ffi::OsStr,
    os::{
        fd::{AsFd, AsRawFd as _, BorrowedFd},
        unix::ffi::OsStrExt as _,
    },
};

use rustix::{
    fs::{
        AtFlags, Gid, Mode, Stat, Timespec, Timestamps, UTIME_OMIT, Uid, XattrFlags, chownat, fchmod, fchown,
        fgetxattr, flistxattr, fremovexattr, fsetxattr, fstat, futimens, lgetxattr, llistxattr, lsetxattr, utimensat,
    },
    io::Errno,
};

use crate::{
    SnapshotError,
    format::{Entry, Timestamp, Xattr},
    limits::MAX_XATTR_VALUE_BYTES,
    shown,
};

/// First buffer for a list of names or a value: most fit.
const SMALL_BUFFER_BYTES: usize = 512;

/// The rights by which a program acts for its owner, whoever starts it.
const SET_ID: u32 = 0o6000;

/// What the system did not let this process set. Only the privileged can give
/// files away or set attributes of some namespaces.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Refused {
    /// Entries whose owner or attributes are not those of the snapshot.
    pub entries: u64,
    /// The first of them and what was refused.
    pub example: Option<String>,
}

impl Refused {
    fn note(&mut self, path: &[u8], what: &str, errno: Errno) {
        self.entries += 1;
        self.example.get_or_insert_with(|| format!("{what} of \"{}\": {errno}", shown(path)));
    }
}

/// Whether something may be refused without the restore being a failure.
fn is_tolerable(errno: Errno) -> bool {
    matches!(errno, Errno::PERM | Errno::ACCESS | Errno::NOTSUP | Errno::INVAL | Errno::NODATA)
}

/// Labels that the system itself gives and takes.
fn is_the_systems(name: &[u8]) -> bool {
    name == b"security.selinux" || name == b"security.ima" || name == b"security.evm"
}

/// The time of the last change of the content.
fn mtime(stat: &Stat) -> Timestamp {
    Timestamp { seconds: stat.st_mtime, nanos: stat.st_mtime_nsec as u32 }
}

/// Whether owner, mode, time or attributes are not those of `entry`.
pub(crate) fn differs(fd: impl AsFd, stat: &Stat, entry: &Entry) -> Result<bool, Errno> {
    Ok(stat.st_mode & 0o7777 != entry.mode
        || (stat.st_uid, stat.st_gid) != (entry.uid, entry.gid)
        || mtime(stat) != entry.mtime
        || extended(fd)? != entry.xattrs)
}

/// Whether owner and time of a link or FIFO are those of `entry`, and its mode
/// where it has one.
pub(crate) fn same_stat(stat: &Stat, entry: &Entry, with_mode: bool) -> bool {
    (!with_mode || stat.st_mode & 0o7777 == entry.mode)
        && (stat.st_uid, stat.st_gid) == (entry.uid, entry.gid)
        && mtime(stat) == entry.mtime
}

/// Sets all that `entry` says on what `fd` is open on, the time last.
pub(crate) fn apply(fd: impl AsFd, entry: &Entry, refused: &mut Refused) -> Result<(), SnapshotError> {
    let fd = fd.as_fd();
    let failed = |action| move |errno| SnapshotError::file(action, &entry.path, errno);
    let stat = fstat(fd).map_err(failed("look at"))?;
    let mut mode = entry.mode;
    if (stat.st_uid, stat.st_gid) != (entry.uid, entry.gid) {
        match fchown(fd, Some(Uid::from_raw(entry.uid)), Some(Gid::from_raw(entry.gid))) {
            Ok(()) => {}
            Err(errno) if is_tolerable(errno) => {
                refused.note(&entry.path, "the owner", errno);
                // Another's rights are not handed out in the name of this owner.
                mode &= !SET_ID;
            }
            Err(errno) => return Err(failed("change the owner of")(errno)),
        }
    }
    apply_extended(fd, &stat, entry, refused)?;
    // After the owner, whose change takes set-id bits away, and after the ACL,
    // which has a word in the mode.
    fchmod(fd, Mode::from_raw_mode(mode)).map_err(failed("change the mode of"))?;
    futimens(fd, &times(entry.mtime)).map_err(failed("set the time of"))
}

fn apply_extended(fd: BorrowedFd<'_>, stat: &Stat, entry: &Entry, refused: &mut Refused) -> Result<(), SnapshotError> {
    let failed = |errno| SnapshotError::file("set attributes of", &entry.path, errno);
    let there = extended(fd).map_err(failed)?;
    if there == entry.xattrs {
        return Ok(());
    }
    if stat.st_mode & 0o200 == 0 {
        // Attributes of users are set by those who may write.
        let _ = fchmod(fd, Mode::from_raw_mode(stat.st_mode & 0o777 | 0o200));
    }
    let mut tolerate = |name: &[u8], result: Result<(), Errno>| match result {
        Ok(()) => Ok(()),
        Err(errno) if is_tolerable(errno) => {
            refused.note(&entry.path, &format!("the attribute {}", name.escape_ascii()), errno);
            Ok(())
        }
        Err(errno) => Err(failed(errno)),
    };
    for xattr in there.iter().filter(|there| !entry.xattrs.iter().any(|wanted| wanted.name == there.name)) {
        tolerate(&xattr.name, fremovexattr(fd, OsStr::from_bytes(&xattr.name)))?;
    }
    for xattr in entry.xattrs.iter().filter(|wanted| !there.contains(wanted)) {
        tolerate(&xattr.name, fsetxattr(fd, OsStr::from_bytes(&xattr.name), &xattr.value, XattrFlags::empty()))?;
    }
    Ok(())
}

/// Sets all that `entry` says on the symbolic link `name` in `directory`.
pub(crate) fn apply_to_link(
    directory: BorrowedFd<'_>,
    name: &OsStr,
    entry: &Entry,
    refused: &mut Refused,
) -> Result<(), SnapshotError> {
    match chownat(
        directory,
        name,
        Some(Uid::from_raw(entry.uid)),
        Some(Gid::from_raw(entry.gid)),
        AtFlags::SYMLINK_NOFOLLOW,
    ) {
        Ok(()) => {}
        Err(errno) if is_tolerable(errno) => refused.note(&entry.path, "the owner", errno),
        Err(errno) => return Err(SnapshotError::file("change the owner of", &entry.path, errno)),
    }
    let path = through_procfs(directory, name);
    for xattr in &entry.xattrs {
        let set = lsetxattr(&path, OsStr::from_bytes(&xattr.name), &xattr.value, XattrFlags::empty());
        match set {
            Ok(()) => {}
            Err(errno) if is_tolerable(errno) || errno == Errno::NOENT => {
                refused.note(&entry.path, &format!("the attribute {}", xattr.name.escape_ascii()), errno);
            }
            Err(errno) => return Err(SnapshotError::file("set attributes of", &entry.path, errno)),
        }
    }
    utimensat(directory, name, &times(entry.mtime), AtFlags::SYMLINK_NOFOLLOW)
        .map_err(|errno| SnapshotError::file("set the time of", &entry.path, errno))
}

/// Gives `fd` the time that `stat` says.
pub(crate) fn set_mtime(fd: impl AsFd, stat: &Stat) -> Result<(), Errno> {
    futimens(fd, &times(mtime(stat)))
}

fn times(mtime: Timestamp) -> Timestamps {
    Timestamps {
        last_access: Timespec { tv_sec: 0, tv_nsec: UTIME_OMIT as _ },
        last_modification: Timespec { tv_sec: mtime.seconds, tv_nsec: mtime.nanos.into() },
    }
}

/// The extended attributes, ascending by name; none where the file system has none.
pub(crate) fn extended(fd: impl AsFd) -> Result<Vec<Xattr>, Errno> {
    collect(|buffer| flistxattr(&fd, buffer), |name, buffer| fgetxattr(&fd, name, buffer))
}

/// The extended attributes of the entry `name` in `directory`, which is not followed
/// where it is a link; none where procfs is not there to name it.
pub(crate) fn extended_of_link(directory: BorrowedFd<'_>, name: &OsStr) -> Result<Vec<Xattr>, Errno> {
    let path = through_procfs(directory, name);
    let list = |buffer: &mut [u8]| match llistxattr(&path, buffer) {
        Err(Errno::NOENT | Errno::NOTDIR) => Err(Errno::NOTSUP),
        result => result,
    };
    collect(list, |name, buffer| lgetxattr(&path, name, buffer))
}

/// The kernel has no call for the attributes of a link relative to a descriptor; the
/// link of procfs names the directory, and the last component is not followed.
fn through_procfs(directory: BorrowedFd<'_>, name: &OsStr) -> Vec<u8> {
    [format!("/proc/self/fd/{}/", directory.as_raw_fd()).as_bytes(), name.as_bytes()].concat()
}

fn collect(
    list: impl Fn(&mut [u8]) -> Result<usize, Errno>,
    get: impl Fn(&OsStr, &mut [u8]) -> Result<usize, Errno>,
) -> Result<Vec<Xattr>, Errno> {
    let names = match grown(list) {
        Ok(names) => names,
        Err(Errno::NOTSUP) => return Ok(Vec::new()),
        Err(errno) => return Err(errno),
    };
    let mut found = Vec::new();
    for name in names.split(|byte| *byte == 0).filter(|name| !name.is_empty() && !is_the_systems(name)) {
        match grown(|buffer| get(OsStr::from_bytes(name), buffer)) {
            Ok(value) => found.push(Xattr { name: name.to_vec(), value }),
            // It went meanwhile, or is listed and not to be read.
            Err(Errno::NODATA | Errno::NOTSUP) => {}
            Err(errno) => return Err(errno),
        }
    }
    found.sort_unstable();
    Ok(found)
}

/// What `read` puts into a buffer that is large enough.
fn grown(read: impl Fn(&mut [u8]) -> Result<usize, Errno>) -> Result<Vec<u8>, Errno> {
    let mut small = [0; SMALL_BUFFER_BYTES];
    match read(&mut small) {
        Ok(length) => Ok(small[..length].to_vec()),
        Err(Errno::RANGE) => {
            let mut large = vec![0; MAX_XATTR_VALUE_BYTES];
            let length = read(&mut large)?;
            large.truncate(length);
            Ok(large)
        }
        Err(errno) => Err(errno),
    }
}
