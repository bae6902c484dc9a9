//! Who commits, and what is collected: many writers, full disks, old objects.

use std::{
    fs,
    path::Path,
    process::{Command, Stdio},
    sync::Arc,
    time::{Duration, SystemTime},
};

use futures_util::future::join_all;
use remora_agent_snapshot::{
    Lineage, Retention, SnapshotError, prune,
    store::{DirStore, RetryingStore, Store},
};
use remora_proto_model::Reason;
use remora_tests::{
    s3_server::{fresh_prefix, on_each_server},
    tree::{assert_same, record},
};
use tokio_util::sync::CancellationToken;

use crate::snapshot_round_trip::{bring_back, make, store};

/// 64 writers, one sequence, a store with conditional PUT.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_64_racing_writers_one_wins_each_sequence() {
    on_each_server(async |server| {
        let prefix = fresh_prefix();
        let bare: Arc<dyn Store> = server.store(&prefix).await.unwrap();
        let store: Arc<dyn Store> = Arc::new(RetryingStore::new(bare));
        Lineage::open(Arc::clone(&store), None, 1).await.unwrap();
        let race = (1..=64_u64).map(|generation| {
            let store = Arc::clone(&store);
            async move { Lineage::open(store, None, generation).await.unwrap().claim().await }
        });
        let outcomes = join_all(race).await;
        let (mut won, mut fenced) = (Vec::new(), 0);
        for (generation, outcome) in (1..=64_u64).zip(outcomes) {
            match outcome {
                Ok(claim) => {
                    assert_eq!(claim.root.id.generation, generation);
                    won.push(claim.root.id);
                }
                Err(error) => {
                    assert!(matches!(error.reason(), Reason::LineageFenced | Reason::Conflict), "{error}");
                    fenced += 1;
                }
            }
        }
        won.sort_unstable_by_key(|id| id.sequence);
        let sequences: Vec<u64> = won.iter().map(|id| id.sequence).collect();
        assert_eq!(sequences, (1..=won.len() as u64).collect::<Vec<_>>(), "one winner a sequence");
        assert!(won.is_sorted_by_key(|id| id.generation), "a stale generation is never head: {won:?}");
        assert_eq!(won.len() + fenced, 64);
        let head = Lineage::open(store, None, 99).await.unwrap().head().await.unwrap().unwrap();
        assert_eq!(Some(&head.root.id), won.last());
    })
    .await;
}

/// Writers of one generation: each commits, none overwrites another.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn writers_of_one_generation_follow_one_another() {
    let temp = tempfile::tempdir().unwrap();
    let shared = store(&temp.path().join("store"));
    let race = (0..6).map(|number| {
        let folder = temp.path().join(format!("tree-{number}"));
        fs::create_dir(&folder).unwrap();
        fs::write(folder.join("who"), number.to_string()).unwrap();
        let store = Arc::clone(&shared);
        async move {
            let lineage = Lineage::open(store, None, 1).await.unwrap();
            (make(&lineage, &folder).await.unwrap(), folder)
        }
    });
    let lineage = Lineage::open(Arc::clone(&shared), None, 1).await.unwrap();
    let mut sequences = Vec::new();
    for (snapshot, folder) in join_all(race).await {
        sequences.push(snapshot.root.id.sequence);
        let back = tempfile::tempdir().unwrap();
        bring_back(&lineage, &snapshot, back.path()).await.unwrap();
        assert_same(&record(&folder).unwrap(), &record(back.path()).unwrap());
    }
    sequences.sort_unstable();
    assert_eq!(sequences, [1, 2, 3, 4, 5, 6]);
}

/// Makes every object of the store look `age` old.
fn grow_old(folder: &Path, age: Duration) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            grow_old(&path, age);
        } else {
            fs::File::options().write(true).open(path).unwrap().set_modified(SystemTime::now() - age).unwrap();
        }
    }
}

#[tokio::test]
async fn what_nothing_reaches_is_collected_a_day_later_and_a_writer_is_never_broken() {
    const DAY: Duration = Duration::from_secs(25 * 60 * 60);
    let temp = tempfile::tempdir().unwrap();
    let (tree, stored) = (temp.path().join("tree"), temp.path().join("store"));
    fs::create_dir(&tree).unwrap();
    let lineage = Lineage::open(store(&stored), None, 1).await.unwrap();
    let mut recorded = Vec::new();
    for round in 0..4_u8 {
        fs::write(tree.join("shared"), "the same in all").unwrap();
        fs::write(tree.join(format!("only-{round}")), vec![round; 50_000]).unwrap();
        if round > 0 {
            fs::remove_file(tree.join(format!("only-{}", round - 1))).unwrap();
        }
        recorded.push((make(&lineage, &tree).await.unwrap(), record(&tree).unwrap()));
    }
    let objects = || {
        let count = |name: &str| fs::read_dir(stored.join(name)).unwrap().count();
        (count("roots"), count("packs"), count("pages"))
    };
    assert_eq!(objects(), (4, 4, 4));
    let retention = Retention { keep_last: 2, ..Retention::default() };
    let cancel = CancellationToken::new();
    grow_old(&stored, DAY);
    let first = prune(&lineage, &retention, false, &cancel).await.unwrap();
    assert_eq!((first.removed.len(), first.kept, first.objects_removed), (2, 2, 0), "{first:?}");
    assert_eq!(objects(), (4, 4, 4), "a writer may have begun with them an hour ago");
    let gone = lineage.get(&recorded[0].0.root.id).await.unwrap_err();
    assert_eq!(gone.reason(), Reason::NotFound);

    // A writer that began before: its parent is marked by now, and it still commits whole.
    let late = Lineage::open(store(&stored), None, 1).await.unwrap();
    fs::write(tree.join("only-0"), vec![0; 50_000]).unwrap();
    let snapshot = make(&late, &tree).await.unwrap();
    recorded.push((snapshot, record(&tree).unwrap()));

    grow_old(&stored, DAY);
    let dry = prune(&lineage, &retention, true, &cancel).await.unwrap();
    let second = prune(&lineage, &retention, false, &cancel).await.unwrap();
    assert_eq!((dry.objects_removed, &dry.removed), (second.objects_removed, &second.removed));
    assert!(second.objects_removed >= 4, "{second:?}");
    for (snapshot, before) in &recorded[3..] {
        let back = tempfile::tempdir().unwrap();
        bring_back(&lineage, snapshot, back.path()).await.unwrap();
        assert_same(before, &record(back.path()).unwrap());
    }
    // A newer generation's lineage is not this agent's to prune.
    Lineage::open(store(&stored), None, 2).await.unwrap().claim().await.unwrap();
    let fenced = prune(&lineage, &retention, false, &cancel).await.unwrap_err();
    assert_eq!(fenced.reason(), Reason::LineageFenced);
}

/// Names the folder in the child process, in which a small file system is mounted.
const FULL: &str = "REMORA_TEST_FULL_DISK";

/// Not a test of its own: it runs in a mount namespace of its own.
#[tokio::test]
async fn the_child_with_a_full_disk() {
    let Some(folder) = std::env::var_os(FULL).map(std::path::PathBuf::from) else { return };
    let small = folder.join("small");
    let mounted = Command::new("mount").args(["-t", "tmpfs", "-o", "size=3m", "none"]).arg(&small).status().unwrap();
    assert!(mounted.success());
    let store: Arc<dyn Store> = Arc::new(DirStore::open(folder.join("store")).unwrap());
    let lineage = Lineage::open(store, None, 1).await.unwrap();
    let newest = lineage.newest_snapshot().await.unwrap().unwrap();
    fs::write(small.join("mine"), "kept").unwrap();
    let before = record(&small).unwrap();
    let error = bring_back(&lineage, &newest, &small).await.unwrap_err();
    assert_eq!(error.reason(), Reason::NoSpace, "{error}");
    assert!(matches!(error, SnapshotError::File { .. }), "{error:?}");
    assert_same(&before, &record(&small).unwrap());
    // Room is made, and the same call succeeds.
    let grown = Command::new("mount").args(["-o", "remount,size=30m", "none"]).arg(&small).status().unwrap();
    assert!(grown.success());
    bring_back(&lineage, &newest, &small).await.unwrap();
    assert_same(&record(&folder.join("tree")).unwrap(), &record(&small).unwrap());
}

/// a058: a full disk is said in its words, changes nothing, and is over when there is room.
#[tokio::test]
async fn a058_a_restore_onto_a_full_disk_changes_nothing_and_converges() {
    let temp = tempfile::tempdir().unwrap();
    let tree = temp.path().join("tree");
    for folder in [&tree, &temp.path().join("small")] {
        fs::create_dir(folder).unwrap();
    }
    for number in 0..40_u32 {
        let content: Vec<u8> = (0..50_000).flat_map(|at: u32| (at * number).to_le_bytes()).collect();
        fs::write(tree.join(format!("file-{number}")), content).unwrap();
    }
    let lineage = Lineage::open(store(&temp.path().join("store")), None, 1).await.unwrap();
    make(&lineage, &tree).await.unwrap();
    let output = Command::new("unshare")
        .args(["--mount", "--map-root-user"])
        .arg(std::env::current_exe().unwrap())
        .args(["--exact", "snapshot_races::the_child_with_a_full_disk", "--nocapture"])
        .env(FULL, temp.path())
        .stdin(Stdio::null())
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&[output.stdout, output.stderr].concat()));
}
