//! kill -9 of Create and Restore at every request to the store and at every
//! system call that changes the workspace. Whatever the moment: what was
//! committed restores exactly, and a workspace that is neither old nor new says so.

use std::{
    env, fs, io,
    os::unix::{fs::symlink, process::ExitStatusExt as _},
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::Arc,
};

use remora_agent_root::Root;
use remora_agent_snapshot::{
    Counts, CreateOptions, Damage, Lineage, Origin, Progress, RestoreObserver, Rules, Silent, VerifyObserver,
    WorkspaceState, create, restore,
    store::{DirStore, FaultPlan, FaultyStore, Injection, Store},
    verify,
};
use remora_tests::tree::{Tree, assert_same, differences, record};
use tokio_util::sync::CancellationToken;

use crate::snapshot_round_trip::{bring_back, make, set_time, store};

/// Names the child's folder, what it does and at which request it dies.
const CHILD: &str = "REMORA_TEST_KILLED_SNAPSHOT";

/// The folder that a child works on: `tree`, `store`, `state`.
struct Place(PathBuf);

impl Place {
    fn tree(&self) -> PathBuf {
        self.0.join("tree")
    }

    fn store(&self) -> PathBuf {
        self.0.join("store")
    }

    fn state(&self) -> WorkspaceState {
        WorkspaceState::open(self.0.join("state")).unwrap()
    }

    /// A copy that a child may ruin.
    fn copy(&self) -> (tempfile::TempDir, Place) {
        let temp = tempfile::tempdir().unwrap();
        let place = Place(temp.path().join("copy"));
        let status = Command::new("cp").arg("-a").arg(&self.0).arg(&place.0).status().unwrap();
        assert!(status.success());
        (temp, place)
    }
}

/// Sets the flag before the first change, as an agent does.
struct Flag(WorkspaceState);

impl Progress for Flag {
    fn report(&self, _counts: Counts) {}
}

impl RestoreObserver for Flag {
    fn before_change(&self) -> io::Result<()> {
        self.0.begin_restore("under way")
    }

    fn usable(&self, _files_left: u64, _bytes_left: u64) {}
}

async fn restore_newest(place: &Place, store: Arc<dyn Store>) {
    let lineage = Lineage::open(store, None, 1).await.unwrap();
    let newest = lineage.newest_snapshot().await.unwrap().unwrap();
    let root = Root::open(place.tree()).unwrap();
    let keep_out = Rules::load(&root, &[]).unwrap().keep_out();
    let observer = Arc::new(Flag(place.state()));
    restore(&lineage, &newest, &root, keep_out, observer, &CancellationToken::new()).await.unwrap();
    let origin = Origin { snapshot: newest.root.id.to_string(), generation: 1 };
    place.state().finish_restore(&origin).unwrap();
}

/// Not a test of its own: what is killed.
#[tokio::test]
async fn the_child_that_is_killed() {
    let Ok(order) = env::var(CHILD) else { return };
    let [folder, work, number, when] = order.split('|').collect::<Vec<_>>()[..] else { panic!("{order}") };
    let place = Place(PathBuf::from(folder));
    let kill = if when == "after" { Injection::KillAfter } else { Injection::KillBefore };
    let plan = match number.parse().unwrap() {
        0 => FaultPlan::none(),
        number => FaultPlan::none().at(number, kill),
    };
    let faulty = Arc::new(FaultyStore::new(Arc::new(DirStore::open(place.store()).unwrap()), plan));
    if work == "restore" {
        restore_newest(&place, faulty).await;
    } else {
        let lineage = Lineage::open(faulty, None, 1).await.unwrap();
        let root = Root::open(place.tree()).unwrap();
        let rules = Rules::load(&root, &[]).unwrap();
        let options = CreateOptions::default();
        create(&lineage, &root, &rules, options, Arc::new(Silent), &CancellationToken::new()).await.unwrap();
    }
}

/// Runs a child; whether it was killed. With `call` at the `number`-th of these
/// system calls, else at the `number`-th request.
fn run(place: &Place, work: &str, call: Option<&str>, number: u32, when: &str) -> bool {
    let own = env::current_exe().unwrap();
    let mut command = match call {
        None => Command::new(&own),
        Some(call) => {
            let mut command = Command::new("strace");
            command.args(["-f", "-qq", "-o", "/dev/null", "-e", &format!("trace={call}")]);
            command.args(["-e", &format!("inject={call}:signal=KILL:when={number}")]).arg(&own);
            command
        }
    };
    let request = if call.is_some() { 0 } else { number };
    let status = command
        .args(["--exact", "snapshot_kill::the_child_that_is_killed"])
        .env(CHILD, format!("{}|{work}|{request}|{when}", place.0.display()))
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .expect("strace runs; tests/setup.sh installs it");
    assert!(status.success() || status.signal() == Some(9), "{call:?} {number}: {status}");
    !status.success()
}

/// A folder with most kinds of entries.
fn plant(tree: &Path) {
    fs::create_dir_all(tree.join("src/deep")).unwrap();
    fs::create_dir_all(tree.join("node_modules/x")).unwrap();
    for (name, content) in [("src/a", "one"), ("src/deep/b", "two"), ("node_modules/x/c", "three"), ("same", "same")] {
        fs::write(tree.join(name), content).unwrap();
    }
    symlink("src/a", tree.join("link")).unwrap();
    fs::hard_link(tree.join("src/a"), tree.join("src/z")).unwrap();
    rustix::fs::setxattr(tree.join("src/a"), "user.k", b"v", rustix::fs::XattrFlags::empty()).unwrap();
}

/// Changes it in every way.
fn change(tree: &Path) {
    fs::write(tree.join("src/deep/b"), "changed").unwrap();
    fs::remove_file(tree.join("src/z")).unwrap();
    fs::remove_file(tree.join("link")).unwrap();
    fs::create_dir(tree.join("link")).unwrap();
    fs::write(tree.join("link/inside"), "x").unwrap();
    fs::remove_dir_all(tree.join("node_modules")).unwrap();
    fs::write(tree.join("node_modules"), "a file now").unwrap();
    fs::create_dir_all(tree.join("extra/deep")).unwrap();
    fs::write(tree.join("extra/deep/file"), "y").unwrap();
    set_time(&tree.join("same"), 1_000, 1);
}

/// Damages are counted by whoever asks.
struct NoDamage;

impl Progress for NoDamage {
    fn report(&self, _counts: Counts) {}
}

impl VerifyObserver for NoDamage {
    fn damage(&self, damage: Damage) {
        panic!("{damage:?}");
    }
}

/// Every snapshot of the store verifies and restores to one of `trees`, the
/// newest to one of them that is named by `newest`.
async fn check(place: &Place, trees: &[&Tree]) -> usize {
    let lineage = Lineage::open(store(&place.store()), None, 1).await.unwrap();
    let listed = lineage.list(0, 100).await.unwrap().snapshots;
    for (at, snapshot) in listed.iter().enumerate() {
        verify(&lineage, snapshot, true, &NoDamage, &CancellationToken::new()).await.unwrap();
        let back = tempfile::tempdir().unwrap();
        bring_back(&lineage, snapshot, back.path()).await.unwrap();
        assert_same(trees[at.min(trees.len() - 1)], &record(back.path()).unwrap());
    }
    listed.len()
}

/// A workspace that was changed since its one snapshot, and the tree of that snapshot.
async fn changed_since(folder: &Path) -> (Place, Tree) {
    let base = Place(folder.join("base"));
    fs::create_dir_all(base.tree()).unwrap();
    plant(&base.tree());
    let lineage = Lineage::open(store(&base.store()), None, 1).await.unwrap();
    make(&lineage, &base.tree()).await.unwrap();
    let tree = record(&base.tree()).unwrap();
    change(&base.tree());
    (base, tree)
}

#[tokio::test]
async fn a063_a_killed_create_commits_all_or_nothing() {
    let temp = tempfile::tempdir().unwrap();
    let (base, first) = changed_since(temp.path()).await;
    let second = record(&base.tree()).unwrap();
    let mut kills = [0, 0];
    for when in ["before", "after"] {
        for number in 1.. {
            let (_temp, place) = base.copy();
            let killed = run(&place, "create", None, number, when);
            assert_same(&second, &record(&place.tree()).unwrap());
            let found = check(&place, &[&first, &second]).await;
            if !killed {
                assert_eq!(found, 2, "what was acknowledged is there");
                break;
            }
            kills[found - 1] += 1;
            // Whoever comes next is not hindered.
            assert!(!run(&place, "create", None, 0, when));
            assert_eq!(check(&place, &[&first, &second, &second]).await, found + 1, "{when} {number}");
        }
    }
    assert!(kills[0] >= 8 && kills[1] >= 2, "{kills:?}");
}

#[tokio::test]
async fn a062_a_killed_restore_is_the_old_tree_the_new_one_or_says_that_it_is_neither() {
    let temp = tempfile::tempdir().unwrap();
    let (base, wanted) = changed_since(temp.path()).await;
    base.state();
    let bare = Place(temp.path().join("bare"));
    fs::create_dir_all(bare.tree()).unwrap();
    bare.state();
    assert!(Command::new("cp").arg("-a").arg(base.store()).arg(bare.store()).status().unwrap().success());

    let calls = [
        "mkdir,mkdirat",
        "rename,renameat,renameat2",
        "unlink,unlinkat,rmdir",
        "pwrite64",
        "ftruncate",
        "fchmod",
        "utimensat",
        "link,linkat",
        "symlink,symlinkat",
        "fsetxattr",
        "syncfs",
        "fsync",
    ];
    let points = calls.iter().map(|call| Some(*call)).chain([None]);
    let (mut kills, mut flagged) = (0, 0);
    for (call, from) in points.flat_map(|call| [(call, &base), (call, &bare)]) {
        let old = record(&from.tree()).unwrap();
        for number in 1.. {
            let (_temp, place) = from.copy();
            let killed = run(&place, "restore", call, number, "before");
            let now = record(&place.tree()).unwrap();
            let what = format!("{call:?} {number}");
            let state = place.state();
            if state.is_restoring().unwrap() {
                flagged += 1;
            } else if state.origin().unwrap().is_some() {
                assert_same(&wanted, &now);
            } else {
                assert_same(&without_staging(&old), &without_staging(&now));
            }
            if !killed {
                assert_same(&wanted, &now);
                break;
            }
            kills += 1;
            assert_eq!(check(&place, &[&wanted]).await, 1, "{what}");
            restore_newest(&place, store(&place.store())).await;
            let left = differences(&wanted, &record(&place.tree()).unwrap());
            assert!(left.is_empty(), "{what}: {left:?}");
        }
    }
    assert!(kills >= 100 && flagged >= 40, "{kills} kills, {flagged} flagged");
}

/// What a killed restore had put aside is not the workspace's, but it has moved the
/// time of the folder that it lies in.
fn without_staging(tree: &Tree) -> Tree {
    let mut tree = tree.clone();
    tree.retain(|path, _| !path.as_os_str().is_empty() && !path.to_string_lossy().starts_with(".remora-tmp-"));
    tree
}
