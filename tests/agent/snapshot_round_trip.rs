//! A workspace becomes a snapshot and a workspace again: nothing may differ.

use std::{
    collections::BTreeMap,
    ffi::OsStr,
    fs,
    os::unix::{
        ffi::OsStrExt as _,
        fs::{PermissionsExt as _, symlink},
        net::UnixListener,
    },
    path::Path,
    sync::Arc,
};

use rand::{Rng as _, RngCore as _, SeedableRng as _, rngs::StdRng, seq::IndexedRandom as _};
use remora_agent_root::Root;
use remora_agent_snapshot::{
    CreateOptions, Lineage, Restored, Rules, Silent, SnapshotError, StoredRoot, create, restore,
    store::{DirStore, Store},
};
use remora_tests::tree::{Tree, assert_same, record};
use rustix::fs::{AtFlags, CWD, FileType, Mode, Timespec, Timestamps, XattrFlags, utimensat};
use tokio_util::sync::CancellationToken;

pub(crate) async fn make(lineage: &Lineage, folder: &Path) -> Result<StoredRoot, SnapshotError> {
    let root = Root::open(folder).unwrap();
    let rules = Rules::load(&root, &[])?;
    create(lineage, &root, &rules, CreateOptions::default(), Arc::new(Silent), &CancellationToken::new()).await
}

pub(crate) async fn bring_back(
    lineage: &Lineage,
    snapshot: &StoredRoot,
    folder: &Path,
) -> Result<Restored, SnapshotError> {
    let root = Root::open(folder).unwrap();
    let keep_out = Rules::load(&root, &[])?.keep_out();
    restore(lineage, snapshot, &root, keep_out, Arc::new(Silent), &CancellationToken::new()).await
}

pub(crate) fn store(folder: &Path) -> Arc<dyn Store> {
    fs::create_dir_all(folder).unwrap();
    Arc::new(DirStore::open(folder).unwrap())
}

pub(crate) fn set_time(path: &Path, seconds: i64, nanos: i64) {
    let time = Timespec { tv_sec: seconds, tv_nsec: nanos as _ };
    let times = Timestamps { last_access: time, last_modification: time };
    utimensat(CWD, path, &times, AtFlags::SYMLINK_NOFOLLOW).unwrap();
}

/// All but sockets, which no snapshot holds. Directories that one went from keep their times.
fn without_sockets(mut tree: Tree) -> Tree {
    tree.retain(|_, entry| !format!("{entry:?}").starts_with("socket"));
    tree
}

/// The twelve kinds of things that backups lose.
fn every_kind(folder: &Path) {
    let at = |name: &str| folder.join(name);
    fs::write(at("plain"), "text").unwrap();
    fs::write(at("empty"), "").unwrap();
    let mut noise = vec![0; 3 << 20];
    StdRng::seed_from_u64(7).fill_bytes(&mut noise);
    fs::write(at("large"), &noise).unwrap();
    let sparse = fs::File::create(at("sparse")).unwrap();
    std::os::unix::fs::FileExt::write_all_at(&sparse, b"island", 40 << 20).unwrap();
    sparse.set_len(100 << 20).unwrap();
    fs::File::create(at("hole")).unwrap().set_len(1 << 40).unwrap();
    for (name, mode) in [("setuid", 0o4755), ("sticky", 0o1644), ("unreadable", 0o000), ("read-only", 0o444)] {
        fs::write(at(name), name).unwrap();
        fs::set_permissions(at(name), fs::Permissions::from_mode(mode)).unwrap();
    }
    fs::create_dir_all(at("closed/inner")).unwrap();
    fs::write(at("closed/inner/file"), "deep").unwrap();
    symlink("plain", at("link")).unwrap();
    symlink("/nowhere/at all", at("dangling")).unwrap();
    fs::hard_link(at("plain"), at("z-second")).unwrap();
    fs::hard_link(at("plain"), at("closed/third")).unwrap();
    fs::hard_link(at("link"), at("link-again")).unwrap();
    rustix::fs::mknodat(CWD, at("fifo"), FileType::Fifo, Mode::from_raw_mode(0o620), 0).unwrap();
    for (name, value) in [("user.note", &b"x\0y"[..]), ("user.empty", b""), ("user.big", &[7; 2_000])] {
        rustix::fs::setxattr(at("large"), name, value, XattrFlags::empty()).unwrap();
        rustix::fs::setxattr(at("closed"), name, value, XattrFlags::empty()).unwrap();
    }
    // An ACL as the kernel stores it: version 2, owner rwx, user 1234 r--, group r-x, mask r-x, others nothing.
    let entry =
        |tag: u16, rights: u16, id: u32| [&tag.to_le_bytes()[..], &rights.to_le_bytes(), &id.to_le_bytes()].concat();
    let nobody = u32::MAX;
    let acl = [
        2_u32.to_le_bytes().to_vec(),
        entry(1, 7, nobody),
        entry(2, 4, 1234),
        entry(4, 5, nobody),
        entry(16, 5, nobody),
        entry(32, 0, nobody),
    ]
    .concat();
    rustix::fs::setxattr(at("setuid"), "system.posix_acl_access", &acl, XattrFlags::empty()).unwrap();
    rustix::fs::setxattr(at("closed/inner"), "system.posix_acl_default", &acl, XattrFlags::empty()).unwrap();
    let odd: Vec<u8> = (1..=255).filter(|byte| *byte != b'/').collect();
    for name in [&odd[..], b"\xff\xfe", b"new\nline", b"-rf", b" ", b"a\\b", &[b'n'; 255]] {
        fs::write(folder.join(OsStr::from_bytes(name)), name).unwrap();
    }
    for name in ["node_modules/pkg/.bin", "a/node_modules/deep", "target"] {
        fs::create_dir_all(at(name)).unwrap();
        fs::write(at(name).join("made"), name).unwrap();
    }
    fs::write(at(".gitignore"), "*").unwrap();
    fs::write(at(".env"), "SECRET=1").unwrap();
    if rustix::process::geteuid().is_root() {
        rustix::fs::chownat(
            CWD,
            at("empty"),
            Some(rustix::fs::Uid::from_raw(4_321)),
            Some(rustix::fs::Gid::from_raw(1_234)),
            AtFlags::SYMLINK_NOFOLLOW,
        )
        .unwrap();
    }
    set_time(&at("plain"), -12_345_678, 999_999_999);
    set_time(&at("link"), 86_400, 1);
    set_time(&at("large"), 4_102_444_800, 123_456_789);
    set_time(&at("fifo"), 1, 2);
    set_time(&at("closed/inner"), 1_000_000_000, 7);
    fs::set_permissions(at("closed/inner"), fs::Permissions::from_mode(0o500)).unwrap();
    fs::set_permissions(at("closed"), fs::Permissions::from_mode(0o2555)).unwrap();
    set_time(folder, 1_111_111_111, 111_111_111);
}

#[tokio::test]
async fn every_kind_of_entry_comes_back_plain_and_encrypted() {
    for key in [None, Some(&[3; 32])] {
        let temp = tempfile::tempdir().unwrap();
        let (from, to) = (temp.path().join("from"), temp.path().join("to"));
        for folder in [&from, &to] {
            fs::create_dir(folder).unwrap();
        }
        every_kind(&from);
        let _socket = UnixListener::bind(from.join("socket")).unwrap();
        set_time(&from, 1_111_111_111, 111_111_111);
        let before = without_sockets(record_but_hole(&from));
        let lineage = Lineage::open(store(&temp.path().join("store")), key, 1).await.unwrap();
        let snapshot = make(&lineage, &from).await.unwrap();
        assert_same(&before, &without_sockets(record_but_hole(&from)));
        let (statistics, found) = (snapshot.root.statistics, before.len());
        let counted =
            statistics.files + statistics.directories + statistics.symlinks + statistics.fifos + statistics.hardlinks;
        assert_eq!((counted, statistics.skipped_entries), (found as u64 + 1, 1), "{statistics:?}");
        let restored = bring_back(&lineage, &snapshot, &to).await.unwrap();
        assert_eq!(restored.refused.entries, 0, "{restored:?}");
        assert_same(&before, &record_but_hole(&to));
        let hole = fs::metadata(to.join("hole")).unwrap();
        assert_eq!((hole.len(), std::os::unix::fs::MetadataExt::blocks(&hole)), (1 << 40, 0));
        let sparse = fs::metadata(to.join("sparse")).unwrap();
        assert!(std::os::unix::fs::MetadataExt::blocks(&sparse) < 100, "{sparse:?}");
        // Again: nothing is written.
        let again = bring_back(&lineage, &snapshot, &to).await.unwrap();
        assert_eq!((again.files_written, again.entries_removed), (0, 0));
        assert_same(&before, &record_but_hole(&to));
    }
}

/// A record without the terabyte of zeros, which takes an hour to hash.
fn record_but_hole(folder: &Path) -> Tree {
    let aside = folder.with_extension("aside");
    let time = record_time(folder);
    fs::rename(folder.join("hole"), &aside).unwrap();
    set_time(folder, time.0, time.1);
    let tree = record(folder).unwrap();
    fs::rename(&aside, folder.join("hole")).unwrap();
    set_time(folder, time.0, time.1);
    tree
}

fn record_time(path: &Path) -> (i64, i64) {
    let meta = fs::symlink_metadata(path).unwrap();
    (std::os::unix::fs::MetadataExt::mtime(&meta), std::os::unix::fs::MetadataExt::mtime_nsec(&meta))
}

/// A folder that changes at random, by its seed.
struct Garden<'a> {
    folder: &'a Path,
    random: StdRng,
}

impl Garden<'_> {
    fn paths(&self) -> Vec<std::path::PathBuf> {
        record(self.folder).unwrap().into_keys().filter(|path| !path.as_os_str().is_empty()).collect()
    }

    fn directories(&self) -> Vec<std::path::PathBuf> {
        let mut found = vec![self.folder.to_owned()];
        found.extend(
            self.paths()
                .into_iter()
                .map(|path| self.folder.join(path))
                .filter(|path| fs::symlink_metadata(path).is_ok_and(|meta| meta.is_dir())),
        );
        found
    }

    fn content(&mut self) -> Vec<u8> {
        let length = match self.random.random_range(0..12) {
            0 => 0,
            1..=8 => self.random.random_range(1..5_000),
            9 | 10 => self.random.random_range(60_000..70_000),
            _ => self.random.random_range(100_000..900_000),
        };
        let mut bytes = vec![0; length];
        // Some of it repeats, so that it is stored once.
        StdRng::seed_from_u64(self.random.random_range(0..6)).fill_bytes(&mut bytes);
        bytes
    }

    fn step(&mut self) {
        let directories = self.directories();
        let parent = directories.choose(&mut self.random).unwrap().clone();
        let names: [&[u8]; 9] = [b"a", b"b", b"c.txt", b"node_modules", b"x y", b"\xf0\x28", b"a-", b"a.b", b"target"];
        let name = OsStr::from_bytes(names.choose(&mut self.random).unwrap());
        let place = parent.join(name);
        let exists = fs::symlink_metadata(&place).is_ok();
        let paths = self.paths();
        let some = paths.choose(&mut self.random).map(|path| self.folder.join(path));
        match self.random.random_range(0..13) {
            0..=3 if !exists => fs::write(&place, self.content()).unwrap(),
            4 | 5 if !exists => fs::create_dir(&place).unwrap(),
            6 if !exists => symlink("a/../b", &place).unwrap(),
            7 if !exists => rustix::fs::mknodat(CWD, &place, FileType::Fifo, Mode::from_raw_mode(0o640), 0).unwrap(),
            8 if !exists => {
                if let Some(some) = some.filter(|path| fs::symlink_metadata(path).is_ok_and(|meta| meta.is_file())) {
                    fs::hard_link(some, &place).unwrap();
                }
            }
            9 => {
                if let Some(some) = some {
                    let seconds = self.random.random_range(-1_000_000_000..4_000_000_000);
                    set_time(&some, seconds, self.random.random_range(0..1_000_000_000));
                }
            }
            10 => {
                if let Some(some) = some.filter(|path| !fs::symlink_metadata(path).unwrap().is_symlink()) {
                    let mode = *[0o700, 0o755, 0o644, 0o1777, 0o4750].choose(&mut self.random).unwrap();
                    fs::set_permissions(some, fs::Permissions::from_mode(mode)).unwrap();
                }
            }
            11 => {
                let is_plain = |meta: fs::Metadata| meta.is_file() || meta.is_dir();
                if let Some(some) = some.filter(|path| fs::symlink_metadata(path).is_ok_and(is_plain)) {
                    let value = [self.random.random::<u8>()];
                    rustix::fs::setxattr(some, "user.mark", &value, XattrFlags::empty()).unwrap();
                }
            }
            _ => {
                if let Some(some) = some {
                    if fs::symlink_metadata(&some).unwrap().is_dir() {
                        fs::remove_dir_all(some).unwrap();
                    } else {
                        fs::remove_file(some).unwrap();
                    }
                }
            }
        }
    }
}

#[tokio::test]
async fn random_trees_come_back_into_empty_and_into_changed_workspaces() {
    let seed = std::env::var("REMORA_TEST_SEED").ok().and_then(|text| text.parse().ok()).unwrap_or_else(rand::random);
    eprintln!("REMORA_TEST_SEED={seed}");
    let mut random = StdRng::seed_from_u64(seed);
    for round in 0..12 {
        let temp = tempfile::tempdir().unwrap();
        let (tree, empty) = (temp.path().join("tree"), temp.path().join("empty"));
        fs::create_dir(&tree).unwrap();
        let key = random.random::<bool>().then_some([5; 32]);
        let lineage = Lineage::open(store(&temp.path().join("store")), key.as_ref(), 1).await.unwrap();
        let mut garden = Garden { folder: &tree, random: StdRng::seed_from_u64(random.random()) };
        let mut snapshots: BTreeMap<u64, (StoredRoot, Tree)> = BTreeMap::new();
        for _ in 0..4 {
            for _ in 0..garden.random.random_range(1..40) {
                garden.step();
            }
            let before = record(&tree).unwrap();
            let snapshot = make(&lineage, &tree).await.unwrap();
            snapshots.insert(snapshot.root.id.sequence, (snapshot, before));
        }
        for (snapshot, before) in snapshots.values() {
            fs::create_dir(&empty).unwrap();
            bring_back(&lineage, snapshot, &empty).await.unwrap_or_else(|error| panic!("round {round}: {error}"));
            assert_same(before, &record(&empty).unwrap());
            fs::remove_dir_all(&empty).unwrap();
            for _ in 0..garden.random.random_range(0..20) {
                garden.step();
            }
            bring_back(&lineage, snapshot, &tree).await.unwrap_or_else(|error| panic!("round {round}: {error}"));
            assert_same(before, &record(&tree).unwrap());
        }
    }
}
