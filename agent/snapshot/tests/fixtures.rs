//! Lineages that an older version wrote must restore for ever. Each folder below
//! `fixtures` is a format version, with a plain and an encrypted lineage as a
//! folder store and the listings of what their snapshots hold.
//!
//! A release whose stored bytes are others adds a folder: REMORA_WRITE_FIXTURES=v2 has the
//! test below write it. What is there is never written again.

use std::{
    collections::BTreeMap,
    env,
    ffi::OsStr,
    fmt::Write as _,
    fs,
    os::unix::{
        ffi::OsStrExt as _,
        fs::{FileExt as _, MetadataExt as _, PermissionsExt as _, symlink},
    },
    path::{Path, PathBuf},
    sync::Arc,
};

use remora_agent_root::Root;
use remora_agent_snapshot::{
    CreateOptions, Lineage, Rules, Silent, create, restore,
    store::{DirStore, Store},
};
use tokio_util::sync::CancellationToken;

/// The operator's key of the encrypted lineages.
const KEY: [u8; 32] = *b"fixture key, known to everybody.";

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy(&entry.path(), &target);
        } else {
            fs::copy(entry.path(), target).unwrap();
        }
    }
}

/// What is below `folder`, one line an entry, without what only the privileged can
/// restore and without what not every file system has.
fn listing(folder: &Path) -> String {
    let (mut lines, mut inodes, mut pending) = (BTreeMap::new(), BTreeMap::new(), vec![PathBuf::new()]);
    while let Some(path) = pending.pop() {
        let full = folder.join(&path);
        let meta = fs::symlink_metadata(&full).unwrap();
        let kind = meta.file_type();
        let content = if kind.is_dir() {
            pending.extend(fs::read_dir(&full).unwrap().map(|entry| path.join(entry.unwrap().file_name())));
            "directory".to_owned()
        } else if kind.is_symlink() {
            format!("-> {}", fs::read_link(&full).unwrap().display())
        } else if kind.is_file() {
            format!("{} {}", meta.len(), blake3::hash(&fs::read(&full).unwrap()).to_hex())
        } else {
            "fifo".to_owned()
        };
        let name = path.as_os_str().as_bytes().escape_ascii().to_string();
        inodes.entry(meta.ino()).or_insert_with(Vec::new).push(name.clone());
        let line = format!("{:04o} {}.{:09} {content}", meta.mode() & 0o7777, meta.mtime(), meta.mtime_nsec());
        lines.insert(name, (meta.ino(), line));
    }
    let mut text = String::new();
    for (name, (inode, line)) in lines {
        let first = inodes[&inode].iter().min().unwrap();
        let linked = if *first == name { String::new() } else { format!(" = {first}") };
        writeln!(text, "\"{name}\" {line}{linked}").unwrap();
    }
    text
}

/// Restores what the folder of a version holds; how many snapshots that were.
async fn restores(version: &Path, made_by: &str) -> usize {
    let mut restored = 0;
    for (name, key) in [("plain", None), ("encrypted", Some(&KEY))] {
        let temp = tempfile::tempdir().unwrap();
        copy(&version.join(name), &temp.path().join("store"));
        let store: Arc<dyn Store> = Arc::new(DirStore::open(temp.path().join("store")).unwrap());
        let lineage = Lineage::open(store, key, 9).await.unwrap();
        assert!(lineage.head().await.unwrap().unwrap().root.claim);
        let snapshots = lineage.list(0, 10).await.unwrap().snapshots;
        assert_eq!(snapshots.len(), 2);
        for snapshot in snapshots {
            let tree = temp.path().join(format!("tree-{}", snapshot.root.id.sequence));
            fs::create_dir(&tree).unwrap();
            let root = Root::open(&tree).unwrap();
            let keep_out = Rules::load(&root, &[]).unwrap().keep_out();
            let cancel = CancellationToken::new();
            restore(&lineage, &snapshot, &root, keep_out, Arc::new(Silent), &cancel).await.unwrap();
            let expected = version.join(format!("listing-{}.txt", snapshot.root.id.sequence));
            assert_eq!(listing(&tree), fs::read_to_string(&expected).unwrap(), "{}", expected.display());
            assert_eq!(snapshot.root.labels.get("made-by").map(String::as_str), Some(made_by));
            restored += 1;
        }
    }
    restored
}

#[tokio::test]
async fn a099_lineages_of_every_version_restore() {
    let fixtures = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures");
    let mut restored = 0;
    for version in fs::read_dir(&fixtures).unwrap() {
        restored += restores(&version.unwrap().path(), "0.1.0").await;
    }
    assert!(restored >= 4);
}

/// What this release writes is a fixture as those above, so that there can be one of it.
#[tokio::test]
async fn a099_what_this_release_writes_can_become_a_fixture() {
    let temp = tempfile::tempdir().unwrap();
    let folder = temp.path().join("version");
    for (name, key) in [("plain", None), ("encrypted", Some(&KEY))] {
        let (tree, stored) = (temp.path().join(format!("{name}-tree")), folder.join(name));
        fs::create_dir_all(&stored).unwrap();
        plant(&tree);
        let store: Arc<dyn Store> = Arc::new(DirStore::open(stored).unwrap());
        let lineage = Lineage::open(store, key, 1).await.unwrap();
        for sequence in 1..=2 {
            if sequence == 2 {
                change(&tree);
            }
            stamp(&tree);
            fs::write(folder.join(format!("listing-{sequence}.txt")), listing(&tree)).unwrap();
            let root = Root::open(&tree).unwrap();
            let rules = Rules::load(&root, &[]).unwrap();
            let labels = BTreeMap::from([("made-by".to_owned(), env!("CARGO_PKG_VERSION").to_owned())]);
            // A file with an old time is still read: nothing is known of it.
            let options = CreateOptions { full: true, labels, ..CreateOptions::default() };
            create(&lineage, &root, &rules, options, Arc::new(Silent), &CancellationToken::new()).await.unwrap();
        }
        // The next generation takes it over, and commits nothing.
        let store = Arc::clone(lineage.store());
        Lineage::open(store, key, 2).await.unwrap().claim().await.unwrap();
    }
    assert_eq!(restores(&folder, env!("CARGO_PKG_VERSION")).await, 4);
    if let Ok(version) = env::var("REMORA_WRITE_FIXTURES") {
        let target = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures").join(version);
        assert!(!target.exists(), "{} is of a release", target.display());
        copy(&folder, &target);
    }
}

/// Something of each kind: names of any bytes, a hole, several names of one file, what is
/// derived and may come later, what is large enough to be cut.
fn plant(tree: &Path) {
    for folder in ["node_modules/pkg", "src/deep"] {
        fs::create_dir_all(tree.join(folder)).unwrap();
    }
    let large: String = (0..20_000).map(|number| format!("line {number}\n")).collect();
    let files: [(&[u8], &[u8], u32); 7] = [
        (b"\xff\xfe", b"bytes", 0o644),
        (b"empty", b"", 0o600),
        (b"node_modules/pkg/index.js", b"module.exports = 1\n", 0o644),
        ("odd \u{e9}\n".as_bytes(), b"odd", 0o444),
        (b"script", b"#!/bin/sh\n", 0o755),
        (b"src/deep/large.txt", large.as_bytes(), 0o640),
        (b"src/main.ts", b"export const a = 1\n", 0o644),
    ];
    for (name, content, mode) in files {
        let path = tree.join(OsStr::from_bytes(name));
        fs::write(&path, content).unwrap();
        fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
    }
    let sparse = fs::File::create(tree.join("sparse")).unwrap();
    sparse.set_len(2 << 20).unwrap();
    sparse.write_all_at(b"in the middle", 1 << 20).unwrap();
    fs::hard_link(tree.join("src/main.ts"), tree.join("src/second.ts")).unwrap();
    symlink("src/main.ts", tree.join("link")).unwrap();
    let fifo = rustix::fs::FileType::Fifo;
    rustix::fs::mknodat(rustix::fs::CWD, tree.join("fifo"), fifo, rustix::fs::Mode::from(0o600), 0).unwrap();
    fs::set_permissions(tree.join("src/deep"), fs::Permissions::from_mode(0o750)).unwrap();
}

fn change(tree: &Path) {
    fs::remove_file(tree.join("fifo")).unwrap();
    fs::write(tree.join("new"), b"new\n").unwrap();
    fs::write(tree.join("src/main.ts"), b"export const a = 2\n").unwrap();
}

/// Gives everything below `tree` a time that is known.
fn stamp(tree: &Path) {
    let (mut paths, mut pending) = (Vec::new(), vec![tree.to_owned()]);
    while let Some(path) = pending.pop() {
        if fs::symlink_metadata(&path).unwrap().is_dir() {
            pending.extend(fs::read_dir(&path).unwrap().map(|entry| entry.unwrap().path()));
        }
        paths.push(path);
    }
    // Folders after what is in them.
    paths.sort_by(|a, b| b.cmp(a));
    for (at, path) in (1_600_000_000..).zip(paths) {
        let time = rustix::fs::Timespec { tv_sec: at, tv_nsec: 123_456_789 };
        let times = rustix::fs::Timestamps { last_access: time, last_modification: time };
        rustix::fs::utimensat(rustix::fs::CWD, path, &times, rustix::fs::AtFlags::SYMLINK_NOFOLLOW).unwrap();
    }
}
