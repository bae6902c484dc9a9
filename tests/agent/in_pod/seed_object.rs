//! `hydrate --seed-object`: the first content of a workspace, from the store itself.

use std::{fs, path::Path, process::Command};

use remora_agent_snapshot::store::PutCondition;

use crate::snapshot_project::Project;

/// Packs a folder with some content as a tar, compressed where `zstd` says so.
fn archive(folder: &Path, zstd: bool) -> Vec<u8> {
    let source = folder.join("source");
    fs::create_dir_all(source.join("src")).unwrap();
    fs::write(source.join("src/main.ts"), "seed").unwrap();
    // Several requests long, and not compressible.
    let noise: Vec<u8> = (0..9_000_000_u64).map(|at| (at.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 56) as u8).collect();
    fs::write(source.join("noise"), noise).unwrap();
    let output = Command::new("tar")
        .args(if zstd { &["--zstd"][..] } else { &[] })
        .args(["-c", "-C"])
        .arg(&source)
        .arg(".")
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    output.stdout
}

#[tokio::test]
async fn an_object_below_the_prefix_fills_a_blank_workspace_once() {
    for (zstd, key) in [(false, "uploads/seed.tar"), (true, "seed.tar.zst")] {
        let project = Project::new();
        let store = project.store().await;
        let whole = archive(project.folder.path(), zstd);
        let noise = fs::read(project.folder.path().join("source/noise")).unwrap();
        let put = async |bytes: &[u8]| store.put(key, bytes.to_vec().into(), PutCondition::Always).await.unwrap();
        let extra = [("--seed-object", key)];

        // Cut short it fails, and begins again.
        put(&whole[..whole.len() / 2]).await;
        let cut = project.run("hydrate", 1, &extra).await;
        assert_eq!(cut.message["outcome"].as_str(), Some("failed"), "{}", cut.log);
        assert!(project.state().join("restoring").exists(), "half of it is not the workspace");
        put(&whole).await;
        let seeded = project.run("hydrate", 1, &extra).await;
        assert_eq!((seeded.code, seeded.message["outcome"].as_str()), (Some(0), Some("seeded")), "{}", seeded.log);
        assert_eq!(fs::read(project.workspace().join("src/main.ts")).unwrap(), b"seed");
        assert!(fs::read(project.workspace().join("noise")).unwrap() == noise);

        // Where there is a snapshot, the object is not asked for any more.
        store.delete(key).await.unwrap();
        fs::write(project.workspace().join("src/main.ts"), "mine").unwrap();
        let again = project.run("hydrate", 1, &extra).await;
        assert_eq!(again.message["outcome"].as_str(), Some("adopted"), "{}", again.log);
        assert_eq!(fs::read(project.workspace().join("src/main.ts")).unwrap(), b"mine");
        let other = Project::at(project.prefix(), None);
        let woken = other.run("hydrate", 2, &extra).await;
        assert_eq!(woken.message["outcome"].as_str(), Some("restored"), "{}", woken.log);
        assert_eq!(fs::read(other.workspace().join("src/main.ts")).unwrap(), b"seed");
    }
}

#[tokio::test]
async fn an_object_that_is_not_there_or_outside_is_refused_with_words() {
    let project = Project::new();
    let missing = project.run("hydrate", 1, &[("--seed-object", "nowhere.tar")]).await;
    assert_eq!((missing.code, missing.message["reason"].as_str()), (Some(66), Some("NOT_FOUND")), "{}", missing.log);
    assert!(missing.message["hint"].as_str().unwrap().contains("upload"), "{}", missing.message);
    assert!(!project.state().join("restoring").exists(), "nothing was begun");
    for outside in ["../other/seed.tar", "/seed.tar", ""] {
        let refused = project.run("hydrate", 1, &[("--seed-object", outside)]).await;
        assert_ne!(refused.code, Some(0), "{outside:?}");
    }
    let both = project.run("hydrate", 1, &[("--seed-object", "a"), ("--seed", "b")]).await;
    assert_eq!(both.code, Some(2), "{}", both.log);

    // What is no archive fills nothing.
    let store = project.store().await;
    store.put("text", bytes::Bytes::from_static(&[b'x'; 2_000]), PutCondition::Always).await.unwrap();
    let broken = project.run("hydrate", 1, &[("--seed-object", "text")]).await;
    assert_eq!(broken.message["reason"].as_str(), Some("ARCHIVE_INVALID"), "{}", broken.log);
}
