//! Watches: whoever follows the batches knows the tree, with inotify and without.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    os::unix::{ffi::OsStrExt as _, fs::symlink},
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use remora_agent_files::{ChangeKind, Watch, WatchBatch, WatchOptions, Watcher, WriteOptions, Writer};
use remora_agent_root::{RelPath, Resolver, Root};
use remora_proto_model::Reason;
use rustix::fs::{CWD, RenameFlags, renameat_with};

/// Longer than anything here takes on a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);

fn options() -> WatchOptions {
    WatchOptions { coalesce: Duration::from_millis(10), ..WatchOptions::default() }
}

fn path(text: &str) -> RelPath {
    RelPath::new(text).unwrap()
}

/// A watch of a new workspace, whose first batch was taken.
fn watched(watcher: &Watcher, base: &Path, at: &str, options: WatchOptions) -> Watch {
    let root = Root::open_with(base, Resolver::Kernel).unwrap();
    let mut watch = watcher.watch(&root, &path(at), options).unwrap();
    let first = watch.next(Duration::ZERO).unwrap().expect("the first batch is there at once");
    assert!(first.changes.is_empty() && !first.resync);
    watch
}

fn next(watch: &mut Watch) -> WatchBatch {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(batch) = watch.next(Duration::from_millis(100)).unwrap() {
            return batch;
        }
        assert!(Instant::now() < deadline, "no batch came");
    }
}

/// Follows until `enough` says so; the last kind of each path.
fn follow(watch: &mut Watch, enough: impl Fn(&BTreeMap<String, ChangeKind>) -> bool) -> BTreeMap<String, ChangeKind> {
    let mut seen = BTreeMap::new();
    while !enough(&seen) {
        let batch = next(watch);
        assert!(!batch.resync, "nothing is missed");
        seen.extend(
            batch.changes.into_iter().map(|change| (String::from_utf8_lossy(&change.path).into_owned(), change.kind)),
        );
    }
    seen
}

fn told(seen: &[(&str, ChangeKind)]) -> BTreeMap<String, ChangeKind> {
    seen.iter().map(|(path, kind)| ((*path).to_owned(), *kind)).collect()
}

#[test]
fn changes_are_told_by_path_and_a_written_file_by_its_name_alone() {
    use ChangeKind::*;
    let temp = tempfile::tempdir().unwrap();
    let base = temp.path();
    fs::create_dir_all(base.join("dir/sub")).unwrap();
    fs::write(base.join("dir/old"), "x").unwrap();
    let mut watch = watched(&Watcher::new(), base, "", options());

    fs::write(base.join("dir/new"), "x").unwrap();
    fs::write(base.join("dir/old"), "y").unwrap();
    fs::remove_dir(base.join("dir/sub")).unwrap();
    symlink("nowhere", base.join("link")).unwrap();
    let expected = told(&[("dir/new", Created), ("dir/old", Modified), ("dir/sub", Removed), ("link", Created)]);
    assert_eq!(follow(&mut watch, |seen| seen.len() == 4), expected);

    let root = Root::open(base).unwrap();
    let mut writer = Writer::begin(&root, &path("dir/old"), WriteOptions::default()).unwrap();
    writer.write(b"z").unwrap();
    writer.commit().unwrap();
    fs::write(base.join("end"), "").unwrap();
    let seen = follow(&mut watch, |seen| seen.contains_key("end"));
    assert_eq!(seen, told(&[("dir/old", Created), ("end", Created)]));

    // A tree that is made or moved at once is told whole; one that moves away by its name.
    fs::create_dir_all(base.join("a/b/c/d")).unwrap();
    fs::write(base.join("a/b/c/d/file"), "x").unwrap();
    follow(&mut watch, |seen| seen.contains_key("a/b/c/d/file"));
    fs::rename(base.join("a/b"), base.join("moved")).unwrap();
    let seen = follow(&mut watch, |seen| seen.contains_key("moved/c/d/file"));
    assert_eq!((seen.get("a/b"), seen.get("moved"), seen.len()), (Some(&Removed), Some(&Created), 5));
    fs::write(base.join("moved/c/d/file"), "yy").unwrap();
    assert_eq!(follow(&mut watch, |seen| !seen.is_empty()), told(&[("moved/c/d/file", Modified)]));
}

#[test]
fn globs_and_ignore_rules_choose_and_paths_begin_at_the_root() {
    use ChangeKind::*;
    for watcher in [Watcher::new(), Watcher::with_budget(0)] {
        let temp = tempfile::tempdir().unwrap();
        let base = temp.path().join("in");
        fs::create_dir_all(base.join("web/src")).unwrap();
        fs::write(base.join(".gitignore"), "node_modules/\n*.log\n").unwrap();
        let globs = vec!["src/**".to_owned(), "*.ts".to_owned(), "!**/*.gen.ts".to_owned()];
        let mut chosen = watched(&watcher, &base, "web", WatchOptions { globs, ignore_rules: true, ..options() });
        let mut all = watched(&watcher, &base, "web", options());
        fs::create_dir_all(base.join("web/node_modules/x")).unwrap();
        fs::write(base.join("web/node_modules/x/i.ts"), "").unwrap();
        for name in ["web/a.ts", "web/a.gen.ts", "web/a.css", "web/src/x.log", "web/src/.hidden", "outside.ts"] {
            fs::write(base.join(name), "").unwrap();
        }
        fs::write(base.join("web/src/last"), "").unwrap();
        let seen = follow(&mut chosen, |seen| seen.contains_key("web/src/last"));
        assert_eq!(seen, told(&[("web/a.ts", Created), ("web/src/last", Created)]));
        let seen = follow(&mut all, |seen| seen.len() == 9);
        assert!(seen.contains_key("web/node_modules/x/i.ts") && !seen.contains_key("outside.ts"), "{seen:?}");
    }
}

/// What is in the tree, as a client would know it that follows the batches.
fn tree(base: &Path) -> BTreeSet<PathBuf> {
    let (mut seen, mut ahead) = (BTreeSet::new(), vec![base.to_owned()]);
    while let Some(at) = ahead.pop() {
        for entry in fs::read_dir(&at).into_iter().flatten().flatten() {
            let path = entry.path();
            seen.insert(path.strip_prefix(base).unwrap().to_owned());
            if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                ahead.push(path);
            }
        }
    }
    seen
}

fn apply(known: &mut BTreeSet<PathBuf>, base: &Path, batch: &WatchBatch) {
    if batch.resync {
        *known = tree(base);
    }
    for change in &batch.changes {
        let path = PathBuf::from(std::ffi::OsStr::from_bytes(&change.path));
        match change.kind {
            ChangeKind::Removed => known.retain(|known| !known.starts_with(&path)),
            ChangeKind::Created => {
                known.retain(|known| !known.starts_with(&path));
                known.insert(path);
            }
            ChangeKind::Modified => assert!(known.contains(&path), "{path:?} was never told of"),
        }
    }
}

#[test]
fn whoever_follows_the_batches_knows_the_tree() {
    let seed = std::env::var("REMORA_WATCH_SEED").ok().and_then(|text| text.parse().ok());
    let seed: u64 = seed.unwrap_or_else(|| u64::from(std::process::id()) | 1);
    eprintln!("REMORA_WATCH_SEED={seed}");
    for (budget, rounds) in [(100_000, 40), (12, 3), (0, 3)] {
        let temp = tempfile::tempdir().unwrap();
        let base = temp.path();
        fs::create_dir_all(base.join("d0/d1")).unwrap();
        let watcher = Watcher::with_budget(budget);
        let mut watch = watched(&watcher, base, "", options());
        let mut known = tree(base);
        let mut random = seed;
        let mut pick = |most: u64| {
            random ^= random << 13;
            random ^= random >> 7;
            random ^= random << 17;
            random % most
        };
        for round in 0..rounds {
            for _ in 0..50 {
                let mut name = || {
                    let depth = 1 + pick(4);
                    (0..depth).map(|_| format!("d{}", pick(4))).collect::<Vec<_>>().join("/")
                };
                let (one, other) = (base.join(name()), base.join(name()));
                // What does not fit the tree as it is does nothing.
                match pick(6) {
                    0 | 1 => drop(fs::create_dir_all(&one)),
                    2 => drop(fs::write(&one, "x")),
                    3 => drop(fs::remove_dir_all(&one)),
                    4 => drop(fs::remove_file(&one)),
                    _ => drop(fs::rename(&one, &other)),
                }
            }
            let deadline = Instant::now() + PATIENCE;
            while known != tree(base) {
                let gap = || known.symmetric_difference(&tree(base)).cloned().collect::<Vec<_>>();
                assert!(Instant::now() < deadline, "seed {seed}, budget {budget}, round {round}: {:?}", gap());
                if let Some(batch) = watch.next(Duration::from_millis(100)).unwrap() {
                    apply(&mut known, base, &batch);
                }
            }
            // What is still on its way must not be wrong either.
            while let Some(batch) = watch.next(Duration::from_millis(30)).unwrap() {
                apply(&mut known, base, &batch);
            }
            assert_eq!(known, tree(base), "seed {seed}, budget {budget}, round {round}");
        }
    }
}

#[test]
fn a085_where_the_budget_is_used_up_a_watch_polls_and_says_so() {
    let temp = tempfile::tempdir().unwrap();
    let base = temp.path();
    let watcher = Watcher::with_budget(3);
    let mut watch = watched(&watcher, base, "", options());
    fs::create_dir(base.join("one")).unwrap();
    assert!(!next(&mut watch).polling);
    fs::create_dir_all(base.join("two/three/four")).unwrap();
    let batch = loop {
        let batch = next(&mut watch);
        if batch.polling {
            break batch;
        }
    };
    assert!(batch.resync, "between the one way and the other something may have been missed");
    fs::write(base.join("two/three/four/file"), "x").unwrap();
    let seen = follow(&mut watch, |seen| !seen.is_empty());
    assert_eq!(seen, told(&[("two/three/four/file", ChangeKind::Created)]));
    // Its directories are free for others.
    let mut other = watched(&watcher, base, "two/three", options());
    fs::write(base.join("two/three/file"), "x").unwrap();
    assert!(!next(&mut other).polling);
}

/// In a user namespace whose users may have no inotify instance at all.
#[test]
fn a085_without_any_inotify_instance_a_watch_polls() {
    const ALONE: &str = "REMORA_TEST_NO_INOTIFY";
    if std::env::var_os(ALONE).is_none() {
        let forbid = "echo 0 > /proc/sys/user/max_inotify_instances && exec \"$0\" --exact \"$1\"";
        let status = std::process::Command::new("unshare")
            .args(["--user", "--map-root-user", "sh", "-c", forbid])
            .arg(std::env::current_exe().unwrap())
            .arg("a085_without_any_inotify_instance_a_watch_polls")
            .env(ALONE, "1")
            .status();
        assert!(status.expect("unshare is installed").success());
        return;
    }
    let temp = tempfile::tempdir().unwrap();
    let root = Root::open(temp.path()).unwrap();
    let mut watch = Watcher::new().watch(&root, &RelPath::root(), options()).unwrap();
    let first = watch.next(Duration::ZERO).unwrap().unwrap();
    assert_eq!(first, WatchBatch { polling: true, ..WatchBatch::default() });
    fs::write(temp.path().join("file"), "x").unwrap();
    assert_eq!(follow(&mut watch, |seen| !seen.is_empty()), told(&[("file", ChangeKind::Created)]));
}

#[test]
fn a086_what_overflows_is_told_as_missed_and_the_watch_goes_on() {
    let temp = tempfile::tempdir().unwrap();
    let base = temp.path();
    let mut watch = watched(&Watcher::new(), base, "", options());
    for number in 0..200_000 {
        // Two files in turn, as the kernel makes one of two equal events.
        fs::File::create(base.join(format!("f{}", number % 2))).unwrap();
    }
    fs::create_dir(base.join("made-meanwhile")).unwrap();
    while !next(&mut watch).resync {}
    // The watch stands again, also on what nothing was heard of.
    fs::write(base.join("made-meanwhile/file"), "x").unwrap();
    follow(&mut watch, |seen| seen.contains_key("made-meanwhile/file"));
}

#[test]
fn the_end_of_the_watched_directory_ends_the_watch() {
    let temp = tempfile::tempdir().unwrap();
    for budget in [100, 0] {
        for (what, act) in [
            ("removed", Box::new(|at: &Path| fs::remove_dir(at).unwrap()) as Box<dyn Fn(&Path)>),
            ("moved", Box::new(|at: &Path| fs::rename(at, at.with_extension("moved")).unwrap())),
        ] {
            fs::create_dir(temp.path().join("dir")).unwrap();
            let mut watch = watched(&Watcher::with_budget(budget), temp.path(), "dir", options());
            act(&temp.path().join("dir"));
            let deadline = Instant::now() + PATIENCE;
            let error = loop {
                match watch.next(Duration::from_millis(100)) {
                    Err(error) => break error,
                    Ok(_) => assert!(Instant::now() < deadline, "{what}"),
                }
            };
            assert_eq!(error.reason(), Reason::NotFound, "{what}: {error}");
        }
        fs::remove_dir(temp.path().join("dir.moved")).unwrap();
    }
    let root = Root::open(temp.path()).unwrap();
    symlink("..", temp.path().join("out")).unwrap();
    fs::write(temp.path().join("file"), "x").unwrap();
    for (name, reason) in
        [("none", Reason::NotFound), ("out", Reason::PathEscapesRoot), ("file", Reason::NotADirectory)]
    {
        let refused = Watcher::new().watch(&root, &path(name), options()).err().map(|error| error.reason());
        assert_eq!(refused, Some(reason), "{name}");
    }
}

#[test]
fn many_watches_share_the_instance_and_leave_nothing_behind() {
    let temp = tempfile::tempdir().unwrap();
    let base = temp.path();
    fs::create_dir_all(base.join("a/b")).unwrap();
    let watcher = Watcher::with_budget(3);
    let mut watches: Vec<_> = (0..10).map(|_| watched(&watcher, base, "", options())).collect();
    watches.truncate(5);
    fs::write(base.join("a/b/file"), "x").unwrap();
    for watch in &mut watches {
        assert!(follow(watch, |seen| seen.contains_key("a/b/file")).len() == 1);
    }
    drop(watches);
    for round in 0..50 {
        let mut watch = watched(&watcher, base, "", options());
        fs::write(base.join(format!("a/{round}")), "x").unwrap();
        assert!(!next(&mut watch).polling, "the budget of round {round} was not given back");
    }
}

/// a003: a directory and a link out change places below the watched directory.
#[test]
fn a003_nothing_outside_is_told_of_in_a_rename_storm() {
    for (resolver, budget) in [(Resolver::Kernel, 1_000), (Resolver::Walk, 1_000), (Resolver::Kernel, 0)] {
        let temp = tempfile::tempdir().unwrap();
        let (inside, outside) = (temp.path().join("in"), temp.path().join("out"));
        fs::create_dir_all(inside.join("swap/d")).unwrap();
        fs::create_dir_all(outside.join("d")).unwrap();
        symlink("../out", inside.join("link")).unwrap();
        let root = Root::open_with(&inside, resolver).unwrap();
        let mut watch = Watcher::with_budget(budget).watch(&root, &RelPath::root(), options()).unwrap();
        let done = std::sync::atomic::AtomicBool::new(false);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                let (swap, link) = (inside.join("swap"), inside.join("link"));
                for round in 0..20_000 {
                    renameat_with(CWD, &swap, CWD, &link, RenameFlags::EXCHANGE).unwrap();
                    if round % 50 == 0 {
                        fs::write(outside.join("d/sentinel"), "x").unwrap();
                        fs::create_dir(outside.join(format!("sentinel{round}"))).unwrap();
                    }
                }
                done.store(true, std::sync::atomic::Ordering::Release);
            });
            let mut batches = 0;
            while !done.load(std::sync::atomic::Ordering::Acquire) || batches == 0 {
                if let Some(batch) = watch.next(Duration::from_millis(10)).unwrap() {
                    batches += 1;
                    for change in batch.changes {
                        let name = String::from_utf8_lossy(&change.path).into_owned();
                        assert!(!name.contains("sentinel"), "told of something outside: {name}");
                    }
                }
            }
        });
        // And it still hears. What the storm left in the queues may be too much: the watch is
        // put up anew then and says so, in place of telling of what came before that.
        let deadline = Instant::now() + PATIENCE;
        'heard: for number in 0.. {
            let name = format!("after{number}");
            fs::write(inside.join(&name), "x").unwrap();
            loop {
                assert!(Instant::now() < deadline, "{name} is neither told of nor missed");
                let batch = next(&mut watch);
                if batch.changes.iter().any(|change| change.path == name.as_bytes()) {
                    break 'heard;
                }
                if batch.resync {
                    break;
                }
            }
        }
    }
}
