//! What a pod's object says, in our words. Pure.

pub(crate) mod apart;

use std::net::{IpAddr, SocketAddr};

use k8s_openapi::{
    api::core::v1::{ContainerState, ContainerStateTerminated, ContainerStatus, Pod},
    jiff::Timestamp,
};
use kube::ResourceExt as _;
use remora_control_plane_project::Tree;
use remora_control_plane_runtime::{
    Committed, Termination,
    pods::{Ending, Hydrated, Made, Serving},
};
use remora_proto_model::{
    Fault, Generation, Reason,
    project::{PodState, ProjectSpec},
};

use crate::{
    defaults::AGENT_PORT,
    limits::{RESTORE_REST, SILENCE},
    manifests,
};

/// The container of the agent.
const AGENT: &str = "agent";
/// The container that restores the workspace.
const HYDRATE: &str = "hydrate";

/// The container that waits for others.
const WAIT: &str = "wait";

/// Longest text of a kubelet that is passed on, in characters.
const SHOWN: usize = 300;

/// What a role of the agent said when it ended.
fn said(ended: &ContainerStateTerminated) -> Option<Termination> {
    Termination::of(ended.message.as_deref()?.as_bytes())
}

/// The snapshot that it names; one that cannot be compared with the store is none.
fn snapshot(said: &Termination) -> Option<Committed> {
    said.committed().ok().flatten()
}

/// The generation of a pod of ours.
pub(crate) fn generation(pod: &Pod) -> Option<Generation> {
    pod.labels().get(manifests::GENERATION)?.parse().ok().map(Generation)
}

/// Whether it is on its way out, by whoever's will.
pub(crate) fn ending(pod: &Pod) -> bool {
    pod.metadata.deletion_timestamp.is_some() || terminal(pod)
}

fn terminal(pod: &Pod) -> bool {
    matches!(pod.status.as_ref().and_then(|status| status.phase.as_deref()), Some("Succeeded" | "Failed"))
}

/// Whether nothing of it runs any more, as its kubelet says; a pod that no
/// kubelet ever had never ran.
pub(crate) fn ended(pod: &Pod) -> bool {
    let assigned = pod.spec.as_ref().is_some_and(|spec| spec.node_name.is_some());
    let runs = |status: &ContainerStatus| status.state.as_ref().is_some_and(|state| state.running.is_some());
    let never_ran = !statuses(pod).any(|status| status.container_id.is_some());
    terminal(pod) || (ending(pod) && (!assigned || (!never_ran && !statuses(pod).any(runs) && told_end(pod))))
}

/// Whether nobody waits for it any more: it has [`ended`], or is [`lost`].
pub(crate) fn over(pod: &Pod, now: Timestamp) -> bool {
    ended(pod) || lost(pod, now)
}

/// Whether its node is lost, and all that it wrote with it: the cluster took the pod from
/// there for that (kube-controller-manager, taint-eviction-controller; KEP-3329 names the
/// condition), and the time that a kubelet had to end it is over without a word.
///
/// What runs there may run on. The next generation keeps it from the store, but nothing
/// keeps it from a volume claim: a pod that has one is waited for until its end is known.
pub(crate) fn lost(pod: &Pod, now: Timestamp) -> bool {
    let conditions = pod.status.as_ref().and_then(|status| status.conditions.as_ref()).into_iter().flatten();
    let taken = conditions.into_iter().any(|condition| {
        condition.type_ == "DisruptionTarget"
            && condition.status == "True"
            && condition.reason.as_deref() == Some("DeletionByTaintManager")
    });
    // The time of a deletion is the one at which its grace is over.
    let silent = pod.metadata.deletion_timestamp.as_ref().is_some_and(|end| now.duration_since(end.0) > SILENCE);
    let volumes = pod.spec.as_ref().and_then(|spec| spec.volumes.as_ref()).into_iter().flatten();
    let claims =
        volumes.into_iter().any(|volume| volume.persistent_volume_claim.is_some() || volume.ephemeral.is_some());
    taken && silent && !claims && !ended(pod)
}

/// Whether its agent's end was reported, where it had begun.
fn told_end(pod: &Pod) -> bool {
    agent(pod).is_none_or(|status| status.container_id.is_none() || terminated(status).is_some())
}

fn statuses(pod: &Pod) -> impl Iterator<Item = &ContainerStatus> {
    let status = pod.status.as_ref();
    let all = |list: fn(&k8s_openapi::api::core::v1::PodStatus) -> Option<&Vec<ContainerStatus>>| {
        status.and_then(list).into_iter().flatten()
    };
    all(|status| status.init_container_statuses.as_ref()).chain(all(|status| status.container_statuses.as_ref()))
}

fn named<'a>(pod: &'a Pod, name: &str) -> Option<&'a ContainerStatus> {
    statuses(pod).find(|status| status.name == name)
}

fn agent(pod: &Pod) -> Option<&ContainerStatus> {
    named(pod, AGENT)
}

fn terminated(status: &ContainerStatus) -> Option<&ContainerStateTerminated> {
    status.state.as_ref()?.terminated.as_ref()
}

/// Where its agent serves, while that runs.
pub(crate) fn serving(pod: &Pod) -> Option<Serving> {
    let status = agent(pod)?;
    status.state.as_ref()?.running.as_ref()?;
    let ip: IpAddr = pod.status.as_ref()?.pod_ip.as_deref()?.parse().ok()?;
    Some(Serving {
        address: SocketAddr::new(ip, u16::try_from(AGENT_PORT).ok()?),
        incarnation: format!("{} {}", pod.uid()?, status.container_id.as_deref()?),
    })
}

/// What it was made of.
pub(crate) fn made(pod: &Pod) -> Option<Made> {
    serde_json::from_str(pod.annotations().get(manifests::MADE)?).ok()
}

/// Names of the project's containers that run, how often each was started, and which
/// are not ready: they have not begun, or their probe is not good.
pub(crate) fn containers(pod: &Pod) -> (Vec<String>, Vec<(String, u32)>, Vec<String>) {
    let all = pod.status.as_ref().and_then(|status| status.container_statuses.as_ref());
    let all = || all.into_iter().flatten();
    let runs = |status: &&ContainerStatus| status.state.as_ref().is_some_and(|state| state.running.is_some());
    let starts = |status: &ContainerStatus| {
        let again = u32::try_from(status.restart_count).unwrap_or_default();
        again.saturating_add(u32::from(status.container_id.is_some()))
    };
    (
        all().filter(runs).map(|status| status.name.clone()).collect(),
        all().map(|status| (status.name.clone(), starts(status))).collect(),
        all().filter(|status| !status.ready).map(|status| status.name.clone()).collect(),
    )
}

/// As a project's status shows it.
pub(crate) fn state(pod: &Pod) -> PodState {
    let status = pod.status.as_ref();
    let conditions = status.and_then(|status| status.conditions.as_ref()).into_iter().flatten();
    PodState {
        name: pod.name_any(),
        uid: pod.uid().unwrap_or_default(),
        container: None,
        ip: status.and_then(|status| status.pod_ip.clone()).unwrap_or_default(),
        ready: conditions.into_iter().any(|condition| condition.type_ == "Ready" && condition.status == "True"),
        owns_snapshots: true,
    }
}

/// How its restore ended, where it ended well.
pub(crate) fn hydrated(pod: &Pod) -> Option<Hydrated> {
    let ended = terminated(named(pod, HYDRATE)?)?;
    if ended.exit_code != 0 {
        return None;
    }
    Some(Hydrated { snapshot: said(ended).and_then(|said| snapshot(&said)) })
}

/// How a snapshot of a tree at rest ended, once it has.
pub(crate) fn dehydrated(pod: &Pod) -> Option<Result<Option<Committed>, Fault>> {
    let ended = terminated(named(pod, manifests::DEHYDRATE)?)?;
    Some(match said(ended) {
        Some(message) if message.failed() => Err(message.fault("dehydrate")),
        Some(message) if ended.exit_code == 0 => message.committed(),
        _ => Err(Fault::new(Reason::Unavailable, format!("the snapshot ended with exit code {}", ended.exit_code))
            .stage("dehydrate")),
    })
}

/// The last word of its agent; of a pod that is [`lost`] there is none.
pub(crate) fn last_word(pod: &Pod, tree: Tree) -> Ending {
    let ending = Ending { tree, ..Ending::default() };
    let Some(status) = agent(pod).filter(|status| was_whole(pod) && status.container_id.is_some()) else {
        // It never had a whole tree, so it took nothing with it.
        return ending;
    };
    let Some(ended) = terminated(status) else {
        let lost = "its node is lost, and with it what was changed after the last snapshot";
        return Ending { lost: Some(lost.to_owned()), ..ending };
    };
    match said(ended) {
        Some(message) => match snapshot(&message) {
            Some(committed) => Ending { committed: Some(committed), ..ending },
            None if message.failed() => {
                Ending { lost: Some(format!("the last snapshot was not made: {}", message.fault("flush"))), ..ending }
            }
            None => ending,
        },
        None => Ending { lost: Some("the pod ended without a last snapshot".to_owned()), ..ending },
    }
}

/// Whether its restore ended well.
fn was_whole(pod: &Pod) -> bool {
    // A node that was started anew restores once more, over a tree that was whole before.
    let once = named(pod, HYDRATE).and_then(|status| status.last_state.as_ref()?.terminated.as_ref());
    hydrated(pod).is_some() || once.is_some_and(|ended| ended.exit_code == 0)
}

/// What is on a volume after `pods`, all that had it, have ended; `before` was recorded when
/// they began. A restore that they began and did not end leaves nothing of anybody's, and so
/// does a pod that waited for its volume. No pods are no proof: they may have been removed.
pub(crate) fn left_on_volume(before: Tree, pods: &[Pod]) -> Tree {
    let used = |pod: &Pod| was_whole(pod) || agent(pod).is_some_and(|status| status.container_id.is_some());
    if before == Tree::Partial && !pods.is_empty() && !pods.iter().any(used) { Tree::Partial } else { Tree::Kept }
}

/// What keeps a pod of a project with that spec from getting ready.
pub(crate) fn trouble(pod: &Pod, spec: &ProjectSpec) -> Option<Fault> {
    if let Some(failed) = named(pod, HYDRATE).and_then(last_failure) {
        return Some(match said(failed) {
            Some(message) if message.failed() => message.fault("hydrate"),
            _ => Fault::new(Reason::Unavailable, format!("the restore ended with exit code {}", failed.exit_code))
                .stage("hydrate"),
        });
    }
    waited_in_vain(pod).or_else(|| statuses(pod).find_map(stuck)).or_else(|| unscheduled(pod, spec))
}

/// Whom a container waits for that gave up at least once, in the words of the one that waits.
fn waited_in_vain(pod: &Pod) -> Option<Fault> {
    let status = named(pod, WAIT)?;
    let last = status.last_state.as_ref().and_then(|state| state.terminated.as_ref());
    let failed = terminated(status).or(last).filter(|ended| ended.exit_code != 0)?;
    let over = terminated(status).is_some_and(|ended| ended.exit_code == 0);
    said(failed).filter(|message| message.failed() && !over).map(|message| message.fault("wait"))
}

/// Whether a restore that failed is not tried again although it is time to: between
/// two starts of a container a kubelet rests up to five minutes.
pub(crate) fn restore_rests(pod: &Pod, now: Timestamp) -> bool {
    let ended = named(pod, HYDRATE).and_then(last_failure).and_then(|ended| ended.finished_at.as_ref());
    ended.is_some_and(|ended| now.duration_since(ended.0) >= RESTORE_REST)
}

/// How a container that is not running ended last, where that was badly.
fn last_failure(status: &ContainerStatus) -> Option<&ContainerStateTerminated> {
    let failed = |state: &'_ ContainerState| state.terminated.as_ref().is_some_and(|ended| ended.exit_code != 0);
    let state = status.state.as_ref()?;
    if state.running.is_some() || state.terminated.as_ref().is_some_and(|ended| ended.exit_code == 0) {
        return None;
    }
    [Some(state), status.last_state.as_ref()]
        .into_iter()
        .flatten()
        .find(|state| failed(state))
        .and_then(|state| state.terminated.as_ref())
}

fn stuck(status: &ContainerStatus) -> Option<Fault> {
    let waiting = status.state.as_ref()?.waiting.as_ref()?;
    let name = &status.name;
    let said: String = waiting.message.as_deref().unwrap_or_default().chars().take(SHOWN).collect();
    let image = &status.image;
    Some(match waiting.reason.as_deref()? {
        "ErrImagePull"
        | "ImagePullBackOff"
        | "InvalidImageName"
        | "ErrImageNeverPull"
        | "ImageInspectError"
        | "RegistryUnavailable"
        | "SignatureValidationFailed" => {
            Fault::new(Reason::ContainerUnavailable, format!("the image {image} of {name} cannot be pulled: {said}"))
                .hint("see whether the image and its tag exist, and whether the node may pull it")
        }
        "CreateContainerConfigError" | "CreateContainerError" | "RunContainerError" => {
            Fault::new(Reason::ContainerUnavailable, format!("{name} cannot be started: {said}"))
        }
        "CrashLoopBackOff" => {
            let last = last_failure(status);
            let how = last.and_then(|ended| ended.reason.as_deref()).filter(|reason| *reason != "Error");
            let how = how.map_or_else(String::new, |reason| format!(" ({reason})"));
            match last.map_or(0, |ended| ended.exit_code) {
                127 => Fault::new(Reason::ProgramNotFound, format!("the command of {name} does not exist in {image}"))
                    .hint("give a command that the image has"),
                126 => Fault::new(Reason::ProgramNotPermitted, format!("the command of {name} cannot be executed")),
                code => Fault::new(
                    Reason::ContainerUnavailable,
                    format!("{name} ends again and again with exit code {code}{how}"),
                ),
            }
        }
        _ => return None,
    })
}

fn unscheduled(pod: &Pod, spec: &ProjectSpec) -> Option<Fault> {
    let conditions = pod.status.as_ref()?.conditions.as_ref()?;
    let refused = conditions.iter().find(|condition| {
        condition.type_ == "PodScheduled"
            && condition.status == "False"
            && condition.reason.as_deref() == Some("Unschedulable")
    })?;
    let said: String = refused.message.as_deref().unwrap_or_default().chars().take(SHOWN).collect();
    // The scheduler names neither the claim nor its class.
    if said.to_lowercase().contains("persistentvolumeclaim") {
        let volumes = volumes(spec).join(", ");
        let what = format!("the pod waits for what it mounts, which is {volumes}: {said}");
        return Some(Fault::new(Reason::FailedPrecondition, what).hint(
            "see whether that storage class exists and makes volumes with this access mode; `kubectl describe \
             persistentvolumeclaims` in the project's namespace says what it met",
        ));
    }
    Some(Fault::new(Reason::LimitReached, format!("no node takes the pod: {said}")).hint("ask for less, or add a node"))
}

/// The volumes that a project claims, each with its class.
fn volumes(spec: &ProjectSpec) -> Vec<String> {
    let of_class = |what: String, class: &str| match class {
        "" => format!("{what} of the default storage class"),
        class => format!("{what} of storage class {class}"),
    };
    let workspace = spec.workspace.volume.iter().map(|volume| of_class("the workspace".to_owned(), &volume.class));
    let data = spec.containers.iter().filter_map(|container| {
        let storage = container.storage.as_ref()?;
        Some(of_class(format!("the data of {}", container.name), &storage.class))
    });
    workspace.chain(data).collect()
}

#[cfg(test)]
mod tests;
