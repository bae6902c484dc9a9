//! Files through the server.

use std::fs;

use crate::{harness::Case, project::Project, target::Target};

pub(super) fn cases() -> Vec<Case> {
    vec![
        Case::new("files::they_are_written_read_changed_listed_and_removed", verbs),
        Case::new("files::a_folder_goes_in_and_comes_back_the_same", copies),
    ]
}

async fn verbs(target: Target) {
    let project = Project::empty(&target, "files", super::IDLE).await;
    let fs = async |args: &[&str], input: &[u8]| {
        let args = [&args[..1], &[project.name.as_str()], &args[1..]].concat();
        project.cli.fed(&[&["fs"], args.as_slice()].concat(), input).await
    };
    let bytes: Vec<u8> = (0..=255).cycle().take(300_000).collect();
    fs(&["write", "binary"], &bytes).await.ok();
    let read = fs(&["cat", "binary"], b"").await;
    assert!(read.code == 0 && read.stdout == bytes, "{} bytes came back", read.stdout.len());
    fs(&["mkdir", "a"], b"").await.ok();
    fs(&["write", "a/text"], b"one\ntwo\nthree\n").await.ok();
    fs(&["edit", "a/text", "--old", "two", "--new", "2"], b"").await.ok();
    // The container sees what the server did, and the other way round.
    assert_eq!(project.shell("cat a/text").await, "one\n2\nthree\n");
    project.shell("echo from-inside > a/other").await;
    assert_eq!(fs(&["cat", "a/other"], b"").await.ok(), "from-inside\n");
    let found = fs(&["grep", "from-in", "."], b"").await.ok();
    assert!(found.contains("a/other"), "{found}");
    let listed = fs(&["ls", "a"], b"").await.ok();
    assert!(listed.contains("text") && listed.contains("other"), "{listed}");
    fs(&["rm", "a", "--recursive"], b"").await.ok();
    assert_eq!(project.shell("ls").await, "binary\n");
    for (path, code) in [("no/such/file", 66), ("../outside", 64), ("/etc/passwd", 64)] {
        let refused = fs(&["cat", path], b"").await;
        assert_eq!(refused.code, code, "{path}: {refused:?}");
    }
    project.remove().await;
}

async fn copies(target: Target) {
    let project = Project::empty(&target, "cp", super::IDLE).await;
    let folder = tempfile::tempdir().expect("there is room for a folder");
    let (there, back) = (folder.path().join("there"), folder.path().join("back"));
    fs::create_dir_all(there.join("deep")).expect("the folder takes folders");
    for number in 0..200 {
        fs::write(there.join(format!("deep/file-{number}")), vec![number as u8; number * 37]).expect("it takes files");
    }
    let inside = format!("{}:in", project.name);
    project.cli.run(&["cp", there.to_str().expect("text"), &inside]).await.ok();
    project.cli.run(&["cp", &inside, back.to_str().expect("text")]).await.ok();
    for number in 0..200 {
        let name = format!("deep/file-{number}");
        let read =
            |folder: &std::path::Path| fs::read(folder.join(&name)).unwrap_or_else(|error| panic!("{name}: {error}"));
        assert!(read(&there) == read(&back), "{name}");
    }
    project.remove().await;
}
