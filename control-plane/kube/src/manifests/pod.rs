//! The pod of one generation: `install` and `hydrate` run first, the agent rides
//! along as a native sidecar (it ends after the others have), and each Dev container
//! of the project runs under the shim, each Service container as its image has it.
//! Or one pod for each container, where the layout says so.

mod agent;
mod container;
mod credentials;
mod gates;
mod security;
mod service;

use k8s_openapi::api::core::v1::{
    Container as PodContainer, EmptyDirVolumeSource, Pod, PodSpec, SecretVolumeSource, Volume, VolumeMount,
};
use remora_proto_model::project::{Container, ContainerKind, ProjectSpec};

use super::{
    Context,
    context::{PODS, agent_secret_name, pod_name},
    labels::{DEV, GENERATION, REST, metadata},
    namespace::SERVICE_ACCOUNT,
    volume,
};
use crate::defaults::SERVICE_GRACE_SECONDS;

/// Keeps a pod that ended until what its agent said last was read.
pub const FINAL_SNAPSHOT: &str = "remora.dev/final-snapshot";
/// Annotation: what the pod was made of, as JSON.
pub const MADE: &str = "remora.dev/spec";

/// The container of [`at_rest`].
pub const DEHYDRATE: &str = "dehydrate";

/// Where the agent's program is for the other containers.
const PROGRAM: &str = "/opt/remora/bin/remora-agent";
/// Folder of [`PROGRAM`].
const BIN: &str = "/opt/remora/bin";
/// Folder of the sockets of the shims, and of the secret that opens them.
const RUN: &str = "/run/remora";
/// The secret.
const SHIM_SECRET: &str = "/run/remora/shim.secret";
/// Folder of the agent's identity.
const IDENTITY: &str = "/etc/remora";
/// The whole workspace volume, for the agent.
const VOLUME: &str = "/volume";
/// The working tree in that volume: what containers see.
const TREE: &str = "tree";

/// What of a spec a pod is made of: a change of anything else needs no other pod.
pub fn made(spec: &ProjectSpec) -> String {
    let containers: Vec<Container> = spec.containers.iter().map(Container::of_its_pod).collect();
    serde_json::json!({ "containers": containers, "exclude": spec.snapshots.exclude }).to_string()
}

/// The pod.
pub fn pod(context: &Context<'_>) -> Pod {
    let spec = &context.project.spec;
    let mut metadata = metadata(context, &pod_name(context.generation), DEV);
    metadata.labels.get_or_insert_default().insert(GENERATION.to_owned(), context.generation.to_string());
    metadata.finalizers = Some(vec![FINAL_SNAPSHOT.to_owned()]);
    metadata.annotations = Some([(MADE.to_owned(), made(spec))].into());
    let mut volumes = with_workspace(context);
    volumes.extend(credentials::volume(context));
    volumes.extend(service::volumes(context, spec.containers.iter()));
    Pod {
        metadata,
        spec: Some(PodSpec {
            restart_policy: Some("Always".to_owned()),
            termination_grace_period_seconds: i64::try_from(context.settings.grace_seconds).ok(),
            init_containers: Some(vec![
                agent::install(context),
                agent::hydrate(context),
                agent::serve(context, &spec.dev_containers().collect::<Vec<_>>()),
            ]),
            containers: spec.containers.iter().map(|container| of_the_project(context, container)).collect(),
            volumes: Some(volumes),
            ..common(context)
        }),
        ..Pod::default()
    }
}

/// The pod that makes a snapshot of a volume in which nothing runs: what the last
/// pod left there without one. It has no generation among its labels, since it
/// is no start of the project: whoever looks for those takes it for a stray.
pub fn at_rest(context: &Context<'_>) -> Pod {
    let mut volumes = vec![volume::workspace(context), scratch("tmp"), identity(context)];
    volumes.extend(credentials::volume(context));
    Pod {
        metadata: metadata(context, &format!("rest-g{}", context.generation), REST),
        spec: Some(PodSpec {
            restart_policy: Some("Never".to_owned()),
            containers: vec![agent::dehydrate(context)],
            volumes: Some(volumes),
            ..common(context)
        }),
        ..Pod::default()
    }
}

/// The pod of one container that has a pod of its own.
pub(super) fn of_one(context: &Context<'_>, container: &Container) -> PodSpec {
    let owner = context.owner().is_some_and(|owner| owner.name == container.name);
    let wait = gates::init(context, container);
    let (init, volumes, grace) = match container.kind {
        ContainerKind::Service => (
            wait.into_iter().collect(),
            service::volumes(context, [container].into_iter()),
            Some(SERVICE_GRACE_SECONDS),
        ),
        ContainerKind::Dev => {
            let installed = [agent::install(context)].into_iter();
            let mut volumes = with_workspace(context);
            let init = if owner {
                volumes.extend(credentials::volume(context));
                let agent = [agent::hydrate(context), agent::serve(context, &[container])];
                installed.chain(agent).chain(wait).collect()
            } else {
                // Not before the workspace is whole: its folder is made by who restores it.
                installed.chain(wait).chain([agent::serve_beside(context, &[container])]).collect()
            };
            (init, volumes, i64::try_from(context.settings.grace_seconds).ok())
        }
    };
    PodSpec {
        restart_policy: Some("Always".to_owned()),
        hostname: Some(container.name.to_string()),
        subdomain: Some(context.name(PODS)),
        termination_grace_period_seconds: grace,
        init_containers: Some(init).filter(|init: &Vec<_>| !init.is_empty()),
        containers: vec![of_the_project(context, container)],
        volumes: Some(volumes),
        ..common(context)
    }
}

/// What every pod of a project has.
fn common(context: &Context<'_>) -> PodSpec {
    PodSpec {
        service_account_name: Some(context.name(SERVICE_ACCOUNT)),
        automount_service_account_token: Some(false),
        enable_service_links: Some(false),
        security_context: Some(security::pod()),
        ..PodSpec::default()
    }
}

fn of_the_project(context: &Context<'_>, container: &Container) -> PodContainer {
    match container.kind {
        ContainerKind::Dev => container::dev(context, container),
        ContainerKind::Service => service::service(context, container),
    }
}

/// The volumes of a pod that works in the workspace.
fn with_workspace(context: &Context<'_>) -> Vec<Volume> {
    vec![volume::workspace(context), scratch("bin"), scratch("run"), scratch("tmp"), identity(context)]
}

/// A folder that ends with the pod.
fn scratch(name: &str) -> Volume {
    Volume { name: name.to_owned(), empty_dir: Some(EmptyDirVolumeSource::default()), ..Volume::default() }
}

fn identity(context: &Context<'_>) -> Volume {
    Volume {
        name: "agent".to_owned(),
        secret: Some(SecretVolumeSource {
            secret_name: Some(context.name(&agent_secret_name(context.generation))),
            // The group is the pod's; nobody else reads the key.
            default_mode: Some(0o440),
            ..SecretVolumeSource::default()
        }),
        ..Volume::default()
    }
}

fn mount(volume: &str, at: &str) -> VolumeMount {
    VolumeMount { name: volume.to_owned(), mount_path: at.to_owned(), ..VolumeMount::default() }
}

fn mount_read_only(volume: &str, at: &str) -> VolumeMount {
    VolumeMount { read_only: Some(true), ..mount(volume, at) }
}

fn words(words: &[&str]) -> Vec<String> {
    words.iter().map(|word| (*word).to_owned()).collect()
}
