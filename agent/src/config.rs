//! What `serve` is told, in two stages: [`ServeArgs`] as it stands on the command
//! line, and [`ServeConfig`], read, parsed and complete. Nothing is served before
//! the second exists, so an agent without authentication cannot start.

use std::{
    fs, io,
    net::SocketAddr,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use remora_proto::{
    capability::CapabilityVerifier,
    model::{Generation, ProjectId},
};
use rustls::{
    RootCertStore, ServerConfig,
    crypto::ring,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject as _},
    server::WebPkiClientVerifier,
};

use crate::{
    last_snapshot::LastSnapshot,
    limits::MAX_FLUSH_BUDGET,
    shims::{Secret, ShimAddress},
    snapshot_args::SnapshotArgs,
    snapshots::missing_settings,
};

/// The command line of `remora-agent serve`.
#[derive(clap::Args, Clone, Debug)]
pub struct ServeArgs {
    /// The project that is served.
    #[arg(long, env = "REMORA_PROJECT")]
    project: ProjectId,
    /// The generation of the project that this agent was started for.
    #[arg(long, env = "REMORA_GENERATION")]
    generation: u64,
    /// Where gRPC is served.
    #[arg(long, env = "REMORA_LISTEN", default_value = "0.0.0.0:7070")]
    listen: SocketAddr,
    /// Where /livez, /healthz, /readyz and /metrics are served, without authentication.
    #[arg(long, env = "REMORA_METRICS_LISTEN", default_value = "127.0.0.1:7071")]
    metrics_listen: SocketAddr,
    /// The agent's certificate chain (PEM).
    #[arg(long, env = "REMORA_TLS_CERT", value_name = "FILE")]
    tls_cert: Option<PathBuf>,
    /// The agent's private key (PEM).
    #[arg(long, env = "REMORA_TLS_KEY", value_name = "FILE")]
    tls_key: Option<PathBuf>,
    /// The CA of the control plane's client certificate (PEM).
    #[arg(long, env = "REMORA_CLIENT_CA", value_name = "FILE")]
    client_ca: Option<PathBuf>,
    /// The DNS name that the client certificate must carry.
    #[arg(long, env = "REMORA_CLIENT_SAN", default_value = "control-plane.remora.internal", value_name = "NAME")]
    client_san: String,
    /// A public key that capability tokens are verified with (32 bytes in base64); repeat while keys rotate.
    #[arg(long = "token-key", env = "REMORA_TOKEN_KEYS", value_delimiter = ',', value_name = "FILE")]
    token_keys: Vec<PathBuf>,
    /// The project's workspace: the directory that FileService serves.
    #[arg(long, env = "REMORA_WORKSPACE", value_name = "DIR")]
    workspace: Option<PathBuf>,
    /// Folder for what is known of the workspace, outside of it and on a disk that lives as long.
    #[arg(long, env = "REMORA_STATE_DIR", value_name = "DIR")]
    state_dir: Option<PathBuf>,
    /// A container and the socket of its shim, as NAME=SOCKET; repeat it. The first is the default container.
    #[arg(long = "shim", env = "REMORA_SHIMS", value_delimiter = ',', value_name = "NAME=SOCKET")]
    shims: Vec<ShimAddress>,
    /// A port that a container serves its users on: who is connected to it uses the project; repeat it.
    #[arg(long = "port", env = "REMORA_PORTS", value_delimiter = ',', value_name = "PORT")]
    ports: Vec<u16>,
    /// File with the secret that the agent presents to the shims.
    #[arg(long, env = "REMORA_SHIM_SECRET_FILE", value_name = "FILE")]
    shim_secret_file: Option<PathBuf>,
    /// Written once every port is bound: {"grpc", "metrics", "pid"}.
    #[arg(long, env = "REMORA_READY_FILE", value_name = "FILE")]
    ready_file: Option<PathBuf>,
    /// Make a last snapshot when told to stop, before the end
    #[arg(long, env = "REMORA_FINAL_SNAPSHOT")]
    final_snapshot: bool,
    /// Seconds from the request to stop until the last snapshot is made or given up
    #[arg(long, env = "REMORA_FLUSH_BUDGET", value_name = "SECONDS", default_value_t = 30,
          value_parser = clap::value_parser!(u64).range(1..=MAX_FLUSH_BUDGET.as_secs()))]
    flush_budget: u64,
    /// Where the outcome of the last snapshot is written as JSON, at most 4096 bytes
    #[arg(long, env = "REMORA_TERMINATION_MESSAGE", value_name = "FILE", requires = "final_snapshot")]
    termination_message: Option<PathBuf>,
    /// Once asked for a snapshot by SIGUSR1, which tells that the pod ends: stop when every shim has ended, and
    /// leave the time that other containers take to end to them
    #[arg(long, env = "REMORA_STOP_WITH_SHIMS", requires = "final_snapshot")]
    stop_with_shims: bool,
    #[command(flatten)]
    snapshots: SnapshotArgs,
}

/// What `serve` runs on.
pub struct ServeConfig {
    /// The project that is served.
    pub project: ProjectId,
    /// Its generation.
    pub generation: Generation,
    /// Where gRPC is served.
    pub listen: SocketAddr,
    /// Where probes and metrics are served.
    pub metrics_listen: SocketAddr,
    /// The agent's side of TLS, with client certificates required.
    pub tls: Arc<ServerConfig>,
    /// The DNS name that the client certificate must carry.
    pub client_san: String,
    /// What verifies tokens.
    pub verifier: CapabilityVerifier,
    /// The project's workspace; without one there are no files to serve.
    pub workspace: Option<PathBuf>,
    /// What is known of the workspace, beside it.
    pub state_dir: Option<PathBuf>,
    /// The containers; the first is the default one.
    pub shims: Vec<ShimAddress>,
    /// What the agent presents to their shims.
    pub shim_secret: Option<Secret>,
    /// Ports whose connections are use of the project.
    pub ports: Vec<u16>,
    /// Written once every port is bound.
    pub ready_file: Option<PathBuf>,
    /// The last snapshot, where one is made.
    pub last: Option<LastSnapshot>,
    /// Where the snapshots are.
    pub snapshots: SnapshotArgs,
}

/// Why the agent does not start.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// Credentials were not given.
    #[error(
        "refusing to start without authentication: missing {}; give each as a file (see `remora-agent serve --help`)",
        .0.join(", ")
    )]
    Missing(Vec<&'static str>),
    /// A last snapshot needs a store.
    #[error("--final-snapshot: missing {}; without them there are no snapshots", .0.join(", "))]
    NoStore(Vec<&'static str>),
    /// A file cannot be read.
    #[error("{flag} {}: {error}", .path.display())]
    Unreadable {
        /// The flag that names it.
        flag: &'static str,
        /// The file.
        path: PathBuf,
        /// What the system said.
        error: io::Error,
    },
    /// A file holds something else than it should.
    #[error("{flag} {}: {problem}", .path.display())]
    Unusable {
        /// The flag that names it.
        flag: &'static str,
        /// The file.
        path: PathBuf,
        /// What is wrong.
        problem: String,
    },
    /// The pieces do not fit together.
    #[error("TLS: {0}")]
    Tls(String),
    /// The tokens' keys.
    #[error(transparent)]
    Tokens(#[from] remora_proto::model::Fault),
}

impl ServeArgs {
    /// Reads every file and checks that nothing is missing.
    pub fn resolve(self) -> Result<ServeConfig, ConfigError> {
        // Destructured, so that a flag that is forgotten here does not compile.
        let ServeArgs {
            project,
            generation,
            listen,
            metrics_listen,
            tls_cert,
            tls_key,
            client_ca,
            client_san,
            token_keys,
            workspace,
            state_dir,
            shims,
            shim_secret_file,
            ports,
            ready_file,
            final_snapshot,
            flush_budget,
            termination_message,
            stop_with_shims,
            snapshots,
        } = self;
        let (Some(tls_cert), Some(tls_key), Some(client_ca), false) =
            (&tls_cert, &tls_key, &client_ca, token_keys.is_empty())
        else {
            let missing = [
                (tls_cert.is_none(), "--tls-cert"),
                (tls_key.is_none(), "--tls-key"),
                (client_ca.is_none(), "--client-ca"),
                (token_keys.is_empty(), "--token-key"),
            ];
            return Err(ConfigError::Missing(missing.into_iter().filter(|m| m.0).map(|m| m.1).collect()));
        };
        let last = final_snapshot.then(|| LastSnapshot {
            budget: Duration::from_secs(flush_budget),
            termination_message,
            with_shims: stop_with_shims,
        });
        let lacking = missing_settings(&snapshots, workspace.as_deref(), state_dir.as_deref());
        if last.is_some() && !lacking.is_empty() {
            return Err(ConfigError::NoStore(lacking));
        }
        Ok(ServeConfig {
            project,
            generation: Generation(generation),
            listen,
            metrics_listen,
            tls: Arc::new(tls(tls_cert, tls_key, client_ca)?),
            client_san,
            verifier: verifier(&token_keys)?,
            workspace,
            state_dir,
            shim_secret: shim_secret(&shims, shim_secret_file.as_deref())?,
            ports,
            shims,
            ready_file,
            last,
            snapshots,
        })
    }
}

fn tls(cert: &Path, key: &Path, client_ca: &Path) -> Result<ServerConfig, ConfigError> {
    let chain = certificates("--tls-cert", cert)?;
    let unusable = |problem| ConfigError::Unusable { flag: "--tls-key", path: key.to_owned(), problem };
    let private =
        PrivateKeyDer::from_pem_slice(&read("--tls-key", key)?).map_err(|error| unusable(error.to_string()))?;
    let mut roots = RootCertStore::empty();
    for certificate in certificates("--client-ca", client_ca)? {
        roots.add(certificate).map_err(|error| ConfigError::Tls(format!("--client-ca: {error}")))?;
    }
    let provider = Arc::new(ring::default_provider());
    let clients = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), Arc::clone(&provider))
        .build()
        .map_err(|error| ConfigError::Tls(format!("--client-ca: {error}")))?;
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])
        .map_err(|error| ConfigError::Tls(error.to_string()))?
        .with_client_cert_verifier(clients)
        .with_single_cert(chain, private)
        .map_err(|error| ConfigError::Tls(format!("--tls-cert with --tls-key: {error}")))?;
    config.alpn_protocols = vec![b"h2".to_vec()];
    Ok(config)
}

fn certificates(flag: &'static str, path: &Path) -> Result<Vec<CertificateDer<'static>>, ConfigError> {
    let unusable = |problem: String| ConfigError::Unusable { flag, path: path.to_owned(), problem };
    let found = CertificateDer::pem_slice_iter(&read(flag, path)?)
        .collect::<Result<Vec<_>, _>>()
        .map_err(|error| unusable(error.to_string()))?;
    if found.is_empty() {
        return Err(unusable("holds no certificate in PEM".to_owned()));
    }
    Ok(found)
}

fn verifier(paths: &[PathBuf]) -> Result<CapabilityVerifier, ConfigError> {
    let mut keys = Vec::new();
    for path in paths {
        let unusable = |problem: String| ConfigError::Unusable { flag: "--token-key", path: path.clone(), problem };
        let text = read("--token-key", path)?;
        let key = STANDARD.decode(text.trim_ascii()).map_err(|error| unusable(format!("is no base64: {error}")))?;
        if key.len() != 32 {
            return Err(unusable(format!("holds {} bytes; an Ed25519 public key has 32", key.len())));
        }
        keys.push(key);
    }
    Ok(CapabilityVerifier::new(keys.iter().map(Vec::as_slice))?)
}

/// A shim is of no use without the secret, and two of one name are one too many.
fn shim_secret(shims: &[ShimAddress], file: Option<&Path>) -> Result<Option<Secret>, ConfigError> {
    for (at, shim) in shims.iter().enumerate() {
        if shims[..at].iter().any(|before| before.name == shim.name) {
            let problem = format!("names container {} twice", shim.name);
            return Err(ConfigError::Unusable { flag: "--shim", path: shim.socket.clone(), problem });
        }
    }
    let Some(file) = file else {
        return if shims.is_empty() { Ok(None) } else { Err(ConfigError::Missing(vec!["--shim-secret-file"])) };
    };
    let text = read("--shim-secret-file", file)?;
    let unusable = |problem: &str| ConfigError::Unusable {
        flag: "--shim-secret-file",
        path: file.to_owned(),
        problem: problem.to_owned(),
    };
    Secret::new(&text).map(Some).map_err(unusable)
}

fn read(flag: &'static str, path: &Path) -> Result<Vec<u8>, ConfigError> {
    fs::read(path).map_err(|error| ConfigError::Unreadable { flag, path: path.to_owned(), error })
}
