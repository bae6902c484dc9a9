//! The server under test.

use std::path::PathBuf;

/// See the module.
#[derive(Clone, Debug)]
pub struct Target {
    /// Its address.
    pub server: String,
    /// A key with every right.
    pub key: String,
    /// The image of dev containers, where the server runs them on a cluster. `kubectl` on
    /// PATH reaches that cluster then.
    pub image: Option<String>,
    /// An image with PostgreSQL and Redis there, as their presets expect it of one
    /// (images/databases), for containers of both kinds.
    pub databases: Option<String>,
    /// The shop of examples/, with what it depends on in its folders: a pod reaches no registry.
    pub shop: Option<PathBuf>,
    /// HOST:PORT of the TLS entry of the ingress controller there, where the server routes
    /// exposed ports to it.
    pub ingress: Option<String>,
    /// The namespace of the server there.
    pub namespace: String,
    /// Whether daemons of the cluster's host are stopped and started when the ConfigMap
    /// `host-fault` in that namespace asks for it (tests/cluster/faults.sh).
    pub host_faults: bool,
    /// Whether the cluster is as the rig's full profile (docs/rig.md): two nodes, enforced
    /// NetworkPolicies, hosts outside, an ingress controller.
    pub full_profile: bool,
}
