//! What must outlive the process: the port and the only credentials.

use std::{fs, io, path::Path, path::PathBuf};

use serde::{Deserialize, Serialize};

use super::BucketError;
use crate::private_file;

/// Port and credentials of a bucket.
#[derive(Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Settings {
    pub(super) port: u16,
    pub(super) access_key: String,
    pub(super) secret_key: String,
}

impl Settings {
    pub(super) fn path(folder: &Path) -> PathBuf {
        folder.join("settings.json")
    }

    /// What was recorded; `None` at the first time.
    pub(super) fn load(folder: &Path) -> Result<Option<Self>, BucketError> {
        let path = Settings::path(folder);
        let unusable = |problem: String| BucketError::Settings { path: path.clone(), problem };
        match fs::read(&path) {
            Ok(bytes) => serde_json::from_slice(&bytes).map(Some).map_err(|error| unusable(error.to_string())),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(unusable(error.to_string())),
        }
    }

    /// Records `port` with credentials that nobody had before.
    pub(super) fn create(folder: &Path, port: u16) -> io::Result<Self> {
        let settings = Settings {
            port,
            access_key: hex::encode(rand::random::<[u8; 10]>()),
            secret_key: hex::encode(rand::random::<[u8; 32]>()),
        };
        private_file::write(&Settings::path(folder), &serde_json::to_vec(&settings)?)?;
        Ok(settings)
    }
}
