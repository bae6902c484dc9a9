//! `remora local` in a folder of its own.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Stdio,
    time::Duration,
};

use remora_tests::binaries::binary;
use tokio::{
    process::{Child, Command},
    time::{Instant, sleep, timeout},
};

use crate::remora::Remora;

/// Longest wait for a server to come up or to end, projects included.
const PATIENCE: Duration = Duration::from_secs(120);

/// A local server. Killed when dropped.
pub(crate) struct Server {
    process: Child,
    data: PathBuf,
    pub(crate) remora: Remora,
}

impl Server {
    /// Starts it and waits for the context that it writes once it serves.
    pub(crate) async fn start(data: &Path) -> Self {
        fs::create_dir_all(data).unwrap();
        let context = data.join("context.json");
        let log = fs::File::create(data.join("server.log")).unwrap();
        let mut process = Command::new(binary("remora"))
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
            if let Some(status) = process.try_wait().unwrap() {
                panic!("remora local ended with {status}: {}", log());
            }
            assert!(Instant::now() < deadline, "remora local does not come up: {}", log());
            sleep(Duration::from_millis(20)).await;
        }
        let remora = Remora::new(vec![("REMORA_CONFIG", context.into_os_string())]);
        Server { process, data: data.to_owned(), remora }
    }

    /// The project's working tree.
    pub(crate) fn workspace(&self, name: &str) -> PathBuf {
        let id = self.remora.status(name)["id"].as_str().expect("a project has an id").to_owned();
        self.data.join("remora/projects").join(id).join("workspace")
    }

    /// Ends the server as Ctrl-C does and waits until it is gone.
    pub(crate) async fn end(mut self) {
        let pid =
            self.process.id().and_then(|id| rustix::process::Pid::from_raw(id.try_into().ok()?)).expect("it runs");
        rustix::process::kill_process(pid, rustix::process::Signal::INT).unwrap();
        let status = timeout(PATIENCE, self.process.wait()).await.expect("the server ends in time").unwrap();
        assert!(status.success(), "remora local ended with {status}");
    }
}
