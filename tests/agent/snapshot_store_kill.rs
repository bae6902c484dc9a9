//! kill -9 of a writer to the directory store, at every system call that
//! matters: an object is there whole or not at all.

use std::{
    env,
    os::unix::process::ExitStatusExt as _,
    path::Path,
    process::{Command, Stdio},
};

use bytes::Bytes;
use remora_agent_snapshot::store::{DirStore, PutCondition, PutOutcome, Store as _};

/// Names the folder in the child process, which writes there and is killed.
const FOLDER: &str = "REMORA_TEST_KILLED_WRITER";

/// Larger than any buffer between a writer and the disk.
fn body() -> Bytes {
    (0..200_000_u32).flat_map(u32::to_be_bytes).collect::<Vec<_>>().into()
}

/// Not a test of its own: the writer that `a062_...` kills.
#[tokio::test]
async fn the_writer_that_is_killed() {
    let Some(folder) = env::var_os(FOLDER) else { return };
    let store = DirStore::open(folder).unwrap();
    store.put("roots/1", body(), PutCondition::IfAbsent).await.unwrap();
    store.put("packs/1", body(), PutCondition::Always).await.unwrap();
}

/// Runs the writer and kills it at the `nth` call of `call`; whether it was killed.
fn run(folder: &Path, call: &str, nth: u32) -> bool {
    let status = Command::new("strace")
        .args(["-f", "-qq", "-o", "/dev/null", "-e", &format!("trace={call}")])
        .args(["-e", &format!("inject={call}:signal=KILL:when={nth}")])
        .arg(env::current_exe().unwrap())
        .args(["--exact", "snapshot_store_kill::the_writer_that_is_killed"])
        .env(FOLDER, folder)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .status()
        .expect("strace runs; tests/setup.sh installs it");
    assert!(status.success() || status.signal() == Some(9), "{call} {nth}: {status}");
    !status.success()
}

#[tokio::test]
async fn a062_a_killed_writer_leaves_whole_objects_or_none() {
    let mut kills = 0;
    for call in ["write", "fsync", "link,linkat", "rename", "unlink", "mkdir"] {
        for nth in 1.. {
            let folder = tempfile::tempdir().unwrap();
            let killed = run(folder.path(), call, nth);
            let store = DirStore::open(folder.path()).unwrap();
            let listed = store.list("", None).await.unwrap().objects;
            for object in &listed {
                assert_eq!(store.get(&object.key, None).await.unwrap(), body(), "{call} {nth}: {}", object.key);
            }
            if !killed {
                assert_eq!(listed.len(), 2, "{call} {nth}");
                break;
            }
            kills += 1;
            // Whoever comes next is not hindered by what the dead one left.
            let again = store.put("roots/1", body(), PutCondition::IfAbsent).await.unwrap();
            let there = listed.iter().any(|object| object.key == "roots/1");
            assert_eq!(again, if there { PutOutcome::Exists } else { PutOutcome::Stored }, "{call} {nth}");
            store.put("packs/1", body(), PutCondition::Always).await.unwrap();
            assert_eq!(store.list("", None).await.unwrap().objects.len(), 2);
        }
    }
    assert!(kills >= 15, "only {kills} kills");
}
