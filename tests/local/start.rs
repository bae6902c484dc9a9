//! How the server begins and ends.

use remora_proto::control::v1::Phase;
use remora_tests::server::{ServerProcess, processes_of};
use rustix::process::Signal;
use serde_json::Value;

use crate::running::{generation, reach, run, workspace};

#[tokio::test]
async fn it_announces_serves_and_ends_in_order() {
    for signal in [Signal::TERM, Signal::INT] {
        let mut server = ServerProcess::start().await;
        for (path, body) in [("/healthz", "ok\n"), ("/readyz", "ok\n")] {
            assert_eq!(server.request("GET", path, &[], "").await.body, body);
        }
        let metrics = server.request("GET", "/metrics", &[], "").await;
        assert!(String::from_utf8_lossy(&metrics.body).contains("remora_server_calls_total{surface=\"rest\"}"));
        assert!(server.stop(signal).await.success());
        assert_eq!(server.log().last().unwrap()["fields"]["message"], "ended");
        server.check_log(&[]);
    }
}

/// `remora local` leaves a context with which the next command works.
#[tokio::test]
async fn local_writes_the_context() {
    let mut server = ServerProcess::start_as(&["local"]).await;
    let path = server.folder().join(".config/remora/config.json");
    let read = || -> Value { serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap() };
    let context = read();
    assert_eq!((context["server"].as_str(), context["api_key"].as_str()), (Some(&*server.url), Some(&*server.key)));

    assert!(server.stop(Signal::INT).await.success());
    server.restart().await;
    assert_eq!(read()["server"].as_str(), Some(&*server.url), "the new address");
    assert_eq!(read()["api_key"], context["api_key"], "the same key");

    // Where the admin took the key's file away, the context's own key goes on.
    std::fs::remove_file(server.folder().join("data/admin-key")).unwrap();
    server.kill().await;
    server.restart().await;
    assert_eq!(read()["api_key"], context["api_key"]);
    assert_eq!(server.rest("GET", "/api/v1/info", None).await.json()["role"], "Admin");
    server.check_log(&[]);
}

/// `remora local` that is told to end stops what it runs, with a final snapshot, and
/// starts it again the next time.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn local_takes_its_projects_with_it_and_brings_them_back() {
    let mut server = ServerProcess::start_as(&["local"]).await;
    let project = run(&server, "a").await;
    std::fs::write(workspace(&server, &project).join("file"), "kept").unwrap();
    let folder = server.folder().join("data/projects").join(&project.id);
    assert!(!processes_of(&folder).is_empty());
    assert!(server.stop(Signal::INT).await.success());
    assert_eq!(processes_of(&folder), [], "something of it runs on");
    server.restart().await;
    let back = reach(&server, "a", Phase::Ready).await;
    assert!(generation(&back) > generation(&project));
    assert!(back.status.unwrap().head.is_some(), "its final snapshot is committed");
    assert_eq!(std::fs::read_to_string(workspace(&server, &project).join("file")).unwrap(), "kept");
    server.check_log(&[]);
}

#[tokio::test]
async fn a_second_server_on_the_same_folder_does_not_start_and_says_why() {
    let server = ServerProcess::start().await;
    let output = tokio::process::Command::new(remora_tests::binaries::binary("remora"))
        .args(["server", "--runtime", "local", "--listen", "127.0.0.1:0", "--data-dir"])
        .arg(server.folder().join("data"))
        .env_clear()
        .output()
        .await
        .unwrap();
    assert_eq!(output.status.code(), Some(71));
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(said.contains("does not start") && said.contains("not free"), "{said}");
    assert_eq!(server.rest("GET", "/api/v1/info", None).await.status, 200, "the first serves on");
}
