//! A workspace for a test, what is in it, and archives of it.

use std::{
    collections::BTreeMap,
    ffi::OsStr,
    fs,
    os::unix::{
        ffi::OsStrExt as _,
        fs::{MetadataExt as _, PermissionsExt as _, symlink},
    },
    path::{Path, PathBuf},
};

use remora_agent_files::{ArchiveFormat, ArchiveSummary, FileError, archive_get};
use remora_agent_root::{RelPath, Resolver, Root};
use rustix::fs::{AtFlags, CWD, Timespec, Timestamps, XattrFlags, lgetxattr, llistxattr, lsetxattr, utimensat};

pub(crate) const FORMATS: [ArchiveFormat; 2] = [ArchiveFormat::Tar, ArchiveFormat::TarZstd];

pub(crate) fn path(text: impl AsRef<[u8]>) -> RelPath {
    RelPath::new(text).unwrap()
}

/// Runs `check` on an empty workspace with each resolver; what lies beside it must not change.
pub(crate) fn each(check: impl Fn(&Root, &Path)) {
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

/// Mode, time, target or hash of the bytes, the first name of the same inode, and attributes.
pub(crate) type Seen = (u32, i64, i64, String, PathBuf, BTreeMap<String, Vec<u8>>);

#[track_caller]
pub(crate) fn assert_same(after: &BTreeMap<PathBuf, Seen>, before: &BTreeMap<PathBuf, Seen>) {
    for (name, entry) in before {
        assert_eq!(after.get(name), Some(entry), "{name:?}");
    }
    assert!(after.keys().eq(before.keys()));
}

pub(crate) fn record(base: &Path) -> BTreeMap<PathBuf, Seen> {
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
        let inode = PathBuf::from(meta.ino().to_string());
        seen.insert(name, (meta.mode(), meta.mtime(), meta.mtime_nsec(), content, inode, attributes(&at)));
    }
    for entry in seen.values_mut() {
        entry.4 = inodes[&entry.4.to_str().unwrap().parse().unwrap()].clone();
    }
    // The top itself is not in the archive.
    seen.remove(Path::new(""));
    seen
}

/// Attributes of users at `at`, which is not followed.
fn attributes(at: &Path) -> BTreeMap<String, Vec<u8>> {
    let (mut names, mut value) = (vec![0; 65_536], vec![0; 65_536]);
    let length = llistxattr(at, &mut names[..]).unwrap();
    let names = names[..length].split(|byte| *byte == 0).filter(|name| name.starts_with(b"user."));
    names
        .map(|name| {
            let length = lgetxattr(at, OsStr::from_bytes(name), &mut value[..]).unwrap();
            (String::from_utf8_lossy(name).into_owned(), value[..length].to_vec())
        })
        .collect()
}

pub(crate) fn touch(at: &Path, seconds: i64, nanos: i64) {
    let time = Timespec { tv_sec: seconds, tv_nsec: nanos };
    utimensat(CWD, at, &Timestamps { last_access: time, last_modification: time }, AtFlags::SYMLINK_NOFOLLOW).unwrap();
}

/// A tree with whatever a tar has to be told in a special way.
pub(crate) fn plant(base: &Path) {
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
    for (name, attribute, value) in [
        ("dir/file", "user.note", &b"two\nlines \0\xff="[..]),
        ("dir/file", "user.empty", b""),
        ("dir", "user.a=b%3D100%", b"of a directory"),
        ("empty", "user.large", &[b'x'; 3_000]),
        ("read-only", "user.closed", b"1"),
    ] {
        lsetxattr(base.join(name), attribute, value, XattrFlags::empty()).unwrap();
    }
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

pub(crate) fn get(
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

pub(crate) fn names(bytes: &[u8]) -> Vec<String> {
    let mut archive = tar::Archive::new(bytes);
    archive.entries().unwrap().map(|entry| String::from_utf8_lossy(&entry.unwrap().path_bytes()).into_owned()).collect()
}
