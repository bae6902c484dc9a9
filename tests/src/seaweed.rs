//! A real S3 server with atomic conditional puts: SeaweedFS, one a test process,
//! on loopback, over a folder that goes away with it.

use std::{
    env, fs,
    net::TcpListener,
    path::PathBuf,
    process::{Command, Stdio},
    sync::{Arc, OnceLock, mpsc},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, bail, ensure};
use remora_agent_snapshot::store::{S3Settings, S3Store, Store};
use serde_json::Value;
use uuid::Uuid;

/// The bucket that exists from the start.
pub const BUCKET: &str = "remora";
/// The only credentials that it takes.
pub const ACCESS_KEY: &str = "remora-tests";
/// Their secret.
pub const SECRET_KEY: &str = "remora-tests-secret";

/// What the folders' names begin with, before the id of the process.
const FOLDERS: &str = "remora-seaweed-";

/// Time for a cold start on a busy machine.
const READY_WITHIN: Duration = Duration::from_secs(90);

/// A running server.
#[derive(Debug)]
pub struct Seaweed {
    /// Scheme, host and port.
    pub endpoint: String,
    /// Its process, which the kernel kills with this one.
    pub pid: u32,
}

/// The server of this process, started at the first call.
pub fn seaweed() -> &'static Seaweed {
    static SERVER: OnceLock<Seaweed> = OnceLock::new();
    SERVER.get_or_init(|| start(None).unwrap_or_else(|error| panic!("SeaweedFS did not start: {error:#}")))
}

impl Seaweed {
    /// Another server, with roles and whom they trust as in `settings`.
    pub(crate) fn with_iam(settings: &Value) -> anyhow::Result<Seaweed> {
        start(Some(settings))
    }

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

fn binary() -> anyhow::Result<PathBuf> {
    let script = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("seaweed.sh");
    let output = Command::new(&script).stderr(Stdio::inherit()).output().context("running tests/seaweed.sh")?;
    ensure!(output.status.success(), "tests/seaweed.sh failed with {}", output.status);
    Ok(PathBuf::from(String::from_utf8(output.stdout)?.trim()))
}

/// `count` ports that were free a moment ago, each with 10,000 to spare: what has
/// no flag of its own listens that much higher.
fn free_ports(count: usize) -> anyhow::Result<Vec<u16>> {
    let mut held = Vec::new();
    while held.len() < count {
        let listener = TcpListener::bind("127.0.0.1:0")?;
        if listener.local_addr()?.port() < 55_000 {
            held.push(listener);
        }
    }
    held.iter().map(|listener| Ok(listener.local_addr()?.port())).collect()
}

/// Removes the folders of processes that are gone: a killed one cannot do it.
fn sweep() {
    for entry in fs::read_dir(env::temp_dir()).into_iter().flatten().flatten() {
        let name = entry.file_name();
        let owner = name.to_str().and_then(|name| name.strip_prefix(FOLDERS)).and_then(|rest| rest.split('-').next());
        if let Some(pid) = owner.and_then(|pid| pid.parse::<u32>().ok())
            && !PathBuf::from(format!("/proc/{pid}")).exists()
        {
            let _ = fs::remove_dir_all(entry.path());
        }
    }
}

fn start(iam: Option<&Value>) -> anyhow::Result<Seaweed> {
    let weed = binary()?;
    sweep();
    let folder = tempfile::Builder::new().prefix(&format!("{FOLDERS}{}-", std::process::id())).tempdir()?.keep();
    let names = [
        "master.port",
        "master.port.grpc",
        "filer.port",
        "filer.port.grpc",
        "volume.port",
        "volume.port.grpc",
        "s3.port",
        "s3.port.grpc",
        "s3.port.iceberg",
        "s3.port.lance",
        "admin.port",
    ];
    let ports = free_ports(names.len())?;
    let endpoint = format!("http://127.0.0.1:{}", ports[6]);
    let iam = iam.map(|settings| (folder.join("iam.json"), settings.to_string()));
    if let Some((path, text)) = &iam {
        fs::write(path, text)?;
    }
    // The server dies with the thread that started it, so this one stays.
    let (report, started) = mpsc::sync_channel(1);
    thread::Builder::new().name("seaweed".to_owned()).spawn(move || {
        let mut command = Command::new("setpriv");
        command.args(["--pdeathsig", "KILL"]).arg(&weed).arg("mini").arg("-dir").arg(&folder);
        for (name, port) in names.iter().zip(&ports) {
            command.arg(format!("-{name}={port}"));
        }
        command.args(iam.map(|(path, _)| format!("-s3.iam.config={}", path.display())));
        command
            .args(["-ip=127.0.0.1", "-ip.bind=127.0.0.1", "-admin.ui=false", "-webdav=false", "-bucket", BUCKET])
            .env_clear()
            .env("PATH", env::var_os("PATH").unwrap_or_default())
            .env("HOME", &folder)
            .env("AWS_ACCESS_KEY_ID", ACCESS_KEY)
            .env("AWS_SECRET_ACCESS_KEY", SECRET_KEY)
            .current_dir(&folder)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        match command.spawn() {
            Ok(mut child) => {
                let _ = report.send(Ok(child.id()));
                let status = child.wait();
                eprintln!("SeaweedFS ended: {status:?}");
            }
            Err(error) => drop(report.send(Err(error))),
        }
        let _ = fs::remove_dir_all(&folder);
    })?;
    match started.recv() {
        Ok(Ok(pid)) => Ok(Seaweed { endpoint, pid }),
        Ok(Err(error)) => Err(error).context("starting setpriv and weed"),
        Err(_) => bail!("the thread that starts SeaweedFS ended"),
    }
}
