//! Archives: what is packed is unpacked the same, also by and from GNU tar;
//! what would do harm is refused.

use std::{
    collections::BTreeMap,
    ffi::OsStr,
    fs,
    io::{self, Read, Write as _},
    os::unix::{
        ffi::OsStrExt as _,
        fs::{MetadataExt as _, PermissionsExt as _, symlink},
        net::UnixListener,
    },
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use remora_agent_files::{
    ArchiveFormat, ArchiveSummary, Attributes, FileError, Time, archive_get, archive_put, set_attr,
};
use remora_agent_root::{RelPath, Resolver, Root};
use remora_proto_model::{Effect, Fault, Reason};
use rustix::fs::{AtFlags, CWD, Timespec, Timestamps, utimensat};

const FORMATS: [ArchiveFormat; 2] = [ArchiveFormat::Tar, ArchiveFormat::TarZstd];

fn path(text: impl AsRef<[u8]>) -> RelPath {
    RelPath::new(text).unwrap()
}

/// Runs `check` on an empty workspace with each resolver; what lies beside it must not change.
fn each(check: impl Fn(&Root, &Path)) {
    for resolver in [Resolver::Kernel, Resolver::Walk] {
        let temp = tempfile::tempdir().unwrap();
        let base = temp.path().join("in");
        fs::create_dir(&base).unwrap();
        fs::create_dir(temp.path().join("out")).unwrap();
        fs::write(temp.path().join("out/secret"), "outside").unwrap();
        let outside = record(&temp.path().join("out"));
        check(&Root::open_with(&base, resolver).unwrap(), &base);
        assert_eq!(record(&temp.path().join("out")), outside, "something outside changed");
    }
}

/// Mode, time, target or hash of the bytes, and the first name of the same inode.
type Seen = (u32, i64, i64, String, PathBuf);

#[track_caller]
fn assert_same(after: &BTreeMap<PathBuf, Seen>, before: &BTreeMap<PathBuf, Seen>) {
    for (name, entry) in before {
        assert_eq!(after.get(name), Some(entry), "{name:?}");
    }
    assert!(after.keys().eq(before.keys()));
}

fn record(base: &Path) -> BTreeMap<PathBuf, Seen> {
    let (mut seen, mut inodes) = (BTreeMap::new(), BTreeMap::new());
    let mut ahead = vec![base.to_owned()];
    while let Some(at) = ahead.pop() {
        let meta = fs::symlink_metadata(&at).unwrap();
        let name = at.strip_prefix(base).unwrap().to_owned();
        let mut content = String::new();
        if meta.is_dir() {
            ahead.extend(fs::read_dir(&at).unwrap().map(|entry| entry.unwrap().path()));
        } else if meta.is_symlink() {
            content = format!("{:?}", fs::read_link(&at).unwrap());
        } else if meta.is_file() {
            content = blake3::hash(&fs::read(&at).unwrap()).to_string();
        }
        let first: &mut PathBuf = inodes.entry(meta.ino()).or_insert_with(|| name.clone());
        if name < *first {
            first.clone_from(&name);
        }
        seen.insert(
            name,
            (meta.mode(), meta.mtime(), meta.mtime_nsec(), content, PathBuf::from(meta.ino().to_string())),
        );
    }
    for entry in seen.values_mut() {
        entry.4 = inodes[&entry.4.to_str().unwrap().parse().unwrap()].clone();
    }
    // The top itself is not in the archive.
    seen.remove(Path::new(""));
    seen
}

fn touch(at: &Path, seconds: i64, nanos: i64) {
    let time = Timespec { tv_sec: seconds, tv_nsec: nanos };
    utimensat(CWD, at, &Timestamps { last_access: time, last_modification: time }, AtFlags::SYMLINK_NOFOLLOW).unwrap();
}

/// A tree with whatever a tar has to be told in a special way.
fn plant(base: &Path) {
    fs::create_dir(base.join("dir")).unwrap();
    fs::write(base.join("dir/file"), "content").unwrap();
    fs::write(base.join("dir-x"), "between dir and dir/file").unwrap();
    fs::write(base.join("empty"), "").unwrap();
    fs::write(base.join("block"), [7; 512]).unwrap();
    fs::write(base.join("large"), (0..300_000_u32).flat_map(u32::to_le_bytes).collect::<Vec<_>>()).unwrap();
    fs::write(base.join(OsStr::from_bytes(b"\xff\xfe\n")), "not UTF-8").unwrap();
    fs::write(base.join("é".repeat(127)), "long name").unwrap();
    fs::write(base.join("n".repeat(99)), "99").unwrap();
    fs::write(base.join("n".repeat(100)), "100").unwrap();
    let deep = base.join("deep/".repeat(60));
    fs::create_dir_all(&deep).unwrap();
    fs::write(deep.join("file"), "far down").unwrap();
    symlink("file", base.join("dir/link")).unwrap();
    symlink("/absolute//and/../odd", base.join("out")).unwrap();
    symlink("t".repeat(1_000), base.join("long-link")).unwrap();
    symlink(OsStr::from_bytes(b"\xff"), base.join("odd-link")).unwrap();
    fs::hard_link(base.join("dir/file"), base.join("hard")).unwrap();
    fs::hard_link(base.join("dir/file"), base.join("deep").join("h".repeat(120))).unwrap();
    fs::create_dir(base.join("read-only")).unwrap();
    fs::write(base.join("read-only/file"), "x").unwrap();
    touch(&base.join("dir/file"), 1_000_000_000, 123_456_789);
    touch(&base.join("empty"), -1, 250_000_000);
    touch(&base.join("large"), -86_400, 0);
    touch(&base.join("block"), 20_000_000_000, 0);
    touch(&base.join("dir/link"), 7, 8);
    for (name, mode) in [("dir/file", 0o4751), ("empty", 0o000), ("read-only", 0o555), ("dir", 0o1777)] {
        fs::set_permissions(base.join(name), fs::Permissions::from_mode(mode)).unwrap();
    }
    touch(&base.join("dir"), 42, 43);
}

fn get(
    root: &Root,
    from: &str,
    format: ArchiveFormat,
    exclude: &[&str],
) -> Result<(ArchiveSummary, Vec<u8>), FileError> {
    let exclude: Vec<String> = exclude.iter().map(|text| (*text).to_owned()).collect();
    let mut bytes = Vec::new();
    let summary = archive_get(root, &path(from), format, &exclude, &mut bytes)?;
    Ok((summary, bytes))
}

fn names(bytes: &[u8]) -> Vec<String> {
    let mut archive = tar::Archive::new(bytes);
    archive.entries().unwrap().map(|entry| String::from_utf8_lossy(&entry.unwrap().path_bytes()).into_owned()).collect()
}

#[test]
fn what_is_packed_is_unpacked_the_same() {
    each(|root, base| {
        fs::create_dir(base.join("from")).unwrap();
        plant(&base.join("from"));
        let before = record(&base.join("from"));
        for format in FORMATS {
            let (packed, bytes) = get(root, "from", format, &[]).unwrap();
            assert_eq!(packed.entries, before.len() as u64);
            let unpacked = archive_put(root, &path("to/here"), format, &bytes[..]).unwrap();
            assert_eq!(unpacked, packed);
            assert_same(&record(&base.join("to/here")), &before);
            // Once more over what is there.
            assert_eq!(archive_put(root, &path("to/here"), format, &bytes[..]).unwrap(), packed);
            assert_same(&record(&base.join("to/here")), &before);
            fs::remove_dir_all(base.join("to")).unwrap();
        }
    });
}

/// GNU tar, with `arguments`, in the directory `at`.
fn gnu_tar(at: &Path, arguments: &[&str], input: &[u8]) -> Vec<u8> {
    let mut tar = Command::new("tar")
        .args(arguments)
        .current_dir(at)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("GNU tar is installed");
    let mut stdin = tar.stdin.take().unwrap();
    let output = std::thread::scope(|scope| {
        scope.spawn(move || stdin.write_all(input).unwrap());
        tar.wait_with_output().unwrap()
    });
    assert!(output.status.success(), "tar {arguments:?}");
    output.stdout
}

#[test]
fn gnu_tar_reads_what_is_packed_and_packs_what_is_read() {
    each(|root, base| {
        fs::create_dir(base.join("from")).unwrap();
        plant(&base.join("from"));
        let before = record(&base.join("from"));
        fs::create_dir(base.join("to")).unwrap();
        gnu_tar(&base.join("to"), &["-xpf", "-"], &get(root, "from", ArchiveFormat::Tar, &[]).unwrap().1);
        assert_same(&record(&base.join("to")), &before);

        for (number, format) in ["--format=pax", "--format=gnu", "--format=posix"].iter().enumerate() {
            let bytes = gnu_tar(&base.join("from"), &["-cf", "-", format, "."], b"");
            let to = format!("from-{number}");
            archive_put(root, &path(&to), ArchiveFormat::Tar, &bytes[..]).unwrap();
            let mut after = record(&base.join(&to));
            if *format == "--format=gnu" {
                // It has whole seconds only.
                assert!(after.values().all(|entry| entry.2 == 0));
                for (name, entry) in &mut after {
                    entry.2 = before[name].2;
                }
            }
            assert_same(&after, &before);
        }
    });
}

#[test]
fn exclude_leaves_out_and_special_files_are_counted() {
    each(|root, base| {
        for name in ["a/x.o", "a/x.c", "b/keep/y.o", "node_modules/m/i.js"] {
            fs::create_dir_all(base.join(name).parent().unwrap()).unwrap();
            fs::write(base.join(name), name).unwrap();
        }
        fs::write(base.join("a/.remora-tmp-0123456789abcdef01234567"), "half of an upload").unwrap();
        let _socket = UnixListener::bind(base.join("socket")).unwrap();
        rustix::fs::mknodat(CWD, base.join("fifo"), rustix::fs::FileType::Fifo, rustix::fs::Mode::RWXU, 0).unwrap();
        let (summary, bytes) = get(root, "", ArchiveFormat::Tar, &["**/node_modules", "**/*.o", "!b/keep/*"]).unwrap();
        assert_eq!(names(&bytes), ["a/", "a/x.c", "b/", "b/keep/", "b/keep/y.o"]);
        assert_eq!(summary, ArchiveSummary { entries: 5, content_bytes: 15, skipped: 2 });

        let (summary, bytes) = get(root, "a/x.c", ArchiveFormat::Tar, &[]).unwrap();
        assert_eq!((names(&bytes), summary.content_bytes), (vec!["x.c".to_owned()], 5));
        let refused = |from: &str, exclude: &[&str]| get(root, from, ArchiveFormat::Tar, exclude).unwrap_err().reason();
        assert_eq!(refused("fifo", &[]), Reason::NotARegularFile);
        assert_eq!(refused("socket", &[]), Reason::NotARegularFile);
        assert_eq!(refused("none", &[]), Reason::NotFound);
        assert_eq!(refused("", &["["]), Reason::PatternInvalid);
        symlink("../out", base.join("link")).unwrap();
        symlink("../out/secret", base.join("file-link")).unwrap();
        assert_eq!(refused("link", &[]), Reason::PathEscapesRoot);
        assert_eq!(refused("file-link", &[]), Reason::PathEscapesRoot);
    });
}

#[test]
fn a019_a_sparse_file_of_terabytes_is_refused_before_a_byte_of_it() {
    each(|root, base| {
        fs::File::create(base.join("sparse")).unwrap().set_len(5 << 40).unwrap();
        let fault = Fault::from(get(root, "", ArchiveFormat::TarZstd, &[]).unwrap_err());
        assert_eq!(fault.reason, Reason::TooLarge);
        assert!(fault.message.contains("sparse") && fault.hint.contains("exclude"), "{fault}");
    });
}

#[test]
fn a013_a_tree_too_deep_to_name_is_a_clean_error_and_a_deep_one_is_packed() {
    each(|root, base| {
        fs::create_dir_all(base.join("d/".repeat(500))).unwrap();
        let (summary, bytes) = get(root, "", ArchiveFormat::TarZstd, &[]).unwrap();
        assert_eq!(summary.entries, 500);
        archive_put(root, &path("twin"), ArchiveFormat::TarZstd, &bytes[..]).unwrap();
        assert!(base.join("twin").join("d/".repeat(500)).is_dir());
        fs::remove_dir_all(base.join("twin")).unwrap();

        let mut here = root.open_dir(&path("d/".repeat(500))).unwrap();
        for _ in 0..2_000 {
            rustix::fs::mkdirat(&here, "d", rustix::fs::Mode::RWXU).unwrap();
            let flags = rustix::fs::OFlags::RDONLY | rustix::fs::OFlags::DIRECTORY;
            here = rustix::fs::openat(&here, "d", flags, rustix::fs::Mode::empty()).unwrap();
        }
        assert_eq!(get(root, "", ArchiveFormat::Tar, &[]).unwrap_err().reason(), Reason::PathInvalid);
    });
}

/// A tar under construction, of raw headers.
#[derive(Default)]
struct Forge(Vec<u8>);

impl Forge {
    fn raw(mut self, kind: u8, name: &[u8], link: &[u8], size: u64, content: &[u8]) -> Self {
        let mut header = tar::Header::new_ustar();
        header.as_old_mut().name[..name.len()].copy_from_slice(name);
        header.as_old_mut().linkname[..link.len()].copy_from_slice(link);
        header.set_entry_type(tar::EntryType::new(kind));
        header.set_mode(0o644);
        header.set_mtime(1);
        header.set_size(size);
        header.set_cksum();
        self.0.extend_from_slice(header.as_bytes());
        self.0.extend_from_slice(content);
        self.0.resize(self.0.len().next_multiple_of(512), 0);
        self
    }

    fn file(self, name: &str, content: &str) -> Self {
        self.raw(b'0', name.as_bytes(), b"", content.len() as u64, content.as_bytes())
    }

    fn link(self, kind: u8, name: &str, target: &str) -> Self {
        self.raw(kind, name.as_bytes(), target.as_bytes(), 0, b"")
    }

    fn pax(self, records: &[(&str, &str)]) -> Self {
        let mut body = Vec::new();
        for (key, value) in records {
            let rest = key.len() + value.len() + 3;
            let length = (rest..).find(|length| rest + length.to_string().len() == *length).unwrap();
            body.extend_from_slice(format!("{length} {key}={value}\n").as_bytes());
        }
        self.raw(b'x', b"PaxHeader", b"", body.len() as u64, &body)
    }

    fn end(mut self) -> Vec<u8> {
        self.0.extend_from_slice(&[0; 1_024]);
        self.0
    }
}

#[test]
fn a073_archives_that_would_do_harm_are_refused() {
    let forge = Forge::default;
    let long = "x".repeat(256);
    let cases: Vec<(&str, Vec<u8>, Reason)> = vec![
        ("climbing name", forge().file("../out/secret", "evil").end(), Reason::ArchiveInvalid),
        ("climbing in the middle", forge().file("a/../../out/secret", "evil").end(), Reason::ArchiveInvalid),
        ("climbing inside", forge().file("a/../b", "evil").end(), Reason::ArchiveInvalid),
        ("absolute name", forge().file("/tmp/evil", "evil").end(), Reason::ArchiveInvalid),
        ("no name", forge().file("", "evil").end(), Reason::ArchiveInvalid),
        ("long name", forge().pax(&[("path", &long)]).file("x", "").end(), Reason::ArchiveInvalid),
        ("NUL in a name", forge().pax(&[("path", "a\0b")]).file("x", "").end(), Reason::ArchiveInvalid),
        ("climbing by pax", forge().pax(&[("path", "../out/secret")]).file("x", "evil").end(), Reason::ArchiveInvalid),
        (
            "climbing by GNU",
            forge().raw(b'L', b"././@LongLink", b"", 14, b"../out/secret\0").file("x", "evil").end(),
            Reason::ArchiveInvalid,
        ),
        (
            "link out, then through it",
            forge().link(b'2', "l", "../out").file("l/secret", "evil").end(),
            Reason::PathEscapesRoot,
        ),
        (
            "absolute link, then through it",
            forge().link(b'2', "l", "/").file("l/evil", "evil").end(),
            Reason::PathEscapesRoot,
        ),
        (
            "out of the target, inside the workspace",
            forge().link(b'2', "l", "..").file("l/evil", "evil").end(),
            Reason::PathEscapesRoot,
        ),
        (
            "directory through a link out",
            forge().link(b'2', "l", "../../out").link(b'5', "l/d/", "").end(),
            Reason::PathEscapesRoot,
        ),
        (
            "link through a link out",
            forge().link(b'2', "l", "../../out").link(b'2', "l/d", "x").end(),
            Reason::PathEscapesRoot,
        ),
        ("hard link out", forge().link(b'1', "h", "../../out/secret").end(), Reason::ArchiveInvalid),
        ("hard link to an absolute name", forge().link(b'1', "h", "/etc/passwd").end(), Reason::ArchiveInvalid),
        (
            "hard link through a link out",
            forge().link(b'2', "l", "../../out").link(b'1', "h", "l/secret").end(),
            Reason::PathEscapesRoot,
        ),
        ("hard link to nothing", forge().link(b'1', "h", "none").end(), Reason::ArchiveInvalid),
        ("character device", forge().link(b'3', "null", "").end(), Reason::ArchiveInvalid),
        ("block device", forge().link(b'4', "sda", "").end(), Reason::ArchiveInvalid),
        ("FIFO", forge().link(b'6', "fifo", "").end(), Reason::ArchiveInvalid),
        ("unknown kind", forge().link(b'Z', "z", "").end(), Reason::ContentUnsupported),
        ("GNU sparse", forge().link(b'S', "s", "").end(), Reason::ContentUnsupported),
        ("pax sparse", forge().pax(&[("GNU.sparse.major", "1")]).file("s", "x").end(), Reason::ContentUnsupported),
        ("two sizes", forge().pax(&[("size", "0")]).file("x", "content").end(), Reason::ArchiveInvalid),
        ("directory with content", forge().raw(b'5', b"d/", b"", 4, b"evil").end(), Reason::ArchiveInvalid),
        ("link with content", forge().raw(b'2', b"l", b"x", 4, b"evil").end(), Reason::ArchiveInvalid),
        ("link without a target", forge().link(b'2', "l", "").end(), Reason::ArchiveInvalid),
        ("size beyond the end", forge().raw(b'0', b"x", b"", 1 << 20, b"short").end(), Reason::ArchiveInvalid),
        (
            "size of exabytes",
            forge().pax(&[("size", "9223372036854775807")]).raw(b'0', b"x", b"", 0o77_777_777_777, b"").end(),
            Reason::ArchiveInvalid,
        ),
        ("size that is none", forge().pax(&[("size", "-1")]).file("x", "").end(), Reason::ArchiveInvalid),
        ("time that is none", forge().pax(&[("mtime", "now")]).file("x", "").end(), Reason::ArchiveInvalid),
        ("records that lie", forge().raw(b'x', b"p", b"", 9, b"99 path=x").file("x", "").end(), Reason::ArchiveInvalid),
        ("huge extended header", forge().raw(b'x', b"p", b"", 1 << 33, b"").end(), Reason::ArchiveInvalid),
        ("huge long name", forge().raw(b'L', b"l", b"", 1 << 33, b"").end(), Reason::ArchiveInvalid),
        ("extended header of nothing", forge().pax(&[("path", "x")]).end(), Reason::ArchiveInvalid),
        ("a global path", forge().raw(b'g', b"g", b"", 9, b"9 path=x\n").file("y", "").end(), Reason::ArchiveInvalid),
        (
            "headers without end",
            (0..20).fold(forge(), |forge, _| forge.pax(&[("a", "b")])).end(),
            Reason::ArchiveInvalid,
        ),
        ("no tar", b"hello".repeat(1_000), Reason::ArchiveInvalid),
        ("nothing", Vec::new(), Reason::ArchiveInvalid),
        ("no end mark", forge().file("x", "whole").0, Reason::ArchiveInvalid),
        (
            "two archives",
            [forge().file("x", "one").end(), forge().file("x", "two").end()].concat(),
            Reason::ArchiveInvalid,
        ),
        ("cut in a header", forge().file("x", "").0[..300].to_vec(), Reason::ArchiveInvalid),
    ];
    each(|root, base| {
        for (what, bytes, reason) in &cases {
            let packed = zstd::encode_all(&bytes[..], 1).unwrap();
            for (format, bytes) in [(ArchiveFormat::Tar, bytes), (ArchiveFormat::TarZstd, &packed)] {
                fs::create_dir(base.join("t")).unwrap();
                let error = archive_put(root, &path("t"), format, &bytes[..]).expect_err(what);
                assert_eq!(error.reason(), *reason, "{what}: {error}");
                let left = record(&base.join("t"));
                let evil = blake3::hash(b"evil").to_string();
                assert!(left.values().all(|entry| entry.3 != evil), "{what}: {left:?}");
                assert!(!left.keys().any(|name| name.to_string_lossy().contains(".remora-tmp")), "{what}: {left:?}");
                fs::remove_dir_all(base.join("t")).unwrap();
            }
        }
        assert_eq!(fs::read_dir(base).unwrap().count(), 0);
    });
}

#[test]
fn a073_duplicates_and_odd_orders_are_taken_as_they_come() {
    each(|root, base| {
        fs::write(base.join("kept"), "old").unwrap();
        symlink("kept", base.join("l")).unwrap();
        let bytes = Forge::default()
            .file("twice", "one")
            .file("twice", "two")
            .file("l", "took the place of the link")
            .file("made/on/the/way", "x")
            .link(b'5', "made/", "")
            .link(b'1', "h", "twice")
            .link(b'1', "h", "twice")
            .link(b'2', "s", "made/on")
            .file("s/through", "inside")
            .end();
        archive_put(root, &RelPath::root(), ArchiveFormat::Tar, &bytes[..]).unwrap();
        assert_eq!(fs::read(base.join("twice")).unwrap(), b"two");
        assert_eq!(fs::read(base.join("h")).unwrap(), b"two");
        assert_eq!(fs::metadata(base.join("h")).unwrap().nlink(), 2);
        assert_eq!(fs::read(base.join("kept")).unwrap(), b"old");
        assert!(fs::symlink_metadata(base.join("l")).unwrap().is_file());
        assert_eq!(fs::read(base.join("made/on/through")).unwrap(), b"inside");
        assert_eq!(fs::metadata(base.join("made")).unwrap().mtime(), 1);
        let file = Forge::default().link(b'5', "twice", "").end();
        assert_eq!(
            archive_put(root, &RelPath::root(), ArchiveFormat::Tar, &file[..]).unwrap_err().reason(),
            Reason::NotADirectory
        );
    });
}

/// Gives `bytes` and then fails like a client that left.
struct Left<'a>(&'a [u8]);

impl Read for Left<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self.0.read(buffer)? {
            0 => Err(io::ErrorKind::ConnectionReset.into()),
            got => Ok(got),
        }
    }
}

#[test]
fn a026_an_upload_that_is_cut_leaves_whole_files_and_says_how_many() {
    each(|root, base| {
        let large = "y".repeat(100_000);
        let bytes =
            Forge::default().file("one", "1").file("two", "2").raw(b'0', b"one", b"", 100_000, large.as_bytes()).0;
        let error = archive_put(root, &RelPath::root(), ArchiveFormat::Tar, Left(&bytes[..90_000])).unwrap_err();
        let fault = Fault::from(error);
        assert_eq!((fault.reason, fault.effect), (Reason::Cancelled, Effect::Applied));
        assert!(fault.message.contains("2 entries"), "{fault}");
        let mut left: Vec<_> = fs::read_dir(base).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        left.sort();
        assert_eq!(left, ["one", "two"]);
        assert_eq!(fs::read(base.join("one")).unwrap(), b"1");

        let fault = Fault::from(archive_put(root, &RelPath::root(), ArchiveFormat::Tar, Left(b"")).unwrap_err());
        assert_eq!((fault.reason, fault.effect), (Reason::Cancelled, Effect::NotApplied));
    });
}

#[test]
fn a073_bombs_are_stopped_by_their_ratio_and_their_number() {
    each(|root, base| {
        // 2 GB of zeros in 65 KB, of which a quarter of a GB is unpacked at most.
        let mut encoder = zstd::Encoder::new(Vec::new(), 1).unwrap();
        let head = Forge::default().raw(b'0', b"bomb", b"", 10 << 30, b"").0;
        encoder.write_all(&head).unwrap();
        let zeros = vec![0; 1 << 20];
        (0..2 << 10).for_each(|_| encoder.write_all(&zeros).unwrap());
        let bomb = encoder.finish().unwrap();
        assert!(bomb.len() < 1 << 18, "{}", bomb.len());
        let error = archive_put(root, &RelPath::root(), ArchiveFormat::TarZstd, &bomb[..]).unwrap_err();
        assert!(error.reason() == Reason::ArchiveInvalid && error.to_string().contains("too large"), "{error}");
        assert_eq!(fs::read_dir(base).unwrap().count(), 0);

        let dot = Forge::default().link(b'5', "./", "").0;
        let endless = Endless { block: dot, at: 0 };
        let error = archive_put(root, &RelPath::root(), ArchiveFormat::Tar, endless).unwrap_err();
        assert!(error.to_string().contains("1000000 entries"), "{error}");
        let directories = Endless { block: Forge::default().pax(&[("path", "x")]).0, at: 0 };
        assert_eq!(
            archive_put(root, &RelPath::root(), ArchiveFormat::Tar, directories).unwrap_err().reason(),
            Reason::ArchiveInvalid
        );
    });
}

/// The same block again and again.
struct Endless {
    block: Vec<u8>,
    at: usize,
}

impl Read for Endless {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let got = (&self.block[self.at..]).read(buffer)?;
        self.at = (self.at + got) % self.block.len();
        Ok(got)
    }
}

#[test]
fn a_file_that_shrinks_ends_the_archive_and_one_that_grows_is_cut() {
    each(|root, base| {
        let large = base.join("large");
        fs::write(&large, vec![1; 4 << 20]).unwrap();
        let mut changing = Changing { at: large.clone(), to: 5 << 20, written: 0 };
        let summary = archive_get(root, &RelPath::root(), ArchiveFormat::Tar, &[], &mut changing).unwrap();
        assert_eq!(summary.content_bytes, 4 << 20);
        let mut changing = Changing { at: large, to: 1 << 20, written: 0 };
        let error = archive_get(root, &RelPath::root(), ArchiveFormat::Tar, &[], &mut changing).unwrap_err();
        assert_eq!(error.reason(), Reason::Conflict);
        assert!(error.to_string().contains("large"), "{error}");
    });
}

/// Changes a file's length once it has taken some of it.
struct Changing {
    at: PathBuf,
    to: u64,
    written: usize,
}

impl io::Write for Changing {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.written <= 1 << 20 && self.written + bytes.len() > 1 << 20 {
            fs::File::options().write(true).open(&self.at)?.set_len(self.to)?;
        }
        self.written += bytes.len();
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[test]
fn attributes_set_before_an_unpack_do_not_keep_it_out() {
    each(|root, base| {
        fs::create_dir(base.join("d")).unwrap();
        set_attr(root, &path("d"), Attributes { mode: Some(0o755), modified: Some(Time { seconds: 5, nanos: 6 }) })
            .unwrap();
        let bytes = Forge::default().file("d/f", "x").end();
        archive_put(root, &RelPath::root(), ArchiveFormat::Tar, &bytes[..]).unwrap();
        assert_eq!(fs::read(base.join("d/f")).unwrap(), b"x");
    });
}

fn number(name: &str, default: u64) -> u64 {
    std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(default)
}

/// a003: a directory and a link out of the workspace change places while archives
/// are packed from and unpacked below that name.
fn storm(resolver: Resolver) {
    let rounds = number("REMORA_STORM_ROUNDS", 20_000);
    let temp = tempfile::tempdir().unwrap();
    let (inside, outside) = (temp.path().join("in"), temp.path().join("out"));
    for place in [&inside.join("swap/d"), &outside.join("d")] {
        fs::create_dir_all(place).unwrap();
    }
    for name in ["file", "d/file"] {
        fs::write(inside.join("swap").join(name), "inside").unwrap();
        fs::write(outside.join(name), "outside").unwrap();
    }
    fs::write(outside.join("sentinel"), "outside").unwrap();
    symlink("../out", inside.join("link")).unwrap();
    let before = record(&outside);
    let top = fs::metadata(&outside).unwrap();
    let root = Root::open_with(&inside, resolver).unwrap();
    let upload =
        Forge::default().file("d/new", "x").link(b'1', "d/hard", "d/new").link(b'2', "l", "d").file("l/t", "y");
    let upload = upload.link(b'5', "d", "").end();
    let done = std::sync::atomic::AtomicBool::new(false);
    let (mut served, mut refused) = (0_u64, 0_u64);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let (swap, link) = (inside.join("swap"), inside.join("link"));
            for _ in 0..rounds {
                rustix::fs::renameat_with(CWD, &swap, CWD, &link, rustix::fs::RenameFlags::EXCHANGE).unwrap();
            }
            done.store(true, std::sync::atomic::Ordering::Release);
        });
        while !done.load(std::sync::atomic::Ordering::Acquire) || served == 0 {
            for place in ["swap", "swap/d", ""] {
                match get(&root, place, ArchiveFormat::Tar, &[]) {
                    Ok((_, bytes)) => {
                        assert!(!bytes.windows(7).any(|seen| seen == b"outside"), "packed something outside");
                        assert!(
                            !names(&bytes).iter().any(|name| name.contains("sentinel")),
                            "listed something outside"
                        );
                        served += 1;
                    }
                    Err(_) => refused += 1,
                }
            }
            for place in ["swap", "swap/d"] {
                match archive_put(&root, &path(place), ArchiveFormat::Tar, &upload[..]) {
                    Ok(_) => served += 1,
                    Err(_) => refused += 1,
                }
            }
        }
    });
    eprintln!("{resolver:?}: {served} archives, {refused} refused in {rounds} rounds");
    assert_eq!(record(&outside), before, "something outside changed");
    let after = fs::metadata(&outside).unwrap();
    assert_eq!((after.mode(), after.mtime(), after.mtime_nsec()), (top.mode(), top.mtime(), top.mtime_nsec()));
}

#[test]
fn a003_rename_storm_against_archives_with_openat2() {
    storm(Resolver::Kernel);
}

#[test]
fn a003_rename_storm_against_archives_with_the_walk() {
    storm(Resolver::Walk);
}
