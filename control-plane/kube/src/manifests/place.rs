//! Where the objects of a project are, and what they are called there. Everything that
//! makes, refers to, looks for or removes an object has its name from here.

use remora_proto_model::{ContainerName, ProjectId};

use super::context::PODS;

/// The namespace of a project, and the names in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    namespace: String,
}

impl Place {
    /// A namespace of its own, named after the project's id: a name in it is the base of it.
    pub fn of(project: ProjectId) -> Place {
        Place { namespace: format!("proj-{project}") }
    }

    /// The namespace.
    pub fn namespace(&self) -> &str {
        &self.namespace
    }

    /// The name of the object that is `base` to its project.
    pub fn name(&self, base: &str) -> String {
        base.to_owned()
    }

    /// The host of a container's Service, as far as the cluster's domain.
    pub fn service_host(&self, container: &ContainerName) -> String {
        format!("{}.{}.svc", self.name(container.as_str()), self.namespace)
    }

    /// The host of a container's pod, whether that is ready or not.
    pub(super) fn pod_host(&self, container: &ContainerName) -> String {
        format!("{container}.{}.{}.svc", self.name(PODS), self.namespace)
    }
}
