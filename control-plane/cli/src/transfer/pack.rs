//! A folder of this machine as a tar in a zstd stream.

use std::{
    collections::{HashMap, hash_map},
    fs::{self, File, Metadata},
    io::{self, Read, Write},
    os::unix::{
        ffi::{OsStrExt as _, OsStringExt as _},
        fs::{FileTypeExt as _, MetadataExt as _, OpenOptionsExt as _},
    },
    path::{Path, PathBuf},
};

use ignore::{
    WalkBuilder,
    gitignore::{Gitignore, GitignoreBuilder},
};
use remora_proto_archive::{
    BLOCK, EntryType, Time, Written,
    limits::{MAX_XATTRS, MAX_XATTRS_BYTES},
    padding, write_header,
    xattrs::{self, Xattr},
};
use remora_proto_model::Fault;
use rustix::{fs::OFlags, io::Errno};

use crate::{Failure, progress::Progress};

/// zstd's own default: faster than a network, and source code shrinks to a third.
const LEVEL: i32 = 3;

/// What is left out.
#[derive(Clone, Debug, Default)]
pub(crate) struct Rules {
    /// Whether `.remoraignore` files count, in each folder for what is below it.
    pub(crate) ignore_files: bool,
    /// Further patterns in the same form.
    pub(crate) exclude: Vec<String>,
}

/// What an archive holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Packed {
    pub(crate) entries: u64,
    /// Bytes of the files' contents.
    pub(crate) content_bytes: u64,
    /// Sockets, pipes and devices, which are left out.
    pub(crate) skipped: u64,
}

/// Packs what is below `root` into `out`, in the order of the names, with
/// permission bits, times, symbolic and hard links, and the extended attributes of
/// users. Links are never followed.
pub(crate) fn pack(root: &Path, rules: &Rules, progress: &Progress, out: impl Write) -> Result<Packed, Failure> {
    let excluded = matcher(root, &rules.exclude)?;
    let mut walk = WalkBuilder::new(root);
    walk.standard_filters(false).follow_links(false).sort_by_file_name(Ord::cmp);
    if rules.ignore_files {
        walk.add_custom_ignore_filename(".remoraignore");
    }
    let base = root.to_owned();
    walk.filter_entry(move |entry| {
        let is_folder = entry.file_type().is_some_and(|kind| kind.is_dir());
        let relative = entry.path().strip_prefix(&base).unwrap_or(entry.path());
        relative.as_os_str().is_empty() || !excluded.matched(relative, is_folder).is_ignore()
    });
    let written = |error| Failure::Local { what: "the archive".to_owned(), error };
    let encoder = zstd::Encoder::new(out, LEVEL).map_err(written)?;
    let mut archive = Archive { out: encoder, packed: Packed::default(), firsts: HashMap::new(), progress };
    for entry in walk.build() {
        let entry = entry.map_err(|error| walk_failure(root, error))?;
        if let Some(error) = entry.error() {
            return Err(walk_failure(entry.path(), error.clone()));
        }
        let path = entry.path();
        let Ok(name) = path.strip_prefix(root) else { continue };
        if !name.as_os_str().is_empty() {
            archive.add(path, name)?;
        }
    }
    let Archive { mut out, packed, .. } = archive;
    // The mark of the end.
    out.write_all(&[0; 2 * BLOCK]).map_err(written)?;
    out.finish().and_then(|mut out| out.flush()).map_err(written)?;
    Ok(packed)
}

fn matcher(root: &Path, patterns: &[String]) -> Result<Gitignore, Failure> {
    let wrong = |pattern: &str, error: ignore::Error| {
        Fault::invalid("exclude", format!("{pattern:?} is no pattern: {error}"))
            .hint("patterns are those of .gitignore")
    };
    let mut builder = GitignoreBuilder::new("");
    for pattern in patterns {
        builder.add_line(None, pattern).map_err(|error| wrong(pattern, error))?;
    }
    Ok(builder.build().map_err(|error| wrong(&root.display().to_string(), error))?)
}

fn walk_failure(path: &Path, error: ignore::Error) -> Failure {
    let text = error.to_string();
    let what = path.display().to_string();
    match error.into_io_error() {
        Some(error) => Failure::Local { what, error },
        None => Failure::Local { what, error: io::Error::other(text) },
    }
}

struct Archive<'a, W: Write> {
    out: zstd::Encoder<'static, W>,
    packed: Packed,
    /// Files some of whose names are still to come, by device and inode: the name
    /// that has the content, and how many are left.
    firsts: HashMap<(u64, u64), (PathBuf, u64)>,
    progress: &'a Progress,
}

impl<W: Write> Archive<'_, W> {
    fn add(&mut self, path: &Path, name: &Path) -> Result<(), Failure> {
        let at = |error| Failure::Local { what: path.display().to_string(), error };
        let metadata = match fs::symlink_metadata(path) {
            Ok(metadata) => metadata,
            // Gone since the folder was listed: as if it had gone before.
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            Err(error) => return Err(at(error)),
        };
        let kind = metadata.file_type();
        if kind.is_dir() {
            let xattrs = match open(path, OFlags::DIRECTORY) {
                Ok(folder) => xattrs::read(&folder).map_err(|errno| at(attributes(errno)))?,
                // Its names were just listed, so it went, or became something else.
                Err(error) if is_gone(&error) => return Ok(()),
                Err(error) => return Err(at(error)),
            };
            let name = [name.as_os_str().as_bytes(), b"/"].concat();
            self.header(&metadata, EntryType::Directory, &name, b"", &xattrs).map_err(at)
        } else if kind.is_symlink() {
            let target = fs::read_link(path).map_err(at)?.into_os_string().into_vec();
            self.header(&metadata, EntryType::Symlink, name.as_os_str().as_bytes(), &target, &[]).map_err(at)
        } else if kind.is_file() {
            self.file(path, name)
        } else {
            debug_assert!(kind.is_socket() || kind.is_fifo() || kind.is_block_device() || kind.is_char_device());
            self.packed.skipped += 1;
            Ok(())
        }
    }

    fn file(&mut self, path: &Path, name: &Path) -> Result<(), Failure> {
        let at = |error| Failure::Local { what: path.display().to_string(), error };
        // Whatever the name leads to by now: a link is not followed and a pipe not waited for.
        let file = match open(path, OFlags::NONBLOCK) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            Err(error) => return Err(at(error)),
        };
        let metadata = file.metadata().map_err(at)?;
        if !metadata.is_file() {
            self.packed.skipped += 1;
            return Ok(());
        }
        let called = name.as_os_str().as_bytes();
        if metadata.nlink() > 1
            && let Some(first) = self.first_name(&metadata, name)
        {
            let first = first.as_os_str().as_bytes();
            return self.header(&metadata, EntryType::Link, called, first, &[]).map_err(at);
        }
        let xattrs = xattrs::read(&file).map_err(|errno| at(attributes(errno)))?;
        self.header(&metadata, EntryType::Regular, called, b"", &xattrs).map_err(at)?;
        let mut content = Exactly { file, left: metadata.len(), progress: self.progress };
        io::copy(&mut content, &mut self.out).map_err(at)?;
        self.out.write_all(&[0; BLOCK][..padding(metadata.len())]).map_err(at)?;
        self.packed.content_bytes += metadata.len();
        Ok(())
    }

    /// Under which name the content of a file with several is packed; `None` where
    /// that is `name`.
    fn first_name(&mut self, metadata: &Metadata, name: &Path) -> Option<PathBuf> {
        match self.firsts.entry((metadata.dev(), metadata.ino())) {
            hash_map::Entry::Vacant(place) => {
                place.insert((name.to_owned(), metadata.nlink() - 1));
                None
            }
            hash_map::Entry::Occupied(mut met) => {
                met.get_mut().1 -= 1;
                // The last of them: nobody will ask again.
                Some(if met.get().1 == 0 { met.remove().0 } else { met.get().0.clone() })
            }
        }
    }

    /// The header of an entry: its permission bits and its time, and not its owner,
    /// who is somebody else there.
    fn header(
        &mut self,
        metadata: &Metadata,
        kind: EntryType,
        path: &[u8],
        link: &[u8],
        xattrs: &[Xattr],
    ) -> io::Result<()> {
        let header = Written {
            kind,
            path,
            link,
            mode: metadata.mode() & 0o7777,
            uid: 0,
            gid: 0,
            size: if kind == EntryType::Regular { metadata.len() } else { 0 },
            modified: Time { seconds: metadata.mtime(), nanos: u32::try_from(metadata.mtime_nsec()).unwrap_or(0) },
            xattrs,
        };
        write_header(&mut self.out, &header)?;
        self.packed.entries += 1;
        Ok(())
    }
}

fn open(path: &Path, flags: OFlags) -> io::Result<File> {
    let flags = (flags | OFlags::NOFOLLOW).bits().cast_signed();
    fs::OpenOptions::new().read(true).custom_flags(flags).open(path)
}

fn is_gone(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory)
}

fn attributes(errno: Errno) -> io::Error {
    match errno {
        Errno::TOOBIG => io::Error::new(
            io::ErrorKind::InvalidData,
            format!("has more than {MAX_XATTRS} extended attributes or {MAX_XATTRS_BYTES} bytes of them"),
        ),
        errno => errno.into(),
    }
}

/// As many bytes as the header promises. A file that grows meanwhile is as it
/// was when it was opened; one that shrinks fails, since nothing true can be put in.
struct Exactly<'a> {
    file: File,
    left: u64,
    progress: &'a Progress,
}

impl Read for Exactly<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let most = usize::try_from(self.left).unwrap_or(usize::MAX).min(buffer.len());
        if most == 0 {
            return Ok(0);
        }
        let count = self.file.read(&mut buffer[..most])?;
        if count == 0 {
            return Err(io::Error::new(
                io::ErrorKind::UnexpectedEof,
                format!("became {} bytes shorter while it was read; try again", self.left),
            ));
        }
        self.left -= count as u64;
        self.progress.add(count as u64);
        Ok(count)
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::{fs::symlink, net::UnixListener};

    use super::*;

    fn packed(root: &Path, rules: &Rules) -> (Packed, Vec<(String, u32, u64)>) {
        let mut bytes = Vec::new();
        let counts = pack(root, rules, &Progress::hidden(), &mut bytes).unwrap();
        let mut archive = tar::Archive::new(zstd::Decoder::new(&bytes[..]).unwrap());
        let entries = archive.entries().unwrap().map(|entry| {
            let entry = entry.unwrap();
            let name = String::from_utf8_lossy(&entry.path_bytes()).into_owned();
            (name, entry.header().mode().unwrap(), entry.size())
        });
        (counts, entries.collect())
    }

    #[test]
    fn a_tree_is_packed_in_order_with_modes_and_links() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path();
        fs::create_dir(root.join("b")).unwrap();
        fs::write(root.join("b/run.sh"), "#!").unwrap();
        fs::set_permissions(root.join("b/run.sh"), std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
        fs::write(root.join(".env"), "A=1").unwrap();
        symlink("../outside//x", root.join("link")).unwrap();
        let long = "d/".repeat(90) + "deep";
        fs::create_dir_all(root.join(&long).parent().unwrap()).unwrap();
        fs::write(root.join(&long), "x").unwrap();
        let _socket = UnixListener::bind(root.join("socket")).unwrap();

        let (counts, entries) = packed(root, &Rules::default());
        assert_eq!(counts, Packed { entries: 95, content_bytes: 6, skipped: 1 });
        assert_eq!(entries[0], (".env".to_owned(), 0o644, 3));
        assert!(entries.contains(&("b/run.sh".to_owned(), 0o755, 2)), "{entries:?}");
        assert!(entries.iter().any(|(name, ..)| *name == long));
        assert!(entries.iter().any(|(name, ..)| name == "link") && !entries.iter().any(|(name, ..)| name == "socket"));
    }

    #[test]
    fn remoraignore_and_exclude_leave_out_and_gitignore_does_not() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path();
        for path in ["target/x", "a/target/y", "a/keep.log", "a/other.log", "secret"] {
            fs::create_dir_all(root.join(path).parent().unwrap()).unwrap();
            fs::write(root.join(path), "").unwrap();
        }
        fs::write(root.join(".gitignore"), "secret\n").unwrap();
        fs::write(root.join(".remoraignore"), "target/\n*.log\n").unwrap();
        fs::write(root.join("a/.remoraignore"), "!keep.log\n").unwrap();
        let names = |rules: &Rules| packed(root, rules).1.into_iter().map(|(name, ..)| name).collect::<Vec<_>>();
        let rules = Rules { ignore_files: true, exclude: vec![] };
        assert_eq!(names(&rules), [".gitignore", ".remoraignore", "a/", "a/.remoraignore", "a/keep.log", "secret"]);
        let rules = Rules { ignore_files: true, exclude: vec!["/a".to_owned()] };
        assert_eq!(names(&rules), [".gitignore", ".remoraignore", "secret"]);
        assert_eq!(names(&Rules::default()).len(), 11);
        assert!(
            pack(root, &Rules { exclude: vec!["{a".to_owned()], ..rules }, &Progress::hidden(), io::sink()).is_err()
        );
    }

    #[test]
    fn an_unreadable_place_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let missing = folder.path().join("no");
        let failure = pack(&missing, &Rules::default(), &Progress::hidden(), io::sink()).unwrap_err();
        assert!(failure.to_string().contains("no"), "{failure}");
    }
}
