//! What holds the workspace while a pod runs.

use k8s_openapi::{
    api::core::v1::{
        EmptyDirVolumeSource, PersistentVolumeClaim, PersistentVolumeClaimSpec, PersistentVolumeClaimVolumeSource,
        Volume, VolumeResourceRequirements,
    },
    apimachinery::pkg::api::resource::Quantity,
};

use super::{Context, labels::metadata};

/// Its name, as a volume and as a claim.
pub(super) const WORKSPACE: &str = "workspace";

/// The claim of the volume that outlives pods, where the spec wants one.
pub fn volume_claim(context: &Context<'_>) -> Option<PersistentVolumeClaim> {
    let volume = context.project.spec.workspace.volume.as_ref()?;
    Some(PersistentVolumeClaim {
        metadata: metadata(context, WORKSPACE, WORKSPACE),
        spec: Some(PersistentVolumeClaimSpec {
            access_modes: Some(vec![volume.access_mode.as_str().to_owned()]),
            storage_class_name: Some(volume.class.clone()).filter(|class| !class.is_empty()),
            resources: Some(VolumeResourceRequirements {
                requests: Some([("storage".to_owned(), Quantity(volume.size.to_string()))].into()),
                ..VolumeResourceRequirements::default()
            }),
            ..PersistentVolumeClaimSpec::default()
        }),
        ..PersistentVolumeClaim::default()
    })
}

/// The pod's volume with the working tree and what the agent knows of it.
pub(super) fn workspace(context: &Context<'_>) -> Volume {
    let workspace = &context.project.spec.workspace;
    let name = WORKSPACE.to_owned();
    match workspace.volume {
        Some(_) => Volume {
            persistent_volume_claim: Some(PersistentVolumeClaimVolumeSource {
                claim_name: name.clone(),
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
