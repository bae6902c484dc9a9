//! A folder of this machine as a tar in a zstd stream.

use std::{
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
use remora_proto_model::Fault;
use rustix::fs::OFlags;
use tar::{EntryType, Header};

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
/// permission bits, times and symbolic links. Links are never followed.
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
    let mut archive = Archive { builder: tar::Builder::new(encoder), packed: Packed::default(), progress };
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
    let Archive { builder, packed, .. } = archive;
    builder.into_inner().and_then(zstd::Encoder::finish).and_then(|mut out| out.flush()).map_err(written)?;
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
    builder: tar::Builder<zstd::Encoder<'static, W>>,
    packed: Packed,
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
            self.entry(&metadata, EntryType::Directory, name, 0, io::empty()).map_err(at)
        } else if kind.is_symlink() {
            let target = fs::read_link(path).map_err(at)?;
            self.link(&metadata, name, target).map_err(at)
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
        let flags = OFlags::NOFOLLOW | OFlags::NONBLOCK;
        let file = match fs::OpenOptions::new().read(true).custom_flags(flags.bits().cast_signed()).open(path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            Err(error) => return Err(at(error)),
        };
        let metadata = file.metadata().map_err(at)?;
        if !metadata.is_file() {
            self.packed.skipped += 1;
            return Ok(());
        }
        let content = Exactly { file, left: metadata.len(), progress: self.progress };
        self.entry(&metadata, EntryType::Regular, name, metadata.len(), content).map_err(at)
    }

    fn entry(
        &mut self,
        metadata: &Metadata,
        kind: EntryType,
        name: &Path,
        size: u64,
        content: impl Read,
    ) -> io::Result<()> {
        let mut header = self.header(metadata, kind)?;
        header.set_size(size);
        self.builder.append_data(&mut header, name, content)?;
        self.packed.entries += 1;
        self.packed.content_bytes += size;
        Ok(())
    }

    fn link(&mut self, metadata: &Metadata, name: &Path, target: PathBuf) -> io::Result<()> {
        let mut header = self.header(metadata, EntryType::Symlink)?;
        header.set_size(0);
        let target = target.into_os_string().into_vec();
        let plain = header.as_old_mut().linkname.len() >= target.len();
        // The header's own setter tidies paths up; a target is words and stays as it is.
        if plain {
            header.as_old_mut().linkname[..target.len()].copy_from_slice(&target);
            self.builder.append_data(&mut header, name, io::empty())?;
        } else {
            self.builder.append_link(&mut header, name, std::ffi::OsStr::from_bytes(&target))?;
        }
        self.packed.entries += 1;
        Ok(())
    }

    /// A header with the permission bits and the time; what a header's whole
    /// seconds cannot hold goes before it (POSIX.1-2001, pax).
    fn header(&mut self, metadata: &Metadata, kind: EntryType) -> io::Result<Header> {
        let (seconds, nanos) = (metadata.mtime(), metadata.mtime_nsec());
        if seconds < 0 || nanos != 0 {
            self.builder.append_pax_extensions([("mtime", pax_time(seconds, nanos).as_bytes())])?;
        }
        let mut header = Header::new_gnu();
        header.set_entry_type(kind);
        header.set_mode(metadata.mode() & 0o7777);
        header.set_mtime(u64::try_from(seconds).unwrap_or(0));
        Ok(header)
    }
}

/// A time as pax writes it: decimal seconds, nanoseconds behind the point.
fn pax_time(seconds: i64, nanos: i64) -> String {
    if seconds >= 0 {
        return format!("{seconds}.{nanos:09}");
    }
    if nanos == 0 {
        return seconds.to_string();
    }
    // -1 s and 250,000,000 ns is -0.75.
    format!("-{}.{:09}", (seconds + 1).unsigned_abs(), 1_000_000_000 - nanos)
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
        assert_eq!(names(&rules), [".gitignore", ".remoraignore", "a", "a/.remoraignore", "a/keep.log", "secret"]);
        let rules = Rules { ignore_files: true, exclude: vec!["/a".to_owned()] };
        assert_eq!(names(&rules), [".gitignore", ".remoraignore", "secret"]);
        assert_eq!(names(&Rules::default()).len(), 11);
        assert!(
            pack(root, &Rules { exclude: vec!["{a".to_owned()], ..rules }, &Progress::hidden(), io::sink()).is_err()
        );
    }

    #[test]
    fn times_keep_their_nanoseconds() {
        assert_eq!(pax_time(12, 5), "12.000000005");
        assert_eq!(pax_time(-1, 250_000_000), "-0.750000000");
        assert_eq!(pax_time(-2, 0), "-2");
    }

    #[test]
    fn an_unreadable_place_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let missing = folder.path().join("no");
        let failure = pack(&missing, &Rules::default(), &Progress::hidden(), io::sink()).unwrap_err();
        assert!(failure.to_string().contains("no"), "{failure}");
    }
}
