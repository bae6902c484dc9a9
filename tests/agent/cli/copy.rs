//! `remora cp`.

use std::{
    fs,
    os::unix::{
        fs::{MetadataExt as _, PermissionsExt as _, symlink},
        net::UnixListener,
    },
    path::Path,
};

use remora_tests::tree;

use super::Served;

/// Bytes that no compressor shrinks to nothing, different for each seed.
fn noise(seed: u32, length: usize) -> Vec<u8> {
    let mut state = seed.wrapping_mul(2_654_435_761) | 1;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 17;
        state ^= state << 5;
        state.to_le_bytes()[0]
    };
    (0..length).map(|_| next()).collect()
}

fn mode(path: &Path, mode: u32) {
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
}

/// A tree with everything that a copy must keep.
fn make_tree(root: &Path) {
    fs::create_dir_all(root.join("src/deep/er")).unwrap();
    fs::write(root.join("empty"), "").unwrap();
    fs::write(root.join("src/big"), noise(1, 3_000_000)).unwrap();
    fs::write(root.join("src/run.sh"), "#!/bin/sh\n").unwrap();
    mode(&root.join("src/run.sh"), 0o755);
    fs::write(root.join("src/deep/er/secret"), "s").unwrap();
    mode(&root.join("src/deep/er/secret"), 0o600);
    fs::write(root.join("naïve \n name"), "odd").unwrap();
    let long = "n".repeat(200);
    fs::create_dir_all(root.join(&long).join(&long)).unwrap();
    fs::write(root.join(&long).join(&long).join("file"), "long").unwrap();
    symlink("src/run.sh", root.join("link")).unwrap();
    symlink("../outside/never//there", root.join("src/dangling")).unwrap();
    fs::create_dir(root.join("sealed")).unwrap();
    fs::write(root.join("sealed/in"), "in").unwrap();
    mode(&root.join("sealed"), 0o555);
}

/// What is the same after a copy: owners are those of who copies, and the
/// folder that is copied into keeps its own mode and time.
fn same(a: &Path, b: &Path) {
    let record = |root: &Path| {
        let mut tree = tree::record(root).unwrap();
        tree.remove(Path::new(""));
        tree
    };
    let (a, b) = (record(a), record(b));
    assert_eq!(a.keys().collect::<Vec<_>>(), b.keys().collect::<Vec<_>>());
    for (path, entry) in &a {
        assert_eq!(entry, &b[path], "{}", path.display());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_folder_goes_there_and_back_the_same() {
    let served = Served::start().await;
    let (from, back) = (served.here("tree"), served.here("back"));
    fs::create_dir(&from).unwrap();
    make_tree(&from);

    served.cli.run(&["cp", "tree", "web:copied"]).await.ok();
    same(&from, &served.inside("copied"));

    served.cli.run(&["cp", "web:copied", "back"]).await.ok();
    same(&from, &back);
    // The root of a folder that is made has its mode and time too.
    let [a, b] = [&from, &back].map(|path| fs::metadata(path).unwrap());
    assert_eq!(a.mode(), b.mode());

    // Into a folder that is there: under the own name, on both sides.
    served.cli.run(&["cp", "tree", "web:copied"]).await.ok();
    same(&from, &served.inside("copied/tree"));
    fs::create_dir(served.here("into")).unwrap();
    served.cli.run(&["cp", "web:copied/tree", "into"]).await.ok();
    same(&from, &served.here("into/tree"));
    // The content alone.
    fs::create_dir(served.here("content")).unwrap();
    served.cli.run(&["cp", "web:copied/tree/.", "content"]).await.ok();
    same(&from, &served.here("content"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_goes_there_and_back_with_its_mode_and_time() {
    let served = Served::start().await;
    let content = noise(2, 2_500_001);
    fs::write(served.here("file"), &content).unwrap();
    mode(&served.here("file"), 0o640);
    served.cli.run(&["cp", "file", "web:there"]).await.ok();
    served.cli.run(&["cp", "web:there", "back"]).await.ok();
    for path in [served.inside("there"), served.here("back")] {
        assert!(fs::read(&path).unwrap() == content, "{} differs", path.display());
        let [a, b] = [&served.here("file"), &path].map(|path| fs::metadata(path).unwrap());
        assert_eq!((a.mode(), a.mtime(), a.mtime_nsec()), (b.mode(), b.mtime(), b.mtime_nsec()));
    }
    // Through pipes, and within the project.
    served.cli.fed(&["cp", "-", "web:piped"], &content).await.ok();
    served.cli.run(&["cp", "web:piped", "web:again"]).await.ok();
    let printed = served.cli.run(&["cp", "web:again", "-"]).await;
    assert!(printed.code == 0 && printed.stdout == content, "{}", printed.stderr);
    assert!(printed.stderr.is_empty(), "{}", printed.stderr);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_copy_that_fails_leaves_no_half_file() {
    let served = Served::start().await;
    fs::write(served.here("old"), "old").unwrap();
    fs::write(served.inside("old"), "old").unwrap();
    let before = |folder: &Path| fs::read_dir(folder).unwrap().count();
    let (here, there) = (before(&served.here("")), before(&served.inside("")));

    served.cli.run(&["cp", "web:missing", "old"]).await.refused(66, "missing");
    served.cli.run(&["cp", "web:old", "no/such/folder"]).await.refused(74, "no/such/folder");
    served.cli.run(&["cp", "missing", "web:old"]).await.refused(74, "missing");
    served.cli.run(&["cp", "old", "web:no/such/folder"]).await.refused(66, "no/such/folder");
    served.cli.run(&["cp", "old", "web:new/"]).await.refused(66, "new/");
    served.cli.run(&["cp", "web:../outside", "old"]).await.refused(64, "outside");

    assert_eq!(fs::read(served.here("old")).unwrap(), b"old");
    assert_eq!(fs::read(served.inside("old")).unwrap(), b"old");
    assert_eq!((before(&served.here("")), before(&served.inside(""))), (here, there));
}

#[tokio::test(flavor = "multi_thread")]
async fn links_in_the_local_target_are_never_followed() {
    let served = Served::start().await;
    fs::create_dir(served.here("outside")).unwrap();
    fs::write(served.here("outside/file"), "mine").unwrap();
    fs::create_dir(served.here("target")).unwrap();
    symlink(served.here("outside"), served.here("target/dir")).unwrap();
    symlink(served.here("outside/file"), served.here("target/file")).unwrap();
    fs::create_dir_all(served.inside("tree/dir")).unwrap();
    fs::write(served.inside("tree/dir/evil"), "theirs").unwrap();
    fs::write(served.inside("tree/file"), "theirs").unwrap();

    let ran = served.cli.run(&["cp", "web:tree/.", "target"]).await;
    ran.refused(74, "never followed");
    served.cli.run(&["cp", "web:tree/file", "target/file"]).await.ok();
    assert_eq!(fs::read(served.here("outside/file")).unwrap(), b"mine");
    assert_eq!(fs::read(served.here("target/file")).unwrap(), b"theirs");
    assert_eq!(fs::read_dir(served.here("outside")).unwrap().count(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_no_archive_holds_is_left_out_and_counted() {
    let served = Served::start().await;
    fs::create_dir(served.here("tree")).unwrap();
    fs::write(served.here("tree/file"), "x").unwrap();
    let _socket = UnixListener::bind(served.here("tree/socket")).unwrap();
    let ran = served.cli.run(&["cp", "tree", "web:t"]).await;
    assert!(ran.code == 0 && ran.stderr.contains("left out 1 sockets"), "{ran:?}");
    assert_eq!(fs::read_dir(served.inside("t")).unwrap().count(), 1);
    served.cli.run(&["cp", "tree/socket", "web:s"]).await.refused(64, "is a socket");
}

#[tokio::test(flavor = "multi_thread")]
async fn sides_that_make_no_sense_are_refused() {
    let served = Served::start().await;
    for (from, to, words) in [
        ("a", "b", "neither of the two"),
        ("-", "b", "neither of the two"),
        ("web:a", "other:b", "two projects"),
        ("Web:a", "b", "web would do"),
        ("", "web:b", "names nothing"),
    ] {
        served.cli.run(&["cp", from, to]).await.refused(64, words);
    }
    assert_eq!(fs::read_dir(served.inside("")).unwrap().count(), 0);
}
