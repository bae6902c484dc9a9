//! What is there of a project that has a pod for each container, from its
//! Deployments and pods. Pure.

use k8s_openapi::api::{apps::v1::Deployment, core::v1::Pod};
use kube::ResourceExt as _;
use remora_control_plane_runtime::{
    pods::{Look, Made},
    records::Record,
};
use remora_proto_model::{
    Fault, Generation, Reason,
    project::{Container, PodState, ProjectSpec},
};
use serde::Deserialize;

use super::{containers, ended, ending, generation, hydrated, serving, state, trouble};
use crate::manifests;

/// What a Deployment says of what it was made of.
#[derive(Deserialize)]
struct MadeOf {
    container: Container,
    #[serde(default)]
    exclude: Option<Vec<String>>,
}

/// The container that a Deployment or a pod is for.
pub(crate) fn container(labels: &std::collections::BTreeMap<String, String>) -> Option<&str> {
    labels.get(manifests::CONTAINER).map(String::as_str)
}

/// Whether its pod is wanted.
pub(crate) fn is_up(deployment: &Deployment) -> bool {
    deployment.spec.as_ref().is_some_and(|spec| spec.replicas.unwrap_or(1) > 0)
}

/// The container whose agent makes the snapshots.
pub(crate) fn owner(spec: &ProjectSpec) -> Option<&str> {
    spec.dev_containers().next().map(|container| container.name.as_str())
}

/// Whether its pod is the one that it describes now, and not that of before a change.
fn is_rolled_out(deployment: &Deployment) -> bool {
    let Some(status) = &deployment.status else { return false };
    status.observed_generation >= deployment.metadata.generation
        && (status.replicas, status.updated_replicas) == (Some(1), Some(1))
}

fn made_text(deployment: &Deployment) -> Option<&String> {
    deployment.annotations().get(manifests::MADE)
}

/// Whether a Deployment is there, wanted, and of this text.
pub(crate) fn is_current(deployment: Option<&Deployment>, made: &str) -> bool {
    deployment.is_some_and(|there| is_up(there) && made_text(there).is_some_and(|text| text == made))
}

/// Whether a pod is no part of what runs: of no container, of another generation, or the
/// remains of one whose agent's last word is still to be read.
pub(crate) fn is_stray(pod: &Pod, present: Generation) -> bool {
    let held = pod.finalizers().iter().any(|name| name == manifests::FINAL_SNAPSHOT);
    let of_nobody = container(pod.labels()).is_none();
    of_nobody || generation(pod).is_some_and(|of| of != present) || (ending(pod) && held)
}

/// Looks at all of it.
pub(crate) fn look(record: &Record, deployments: &[Deployment], pods: &[Pod]) -> Look {
    let spec = &record.project.spec;
    let present = record.project.status.generation;
    let find = |name: &str| deployments.iter().find(|there| container(there.labels()) == Some(name));
    let wanted = |name: &str| spec.containers.iter().any(|container| container.name.as_str() == name);
    let behind =
        spec.containers.iter().any(|one| !is_current(find(one.name.as_str()), &manifests::made_of(spec, present, one)))
            || deployments.iter().any(|there| !container(there.labels()).is_some_and(wanted));
    let alive = |pod: &&Pod| !is_stray(pod, present) && !ended(pod);
    let up = deployments.iter().filter(|there| is_up(there)).count();
    let running = if up > 0 { up } else { pods.iter().filter(alive).count() };
    let mut look = Look {
        strays: pods.iter().any(|pod| is_stray(pod, present)),
        running,
        behind: up > 0 && behind,
        made: made(spec, deployments),
        pods: pods.iter().map(|pod| shown(spec, pod)).collect(),
        ..Look::default()
    };
    for pod in pods.iter().filter(|pod| !is_stray(pod, present) && !ending(pod)) {
        let (running, starts, unready) = containers(pod);
        look.containers.extend(running);
        look.starts.extend(starts);
        look.unready.extend(unready);
        if look.trouble.is_none() {
            look.trouble = trouble(pod, spec);
        }
        if container(pod.labels()) == owner(spec) {
            look.serving = serving(pod);
            look.hydrated = hydrated(pod);
        }
    }
    // What is on its way is no more to be counted on than what is ill.
    for there in deployments.iter().filter(|there| is_up(there)) {
        let Some(name) = container(there.labels()).filter(|name| wanted(name)) else { continue };
        let is = |names: &[String]| names.iter().any(|one| one == name);
        let counted_on = is_rolled_out(there) && is(&look.containers);
        if !counted_on && !is(&look.unready) {
            look.unready.push(name.to_owned());
        }
    }
    if look.trouble.is_none() {
        look.trouble = deployments.iter().filter(|there| is_up(there)).find_map(refused);
    }
    look
}

/// What runs is made of: in the order of the spec, and after that what is no part of it any more.
fn made(spec: &ProjectSpec, deployments: &[Deployment]) -> Option<Made> {
    let read = |there: &Deployment| serde_json::from_str::<MadeOf>(made_text(there)?).ok();
    let mut parts: Vec<MadeOf> = deployments.iter().filter(|there| is_up(there)).filter_map(read).collect();
    let place = |part: &MadeOf| spec.containers.iter().position(|one| one.name == part.container.name);
    parts.sort_by_key(|part| place(part).unwrap_or(usize::MAX));
    if parts.is_empty() {
        return None;
    }
    let exclude = parts.iter_mut().find_map(|part| part.exclude.take()).unwrap_or_default();
    Some(Made { containers: parts.into_iter().map(|part| part.container).collect(), exclude })
}

fn shown(spec: &ProjectSpec, pod: &Pod) -> PodState {
    let of = container(pod.labels());
    PodState {
        container: of.and_then(|name| name.parse().ok()),
        owns_snapshots: of.is_some() && of == owner(spec),
        ..state(pod)
    }
}

/// Why a Deployment has no pod, where the cluster takes none.
fn refused(deployment: &Deployment) -> Option<Fault> {
    let conditions = deployment.status.as_ref()?.conditions.as_ref()?;
    let refused = conditions.iter().find(|one| one.type_ == "ReplicaFailure" && one.status == "True")?;
    let said: String = refused.message.as_deref().unwrap_or_default().chars().take(super::SHOWN).collect();
    let name = deployment.name_any();
    Some(
        Fault::new(Reason::LimitReached, format!("the cluster takes no pod of {name}: {said}"))
            .hint("ask for less, or raise the project's quota"),
    )
}

#[cfg(test)]
mod tests {
    use k8s_openapi::api::apps::v1::Deployment;
    use remora_proto_model::project::{Project, ProjectStatus};

    use super::*;

    fn record() -> Record {
        let spec: ProjectSpec = serde_json::from_value(serde_json::json!({
            "layout": "PodPerContainer",
            "containers": [
                {"name": "web", "image": "node"}, {"name": "db", "kind": "Service", "preset": "Postgres"},
            ],
        }))
        .unwrap();
        Record::new(Project {
            id: "3f0c9a52-8d1b-4a77-9a0e-6b1d6c1f2e44".parse().unwrap(),
            name: "shop".parse().unwrap(),
            resource_version: 1,
            created_ms: 1,
            spec,
            status: ProjectStatus { generation: Generation(3), ..ProjectStatus::default() },
        })
    }

    fn deployment(record: &Record, name: &str, replicas: i32) -> Deployment {
        let spec = &record.project.spec;
        let one = spec.containers.iter().find(|one| one.name.as_str() == name).unwrap();
        let made = manifests::made_of(spec, record.project.status.generation, one);
        serde_json::from_value(serde_json::json!({
            "metadata": {
                "name": name, "generation": 2,
                "labels": {"remora.dev/container": name}, "annotations": {"remora.dev/spec": made},
            },
            "spec": {"replicas": replicas, "selector": {}, "template": {}},
            "status": {"observedGeneration": 2, "replicas": replicas, "updatedReplicas": replicas},
        }))
        .unwrap()
    }

    fn pod(name: &str, generation: Option<u64>, ready: bool, deleted: bool) -> Pod {
        let mut labels = serde_json::json!({"remora.dev/container": name});
        if let Some(generation) = generation {
            labels["remora.dev/generation"] = generation.to_string().into();
        }
        let runs = serde_json::json!({"running": {"startedAt": "2026-11-25T20:00:00Z"}});
        let container = |name: &str, ready: bool| {
            serde_json::json!({
                "name": name, "image": "a", "imageID": "", "ready": ready, "restartCount": 0, "containerID": "c://1", "state": runs,
            })
        };
        let mut metadata = serde_json::json!({"name": format!("{name}-abc-x"), "uid": "u", "labels": labels});
        if generation.is_some() && name == "web" {
            metadata["finalizers"] = serde_json::json!(["remora.dev/final-snapshot"]);
        }
        if deleted {
            metadata["deletionTimestamp"] = "2026-11-25T20:00:00Z".into();
        }
        serde_json::from_value(serde_json::json!({
            "metadata": metadata,
            "spec": {"nodeName": "node-1", "containers": []},
            "status": {
                "phase": "Running", "podIP": "10.0.0.7", "containerStatuses": [container(name, ready)],
                "initContainerStatuses": if name == "web" { vec![container("agent", true)] } else { vec![] },
            },
        }))
        .unwrap()
    }

    #[test]
    fn all_pods_make_one_project() {
        let record = record();
        let deployments = [deployment(&record, "db", 1), deployment(&record, "web", 1)];
        let pods = [pod("db", None, false, false), pod("web", Some(3), true, false)];
        let look = look(&record, &deployments, &pods);
        assert_eq!((look.running, look.strays, look.behind), (2, false, false));
        assert_eq!(look.serving.unwrap().address.to_string(), "10.0.0.7:7070");
        assert_eq!(look.unready, ["db"], "its probe is not good yet");
        assert_eq!(look.made.unwrap().containers, record.project.spec.containers);
        let owns: Vec<_> =
            look.pods.iter().map(|pod| (pod.container.as_ref().unwrap().as_str(), pod.owns_snapshots)).collect();
        assert_eq!(owns, [("db", false), ("web", true)]);
    }

    #[test]
    fn who_is_on_its_way_is_not_counted_on() {
        let record = record();
        let pods = [pod("db", None, true, false), pod("web", Some(3), true, false)];
        let unready = |deployments: &[Deployment], pods: &[Pod]| look(&record, deployments, pods).unready;
        let mut deployments = [deployment(&record, "db", 1), deployment(&record, "web", 1)];
        assert_eq!(unready(&deployments, &pods), [""; 0]);
        assert_eq!(unready(&deployments, &pods[1..]), ["db"], "it has no pod yet");
        assert_eq!(unready(&deployments, &[pod("db", None, true, true), pods[1].clone()]), ["db"], "the old one ends");
        // The pod of before a change runs until the cluster has taken the change.
        deployments[0].metadata.generation = Some(3);
        assert_eq!(unready(&deployments, &pods), ["db"]);
    }

    #[test]
    fn what_is_not_of_the_spec_is_behind() {
        let mut record = record();
        let deployments = [deployment(&record, "db", 1), deployment(&record, "web", 1)];
        let pods = [pod("db", None, true, false), pod("web", Some(3), true, false)];
        record.project.spec.containers[0].env.insert("A".to_owned(), "b".to_owned());
        assert!(look(&record, &deployments, &pods).behind, "a container changed");
        record.project.spec.containers.truncate(1);
        record.project.spec.containers[0].env.clear();
        assert!(look(&record, &deployments, &pods).behind, "one was removed");
        assert!(!look(&record, &deployments[1..], &pods[1..]).behind);
        assert!(look(&record, &deployments[..1], &pods[..1]).behind, "the one that there is, is not there");
    }

    #[test]
    fn at_rest_nothing_runs_and_what_an_end_left_is_a_stray() {
        let record = record();
        let at_rest = [deployment(&record, "db", 0), deployment(&record, "web", 0)];
        let none = look(&record, &at_rest, &[]);
        assert_eq!((none.running, none.strays, none.behind, none.made), (0, false, false, None));
        let ends = look(&record, &at_rest, &[pod("db", None, true, true)]);
        assert_eq!((ends.running, ends.strays), (1, false), "a database that ends is still there");
        let remains = look(&record, &at_rest, &[pod("web", Some(3), true, true)]);
        assert!(remains.strays, "its agent's last word is not read");
        let old = look(&record, &at_rest, &[pod("web", Some(2), true, false)]);
        assert!(old.strays);
    }

    #[test]
    fn a_pod_that_the_cluster_refuses_is_told() {
        let record = record();
        let mut web = deployment(&record, "web", 1);
        web.status = serde_json::from_value(serde_json::json!({"conditions": [{
            "type": "ReplicaFailure", "status": "True", "reason": "FailedCreate", "message": "exceeded quota: project",
        }]}))
        .unwrap();
        let trouble = look(&record, &[web], &[]).trouble.unwrap();
        assert_eq!(trouble.reason, Reason::LimitReached);
        assert!(trouble.message.contains("exceeded quota"), "{trouble}");
    }
}
