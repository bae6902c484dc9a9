//! ArchivePut: a tar into a directory, entry by entry.
//!
//! The directory is a root of its own: each entry is resolved below it like any
//! path of a client, so neither a name nor a link, old or from the archive
//! itself, leads out of it. A file takes the place of what was there in one
//! step, whole.

use std::{
    ffi::{OsStr, OsString},
    fs::File,
    io::{self, Read, Write as _},
    os::{fd::OwnedFd, unix::ffi::OsStrExt as _},
    rc::Rc,
};

use remora_agent_root::{EntryKind, RelPath, Root};
use remora_proto_archive::{
    Broken, Kind, Member, Members, Time, UnpackFault, Unpacked,
    limits::{ARCHIVE_BLOCK_BYTES, MAX_ARCHIVE_BYTES, MAX_ARCHIVE_ENTRIES},
    shown, xattrs,
};
use remora_proto_model::Reason;
use rustix::{
    fs::{
        AtFlags, Mode, OFlags, RenameFlags, Timespec, Timestamps, UTIME_OMIT, fchmod, futimens, linkat, mkdirat,
        openat, renameat_with, statat, symlinkat, syncfs, unlinkat, utimensat,
    },
    io::Errno,
};

use crate::{
    FileError,
    archive::{ArchiveFormat, ArchiveSummary, HELD_BYTES},
    limits::MAX_ARCHIVE_HELD_BYTES,
    unfinished::hidden_name,
    write::Hidden,
};

/// Unpacks `input` below the directory `path`, which is made where it is missing.
///
/// Ends with the first entry that is not taken; what was unpacked by then stays,
/// and the error counts it. When it returns, everything is on the disk.
pub fn archive_put(
    root: &Root,
    path: &RelPath,
    format: ArchiveFormat,
    input: impl Read,
) -> Result<ArchiveSummary, FileError> {
    root.mkdir_all(path, Mode::from_raw_mode(0o755))?;
    let target = root.sub(path)?;
    let source =
        Unpacked::new(format == ArchiveFormat::TarZstd, input).map_err(|error| broken(Broken::Input(error)))?;
    let mut unpack = Unpack {
        target,
        base: path,
        summary: ArchiveSummary::default(),
        parent: None,
        directories: Vec::new(),
        held: 0,
        block: vec![0; ARCHIVE_BLOCK_BYTES],
    };
    let unpacked = unpack.all(&mut Members::new(source)).and_then(|()| unpack.finish());
    match unpacked {
        Ok(()) => Ok(unpack.summary),
        Err(error) if unpack.summary.entries == 0 => Err(error),
        Err(error) => Err(error.after(
            format!("what had been unpacked stays (entries: {})", unpack.summary.entries),
            "mend the cause and send the archive again; what is there is replaced",
        )),
    }
}

struct Unpack<'a> {
    /// The directory that is unpacked into.
    target: Root,
    /// Its path, for messages.
    base: &'a RelPath,
    summary: ArchiveSummary,
    /// The directory of the entry before: most entries share it.
    parent: Option<(RelPath, Rc<OwnedFd>)>,
    /// Directories of the archive, whose modes and times are set last: filling
    /// them changes the one and may need the other.
    directories: Vec<(RelPath, u32, Time)>,
    /// Bytes of those.
    held: usize,
    block: Vec<u8>,
}

impl Unpack<'_> {
    fn all<R: Read>(&mut self, members: &mut Members<R>) -> Result<(), FileError> {
        let mut seen = 0;
        while let Some(member) = members.next_member().map_err(broken)? {
            seen += 1;
            if seen > MAX_ARCHIVE_ENTRIES {
                return Err(refused(format!("has more than {MAX_ARCHIVE_ENTRIES} entries"), "send it in parts"));
            }
            let path = inner(&member.path)?;
            if path.is_root() && member.kind == Kind::Directory {
                // The directory itself, as `tar c .` puts it first: it stays as it is.
                continue;
            }
            if path.is_root() {
                return Err(refused(format!("has \"{}\", which names no entry", shown(&member.path)), ""));
            }
            match member.kind {
                Kind::Directory => self.directory(path, &member)?,
                Kind::File => self.file(&path, &member, members)?,
                Kind::Symlink => self.symlink(&path, &member)?,
                Kind::HardLink => self.hard_link(&path, &member)?,
                Kind::Special => {
                    return Err(refused(
                        format!("has \"{}\", a FIFO or a device", shown(&member.path)),
                        "pack files, directories and links only",
                    ));
                }
            }
            self.summary.entries += 1;
        }
        Ok(())
    }

    /// Sets what had to wait, and waits for the disk.
    fn finish(&mut self) -> Result<(), FileError> {
        self.parent = None;
        while let Some((path, mode, modified)) = self.directories.pop() {
            let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW;
            let dir = match self.target.open_flags("open the directory", &path, flags, Mode::empty()) {
                Ok(dir) => dir,
                // Somebody removed or replaced it meanwhile.
                Err(error) if matches!(error.reason(), Reason::NotFound | Reason::NotADirectory) => continue,
                Err(error) => return Err(error.into()),
            };
            let system = |errno| self.failed("set attributes of", &path, errno);
            fchmod(&dir, Mode::from_raw_mode(mode)).map_err(system)?;
            futimens(&dir, &times(modified)).map_err(system)?;
        }
        // One wait for all: a wait for each file would make an upload minutes longer.
        syncfs(&self.target).map_err(|errno| self.failed("flush", &RelPath::root(), errno))
    }

    fn directory(&mut self, path: RelPath, member: &Member) -> Result<(), FileError> {
        self.held += path.as_bytes().len() + HELD_BYTES;
        if self.held > MAX_ARCHIVE_HELD_BYTES {
            return Err(refused(
                format!("has one directory too many, \"{}\"", shown(&member.path)),
                "their paths have at most 32 MiB; send it in parts",
            ));
        }
        let (dir, name) = self.place(&path)?;
        // It must be possible to fill it; its own mode comes last.
        let made = mkdirat(&dir, &name, Mode::from_raw_mode(member.mode | 0o700));
        match made {
            Ok(()) => {}
            Err(Errno::EXIST) => {
                let stat = statat(&dir, &name, AtFlags::SYMLINK_NOFOLLOW)
                    .map_err(|errno| self.failed("look at", &path, errno))?;
                if EntryKind::of_mode(stat.st_mode) != EntryKind::Directory {
                    return Err(FileError::refused(
                        Reason::NotADirectory,
                        format!(
                            "\"{}\" is a {}, where the archive has a directory",
                            self.named(&path),
                            EntryKind::of_mode(stat.st_mode).as_str()
                        ),
                        "remove it or unpack elsewhere",
                    ));
                }
            }
            Err(errno) => return Err(self.failed("make the directory", &path, errno)),
        }
        if !member.xattrs.is_empty() {
            // At once, while it can be written: held until the end they could be any number.
            let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
            self.summary.xattrs_refused += openat(&dir, &name, flags, Mode::empty())
                .and_then(|made| xattrs::set(made, &member.xattrs))
                .map_err(|errno| self.failed("set the attributes of", &path, errno))?;
        }
        self.directories.push((path, member.mode, member.modified));
        Ok(())
    }

    fn file<R: Read>(&mut self, path: &RelPath, member: &Member, members: &mut Members<R>) -> Result<(), FileError> {
        if member.size > MAX_ARCHIVE_BYTES - self.summary.content_bytes {
            return Err(refused(
                format!("holds more than {MAX_ARCHIVE_BYTES} bytes with \"{}\"", shown(&member.path)),
                "send it in parts",
            ));
        }
        let mut block = std::mem::take(&mut self.block);
        let (dir, name) = self.place(path)?;
        let hidden = Hidden::new(&dir).map_err(|errno| self.failed("write", path, errno));
        let done = hidden.and_then(|mut hidden| {
            let mut content = members.content();
            loop {
                let got = match content.read(&mut block) {
                    Ok(0) => break,
                    Ok(got) => got,
                    Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                    Err(error) => return Err(broken(error.into())),
                };
                hidden
                    .file
                    .write_all(&block[..got])
                    .map_err(|error| self.failed("write", path, Errno::from_io_error(&error).unwrap_or(Errno::IO)))?;
            }
            self.keep(&hidden.file, member)
                .and_then(|()| hidden.rename_to(&dir, &name, RenameFlags::empty()))
                .map_err(|errno| self.failed("write", path, errno))
        });
        self.block = block;
        self.summary.content_bytes += if done.is_ok() { member.size } else { 0 };
        done
    }

    fn keep(&mut self, file: &File, member: &Member) -> Result<(), Errno> {
        // Before the mode, which may forbid it.
        self.summary.xattrs_refused += xattrs::set(file, &member.xattrs)?;
        fchmod(file, Mode::from_raw_mode(member.mode))?;
        futimens(file, &times(member.modified))
    }

    /// A link's target is only words, as everywhere: what leads out is refused
    /// when something is resolved through it.
    fn symlink(&mut self, path: &RelPath, member: &Member) -> Result<(), FileError> {
        if member.link.is_empty() || member.link.contains(&0) {
            return Err(refused(format!("has the link \"{}\" without a target", shown(&member.path)), ""));
        }
        let (dir, name) = self.place(path)?;
        let system = |errno| self.failed("make the link", path, errno);
        let hidden = hidden_name().map_err(system)?;
        symlinkat(OsStr::from_bytes(&member.link), &dir, &hidden).map_err(system)?;
        let placed = utimensat(&dir, &hidden, &times(member.modified), AtFlags::SYMLINK_NOFOLLOW)
            .and_then(|()| renameat_with(&dir, &hidden, &dir, &name, RenameFlags::empty()));
        if placed.is_err() {
            // The first error is the one to tell.
            let _ = unlinkat(&dir, &hidden, AtFlags::empty());
        }
        placed.map_err(system)
    }

    fn hard_link(&mut self, path: &RelPath, member: &Member) -> Result<(), FileError> {
        let original = inner(&member.link)?;
        let (from, from_name) = self.target.open_parent(&original)?;
        let (dir, name) = self.place(path)?;
        let system = |errno| self.failed("make the hard link", path, errno);
        let kind = statat(&from, &from_name, AtFlags::SYMLINK_NOFOLLOW).map(|stat| EntryKind::of_mode(stat.st_mode));
        match kind {
            Ok(EntryKind::File | EntryKind::Symlink) => {}
            Ok(_) | Err(Errno::NOENT) => {
                return Err(refused(
                    format!(
                        "has the hard link \"{}\" to \"{}\", which is no file before it",
                        shown(&member.path),
                        shown(&member.link)
                    ),
                    "",
                ));
            }
            Err(errno) => return Err(system(errno)),
        }
        let hidden = hidden_name().map_err(system)?;
        linkat(&from, &from_name, &dir, &hidden, AtFlags::empty()).map_err(system)?;
        let placed = renameat_with(&dir, &hidden, &dir, &name, RenameFlags::empty());
        // Where both names are of one file already, the rename leaves both.
        match unlinkat(&dir, &hidden, AtFlags::empty()) {
            Ok(()) | Err(Errno::NOENT) => placed.map_err(system),
            Err(errno) => placed.and(Err(errno)).map_err(system),
        }
    }

    /// The directory that holds `path`, made where it is missing, and the last name.
    fn place(&mut self, path: &RelPath) -> Result<(Rc<OwnedFd>, OsString), FileError> {
        let above = path.parent().unwrap_or_default();
        let name = path.file_name().unwrap_or_default().to_owned();
        let dir = match self.parent.take() {
            Some((known, dir)) if known == above => dir,
            _ => Rc::new(self.target.mkdir_all(&above, Mode::from_raw_mode(0o755))?),
        };
        self.parent = Some((above, Rc::clone(&dir)));
        Ok((dir, name))
    }

    fn named(&self, path: &RelPath) -> RelPath {
        self.base.join(path.as_bytes()).unwrap_or_else(|_| self.base.clone())
    }

    fn failed(&self, action: &'static str, path: &RelPath, errno: Errno) -> FileError {
        FileError::system(action, &self.named(path), errno)
    }
}

/// The path of an entry. It must be plain: nothing is dropped from it to make it fit.
fn inner(path: &[u8]) -> Result<RelPath, FileError> {
    let hint = "pack with names relative to the directory";
    let plain =
        RelPath::new(path).map_err(|error| refused(format!("has an entry that is not taken: {error}"), hint))?;
    if plain.climbs() {
        return Err(refused(format!("has \"{}\", whose '..' could lead out", shown(path)), hint));
    }
    Ok(plain)
}

fn refused(problem: String, hint: &'static str) -> FileError {
    FileError::refused(Reason::ArchiveInvalid, format!("the archive {problem}"), hint)
}

fn broken(broken: Broken) -> FileError {
    let error = match broken {
        Broken::Malformed(problem) => return refused(format!("cannot be read: {problem}"), "pack it again"),
        Broken::Unsupported(problem) => {
            return FileError::refused(
                Reason::ContentUnsupported,
                format!("the archive has an entry that is not taken: {problem}"),
                "pack plain files (tar without --sparse), directories and links",
            );
        }
        Broken::Input(error) => error,
    };
    match error.get_ref().and_then(|inner| inner.downcast_ref()) {
        Some(UnpackFault::Undecodable(problem)) => refused(
            format!("cannot be read: {problem}"),
            "pack it again, with a zstd level up to 20 and without --long",
        ),
        Some(UnpackFault::TooMuch(problem)) => {
            refused(format!("is too large: {problem}"), "send it in parts, or uncompressed where it is mostly zeros")
        }
        Some(UnpackFault::Input(error)) if error.kind() == io::ErrorKind::TimedOut => {
            FileError::refused(Reason::DeadlineExceeded, "the archive stopped arriving", "send it again")
        }
        _ => {
            FileError::refused(Reason::Cancelled, format!("the archive did not arrive whole: {error}"), "send it again")
        }
    }
}

fn times(modified: Time) -> Timestamps {
    Timestamps {
        last_access: Timespec { tv_sec: 0, tv_nsec: UTIME_OMIT },
        last_modification: Timespec { tv_sec: modified.seconds, tv_nsec: modified.nanos.into() },
    }
}
