//! A pod for each container: a Deployment of one, which is made anew in place of the
//! old one and never beside it, because both would write to one volume.

use k8s_openapi::{
    api::{
        apps::v1::{Deployment, DeploymentSpec, DeploymentStrategy},
        core::v1::PodTemplateSpec,
    },
    apimachinery::pkg::apis::meta::v1::ObjectMeta,
};
use remora_proto_model::{
    Generation,
    project::{Container, ContainerKind, ProjectSpec},
};

use super::{
    Context,
    labels::{CONTAINER, DEV, GENERATION, SERVICE, labelled, selecting, selector_of},
    pod,
};

/// The Deployment of each container, in the order of the spec.
pub fn deployments(context: &Context<'_>) -> Vec<Deployment> {
    context.project.spec.containers.iter().map(|container| deployment(context, container)).collect()
}

fn deployment(context: &Context<'_>, container: &Container) -> Deployment {
    let component = if container.kind == ContainerKind::Dev { DEV } else { SERVICE };
    let mut metadata = labelled(context, container.name.as_str(), component, &container.name);
    let mut labels = metadata.labels.clone().unwrap_or_default();
    if container.kind == ContainerKind::Dev {
        // The agent beside it is of this generation. What has none goes on through all of them.
        labels.insert(GENERATION.to_owned(), context.generation.to_string());
    }
    metadata.annotations =
        Some([(pod::MADE.to_owned(), made_of(&context.project.spec, context.generation, container))].into());
    let owner = context.owner().is_some_and(|owner| owner.name == container.name);
    Deployment {
        metadata,
        spec: Some(DeploymentSpec {
            replicas: Some(1),
            revision_history_limit: Some(1),
            selector: selecting(selector_of(context, &container.name)),
            strategy: Some(DeploymentStrategy { type_: Some("Recreate".to_owned()), rolling_update: None }),
            template: PodTemplateSpec {
                metadata: Some(ObjectMeta {
                    labels: Some(labels),
                    finalizers: owner.then(|| vec![pod::FINAL_SNAPSHOT.to_owned()]),
                    ..ObjectMeta::default()
                }),
                spec: Some(pod::of_one(context, container)),
            },
            ..DeploymentSpec::default()
        }),
        ..Deployment::default()
    }
}

/// What of a project the pod of one container is made of, as JSON. A change of
/// anything else leaves it alone.
pub fn made_of(spec: &ProjectSpec, generation: Generation, container: &Container) -> String {
    let owner = spec.dev_containers().next().is_some_and(|owner| owner.name == container.name);
    let generation = (container.kind == ContainerKind::Dev).then_some(generation);
    let exclude = owner.then_some(&spec.snapshots.exclude);
    serde_json::json!({ "container": container.of_its_pod(), "generation": generation, "exclude": exclude }).to_string()
}

/// The container that a Deployment is for.
pub fn container_of(metadata: &ObjectMeta) -> Option<&str> {
    metadata.labels.as_ref()?.get(CONTAINER).map(String::as_str)
}
