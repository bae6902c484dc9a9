//! Peak memory of Create and Restore with the trees that need most: one test, since
//! the peak is the process's. `REMORA_MEMORY_SCALE=10` makes each ten times as large.

use std::{
    fs::{self, File},
    io::{BufWriter, Write as _},
    os::unix::fs::MetadataExt as _,
    path::Path,
    sync::Arc,
};

use remora_agent_root::Root;
use remora_agent_snapshot::{
    CreateOptions, Lineage, Restored, Rules, Silent, StoredRoot, create, restore,
    store::{DirStore, Store},
};
use tokio_util::sync::CancellationToken;

/// The bound for the whole agent.
const MOST_KIB: u64 = 128 * 1024;

fn scale() -> u64 {
    std::env::var("REMORA_MEMORY_SCALE").ok().and_then(|text| text.parse().ok()).unwrap_or(1)
}

/// The most memory since the last time it was asked, in KiB.
fn peak_kib() -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    // The peak begins anew (proc(5), clear_refs).
    fs::write("/proc/self/clear_refs", "5").unwrap();
    line.split_ascii_whitespace().next().unwrap().parse().unwrap()
}

async fn make(lineage: &Lineage, tree: &Path) -> StoredRoot {
    let root = Root::open(tree).unwrap();
    let rules = Rules::load(&root, &[]).unwrap();
    create(lineage, &root, &rules, CreateOptions::default(), Arc::new(Silent), &CancellationToken::new()).await.unwrap()
}

async fn bring_back(lineage: &Lineage, snapshot: &StoredRoot, folder: &Path) -> Restored {
    let root = Root::open(folder).unwrap();
    let keep_out = Rules::load(&root, &[]).unwrap().keep_out();
    restore(lineage, snapshot, &root, keep_out, Arc::new(Silent), &CancellationToken::new()).await.unwrap()
}

/// Makes a snapshot of what `plant` plants, brings it back into an empty folder, and
/// once more over that; `check` looks at both.
async fn rounds(what: &str, plant: impl Fn(&Path), check: impl Fn(&Path, &Path)) {
    let temp = tempfile::tempdir().unwrap();
    let [tree, back, folder] = ["tree", "back", "store"].map(|name| temp.path().join(name));
    for folder in [&tree, &back, &folder] {
        fs::create_dir(folder).unwrap();
    }
    plant(&tree);
    let store: Arc<dyn Store> = Arc::new(DirStore::open(folder).unwrap());
    let lineage = Lineage::open(store, Some(&[7; 32]), 1).await.unwrap();
    let mut peaks = Vec::new();
    peak_kib();
    let snapshot = make(&lineage, &tree).await;
    peaks.push(("create", peak_kib()));
    bring_back(&lineage, &snapshot, &back).await;
    peaks.push(("restore", peak_kib()));
    check(&tree, &back);
    peak_kib();
    let again = make(&lineage, &tree).await;
    peaks.push(("create again", peak_kib()));
    assert_eq!(again.root.pages, snapshot.root.pages);
    let second = bring_back(&lineage, &snapshot, &back).await;
    peaks.push(("restore again", peak_kib()));
    assert_eq!((second.files_written, second.entries_removed), (0, 0), "{what}");
    for (step, kib) in peaks {
        eprintln!("{what}: {step}: peak {:.1} MiB", kib as f64 / 1024.0);
        assert!(kib < MOST_KIB, "{what}: {step} took {kib} KiB");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a021_no_tree_takes_more_memory_than_the_bound() {
    let scale = scale();
    // One directory with long names: 20 MB of them.
    let entries = 100_000 * scale;
    let name = |number: u64| format!("{:016x}-{}", number.wrapping_mul(0x9e37_79b9_7f4a_7c15), "n".repeat(180));
    let plant = |tree: &Path| {
        for number in 0..entries {
            let file = File::create(tree.join(name(number))).unwrap();
            if number % 16 == 0 {
                (&file).write_all(&number.to_le_bytes()).unwrap();
            }
        }
    };
    let check = |_: &Path, back: &Path| {
        assert_eq!(fs::read_dir(back).unwrap().count() as u64, entries);
        assert_eq!(fs::read(back.join(name(160))).unwrap(), 160_u64.to_le_bytes());
    };
    rounds("a directory of many", plant, check).await;

    // Files with three names each, far apart.
    let files = 10_000 * scale;
    let name = |number: u64| format!("{:04}/{}-{number}", number / 1_000, "d".repeat(60));
    let plant = |tree: &Path| {
        for number in 0..files {
            for side in ["a", "b", "c"] {
                let at = tree.join(side).join(name(number));
                if number % 1_000 == 0 {
                    fs::create_dir_all(at.parent().unwrap()).unwrap();
                }
                match side {
                    "a" => fs::write(at, number.to_le_bytes()).unwrap(),
                    _ => fs::hard_link(tree.join("a").join(name(number)), at).unwrap(),
                }
            }
        }
    };
    let check = |_: &Path, back: &Path| {
        for number in (0..files).step_by(999) {
            let [a, b, c] = ["a", "b", "c"].map(|side| fs::metadata(back.join(side).join(name(number))).unwrap());
            assert_eq!((a.ino(), a.ino(), a.nlink()), (b.ino(), c.ino(), 3), "{number}");
            assert_eq!(fs::read(back.join("c").join(name(number))).unwrap(), number.to_le_bytes());
        }
    };
    rounds("hard links", plant, check).await;

    // A large file that shrinks to a hundredth: hundreds of frames come in one request.
    let blocks = 60_000 * scale;
    let plant = |tree: &Path| {
        let mut file = BufWriter::new(File::create(tree.join("log")).unwrap());
        for number in 0..blocks {
            file.write_all(&number.to_be_bytes()).unwrap();
            file.write_all(&[b'x'; 4_088]).unwrap();
        }
    };
    let check = |tree: &Path, back: &Path| {
        let [one, other] = [tree, back].map(|folder| {
            let mut hash = blake3::Hasher::new();
            hash.update_reader(File::open(folder.join("log")).unwrap()).unwrap();
            hash.finalize()
        });
        assert_eq!(one, other);
    };
    rounds("a file that shrinks", plant, check).await;
}
