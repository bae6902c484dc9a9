//! The acceptance project in a pod: the same life as on this machine, with the
//! command line outside of the cluster and everything else inside it.
//!
//! Run by `make test-integration`, which says where the server is:
//! `REMORA_SERVER`, `REMORA_KEY` and `REMORA_TEST_IMAGE` (an image with Node 22 or later).

mod example;
mod remora;

use std::{
    env,
    io::{BufRead as _, BufReader, Lines},
    path::Path,
    process::{Child, ChildStdout, Command, Stdio},
};

use example::{Steps, install, without_caches};
use remora::Remora;
use remora_tests::tree::{Tree, assert_same, record};
use serde_json::Value;

/// The name of the project.
const NAME: &str = "vite";
/// Where the dev server listens, inside the pod.
const PORT: u16 = 5_173;
/// A page as a browser has it: loads what it shows, and prints each frame of the HMR socket.
const BROWSER: &str = r#"
const base = `http://127.0.0.1:${process.argv[1]}`;
const get = async (path) => {
  for (;;) {
    const answer = await fetch(base + path).catch(() => null);
    if (answer?.ok) return answer.text();
    await new Promise((resume) => setTimeout(resume, 100));
  }
};
const client = await get('/@vite/client');
const token = client.split('wsToken = "')[1].split('"')[0];
const socket = new WebSocket(`${base.replace('http', 'ws')}/?token=${token}`, 'vite-hmr');
socket.onmessage = ({ data }) => console.log(data);
await new Promise((resume) => (socket.onopen = resume));
for (const module of ['/src/main.tsx', '/src/App.tsx']) await get(module);
console.log('{"type":"shown"}');
"#;
/// Waits until the dev server answers, and prints one of its files.
const FETCH: &str = r#"
for (;;) {
  const answer = await fetch(`http://127.0.0.1:${process.argv[1]}${process.argv[2]}`).catch(() => null);
  if (answer?.ok) { console.log(await answer.text()); break; }
  await new Promise((resume) => setTimeout(resume, 100));
}
"#;

#[test]
fn a_vite_project_lives_sleeps_and_wakes_in_a_pod() {
    let folder = tempfile::tempdir().unwrap();
    let source = folder.path().join("vite-react");
    let (remora, image) = target();
    let mut steps = Steps::default();

    let brought = install(&source);
    steps.done(&format!("npm ci: {} entries", brought.len()));

    let port = PORT.to_string();
    let flags =
        ["--name", NAME, "--image", &image, "--port", &format!("http:{port}"), "--env", &format!("PORT={port}")];
    remora.run(&[&["up", source.to_str().unwrap()][..], &flags, &["--", "npm", "run", "dev"]].concat());
    steps.done("up: the pod serves");
    let page = fetch(&remora, "/");
    assert!(page.contains("/@vite/client"), "{page}");
    steps.done("the dev server answers inside the pod");
    assert_same(&without_caches(brought), &without_caches(downloaded(&remora, &folder.path().join("uploaded"))));
    steps.done("what is there is what was brought");

    let mut browser = Browser::open(&remora);
    browser.frame("shown");
    remora.run(&["fs", "edit", NAME, "src/App.tsx", "--old", "Hello from the pod", "--new", "Hello from Remora"]);
    let update = browser.frame("update");
    let updates = update["updates"].as_array().unwrap();
    assert!(updates.iter().any(|one| one["path"] == "/src/App.tsx" && one["type"] == "js-update"), "{update}");
    drop(browser);
    steps.done("edit through the API: the HMR update reached the WebSocket");

    let build = remora.run(&["exec", NAME, "--", "npm", "run", "build"]);
    assert!(build.contains("built in"), "{build}");
    let failing = remora.output(&["exec", NAME, "--", "npm", "run", "no-such-script"]);
    assert_eq!(failing.status.code(), Some(1), "npm's own exit code");
    steps.done("npm run build through exec");

    let before = downloaded(&remora, &folder.path().join("before"));
    assert!(before.keys().any(|path| path.starts_with("dist/assets")), "the build left no files");
    let generation = remora.status(NAME)["status"]["generation"].as_u64().unwrap();
    let namespace = remora.status(NAME)["status"]["namespace"].as_str().unwrap().to_owned();
    steps.done("the tree, recorded");
    remora.run(&["hibernate", NAME]);
    steps.done("hibernate");
    let asleep = remora.status(NAME);
    assert_eq!(asleep["status"]["phase"], "Hibernated", "{asleep}");
    assert!(asleep["status"]["head"]["snapshot"].is_string(), "{asleep}");
    assert_eq!(pods(&namespace), "", "the namespace has no pod while the project sleeps");

    remora.run(&["wake", NAME]);
    steps.done("wake: the pod serves");
    assert!(fetch(&remora, "/src/App.tsx").contains("Hello from Remora"));
    steps.done("the dev server answers again, with the edit");
    assert!(remora.status(NAME)["status"]["generation"].as_u64().unwrap() > generation);
    let after = downloaded(&remora, &folder.path().join("after"));
    assert_same(&without_caches(before), &without_caches(after));
    steps.done("every file, mode, time and link is the same");

    let damages: Value = serde_json::from_str(&remora.run(&["snapshot", "verify", NAME, "-o", "json"])).unwrap();
    assert_eq!(damages.as_array().map(Vec::len), Some(0), "{damages}");
    steps.done("the newest snapshot verifies");
    remora.run(&["rm", NAME, "--yes"]);
    steps.done("rm");
}

/// The server, and the image of the dev container.
fn target() -> (Remora, String) {
    let told = |name: &str| env::var(name).unwrap_or_else(|_| panic!("{name} is not set; run make test-integration"));
    let environment =
        vec![("REMORA_SERVER", told("REMORA_SERVER").into()), ("REMORA_API_KEY", told("REMORA_KEY").into())];
    (Remora::new(environment), told("REMORA_TEST_IMAGE"))
}

/// What the dev server answers to a request from inside the pod.
fn fetch(remora: &Remora, path: &str) -> String {
    let port = PORT.to_string();
    remora.run(&["exec", NAME, "--", "node", "--input-type=module", "--eval", FETCH, "--", &port, path])
}

/// The workspace, as the command line brings it here.
fn downloaded(remora: &Remora, to: &Path) -> Tree {
    std::fs::create_dir(to).unwrap();
    remora.run(&["cp", &format!("{NAME}:."), to.to_str().unwrap()]);
    record(to).unwrap()
}

fn pods(namespace: &str) -> String {
    let listed =
        Command::new("kubectl").args(["get", "pods", "--output=name", "--namespace", namespace]).output().unwrap();
    assert!(listed.status.success(), "{}", String::from_utf8_lossy(&listed.stderr));
    String::from_utf8(listed.stdout).unwrap()
}

/// A page that is open inside the pod. Closed when dropped.
struct Browser {
    process: Child,
    frames: Lines<BufReader<ChildStdout>>,
}

impl Browser {
    fn open(remora: &Remora) -> Self {
        let port = PORT.to_string();
        let script = ["exec", NAME, "--", "node", "--input-type=module", "--eval", BROWSER, "--", &port];
        let mut process = remora.command(&script).stdout(Stdio::piped()).spawn().unwrap();
        let frames = BufReader::new(process.stdout.take().unwrap()).lines();
        Browser { process, frames }
    }

    /// The next frame of this type.
    fn frame(&mut self, kind: &str) -> Value {
        let mut seen = Vec::new();
        for line in &mut self.frames {
            let frame: Value = serde_json::from_str(&line.unwrap()).expect("frames are JSON");
            if frame["type"] == kind {
                return frame;
            }
            seen.push(frame);
        }
        panic!("the page ended without a frame {kind}; it had {seen:?}");
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        _ = self.process.kill();
        _ = self.process.wait();
    }
}
