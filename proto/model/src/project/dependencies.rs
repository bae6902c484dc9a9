//! Which container waits for which, and how that can be seen.

use serde::{Deserialize, Serialize};

use super::{
    Layout,
    container::{Container, ContainerKind, MAX_CONTAINERS},
    service::Preset,
};
use crate::{ContainerName, Fault};

/// A container that another one waits for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct Dependency {
    /// Its name.
    #[cfg_attr(feature = "openapi", schema(value_type = String))]
    pub name: ContainerName,
    /// What of it is waited for.
    #[serde(default)]
    pub condition: DependencyCondition,
}

/// What of a container is waited for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub enum DependencyCondition {
    /// It has begun.
    #[default]
    Started,
    /// Its probe is good; without one, its first port takes connections.
    Healthy,
}

/// How a container's health is seen from outside of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HealthCheck<'a> {
    /// A GET of HTTP is answered with 200 to 399.
    Http {
        /// The port.
        port: u16,
        /// The path, from the root.
        path: &'a str,
    },
    /// A connection is taken.
    Tcp(u16),
    /// The server of the preset says, in its own protocol, that it serves.
    Server(Preset, u16),
}

impl Container {
    /// How its health is seen from outside of it; `None` where that cannot be.
    pub fn health_check(&self) -> Option<HealthCheck<'_>> {
        if let Some(probe) = &self.probe {
            return match (&probe.http_get, &probe.tcp_socket) {
                (Some(get), _) => Some(HealthCheck::Http { port: get.port, path: &get.path }),
                (_, Some(socket)) => Some(HealthCheck::Tcp(socket.port)),
                _ => None,
            };
        }
        let port = self.listens().first()?.port;
        Some(match self.preset {
            Some(preset) => HealthCheck::Server(preset, port),
            None => HealthCheck::Tcp(port),
        })
    }
}

/// The names of those that wait for `name`.
pub fn dependents<'a>(containers: &'a [Container], name: &ContainerName) -> Vec<&'a ContainerName> {
    let waits = |container: &&Container| container.depends_on.iter().any(|dependency| dependency.name == *name);
    containers.iter().filter(waits).map(|container| &container.name).collect()
}

/// Checks who waits for whom. The error names the field, and a cycle by its members.
pub(super) fn validate(containers: &[Container], layout: Layout) -> Result<(), Fault> {
    let find = |name: &ContainerName| containers.iter().find(|container| container.name == *name);
    for container in containers {
        let name = &container.name;
        if container.depends_on.len() >= MAX_CONTAINERS {
            return Err(Fault::invalid(
                "containers.dependsOn",
                format!(
                    "of {name} has {} entries; a project has {MAX_CONTAINERS} containers",
                    container.depends_on.len()
                ),
            ));
        }
        for (at, Dependency { name: other, condition }) in container.depends_on.iter().enumerate() {
            if container.depends_on[..at].iter().any(|before| before.name == *other) {
                return Err(Fault::invalid("containers.dependsOn", format!("of {name} names {other} twice")));
            }
            let Some(target) = find(other) else {
                let there: Vec<&str> = containers.iter().map(|container| container.name.as_str()).collect();
                return Err(Fault::invalid(
                    "containers.dependsOn",
                    format!("of {name} names {other}, which is not there"),
                )
                .hint(format!("there are {}", there.join(", "))));
            };
            if *condition == DependencyCondition::Healthy {
                can_be_seen(name, target, layout)?;
            }
        }
    }
    match cycle(containers) {
        None => Ok(()),
        Some(members) => {
            let shown: Vec<&str> = members.iter().map(|name| name.as_str()).collect();
            Err(Fault::invalid("containers.dependsOn", format!("is a cycle: {}", shown.join(" -> ")))
                .hint("each of these would wait for itself; take one dependency out"))
        }
    }
}

/// Checks that somebody who waits can see the health of `target`.
fn can_be_seen(waits: &ContainerName, target: &Container, layout: Layout) -> Result<(), Fault> {
    let other = &target.name;
    let wrong = |problem: String, hint: String| Err(Fault::invalid("containers.dependsOn", problem).hint(hint));
    match layout {
        // Who waits is told by its Service, which a pod that is not ready has no part in.
        Layout::PodPerContainer if target.listens().is_empty() => wrong(
            format!("of {waits} wants {other} Healthy, which has no port to be reached at"),
            format!("give {other} a port, or wait for it to be Started"),
        ),
        Layout::SinglePod if target.health_check().is_none() => wrong(
            format!("of {waits} wants {other} Healthy, which cannot be seen from beside it in one pod"),
            format!("give {other} a port, or a probe with httpGet or tcpSocket, or wait for it to be Started"),
        ),
        _ => Ok(()),
    }
}

/// A cycle, as the names from one of its members back to that; `None` where there is none.
fn cycle(containers: &[Container]) -> Option<Vec<&ContainerName>> {
    let at = |name: &ContainerName| containers.iter().position(|container| container.name == *name);
    let mut done = vec![false; containers.len()];
    for start in 0..containers.len() {
        // The way from `start` to where the search is, each with the next dependency to look at.
        let mut way = vec![(start, 0)];
        while let Some((here, next)) = way.last().copied() {
            let dependency = containers.get(here).and_then(|container| container.depends_on.get(next));
            let Some(dependency) = dependency.filter(|_| !done[here]) else {
                done[here] = true;
                way.pop();
                continue;
            };
            if let Some(last) = way.last_mut() {
                last.1 += 1;
            }
            let Some(target) = at(&dependency.name) else { continue };
            if let Some(begin) = way.iter().position(|(member, _)| *member == target) {
                let members = way[begin..].iter().chain([&way[begin]]);
                return Some(members.map(|(member, _)| &containers[*member].name).collect());
            }
            way.push((target, 0));
        }
    }
    None
}

/// Checks what the layout asks of the kinds: who has the workspace.
pub(super) fn has_a_workspace(containers: &[Container]) -> Result<(), Fault> {
    if containers.iter().any(|container| container.kind == ContainerKind::Dev) {
        return Ok(());
    }
    Err(Fault::invalid("containers", "has only Service containers")
        .hint("one Dev container at least works in the workspace; give one"))
}
