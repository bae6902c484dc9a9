//! The objects of a project, as files. `REMORA_WRITE_MANIFESTS=1` writes them anew.

#[path = "manifests/isolation.rs"]
mod isolation;
#[path = "manifests/names.rs"]
mod names;
#[path = "manifests/project.rs"]
mod project;
#[path = "manifests/reach.rs"]
mod reach;
#[path = "manifests/restricted.rs"]
mod restricted;
#[path = "manifests/routes.rs"]
mod routes;
#[path = "manifests/shared.rs"]
mod shared;
#[path = "manifests/web_identity.rs"]
mod web_identity;

use std::{collections::BTreeSet, env, fs, path::Path};

use k8s_openapi::api::core::v1::{Container, EnvVar, Pod, PodSpec};
use remora_control_plane_kube::manifests;
use remora_proto_model::project::{ContainerKind, Layout};
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
    text += &manifests::limit_range(&context).iter().map(document).collect::<String>();
    text += &manifests::network_policies(&context).iter().map(document).collect::<String>();
    text += &manifests::store_secret(&context).iter().map(document).collect::<String>();
    text += &document(&manifests::agent_secret(&context, &project::material()));
    text += &manifests::services(&context).iter().map(document).collect::<String>();
    text += &manifests::volume_claim(&context).iter().map(document).collect::<String>();
    text += &manifests::data_claims(&context).iter().map(document).collect::<String>();
    text += &manifests::credentials(&context, || "secret".to_owned()).iter().map(document).collect::<String>();
    if made.project.spec.layout == Layout::SinglePod {
        text += &document(&manifests::pod(&context));
    } else {
        text += &manifests::deployments(&context).iter().map(document).collect::<String>();
    }
    if made.project.spec.workspace.volume.is_some() {
        text += &document(&manifests::at_rest(&context));
    }
    text
}

/// The same, read again.
fn objects(made: &Made) -> Vec<serde_norway::Value> {
    rendered(made).split("---\n").skip(1).map(|document| serde_norway::from_str(document).unwrap()).collect()
}

/// The same as JSON.
fn documents(made: &Made) -> Vec<serde_json::Value> {
    let text = rendered(made);
    text.split("---\n").skip(1).map(|document| serde_norway::from_str(document).unwrap()).collect()
}

/// The specs of all pods, each with a name.
fn pods(made: &Made) -> Vec<(String, PodSpec)> {
    let context = made.context();
    if made.project.spec.layout == Layout::SinglePod {
        return vec![("pod".to_owned(), manifests::pod(&context).spec.unwrap())];
    }
    let deployments = manifests::deployments(&context).into_iter();
    deployments
        .map(|deployment| (deployment.metadata.name.unwrap(), deployment.spec.unwrap().template.spec.unwrap()))
        .collect()
}

fn dedicated() -> [Made; 4] {
    [project::small(), project::full(), project::shop("SinglePod"), project::shop("PodPerContainer")]
}

/// Those that can share a namespace: all but the one with a quota.
fn sharing() -> [Made; 3] {
    [project::small(), project::shop("SinglePod"), project::shop("PodPerContainer")].map(project::shared)
}

fn all() -> impl Iterator<Item = Made> {
    dedicated().into_iter().chain(sharing())
}

/// Compares with the file that somebody looked at, or writes it anew.
fn is_as_looked_at(name: &str, text: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("tests/manifests/{name}.yaml"));
    if env::var_os("REMORA_WRITE_MANIFESTS").is_some_and(|value| value == "1") {
        fs::write(&path, text).unwrap();
    }
    let there = fs::read_to_string(&path).unwrap_or_default();
    assert!(there == text, "{} differs; run this test with REMORA_WRITE_MANIFESTS=1 and look at it", path.display());
}

#[test]
fn objects_are_as_they_were_looked_at() {
    let names = ["small", "full", "shop-one-pod", "shop-pods", "shared-small", "shared-one-pod", "shared-pods"];
    for (name, made) in names.into_iter().zip(all()) {
        is_as_looked_at(name, &rendered(&made));
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
fn a095_pods_hold_to_the_restricted_profile() {
    for made in all() {
        let at_rest = ("at rest".to_owned(), manifests::at_rest(&made.context()).spec.unwrap());
        for (name, pod) in pods(&made).into_iter().chain([at_rest]) {
            assert_eq!(restricted::violations(&pod), [""; 0], "{name}");
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
    let all: Vec<Made> = all().collect();
    for (made, spec) in all.iter().flat_map(|made| pods(made).into_iter().map(move |(_, spec)| (made, spec))) {
        assert_eq!(spec.automount_service_account_token, Some(false));
        for container in &spec.containers {
            let mounts: BTreeSet<_> = container.volume_mounts.iter().flatten().map(|mount| &*mount.name).collect();
            assert!(container.env_from.is_none());
            for variable in container.env.iter().flatten() {
                assert!(!variable.name.starts_with("AWS_"), "{}", variable.name);
                let secret = variable.value_from.as_ref().and_then(|from| from.secret_key_ref.as_ref());
                assert_eq!(variable.value_from.is_some(), secret.is_some(), "{}", variable.name);
                let password = secret.is_none_or(|secret| secret.name.starts_with("credentials-"));
                assert!(password, "{} has another secret than a database's", variable.name);
            }
            let mut all = made.project.spec.containers.iter();
            if all.any(|one| one.name.as_str() == container.name && one.kind == ContainerKind::Service) {
                let own = format!("data-{}", container.name);
                for mount in container.volume_mounts.iter().flatten() {
                    let read_only = mount.read_only == Some(true);
                    // Of the folder of the sockets and their secret, only who has begun.
                    let begun = mount.name == "run" && mount.sub_path.as_deref() == Some("started");
                    let good = mount.name == own || (read_only && (mount.name == "bin" || begun));
                    assert!(good, "{}: {mount:?}", container.name);
                }
                continue;
            }
            assert_eq!(mounts, ["bin", "run", "workspace"].into(), "{}", container.name);
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
    for made in all() {
        let namespace = made.context().place().namespace().to_owned();
        for value in objects(&made) {
            let (metadata, document) = (&value["metadata"], value["kind"].as_str().unwrap());
            let labels = &metadata["labels"];
            let of_all = made.context().place().is_shared() && shared::is_the_namespaces_own(&value);
            let project = (!of_all).then_some(project::ID);
            assert_eq!(labels["remora.dev/project-id"].as_str(), project, "{document}");
            assert_eq!(labels["app.kubernetes.io/managed-by"].as_str(), Some("remora"));
            for (label, wanted) in [
                ("name", Some("remora-project")),
                ("instance", (!of_all).then_some(made.project.name.as_str())),
                ("part-of", Some("remora")),
            ] {
                assert_eq!(labels[format!("app.kubernetes.io/{label}").as_str()].as_str(), wanted, "{document}");
            }
            assert!(labels["app.kubernetes.io/component"].as_str().is_some_and(|text| !text.is_empty()), "{document}");
            let owner = made.project.spec.owner.as_ref().filter(|_| !of_all).map(ToString::to_string);
            assert_eq!(labels["remora.dev/user-id"].as_str(), owner.as_deref(), "{document}");
            // What a Deployment makes is found by the same labels.
            let template = &value["spec"]["template"]["metadata"]["labels"];
            if value["kind"] == "Deployment" {
                assert_eq!(template["remora.dev/project-id"], labels["remora.dev/project-id"], "{document}");
                assert_eq!(template["remora.dev/user-id"], labels["remora.dev/user-id"], "{document}");
            }
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

fn of<'a>(pods: &'a [(String, PodSpec)], name: &str) -> (&'a PodSpec, &'a Container) {
    let found = pods.iter().find_map(|(_, spec)| Some((spec, spec.containers.iter().find(|one| one.name == name)?)));
    found.unwrap_or_else(|| panic!("no pod has {name}"))
}

fn value<'a>(container: &'a Container, name: &str) -> &'a str {
    let all: Vec<&EnvVar> = container.env.iter().flatten().filter(|variable| variable.name == name).collect();
    assert_eq!(all.len(), 1, "{name} of {}", container.name);
    all[0].value.as_deref().unwrap_or_default()
}

/// What the container is told to wait for, wherever that stands.
fn gates(spec: &PodSpec, container: &Container) -> Vec<String> {
    let init = spec.init_containers.iter().flatten().filter(|one| one.name == "wait");
    let words = init.chain([container]).flat_map(|one| one.command.iter().flatten());
    words
        .filter_map(|word| word.strip_prefix("--for=").or(word.strip_prefix("--wait-for=")))
        .map(str::to_owned)
        .collect()
}

/// In one pod containers wait for each other on its loopback; in pods of their own
/// by the names of Services and pods.
#[test]
fn who_depends_on_another_waits_for_it() {
    let pods_of = |layout| pods(&project::shop(layout));
    let one = pods_of("SinglePod");
    let waits = |pods: &[(String, PodSpec)], name: &str| {
        let (spec, container) = of(pods, name);
        gates(spec, container)
    };
    assert_eq!(waits(&one, "web"), ["api=http://127.0.0.1:8080/healthz"]);
    assert_eq!(
        waits(&one, "api"),
        ["db=postgres://127.0.0.1:5432", "cache=redis://127.0.0.1:6379", "tools=file:///run/remora/started/tools"]
    );
    assert_eq!(waits(&one, "worker"), ["db=postgres://127.0.0.1:5432", "api=file:///run/remora/started/api"]);
    assert_eq!(waits(&one, "db"), [""; 0]);
    let worker = of(&one, "worker").1.command.clone().unwrap();
    assert_eq!(worker[worker.len() - 3..], ["--", "/worker", "run"], "{worker:?}");

    // It sees who has begun, and neither the sockets nor their secret.
    let seen = |name: &str| -> Vec<(String, Option<String>)> {
        let mounts = of(&one, name).1.volume_mounts.iter().flatten().filter(|mount| mount.name == "run");
        mounts.map(|mount| (mount.mount_path.clone(), mount.sub_path.clone())).collect()
    };
    assert_eq!(seen("worker"), [("/run/remora/started".to_owned(), Some("started".to_owned()))]);
    assert_eq!((seen("db").len(), seen("cache").len()), (0, 0));

    let five = pods_of("PodPerContainer");
    let namespace = format!("proj-{}", project::ID);
    let pod = |name: &str| format!("{name}.pods.{namespace}.svc");
    let restored = format!("web=http://{}:7071/healthz", pod("web"));
    assert_eq!(waits(&five, "web"), [format!("api=tcp://api.{namespace}.svc:8080")]);
    assert_eq!(
        waits(&five, "api"),
        [
            restored.clone(),
            format!("db=tcp://db.{namespace}.svc:5432"),
            format!("cache=tcp://cache.{namespace}.svc:6379"),
            format!("tools=name://{}", pod("tools")),
        ]
    );
    assert_eq!(waits(&five, "tools"), [restored]);
    assert_eq!(
        waits(&five, "worker"),
        [format!("db=tcp://db.{namespace}.svc:5432"), format!("api=name://{}", pod("api"))]
    );
    assert_eq!(waits(&five, "db"), [""; 0]);
}

/// Of several agents one has the store's credentials and makes the snapshots.
#[test]
fn one_pod_owns_the_snapshots() {
    let made = project::shop("PodPerContainer");
    let owners: Vec<String> = manifests::deployments(&made.context())
        .into_iter()
        .filter_map(|deployment| {
            let template = deployment.spec?.template;
            let finalizers = template.metadata?.finalizers;
            let spec = template.spec?;
            let init: Vec<&Container> = spec.init_containers.iter().flatten().collect();
            let owns = init.iter().any(|one| one.command.iter().flatten().any(|word| word == "--final-snapshot"));
            let sees_the_store =
                init.iter().any(|one| one.env.iter().flatten().any(|it| it.name == "AWS_ACCESS_KEY_ID"));
            assert_eq!((owns, owns), (finalizers.is_some(), sees_the_store));
            let restores = init.iter().any(|one| one.name == "hydrate");
            assert_eq!(owns, restores);
            // Whoever has a whole workspace has seen it restored first.
            let at = |name: &str| init.iter().position(|one| one.name == name);
            if at("agent").is_some() && !owns {
                assert!(at("wait") < at("agent"), "it would make the workspace's folder before the restore does");
            }
            owns.then_some(deployment.metadata.name?)
        })
        .collect();
    assert_eq!(owners, ["web"]);
}

#[test]
fn databases_are_opened_by_their_passwords() {
    for (layout, host) in
        [("SinglePod", "127.0.0.1".to_owned()), ("PodPerContainer", format!("db.proj-{}.svc", project::ID))]
    {
        let pods = pods(&project::shop(layout));
        let api = of(&pods, "api").1;
        let url = format!("postgres://app:$(REMORA_SERVICE_DB_PASSWORD)@{host}:5432/app");
        assert_eq!((value(api, "DATABASE_URL"), value(api, "REMORA_SERVICE_DB_URL")), (&*url, &*url));
        assert_eq!((value(api, "REMORA_SERVICE_DB_HOST"), value(api, "REMORA_SERVICE_DB_PORT")), (&*host, "5432"));
        assert_eq!(value(api, "REDIS_URL"), "redis://elsewhere/$$(0)", "what the spec says is last");
        let before = |name: &str| api.env.iter().flatten().position(|variable| variable.name == name).unwrap();
        assert!(before("REMORA_SERVICE_DB_PASSWORD") < before("DATABASE_URL"), "Kubernetes reads them in this order");
        let worker = of(&pods, "worker").1;
        assert!(worker.env.iter().flatten().all(|variable| variable.value_from.is_none()), "it has no password");
        let user = |name: &str| of(&pods, name).1.security_context.as_ref().unwrap().run_as_user;
        assert_eq!((user("db"), user("cache"), user("worker"), user("api")), (Some(999), Some(101), None, None));
    }
}

/// What is not changed is not restarted: the pod of a container says nothing of what
/// its fellows or another start are, where it need not.
#[test]
fn a_container_is_made_of_its_own_part_of_the_spec() {
    let made = project::shop("PodPerContainer");
    let parts = |made: &Made| {
        let spec = &made.project.spec;
        spec.containers.iter().map(|one| manifests::made_of(spec, made.context().generation, one)).collect::<Vec<_>>()
    };
    let before = parts(&made);
    let mut other = project::shop("PodPerContainer");
    other.project.spec.containers[1].env.insert("A".to_owned(), "b".to_owned());
    let differ: Vec<usize> =
        before.iter().zip(parts(&other)).enumerate().filter(|(_, (a, b))| *a != b).map(|(at, _)| at).collect();
    assert_eq!(differ, [1]);
    let labels = |name: &str| {
        let all = manifests::deployments(&made.context());
        let one = all.into_iter().find(|one| one.metadata.name.as_deref() == Some(name)).unwrap();
        one.spec.unwrap().template.metadata.unwrap().labels.unwrap()
    };
    assert!(labels("api").contains_key("remora.dev/generation"));
    assert!(!labels("db").contains_key("remora.dev/generation"), "a new start would restart the database");
}
