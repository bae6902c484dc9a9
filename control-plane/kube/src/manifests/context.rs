//! What objects are made from.

use std::{collections::BTreeMap, fmt};

use remora_control_plane_runtime::StoreEndpoint;
use remora_proto_model::{
    ContainerName, Generation,
    project::{Container, Project},
};

use super::{Place, routing::Routing};

/// What is the same for every project of a control plane.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The image of the agent.
    pub agent_image: String,
    /// The namespace of the control plane.
    pub control_namespace: String,
    /// The control plane's ServiceAccount.
    pub control_service_account: String,
    /// What selects the control plane's pods in its namespace.
    pub control_pod_labels: BTreeMap<String, String>,
    /// The ClusterRole that the control plane binds to itself in a project's namespace.
    pub project_cluster_role: String,
    /// The namespace of projects that share one; `None` where no project may.
    pub shared_namespace: Option<String>,
    /// Where snapshots go.
    pub store: StoreEndpoint,
    /// Address ranges that the store's name means, where these are private ones.
    pub store_cidrs: Vec<String>,
    /// The base64 of the 32-byte key that wraps each lineage's data key, where contents are encrypted.
    pub encryption_key: Option<EncryptionKey>,
    /// Seconds from the deletion of a pod until it is killed.
    pub grace_seconds: u64,
    /// Seconds of them that the last snapshot may take.
    pub flush_seconds: u64,
    /// The DNS name in the control plane's client certificate.
    pub client_san: String,
    /// How exposed ports are reached from outside; none where nothing is made for that.
    pub routing: Option<Routing>,
}

/// A key in base64 that is not printed.
#[derive(Clone)]
pub struct EncryptionKey(pub String);

impl fmt::Debug for EncryptionKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("EncryptionKey")
    }
}

/// One generation of one project.
#[derive(Clone, Copy, Debug)]
pub struct Context<'a> {
    /// The project.
    pub project: &'a Project,
    /// The generation that is to start.
    pub generation: Generation,
    /// What is the same for every project.
    pub settings: &'a Settings,
    /// What each container runs: its own command, else its image's.
    pub commands: &'a BTreeMap<ContainerName, Vec<String>>,
    /// Key, below the lineage's prefix, of the archive that an empty workspace starts from.
    pub source: Option<&'a str>,
}

/// Who an agent is, and whom it trusts.
pub struct AgentMaterial {
    /// Its certificate, in PEM.
    pub certificate: String,
    /// Its key, in PEM.
    pub key: String,
    /// The CA of the control plane's client certificate, in PEM.
    pub ca_certificate: String,
    /// The key that verifies capabilities: 32 bytes, in base64.
    pub token_key: String,
}

impl fmt::Debug for AgentMaterial {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Without the key.
        f.debug_struct("AgentMaterial").field("certificate", &self.certificate).finish_non_exhaustive()
    }
}

/// The pod of a generation, to its project.
pub fn pod_name(generation: Generation) -> String {
    format!("dev-g{generation}")
}

/// The Service over all pods of a project that has a pod for each container: a name for
/// each of them, whether it is ready or not.
pub(super) const PODS: &str = "pods";

/// The Secret with the identity of a generation's agent, to its project.
pub fn agent_secret_name(generation: Generation) -> String {
    format!("agent-g{generation}")
}

impl Context<'_> {
    /// Where the project's objects are.
    pub fn place(&self) -> Place {
        Place::of(self.project, self.settings)
    }

    /// The name of the object that is `base` to the project. No manifest makes a name otherwise.
    pub(super) fn name(&self, base: &str) -> String {
        self.place().name(base)
    }

    pub(super) fn namespace(&self) -> String {
        self.place().namespace().to_owned()
    }

    /// The container whose pod has the agent that makes the snapshots.
    pub(super) fn owner(&self) -> Option<&Container> {
        self.project.spec.dev_containers().next()
    }

    /// Seconds that the user's processes get to end: what the last snapshot needs comes off first.
    pub(super) fn stop_seconds(&self) -> u64 {
        let Settings { grace_seconds, flush_seconds, .. } = self.settings;
        let left = grace_seconds.saturating_sub(*flush_seconds).saturating_sub(crate::limits::HANDOVER_SECONDS);
        left.max(crate::limits::LEAST_STOP_SECONDS)
    }
}
