//! ArchiveGet: a directory or file as a tar, with modes, owners, times, links and
//! the extended attributes of users.

use std::{
    collections::{HashMap, hash_map::Entry},
    fs::File,
    io::{self, Read as _, Write},
    os::{
        fd::{AsFd, OwnedFd},
        unix::ffi::OsStrExt as _,
    },
};

use remora_agent_root::{EntryKind, RelPath, Root, RootError, limits::MAX_PATH_BYTES};
use remora_proto_archive::{
    BLOCK, EntryType, Time, Written,
    limits::{ARCHIVE_BLOCK_BYTES, MAX_ARCHIVE_BYTES, MAX_ARCHIVE_ENTRIES, MAX_XATTRS, MAX_XATTRS_BYTES},
    padding, write_header,
    xattrs::{self, Xattr},
};
use remora_proto_model::Reason;
use rustix::{
    fs::{AtFlags, Mode, OFlags, Stat, fstat, openat, readlinkat, statat},
    io::Errno,
};

use crate::{
    FileError,
    archive::{ArchiveFormat, ArchiveSummary, HELD_BYTES},
    limits::{ARCHIVE_LEVEL, MAX_ARCHIVE_HELD_BYTES, MAX_WALK_NAMES},
    patterns::Patterns,
    tree_walk::{Found, TreeWalk},
    unfinished::HIDDEN_PREFIX,
};

/// Packs what is at `path` into `out`, without what one of `exclude` matches.
/// Names in the archive are relative to `path`; a file has its own name.
///
/// What goes while it is packed is left out, as if it had gone before; a file
/// that becomes shorter ends the archive with an error. Where `out` fails, its
/// error is [`Reason::Cancelled`].
pub fn archive_get(
    root: &Root,
    path: &RelPath,
    format: ArchiveFormat,
    exclude: &[String],
    out: impl Write,
) -> Result<ArchiveSummary, FileError> {
    let exclude = Patterns::new("exclude", exclude)?;
    match format {
        ArchiveFormat::Tar => {
            let (summary, mut out) = pack(root, path, &exclude, out)?;
            out.flush().map_err(gone)?;
            Ok(summary)
        }
        ArchiveFormat::TarZstd => {
            let encoder = zstd::Encoder::new(out, ARCHIVE_LEVEL).map_err(gone)?;
            let (summary, encoder) = pack(root, path, &exclude, encoder)?;
            encoder.finish().and_then(|mut out| out.flush()).map_err(gone)?;
            Ok(summary)
        }
    }
}

fn gone(error: io::Error) -> FileError {
    if error.kind() == io::ErrorKind::TimedOut {
        return FileError::refused(
            Reason::DeadlineExceeded,
            "the archive was not taken",
            "ask for it again and read on",
        );
    }
    FileError::refused(Reason::Cancelled, format!("the archive could not be handed on: {error}"), "ask for it again")
}

fn pack<W: Write>(root: &Root, path: &RelPath, exclude: &Patterns, out: W) -> Result<(ArchiveSummary, W), FileError> {
    let mut pack = Pack {
        base: path,
        single: false,
        out,
        summary: ArchiveSummary::default(),
        linked: HashMap::new(),
        held: 0,
        block: vec![0; ARCHIVE_BLOCK_BYTES],
    };
    let found = root.stat(path, true)?;
    if EntryKind::of_mode(found.st_mode) == EntryKind::Directory {
        pack.tree(root, exclude)?;
    } else {
        pack.single(root)?;
    }
    // The mark of the end.
    pack.out.write_all(&[0; 2 * BLOCK]).map_err(gone)?;
    Ok((pack.summary, pack.out))
}

struct Pack<'a, W> {
    /// What is packed, for messages.
    base: &'a RelPath,
    /// Whether that is a file.
    single: bool,
    out: W,
    summary: ArchiveSummary,
    /// Files with several names: the first of them in the archive.
    linked: HashMap<(u64, u64), Box<[u8]>>,
    /// Bytes of those.
    held: usize,
    block: Vec<u8>,
}

impl<W: Write> Pack<'_, W> {
    fn tree(&mut self, root: &Root, exclude: &Patterns) -> Result<(), FileError> {
        let top = root.open_dir(self.base)?;
        let mut walk = TreeWalk::new(top).map_err(|errno| self.failed("list", b"", errno))?;
        loop {
            let taken = match walk.step() {
                None => return Ok(()),
                Some(Err(unreachable)) => return Err(self.failed("list", &unreachable.path, unreachable.errno)),
                Some(Ok(found)) => {
                    // A file that is being written has no name of its own yet.
                    let unfinished = found.name.as_bytes().starts_with(HIDDEN_PREFIX.as_bytes());
                    let taken = !unfinished && !exclude.leave_out(found.path);
                    if taken {
                        self.entry(&found)?;
                    }
                    taken
                }
            };
            if !taken {
                walk.skip_below();
            }
        }
    }

    /// A file by itself, under its own name.
    fn single(&mut self, root: &Root) -> Result<(), FileError> {
        self.single = true;
        let (dir, name) = root.open_parent_following(self.base)?;
        let stat = statat(&dir, &name, AtFlags::SYMLINK_NOFOLLOW).map_err(|errno| self.failed("find", b"", errno))?;
        let kind = EntryKind::of_mode(stat.st_mode);
        if kind != EntryKind::File {
            return Err(RootError::NotRegular { path: self.base.to_string(), kind: kind.as_str() }.into());
        }
        let called = self.base.file_name().unwrap_or(&name).as_bytes();
        self.entry(&Found { dir: dir.as_fd(), name: &name, path: called, kind })
    }

    fn entry(&mut self, found: &Found<'_>) -> Result<(), FileError> {
        if found.path.len() > MAX_PATH_BYTES {
            return Err(self.failed("pack", found.path, Errno::NAMETOOLONG));
        }
        match found.kind {
            EntryKind::File => self.file(found),
            EntryKind::Directory | EntryKind::Symlink => match self.plain(found) {
                // Gone, or another kind of thing, since it was found.
                Err(Errno::NOENT | Errno::INVAL | Errno::LOOP | Errno::NOTDIR) => Ok(()),
                result => result.map_err(|errno| self.failed("pack", found.path, errno)).and_then(|header| {
                    self.count(found.path)?;
                    self.out.write_all(&header).map_err(gone)
                }),
            },
            EntryKind::Fifo | EntryKind::Socket | EntryKind::CharDevice | EntryKind::BlockDevice => {
                self.summary.skipped += 1;
                Ok(())
            }
        }
    }

    /// The header of an entry without content.
    fn plain(&self, found: &Found<'_>) -> Result<Vec<u8>, Errno> {
        let mut xattrs = Vec::new();
        let stat = statat(found.dir, found.name, AtFlags::SYMLINK_NOFOLLOW)?;
        let mut path = found.path.to_vec();
        let (kind, link) = if found.kind == EntryKind::Directory {
            path.push(b'/');
            xattrs = xattrs::read(open_directory(found)?)?;
            (EntryType::Directory, Vec::new())
        } else {
            (EntryType::Symlink, readlinkat(found.dir, found.name, Vec::new())?.into_bytes())
        };
        let mut header = Vec::new();
        write_header(&mut header, &written(kind, &path, &link, 0, &stat, &xattrs))
            .map_err(|error| Errno::from_io_error(&error).unwrap_or(Errno::IO))?;
        Ok(header)
    }

    fn file(&mut self, found: &Found<'_>) -> Result<(), FileError> {
        // Whatever the name leads to by now: a link is not followed and a FIFO not waited for.
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
        let fd = match openat(found.dir, found.name, flags, Mode::empty()) {
            Ok(fd) => fd,
            Err(Errno::NOENT | Errno::LOOP | Errno::NXIO) => return Ok(()),
            Err(errno) => return Err(self.failed("open", found.path, errno)),
        };
        let stat = fstat(&fd).map_err(|errno| self.failed("look at", found.path, errno))?;
        if EntryKind::of_mode(stat.st_mode) != EntryKind::File {
            return Ok(());
        }
        self.count(found.path)?;
        if stat.st_nlink > 1 {
            match self.linked.entry((stat.st_dev, stat.st_ino)) {
                Entry::Occupied(first) => {
                    let header = written(EntryType::Link, found.path, first.get(), 0, &stat, &[]);
                    return write_header(&mut self.out, &header).map_err(gone);
                }
                Entry::Vacant(place) => {
                    place.insert(found.path.into());
                    self.held += found.path.len() + HELD_BYTES;
                }
            }
        }
        if self.held > MAX_ARCHIVE_HELD_BYTES {
            return Err(FileError::refused(
                Reason::LimitReached,
                format!("\"{}\" is one file with several names too many", self.named(found.path)),
                format!("their paths have at most {MAX_ARCHIVE_HELD_BYTES} bytes; get parts of the directory"),
            ));
        }
        let size = u64::try_from(stat.st_size).unwrap_or(0);
        self.summary.content_bytes = self.summary.content_bytes.saturating_add(size);
        if self.summary.content_bytes > MAX_ARCHIVE_BYTES {
            return Err(FileError::refused(
                Reason::TooLarge,
                format!(
                    "with \"{}\" the archive would hold more than {MAX_ARCHIVE_BYTES} bytes",
                    self.named(found.path)
                ),
                "leave large files out with `exclude`, or get parts of the directory",
            ));
        }
        let xattrs = xattrs::read(&fd).map_err(|errno| self.failed("read the attributes of", found.path, errno))?;
        let header = written(EntryType::Regular, found.path, b"", size, &stat, &xattrs);
        write_header(&mut self.out, &header).map_err(gone)?;
        self.content(File::from(fd), size, found.path)?;
        self.out.write_all(&[0; BLOCK][..padding(size)]).map_err(gone)
    }

    /// As many bytes as the header promises. What a file has grown by since it
    /// was opened is left; one that has shrunk has no true end to send.
    fn content(&mut self, mut file: File, size: u64, path: &[u8]) -> Result<(), FileError> {
        let mut left = size;
        while left > 0 {
            let most = usize::try_from(left).unwrap_or(usize::MAX).min(self.block.len());
            match file.read(&mut self.block[..most]) {
                Ok(0) => {
                    return Err(FileError::refused(
                        Reason::Conflict,
                        format!("\"{}\" became {left} bytes shorter while it was read", self.named(path)),
                        "ask for the archive again when the file is no longer written to",
                    ));
                }
                Ok(got) => {
                    self.out.write_all(&self.block[..got]).map_err(gone)?;
                    left -= got as u64;
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => {
                    return Err(self.failed("read", path, Errno::from_io_error(&error).unwrap_or(Errno::IO)));
                }
            }
        }
        Ok(())
    }

    fn count(&mut self, path: &[u8]) -> Result<(), FileError> {
        if self.summary.entries >= MAX_ARCHIVE_ENTRIES {
            return Err(FileError::refused(
                Reason::LimitReached,
                format!("\"{}\" would be entry {} of the archive", self.named(path), MAX_ARCHIVE_ENTRIES + 1),
                format!("an archive has at most {MAX_ARCHIVE_ENTRIES}; get parts of the directory"),
            ));
        }
        self.summary.entries += 1;
        Ok(())
    }

    fn named(&self, path: &[u8]) -> RelPath {
        let inner = if self.single { Ok(self.base.clone()) } else { self.base.join(path) };
        inner.unwrap_or_else(|_| self.base.clone())
    }

    fn failed(&self, action: &'static str, path: &[u8], errno: Errno) -> FileError {
        match errno {
            Errno::NOBUFS => FileError::refused(
                Reason::LimitReached,
                format!("\"{}\" has more than {MAX_WALK_NAMES} entries", self.named(path)),
                "get parts of the directory",
            ),
            Errno::TOOBIG => FileError::refused(
                Reason::TooLarge,
                format!(
                    "\"{}\" has more than {MAX_XATTRS} extended attributes or {MAX_XATTRS_BYTES} bytes \
                     of them",
                    self.named(path)
                ),
                "leave it out with `exclude`, or take attributes away",
            ),
            Errno::STALE => FileError::refused(
                Reason::Conflict,
                format!("a directory of \"{}\" was moved while it was read", self.base),
                "ask for the archive again",
            ),
            errno => FileError::system(action, &self.named(path), errno),
        }
    }
}

fn open_directory(found: &Found<'_>) -> Result<OwnedFd, Errno> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    openat(found.dir, found.name, flags, Mode::empty())
}

fn written<'a>(
    kind: EntryType,
    path: &'a [u8],
    link: &'a [u8],
    size: u64,
    stat: &Stat,
    xattrs: &'a [Xattr],
) -> Written<'a> {
    Written {
        kind,
        path,
        link,
        mode: stat.st_mode & 0o7777,
        uid: stat.st_uid,
        gid: stat.st_gid,
        size,
        modified: Time { seconds: stat.st_mtime, nanos: u32::try_from(stat.st_mtime_nsec).unwrap_or(0) },
        xattrs,
    }
}
