//! The documents that describe an image: those of OCI (image specification 1.1)
//! and those of Docker (schema 2), which have the same members.

use std::fmt;

use serde::Deserialize;

/// Media types that are asked for.
pub(super) const MANIFESTS: &str = "application/vnd.oci.image.index.v1+json, \
     application/vnd.docker.distribution.manifest.list.v2+json, \
     application/vnd.oci.image.manifest.v1+json, \
     application/vnd.docker.distribution.manifest.v2+json";

/// A manifest or an index.
#[derive(Debug)]
pub(super) enum Document {
    /// Of one platform.
    Manifest {
        /// Digest of its configuration.
        configuration: String,
    },
    /// Of several.
    Index {
        /// What it names.
        platforms: Vec<Platform>,
    },
}

/// What an index names: a manifest and where it runs.
#[derive(Debug)]
pub(super) struct Platform {
    pub(super) digest: String,
    os: String,
    architecture: String,
}

impl Platform {
    pub(super) fn is(&self, os: &str, architecture: &str) -> bool {
        self.os == os && self.architecture == architecture
    }
}

impl fmt::Display for Platform {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // A stranger's words, cut and without controls.
        let word = |text: &str| text.chars().filter(|c| c.is_ascii_graphic()).take(20).collect::<String>();
        write!(f, "{}/{}", word(&self.os), word(&self.architecture))
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Wire {
    schema_version: Option<u32>,
    config: Option<Descriptor>,
    manifests: Option<Vec<Descriptor>>,
}

#[derive(Deserialize)]
struct Descriptor {
    digest: String,
    platform: Option<WirePlatform>,
}

#[derive(Deserialize)]
struct WirePlatform {
    os: String,
    architecture: String,
}

impl Document {
    /// The document; the error says in words what is wrong, and nothing of its content.
    pub(super) fn read(bytes: &[u8]) -> Result<Document, String> {
        let wire: Wire = serde_json::from_slice(bytes).map_err(|_| "it is no manifest".to_owned())?;
        match wire {
            Wire { schema_version: Some(2), manifests: Some(manifests), .. } => {
                let platform = |descriptor: Descriptor| {
                    let WirePlatform { os, architecture } = descriptor.platform?;
                    Some(Platform { digest: descriptor.digest, os, architecture })
                };
                Ok(Document::Index { platforms: manifests.into_iter().filter_map(platform).collect() })
            }
            Wire { schema_version: Some(2), config: Some(config), .. } => {
                Ok(Document::Manifest { configuration: config.digest })
            }
            Wire { schema_version: Some(1), .. } => {
                Err("its manifest has the form of schema 1, which is obsolete; push it anew".to_owned())
            }
            _ => Err("its manifest names no configuration".to_owned()),
        }
    }
}

/// What of an image's configuration counts here.
#[derive(Clone, Debug)]
pub(super) struct Configuration {
    /// What runs.
    pub(super) entry_point: Vec<String>,
    /// Its arguments, unless others are given; without an entry point the whole command.
    pub(super) arguments: Vec<String>,
}

#[derive(Deserialize)]
struct WireConfiguration {
    config: Option<Run>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Run {
    entrypoint: Option<Vec<String>>,
    cmd: Option<Vec<String>>,
}

impl Configuration {
    /// The configuration; the error as of [`Document::read`].
    pub(super) fn read(bytes: &[u8]) -> Result<Configuration, String> {
        let wire: WireConfiguration =
            serde_json::from_slice(bytes).map_err(|_| "its configuration is no image's".to_owned())?;
        let Run { entrypoint, cmd } = wire.config.unwrap_or(Run { entrypoint: None, cmd: None });
        Ok(Configuration { entry_point: entrypoint.unwrap_or_default(), arguments: cmd.unwrap_or_default() })
    }
}
