//! Real S3 servers with atomic conditional puts, one of each kind a test process,
//! on loopback, over folders that go away with them.

use std::{
    env, fs,
    net::TcpListener,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::{Arc, mpsc},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, bail, ensure};
use remora_agent_snapshot::store::{S3Settings, S3Store, Store};
use uuid::Uuid;

use crate::{seaweed::seaweed, versitygw::versitygw};

/// The bucket that exists from the start.
pub const BUCKET: &str = "remora";
/// The only credentials that they take.
pub const ACCESS_KEY: &str = "remora-tests";
/// Their secret.
pub const SECRET_KEY: &str = "remora-tests-secret";

/// What the folders' names begin with, before the id of the process.
const FOLDERS: &str = "remora-s3-";

/// Time for a cold start on a busy machine.
const READY_WITHIN: Duration = Duration::from_secs(90);

/// A running server.
#[derive(Debug)]
pub struct S3Server {
    /// What it is.
    pub name: &'static str,
    /// Scheme, host and port.
    pub endpoint: String,
    /// Its process, which the kernel kills with this one.
    pub pid: u32,
}

/// One server of each kind, started at the first call.
pub fn servers() -> [&'static S3Server; 2] {
    [seaweed(), versitygw()]
}

/// Runs `test` against a server of each kind. What is printed says at which one it failed.
pub async fn on_each_server(test: impl AsyncFn(&'static S3Server)) {
    for server in servers() {
        eprintln!("against {}", server.name);
        test(server).await;
    }
}

impl S3Server {
    /// How to reach the lineage below `prefix`.
    pub fn settings(&self, prefix: &str) -> S3Settings {
        S3Settings {
            bucket: BUCKET.to_owned(),
            endpoint: Some(self.endpoint.clone()),
            region: "us-east-1".to_owned(),
            prefix: prefix.to_owned(),
            path_style: true,
            credentials: Some((ACCESS_KEY.to_owned(), SECRET_KEY.to_owned())),
        }
    }

    /// The store below `prefix`, without retries, once the bucket answers.
    pub async fn store(&self, prefix: &str) -> anyhow::Result<Arc<dyn Store>> {
        let store = S3Store::open(self.settings(prefix)).await?;
        let deadline = Instant::now() + READY_WITHIN;
        loop {
            match store.list("", None).await {
                Ok(_) => return Ok(Arc::new(store)),
                Err(error) if Instant::now() > deadline => return Err(error).context("the bucket does not answer"),
                Err(_) => tokio::time::sleep(Duration::from_millis(50)).await,
            }
        }
    }
}

/// A prefix that no other test uses.
pub fn fresh_prefix() -> String {
    format!("lineages/{}", Uuid::new_v4())
}

/// The binary that `script` of `tests` puts into the cache.
pub(crate) fn binary(script: &str) -> anyhow::Result<PathBuf> {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join(script);
    let output = Command::new(&path).stderr(Stdio::inherit()).output().with_context(|| format!("running {script}"))?;
    ensure!(output.status.success(), "tests/{script} failed with {}", output.status);
    Ok(PathBuf::from(String::from_utf8(output.stdout)?.trim()))
}

/// A folder for a server of this process. Those of processes that are gone go first:
/// a killed one cannot remove its own.
pub(crate) fn folder() -> anyhow::Result<PathBuf> {
    for entry in fs::read_dir(env::temp_dir()).into_iter().flatten().flatten() {
        let name = entry.file_name();
        let owner = name.to_str().and_then(|name| name.strip_prefix(FOLDERS)).and_then(|rest| rest.split('-').next());
        if let Some(pid) = owner.and_then(|pid| pid.parse::<u32>().ok())
            && !PathBuf::from(format!("/proc/{pid}")).exists()
        {
            let _ = fs::remove_dir_all(entry.path());
        }
    }
    Ok(tempfile::Builder::new().prefix(&format!("{FOLDERS}{}-", std::process::id())).tempdir()?.keep())
}

/// `count` ports that were free a moment ago, each with 10,000 to spare: what has
/// no flag of its own listens that much higher.
pub(crate) fn free_ports(count: usize) -> anyhow::Result<Vec<u16>> {
    let mut held = Vec::new();
    while held.len() < count {
        let listener = TcpListener::bind("127.0.0.1:0")?;
        if listener.local_addr()?.port() < 55_000 {
            held.push(listener);
        }
    }
    held.iter().map(|listener| Ok(listener.local_addr()?.port())).collect()
}

/// Starts `program` over `folder` with what `tune` adds, for as long as this process
/// lives; its id.
pub(crate) fn run(
    name: &'static str,
    program: &Path,
    folder: PathBuf,
    tune: impl FnOnce(&mut Command) + Send + 'static,
) -> anyhow::Result<u32> {
    let program = program.to_owned();
    // The server dies with the thread that started it, so this one stays.
    let (report, started) = mpsc::sync_channel(1);
    thread::Builder::new().name(name.to_owned()).spawn(move || {
        let mut command = Command::new("setpriv");
        command
            .args(["--pdeathsig", "KILL"])
            .arg(&program)
            .env_clear()
            .env("PATH", env::var_os("PATH").unwrap_or_default())
            .env("HOME", &folder)
            .current_dir(&folder)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        tune(&mut command);
        match command.spawn() {
            Ok(mut child) => {
                let _ = report.send(Ok(child.id()));
                let status = child.wait();
                eprintln!("{name} ended: {status:?}");
            }
            Err(error) => drop(report.send(Err(error))),
        }
        let _ = fs::remove_dir_all(&folder);
    })?;
    match started.recv() {
        Ok(Ok(pid)) => Ok(pid),
        Ok(Err(error)) => Err(error).with_context(|| format!("starting setpriv and {name}")),
        Err(_) => bail!("the thread that starts {name} ended"),
    }
}
