//! The labels of every object, and what selects a project's pods.

use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{LabelSelector, LabelSelectorRequirement, ObjectMeta};

use remora_proto_model::ContainerName;

use super::Context;

/// Which project an object is for.
pub const PROJECT_ID: &str = "remora.dev/project-id";
/// Whose project it is.
pub const USER_ID: &str = "remora.dev/user-id";
/// Which generation of it.
pub const GENERATION: &str = "remora.dev/generation";
/// Which container of it, where an object is for one.
pub const CONTAINER: &str = "remora.dev/container";
/// Who made it; the chart's admission policy asks for it.
pub const MANAGED_BY: &str = "app.kubernetes.io/managed-by";
/// Its value for what the control plane makes.
pub const MANAGER: &str = "remora";
/// What of a project it is.
pub const COMPONENT: &str = "app.kubernetes.io/component";

/// The labels of what is no project's in particular.
fn common(component: &str) -> BTreeMap<String, String> {
    [
        ("app.kubernetes.io/name", "remora-project"),
        (COMPONENT, component),
        (MANAGED_BY, MANAGER),
        ("app.kubernetes.io/part-of", "remora"),
    ]
    .map(|(name, value)| (name.to_owned(), value.to_owned()))
    .into()
}

pub(super) fn labels(context: &Context<'_>, component: &str) -> BTreeMap<String, String> {
    let mut labels = common(component);
    labels.insert("app.kubernetes.io/instance".to_owned(), context.project.name.to_string());
    labels.insert(PROJECT_ID.to_owned(), context.project.id.to_string());
    if let Some(owner) = &context.project.spec.owner {
        labels.insert(USER_ID.to_owned(), owner.to_string());
    }
    labels
}

/// The metadata of the object that is `base` to the project.
pub(super) fn metadata(context: &Context<'_>, base: &str, component: &str) -> ObjectMeta {
    ObjectMeta {
        name: Some(context.name(base)),
        namespace: Some(context.namespace()),
        labels: Some(labels(context, component)),
        ..ObjectMeta::default()
    }
}

/// The labels of the namespace, and of what is its own: the project's, where it has it to itself.
pub(super) fn of_namespace(context: &Context<'_>, component: &str) -> BTreeMap<String, String> {
    if context.place().is_shared() { common(component) } else { labels(context, component) }
}

/// The metadata of an object that is the namespace's own, and stays where others share it.
pub(super) fn own_metadata(context: &Context<'_>, name: &str, component: &str) -> ObjectMeta {
    ObjectMeta {
        name: Some(name.to_owned()),
        labels: Some(of_namespace(context, component)),
        ..metadata(context, name, component)
    }
}

/// The component that pods with containers of the project have.
pub(super) const DEV: &str = "dev";
/// The component of a Service container's own objects.
pub(super) const SERVICE: &str = "service";

/// The metadata of an object that is for one container.
pub(super) fn labelled(context: &Context<'_>, base: &str, component: &str, container: &ContainerName) -> ObjectMeta {
    let mut metadata = metadata(context, base, component);
    metadata.labels.get_or_insert_default().insert(CONTAINER.to_owned(), container.to_string());
    metadata
}

/// What selects the pod of one container that has a pod of its own.
pub(super) fn selector_of(context: &Context<'_>, container: &ContainerName) -> BTreeMap<String, String> {
    [(CONTAINER.to_owned(), container.to_string()), (PROJECT_ID.to_owned(), context.project.id.to_string())].into()
}

/// What selects the project's pods, whatever their generation.
pub(super) fn selector(context: &Context<'_>) -> BTreeMap<String, String> {
    [(COMPONENT.to_owned(), DEV.to_owned()), (PROJECT_ID.to_owned(), context.project.id.to_string())].into()
}

/// The component of the pod that makes a snapshot of a volume at rest.
pub(super) const REST: &str = "rest";

/// What selects the pods of the project that have an agent, where its servers have pods of their own.
pub(super) fn with_agent(context: &Context<'_>) -> LabelSelector {
    LabelSelector {
        match_labels: Some([(PROJECT_ID.to_owned(), context.project.id.to_string())].into()),
        match_expressions: Some(vec![LabelSelectorRequirement {
            key: COMPONENT.to_owned(),
            operator: "In".to_owned(),
            values: Some(vec![DEV.to_owned(), REST.to_owned()]),
        }]),
    }
}

/// What selects all pods of the project, and none of another one.
pub(super) fn all_pods(context: &Context<'_>) -> LabelSelector {
    if context.place().is_shared() {
        return selecting([(PROJECT_ID.to_owned(), context.project.id.to_string())].into());
    }
    // What else somebody puts into its namespace is shut in as well.
    LabelSelector::default()
}

pub(super) fn selecting(labels: BTreeMap<String, String>) -> LabelSelector {
    LabelSelector { match_labels: Some(labels), ..LabelSelector::default() }
}
