//! The containers of the agent's image: they alone see the credentials.

use k8s_openapi::{
    api::core::v1::{
        Container, ContainerPort, ExecAction, HTTPGetAction, Lifecycle, LifecycleHandler, Probe, ResourceRequirements,
        VolumeMount,
    },
    apimachinery::pkg::{api::resource::Quantity, util::intstr::IntOrString},
};
use remora_control_plane_runtime::lineage_prefix;
use remora_proto_model::project as model;

use super::{
    BIN, DEHYDRATE, IDENTITY, PROGRAM, RUN, SHIM_SECRET, TREE, VOLUME, container::socket, credentials, mount,
    mount_read_only, security, words,
};
use crate::{
    defaults::{AGENT_CPU_REQUEST, AGENT_MEMORY_LIMIT, AGENT_MEMORY_REQUEST, AGENT_METRICS_PORT, AGENT_PORT},
    manifests::{Context, text::verbatim, volume::WORKSPACE},
};

/// The program in its own image.
const IN_IMAGE: &str = "/remora-agent";
/// Where a container's last words are read by the kubelet.
pub(super) const TERMINATION_MESSAGE: &str = "/dev/termination-log";

/// Puts the program and the shims' secret where the other containers find them.
pub(super) fn install(context: &Context<'_>) -> Container {
    Container {
        volume_mounts: Some(vec![mount("bin", BIN), mount("run", RUN)]),
        ..own(context, "install", &["install", "--to", PROGRAM, "--secret-file", SHIM_SECRET])
    }
}

/// Makes the workspace what its newest snapshot says, before anything runs in it.
pub(super) fn hydrate(context: &Context<'_>) -> Container {
    let mut container = own(context, "hydrate", &["hydrate", "--termination-message", TERMINATION_MESSAGE]);
    let command = container.command.get_or_insert_default();
    command.extend(workspace_and_store(context));
    if let Some(object) = context.source {
        command.extend(["--seed-object".to_owned(), verbatim(object)]);
    }
    Container { env: Some(credentials::variables(context)), volume_mounts: Some(tree_at_rest(context)), ..container }
}

/// Makes a snapshot of a tree that nothing runs in.
pub(super) fn dehydrate(context: &Context<'_>) -> Container {
    let mut container = own(context, DEHYDRATE, &["dehydrate", "--termination-message", TERMINATION_MESSAGE]);
    container.command.get_or_insert_default().extend(workspace_and_store(context));
    Container { env: Some(credentials::variables(context)), volume_mounts: Some(tree_at_rest(context)), ..container }
}

/// What a role sees that works on a tree in which nothing runs.
fn tree_at_rest(context: &Context<'_>) -> Vec<VolumeMount> {
    // The identity for the key of what is encrypted.
    let mut mounts = vec![mount(WORKSPACE, VOLUME), mount("tmp", "/tmp"), mount_read_only("agent", IDENTITY)];
    mounts.extend(credentials::mount(context));
    mounts
}

/// Serves, and makes the last snapshot after every other container has ended: it
/// is a native sidecar, which the kubelet ends last.
pub(super) fn serve(context: &Context<'_>, shims: &[&model::Container]) -> Container {
    let settings = context.settings;
    let mut container = serving(context, workspace_and_store(context), shims);
    let command = container.command.get_or_insert_default();
    command.push("--final-snapshot".to_owned());
    command.push(format!("--flush-budget={}", settings.flush_seconds));
    command.push(format!("--termination-message={TERMINATION_MESSAGE}"));
    let others = &context.project.spec.containers;
    if shims.len() < others.len() && context.project.spec.layout == model::Layout::SinglePod {
        // Their images end as they please, and with the pod's time this agent's is over.
        command.push("--stop-with-shims".to_owned());
    }
    let mut mounts =
        vec![mount(WORKSPACE, VOLUME), mount("run", RUN), mount("tmp", "/tmp"), mount_read_only("agent", IDENTITY)];
    mounts.extend(credentials::mount(context));
    Container {
        env: Some(credentials::variables(context)),
        lifecycle: Some(Lifecycle {
            // Copies ahead while the other containers end. The promise does not rest on it.
            pre_stop: Some(LifecycleHandler {
                exec: Some(ExecAction { command: Some(words(&[IN_IMAGE, "precopy"])) }),
                ..LifecycleHandler::default()
            }),
            ..Lifecycle::default()
        }),
        volume_mounts: Some(mounts),
        ..container
    }
}

/// Serves a container whose fellow makes the snapshots: terminals, commands and files,
/// and neither the store's credentials nor what is known of the workspace.
pub(super) fn serve_beside(context: &Context<'_>, shims: &[&model::Container]) -> Container {
    let flags = vec![
        format!("--project={}", context.project.id),
        format!("--generation={}", context.generation),
        format!("--workspace={VOLUME}/{TREE}"),
    ];
    Container {
        volume_mounts: Some(vec![
            VolumeMount { sub_path: Some(TREE.to_owned()), ..mount(WORKSPACE, &format!("{VOLUME}/{TREE}")) },
            mount("run", RUN),
            mount("tmp", "/tmp"),
            mount_read_only("agent", IDENTITY),
        ]),
        ..serving(context, flags, shims)
    }
}

/// What both of these have, beside `flags`.
fn serving(context: &Context<'_>, flags: Vec<String>, shims: &[&model::Container]) -> Container {
    let settings = context.settings;
    let mut container = own(context, "agent", &["serve"]);
    let command = container.command.get_or_insert_default();
    command.extend(flags);
    command.extend(words(&["--shim-secret-file", SHIM_SECRET]));
    command.push(format!("--listen=0.0.0.0:{AGENT_PORT}"));
    command.push(format!("--metrics-listen=0.0.0.0:{AGENT_METRICS_PORT}"));
    for container in shims {
        command.push(format!("--shim={}={}", container.name, socket(&container.name)));
    }
    command.extend(shims.iter().flat_map(|container| &container.ports).map(|port| format!("--port={}", port.port)));
    for (flag, file) in [
        ("--tls-cert", "agent.crt"),
        ("--tls-key", "agent.key"),
        ("--client-ca", "ca.crt"),
        ("--token-key", "token.pub"),
    ] {
        command.push(format!("{flag}={IDENTITY}/{file}"));
    }
    command.push(format!("--client-san={}", settings.client_san));
    let port = |name: &str, number| ContainerPort {
        name: Some(name.to_owned()),
        container_port: number,
        protocol: Some("TCP".to_owned()),
        ..ContainerPort::default()
    };
    Container {
        restart_policy: Some("Always".to_owned()),
        ports: Some(vec![port("agent", AGENT_PORT), port("metrics", AGENT_METRICS_PORT)]),
        // Others start once it serves; that they answer is asked of it after that.
        startup_probe: Some(probe("/healthz", 1, 120)),
        liveness_probe: Some(probe("/healthz", 10, 6)),
        readiness_probe: Some(probe("/readyz", 2, 3)),
        ..container
    }
}

/// A container of our image that runs `role`.
pub(super) fn own(context: &Context<'_>, name: &str, role: &[&str]) -> Container {
    let amount = |name: &str, text: &str| (name.to_owned(), Quantity(text.to_owned()));
    let mut command = words(&[IN_IMAGE]);
    command.extend(words(role));
    Container {
        name: name.to_owned(),
        image: Some(context.settings.agent_image.clone()),
        command: Some(command),
        resources: Some(ResourceRequirements {
            requests: Some([amount("cpu", AGENT_CPU_REQUEST), amount("memory", AGENT_MEMORY_REQUEST)].into()),
            limits: Some([amount("memory", AGENT_MEMORY_LIMIT)].into()),
            ..ResourceRequirements::default()
        }),
        security_context: Some(security::own()),
        termination_message_path: Some(TERMINATION_MESSAGE.to_owned()),
        termination_message_policy: Some("File".to_owned()),
        ..Container::default()
    }
}

/// What every role is told that works on the workspace.
fn workspace_and_store(context: &Context<'_>) -> Vec<String> {
    let store = &context.settings.store;
    let mut flags = vec![
        format!("--project={}", context.project.id),
        format!("--generation={}", context.generation),
        format!("--workspace={VOLUME}/{TREE}"),
        format!("--state-dir={VOLUME}/state"),
        format!("--s3-bucket={}", verbatim(&store.bucket)),
        format!("--s3-region={}", verbatim(&store.region)),
        format!("--s3-prefix={}", verbatim(&lineage_prefix(&store.prefix, context.project.id))),
    ];
    if let Some(endpoint) = &store.endpoint {
        flags.push(format!("--s3-endpoint={}", verbatim(endpoint)));
    }
    if store.path_style {
        flags.push("--s3-path-style".to_owned());
    }
    if context.settings.encryption_key.is_some() {
        flags.push(format!("--encryption-key-file={IDENTITY}/encryption.key"));
    }
    flags.extend(context.project.spec.snapshots.exclude.iter().map(|line| format!("--exclude={}", verbatim(line))));
    flags
}

fn probe(path: &str, period: i32, failures: i32) -> Probe {
    Probe {
        http_get: Some(HTTPGetAction {
            path: Some(path.to_owned()),
            port: IntOrString::Int(AGENT_METRICS_PORT),
            ..HTTPGetAction::default()
        }),
        period_seconds: Some(period),
        timeout_seconds: Some(5),
        failure_threshold: Some(failures),
        ..Probe::default()
    }
}
