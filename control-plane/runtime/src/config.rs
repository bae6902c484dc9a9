//! What the runtime is told.

use std::{fmt, path::PathBuf, time::Duration};

use crate::limits;

/// The settings of [`crate::Projects::open`].
#[derive(Clone, Debug)]
pub struct RuntimeConfig {
    /// Everything this server keeps. Made private; one server at a time.
    pub data_dir: PathBuf,
    /// The binary `remora-agent`.
    pub agent_binary: PathBuf,
    /// Where snapshots go.
    pub store: StoreEndpoint,
    /// File with the base64 of the 32-byte key that wraps each lineage's data
    /// key; without it contents are stored as they are.
    pub encryption_key_file: Option<PathBuf>,
    /// Most projects at a time.
    pub max_projects: usize,
    /// Time between two prunes of a lineage that gets snapshots all the time.
    pub prune_interval: Duration,
}

impl RuntimeConfig {
    /// The settings with every bound at its default.
    pub fn new(data_dir: PathBuf, agent_binary: PathBuf, store: StoreEndpoint) -> Self {
        RuntimeConfig {
            data_dir,
            agent_binary,
            store,
            encryption_key_file: None,
            max_projects: limits::MAX_PROJECTS,
            prune_interval: limits::PRUNE_INTERVAL,
        }
    }
}

/// A bucket that answers the S3 API.
#[derive(Clone, Debug)]
pub struct StoreEndpoint {
    /// Scheme, host and port; `None` is AWS.
    pub endpoint: Option<String>,
    /// The same as callers of this server reach it, for signed URLs; `None` is `endpoint`.
    pub public_endpoint: Option<String>,
    /// The bucket. It must exist.
    pub bucket: String,
    /// The region that requests are signed for.
    pub region: String,
    /// Whether the bucket is the first component of the path and not of the host.
    pub path_style: bool,
    /// What opens it. Reaches the agents through their environment and nobody else.
    pub credentials: StoreCredentials,
    /// What every key begins with, without a slash at either end; empty is none.
    pub prefix: String,
}

/// What opens a store.
#[derive(Clone)]
pub enum StoreCredentials {
    /// One pair for everybody, until somebody changes it.
    Keys {
        /// Access key id.
        access_key: String,
        /// Its secret.
        secret_key: String,
    },
    /// Each process shows a token that says who it is, and gets credentials that expire.
    WebIdentity(WebIdentity),
}

impl fmt::Debug for StoreCredentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            // Without the secret: this ends in logs.
            StoreCredentials::Keys { access_key, .. } => f.debug_tuple("Keys").field(access_key).finish(),
            StoreCredentials::WebIdentity(identity) => identity.fmt(f),
        }
    }
}

/// A role that a token service (STS) gives to whoever shows a token that the role trusts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WebIdentity {
    /// The role.
    pub role_arn: String,
    /// File with this server's token. Whoever writes it replaces it before it expires.
    pub token_file: PathBuf,
    /// Whom the tokens of agents are for, where a cluster issues them.
    pub audience: String,
    /// URL of the token service; `None` is AWS.
    pub sts_endpoint: Option<String>,
}

/// How the server leaves its projects when it ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shutdown {
    /// The projects run on; the next server finds them again.
    LeaveRunning,
    /// Every project is stopped as by Stop, except that the wish stays: the next
    /// server starts it again. What has not stopped after this long runs on.
    StopWithin(Duration),
}
