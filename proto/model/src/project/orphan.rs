//! [`Orphan`]: something that was made for a project that is not there.

use std::fmt;

use serde::{Deserialize, Serialize};

/// What kind of thing it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub enum OrphanKind {
    /// A namespace, and with it all that is in it.
    Namespace,
    /// A Deployment.
    Deployment,
    /// A pod.
    Pod,
    /// A claim of a volume.
    VolumeClaim,
    /// A volume whose claim was a project's.
    Volume,
    /// A Secret.
    Secret,
    /// A folder in the data folder of a local server.
    Folder,
}

impl OrphanKind {
    /// Every kind, with the numbers of the wire less one.
    pub const ALL: &'static [OrphanKind] = &[
        OrphanKind::Namespace,
        OrphanKind::Deployment,
        OrphanKind::Pod,
        OrphanKind::VolumeClaim,
        OrphanKind::Volume,
        OrphanKind::Secret,
        OrphanKind::Folder,
    ];
}

impl fmt::Display for OrphanKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self, f)
    }
}

/// Something that carries the marks of a project that is not there. Nobody removes it but a person.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "camelCase")]
pub struct Orphan {
    /// What it is.
    pub kind: OrphanKind,
    /// The namespace that it is in; empty where it is in none.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// The project that it says it is of; empty where what it says is no id.
    pub project_id: String,
    /// When it was made, in milliseconds since the epoch; 0 is unknown.
    pub created_ms: u64,
    /// Whether its end was asked for and something holds it.
    pub ending: bool,
}

/// What was found.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "camelCase")]
pub struct Orphans {
    /// By kind, namespace and name.
    pub orphans: Vec<Orphan>,
    /// What was not looked at, and why; empty where everything was.
    pub unseen: Vec<String>,
}
