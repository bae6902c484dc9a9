//! How containers become pods, and what that asks of the containers and the workspace.

use serde::{Deserialize, Serialize};

use super::{AccessMode, Container, ContainerKind, ProjectSpec};
use crate::Fault;

/// How containers become pods of a cluster. A local server has one network for
/// all of them, whatever is said here.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub enum Layout {
    /// One pod for all: they share a network, and start and end together.
    #[default]
    SinglePod,
    /// A pod for each, which is changed without the others.
    PodPerContainer,
}

impl Layout {
    /// Whether it is what a project has whose spec says nothing.
    pub fn is_default(&self) -> bool {
        *self == Layout::default()
    }
}

impl ProjectSpec {
    /// Checks that the pod which makes the snapshots stays the same one: two at a time
    /// would be two writers.
    pub fn containers_may_become(&self, next: &[Container]) -> Result<(), Fault> {
        let first = |containers: &[Container]| {
            let mut all = containers.iter().filter(|container| container.kind == ContainerKind::Dev);
            all.next().map(|container| container.name.clone())
        };
        match first(&self.containers) {
            Some(owner) if self.layout == Layout::PodPerContainer && first(next).as_ref() != Some(&owner) => {
                Err(Fault::invalid(
                    "containers",
                    format!("must keep {owner} as the first Dev one: its pod makes the snapshots"),
                )
                .hint("put others after it"))
            }
            _ => Ok(()),
        }
    }

    /// Checks that Dev containers in several pods see one workspace.
    pub(super) fn workspace_is_shared(&self) -> Result<(), Fault> {
        let dev = self.dev_containers().count();
        let shared =
            self.workspace.volume.as_ref().is_some_and(|volume| volume.access_mode == AccessMode::ReadWriteMany);
        if self.layout == Layout::SinglePod || dev <= 1 || shared {
            return Ok(());
        }
        Err(Fault::invalid(
            "workspace.volume",
            format!("is none that the {dev} Dev containers can share from pods of their own"),
        )
        .hint("give a volume with the access mode ReadWriteMany, or the layout SinglePod, or keep one Dev container"))
    }
}
