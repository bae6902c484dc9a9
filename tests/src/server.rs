//! A real server process, with its data in a folder of the test, and clients of
//! its two surfaces.

use std::{
    collections::HashSet,
    fs,
    path::Path,
    process::{ExitStatus, Stdio},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use bytes::Bytes;
use remora_proto::control::v1::{
    project_service_client::ProjectServiceClient, server_service_client::ServerServiceClient,
    token_service_client::TokenServiceClient,
};
use remora_proto_process::{Identity, Stat, environments};
use remora_tests_integration::rest;
pub use remora_tests_integration::rest::Answer;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use tempfile::TempDir;
use tokio::{
    io::{AsyncBufReadExt as _, BufReader},
    process::{Child, Command},
    time::timeout,
};
use tonic::{
    metadata::{Ascii, MetadataValue},
    service::{Interceptor, interceptor::InterceptedService},
    transport::{Channel, Endpoint},
};

use crate::{agent::PATIENCE, binaries::binary, eventually::eventually};

/// A free port on loopback.
const ANY_PORT: &str = "127.0.0.1:0";

/// A channel whose calls carry a key and, for agents, a project.
pub type Authorised = InterceptedService<Channel, Credentials>;

/// The metadata of every call.
#[derive(Clone)]
pub struct Credentials {
    authorization: MetadataValue<Ascii>,
    project: Option<MetadataValue<Ascii>>,
}

impl Credentials {
    fn new(key: &str, project: Option<&str>) -> Credentials {
        let value = |text: &str| text.parse().expect("a header value");
        Credentials { authorization: value(&format!("Bearer {key}")), project: project.map(value) }
    }
}

impl Interceptor for Credentials {
    fn call(&mut self, mut request: tonic::Request<()>) -> Result<tonic::Request<()>, tonic::Status> {
        request.metadata_mut().insert("authorization", self.authorization.clone());
        if let Some(project) = &self.project {
            request.metadata_mut().insert("remora-project", project.clone());
        }
        Ok(request)
    }
}

/// `remora server --runtime local`. Killed when dropped, with every process that
/// its projects left.
pub struct ServerProcess {
    folder: TempDir,
    role: Vec<String>,
    variables: Vec<(String, String)>,
    child: Child,
    log: Arc<Mutex<Vec<String>>>,
    /// Scheme, host and port.
    pub url: String,
    /// The first admin key.
    pub key: String,
}

impl ServerProcess {
    /// Starts a server with an empty data folder.
    pub async fn start() -> Self {
        Self::start_as(&["server", "--runtime", "local"]).await
    }

    /// Starts `remora` with `role` and an empty data folder.
    pub async fn start_as(role: &[&str]) -> Self {
        Self::start_with(role, &[]).await
    }

    /// The same with `variables` in its environment.
    pub async fn start_with(role: &[&str], variables: &[(&str, &str)]) -> Self {
        let folder = tempfile::tempdir().expect("a folder for the test");
        let log = Arc::default();
        let role: Vec<String> = role.iter().map(|word| (*word).to_owned()).collect();
        let variables: Vec<_> = variables.iter().map(|(name, value)| ((*name).into(), (*value).into())).collect();
        let (child, url) = spawn(folder.path(), &role, &variables, ANY_PORT, &log).await;
        let key = fs::read_to_string(folder.path().join("data/admin-key")).expect("the first key is written");
        ServerProcess { folder, role, variables, child, log, url, key: key.trim().to_owned() }
    }

    /// The folder of the test; the data is in `data`.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// The server's process.
    pub fn pid(&self) -> Pid {
        let pid = self.child.id().and_then(|pid| Pid::from_raw(pid.try_into().ok()?));
        pid.expect("the server runs")
    }

    /// A channel without credentials.
    pub async fn channel(&self) -> Channel {
        self.endpoint().connect().await.expect("the server answers")
    }

    /// A channel with `key` for the agent of `project` that takes `stream` bytes of
    /// each stream before somebody reads it, and `connection` bytes of all of them.
    pub async fn windowed(&self, key: &str, project: &str, stream: u32, connection: u32) -> Authorised {
        let endpoint = self.endpoint().initial_stream_window_size(stream).initial_connection_window_size(connection);
        let channel = endpoint.connect().await.expect("the server answers");
        InterceptedService::new(channel, Credentials::new(key, Some(project)))
    }

    fn endpoint(&self) -> Endpoint {
        Endpoint::from_shared(self.url.clone()).expect("the address is a URL").connect_timeout(PATIENCE)
    }

    /// A channel with `key`, and with `project` for the services of its agent.
    pub async fn authorised(&self, key: &str, project: Option<&str>) -> Authorised {
        InterceptedService::new(self.channel().await, Credentials::new(key, project))
    }

    /// ProjectService for the admin.
    pub async fn projects(&self) -> ProjectServiceClient<Authorised> {
        ProjectServiceClient::new(self.authorised(&self.key, None).await)
    }

    /// TokenService for the admin.
    pub async fn tokens(&self) -> TokenServiceClient<Authorised> {
        TokenServiceClient::new(self.authorised(&self.key, None).await)
    }

    /// ServerService for `key`.
    pub async fn server(&self, key: &str) -> ServerServiceClient<Authorised> {
        ServerServiceClient::new(self.authorised(key, None).await)
    }

    /// Calls REST as the admin, with a JSON body where there is one.
    pub async fn rest(&self, method: &str, path: &str, body: Option<&Value>) -> Answer {
        self.rest_as(&self.key, method, path, body).await
    }

    /// Calls REST with `key`, with a JSON body where there is one.
    pub async fn rest_as(&self, key: &str, method: &str, path: &str, body: Option<&Value>) -> Answer {
        rest::request_as(&self.url, key, method, path, body).await
    }

    /// Calls REST with `headers` and `body` alone.
    pub async fn request(&self, method: &str, path: &str, headers: &[(&str, &str)], body: impl Into<Bytes>) -> Answer {
        rest::request(&self.url, method, path, headers, body).await
    }

    /// kill -9. Its projects run on.
    pub async fn kill(&mut self) {
        kill_process(self.pid(), Signal::KILL).expect("it is ours");
        timeout(PATIENCE, self.child.wait()).await.expect("a killed process ends").expect("it is our child");
    }

    /// Starts it again with the same data; another port is its address then.
    pub async fn restart(&mut self) {
        self.restart_at(ANY_PORT).await;
    }

    /// Starts it again with the same data at `address`, where clients look for it.
    pub async fn restart_at(&mut self, address: &str) {
        let (child, url) = spawn(self.folder.path(), &self.role, &self.variables, address, &self.log).await;
        (self.child, self.url) = (child, url);
    }

    /// Asks it to stop with `signal` and waits for its end.
    pub async fn stop(&mut self, signal: Signal) -> ExitStatus {
        kill_process(self.pid(), signal).expect("it takes signals");
        let patience = PATIENCE + Duration::from_secs(60);
        timeout(patience, self.child.wait()).await.expect("the server ends in time").expect("it is our child")
    }

    /// The lines of its log so far.
    pub fn log(&self) -> Vec<Value> {
        let log = self.log.lock().unwrap_or_else(PoisonError::into_inner);
        log.iter()
            .map(|line| serde_json::from_str(line).unwrap_or_else(|_| panic!("not a JSON log line: {line}")))
            .collect()
    }

    /// Fails on a WARN or ERROR whose message is not in `listed`.
    pub fn check_log(&self, listed: &[&str]) {
        for line in self.log() {
            let level = line["level"].as_str().unwrap_or_default();
            let message = line["fields"]["message"].as_str().unwrap_or_default();
            let expected = !matches!(level, "WARN" | "ERROR") || listed.iter().any(|text| message.contains(text));
            assert!(expected, "an unlisted line in the log: {line}");
        }
    }
}

async fn spawn(
    folder: &Path,
    role: &[String],
    variables: &[(String, String)],
    address: &str,
    log: &Arc<Mutex<Vec<String>>>,
) -> (Child, String) {
    let ready = folder.join("ready.json");
    _ = fs::remove_file(&ready);
    let mut command = Command::new(binary("remora"));
    command
        .args(role)
        .arg("--data-dir")
        .arg(folder.join("data"))
        .args(["--listen", address, "--ready-file"])
        .arg(&ready)
        .env_clear()
        .env("PATH", std::env::var_os("PATH").unwrap_or_default())
        .env("HOME", folder)
        .envs(variables.iter().map(|(name, value)| (name, value)))
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .kill_on_drop(true);
    let mut child = command.spawn().expect("the server's binary starts");
    let mut lines = BufReader::new(child.stderr.take().expect("stderr is piped")).lines();
    let kept = Arc::clone(log);
    tokio::spawn(async move {
        while let Ok(Some(line)) = lines.next_line().await {
            kept.lock().unwrap_or_else(PoisonError::into_inner).push(line);
        }
    });
    let announced = eventually(|| {
        if let Ok(Some(status)) = child.try_wait() {
            panic!(
                "the server ended with {status}:\n{}",
                log.lock().unwrap_or_else(PoisonError::into_inner).join("\n")
            );
        }
        fs::read(&ready).ok()
    });
    let announced: Value = serde_json::from_slice(&announced.await).expect("the ready file is JSON");
    let url = announced["url"].as_str().expect("the ready file has the address").to_owned();
    (child, url)
}

impl Drop for ServerProcess {
    fn drop(&mut self) {
        _ = self.child.start_kill();
        // What it started outlives it by design, and not the test.
        for pid in processes_of(self.folder.path()) {
            _ = kill_process(pid, Signal::KILL);
        }
    }
}

/// Processes whose command line or environment names `folder`.
pub fn processes_of(folder: &Path) -> Vec<Pid> {
    let wanted = folder.as_os_str().as_encoded_bytes();
    let names_it = |text: &[u8]| text.windows(wanted.len()).any(|window| window == wanted);
    let own = rustix::process::getpid().as_raw_nonzero().get();
    let others: Vec<Stat> = remora_proto_process::all().into_iter().filter(|stat| stat.identity.pid != own).collect();
    let mut found = HashSet::new();
    environments(&others, |stat, environment| {
        if names_it(environment) {
            found.insert(stat.identity.pid);
        }
    });
    // Afterwards: within execve(2) a process has no command line either, and that is over now.
    for Stat { identity: Identity { pid, .. }, .. } in others {
        if fs::read(format!("/proc/{pid}/cmdline")).is_ok_and(|line| names_it(&line)) {
            found.insert(pid);
        }
    }
    found.into_iter().filter_map(Pid::from_raw).collect()
}
