//! A container of the project, under the shim.

use std::collections::BTreeMap;

use k8s_openapi::{
    api::core::v1::{Container, ContainerPort, ResourceRequirements, VolumeMount},
    apimachinery::pkg::api::resource::Quantity,
};
use remora_proto_model::{
    ContainerName,
    project::{self as model, Amounts},
};

use super::{BIN, PROGRAM, RUN, SHIM_SECRET, TREE, gates, mount, mount_read_only, security, service, words};
use crate::{
    defaults::{CONTAINER_CPU_REQUEST, CONTAINER_MEMORY_LIMIT, CONTAINER_MEMORY_REQUEST},
    manifests::{Context, environment, text::verbatim, volume::WORKSPACE},
};

/// The socket of a container's shim.
pub(super) fn socket(container: &ContainerName) -> String {
    format!("{RUN}/{container}.sock")
}

/// The container.
pub(super) fn dev(context: &Context<'_>, container: &model::Container) -> Container {
    let workspace = &context.project.spec.workspace.path;
    let workdir = match container.workdir.as_str() {
        "" => workspace.clone(),
        below => format!("{workspace}/{below}"),
    };
    let mut command = words(&[PROGRAM, "shim"]);
    command.push(format!("--container={}", container.name));
    command.push(format!("--socket={}", socket(&container.name)));
    command.push(format!("--secret-file={SHIM_SECRET}"));
    command.push(format!("--spill-dir={RUN}/{}.spill", container.name));
    command.push(format!("--workdir={}", verbatim(&workdir)));
    command.push(format!("--workspace={}", verbatim(workspace)));
    command.push(format!("--stop-grace={}", context.stop_seconds()));
    command.extend(gates::of_the_shim(context, container));
    command.extend(words(&["--linger", "--"]));
    command.extend(context.commands.get(&container.name).into_iter().flatten().map(|word| verbatim(word)));
    let ports = container.ports.iter().map(|port| ContainerPort {
        container_port: port.port.into(),
        protocol: Some("TCP".to_owned()),
        // Without its name: what a name of a port may be is narrower here than in a spec.
        ..ContainerPort::default()
    });
    Container {
        name: container.name.to_string(),
        image: container.image.as_ref().map(ToString::to_string),
        command: Some(command),
        env: Some(environment::variables(context, container)),
        ports: Some(ports.collect()),
        resources: Some(resources(&container.resources)),
        security_context: Some(security::dev()),
        readiness_probe: container.probe.as_ref().map(service::probe),
        volume_mounts: Some(vec![
            VolumeMount { sub_path: Some(TREE.to_owned()), ..mount(WORKSPACE, workspace) },
            mount_read_only("bin", BIN),
            mount("run", RUN),
        ]),
        ..Container::default()
    }
}

/// What the spec says, and a default for what it does not: never a request above
/// its limit, and always a bound on memory.
pub(super) fn resources(spec: &model::Resources) -> ResourceRequirements {
    let model::Resources { requests, limits } = spec;
    let default = |text: &str| text.parse::<model::Quantity>().ok();
    let request = |own: &Option<model::Quantity>, limit: &Option<model::Quantity>, fallback: &str| match (own, limit) {
        (Some(own), _) => Some(own.clone()),
        (None, Some(limit)) => default(fallback).map(|fallback| fallback.min(limit.clone())),
        (None, None) => default(fallback),
    };
    let memory = requests.memory.clone().max(default(CONTAINER_MEMORY_LIMIT));
    let requests = Amounts {
        cpu: request(&requests.cpu, &limits.cpu, CONTAINER_CPU_REQUEST),
        memory: request(&requests.memory, &limits.memory, CONTAINER_MEMORY_REQUEST),
        ephemeral_storage: requests.ephemeral_storage.clone(),
    };
    let limits = Amounts {
        cpu: limits.cpu.clone(),
        memory: limits.memory.clone().or(memory),
        ephemeral_storage: limits.ephemeral_storage.clone(),
    };
    ResourceRequirements { requests: amounts(requests), limits: amounts(limits), ..ResourceRequirements::default() }
}

fn amounts(amounts: Amounts) -> Option<BTreeMap<String, Quantity>> {
    let Amounts { cpu, memory, ephemeral_storage } = amounts;
    let named = [("cpu", cpu), ("memory", memory), ("ephemeral-storage", ephemeral_storage)];
    Some(named.into_iter().filter_map(|(name, amount)| Some((name.to_owned(), Quantity(amount?.into())))).collect())
}
