//! The namespace of a project, or of several: who may do what in it, and how much it may use.

use std::collections::BTreeMap;

use k8s_openapi::{
    api::{
        core::v1::{
            LimitRange, LimitRangeItem, LimitRangeSpec, Namespace, ResourceQuota, ResourceQuotaSpec, ServiceAccount,
        },
        rbac::v1::{RoleBinding, RoleRef, Subject},
    },
    apimachinery::pkg::{api::resource::Quantity, apis::meta::v1::ObjectMeta},
};

use super::{
    Context,
    labels::{metadata, of_namespace, own_metadata},
};
use crate::defaults::{CONTAINER_CPU_REQUEST, CONTAINER_MEMORY_LIMIT, CONTAINER_MEMORY_REQUEST};

/// The ServiceAccount of a project's pods: it may do nothing, and they have no token of it.
pub(super) const SERVICE_ACCOUNT: &str = "project";
/// The ResourceQuota of a project that has one.
pub(crate) const QUOTA: &str = "project";
const COMPONENT: &str = "namespace";

/// The namespace. Pod Security `restricted` is enforced by its label.
pub fn namespace(context: &Context<'_>) -> Namespace {
    let mut labels = of_namespace(context, COMPONENT);
    for mode in ["enforce", "audit", "warn"] {
        labels.insert(format!("pod-security.kubernetes.io/{mode}"), "restricted".to_owned());
    }
    Namespace {
        metadata: ObjectMeta { name: Some(context.namespace()), labels: Some(labels), ..ObjectMeta::default() },
        ..Namespace::default()
    }
}

/// What lets the control plane act in the namespace.
pub fn role_binding(context: &Context<'_>) -> RoleBinding {
    let settings = context.settings;
    RoleBinding {
        metadata: own_metadata(context, "control-plane", COMPONENT),
        role_ref: RoleRef {
            api_group: "rbac.authorization.k8s.io".to_owned(),
            kind: "ClusterRole".to_owned(),
            name: settings.project_cluster_role.clone(),
        },
        subjects: Some(vec![Subject {
            kind: "ServiceAccount".to_owned(),
            name: settings.control_service_account.clone(),
            namespace: Some(settings.control_namespace.clone()),
            api_group: None,
        }]),
    }
}

/// The ServiceAccount of the project's pods.
pub fn service_account(context: &Context<'_>) -> ServiceAccount {
    ServiceAccount {
        metadata: metadata(context, SERVICE_ACCOUNT, COMPONENT),
        automount_service_account_token: Some(false),
        ..ServiceAccount::default()
    }
}

/// What all of the project may use, where its spec says so: a namespace that is shared has none for one of them.
pub fn resource_quota(context: &Context<'_>) -> Option<ResourceQuota> {
    let quota = context.project.spec.quota.as_ref().filter(|_| !context.place().is_shared())?;
    let amounts = [
        ("requests.cpu", quota.cpu.as_ref().map(ToString::to_string)),
        ("limits.memory", quota.memory.as_ref().map(ToString::to_string)),
        ("pods", quota.pods.map(|pods| pods.to_string())),
        ("requests.storage", quota.storage.as_ref().map(ToString::to_string)),
    ];
    let hard: BTreeMap<_, _> =
        amounts.into_iter().filter_map(|(name, amount)| Some((name.to_owned(), Quantity(amount?)))).collect();
    Some(ResourceQuota {
        metadata: metadata(context, QUOTA, COMPONENT),
        spec: Some(ResourceQuotaSpec { hard: Some(hard), ..ResourceQuotaSpec::default() }),
        ..ResourceQuota::default()
    })
}

/// What a pod gets that says nothing of its own: the project's pods say all of it,
/// and one that something else makes here is bounded too. What holds in a namespace that
/// is shared is for whoever runs the cluster to say.
pub fn limit_range(context: &Context<'_>) -> Option<LimitRange> {
    if context.place().is_shared() {
        return None;
    }
    let amount = |name: &str, text: &str| (name.to_owned(), Quantity(text.to_owned()));
    Some(LimitRange {
        metadata: metadata(context, "project", COMPONENT),
        spec: Some(LimitRangeSpec {
            limits: vec![LimitRangeItem {
                type_: "Container".to_owned(),
                default_request: Some(
                    [amount("cpu", CONTAINER_CPU_REQUEST), amount("memory", CONTAINER_MEMORY_REQUEST)].into(),
                ),
                default: Some([amount("memory", CONTAINER_MEMORY_LIMIT)].into()),
                ..LimitRangeItem::default()
            }],
        }),
    })
}
