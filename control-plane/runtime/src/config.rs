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
#[derive(Clone)]
pub struct StoreEndpoint {
    /// Scheme, host and port; `None` is AWS.
    pub endpoint: Option<String>,
    /// The bucket. It must exist.
    pub bucket: String,
    /// The region that requests are signed for.
    pub region: String,
    /// Whether the bucket is the first component of the path and not of the host.
    pub path_style: bool,
    /// Access key id.
    pub access_key: String,
    /// Its secret. Reaches the agents through their environment and nobody else.
    pub secret_key: String,
    /// What every key begins with, without a slash at either end; empty is none.
    pub prefix: String,
}

impl fmt::Debug for StoreEndpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Without the secret: this ends in logs.
        f.debug_struct("StoreEndpoint")
            .field("endpoint", &self.endpoint)
            .field("bucket", &self.bucket)
            .field("region", &self.region)
            .field("path_style", &self.path_style)
            .field("access_key", &self.access_key)
            .field("prefix", &self.prefix)
            .finish_non_exhaustive()
    }
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
