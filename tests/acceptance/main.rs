//! The acceptance project: a real Vite and React front end with its ten thousand
//! files, from the npm registry to a hibernated snapshot and back. Everything a
//! person does goes through the command line; everything that is asserted is
//! looked at from outside (HTTP, the HMR WebSocket, the tree on disk, the bucket).
//!
//! Run by `make acceptance`; it needs Node 20 or later and the npm registry.

mod browser;
mod example;
mod local;
mod remora;

use std::fs;

use browser::{HmrSocket, get};
use example::{Steps, install, without_caches};
use local::Server;
use remora_tests::tree::{assert_same, record};
use serde_json::Value;

/// Longest wait for a dev server that restores, starts and compiles on a busy machine, in seconds.
const PATIENCE_SECONDS: u64 = 180;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_vite_project_lives_sleeps_and_wakes_identical() {
    let folder = tempfile::tempdir().unwrap();
    let source = folder.path().join("vite-react");
    let mut steps = Steps::default();

    let brought = install(&source);
    steps.done(&format!("npm ci: {} entries", brought.len()));

    let server = Server::start(&folder.path().join("data")).await;
    let remora = &server.remora;
    steps.done("remora local");
    let port = free_port();
    let flags = ["--name", "vite", "--port", &format!("http:{port}"), "--env", &format!("PORT={port}")];
    remora.run(&[&["up", source.to_str().unwrap()][..], &flags, &["--", "npm", "run", "dev"]].concat());
    let page = get(port, "/", PATIENCE_SECONDS).await;
    assert!(page.contains("/@vite/client"), "{page}");
    steps.done("up: the dev server answers");

    let workspace = server.workspace("vite");
    let uploaded = record(&workspace).unwrap();
    assert_same(&without_caches(brought), &without_caches(uploaded));

    // A browser that shows the page has asked for these modules.
    let hmr = HmrSocket::open(port).await;
    for module in ["/src/main.tsx", "/src/App.tsx"] {
        get(port, module, PATIENCE_SECONDS).await;
    }
    remora.run(&["fs", "edit", "vite", "src/App.tsx", "--old", "Hello from the pod", "--new", "Hello from Remora"]);
    let update = hmr.update_of("/src/App.tsx").await;
    assert_eq!(update["type"], "js-update", "{update}");
    assert!(get(port, "/src/App.tsx", PATIENCE_SECONDS).await.contains("Hello from Remora"));
    steps.done("edit through the API: the HMR update reached the browser's WebSocket");

    let build = remora.run(&["exec", "vite", "--", "npm", "run", "build"]);
    assert!(build.contains("built in"), "{build}");
    let built: Vec<_> = fs::read_dir(workspace.join("dist/assets")).unwrap().collect();
    assert!(!built.is_empty(), "the build left no files");
    let failing = remora.output(&["exec", "vite", "--", "npm", "run", "no-such-script"]);
    assert_eq!(failing.status.code(), Some(1), "npm's own exit code");
    steps.done("npm run build through exec");

    let generation = remora.status("vite")["status"]["generation"].as_u64().unwrap();
    let before = record(&workspace).unwrap();
    remora.run(&["hibernate", "vite"]);
    steps.done("hibernate");
    let asleep = remora.status("vite");
    assert_eq!(asleep["status"]["phase"], "Hibernated", "{asleep}");
    assert!(asleep["status"]["head"]["snapshot"].is_string(), "{asleep}");
    assert!(!workspace.exists(), "the working tree is gone while the project sleeps");
    assert!(std::net::TcpStream::connect(("127.0.0.1", port)).is_err(), "nothing listens while the project sleeps");

    remora.run(&["wake", "vite"]);
    get(port, "/", PATIENCE_SECONDS).await;
    steps.done("wake: the dev server answers again");
    let awake = remora.status("vite");
    assert!(awake["status"]["generation"].as_u64().unwrap() > generation, "{awake}");
    assert!(get(port, "/src/App.tsx", PATIENCE_SECONDS).await.contains("Hello from Remora"));

    let after = record(&server.workspace("vite")).unwrap();
    assert_same(&without_caches(before), &without_caches(after));
    steps.done("every file, mode, time and link is the same");

    let damages: Value = serde_json::from_str(&remora.run(&["snapshot", "verify", "vite", "-o", "json"])).unwrap();
    assert_eq!(damages.as_array().map(Vec::len), Some(0), "{damages}");
    steps.done("the newest snapshot verifies");
    remora.run(&["rm", "vite", "--yes"]);
    server.end().await;
    steps.done("rm, and the server's end");
}

/// A port that was free a moment ago. The project needs to know it before anything listens.
fn free_port() -> u16 {
    std::net::TcpListener::bind(("127.0.0.1", 0)).unwrap().local_addr().unwrap().port()
}
