//! Writing below one folder of this machine, and nowhere else, whatever names
//! an archive holds and whatever links lie in the folder.

use std::{
    fs::File,
    io::{self, Read, Write as _},
    os::fd::{AsFd, OwnedFd},
    path::Path,
};

use remora_proto_archive::xattrs::{self, Xattr};
use rustix::{
    fs::{AtFlags, Mode, OFlags, RenameFlags, Timespec, Timestamps, UTIME_OMIT},
    io::Errno,
};
use uuid::Uuid;

/// Bits that a transfer carries over: no set-id bits, which would make a
/// stranger's program run with this user's rights.
const MODE_BITS: u32 = 0o777;

/// A modification time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ModifiedAt {
    pub(crate) seconds: i64,
    pub(crate) nanos: i64,
}

impl ModifiedAt {
    fn timestamps(self) -> Timestamps {
        Timestamps {
            last_access: Timespec { tv_sec: 0, tv_nsec: UTIME_OMIT },
            last_modification: Timespec { tv_sec: self.seconds, tv_nsec: self.nanos },
        }
    }
}

/// What became of a file.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct WrittenFile {
    pub(crate) bytes: u64,
    /// Extended attributes that the file system did not take.
    pub(crate) xattrs_refused: u64,
}

/// A folder that is written into. No name below it is followed where it is a link.
pub(crate) struct LocalTree {
    root: OwnedFd,
}

impl LocalTree {
    /// The folder at `path`, which the user named and which may be reached through links.
    pub(crate) fn open(path: &Path) -> io::Result<Self> {
        let root = rustix::fs::open(path, OFlags::DIRECTORY | OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())?;
        Ok(LocalTree { root })
    }

    /// Writes a file whole, or not at all.
    pub(crate) fn file(
        &self,
        path: &[Vec<u8>],
        mode: u32,
        modified: Option<ModifiedAt>,
        xattrs: &[Xattr],
        content: &mut impl Read,
    ) -> io::Result<WrittenFile> {
        let (folder, name) = self.parent(path)?;
        write_file(&folder, name, mode, modified, xattrs, content)
    }

    /// Makes a folder; one that is there stays. Its mode and time are set by
    /// [`LocalTree::finish_folder`], once what is below it is written. Returns how
    /// many attributes the file system did not take.
    pub(crate) fn folder(&self, path: &[Vec<u8>], xattrs: &[Xattr]) -> io::Result<u64> {
        Ok(xattrs::set(self.descend(path)?, xattrs)?)
    }

    /// Gives a folder its mode and time.
    pub(crate) fn finish_folder(&self, path: &[Vec<u8>], mode: u32, modified: Option<ModifiedAt>) -> io::Result<()> {
        let folder = self.descend(path)?;
        rustix::fs::fchmod(&folder, Mode::from_raw_mode(mode & MODE_BITS))?;
        if let Some(modified) = modified {
            rustix::fs::futimens(&folder, &modified.timestamps())?;
        }
        Ok(())
    }

    /// Makes a symbolic link in the place of what is there.
    pub(crate) fn symlink(&self, path: &[Vec<u8>], target: &[u8], modified: Option<ModifiedAt>) -> io::Result<()> {
        let (folder, name) = self.parent(path)?;
        in_place_of(&folder, name, |temporary| {
            rustix::fs::symlinkat(target, &folder, temporary)?;
            if let Some(modified) = modified {
                rustix::fs::utimensat(&folder, temporary, &modified.timestamps(), AtFlags::SYMLINK_NOFOLLOW)?;
            }
            Ok(())
        })
    }

    /// Makes another name of a file that was written before.
    pub(crate) fn hard_link(&self, path: &[Vec<u8>], original: &[Vec<u8>]) -> io::Result<()> {
        let (from, original) = self.parent(original)?;
        let (folder, name) = self.parent(path)?;
        if is_one_file((&from, original), (&folder, name)) {
            // A rename onto it would do nothing and leave both names.
            return Ok(());
        }
        in_place_of(&folder, name, |temporary| {
            Ok(rustix::fs::linkat(&from, original, &folder, temporary, AtFlags::empty())?)
        })
    }

    fn parent<'a>(&self, path: &'a [Vec<u8>]) -> io::Result<(OwnedFd, &'a [u8])> {
        let (name, folders) = path.split_last().ok_or(Errno::ISDIR)?;
        Ok((self.descend(folders)?, name))
    }

    /// The folder at `path`; what is missing on the way is made.
    fn descend(&self, path: &[Vec<u8>]) -> io::Result<OwnedFd> {
        let flags = OFlags::DIRECTORY | OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let mut folder = self.root.try_clone()?;
        for name in path {
            let next = match rustix::fs::openat(&folder, name.as_slice(), flags, Mode::empty()) {
                Err(Errno::NOENT) => {
                    match rustix::fs::mkdirat(&folder, name.as_slice(), Mode::from_raw_mode(MODE_BITS)) {
                        Ok(()) | Err(Errno::EXIST) => {}
                        Err(error) => return Err(error.into()),
                    }
                    rustix::fs::openat(&folder, name.as_slice(), flags, Mode::empty())
                }
                other => other,
            };
            folder = next.map_err(|error| match error {
                Errno::LOOP | Errno::NOTDIR => io::Error::new(
                    io::ErrorKind::NotADirectory,
                    format!(
                        "{} is a link or a file here and a folder there; links are never followed",
                        String::from_utf8_lossy(name)
                    ),
                ),
                other => other.into(),
            })?;
        }
        Ok(folder)
    }
}

fn is_one_file((from, original): (&OwnedFd, &[u8]), (folder, name): (&OwnedFd, &[u8])) -> bool {
    let identity = |folder: &OwnedFd, name: &[u8]| {
        rustix::fs::statat(folder, name, AtFlags::SYMLINK_NOFOLLOW).map(|stat| (stat.st_dev, stat.st_ino))
    };
    matches!((identity(from, original), identity(folder, name)), (Ok(one), Ok(other)) if one == other)
}

/// Writes the file `name` in `folder` under another name first, so that the name
/// holds the old bytes or all of the new ones.
pub(crate) fn write_file(
    folder: &impl AsFd,
    name: &[u8],
    mode: u32,
    modified: Option<ModifiedAt>,
    xattrs: &[Xattr],
    content: &mut impl Read,
) -> io::Result<WrittenFile> {
    let mut written = WrittenFile::default();
    in_place_of(folder, name, |temporary| {
        let flags = OFlags::CREATE | OFlags::EXCL | OFlags::WRONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let mut file = File::from(rustix::fs::openat(folder, temporary, flags, Mode::from_raw_mode(0o600))?);
        written.bytes = io::copy(content, &mut file)?;
        file.flush()?;
        written.xattrs_refused = xattrs::set(&file, xattrs)?;
        rustix::fs::fchmod(&file, Mode::from_raw_mode(mode & MODE_BITS))?;
        if let Some(modified) = modified {
            rustix::fs::futimens(&file, &modified.timestamps())?;
        }
        Ok(())
    })?;
    Ok(written)
}

/// Gives what `make` makes under another name the name `name`, in one step.
fn in_place_of(folder: &impl AsFd, name: &[u8], make: impl FnOnce(&str) -> io::Result<()>) -> io::Result<()> {
    let temporary = format!(".remora-{}.part", Uuid::new_v4());
    let made = make(&temporary)
        .and_then(|()| Ok(rustix::fs::renameat_with(folder, temporary.as_str(), folder, name, RenameFlags::empty())?));
    if made.is_err() {
        // It may not be there; then there is nothing to take away.
        _ = rustix::fs::unlinkat(folder, temporary.as_str(), AtFlags::empty());
    }
    made
}

#[cfg(test)]
mod tests {
    use std::{
        fs,
        os::unix::fs::{MetadataExt as _, symlink},
    };

    use super::*;

    fn path(text: &str) -> Vec<Vec<u8>> {
        text.split('/').map(|part| part.as_bytes().to_vec()).collect()
    }

    #[test]
    fn files_have_their_mode_and_time_and_no_set_id_bit() {
        let folder = tempfile::tempdir().unwrap();
        let tree = LocalTree::open(folder.path()).unwrap();
        let modified = Some(ModifiedAt { seconds: 1_000, nanos: 5 });
        tree.file(&path("a/b/c"), 0o4751, modified, &[], &mut &b"content"[..]).unwrap();
        let metadata = fs::metadata(folder.path().join("a/b/c")).unwrap();
        assert_eq!((metadata.mode() & 0o7777, metadata.mtime(), metadata.mtime_nsec()), (0o751, 1_000, 5));
        assert_eq!(fs::read(folder.path().join("a/b/c")).unwrap(), b"content");
    }

    #[test]
    fn a_content_that_breaks_off_leaves_the_old_file() {
        struct Broken;
        impl Read for Broken {
            fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
                Err(io::ErrorKind::ConnectionReset.into())
            }
        }
        let folder = tempfile::tempdir().unwrap();
        let tree = LocalTree::open(folder.path()).unwrap();
        fs::write(folder.path().join("a"), "old").unwrap();
        assert!(tree.file(&path("a"), 0o644, None, &[], &mut (&b"new"[..]).chain(Broken)).is_err());
        assert_eq!(fs::read(folder.path().join("a")).unwrap(), b"old");
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1, "something was left behind");
    }

    #[test]
    fn a_name_that_is_there_already_is_linked_without_a_trace() {
        let folder = tempfile::tempdir().unwrap();
        let tree = LocalTree::open(folder.path()).unwrap();
        fs::write(folder.path().join("a"), "x").unwrap();
        tree.hard_link(&path("b"), &path("a")).unwrap();
        tree.hard_link(&path("b"), &path("a")).unwrap();
        tree.hard_link(&path("a"), &path("a")).unwrap();
        assert_eq!(fs::metadata(folder.path().join("b")).unwrap().nlink(), 2);
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 2, "something was left behind");
    }

    #[test]
    fn links_in_the_target_are_never_followed() {
        let outside = tempfile::tempdir().unwrap();
        fs::write(outside.path().join("file"), "theirs").unwrap();
        let folder = tempfile::tempdir().unwrap();
        symlink(outside.path(), folder.path().join("dir")).unwrap();
        symlink(outside.path().join("file"), folder.path().join("file")).unwrap();
        let tree = LocalTree::open(folder.path()).unwrap();

        let refused = tree.file(&path("dir/new"), 0o644, None, &[], &mut io::empty()).unwrap_err();
        assert!(refused.to_string().contains("never followed"), "{refused}");
        assert!(tree.folder(&path("dir/sub"), &[]).is_err() && tree.symlink(&path("dir/l"), b"x", None).is_err());
        assert!(tree.hard_link(&path("l"), &path("dir/file")).is_err());
        // A link in the last place is replaced.
        tree.file(&path("file"), 0o644, None, &[], &mut &b"mine"[..]).unwrap();
        assert_eq!(fs::read(outside.path().join("file")).unwrap(), b"theirs");
        assert_eq!(fs::read(folder.path().join("file")).unwrap(), b"mine");
        assert_eq!(fs::read_dir(outside.path()).unwrap().count(), 1);
    }
}
