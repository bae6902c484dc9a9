//! Snapshots that try to write elsewhere, lie about themselves, or are damaged.

use std::{fs, os::unix::fs::symlink as link, path::Path, sync::Arc};

use remora_agent_root::Root;
use remora_agent_snapshot::{
    KeepOut, Lineage, Restored, Silent, SnapshotError, StoredRoot,
    format::{Chunk, Content, Entry, Node, Page},
    restore,
    store::{DirStore, Store},
};
use remora_proto_model::Reason;
use remora_tests::tree::{assert_same, record};
use tokio_util::sync::CancellationToken;

use crate::snapshot_author::{Author, entry, file, hardlink, symlink, top};

async fn restore_into(lineage: &Lineage, snapshot: &StoredRoot, folder: &Path) -> Result<Restored, SnapshotError> {
    let keep_out: KeepOut = Arc::new(|_, _| false);
    let root = Root::open(folder).unwrap();
    restore(lineage, snapshot, &root, keep_out, Arc::new(Silent), &CancellationToken::new()).await
}

fn store(folder: &Path) -> Arc<dyn Store> {
    fs::create_dir_all(folder).unwrap();
    Arc::new(DirStore::open(folder).unwrap())
}

/// A workspace `in` beside a secret, and a place for a store.
fn surroundings() -> tempfile::TempDir {
    let temp = tempfile::tempdir().unwrap();
    fs::create_dir(temp.path().join("in")).unwrap();
    fs::write(temp.path().join("secret"), "outside").unwrap();
    temp
}

/// a073: names and links that would lead out, and manifests that are no tree.
#[tokio::test]
async fn a073_nothing_is_written_outside_and_nothing_changes_inside() {
    let temp = surroundings();
    let inside = temp.path().join("in");
    let mut author = Author::new(store(&temp.path().join("store")), None).await;
    let content: &[&[u8]] = &[b"evil"];
    let evil = |path: &str| file(path, &[(0, 4)]);
    let link_out = |path: &str| symlink(path, "..");
    let cases: Vec<(&str, Vec<Entry>)> = vec![
        ("a name that climbs", vec![top(), evil("../secret")]),
        ("a name that climbs later", vec![top(), entry("a", Node::Directory), evil("a/../../secret")]),
        ("an absolute name", vec![top(), evil("/tmp/remora-evil")]),
        ("a NUL", vec![top(), evil("a\0b")]),
        ("an empty component", vec![top(), evil("a//b")]),
        ("a dot", vec![top(), evil("./a")]),
        ("a file through a link", vec![top(), link_out("a"), evil("a/secret")]),
        ("a directory through a link", vec![top(), link_out("a"), entry("a/d", Node::Directory)]),
        ("a link and a file of one name", vec![top(), link_out("secret"), evil("secret")]),
        ("a file and what lies in it", vec![top(), evil("a"), evil("a/b")]),
        ("a further name of something above", vec![top(), hardlink("a", "../secret")]),
        ("a further name of an absolute path", vec![top(), hardlink("b", "/etc/passwd")]),
        ("a further name through a link", vec![top(), link_out("a"), hardlink("b", "a/secret")]),
        ("a further name of a directory", vec![top(), entry("a", Node::Directory), hardlink("b", "a")]),
        ("a further name of nothing", vec![top(), hardlink("b", "a")]),
        ("a further name of a further name", vec![top(), evil("a"), hardlink("b", "a"), hardlink("c", "b")]),
        ("entries out of order", vec![top(), evil("b"), evil("a")]),
        ("an entry in no directory", vec![top(), evil("a/b")]),
        ("no root", vec![evil("a")]),
        ("nothing", vec![]),
        ("a root that is a link", vec![symlink("", "..")]),
        ("a name that is too long", vec![top(), evil(&"n".repeat(256))]),
    ];
    for living in [false, true] {
        if living {
            fs::create_dir_all(inside.join("kept/deep")).unwrap();
            fs::write(inside.join("kept/deep/file"), "mine").unwrap();
            link("..", inside.join("b")).unwrap();
            link("..", inside.join("d")).unwrap();
        }
        for (what, entries) in &cases {
            let snapshot = author.snapshot(entries.clone(), content).await;
            let before = record(temp.path()).unwrap();
            let error = match snapshot {
                Ok(snapshot) => restore_into(&author.lineage, &snapshot, &inside).await.expect_err(what),
                Err(error) => error,
            };
            assert_eq!(error.reason(), Reason::SnapshotDamaged, "{what}: {error}");
            assert_same(&before, &record(temp.path()).unwrap());
        }
    }
}

/// What is in the workspace already leads out just as well.
#[tokio::test]
async fn links_that_are_there_are_replaced_and_never_followed() {
    let temp = surroundings();
    let inside = temp.path().join("in");
    fs::create_dir(temp.path().join("elsewhere")).unwrap();
    let mut author = Author::new(store(&temp.path().join("store")), None).await;
    let fifo = Entry { mode: 0o600, ..entry("pipe", Node::Fifo) };
    let entries = vec![
        top(),
        entry("dir", Node::Directory),
        file("dir/file", &[(0, 4)]),
        file("file", &[(0, 4)]),
        symlink("link", "dir"),
        hardlink("name", "file"),
        fifo,
    ];
    let snapshot = author.snapshot(entries, &[b"good"]).await.unwrap();
    let empty = temp.path().join("empty");
    fs::create_dir(&empty).unwrap();
    restore_into(&author.lineage, &snapshot, &empty).await.unwrap();
    for name in ["dir", "link"] {
        link("../elsewhere", inside.join(name)).unwrap();
    }
    for name in ["file", "name", "pipe"] {
        link("../secret", inside.join(name)).unwrap();
    }
    let outside = record(&temp.path().join("elsewhere")).unwrap();
    let secret = fs::symlink_metadata(temp.path().join("secret")).unwrap();
    restore_into(&author.lineage, &snapshot, &inside).await.unwrap();
    assert_same(&record(&empty).unwrap(), &record(&inside).unwrap());
    assert_same(&outside, &record(&temp.path().join("elsewhere")).unwrap());
    assert_eq!(fs::read(temp.path().join("secret")).unwrap(), b"outside");
    assert_eq!(
        fs::symlink_metadata(temp.path().join("secret")).unwrap().modified().unwrap(),
        secret.modified().unwrap()
    );
}

/// a066: any bit of any object. Nothing of the workspace changes, and where the
/// damage is in a content, the file is named.
#[tokio::test]
async fn a066_a_flipped_bit_of_any_object_is_met_before_anything_changes() {
    let big: Vec<u8> = (0..70_000_u32).flat_map(u32::to_be_bytes).collect();
    for key in [None, Some(&[9; 32])] {
        let temp = surroundings();
        let inside = temp.path().join("in");
        let stored = temp.path().join("store");
        let mut author = Author::new(store(&stored), key).await;
        let (frames, blobs) = author.pack(&[b"one", &big[..100_000], &big[100_000..200_000]]).await;
        // A file over two pages.
        let chunk = |frame, length| Chunk { hole: 5, frame, offset: 0, length };
        let part = |start, more, chunk: Chunk| {
            entry("large", Node::File(Content { size: 200_010, start, more, chunks: vec![chunk] }))
        };
        let first = Page {
            frames: frames.clone(),
            entries: vec![top(), file("a", &[(0, 3)]), part(0, true, chunk(1, 100_000))],
        };
        let second = Page { frames, entries: vec![part(100_005, false, chunk(2, 100_000))] };
        let pages =
            vec![author.page(&first, vec![blobs[0], blobs[1]]).await, author.page(&second, vec![blobs[2]]).await];
        let snapshot = author.commit(pages).await.unwrap();
        let whole = temp.path().join("whole");
        fs::create_dir(&whole).unwrap();
        restore_into(&author.lineage, &snapshot, &whole).await.unwrap();
        assert_eq!(fs::metadata(whole.join("large")).unwrap().len(), 200_010);
        assert_eq!(fs::read(whole.join("large")).unwrap()[100_010..], big[100_000..200_000]);

        fs::write(inside.join("a"), "another").unwrap();
        fs::write(inside.join("mine"), "extra").unwrap();
        let living = record(&inside).unwrap();
        let empty = temp.path().join("empty");
        fs::create_dir(&empty).unwrap();
        let nothing = record(&empty).unwrap();
        let mut named = 0;
        for object in author.store.list("", None).await.unwrap().objects {
            let path = stored.join(&object.key);
            let good = fs::read(&path).unwrap();
            let mut places: Vec<usize> = (0..24).map(|step| step * (good.len() - 1) / 23).collect();
            places.dedup();
            for place in places {
                let mut bad = good.clone();
                bad[place] ^= 1 << (place % 8);
                fs::write(&path, &bad).unwrap();
                let what = format!("{} byte {place} of {}", object.key, good.len());
                for (folder, before) in [(&inside, &living), (&empty, &nothing)] {
                    let result = async {
                        let lineage = Lineage::open(Arc::clone(&author.store), key, 1).await?;
                        let snapshot = lineage.get(&snapshot.root.id).await?;
                        restore_into(&lineage, &snapshot, folder).await
                    };
                    match result.await {
                        // The index of a pack and the dedup index of a page are not what a restore reads.
                        Ok(_) => {
                            assert!(object.key.starts_with("packs/") || object.key.starts_with("pages/"), "{what}");
                            assert_same(&record(&whole).unwrap(), &record(folder).unwrap());
                            for name in ["a", "large"] {
                                fs::remove_file(folder.join(name)).unwrap();
                            }
                            if folder == &inside {
                                fs::write(inside.join("a"), "another").unwrap();
                                fs::write(inside.join("mine"), "extra").unwrap();
                            }
                            reset(folder, before);
                        }
                        Err(error) => {
                            let expected = [Reason::SnapshotDamaged, Reason::FormatUnsupported, Reason::KeyWrong];
                            assert!(expected.contains(&error.reason()), "{what}: {error}");
                            assert!(error.to_string().contains(&object.key), "{what}: {error}");
                            if object.key.starts_with("packs/") {
                                let text = error.to_string();
                                assert!(text.contains("\"a\"") || text.contains("\"large\""), "{what}: {text}");
                                named += 1;
                            }
                            assert_same(before, &record(folder).unwrap());
                        }
                    }
                }
            }
            fs::write(&path, &good).unwrap();
        }
        assert!(named > 20, "{named}");
    }
}

/// Gives what was made again by hand the times of `before`.
fn reset(folder: &Path, before: &remora_tests::tree::Tree) {
    for (path, entry) in before.iter().rev() {
        let (seconds, nanos) = entry.mtime();
        let times = rustix::fs::Timestamps {
            last_access: rustix::fs::Timespec { tv_sec: seconds, tv_nsec: nanos as _ },
            last_modification: rustix::fs::Timespec { tv_sec: seconds, tv_nsec: nanos as _ },
        };
        rustix::fs::utimensat(rustix::fs::CWD, folder.join(path), &times, rustix::fs::AtFlags::SYMLINK_NOFOLLOW)
            .unwrap();
    }
}
