//! `remora hibernate` where the store does not take what it should.

use std::fs;

use remora_tests::{
    cli::Cli,
    seaweed::{ACCESS_KEY, BUCKET, SECRET_KEY, fresh_prefix, seaweed},
    server::{ServerProcess, processes_of},
    store_way::Way,
    tree,
};
use serde_json::Value;

use super::admin;

async fn status(cli: &Cli) -> Value {
    serde_json::from_str(&cli.run(&["status", "web", "-o", "json"]).await.ok()).unwrap()
}

/// Blocked, it says so with the reason and what to do, and nothing of it is gone;
/// once the store takes snapshots again it sleeps.
#[tokio::test(flavor = "multi_thread")]
async fn a_hibernation_that_cannot_commit_is_said_and_ends_nothing() {
    let prefix = fresh_prefix();
    seaweed().store(&prefix).await.unwrap().list("", None).await.unwrap();
    let way = Way::new(&seaweed().endpoint).await;
    let store = ["--s3-bucket", BUCKET, "--s3-endpoint", &way.url, "--s3-prefix", &prefix, "--s3-path-style"];
    let keys = [("AWS_ACCESS_KEY_ID", ACCESS_KEY), ("AWS_SECRET_ACCESS_KEY", SECRET_KEY)];
    let role: Vec<&str> = ["server", "--runtime", "local"].into_iter().chain(store).collect();
    let server = ServerProcess::start_with(&role, &keys).await;
    let cli = admin(&server);
    cli.run(&["up", "--empty", "--name", "web", "--cmd", "exec sleep 100000"]).await.ok();
    cli.fed(&["fs", "write", "web", "precious"], b"bytes").await.ok();
    let project = fs::read_dir(server.folder().join("data/projects")).unwrap().next().unwrap().unwrap().path();
    let before = tree::record(&project.join("workspace")).unwrap();
    let runs = || processes_of(&project).len();
    let running = runs();

    way.open(false);
    let blocked = cli.run(&["hibernate", "web"]).await;
    blocked.refused(69, "cannot go on: STORE_UNAVAILABLE");
    assert!(blocked.stderr.contains("nothing was deleted and it is tried again"), "{}", blocked.stderr);
    let told = status(&cli).await;
    let conditions = told["status"]["conditions"].as_array().unwrap();
    let condition = conditions.iter().find(|condition| condition["type"] == "HibernateBlocked").unwrap();
    assert_eq!((&condition["status"], &condition["reason"]), (&true.into(), &"HIBERNATE_BLOCKED".into()));
    assert_ne!(told["status"]["phase"], "Hibernated");
    let sheet = cli.run(&["status", "web"]).await.ok();
    assert!(sheet.contains("HibernateBlocked yes") && sheet.contains("STORE_UNAVAILABLE"), "{sheet}");
    let doctor = cli.run(&["doctor"]).await.ok();
    assert!(doctor.contains("WARN projects") && doctor.contains("HibernateBlocked"), "{doctor}");
    // It serves on, with every process and every byte.
    assert_eq!(runs(), running);
    tree::assert_same(&before, &tree::record(&project.join("workspace")).unwrap());
    assert_eq!(cli.run(&["exec", "web", "--", "cat", "precious"]).await.ok(), "bytes");

    way.open(true);
    assert!(cli.run(&["hibernate", "web"]).await.ok().starts_with("web: Hibernated"));
    assert_eq!((runs(), project.join("workspace").exists()), (0, false));
    cli.run(&["wake", "web"]).await.ok();
    tree::assert_same(&before, &tree::record(&project.join("workspace")).unwrap());
}
