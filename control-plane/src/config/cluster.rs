//! What a server in a cluster is told.

use clap::Args;
use remora_control_plane_kube::{
    defaults::SHARED_NAMESPACE,
    manifests::{EncryptionKey, Routing, Settings},
    service_accounts::{Grant, Grants},
};
use remora_control_plane_runtime::{StoreEndpoint, identity::CLIENT_SAN};
use remora_proto_model::ProjectId;

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
    /// Namespace of projects with the isolation Shared; empty refuses such projects.
    #[arg(
        long,
        env = "REMORA_SHARED_NAMESPACE",
        default_value = SHARED_NAMESPACE,
        value_parser = shared_namespace,
        value_name = "NAME"
    )]
    shared_namespace: SharedNamespace,
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

/// Where projects share a namespace, if they may.
#[derive(Clone, Debug, PartialEq, Eq)]
struct SharedNamespace(Option<String>);

/// The rights that the control plane has reach the namespaces of projects alone, which
/// are called so; and one of those is named after its only project.
fn shared_namespace(text: &str) -> Result<SharedNamespace, String> {
    if text.is_empty() {
        return Ok(SharedNamespace(None));
    }
    let rest = text.strip_prefix("proj-").ok_or("must begin with proj-, as the namespaces of projects do")?;
    if rest.parse::<ProjectId>().is_ok() {
        return Err("is the namespace of one project; give it another name, for example proj-shared".to_owned());
    }
    let good = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    if rest.is_empty() || rest.ends_with('-') || text.len() > 63 || !rest.bytes().all(good) {
        return Err("must be 6 to 63 of a-z, 0-9 and '-', and not end with '-'".to_owned());
    }
    Ok(SharedNamespace(Some(text.to_owned())))
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
                shared_namespace: self.shared_namespace.0,
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_namespace_to_share_is_one_that_the_rights_reach_and_no_projects_own() {
        for good in ["proj-shared", "proj-a", "proj-1-2"] {
            assert_eq!(shared_namespace(good), Ok(SharedNamespace(Some(good.to_owned()))));
        }
        assert_eq!(shared_namespace(""), Ok(SharedNamespace(None)));
        let long = format!("proj-{}", "a".repeat(59));
        for bad in [
            "shared",
            "proj",
            "proj-",
            "proj-A",
            "proj-a-",
            "proj-a.b",
            "proj-3f0c9a52-8d1b-4a77-9a0e-6b1d6c1f2e44",
            &long,
        ] {
            assert!(shared_namespace(bad).is_err(), "{bad}");
        }
    }
}
