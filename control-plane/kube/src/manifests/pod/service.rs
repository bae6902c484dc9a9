//! A Service container: its image as it is, without a shim and without the workspace.

use k8s_openapi::{
    api::core::v1::{
        Container as PodContainer, ContainerPort, ExecAction, HTTPGetAction, PersistentVolumeClaimVolumeSource, Probe,
        SecurityContext, TCPSocketAction, Volume,
    },
    apimachinery::pkg::util::intstr::IntOrString,
};
use remora_proto_model::project::{self as model, Container, ContainerKind, Layout, Preset};

use super::{PROGRAM, container::resources, gates, mount, security, words};
use crate::manifests::{Context, environment, preset, text::verbatim, volume::data_name};

/// The container.
pub(super) fn service(context: &Context<'_>, container: &Container) -> PodContainer {
    let gates = match context.project.spec.layout {
        Layout::SinglePod => gates::in_one_pod(context, container),
        Layout::PodPerContainer => Vec::new(),
    };
    let (command, args) = commands(context, container, gates.clone());
    let mut mounts: Vec<_> =
        preset::data(container).iter().map(|data| mount(&data_name(&container.name), &data.path)).collect();
    mounts.extend(gates::mounts(&gates));
    let ports = container.listens().into_iter().map(|port| ContainerPort {
        container_port: port.port.into(),
        protocol: Some("TCP".to_owned()),
        ..ContainerPort::default()
    });
    PodContainer {
        name: container.name.to_string(),
        image: preset::image(container),
        command,
        args,
        env: Some(environment::variables(context, container)),
        ports: Some(ports.collect()),
        resources: Some(resources(&container.resources)),
        security_context: Some(SecurityContext { run_as_user: preset::user(container), ..security::dev() }),
        readiness_probe: preset::probe(container).as_ref().map(probe),
        volume_mounts: Some(mounts),
        ..PodContainer::default()
    }
}

/// Command and arguments; `None` leaves the image's own.
fn commands(
    context: &Context<'_>,
    container: &Container,
    gates: Vec<String>,
) -> (Option<Vec<String>>, Option<Vec<String>>) {
    let passed_on = |words: &[String]| -> Vec<String> { words.iter().map(|word| verbatim(word)).collect() };
    let given = |words: &[String]| (!words.is_empty()).then(|| passed_on(words));
    let own = given(&container.command).or_else(|| of_preset(container));
    if gates.is_empty() {
        return (own, given(&container.args));
    }
    // What it becomes must be spelled out: another program stands in its place until then.
    let known = context.commands.get(&container.name).map(|command| passed_on(command));
    let command = match (own, known) {
        (Some(own), _) => own.into_iter().chain(passed_on(&container.args)).collect(),
        (None, known) => known.unwrap_or_default(),
    };
    (Some(gates::before(gates, PROGRAM, command)), None)
}

/// What a preset runs, where its image's own command is not enough.
fn of_preset(container: &Container) -> Option<Vec<String>> {
    if container.preset != Some(Preset::Redis) {
        return None;
    }
    let port = preset::port(container)?.to_string();
    let mut command = words(&["redis-server", "--port", &port, "--dir", preset::REDIS_DATA, "--appendonly", "yes"]);
    // Kubernetes puts the password in.
    command.extend(words(&["--requirepass", "$(REDISCLI_AUTH)"]));
    Some(command)
}

/// The volumes of the Service containers among `containers`.
pub(super) fn volumes<'a>(context: &Context<'_>, containers: impl Iterator<Item = &'a Container>) -> Vec<Volume> {
    let services = containers.filter(|container| container.kind == ContainerKind::Service);
    services
        .filter(|container| preset::data(container).is_some())
        .map(|container| {
            let name = data_name(&container.name);
            Volume {
                persistent_volume_claim: Some(PersistentVolumeClaimVolumeSource {
                    claim_name: context.name(&name),
                    ..PersistentVolumeClaimVolumeSource::default()
                }),
                name,
                ..Volume::default()
            }
        })
        .collect()
}

/// A probe as a pod has it.
pub(super) fn probe(probe: &model::Probe) -> Probe {
    let seconds = |seconds: u32| i32::try_from(seconds).ok();
    Probe {
        http_get: probe.http_get.as_ref().map(|get| HTTPGetAction {
            path: Some(get.path.clone()),
            port: IntOrString::Int(get.port.into()),
            ..HTTPGetAction::default()
        }),
        tcp_socket: probe
            .tcp_socket
            .as_ref()
            .map(|socket| TCPSocketAction { port: IntOrString::Int(socket.port.into()), ..TCPSocketAction::default() }),
        // The kubelet puts no variables in here.
        exec: probe.exec.as_ref().map(|exec| ExecAction { command: Some(exec.command.clone()) }),
        initial_delay_seconds: seconds(probe.initial_delay_seconds),
        period_seconds: seconds(probe.period_seconds),
        timeout_seconds: seconds(probe.timeout_seconds),
        failure_threshold: seconds(probe.failure_threshold),
        ..Probe::default()
    }
}
