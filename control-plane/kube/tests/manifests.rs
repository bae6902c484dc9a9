//! The objects of a project, as files. `REMORA_WRITE_MANIFESTS=1` writes them anew.

#[path = "manifests/project.rs"]
mod project;
#[path = "manifests/restricted.rs"]
mod restricted;
#[path = "manifests/web_identity.rs"]
mod web_identity;

use std::{collections::BTreeSet, env, fs, path::Path};

use k8s_openapi::api::core::v1::{Container, Pod};
use remora_control_plane_kube::manifests;
use serde::Serialize;

use crate::project::Made;

/// One document of a file, with its type as an API server wants it.
fn document<K: k8s_openapi::Resource + Serialize>(object: &K) -> String {
    let mut value = serde_norway::to_value(object).unwrap();
    let mapping = value.as_mapping_mut().unwrap();
    mapping.insert("apiVersion".into(), K::API_VERSION.into());
    mapping.insert("kind".into(), K::KIND.into());
    format!("---\n{}", serde_norway::to_string(&value).unwrap())
}

fn rendered(made: &Made) -> String {
    let context = made.context();
    let mut text = document(&manifests::namespace(&context));
    text += &document(&manifests::role_binding(&context));
    text += &document(&manifests::service_account(&context));
    text += &manifests::resource_quota(&context).iter().map(document).collect::<String>();
    text += &document(&manifests::limit_range(&context));
    text += &manifests::network_policies(&context).iter().map(document).collect::<String>();
    text += &manifests::store_secret(&context).iter().map(document).collect::<String>();
    text += &document(&manifests::agent_secret(&context, &project::material()));
    text += &manifests::services(&context).iter().map(document).collect::<String>();
    text += &manifests::volume_claim(&context).iter().map(document).collect::<String>();
    text += &document(&manifests::pod(&context));
    if made.project.spec.workspace.volume.is_some() {
        text += &document(&manifests::at_rest(&context));
    }
    text
}

#[test]
fn objects_are_as_they_were_looked_at() {
    for (name, made) in [("small", project::small()), ("full", project::full())] {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("tests/manifests/{name}.yaml"));
        let text = rendered(&made);
        if env::var_os("REMORA_WRITE_MANIFESTS").is_some_and(|value| value == "1") {
            fs::write(&path, &text).unwrap();
        }
        let there = fs::read_to_string(&path).unwrap_or_default();
        assert!(
            there == text,
            "{} differs; run this test with REMORA_WRITE_MANIFESTS=1 and look at it",
            path.display()
        );
    }
}

fn containers(pod: &Pod) -> Vec<Container> {
    let spec = pod.spec.as_ref().unwrap();
    spec.init_containers.iter().flatten().chain(&spec.containers).cloned().collect()
}

fn named(pod: &Pod, name: &str) -> Container {
    containers(pod).into_iter().find(|container| container.name == name).unwrap()
}

#[test]
fn pods_hold_to_the_restricted_profile() {
    for made in [project::small(), project::full()] {
        for pod in [manifests::pod(&made.context()), manifests::at_rest(&made.context())] {
            assert_eq!(restricted::violations(pod.spec.as_ref().unwrap()), [""; 0]);
        }
    }
}

/// The checker itself: each rule sees its violation.
#[test]
fn the_check_of_the_profile_sees_violations() {
    let pod = || manifests::pod(&project::full().context());
    type Change = fn(&mut Pod);
    let changes: [(&str, Change); 6] = [
        ("hostNetwork", |pod| pod.spec.as_mut().unwrap().host_network = Some(true)),
        ("runAsNonRoot", |pod| pod.spec.as_mut().unwrap().security_context = None),
        ("seccompProfile", |pod| {
            pod.spec.as_mut().unwrap().security_context.as_mut().unwrap().seccomp_profile = None;
        }),
        ("capabilities", |pod| {
            let container = &mut pod.spec.as_mut().unwrap().containers[0];
            container.security_context.as_mut().unwrap().capabilities = None;
        }),
        ("allowPrivilegeEscalation", |pod| {
            let container = &mut pod.spec.as_mut().unwrap().init_containers.as_mut().unwrap()[2];
            container.security_context.as_mut().unwrap().allow_privilege_escalation = None;
        }),
        ("volume", |pod| {
            let volume = &mut pod.spec.as_mut().unwrap().volumes.as_mut().unwrap()[0];
            volume.empty_dir = None;
            volume.persistent_volume_claim = None;
            volume.host_path = Some(Default::default());
        }),
    ];
    for (rule, change) in changes {
        let mut pod = pod();
        change(&mut pod);
        let violations = restricted::violations(pod.spec.as_ref().unwrap());
        assert!(violations.iter().any(|violation| violation.contains(rule)), "{rule}: {violations:?}");
    }
}

/// What must not leak is where the project's own code is not.
#[test]
fn credentials_are_the_agents_alone() {
    for made in [project::small(), project::full()] {
        let pod = manifests::pod(&made.context());
        let spec = pod.spec.as_ref().unwrap();
        assert_eq!(spec.automount_service_account_token, Some(false));
        for container in &spec.containers {
            let mounts: BTreeSet<_> = container.volume_mounts.iter().flatten().map(|mount| &*mount.name).collect();
            assert_eq!(mounts, ["bin", "run", "workspace"].into(), "{}", container.name);
            assert!(container.env_from.is_none());
            for variable in container.env.iter().flatten() {
                assert!(variable.value_from.is_none() && !variable.name.starts_with("AWS_"), "{}", variable.name);
            }
            let bin = container.volume_mounts.iter().flatten().find(|mount| mount.name == "bin").unwrap();
            assert_eq!(bin.read_only, Some(true));
            let workspace = container.volume_mounts.iter().flatten().find(|mount| mount.name == "workspace").unwrap();
            assert_eq!(workspace.sub_path.as_deref(), Some("tree"), "what the agent knows is not in sight");
        }
    }
}

/// The shim, not the project's code, decides how long a stop takes.
#[test]
fn the_last_snapshot_has_its_time() {
    let mut made = project::small();
    let grace = |made: &Made| {
        let pod = manifests::pod(&made.context());
        let command = named(&pod, "dev").command.unwrap();
        let stop = command.iter().find_map(|word| word.strip_prefix("--stop-grace=")).unwrap().to_owned();
        (pod.spec.unwrap().termination_grace_period_seconds.unwrap(), stop.parse::<i64>().unwrap())
    };
    assert_eq!(grace(&made), (60, 25));
    made.settings.grace_seconds = 20;
    assert_eq!(grace(&made), (20, 1), "an agent that needs longer than there is gets what there is");
}

#[test]
fn text_of_people_is_passed_on_as_it_is() {
    let made = project::full();
    let web = named(&manifests::pod(&made.context()), "web");
    let command = web.command.unwrap();
    let own = command.iter().position(|word| word == "--").unwrap() + 1;
    assert_eq!(command[own..], ["sh", "-c", "echo $$HOME $$(PATH) $$$$; exec \"$$@\""]);
    let variables = web.env.unwrap();
    let price = variables.iter().find(|variable| variable.name == "PRICE").unwrap();
    assert_eq!(price.value.as_deref(), Some("5$$ $$(PORT)"));
}

#[test]
fn every_object_is_labelled_and_in_the_projects_namespace() {
    for made in [project::small(), project::full()] {
        let text = rendered(&made);
        for document in text.split("---\n").skip(1) {
            let value: serde_norway::Value = serde_norway::from_str(document).unwrap();
            let metadata = &value["metadata"];
            let labels = &metadata["labels"];
            assert_eq!(labels["remora.dev/project-id"].as_str(), Some(project::ID), "{document}");
            assert_eq!(labels["app.kubernetes.io/managed-by"].as_str(), Some("remora"));
            let namespace = format!("proj-{}", project::ID);
            let place = if value["kind"] == "Namespace" { &metadata["name"] } else { &metadata["namespace"] };
            assert_eq!(place.as_str(), Some(namespace.as_str()), "{document}");
        }
    }
}

#[test]
fn requests_never_exceed_limits() {
    let mut made = project::small();
    let amounts = |made: &Made| {
        let resources = named(&manifests::pod(&made.context()), "dev").resources.unwrap();
        let of = |amounts: &std::collections::BTreeMap<_, k8s_openapi::apimachinery::pkg::api::resource::Quantity>| {
            amounts
                .iter()
                .map(|(name, amount): (&String, _)| format!("{name}={}", amount.0))
                .collect::<Vec<_>>()
                .join(",")
        };
        (of(&resources.requests.unwrap()), of(&resources.limits.unwrap()))
    };
    let pair = |requests: &str, limits: &str| (requests.to_owned(), limits.to_owned());
    assert_eq!(amounts(&made), pair("cpu=100m,memory=128Mi", "memory=4Gi"));
    made.project.spec.containers[0].resources.requests.memory = "8Gi".parse().ok();
    assert_eq!(amounts(&made), pair("cpu=100m,memory=8Gi", "memory=8Gi"));
    let limits = &mut made.project.spec.containers[0].resources.limits;
    (limits.cpu, limits.memory) = ("50m".parse().ok(), "16Gi".parse().ok());
    assert_eq!(amounts(&made), pair("cpu=50m,memory=8Gi", "cpu=50m,memory=16Gi"));
}
