//! Lineages that an older version wrote must restore for ever. Each folder below
//! `fixtures` is a format version, with a plain and an encrypted lineage as a
//! folder store and the listings of what their snapshots hold.

use std::{
    collections::BTreeMap,
    fmt::Write as _,
    fs,
    os::unix::{ffi::OsStrExt as _, fs::MetadataExt as _},
    path::{Path, PathBuf},
    sync::Arc,
};

use remora_agent_root::Root;
use remora_agent_snapshot::{
    Lineage, Rules, Silent, restore,
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

#[tokio::test]
async fn lineages_of_every_version_restore() {
    let fixtures = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures");
    let mut restored = 0;
    for version in fs::read_dir(&fixtures).unwrap() {
        let version = version.unwrap().path();
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
                assert_eq!(snapshot.root.labels.get("made-by").map(String::as_str), Some("0.1.0"));
                restored += 1;
            }
        }
    }
    assert!(restored >= 4);
}
