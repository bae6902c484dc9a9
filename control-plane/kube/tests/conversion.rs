//! The custom resource and the project of the model: one form, one way there and back.

use proptest::{collection, option, prelude::*, sample::select};
use remora_control_plane_kube::crd;
use remora_proto_model::{
    Generation,
    project::{
        AccessMode, Amounts, Condition, ConditionType, Container, ContainerKind, ContainerState, Dependency,
        DependencyCondition, Desired, Durability, Endpoint, ExecAction, Exposure, Head, HttpGet, Idle, IdleAction,
        Isolation, Layout, Phase, PodState, Port, Preset, Probe, ProjectSpec, ProjectStatus, Quota, Resources,
        SnapshotPolicy, Source, StartTimings, Storage, TcpSocket, Volume, Workspace,
    },
};
use serde_json::{Map, Value, json};

/// Milliseconds until the end of the year 9999: what a calendar has.
const LAST_MS: u64 = 253_402_207_200_000;

fn amounts() -> impl Strategy<Value = Amounts> {
    let quantity = |texts: &'static [&'static str]| option::of(select(texts).prop_map(|text| text.parse().unwrap()));
    (quantity(&["1", "250m", "0.5"]), quantity(&["1Gi", "1.5G", "1048576"]), quantity(&["10Gi"]))
        .prop_map(|(cpu, memory, ephemeral_storage)| Amounts { cpu, memory, ephemeral_storage })
}

fn container() -> impl Strategy<Value = Container> {
    let image = select(&["node", "r.io/a/b:1", "172.30.77.2:5000/x"][..]).prop_map(|text| text.parse().ok());
    let command = collection::vec("[ -~]{1,9}", 0..3);
    let env = collection::btree_map("[A-Z_]{1,6}", "\\PC{0,8}", 0..3);
    // Requests alone or limits alone: a request above its limit is no spec.
    let resources = (amounts(), any::<bool>()).prop_map(|(amounts, limit)| match limit {
        true => Resources { limits: amounts, ..Resources::default() },
        false => Resources { requests: amounts, ..Resources::default() },
    });
    (image, command, env, "[a-z]{0,5}", resources).prop_map(|(image, command, env, workdir, resources)| Container {
        image,
        command,
        env,
        workdir,
        resources,
        ..Container::named("c".parse().unwrap())
    })
}

fn probe() -> impl Strategy<Value = Probe> {
    (0_u16..3, 1_u32..600, any::<bool>()).prop_map(|(way, seconds, long)| {
        let mut probe = Probe { period_seconds: seconds, ..Probe::default() };
        match (way, long) {
            (0, _) => probe.http_get = Some(HttpGet { path: "/a?b".to_owned(), port: 80 }),
            (1, _) => probe.tcp_socket = Some(TcpSocket { port: 81 }),
            _ => probe.exec = Some(ExecAction { command: vec!["true".to_owned(), "$(x)".to_owned()] }),
        }
        if long {
            (probe.timeout_seconds, probe.failure_threshold, probe.initial_delay_seconds) = (9, 8, 7);
        }
        probe
    })
}

/// A server beside the others: with a preset, or with an image and a volume.
fn service() -> impl Strategy<Value = Container> {
    let preset = option::of(select(&[Preset::Postgres, Preset::Redis][..]));
    (preset, option::of(probe()), option::of(1_u32..100_000)).prop_map(|(preset, probe, user)| Container {
        kind: ContainerKind::Service,
        image: preset.is_none().then(|| "r.io/server:1".parse().unwrap()),
        storage: Some(Storage {
            size: "2Gi".parse().unwrap(),
            class: "fast".to_owned(),
            path: if preset.is_none() { "/data".to_owned() } else { String::new() },
        }),
        args: vec!["--verbose".to_owned()],
        preset,
        probe,
        user,
        ..Container::named("server".parse().unwrap())
    })
}

fn workspace() -> impl Strategy<Value = Workspace> {
    let mode = select(&[AccessMode::ReadWriteOnce, AccessMode::ReadWriteOncePod, AccessMode::ReadWriteMany][..]);
    let volume = option::of((mode, "[a-z]{0,5}").prop_map(|(access_mode, class)| Volume {
        size: "1Gi".parse().unwrap(),
        class,
        access_mode,
    }));
    (volume, any::<bool>()).prop_map(|(volume, limited)| Workspace {
        path: "/srv/app".to_owned(),
        size_limit: (limited && volume.is_none()).then(|| "2Gi".parse().unwrap()),
        volume,
    })
}

fn spec() -> impl Strategy<Value = ProjectSpec> {
    let owner = option::of("[a-z]{1,9}".prop_map(|text| text.parse().unwrap()));
    let desired = select(&[Desired::Running, Desired::Stopped, Desired::Hibernated][..]);
    let source = select(&[Source::Empty, Source::Archive][..]);
    let snapshots = (10_u32..86_400, 1_u32..1_000, 0_u32..1_000, collection::vec("[ -~]{1,9}", 0..3)).prop_map(
        |(interval_seconds, keep_last, keep_hourly, exclude)| SnapshotPolicy {
            interval_seconds,
            keep_last,
            keep_hourly,
            keep_daily: keep_hourly,
            exclude,
        },
    );
    let quota =
        option::of((2_u32..100).prop_map(|pods| Quota { pods: Some(pods), cpu: "4".parse().ok(), ..Quota::default() }));
    let action = select(&[IdleAction::Hibernate, IdleAction::Stop, IdleAction::None][..]);
    let idle =
        option::of((5_u32..2_592_000, action).prop_map(|(after_seconds, action)| Idle { after_seconds, action }));
    let isolation = select(&[Isolation::Dedicated, Isolation::Shared][..]);
    let containers = (collection::vec(container(), 1..4), option::of(service()), option::of(probe()), isolation);
    (owner, "[ -~]{0,9}", desired, containers, workspace(), source, snapshots, (quota, idle)).prop_map(
        |(owner, display_name, desired, containers, workspace, source, snapshots, (quota, idle))| {
            let (mut containers, server, probe, isolation) = containers;
            for (at, container) in containers.iter_mut().enumerate() {
                container.name = format!("c{at}").parse().unwrap();
                let expose = [None, Some(Exposure::Private), Some(Exposure::Public)][at % 3];
                container.ports = vec![Port { expose, ..Port::named("http", 8_000 + u16::try_from(at).unwrap()) }];
            }
            containers[0].probe = probe;
            if let Some(server) = server {
                let condition = DependencyCondition::Started;
                containers[0].depends_on = vec![Dependency { name: server.name.clone(), condition }];
                containers.push(server);
            }
            let shared =
                workspace.volume.as_ref().is_some_and(|volume| volume.access_mode == AccessMode::ReadWriteMany);
            let layout = if shared { Layout::PodPerContainer } else { Layout::SinglePod };
            let isolation = if quota.is_none() { isolation } else { Isolation::Dedicated };
            ProjectSpec {
                owner,
                display_name,
                desired,
                containers,
                layout,
                isolation,
                workspace,
                source,
                snapshots,
                quota,
                idle,
            }
        },
    )
}

fn status() -> impl Strategy<Value = ProjectStatus> {
    let count = || 0..u64::try_from(i64::MAX).unwrap();
    let time = || 0..LAST_MS;
    let condition = (select(ConditionType::ALL), any::<bool>(), "[A-Z_]{0,9}", "\\PC{0,9}", time())
        .prop_map(|(kind, status, reason, message, since_ms)| Condition { kind, status, reason, message, since_ms });
    let head = option::of(("[a-z0-9-]{1,9}", count(), time()).prop_map(|(snapshot, sequence, committed_ms)| Head {
        snapshot,
        sequence,
        committed_ms,
    }));
    let durability =
        (count(), count(), count(), time()).prop_map(|(dirty_files, dirty_bytes, rpo_seconds, measured_ms)| {
            Durability { dirty_files, dirty_bytes, rpo_seconds, measured_ms }
        });
    let state = ("[a-z]{1,9}", any::<bool>(), "\\PC{0,9}", 0_u32..1_000).prop_map(|(name, running, ended, starts)| {
        let (name, waiting) = (name.parse().unwrap(), ended.clone());
        ContainerState { name, running, ended, starts, ready: !running, waiting }
    });
    let pod =
        ("[a-z0-9-]{1,9}", option::of("[a-z]{1,9}"), any::<bool>()).prop_map(|(name, container, ready)| PodState {
            name,
            uid: "u".to_owned(),
            container: container.map(|name| name.parse().unwrap()),
            ip: "10.0.0.1".to_owned(),
            ready,
            owns_snapshots: !ready,
        });
    let endpoint = "[a-z]{1,9}".prop_map(|name| Endpoint {
        container: name.parse().unwrap(),
        port_name: "http".to_owned(),
        url: "http://x".to_owned(),
    });
    let lists = (
        collection::vec(endpoint, 0..3),
        collection::vec(condition, 0..4),
        collection::vec(state, 0..3),
        collection::vec(pod, 0..3),
    );
    (select(Phase::ALL), count(), head, durability, time(), count(), lists).prop_map(
        |(phase, generation, head, durability, last_activity_ms, ready_ms, lists)| {
            let (endpoints, conditions, containers, pods) = lists;
            ProjectStatus {
                phase,
                generation: Generation(generation),
                endpoints,
                head,
                durability,
                last_activity_ms,
                timings: StartTimings { ready_ms, ..StartTimings::default() },
                conditions,
                containers,
                namespace: "proj-x".to_owned(),
                pods,
            }
        },
    )
}

/// The resource as the API server gives it back.
fn stored(spec: crd::ProjectSpec, status: Option<crd::ProjectStatus>) -> crd::Project {
    let object = json!({
        "apiVersion": "remora.dev/v1alpha1", "kind": "Project", "spec": spec, "status": status,
        "metadata": {
            "name": "shop", "uid": "3f0c9a52-8d1b-4a77-9a0e-6b1d6c1f2e44", "resourceVersion": "417",
            "creationTimestamp": "2026-11-25T20:00:00Z",
        },
    });
    serde_json::from_value(object).unwrap()
}

proptest! {
    #[test]
    fn a_project_goes_there_and_back_whole(spec in spec(), status in status()) {
        spec.validate().unwrap();
        let resource = stored(crd::spec(&spec).unwrap(), Some(crd::status(&status).unwrap()));
        let project = crd::project(&resource).unwrap();
        prop_assert_eq!(&project.spec, &spec);
        prop_assert_eq!(&project.status, &status);
        prop_assert_eq!((project.name.as_str(), project.resource_version), ("shop", 417));
        prop_assert_eq!(project.created_ms, 1_795_636_800_000);
        // The spec of the resource is, word for word, the JSON form of the project.
        let again = crd::spec(&project.spec).unwrap();
        prop_assert_eq!(again, resource.spec);
    }
}

#[test]
fn a_new_resource_is_a_project_that_waits() {
    let spec = ProjectSpec {
        containers: vec![Container { image: "node".parse().ok(), ..Container::named("dev".parse().unwrap()) }],
        ..ProjectSpec::default()
    };
    let project = crd::project(&stored(crd::spec(&spec).unwrap(), None)).unwrap();
    assert_eq!((project.status, project.spec), (ProjectStatus::default(), spec.clone()));

    let bare = ProjectSpec { containers: vec![Container::named("dev".parse().unwrap())], ..spec };
    let fault = crd::spec(&bare).unwrap_err();
    assert_eq!(fault.message, "containers.image: of dev is missing");
}

/// What a newer control plane wrote is read as far as it means something here.
#[test]
fn words_of_a_newer_version_do_not_make_a_list_unreadable() {
    let resource: crd::Project = serde_json::from_value(json!({
        "apiVersion": "remora.dev/v1alpha1", "kind": "Project", "metadata": {"name": "shop"},
        "spec": {"containers": [{"name": "a", "image": "x"}], "newer": 1},
        "status": {"phase": "Dreaming", "newer": [], "conditions": [
            {"type": "Dreams", "status": "True", "reason": "X", "lastTransitionTime": "2026-11-25T20:00:00Z"},
            {"type": "Ready", "status": "Unknown", "reason": "AsExpected", "lastTransitionTime": "2026-11-25T20:00:00Z"},
        ]},
    }))
    .unwrap();
    let status = crd::project_status(&resource.status.unwrap()).unwrap();
    assert_eq!(status.phase, Phase::Degraded);
    assert_eq!(status.conditions.len(), 1);
    assert_eq!((status.conditions[0].kind, status.conditions[0].status), (ConditionType::Ready, false));
}

/// What the API server refuses (`projects.yaml`), the strict types refuse too, and
/// what it takes, they take: the two say the same of each spec in the table.
#[test]
fn the_table_of_specs_holds_for_the_strict_types() {
    let table: Value = serde_norway::from_str(include_str!("projects.yaml")).unwrap();
    let with = |spec: &Value| {
        let mut object: Map<String, Value> = Map::new();
        object.insert("containers".to_owned(), json!([{"name": "dev", "image": "node"}]));
        object.extend(spec.as_object().unwrap().clone());
        serde_json::from_value::<crd::ProjectSpec>(Value::Object(object))
    };
    for good in table["good"].as_array().unwrap() {
        let spec = with(&good["spec"]).unwrap();
        crd::spec_of(&spec).unwrap_or_else(|fault| panic!("{good}: {fault}"));
    }
    let mut refused = 0;
    for bad in table["bad"].as_array().unwrap() {
        // A field that is missing altogether is not even read.
        let Some(field) = bad["model"].as_str() else { continue };
        let fault = crd::spec_of(&with(&bad["spec"]).unwrap()).expect_err(field);
        let named = fault.message.strip_prefix("spec.").unwrap_or(&fault.message);
        assert!(named.starts_with(field), "{bad}: {fault}");
        refused += 1;
    }
    assert!(refused > 40, "the table was not read: {refused}");
    for strict in table["strict"].as_array().unwrap() {
        let fault = crd::spec_of(&with(&strict["spec"]).unwrap()).unwrap_err();
        assert!(fault.message.starts_with(strict["model"].as_str().unwrap()), "{strict}: {fault}");
        assert!(fault.message.contains(strict["says"].as_str().unwrap()), "{strict}: {fault}");
    }
}
