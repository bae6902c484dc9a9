//! What only a cluster refuses of a spec that is good elsewhere.

use remora_proto_model::{
    Fault, Reason,
    project::{Container, ContainerKind, Isolation, Layout, Port, Project, ProjectSpec},
};

use super::{Settings, made};
use crate::{
    defaults::{AGENT_METRICS_PORT, AGENT_PORT},
    limits::MAX_MADE_BYTES,
};

/// Names that every pod's own containers have.
const TAKEN: [&str; 3] = ["install", "hydrate", "agent"];
/// Names of what there is beside those where each container has its pod: the container
/// that waits for others, and the Service over all pods.
const TAKEN_APART: [&str; 2] = ["wait", "pods"];

fn shares_a_network_with_an_agent(spec: &ProjectSpec) -> impl Iterator<Item = &Container> {
    let alone =
        |container: &&Container| spec.layout == Layout::PodPerContainer && container.kind == ContainerKind::Service;
    spec.containers.iter().filter(move |container| !alone(container))
}

/// Checks what a pod needs beyond [`ProjectSpec::validate`]. The error names the field.
pub fn accepts(spec: &ProjectSpec) -> Result<(), Fault> {
    for container in &spec.containers {
        let name = container.name.as_str();
        if TAKEN.contains(&name) || (spec.layout == Layout::PodPerContainer && TAKEN_APART.contains(&name)) {
            return Err(Fault::invalid("containers.name", format!("{name} is a name that Remora has here itself"))
                .hint("choose another name"));
        }
        if !name.starts_with(|first: char| first.is_ascii_lowercase()) {
            return Err(Fault::invalid("containers.name", format!("{name} does not begin with a letter"))
                .hint("a Service of Kubernetes has this name; begin it with a-z"));
        }
        if container.image.is_none() && container.preset.is_none() {
            return Err(Fault::invalid("containers.image", format!("of {name} is missing"))
                .hint("name the image that it runs in, for example with `remora up --image`"));
        }
    }
    for container in shares_a_network_with_an_agent(spec) {
        let taken = |port: &Port| [AGENT_PORT, AGENT_METRICS_PORT].contains(&port.port.into());
        if let Some(port) = container.listens().iter().find(|port| taken(port)) {
            return Err(Fault::invalid(
                "containers.ports",
                format!("{} of {} is a port of the agent beside it", port.port, container.name),
            )
            .hint(format!("choose another one; {AGENT_PORT} and {AGENT_METRICS_PORT} are the agent's")));
        }
    }
    let bytes = made(spec).len();
    if bytes > MAX_MADE_BYTES {
        return Err(Fault::invalid("containers", format!("have {bytes} bytes as JSON; a pod takes {MAX_MADE_BYTES}"))
            .hint("put long commands and values into files of the workspace"));
    }
    Ok(())
}

/// Checks that there is a namespace for it to be made in.
pub fn has_a_place(project: &Project, settings: &Settings) -> Result<(), Fault> {
    if project.spec.isolation == Isolation::Dedicated || settings.shared_namespace.is_some() {
        return Ok(());
    }
    Err(Fault::new(
        Reason::FailedPrecondition,
        "isolation: is Shared, and this installation has no namespace that projects share",
    )
    .hint("set projects.sharedNamespace of the chart (--shared-namespace of the server), or make a project with the isolation Dedicated"))
}
