//! What the server is told: flags and environment, resolved into checked values.

mod cluster;
mod routing;
mod store;

use std::{
    env, fs, io,
    net::SocketAddr,
    path::{self, Path, PathBuf},
    sync::Arc,
};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use clap::{Args, ValueEnum, ValueHint};
use remora_control_plane_runtime::StoreEndpoint;
use rustls::{
    ServerConfig,
    crypto::ring,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject as _},
};

use crate::{audit::Destination, gate::GateSettings, private_file};

pub use self::cluster::ClusterArgs;
pub(crate) use self::cluster::ClusterPlace;
use self::{
    routing::{Resolved, RoutingArgs},
    store::StoreArgs,
};

/// What both roles take.
#[derive(Args, Clone, Debug)]
pub struct ServeArgs {
    /// Folder for everything this server keeps [default: $XDG_DATA_HOME/remora, else ~/.local/share/remora].
    #[arg(long, env = "REMORA_DATA_DIR", value_hint = ValueHint::DirPath, value_name = "DIR")]
    pub data_dir: Option<PathBuf>,
    /// Address for gRPC and REST; port 0 takes a free one.
    #[arg(long, env = "REMORA_LISTEN", default_value = "127.0.0.1:7600", value_name = "ADDRESS")]
    pub listen: SocketAddr,
    /// Certificate chain (PEM) for TLS.
    #[arg(long, requires = "tls_key", value_hint = ValueHint::FilePath, value_name = "FILE")]
    pub tls_cert: Option<PathBuf>,
    /// Private key (PEM) of the certificate.
    #[arg(long, requires = "tls_cert", value_hint = ValueHint::FilePath, value_name = "FILE")]
    pub tls_key: Option<PathBuf>,
    /// Listen beyond loopback without TLS: for a network in which nobody listens, or behind a proxy that does TLS.
    #[arg(long)]
    pub plaintext: bool,
    /// Further name that requests on loopback may be for; repeat for more.
    #[arg(long = "allowed-host", value_name = "NAME")]
    pub allowed_hosts: Vec<String>,
    /// Origin of pages that may attach to terminals beside this server's own, as SCHEME://HOST[:PORT]; repeat for more.
    #[arg(long = "allowed-origin", env = "REMORA_ALLOWED_ORIGINS", value_delimiter = ',', value_name = "ORIGIN")]
    pub allowed_origins: Vec<String>,
    /// Where one record a call goes, as JSON lines: a file, which is renamed when it is large, - for the standard
    /// output, or none [default: audit.jsonl in the data folder; in a cluster the standard output].
    #[arg(long, env = "REMORA_AUDIT_LOG", value_name = "FILE")]
    audit_log: Option<Destination>,
    /// Binary of the agent [default: remora-agent beside this one, else in PATH].
    #[arg(long, env = "REMORA_AGENT_BINARY", value_hint = ValueHint::FilePath, value_name = "FILE")]
    pub agent_binary: Option<PathBuf>,
    /// File with the base64 of the 32-byte key that encrypts snapshots [default: made in the data folder].
    #[arg(long, value_hint = ValueHint::FilePath, value_name = "FILE")]
    pub encryption_key_file: Option<PathBuf>,
    /// File that is written with the address once the server serves.
    #[arg(long, value_hint = ValueHint::FilePath, value_name = "FILE")]
    pub ready_file: Option<PathBuf>,
    #[command(flatten)]
    store: StoreArgs,
}

/// `remora server`.
#[derive(Args, Clone, Debug)]
pub struct ServerArgs {
    /// What runs the projects.
    #[arg(long, env = "REMORA_RUNTIME", value_enum)]
    pub runtime: Runtime,
    /// What both take.
    #[command(flatten)]
    pub serve: ServeArgs,
    /// How ports are reached.
    #[command(flatten)]
    pub routing: RoutingArgs,
    /// What a cluster needs.
    #[command(flatten)]
    pub cluster: ClusterArgs,
}

/// What runs projects.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Runtime {
    /// Processes of this machine.
    Local,
    /// Pods of the Kubernetes that this server runs in, or that KUBECONFIG names.
    Kube,
}

/// Checked settings.
#[derive(Debug)]
pub(crate) struct Config {
    pub(crate) listen: SocketAddr,
    pub(crate) tls: Option<Arc<ServerConfig>>,
    /// The certificate that clients of a TLS server need.
    pub(crate) ca_file: Option<PathBuf>,
    pub(crate) allowed_hosts: Vec<String>,
    pub(crate) allowed_origins: Vec<String>,
    pub(crate) audit_log: Destination,
    pub(crate) ready_file: Option<PathBuf>,
    /// What is known of ports that are reached from outside; none where there is no domain for them.
    pub(crate) gate: Option<GateSettings>,
    pub(crate) place: Place,
}

/// Where projects are.
#[derive(Debug)]
pub(crate) enum Place {
    Local(Box<LocalPlace>),
    Cluster(Box<ClusterPlace>),
}

/// This machine.
#[derive(Debug)]
pub(crate) struct LocalPlace {
    pub(crate) data_dir: PathBuf,
    pub(crate) agent_binary: PathBuf,
    pub(crate) encryption_key_file: PathBuf,
    /// `None` is the bucket in the data folder.
    pub(crate) store: Option<StoreEndpoint>,
}

/// A setting cannot be used.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ConfigError {
    #[error("{flag}: {}: {problem}", .path.display())]
    File { flag: &'static str, path: PathBuf, problem: String },
    #[error("{0}")]
    Setting(String),
}

impl ServerArgs {
    /// Checks the settings of the runtime that was chosen.
    pub(crate) fn resolve(self) -> Result<Config, ConfigError> {
        let ServerArgs { runtime, serve, routing, cluster } = self;
        let Resolved { gate, routes } = routing.resolve(runtime)?;
        let config = match runtime {
            Runtime::Local => serve.resolve()?,
            Runtime::Kube => {
                let store = serve.store.clone().resolve()?;
                let key = serve.encryption_key_file.as_deref().map(read_key).transpose()?;
                let place = cluster.resolve(store, key, routes)?;
                serve.serving(Place::Cluster(Box::new(place)))?
            }
        };
        Ok(Config { gate, ..config })
    }
}

impl ServeArgs {
    /// Checks the settings. The data folder is made, and in it the key for snapshots.
    pub(crate) fn resolve(self) -> Result<Config, ConfigError> {
        let file = |flag, path: &Path| {
            let path = path.to_owned();
            move |error: io::Error| ConfigError::File { flag, path, problem: error.to_string() }
        };
        self.check_listen()?;
        let data_dir = match &self.data_dir {
            Some(folder) => folder.clone(),
            None => default_data_dir()?,
        };
        private_file::folder(&data_dir).map_err(file("--data-dir", &data_dir))?;
        let data_dir = path::absolute(&data_dir).map_err(file("--data-dir", &data_dir))?;
        let encryption_key_file = match &self.encryption_key_file {
            Some(path) => path.clone(),
            None => made_key(&data_dir).map_err(file("--data-dir", &data_dir))?,
        };
        read_key(&encryption_key_file)?;
        let place = LocalPlace {
            data_dir,
            agent_binary: agent(self.agent_binary.clone())?,
            encryption_key_file,
            store: self.store.clone().resolve()?,
        };
        self.serving(Place::Local(Box::new(place)))
    }

    fn check_listen(&self) -> Result<(), ConfigError> {
        let listen = self.listen;
        if self.tls_cert.is_none() && !listen.ip().is_loopback() && !self.plaintext {
            return Err(ConfigError::Setting(format!(
                "--listen {listen}: API keys would cross the network in the clear; give --tls-cert and --tls-key, or --plaintext where that is intended"
            )));
        }
        Ok(())
    }

    /// What does not depend on where projects are.
    fn serving(self, place: Place) -> Result<Config, ConfigError> {
        self.check_listen()?;
        let ServeArgs { listen, tls_cert, tls_key, allowed_hosts, allowed_origins, audit_log, ready_file, .. } = self;
        let tls = match (&tls_cert, &tls_key) {
            (Some(cert), Some(key)) => Some(Arc::new(tls(cert, key)?)),
            _ => None,
        };
        let audit_log = audit_log.unwrap_or_else(|| match &place {
            Place::Local(local) => Destination::File(local.data_dir.join("audit.jsonl")),
            Place::Cluster(_) => Destination::StandardOutput,
        });
        Ok(Config {
            ca_file: tls_cert,
            listen,
            tls,
            allowed_hosts,
            allowed_origins,
            audit_log,
            ready_file,
            gate: None,
            place,
        })
    }
}

/// XDG Base Directory Specification.
fn default_data_dir() -> Result<PathBuf, ConfigError> {
    let set = |name| env::var_os(name).map(PathBuf::from).filter(|path| path.is_absolute());
    let folder = set("XDG_DATA_HOME").or_else(|| set("HOME").map(|home| home.join(".local/share")));
    folder.map(|folder| folder.join("remora")).ok_or_else(|| {
        ConfigError::Setting("--data-dir: neither XDG_DATA_HOME nor HOME is set; say where to keep things".to_owned())
    })
}

fn agent(given: Option<PathBuf>) -> Result<PathBuf, ConfigError> {
    if let Some(path) = given {
        // Agents are started in folders of their own.
        let found = path::absolute(&path).and_then(|path| fs::metadata(&path).map(|_| path));
        return found.map_err(|error| ConfigError::File { flag: "--agent-binary", path, problem: error.to_string() });
    }
    let beside = env::current_exe().ok().and_then(|binary| Some(binary.parent()?.join("remora-agent")));
    let path = env::var_os("PATH").unwrap_or_default();
    let in_path =
        env::split_paths(&path).filter(|folder| folder.is_absolute()).map(|folder| folder.join("remora-agent"));
    beside.into_iter().chain(in_path).find(|candidate| candidate.is_file()).ok_or_else(|| {
        ConfigError::Setting(
            "--agent-binary: remora-agent is neither beside this binary nor in PATH; install it there or say where it is"
                .to_owned(),
        )
    })
}

/// The key that snapshots are encrypted with where nobody gives one. Whoever
/// moves the snapshots elsewhere needs it: without it they cannot be read.
fn made_key(data_dir: &Path) -> io::Result<PathBuf> {
    let path = data_dir.join("snapshot-key");
    if !path.exists() {
        let key = STANDARD.encode(rand::random::<[u8; 32]>());
        private_file::write(&path, format!("{key}\n").as_bytes())?;
    }
    Ok(path)
}

/// The key in a file, in base64.
fn read_key(path: &Path) -> Result<String, ConfigError> {
    let problem = match fs::read_to_string(path) {
        Err(error) => error.to_string(),
        Ok(text) => match STANDARD.decode(text.trim()) {
            Ok(key) if key.len() == 32 => return Ok(text.trim().to_owned()),
            _ => "does not hold the base64 of 32 bytes; make one with: head -c 32 /dev/urandom | base64".to_owned(),
        },
    };
    Err(ConfigError::File { flag: "--encryption-key-file", path: path.to_owned(), problem })
}

fn tls(cert: &Path, key: &Path) -> Result<ServerConfig, ConfigError> {
    let unusable = |flag, path: &Path, problem: &dyn std::fmt::Display| ConfigError::File {
        flag,
        path: path.to_owned(),
        problem: problem.to_string(),
    };
    let read = |flag, path: &Path| fs::read(path).map_err(|error| unusable(flag, path, &error));
    let chain = CertificateDer::pem_slice_iter(&read("--tls-cert", cert)?)
        .collect::<Result<Vec<_>, _>>()
        .map_err(|error| unusable("--tls-cert", cert, &error))?;
    let private =
        PrivateKeyDer::from_pem_slice(&read("--tls-key", key)?).map_err(|error| unusable("--tls-key", key, &error))?;
    let mut config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(|error| ConfigError::Setting(error.to_string()))?
        .with_no_client_auth()
        .with_single_cert(chain, private)
        .map_err(|error| unusable("--tls-cert", cert, &error))?;
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(config)
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Cli {
        #[command(flatten)]
        serve: ServeArgs,
    }

    fn resolve(folder: &Path, line: &[&str]) -> Result<Config, String> {
        let agent = env::current_exe().unwrap();
        let mut words =
            vec!["remora", "--data-dir", folder.to_str().unwrap(), "--agent-binary", agent.to_str().unwrap()];
        words.extend(line);
        let cli = Cli::try_parse_from(words).map_err(|error| error.to_string())?;
        cli.serve.resolve().map_err(|error| error.to_string())
    }

    #[test]
    fn nothing_listens_beyond_loopback_in_the_clear_by_accident() {
        let folder = tempfile::tempdir().unwrap();
        for open in ["0.0.0.0:0", "192.168.1.1:0", "[::]:0"] {
            let error = resolve(folder.path(), &["--listen", open]).unwrap_err();
            assert!(error.contains("--tls-cert"), "{error}");
            resolve(folder.path(), &["--listen", open, "--plaintext"]).unwrap();
        }
        for loopback in ["127.0.0.1:0", "[::1]:0"] {
            resolve(folder.path(), &["--listen", loopback]).unwrap();
        }
    }

    #[test]
    fn the_key_for_snapshots_is_made_once_and_checked() {
        let folder = tempfile::tempdir().unwrap();
        let key_file = || match resolve(folder.path(), &[]).unwrap().place {
            Place::Local(local) => local.encryption_key_file,
            Place::Cluster(cluster) => panic!("{cluster:?}"),
        };
        let first = key_file();
        let key = fs::read(&first).unwrap();
        assert_eq!(key_file(), first);
        assert_eq!(fs::read(&first).unwrap(), key);
        let bad = folder.path().join("bad");
        fs::write(&bad, "short").unwrap();
        let error = resolve(folder.path(), &["--encryption-key-file", bad.to_str().unwrap()]).unwrap_err();
        assert!(error.contains("base64 of 32 bytes"), "{error}");
    }

    #[test]
    fn bad_settings_name_the_flag() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("x.pem");
        fs::write(&file, "no certificate").unwrap();
        let pem = file.to_str().unwrap();
        for (flag, line) in [
            ("--listen", &["--listen", "7600"][..]),
            ("--tls-key", &["--tls-cert", pem]),
            ("--tls-key", &["--tls-cert", pem, "--tls-key", pem]),
            ("--tls-cert", &["--tls-cert", "/none", "--tls-key", pem]),
            ("--s3-bucket", &["--s3-endpoint", "http://127.0.0.1:1"]),
        ] {
            let error = resolve(folder.path(), line).unwrap_err();
            assert!(error.contains(flag), "{flag}: {error}");
        }
    }
}
