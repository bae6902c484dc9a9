//! What holds the workspace while a pod runs.

use k8s_openapi::{
    api::core::v1::{
        EmptyDirVolumeSource, PersistentVolumeClaim, PersistentVolumeClaimSpec, PersistentVolumeClaimVolumeSource,
        Volume, VolumeResourceRequirements,
    },
    apimachinery::pkg::{api::resource::Quantity, apis::meta::v1::ObjectMeta},
};
use remora_proto_model::{
    ContainerName,
    project::{AccessMode, ContainerKind},
};

use super::{
    Context,
    labels::{SERVICE, labelled, metadata},
    preset,
};

/// Its name, as a volume of a pod and as a claim of its project.
pub(crate) const WORKSPACE: &str = "workspace";

/// The claim of the volume that outlives pods, where the spec wants one.
pub fn volume_claim(context: &Context<'_>) -> Option<PersistentVolumeClaim> {
    let volume = context.project.spec.workspace.volume.as_ref()?;
    let metadata = metadata(context, WORKSPACE, WORKSPACE);
    Some(claim(metadata, &volume.size.to_string(), &volume.class, volume.access_mode))
}

/// The volume of a Service container, as a volume of its pod and as a claim of its project.
pub fn data_name(container: &ContainerName) -> String {
    format!("data-{container}")
}

/// The claims of the Service containers' own volumes. They outlive the pods and hibernation.
pub fn data_claims(context: &Context<'_>) -> Vec<PersistentVolumeClaim> {
    let services = context.project.spec.containers.iter().filter(|one| one.kind == ContainerKind::Service);
    services
        .filter_map(|container| {
            let preset::Data { size, class, .. } = preset::data(container)?;
            let metadata = labelled(context, &data_name(&container.name), SERVICE, &container.name);
            Some(claim(metadata, &size.to_string(), &class, AccessMode::ReadWriteOnce))
        })
        .collect()
}

fn claim(metadata: ObjectMeta, size: &str, class: &str, mode: AccessMode) -> PersistentVolumeClaim {
    PersistentVolumeClaim {
        metadata,
        spec: Some(PersistentVolumeClaimSpec {
            access_modes: Some(vec![mode.as_str().to_owned()]),
            storage_class_name: Some(class.to_owned()).filter(|class| !class.is_empty()),
            resources: Some(VolumeResourceRequirements {
                requests: Some([("storage".to_owned(), Quantity(size.to_owned()))].into()),
                ..VolumeResourceRequirements::default()
            }),
            ..PersistentVolumeClaimSpec::default()
        }),
        ..PersistentVolumeClaim::default()
    }
}

/// The pod's volume with the working tree and what the agent knows of it.
pub(super) fn workspace(context: &Context<'_>) -> Volume {
    let workspace = &context.project.spec.workspace;
    let name = WORKSPACE.to_owned();
    match workspace.volume {
        Some(_) => Volume {
            persistent_volume_claim: Some(PersistentVolumeClaimVolumeSource {
                claim_name: context.name(WORKSPACE),
                ..PersistentVolumeClaimVolumeSource::default()
            }),
            name,
            ..Volume::default()
        },
        None => Volume {
            empty_dir: Some(EmptyDirVolumeSource {
                size_limit: workspace.size_limit.as_ref().map(|limit| Quantity(limit.to_string())),
                ..EmptyDirVolumeSource::default()
            }),
            name,
            ..Volume::default()
        },
    }
}
