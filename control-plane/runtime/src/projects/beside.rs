//! Which agent a container is reached by, where each has a pod of its own: the one
//! in that pod. Files and snapshots are the owner's, who has the workspace.

use std::{
    net::{IpAddr, SocketAddr},
    sync::Arc,
};

use remora_proto_model::{
    ContainerName, Fault, ProjectId, Reason,
    project::{ContainerKind, Layout, Project},
};

use super::{AgentHandle, Inner, Projects, entry::Entry, follow};
use crate::limits::NOT_READY_RETRY;

impl Projects {
    /// Whether each container of a project has a pod, and with it an agent, of its own.
    pub fn has_pods_apart(&self, id: ProjectId) -> bool {
        self.inner.entry(id).is_ok_and(|entry| entry.layout() == Layout::PodPerContainer)
    }

    /// The agent beside `container` of the project of `owner`, which is the agent that makes
    /// its snapshots.
    pub async fn agent_beside(&self, owner: &AgentHandle, container: &ContainerName) -> Result<AgentHandle, Fault> {
        let entry = self.inner.entry(owner.project)?;
        // Whoever changed a container a moment ago means the pod that it has now.
        follow::catch_up_to_leader(&self.inner, &entry).await;
        self.inner.beside(&entry, owner, container)
    }
}

impl Inner {
    /// The same, by what is known here.
    pub(super) fn beside(
        self: &Arc<Self>,
        entry: &Entry,
        owner: &AgentHandle,
        container: &ContainerName,
    ) -> Result<AgentHandle, Fault> {
        let Some(ip) = place(&entry.project(), container)? else { return Ok(owner.clone()) };
        let address = SocketAddr::new(ip, owner.address.port());
        let known = entry.beside(container).filter(|known| {
            (known.address, known.generation, &known.containers) == (address, owner.generation, &owner.containers)
        });
        if let Some(known) = known {
            return Ok(known);
        }
        let names = owner.containers.clone();
        let dialled = AgentHandle::dial(self, owner.project, owner.generation, address, names)
            .map_err(|error| Fault::new(Reason::Unavailable, format!("the agent beside {container}: {error}")))?;
        entry.set_beside(container.clone(), dialled.clone());
        Ok(dialled)
    }
}

/// Where the agent of a container is; `None` is the owner's own place.
fn place(project: &Project, wanted: &ContainerName) -> Result<Option<IpAddr>, Fault> {
    let containers = &project.spec.containers;
    let found = containers.iter().find(|container| container.name == *wanted);
    let names: Vec<&str> = project.spec.dev_containers().map(|container| container.name.as_str()).collect();
    let there = || format!("there are terminals and commands in {}; empty is the first of them", names.join(", "));
    match found {
        None => return Err(Fault::new(Reason::NotFound, format!("there is no container {wanted}")).hint(there())),
        Some(container) if container.kind == ContainerKind::Service => {
            return Err(Fault::new(
                Reason::FailedPrecondition,
                format!("{wanted} is a Service container, whose image runs as it is, without terminals and commands"),
            )
            .hint(there()));
        }
        Some(_) if names.first() == Some(&wanted.as_str()) => return Ok(None),
        Some(_) => {}
    }
    let own = || project.status.pods.iter().filter(|pod| pod.container.as_ref() == Some(wanted));
    // Of one that is replaced the old pod is there too for a while.
    let pod = own().find(|pod| pod.ready).or_else(|| own().next_back());
    pod.and_then(|pod| pod.ip.parse().ok()).map(Some).ok_or_else(|| {
        Fault::new(Reason::ProjectNotReady, format!("the pod of {wanted} is on its way"))
            .hint("`remora status` tells what it waits for")
            .retry_after(NOT_READY_RETRY)
    })
}

#[cfg(test)]
mod tests {
    use remora_proto_model::project::{PodState, ProjectSpec, ProjectStatus};

    use super::*;

    fn shop(pods: &[(&str, &str, bool)]) -> Project {
        let spec: ProjectSpec = serde_json::from_value(serde_json::json!({
            "layout": "PodPerContainer",
            "containers": [
                {"name": "db", "kind": "Service", "preset": "Postgres"},
                {"name": "web", "image": "node"}, {"name": "api", "image": "node"},
            ],
        }))
        .unwrap();
        let pods = pods.iter().map(|(name, ip, ready)| PodState {
            name: format!("{name}-x"),
            uid: format!("{name}-{ip}"),
            container: Some(name.parse().unwrap()),
            ip: (*ip).to_owned(),
            ready: *ready,
            owns_snapshots: *name == "web",
        });
        Project {
            id: ProjectId::new(),
            name: "shop".parse().unwrap(),
            resource_version: 1,
            created_ms: 1,
            spec,
            status: ProjectStatus { pods: pods.collect(), ..ProjectStatus::default() },
        }
    }

    fn placed(project: &Project, name: &str) -> Result<Option<String>, Fault> {
        place(project, &name.parse().unwrap()).map(|ip| ip.map(|ip| ip.to_string()))
    }

    #[test]
    fn a_container_is_reached_in_its_own_pod() {
        let project = shop(&[("web", "10.0.0.1", true), ("api", "10.0.0.2", false), ("api", "10.0.0.3", true)]);
        assert_eq!(placed(&project, "web").unwrap(), None, "the owner's");
        assert_eq!(placed(&project, "api").unwrap().unwrap(), "10.0.0.3", "the old pod ends");
        // One that is not healthy is what somebody wants to look into.
        let ill = shop(&[("web", "10.0.0.1", true), ("api", "10.0.0.2", false)]);
        assert_eq!(placed(&ill, "api").unwrap().unwrap(), "10.0.0.2");
    }

    #[test]
    fn what_cannot_be_reached_is_said_with_what_can() {
        let project = shop(&[("web", "10.0.0.1", true), ("db", "10.0.0.4", true), ("api", "", false)]);
        for (name, reason, says) in [
            ("cache", Reason::NotFound, "there is no container cache"),
            ("db", Reason::FailedPrecondition, "db is a Service container"),
        ] {
            let fault = placed(&project, name).unwrap_err();
            assert_eq!(fault.reason, reason);
            assert!(fault.message.contains(says) && fault.to_string().contains("web, api"), "{fault}");
        }
        let fault = placed(&project, "api").unwrap_err();
        assert!(fault.retryable() && fault.reason == Reason::ProjectNotReady, "{fault}");
    }
}
