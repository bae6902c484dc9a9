//! What a server in a cluster is told.

use clap::Args;
use remora_control_plane_kube::{
    manifests::{EncryptionKey, Routing, Settings},
    service_accounts::{Grant, Grants},
};
use remora_control_plane_runtime::{StoreEndpoint, identity::CLIENT_SAN};

use super::ConfigError;

/// Least seconds of the grace period that are the user's processes'.
const LEAST_STOP_SECONDS: u64 = 10;

/// The flags of a server in a cluster.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Cluster (with --runtime kube)")]
pub struct ClusterArgs {
    /// Image of the agent, the same version as this server.
    #[arg(long, env = "REMORA_AGENT_IMAGE", value_name = "IMAGE")]
    agent_image: Option<String>,
    /// Namespace of this server, for its Secrets and its Lease.
    #[arg(long, env = "POD_NAMESPACE", value_name = "NAME")]
    namespace: Option<String>,
    /// Name of this replica.
    #[arg(long, env = "POD_NAME", value_name = "NAME")]
    pod_name: Option<String>,
    /// ServiceAccount of this server, which gets its rights in each project's namespace.
    #[arg(long, env = "REMORA_SERVICE_ACCOUNT", default_value = "remora", value_name = "NAME")]
    service_account: String,
    /// ClusterRole that this server binds to itself in a project's namespace.
    #[arg(long, env = "REMORA_PROJECT_CLUSTER_ROLE", default_value = "remora-project", value_name = "NAME")]
    project_cluster_role: String,
    /// Label of this server's pods, from which agents take connections; repeat for more.
    #[arg(
        long = "pod-label",
        env = "REMORA_POD_LABELS",
        value_delimiter = ',',
        value_parser = label,
        default_value = "app.kubernetes.io/name=remora",
        value_name = "KEY=VALUE"
    )]
    pod_labels: Vec<(String, String)>,
    /// Registry that is spoken to by plain HTTP; repeat for more.
    #[arg(long = "insecure-registry", env = "REMORA_INSECURE_REGISTRIES", value_delimiter = ',', value_name = "HOST")]
    insecure_registries: Vec<String>,
    /// Address range of a store in a private network, which agents may reach; repeat for more.
    #[arg(long = "store-cidr", env = "REMORA_STORE_CIDRS", value_delimiter = ',', value_name = "CIDR")]
    store_cidrs: Vec<String>,
    /// Role of a ServiceAccount that calls with a token for the audience remora; repeat for more.
    #[arg(
        long = "service-account-role",
        env = "REMORA_SERVICE_ACCOUNT_ROLES",
        value_delimiter = ',',
        value_name = "NAMESPACE/NAME=ROLE"
    )]
    service_account_roles: Vec<Grant>,
    /// Seconds from the end of a pod until it is killed.
    #[arg(long, env = "REMORA_GRACE_SECONDS", default_value_t = 60, value_name = "SECONDS")]
    grace_seconds: u64,
    /// Seconds of them that the last snapshot may take.
    #[arg(long, env = "REMORA_FLUSH_SECONDS", default_value_t = 30, value_name = "SECONDS")]
    flush_seconds: u64,
}

pub(super) fn label(text: &str) -> Result<(String, String), String> {
    let (key, value) = text.split_once('=').ok_or_else(|| format!("{text:?} is no KEY=VALUE"))?;
    Ok((key.to_owned(), value.to_owned()))
}

/// Checked settings.
#[derive(Debug)]
pub(crate) struct ClusterPlace {
    pub(crate) settings: Settings,
    pub(crate) namespace: String,
    pub(crate) pod_name: String,
    pub(crate) insecure_registries: Vec<String>,
    /// Which ServiceAccount has which role.
    pub(crate) grants: Grants,
}

impl ClusterArgs {
    pub(super) fn resolve(
        self,
        store: Option<StoreEndpoint>,
        encryption_key: Option<String>,
        routing: Option<Routing>,
    ) -> Result<ClusterPlace, ConfigError> {
        let missing = |flag: &str, variable: &str| ConfigError::Setting(format!("{flag} or {variable} is missing"));
        let store = store.ok_or_else(|| missing("--s3-bucket", "REMORA_S3_BUCKET"))?;
        let agent_image = self.agent_image.ok_or_else(|| missing("--agent-image", "REMORA_AGENT_IMAGE"))?;
        let namespace = self.namespace.ok_or_else(|| missing("--namespace", "POD_NAMESPACE"))?;
        let pod_name = self.pod_name.ok_or_else(|| missing("--pod-name", "POD_NAME"))?;
        let (grace, flush) = (self.grace_seconds, self.flush_seconds);
        if grace < flush + LEAST_STOP_SECONDS || flush == 0 {
            return Err(ConfigError::Setting(format!(
                "--grace-seconds {grace}: the last snapshot has {flush} of them (--flush-seconds), and the user's processes need at least {LEAST_STOP_SECONDS}"
            )));
        }
        Ok(ClusterPlace {
            settings: Settings {
                agent_image,
                control_namespace: namespace.clone(),
                control_service_account: self.service_account,
                control_pod_labels: self.pod_labels.into_iter().collect(),
                project_cluster_role: self.project_cluster_role,
                store,
                store_cidrs: self.store_cidrs,
                encryption_key: encryption_key.map(EncryptionKey),
                grace_seconds: grace,
                flush_seconds: flush,
                client_san: CLIENT_SAN.to_owned(),
                routing,
            },
            namespace,
            pod_name,
            insecure_registries: self.insecure_registries,
            grants: self.service_account_roles.into_iter().collect(),
        })
    }
}
