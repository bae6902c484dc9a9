//! `remora local` in a folder of its own, driven through the command line.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Output, Stdio},
    time::Duration,
};

use remora_tests::binaries::binary;
use serde_json::Value;
use tokio::{
    process::{Child, Command},
    time::{Instant, sleep, timeout},
};

/// Longest wait for a server to come up or to end, projects included.
const PATIENCE: Duration = Duration::from_secs(120);

/// A local server. Killed when dropped.
pub(crate) struct Remora {
    server: Child,
    data: PathBuf,
    context: PathBuf,
}

impl Remora {
    /// Starts it and waits for the context that it writes once it serves.
    pub(crate) async fn local(data: &Path) -> Self {
        fs::create_dir_all(data).unwrap();
        let context = data.join("context.json");
        let log = fs::File::create(data.join("server.log")).unwrap();
        let mut server = Command::new(binary("remora"))
            .args(["local", "--listen", "127.0.0.1:0", "--data-dir"])
            .arg(data.join("remora"))
            .env("REMORA_CONFIG", &context)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        let deadline = Instant::now() + PATIENCE;
        while !context.exists() {
            let log = || fs::read_to_string(data.join("server.log")).unwrap_or_default();
            if let Some(status) = server.try_wait().unwrap() {
                panic!("remora local ended with {status}: {}", log());
            }
            assert!(Instant::now() < deadline, "remora local does not come up: {}", log());
            sleep(Duration::from_millis(20)).await;
        }
        Remora { server, data: data.to_owned(), context }
    }

    /// Runs one command line.
    pub(crate) fn output(&self, args: &[&str]) -> Output {
        std::process::Command::new(binary("remora"))
            .args(args)
            .env("REMORA_CONFIG", &self.context)
            .stdin(Stdio::null())
            .output()
            .unwrap()
    }

    /// Runs one command line that must succeed; its standard output.
    pub(crate) fn run(&self, args: &[&str]) -> String {
        let output = self.output(args);
        let (stdout, stderr) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        assert!(output.status.success(), "remora {args:?}: {}\n{stdout}\n{stderr}", output.status);
        stdout.into_owned()
    }

    /// The project as JSON.
    pub(crate) fn status(&self, name: &str) -> Value {
        serde_json::from_str(&self.run(&["status", name, "-o", "json"])).expect("the output is JSON")
    }

    /// The project's working tree.
    pub(crate) fn workspace(&self, name: &str) -> PathBuf {
        let id = self.status(name)["id"].as_str().expect("a project has an id").to_owned();
        self.data.join("remora/projects").join(id).join("workspace")
    }

    /// Ends the server as Ctrl-C does and waits until it is gone.
    pub(crate) async fn end(mut self) {
        let pid = self.server.id().and_then(|id| rustix::process::Pid::from_raw(id.try_into().ok()?)).expect("it runs");
        rustix::process::kill_process(pid, rustix::process::Signal::INT).unwrap();
        let status = timeout(PATIENCE, self.server.wait()).await.expect("the server ends in time").unwrap();
        assert!(status.success(), "remora local ended with {status}");
    }
}
