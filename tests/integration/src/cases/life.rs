//! From a folder to nothing: up, stop, start, hibernate, wake, rm.

use std::{fs, os::unix::fs::symlink, path::Path};

use crate::{
    cluster,
    harness::Case,
    project::{Project, phase},
    target::Target,
};

pub(super) fn cases() -> Vec<Case> {
    vec![
        Case::new("life::a_folder_becomes_a_project_that_sleeps_and_wakes_identical", sleeps_and_wakes),
        Case::new("life::what_a_folder_holds_arrives_but_what_is_left_out", arrives),
        Case::new("life::stop_and_start_keep_every_file_and_ask_the_command_first", stops_and_starts),
        Case::new("life::what_is_wanted_twice_is_done_once", twice),
    ]
}

/// A folder with what folders have.
fn fill(folder: &Path) {
    fs::create_dir_all(folder.join("src/deep er")).expect("the folder takes folders");
    fs::write(folder.join("src/deep er/main.rs"), "fn main() {}\n").expect("the folder takes files");
    fs::write(folder.join("größe.txt"), "ein Text\n").expect("the folder takes files");
    fs::write(folder.join("empty"), "").expect("the folder takes files");
    let large: Vec<u8> = (0..2_000_000_u32).map(|at| (at.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
    fs::write(folder.join("large"), large).expect("the folder takes files");
    fs::write(folder.join("run.sh"), "#!/bin/sh\necho ran\n").expect("the folder takes files");
    let executable = std::os::unix::fs::PermissionsExt::from_mode(0o755);
    fs::set_permissions(folder.join("run.sh"), executable).expect("the mode is set");
    symlink("src/deep er/main.rs", folder.join("link")).expect("the folder takes links");
    fs::write(folder.join(".remoraignore"), "left-out\n").expect("the folder takes files");
    fs::create_dir(folder.join("left-out")).expect("the folder takes folders");
    fs::write(folder.join("left-out/x"), "x").expect("the folder takes files");
}

fn folder() -> tempfile::TempDir {
    let folder = tempfile::tempdir().expect("there is room for a folder");
    fill(folder.path());
    folder
}

async fn sleeps_and_wakes(target: Target) {
    let project = Project::named(&target, "life");
    let source = folder();
    let up = project.up(Some(source.path()), super::IDLE, &[]).await.ok();
    assert!(up.starts_with(&format!("{}: Ready", project.name)), "{up}");
    project.shell("mkdir made && echo here > made/it && chmod 640 made/it && ln made/it made/again && rm empty").await;
    let (before, generation) = (project.tree().await, project.generation().await);

    let slept = project.verb("hibernate", &[]).await.ok();
    assert!(slept.contains("Hibernated, snapshot "), "{slept}");
    let asleep = project.status().await;
    assert_eq!(asleep["status"]["phase"], "Hibernated", "{asleep:#}");
    let head = asleep["status"]["head"]["snapshot"].as_str().expect("what sleeps has a snapshot").to_owned();
    if target.image.is_some() {
        let namespace = project.namespace().await;
        assert!(cluster::pods(&namespace).await.is_empty(), "what sleeps has no pod");
    }
    let refused = project.verb("exec", &["--", "true"]).await;
    assert!(refused.code == 125 && refused.stderr.contains("it is Hibernated"), "{refused:?}");

    let woken = project.verb("wake", &[]).await.ok();
    assert!(woken.contains("Ready"), "{woken}");
    assert_eq!(project.tree().await, before, "the tree is another one");
    assert!(project.generation().await > generation, "each start has a generation of its own");
    let listed = project.cli.run(&["snapshot", "ls", &project.name, "-o", "json"]).await.ok();
    assert!(listed.contains(&head), "{listed}");
    project.remove().await;
}

async fn arrives(target: Target) {
    let project = Project::named(&target, "source");
    let source = folder();
    project.up(Some(source.path()), super::IDLE, &[]).await.ok();
    assert_eq!(project.shell("./run.sh").await, "ran\n", "the mode arrived");
    assert_eq!(
        project.shell("readlink link; cat 'src/deep er/main.rs' größe.txt").await,
        "src/deep er/main.rs\nfn main() {}\nein Text\n"
    );
    assert_eq!(
        project.shell("ls -A | LC_ALL=C sort").await,
        ".remoraignore\nempty\ngröße.txt\nlarge\nlink\nrun.sh\nsrc\n"
    );
    let large = fs::read(source.path().join("large")).expect("it was written before");
    let read = project.cli.run(&["fs", "cat", &project.name, "large"]).await;
    assert!(read.code == 0 && read.stdout == large, "{} bytes of {}: {}", read.stdout.len(), large.len(), read.stderr);

    // The same folder again changes nothing of what is there.
    project.shell("echo mine > größe.txt").await;
    let again = project.up(Some(source.path()), super::IDLE, &[]).await;
    assert!(again.code == 0 && again.stderr.contains("is there already"), "{again:?}");
    assert_eq!(project.shell("cat größe.txt").await, "mine\n");
    project.remove().await;
}

async fn stops_and_starts(target: Target) {
    let command = "trap 'echo asked >> told; exit 0' TERM; echo started >> told; while :; do sleep 0.1; done";
    let project = Project::empty(&target, "stop", command).await;
    project.prints("cat told 2>/dev/null || true", |told| told == "started\n").await;
    project.shell("echo kept > file").await;
    project.verb("stop", &[]).await.ok();
    assert_eq!(project.status().await["status"]["phase"], "Stopped");
    project.verb("start", &[]).await.ok();
    assert_eq!(project.shell("cat file").await, "kept\n");
    project.prints("cat told", |told| told == "started\nasked\nstarted\n").await;
    project.remove().await;
}

async fn twice(target: Target) {
    let project = Project::empty(&target, "twice", super::IDLE).await;
    project.verb("wake", &[]).await.ok();
    let (first, second) = tokio::join!(project.verb("hibernate", &[]), project.verb("hibernate", &[]));
    for slept in [first, second] {
        assert!(slept.ok().contains("Hibernated"));
    }
    project.verb("hibernate", &[]).await.ok();
    let (first, second) = tokio::join!(project.verb("wake", &[]), project.verb("wake", &[]));
    for woken in [first, second] {
        assert!(woken.ok().contains("Ready"));
    }
    let generation = project.becomes("ready", phase("Ready")).await["status"]["generation"].clone();
    project.verb("wake", &[]).await.ok();
    assert_eq!(project.status().await["status"]["generation"], generation, "what runs is not started anew");
    project.remove().await;
}
