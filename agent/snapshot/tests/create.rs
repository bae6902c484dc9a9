//! What a snapshot costs, what it refuses, and what it does about files and clocks
//! that do not hold still.

use std::{
    fs,
    os::unix::fs::FileExt as _,
    path::Path,
    process::Command,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, SystemTime},
};

use remora_agent_root::Root;
use remora_agent_snapshot::{
    CreateOptions, Lineage, Rules, Silent, SnapshotError, StoredRoot, TreeBounds, create,
    format::Class,
    restore,
    store::{DirStore, FaultPlan, FaultyStore, Store},
};
use remora_proto_model::{Effect, Reason};
use tokio_util::sync::CancellationToken;

/// A lineage in a folder, and how many requests it made.
struct Place {
    _temp: tempfile::TempDir,
    tree: std::path::PathBuf,
    store: FaultyStore,
    lineage: Lineage,
}

impl Place {
    async fn new(key: Option<&[u8; 32]>) -> Self {
        let temp = tempfile::tempdir().unwrap();
        let (tree, folder) = (temp.path().join("tree"), temp.path().join("store"));
        fs::create_dir(&tree).unwrap();
        fs::create_dir(&folder).unwrap();
        let store = FaultyStore::new(Arc::new(DirStore::open(folder).unwrap()), FaultPlan::none());
        let lineage = Lineage::open(Arc::new(store.clone()), key, 1).await.unwrap();
        Place { _temp: temp, tree, store, lineage }
    }

    async fn make(&self, options: CreateOptions) -> Result<StoredRoot, SnapshotError> {
        let root = Root::open(&self.tree).unwrap();
        let rules = Rules::load(&root, &[]).unwrap();
        create(&self.lineage, &root, &rules, options, Arc::new(Silent), &CancellationToken::new()).await
    }

    async fn bring_back(&self, snapshot: &StoredRoot, folder: &Path) -> Result<(), SnapshotError> {
        let root = Root::open(folder).unwrap();
        let keep_out = Rules::load(&root, &[]).unwrap().keep_out();
        let cancel = CancellationToken::new();
        restore(&self.lineage, snapshot, &root, keep_out, Arc::new(Silent), &cancel).await.map(drop)
    }

    /// How many objects there are, and their bytes.
    async fn stored(&self) -> (usize, u64) {
        let objects = self.store.list("", None).await.unwrap().objects;
        (objects.len(), objects.iter().map(|object| object.size).sum())
    }
}

fn plant(tree: &Path, files: usize) {
    for number in 0..files {
        let folder = tree.join(format!("d{}", number / 50));
        fs::create_dir_all(&folder).unwrap();
        fs::write(folder.join(format!("f{number}")), format!("{number} ").repeat(number % 200)).unwrap();
    }
}

/// So long ago that times prove something.
fn age(path: &Path) {
    let old = SystemTime::now() - Duration::from_secs(1_000);
    fs::File::open(path).unwrap().set_modified(old).unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_unchanged_is_not_stored_again() {
    for key in [None, Some(&[7; 32])] {
        let place = Place::new(key).await;
        plant(&place.tree, 3_000);
        let first = place.make(CreateOptions::default()).await.unwrap();
        let (objects, bytes) = place.stored().await;
        // Everything is so young that all of it has to be read again.
        for options in [CreateOptions::default(), CreateOptions { full: true, ..CreateOptions::default() }] {
            let again = place.make(options).await.unwrap();
            assert_eq!(again.root.pages, first.root.pages);
            assert_eq!(again.root.statistics.stored_bytes, 0);
        }
        let (after, more) = place.stored().await;
        assert_eq!(after, objects + 2, "a root each");
        assert!(more - bytes < 100_000, "{}", more - bytes);
    }
}

/// Whoever wants changes alone gets the newest snapshot where there are none, and
/// only there: every file is read again while its times prove nothing.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn where_nothing_changed_no_other_snapshot_is_made() {
    let place = Place::new(Some(&[7; 32])).await;
    plant(&place.tree, 300);
    let only_changes = || CreateOptions { only_changes: true, ..CreateOptions::default() };
    let first = place.make(only_changes()).await.unwrap();
    let (objects, bytes) = place.stored().await;
    assert_eq!(place.make(only_changes()).await.unwrap(), first);
    assert_eq!(place.stored().await, (objects, bytes), "something was stored");
    // What no count of files shows is a change all the same.
    type Change = fn(&Path);
    let changes: [Change; 4] = [
        |tree| fs::create_dir(tree.join("empty")).unwrap(),
        |tree| fs::remove_dir(tree.join("empty")).unwrap(),
        |tree| fs::set_permissions(tree.join("d1"), std::os::unix::fs::PermissionsExt::from_mode(0o700)).unwrap(),
        |tree| {
            // Same size, same time.
            let file = fs::OpenOptions::new().write(true).open(tree.join("d1/f60")).unwrap();
            let time = file.metadata().unwrap().modified().unwrap();
            file.write_all_at(b"!", 0).unwrap();
            file.set_modified(time).unwrap();
        },
    ];
    for (at, change) in (2..).zip(changes) {
        change(&place.tree);
        assert_eq!(place.make(only_changes()).await.unwrap().root.id.sequence, at);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_changed_file_is_one_pack_one_page_one_root() {
    let place = Place::new(Some(&[7; 32])).await;
    plant(&place.tree, 9_000);
    place.make(CreateOptions::default()).await.unwrap();
    let (objects, bytes) = place.stored().await;
    fs::write(place.tree.join("d3/f160"), "changed").unwrap();
    let second = place.make(CreateOptions::default()).await.unwrap();
    let (after, more) = place.stored().await;
    assert_eq!(after - objects, 3);
    assert!(more - bytes < 250_000, "{}", more - bytes);
    assert!(second.root.pages.len() > 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_tree_beyond_its_bounds_is_refused_before_anything_is_sent() {
    let place = Place::new(None).await;
    plant(&place.tree, 100);
    let (objects, _) = place.stored().await;
    let bounded = async |bounds| place.make(CreateOptions { bounds, ..CreateOptions::default() }).await;
    let few = TreeBounds { entries: 50, ..TreeBounds::default() };
    let small = TreeBounds { bytes: 10_000, ..TreeBounds::default() };
    for bounds in [few, small] {
        let error = bounded(bounds).await.unwrap_err();
        assert_eq!(error.reason(), Reason::TooLarge);
        assert!(error.to_string().contains("\"d"), "it names a path: {error}");
    }
    assert_eq!(place.stored().await.0, objects);
    // a019: a hole weighs nothing.
    fs::File::create(place.tree.join("sparse")).unwrap().set_len(5 << 40).unwrap();
    let made = bounded(TreeBounds { entries: 1_000, bytes: 1 << 20 }).await.unwrap();
    assert!(made.root.statistics.content_bytes < 1 << 20);
    assert!(place.stored().await.1 < 1 << 20);
}

/// a013: as deep as a path may be comes back; deeper is a clear refusal.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a013_depth_ends_in_a_snapshot_or_a_clear_refusal() {
    use rustix::fs::{Mode, OFlags, mkdirat, open, openat};
    let place = Place::new(None).await;
    let deepen = |levels: usize| {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY;
        let mut here = open(&place.tree, flags, Mode::empty()).unwrap();
        for _ in 0..levels {
            let _ = mkdirat(&here, "d", Mode::RWXU);
            here = openat(&here, "d", flags, Mode::empty()).unwrap();
        }
        fs::File::from(openat(&here, "f", OFlags::CREATE | OFlags::WRONLY, Mode::RWXU).unwrap())
            .write_all_at(b"deep", 0)
            .unwrap();
    };
    deepen(1_900);
    let made = place.make(CreateOptions::default()).await.unwrap();
    assert_eq!(made.root.statistics.directories, 1_901);
    let back = tempfile::tempdir().unwrap();
    place.bring_back(&made, back.path()).await.unwrap();
    let found = Command::new("find").arg(back.path()).args(["-name", "f", "-size", "4c"]).output().unwrap();
    assert!(String::from_utf8(found.stdout).unwrap().ends_with("/d/d/f\n"));

    deepen(4_096);
    let error = place.make(CreateOptions::default()).await.unwrap_err();
    assert_eq!(error.reason(), Reason::TooLarge);
    assert!(error.to_string().contains("the length of a path"), "{error}");
    for deep in [&place.tree, back.path()] {
        assert!(Command::new("rm").arg("-rf").arg(deep).status().unwrap().success());
    }
}

/// A file that never holds still is kept as it was read last, and said to be so;
/// once it rests it is read again, whatever its times say.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_file_that_changes_while_it_is_read_is_fuzzy() {
    let place = Place::new(None).await;
    let path = place.tree.join("busy");
    fs::write(&path, vec![1; 24 << 20]).unwrap();
    fs::write(place.tree.join("still"), "still").unwrap();
    let stop = Arc::new(AtomicBool::new(false));
    let writer = std::thread::spawn({
        let (stop, file) = (Arc::clone(&stop), fs::File::options().write(true).open(&path).unwrap());
        move || {
            for number in 0_u64.. {
                if stop.load(Ordering::Relaxed) {
                    return;
                }
                file.write_all_at(&number.to_le_bytes(), number % 1_000 * 8).unwrap();
            }
        }
    });
    let made = place.make(CreateOptions::default()).await;
    stop.store(true, Ordering::Relaxed);
    writer.join().unwrap();
    let made = made.unwrap();
    assert_eq!((made.root.statistics.fuzzy_files, made.root.fuzzy), (1, vec![b"busy".to_vec()]));

    age(&path);
    let again = place.make(CreateOptions::default()).await.unwrap();
    assert_eq!(again.root.statistics.fuzzy_files, 0);
    let back = tempfile::tempdir().unwrap();
    place.bring_back(&again, back.path()).await.unwrap();
    assert!(fs::read(back.path().join("busy")).unwrap() == fs::read(&path).unwrap());
}

/// a071: where the clock was set since the head, no time proves anything, neither to
/// this scan nor to the next.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a071_a_clock_that_was_set_proves_nothing() {
    let place = Place::new(None).await;
    plant(&place.tree, 20);
    let first = place.make(CreateOptions::default()).await.unwrap();
    assert!(first.root.clock.racy_since.seconds > 0);
    for set in [10 * 365 * 86_400, -3_600_i64] {
        let mut head = place.lineage.head().await.unwrap().unwrap().root;
        head.clock.offset_ns += set * 1_000_000_000;
        place.lineage.commit(head).await.unwrap();
        let after = place.make(CreateOptions::default()).await.unwrap();
        assert_eq!(after.root.clock.racy_since.seconds, i64::MIN);
        assert_eq!(after.root.statistics.stored_bytes, 0, "read again, and not stored again");
        let later = place.make(CreateOptions::default()).await.unwrap();
        assert!(later.root.clock.racy_since.seconds > 0);
    }
}

/// Each path of the snapshot with its class, in order.
async fn classes(place: &Place, snapshot: &StoredRoot) -> Vec<(String, Class)> {
    let mut found = Vec::new();
    for page in &snapshot.root.pages {
        let entries = place.lineage.restore_page(page).await.unwrap().entries;
        found.extend(entries.into_iter().map(|entry| (String::from_utf8(entry.path).unwrap(), entry.class)));
    }
    found
}

/// What a program tagged as its cache is restored last, like node_modules, from the
/// next snapshot on and for as long as the tag is there.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_directory_with_a_cache_tag_is_derived() {
    let place = Place::new(None).await;
    for path in ["cache/sub/x", "node_modules/m/i.js", "src/main.rs"] {
        fs::create_dir_all(place.tree.join(path).parent().unwrap()).unwrap();
        fs::write(place.tree.join(path), path).unwrap();
    }
    let derived = async |snapshot: &StoredRoot| -> Vec<String> {
        let all = classes(&place, snapshot).await;
        all.into_iter().filter(|(_, class)| *class == Class::Derived).map(|(path, _)| path).collect()
    };
    let modules = ["node_modules", "node_modules/m", "node_modules/m/i.js"];
    assert_eq!(derived(&place.make(CreateOptions::default()).await.unwrap()).await, modules);
    let tag = place.tree.join("cache/CACHEDIR.TAG");
    fs::write(&tag, "Signature: 8a477f597d28d172789f06886806bc55\n# of a compiler\n").unwrap();
    let tagged = ["cache", "cache/CACHEDIR.TAG", "cache/sub", "cache/sub/x"];
    let made = place.make(CreateOptions::default()).await.unwrap();
    assert_eq!(derived(&made).await, [&tagged[..], &modules[..]].concat());
    let back = tempfile::tempdir().unwrap();
    place.bring_back(&made, back.path()).await.unwrap();
    assert_eq!(fs::read(back.path().join("cache/sub/x")).unwrap(), b"cache/sub/x");
    fs::remove_file(tag).unwrap();
    assert_eq!(derived(&place.make(CreateOptions::default()).await.unwrap()).await, modules);
}

/// A file with more blobs than a page may name goes over several, also when the next
/// snapshot takes it over, and a file beyond a gigabyte is cut into longer ones.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn large_files_come_back_and_are_not_stored_again() {
    let place = Place::new(None).await;
    let specks = fs::File::create(place.tree.join("specks")).unwrap();
    for number in 0..20_000_u64 {
        let block: Vec<u8> = (0..512_u64).flat_map(|at| (at * 7 + number).to_le_bytes()).collect();
        specks.write_all_at(&block, number * 8_192).unwrap();
    }
    let large = fs::File::create(place.tree.join("large")).unwrap();
    let noise: Vec<u8> = (0..6_000_000_u32).flat_map(|n| n.wrapping_mul(2_654_435_761).to_le_bytes()).collect();
    large.write_all_at(&noise, 0).unwrap();
    large.write_all_at(b"the end", (1 << 30) + 5_000_000).unwrap();
    let made = place.make(CreateOptions::default()).await.unwrap();
    let mut blobs = std::collections::BTreeMap::<Vec<u8>, (usize, usize)>::new();
    for page in &made.root.pages {
        for entry in place.lineage.restore_page(page).await.unwrap().entries {
            let found = blobs.entry(entry.path.clone()).or_default();
            *found = (found.0 + 1, found.1 + entry.chunks().len());
        }
    }
    assert_eq!(blobs[&b"specks"[..]], (2, 20_000), "records and blobs");
    let (records, count) = blobs[&b"large"[..]];
    assert!(records == 1 && (24_000_000 / 262_144..24_000_000 / 131_072 + 2).contains(&count), "{count}");

    let (_, bytes) = place.stored().await;
    for full in [false, true] {
        let again = place.make(CreateOptions { full, ..CreateOptions::default() }).await.unwrap();
        assert_eq!(again.root.pages, made.root.pages);
    }
    assert!(place.stored().await.1 - bytes < 10_000);
    let back = tempfile::tempdir().unwrap();
    place.bring_back(&made, back.path()).await.unwrap();
    for name in ["specks", "large"] {
        let same = Command::new("cmp").arg(place.tree.join(name)).arg(back.path().join(name)).status().unwrap();
        assert!(same.success(), "{name}");
    }
}

/// a009: nothing that is no file is opened or waited for, also where a file has just
/// become one.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a009_special_files_are_never_opened_or_waited_for() {
    use std::os::unix::{fs::FileTypeExt as _, net::UnixListener};

    use rustix::fs::{CWD, FileType, Mode, mknodat};

    let place = Place::new(None).await;
    let fifo = |name: &str| {
        mknodat(CWD, place.tree.join(name), FileType::Fifo, Mode::from_raw_mode(0o640), 0).unwrap();
    };
    fifo("fifo");
    let _socket = UnixListener::bind(place.tree.join("socket")).unwrap();
    fs::write(place.tree.join("file"), "content").unwrap();
    let privileged = rustix::process::geteuid().is_root();
    let device = rustix::fs::makedev(1, 11);
    let devices = u64::from(
        privileged && mknodat(CWD, place.tree.join("kmsg"), FileType::CharacterDevice, Mode::RUSR, device).is_ok(),
    );
    let made = place.make(CreateOptions::default()).await.unwrap();
    let statistics = made.root.statistics;
    assert_eq!((statistics.files, statistics.fifos, statistics.skipped_entries), (1, 1, 1 + devices));
    let rules: Vec<_> = made.root.rules.iter().map(|report| (report.rule.as_str(), report.entries)).collect();
    assert!(rules.contains(&("kind: socket", 1)), "{rules:?}");

    // A file that the snapshot knows, and a FIFO that it does not, change places.
    fs::remove_file(place.tree.join("file")).unwrap();
    fifo("file");
    fs::remove_file(place.tree.join("fifo")).unwrap();
    fs::write(place.tree.join("fifo"), "now a file").unwrap();
    place.bring_back(&made, &place.tree).await.unwrap();
    assert!(fs::symlink_metadata(place.tree.join("fifo")).unwrap().file_type().is_fifo());
    assert_eq!(fs::read(place.tree.join("file")).unwrap(), b"content");
    assert!(place.tree.join("socket").exists(), "what no snapshot holds is not removed");
}

/// a058: a store, or a disk for what has to be kept meanwhile, that is full commits
/// nothing, is named, and is over when there is room.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a058_a_full_disk_commits_nothing_and_is_over_when_there_is_room() {
    // Not in this process: a small file system needs a mount namespace of its own.
    const FULL: &str = "REMORA_TEST_FULL_STORE";
    let Some(folder) = std::env::var_os(FULL).map(std::path::PathBuf::from) else {
        let temp = tempfile::tempdir().unwrap();
        let output = Command::new("unshare")
            .args(["--mount", "--map-root-user"])
            .arg(std::env::current_exe().unwrap())
            .args(["--exact", "a058_a_full_disk_commits_nothing_and_is_over_when_there_is_room", "--nocapture"])
            .env(FULL, temp.path())
            .output()
            .unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&[output.stdout, output.stderr].concat()));
        return;
    };
    let mount = |folder: &Path, options: &str| {
        let mounted = Command::new("mount").args(["-t", "tmpfs", "-o", options, "none"]).arg(folder).status().unwrap();
        assert!(mounted.success());
    };
    let [small, tree, scratch] = ["small", "tree", "scratch"].map(|name| folder.join(name));
    for folder in [&small, &tree, &scratch] {
        fs::create_dir(folder).unwrap();
    }
    mount(&small, "size=2m");
    mount(&scratch, "size=64k");
    let lineage = Lineage::open(Arc::new(DirStore::open(&small).unwrap()), None, 1).await.unwrap();
    let root = Root::open(&tree).unwrap();
    let rules = Rules::load(&root, &[]).unwrap();
    let make = async || {
        let options = CreateOptions { scratch: Some(scratch.clone()), ..CreateOptions::default() };
        create(&lineage, &root, &rules, options, Arc::new(Silent), &CancellationToken::new()).await
    };
    fs::write(tree.join("first"), "first").unwrap();
    let first = make().await.unwrap();

    let noise: Vec<u8> = (0..2_000_000_u32).flat_map(|n| n.wrapping_mul(2_654_435_761).to_le_bytes()).collect();
    fs::write(tree.join("large"), &noise).unwrap();
    let error = make().await.unwrap_err();
    assert_eq!((error.reason(), error.effect()), (Reason::NoSpace, Effect::NotApplied), "{error}");
    assert_eq!(lineage.head().await.unwrap().unwrap().root.id, first.root.id);
    mount(&small, "remount,size=40m");
    let second = make().await.unwrap();

    // More first names of hard links than the scratch disk has room for.
    for number in 0..1_000 {
        let name = tree.join(format!("{number}-{}", "n".repeat(100)));
        fs::write(&name, "x").unwrap();
        fs::hard_link(&name, name.with_extension("twin")).unwrap();
    }
    let error = make().await.unwrap_err();
    assert!(error.to_string().contains("hard links"), "{error}");
    assert_eq!(error.effect(), Effect::NotApplied);
    assert_eq!(lineage.head().await.unwrap().unwrap().root.id, second.root.id);
    mount(&scratch, "remount,size=4m");
    let third = make().await.unwrap();
    assert_eq!(third.root.statistics.hardlinks, 1_000);
    assert_eq!(fs::read_dir(&scratch).unwrap().count(), 0);
}
