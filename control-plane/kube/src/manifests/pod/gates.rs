//! What a container waits for before its command begins, in the words of
//! `remora-agent wait --for`.

use k8s_openapi::api::core::v1::{Container as PodContainer, VolumeMount};
use remora_proto_model::{
    ContainerName,
    project::{Container, ContainerKind, Dependency, DependencyCondition, HealthCheck, Layout, Preset},
};

use super::{BIN, RUN, agent, mount_read_only, words};
use crate::{defaults::AGENT_METRICS_PORT, limits::GATE_SECONDS, manifests::Context};

/// The folder, in that of the sockets, of what [`started_file`] names: the only one of it
/// that a Service container sees, where the sockets and their secret are not.
const STARTED: &str = "started";

/// Left by a shim whose command has begun, for its fellows in one pod.
fn started_file(container: &Container) -> String {
    format!("{RUN}/{STARTED}/{}", container.name)
}

/// What a Service container mounts that waits at `gates`.
pub(super) fn mounts(gates: &[String]) -> Vec<VolumeMount> {
    let file = format!("=file://{RUN}/{STARTED}/");
    let looks = gates.iter().any(|gate| gate.contains(&file));
    let started = looks.then(|| VolumeMount {
        sub_path: Some(STARTED.to_owned()),
        ..mount_read_only("run", &format!("{RUN}/{STARTED}"))
    });
    let program = (!gates.is_empty()).then(|| mount_read_only("bin", BIN));
    program.into_iter().chain(started).collect()
}

/// Whether a fellow waits for this one to have begun.
pub(super) fn is_waited_for(context: &Context<'_>, own: &Container) -> bool {
    let all = &context.project.spec.containers;
    all.iter().flat_map(|container| &container.depends_on).any(|dependency| dependency.name == own.name)
}

/// The gates of a container of one pod for all. A Service container without a port
/// has begun as soon as anything in the pod has: the kubelet starts them all at once.
pub(super) fn in_one_pod(context: &Context<'_>, own: &Container) -> Vec<String> {
    let gate = |(Dependency { name, condition }, target): (&Dependency, &Container)| {
        let check = match (condition, target.health_check()) {
            (DependencyCondition::Healthy, Some(HealthCheck::Http { port, path })) => {
                format!("http://127.0.0.1:{port}{path}")
            }
            (DependencyCondition::Healthy, Some(HealthCheck::Tcp(port))) => format!("tcp://127.0.0.1:{port}"),
            (DependencyCondition::Healthy, Some(HealthCheck::Server(Preset::Postgres, port))) => {
                format!("postgres://127.0.0.1:{port}")
            }
            (DependencyCondition::Healthy, Some(HealthCheck::Server(Preset::Redis, port))) => {
                format!("redis://127.0.0.1:{port}")
            }
            _ if target.kind == ContainerKind::Dev => format!("file://{}", started_file(target)),
            _ => format!("tcp://127.0.0.1:{}", target.listens().first()?.port),
        };
        Some(format!("{name}={check}"))
    };
    targets(context, own).filter_map(gate).collect()
}

/// The gates of a container in a pod of its own. Who has the workspace but not its
/// snapshots waits for the one that restores it.
fn in_own_pod(context: &Context<'_>, own: &Container) -> Vec<String> {
    let place = context.place();
    let owner = context.owner().filter(|owner| own.kind == ContainerKind::Dev && owner.name != own.name);
    let whole = owner
        .map(|owner| format!("{}=http://{}:{AGENT_METRICS_PORT}/healthz", owner.name, place.pod_host(&owner.name)));
    let gates = targets(context, own).map(|(Dependency { name, condition }, target)| {
        match (condition, target.listens().first()) {
            // Its Service has only pods that are ready.
            (DependencyCondition::Healthy, Some(port)) => {
                format!("{name}=tcp://{}:{}", place.service_host(name), port.port)
            }
            _ => format!("{name}=name://{}", place.pod_host(name)),
        }
    });
    whole.into_iter().chain(gates).collect()
}

fn targets<'a>(context: &'a Context<'_>, own: &'a Container) -> impl Iterator<Item = (&'a Dependency, &'a Container)> {
    let find = |name: &ContainerName| context.project.spec.containers.iter().find(|container| container.name == *name);
    own.depends_on.iter().filter_map(move |dependency| Some((dependency, find(&dependency.name)?)))
}

/// The init container that waits; `None` where there is nothing to wait for.
pub(super) fn init(context: &Context<'_>, own: &Container) -> Option<PodContainer> {
    let gates = in_own_pod(context, own);
    if context.project.spec.layout == Layout::SinglePod || gates.is_empty() {
        return None;
    }
    let mut container = agent::own(context, "wait", &["wait", "--termination-message", agent::TERMINATION_MESSAGE]);
    let command = container.command.get_or_insert_default();
    command.push(format!("--timeout={GATE_SECONDS}"));
    command.extend(gates.into_iter().map(|gate| format!("--for={gate}")));
    Some(container)
}

/// Flags of a shim that waits.
pub(super) fn of_the_shim(context: &Context<'_>, own: &Container) -> Vec<String> {
    if context.project.spec.layout == Layout::PodPerContainer {
        return Vec::new();
    }
    let mut flags: Vec<String> =
        in_one_pod(context, own).into_iter().map(|gate| format!("--wait-for={gate}")).collect();
    if !flags.is_empty() {
        flags.push(format!("--wait-timeout={GATE_SECONDS}"));
    }
    if is_waited_for(context, own) {
        flags.push(format!("--started-file={}", started_file(own)));
    }
    flags
}

/// The command that waits and becomes `command`, for a container without a shim.
pub(super) fn before(gates: Vec<String>, program: &str, command: Vec<String>) -> Vec<String> {
    let mut all = words(&[program, "wait"]);
    all.push(format!("--timeout={GATE_SECONDS}"));
    all.extend(gates.into_iter().map(|gate| format!("--for={gate}")));
    all.push("--".to_owned());
    all.extend(command);
    all
}
