//! The acceptance project: a real Vite and React front end with its ten thousand
//! files, from the npm registry to a hibernated snapshot and back. Everything a
//! person does goes through the command line; everything that is asserted is
//! looked at from outside (HTTP, the HMR WebSocket, the tree on disk, the bucket).
//!
//! Run by `make acceptance`; it needs Node 20 or later and the npm registry.

mod browser;
mod remora;

use std::{fs, path::Path, process::Command, time::Instant};

use browser::{HmrSocket, get};
use remora::Remora;
use remora_tests::tree::{Tree, assert_same, record};
use serde_json::Value;

/// Longest wait for a dev server that restores, starts and compiles on a busy machine, in seconds.
const PATIENCE_SECONDS: u64 = 180;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_vite_project_lives_sleeps_and_wakes_identical() {
    let folder = tempfile::tempdir().unwrap();
    let source = folder.path().join("vite-react");
    let mut steps = Steps::default();

    copy_example(&source);
    let npm = Command::new("npm").args(["ci", "--no-audit", "--no-fund"]).current_dir(&source).output().unwrap();
    assert!(npm.status.success(), "npm ci: {}", String::from_utf8_lossy(&npm.stderr));
    let brought = record(&source).unwrap();
    assert!(brought.len() > 9_000, "a real project has about ten thousand entries, this has {}", brought.len());
    steps.done(&format!("npm ci: {} entries", brought.len()));

    let remora = Remora::local(&folder.path().join("data")).await;
    steps.done("remora local");
    let port = free_port();
    let flags = ["--name", "vite", "--port", &format!("http:{port}"), "--env", &format!("PORT={port}")];
    remora.run(&[&["up", source.to_str().unwrap()][..], &flags, &["--", "npm", "run", "dev"]].concat());
    let page = get(port, "/", PATIENCE_SECONDS).await;
    assert!(page.contains("/@vite/client"), "{page}");
    steps.done("up: the dev server answers");

    let workspace = remora.workspace("vite");
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

    let after = record(&remora.workspace("vite")).unwrap();
    assert_same(&without_caches(before), &without_caches(after));
    steps.done("every file, mode, time and link is the same");

    let damages: Value = serde_json::from_str(&remora.run(&["snapshot", "verify", "vite", "-o", "json"])).unwrap();
    assert_eq!(damages.as_array().map(Vec::len), Some(0), "{damages}");
    steps.done("the newest snapshot verifies");
    remora.run(&["rm", "vite", "--yes"]);
    remora.end().await;
    steps.done("rm, and the server's end");
}

/// Vite writes into its own cache each time it starts, before and after the
/// sleep alike; that and the time of the folder that holds it are not the snapshot's.
fn without_caches(tree: Tree) -> Tree {
    let is_cache = |path: &Path| {
        path == Path::new("node_modules")
            || path.starts_with("node_modules/.vite")
            || path.starts_with("node_modules/.vite-temp")
            || path.as_os_str().is_empty()
    };
    tree.into_iter().filter(|(path, _)| !is_cache(path)).collect()
}

fn copy_example(to: &Path) {
    let from = Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples/vite-react");
    let tracked = Command::new("git").args(["ls-files", "-z"]).current_dir(&from).output().unwrap();
    for name in String::from_utf8(tracked.stdout).unwrap().split_terminator('\0') {
        let target = to.join(name);
        fs::create_dir_all(target.parent().unwrap()).unwrap();
        fs::copy(from.join(name), target).unwrap();
    }
}

/// A port that was free a moment ago. The project needs to know it before anything listens.
fn free_port() -> u16 {
    std::net::TcpListener::bind(("127.0.0.1", 0)).unwrap().local_addr().unwrap().port()
}

/// Prints what was done and how long it took.
struct Steps(Instant);

impl Default for Steps {
    fn default() -> Self {
        Steps(Instant::now())
    }
}

impl Steps {
    #[expect(clippy::print_stdout, reason = "the times are what a reader of the run wants to see")]
    fn done(&mut self, what: &str) {
        println!("{:>8.2} s  {what}", self.0.elapsed().as_secs_f64());
        self.0 = Instant::now();
    }
}
