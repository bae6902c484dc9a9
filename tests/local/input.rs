//! Bad input: each field of each call of the control plane, on both surfaces.
//! The error names the field, and nothing is changed.

use remora_proto::{
    control::v1::{
        Amounts, BeginSourceUploadRequest, CompleteSourceUploadRequest, Container, ContainerKind, ContainerList,
        CreateKeyRequest, CreateProjectRequest, DeleteProjectRequest, Dependency, GetProjectRequest,
        HibernateProjectRequest, Idle, Isolation, ListProjectsRequest, MakeLinkRequest, MintTokenRequest,
        PatchProjectRequest, Port, Preset, Probe, ProjectSpec, PutSourceHead, PutSourceRequest, Quota, Resources,
        RestoreProjectRequest, RevokeKeyRequest, Role, SnapshotPolicy, StartProjectRequest, StopProjectRequest,
        Storage, WakeProjectRequest, WatchProjectsRequest, Workspace, put_source_request::Part,
    },
    fault::from_status,
    model::{Effect, Reason},
};
use remora_tests::server::ServerProcess;
use serde_json::{Value, json};
use tonic::Status;

use crate::auth::waiting_spec;

/// Everything that a refused call could have changed.
async fn everything(server: &ServerProcess) -> (Value, Vec<Value>) {
    let keys = server.rest("GET", "/api/v1/keys", None).await.json();
    let names = keys["keys"].as_array().unwrap().iter().map(|key| key["id"].clone()).collect();
    let mut projects = server.rest("GET", "/api/v1/projects", None).await.json();
    for project in projects["projects"].as_array_mut().unwrap() {
        // The status moves by itself.
        let members = project.as_object_mut().unwrap();
        members.remove("status");
        members.remove("resourceVersion");
    }
    (projects, names)
}

fn refused<T: std::fmt::Debug>(field: &str, outcome: Result<T, Status>) {
    let fault = from_status(&outcome.expect_err(field));
    assert_eq!((fault.reason, fault.effect), (Reason::InvalidArgument, Effect::NotApplied), "{field}: {fault}");
    assert!(fault.message.starts_with(&format!("{field}:")), "{field}: {fault}");
}

fn missing<T: std::fmt::Debug>(outcome: Result<T, Status>) {
    let fault = from_status(&outcome.unwrap_err());
    assert_eq!((fault.reason, fault.effect), (Reason::NotFound, Effect::NotApplied), "{fault}");
    assert!(fault.message.contains("../x") && !fault.hint.is_empty(), "{fault}");
}

fn spec_with(change: impl FnOnce(&mut ProjectSpec)) -> Option<ProjectSpec> {
    let mut spec = waiting_spec();
    change(&mut spec);
    Some(spec)
}

fn container_with(change: impl FnOnce(&mut Container)) -> Option<ProjectSpec> {
    spec_with(|spec| change(&mut spec.containers[0]))
}

/// With a Service container, which no local server takes, whatever else is wrong.
fn with_service(change: impl FnOnce(&mut Container)) -> Option<ProjectSpec> {
    let mut service = Container { kind: ContainerKind::Service.into(), image: "redis".to_owned(), ..named("server") };
    change(&mut service);
    spec_with(|spec| spec.containers.push(service))
}

fn waits_for(names: &[&str]) -> Vec<Dependency> {
    names.iter().map(|name| Dependency { name: (*name).to_owned(), condition: 0 }).collect()
}

fn storage(size: &str, path: &str) -> Option<Storage> {
    Some(Storage { size: size.to_owned(), class: String::new(), path: path.to_owned() })
}

fn policy(change: impl FnOnce(&mut SnapshotPolicy)) -> Option<SnapshotPolicy> {
    let mut policy = SnapshotPolicy::default();
    change(&mut policy);
    Some(policy)
}

fn named(name: &str) -> Container {
    Container { name: name.to_owned(), ..Container::default() }
}

fn variables(count: usize) -> std::collections::HashMap<String, String> {
    (0..count).map(|at| (format!("V{at}"), String::new())).collect()
}

/// Each bad spec with the field that it is wrong in.
fn bad_specs() -> Vec<(&'static str, Option<ProjectSpec>)> {
    let port = |name: &str, port| Port { name: name.to_owned(), port, expose: 0 };
    let words = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect();
    vec![
        ("spec", None),
        ("displayName", spec_with(|spec| spec.display_name = "x".repeat(257))),
        ("displayName", spec_with(|spec| spec.display_name = "a\nb".to_owned())),
        ("desired", spec_with(|spec| spec.desired = 99)),
        ("containers", spec_with(|spec| spec.containers.clear())),
        ("containers.name", container_with(|container| container.name = "../x".to_owned())),
        ("containers.name", spec_with(|spec| spec.containers = vec![spec.containers[0].clone(); 2])),
        ("containers.command", container_with(|container| container.command = words(&[""]))),
        ("containers.command", container_with(|container| container.command = words(&["a\0"]))),
        ("env", container_with(|container| container.env = [("1".to_owned(), String::new())].into())),
        ("containers.env", container_with(|container| container.env = [("A".to_owned(), "\0".to_owned())].into())),
        ("containers.ports.name", container_with(|container| container.ports = vec![port("A", 1)])),
        ("containers.ports.port", container_with(|container| container.ports = vec![port("a", 0)])),
        ("containers.ports.port", container_with(|container| container.ports = vec![port("a", 65_536)])),
        ("containers.ports", container_with(|container| container.ports = vec![port("a", 1), port("b", 1)])),
        ("containers.workdir", container_with(|container| container.workdir = "../x".to_owned())),
        ("snapshots.intervalSeconds", spec_with(|spec| spec.snapshots = policy(|p| p.interval_seconds = 9))),
        ("idle.afterSeconds", spec_with(|spec| spec.idle = Some(Idle { after_seconds: 4, action: 1 }))),
        ("idle.afterSeconds", spec_with(|spec| spec.idle = Some(Idle { after_seconds: 2_592_001, action: 1 }))),
        ("idle.action", spec_with(|spec| spec.idle = Some(Idle { after_seconds: 5, action: 9 }))),
        ("snapshots.keepLast", spec_with(|spec| spec.snapshots = policy(|p| p.keep_last = 1_001))),
        ("snapshots.keepHourly", spec_with(|spec| spec.snapshots = policy(|p| p.keep_hourly = 1_001))),
        ("snapshots.keepDaily", spec_with(|spec| spec.snapshots = policy(|p| p.keep_daily = 1_001))),
        ("snapshots.exclude", spec_with(|spec| spec.snapshots = policy(|p| p.exclude = vec![String::new()]))),
        ("snapshots.exclude", spec_with(|spec| spec.snapshots = policy(|p| p.exclude = vec!["a\nb".to_owned()]))),
        ("snapshots.exclude", spec_with(|spec| spec.snapshots = policy(|p| p.exclude = vec!["x".repeat(257)]))),
        ("snapshots.exclude", spec_with(|spec| spec.snapshots = policy(|p| p.exclude = vec!["x".to_owned(); 65]))),
        ("containers", spec_with(|spec| spec.containers = (0..17).map(|at| named(&format!("c{at}"))).collect())),
        ("containers.name", container_with(|container| container.name = "a".repeat(41))),
        ("containers.command", container_with(|container| container.command = vec!["a".to_owned(); 1_025])),
        ("containers.command", container_with(|container| container.command = vec!["a".repeat(32 * 1024 + 1)])),
        ("containers.env", container_with(|container| container.env = variables(257))),
        (
            "containers.env",
            container_with(|container| container.env = [("A".to_owned(), "x".repeat(32 * 1024 + 1))].into()),
        ),
        ("env", container_with(|container| container.env = [("REMORA_A".to_owned(), String::new())].into())),
        ("env", container_with(|container| container.env = [("A=B".to_owned(), String::new())].into())),
        ("env", container_with(|container| container.env = [(String::new(), String::new())].into())),
        ("env", container_with(|container| container.env = [("A".repeat(257), String::new())].into())),
        (
            "containers.ports",
            container_with(|container| container.ports = (1..18).map(|at| port(&format!("p{at}"), at)).collect()),
        ),
        ("containers.ports.name", container_with(|container| container.ports = vec![port("a", 1), port("a", 2)])),
        ("containers.ports.name", container_with(|container| container.ports = vec![port("", 1)])),
        ("containers.ports.name", container_with(|container| container.ports = vec![port(&"a".repeat(16), 1)])),
        (
            "containers.ports",
            spec_with(|spec| {
                spec.containers.push(named("other"));
                spec.containers.iter_mut().for_each(|container| container.ports = vec![port("a", 1)]);
            }),
        ),
        ("containers.workdir", container_with(|container| container.workdir = "/x".to_owned())),
        ("containers.workdir", container_with(|container| container.workdir = "a\0".to_owned())),
        ("containers.workdir", container_with(|container| container.workdir = "x".repeat(4_096))),
        ("containers.image", container_with(|container| container.image = "a b".to_owned())),
        (
            "containers.resources.limits.memory",
            container_with(|container| {
                let limits = Amounts { memory: "much".to_owned(), ..Amounts::default() };
                container.resources = Some(Resources { requests: None, limits: Some(limits) });
            }),
        ),
        (
            "workspace.path",
            spec_with(|spec| {
                spec.workspace = Some(Workspace { path: "/proc".to_owned(), ..Workspace::default() });
            }),
        ),
        ("containers.kind", container_with(|container| container.kind = 9)),
        ("containers.kind", with_service(|_| ())),
        ("containers.image", with_service(|service| service.image.clear())),
        ("containers.preset", container_with(|container| container.preset = Preset::Redis.into())),
        ("containers.user", container_with(|container| container.user = 5)),
        ("containers.storage.path", with_service(|service| service.storage = storage("1Gi", ""))),
        ("containers.storage.size", with_service(|service| service.storage = storage("0", "/data"))),
        ("containers.args", container_with(|container| container.args = words(&["a"]))),
        ("containers.args", container_with(|container| container.args = vec!["a".to_owned(); 1_025])),
        ("containers.dependsOn", container_with(|container| container.depends_on = waits_for(&["nobody"]))),
        ("containers.dependsOn", container_with(|container| container.depends_on = waits_for(&["dev"]))),
        ("containers.probe", container_with(|container| container.probe = Some(Probe::default()))),
        ("layout", spec_with(|spec| spec.layout = 9)),
        ("isolation", spec_with(|spec| spec.isolation = 9)),
        ("isolation", spec_with(|spec| spec.isolation = Isolation::Shared.into())),
        ("quota.pods", spec_with(|spec| spec.quota = Some(Quota { pods: Some(1), ..Quota::default() }))),
    ]
}

#[tokio::test]
async fn each_bad_field_over_grpc_is_named_and_changes_nothing() {
    let server = ServerProcess::start().await;
    let (mut projects, mut tokens) = (server.projects().await, server.tokens().await);
    let good = CreateProjectRequest { name: "good".to_owned(), spec: Some(waiting_spec()) };
    projects.create(good).await.unwrap();
    let before = everything(&server).await;

    for name in ["", "../x", "A", "-a", "a b", &"a".repeat(41)] {
        let request = CreateProjectRequest { name: name.to_owned(), spec: Some(waiting_spec()) };
        refused("name", projects.create(request).await);
    }
    for (field, spec) in bad_specs() {
        refused(field, projects.create(CreateProjectRequest { name: "bad".to_owned(), spec: spec.clone() }).await);
        let Some(spec) = spec.filter(|_| !["desired", "layout", "isolation"].contains(&field)) else { continue };
        let patch = PatchProjectRequest {
            name: "good".to_owned(),
            resource_version: 0,
            display_name: Some(spec.display_name),
            containers: Some(ContainerList { containers: spec.containers }),
            snapshots: spec.snapshots,
            workspace: spec.workspace,
            quota: spec.quota,
            idle: spec.idle,
        };
        refused(field, projects.patch(patch).await);
    }
    macro_rules! named {
        ($($call:ident $request:ident { $($field:ident: $value:expr),* };)*) => {$(
            let request = |name: &str| $request { name: name.to_owned(), $($field: $value),* };
            refused("name", projects.$call(request("")).await);
            missing(projects.$call(request("../x")).await);
        )*};
    }
    named! {
        get GetProjectRequest {};
        patch PatchProjectRequest {
            resource_version: 0, display_name: None, containers: None, snapshots: None, workspace: None, quota: None,
            idle: None
        };
        delete DeleteProjectRequest { purge: true };
        start StartProjectRequest {};
        stop StopProjectRequest {};
        hibernate HibernateProjectRequest {};
        wake WakeProjectRequest {};
        restore RestoreProjectRequest { snapshot: "x".to_owned() };
    }
    let link = |project: &str| MakeLinkRequest { project: project.to_owned(), ..MakeLinkRequest::default() };
    refused("name", projects.make_link(link("")).await);
    missing(projects.make_link(link("../x")).await);
    missing(projects.watch(WatchProjectsRequest { name: "../x".to_owned() }).await);
    let restore = RestoreProjectRequest { name: "good".to_owned(), snapshot: String::new() };
    refused("snapshot", projects.restore(restore).await);
    let list = |page_size, page_token: &str| ListProjectsRequest { page_size, page_token: page_token.to_owned() };
    refused("pageSize", projects.list(list(1_001, "")).await);
    for token in ["?", "Li4veA", "é"] {
        refused("pageToken", projects.list(list(1, token)).await);
    }

    let text = |text: &str| text.to_owned();
    let part = |part| PutSourceRequest { part };
    let head = |name: &str| part(Some(Part::Head(PutSourceHead { name: name.to_owned(), zstd: false })));
    let data = |bytes: usize| part(Some(Part::Data(vec![0; bytes].into())));
    let mut put = async |messages: Vec<PutSourceRequest>| projects.put_source(tokio_stream::iter(messages)).await;
    refused("head", put(vec![data(1)]).await);
    refused("head", put(Vec::new()).await);
    refused("head", put(vec![head("good"), data(1), head("good")]).await);
    refused("part", put(vec![part(None)]).await);
    refused("end", put(vec![head("good"), data(1), part(Some(Part::End(false)))]).await);
    refused("end", put(vec![head("good"), part(Some(Part::End(true))), data(1)]).await);
    let cut = from_status(&put(vec![head("good"), data(1)]).await.unwrap_err());
    assert_eq!((cut.reason, cut.effect), (Reason::Cancelled, Effect::NotApplied), "{cut}");
    refused("data", put(vec![head("good"), data(1024 * 1024 + 1)]).await);
    refused("name", put(vec![head("")]).await);
    missing(put(vec![head("../x")]).await);

    let upload = |bytes, ttl_seconds| BeginSourceUploadRequest { name: text("good"), bytes, zstd: false, ttl_seconds };
    for bytes in [0, (4 << 30) + 1, u64::MAX] {
        refused("bytes", projects.begin_source_upload(upload(bytes, 0)).await);
    }
    refused("ttlSeconds", projects.begin_source_upload(upload(1, 604_801)).await);
    missing(projects.begin_source_upload(BeginSourceUploadRequest { name: text("../x"), ..upload(1, 0) }).await);
    for name in ["", "x", "../x", "1790000000000-../../x.tar"] {
        let complete = CompleteSourceUploadRequest { name: text("good"), upload: text(name) };
        let fault = from_status(&projects.complete_source_upload(complete).await.unwrap_err());
        assert_eq!((fault.reason, fault.effect), (Reason::NotFound, Effect::NotApplied), "{fault}");
        assert!(fault.message.contains(&format!("upload {name:?}")) && !fault.hint.is_empty(), "{fault}");
    }

    let mint = || MintTokenRequest { project: "good".to_owned(), ..MintTokenRequest::default() };
    refused("project", tokens.mint(MintTokenRequest { project: String::new(), ..mint() }).await);
    missing(tokens.mint(MintTokenRequest { project: text("../x"), ..mint() }).await);
    refused("verbs", tokens.mint(MintTokenRequest { verbs: vec![text("x")], ..mint() }).await);
    refused("pathPrefix", tokens.mint(MintTokenRequest { path_prefix: text("../x"), ..mint() }).await);
    refused("containers", tokens.mint(MintTokenRequest { containers: vec![text("A")], ..mint() }).await);
    refused("ttlSeconds", tokens.mint(MintTokenRequest { ttl_seconds: 30 * 24 * 3_600 + 1, ..mint() }).await);
    refused("subject", tokens.mint(MintTokenRequest { subject: text("a b"), ..mint() }).await);

    let key = || CreateKeyRequest { name: text("k"), role: Role::Viewer.into(), projects: Vec::new() };
    refused("name", tokens.create_key(CreateKeyRequest { name: String::new(), ..key() }).await);
    refused("name", tokens.create_key(CreateKeyRequest { name: "x".repeat(65), ..key() }).await);
    refused("role", tokens.create_key(CreateKeyRequest { role: 0, ..key() }).await);
    refused("role", tokens.create_key(CreateKeyRequest { role: 99, ..key() }).await);
    refused("projects", tokens.create_key(CreateKeyRequest { projects: vec![text("good"); 65], ..key() }).await);
    missing(tokens.create_key(CreateKeyRequest { projects: vec![text("../x")], ..key() }).await);
    let admin = CreateKeyRequest { role: Role::Admin.into(), projects: vec![text("good")], ..key() };
    refused("projects", tokens.create_key(admin).await);
    refused("id", tokens.revoke_key(RevokeKeyRequest { id: text("x") }).await);

    assert_eq!(everything(&server).await, before);
    server.check_log(&[]);
}

#[tokio::test]
async fn each_bad_field_over_rest_is_named_and_changes_nothing() {
    let server = ServerProcess::start().await;
    let good = json!({"name": "good", "spec": {"containers": [{"name": "dev"}], "source": "Archive"}});
    assert_eq!(server.rest("POST", "/api/v1/projects", Some(&good)).await.status, 201);
    let before = everything(&server).await;
    let project = |name: &str, spec: Value| json!({"name": name, "spec": spec});
    let container = |container: Value| json!({"containers": [container]});

    let cases = [
        ("POST", "/projects", "name:", project("../x", container(json!({"name": "dev"})))),
        ("POST", "/projects", "spec.containers[0].name:", project("a", container(json!({"name": "A"})))),
        ("POST", "/projects", "containers:", project("a", json!({"containers": []}))),
        ("POST", "/projects", "spec.desired:", project("a", json!({"containers": [], "desired": "Up"}))),
        (
            "POST",
            "/projects",
            "spec.containers[0].ports[0].port:",
            project("a", container(json!({"name": "a", "ports": [{"name": "h", "port": 70000}]}))),
        ),
        (
            "POST",
            "/projects",
            "snapshots.intervalSeconds:",
            project("a", json!({"containers": [{"name": "a"}], "snapshots": {"intervalSeconds": 1}})),
        ),
        ("PATCH", "/projects/good", "displayName:", json!({"displayName": "a\n"})),
        ("PATCH", "/projects/good", "displayName:", json!({"displayName": 7})),
        ("PATCH", "/projects/good", "resourceVersion:", json!({"resourceVersion": -1})),
        ("PATCH", "/projects/good", "containers:", json!({"containers": []})),
        ("POST", "/projects/good/restore", "snapshot:", json!({"snapshot": ""})),
        ("POST", "/projects/good/tokens", "verbs:", json!({"verbs": ["x"]})),
        ("POST", "/projects/good/tokens", "pathPrefix:", json!({"pathPrefix": "/x"})),
        ("POST", "/projects/good/tokens", "containers:", json!({"containers": ["A"]})),
        ("POST", "/projects/good/tokens", "ttlSeconds:", json!({"ttlSeconds": 2_592_001})),
        ("POST", "/projects/good/tokens", "subject:", json!({"subject": "a b"})),
        ("POST", "/keys", "name:", json!({"name": "", "role": "Viewer"})),
        ("POST", "/keys", "role:", json!({"name": "a", "role": "King"})),
        ("POST", "/keys", "projects:", json!({"name": "a", "role": "Admin", "projects": ["good"]})),
    ];
    for (method, path, field, body) in cases {
        let answer = server.rest(method, &format!("/api/v1{path}"), Some(&body)).await;
        assert_eq!((answer.status.as_u16(), answer.reason().as_str()), (400, "INVALID_ARGUMENT"), "{path} {body}");
        let detail = answer.json()["detail"].as_str().unwrap().to_owned();
        assert!(detail.starts_with(field), "{path} {field}: {detail}");
    }
    // Every field of a spec, as a spec and as a change of one.
    let port = |name: &str, port: u32| json!({"name": name, "port": port});
    let words = |count: usize| vec!["a"; count];
    let many: serde_json::Map<String, Value> = variables(257).into_keys().map(|name| (name, json!(""))).collect();
    for (field, container) in [
        ("containers.command:", json!({"name": "a", "command": [""]})),
        ("containers.command:", json!({"name": "a", "command": ["a\0"]})),
        ("containers.command:", json!({"name": "a", "command": words(1_025)})),
        ("containers.command:", json!({"name": "a", "command": ["a".repeat(32 * 1024 + 1)]})),
        ("containers[0].command:", json!({"name": "a", "command": "npm start"})),
        ("env:", json!({"name": "a", "env": {"1": ""}})),
        ("env:", json!({"name": "a", "env": {"REMORA_A": ""}})),
        ("containers.env:", json!({"name": "a", "env": {"A": "\0"}})),
        ("containers.env:", json!({"name": "a", "env": many})),
        ("containers[0].env", json!({"name": "a", "env": {"A": 1}})),
        ("containers.ports.name:", json!({"name": "a", "ports": [port("A", 1)]})),
        ("containers.ports.name:", json!({"name": "a", "ports": [port("a", 1), port("a", 2)]})),
        ("containers.ports.port:", json!({"name": "a", "ports": [port("a", 0)]})),
        ("containers.ports:", json!({"name": "a", "ports": [port("a", 1), port("b", 1)]})),
        ("containers[0].ports[0]", json!({"name": "a", "ports": [{"name": "a"}]})),
        ("containers.workdir:", json!({"name": "a", "workdir": "../x"})),
        ("containers.workdir:", json!({"name": "a", "workdir": "/x"})),
        ("containers[0].image", json!({"name": "a", "image": "A b"})),
        ("containers[0].resources.limits.memory", json!({"name": "a", "resources": {"limits": {"memory": "much"}}})),
        (
            "containers.resources.requests.cpu:",
            json!({"name": "a", "resources": {"requests": {"cpu": "2"}, "limits": {"cpu": "1"}}}),
        ),
        ("containers[0]", json!({})),
        ("containers[0]", json!("dev")),
    ] {
        for (method, path, body, prefix) in [
            ("POST", "/projects", json!({"name": "bad", "spec": {"containers": [container.clone()]}}), "spec."),
            ("PATCH", "/projects/good", json!({"containers": [container]}), ""),
        ] {
            let answer = server.rest(method, &format!("/api/v1{path}"), Some(&body)).await;
            assert_eq!(
                (answer.status.as_u16(), answer.reason().as_str()),
                (400, "INVALID_ARGUMENT"),
                "{method} {field}"
            );
            let detail = answer.json()["detail"].as_str().unwrap().to_owned();
            assert!(detail.strip_prefix(prefix).unwrap_or(&detail).starts_with(field), "{method} {field}: {detail}");
        }
    }
    for (field, snapshots) in [
        ("snapshots.intervalSeconds:", json!({"intervalSeconds": 9})),
        ("snapshots.intervalSeconds:", json!({"intervalSeconds": 86_401})),
        ("snapshots.keepLast:", json!({"keepLast": 0})),
        ("snapshots.keepHourly:", json!({"keepHourly": 1_001})),
        ("snapshots.keepDaily:", json!({"keepDaily": 1_001})),
        ("snapshots.exclude:", json!({"exclude": [""]})),
        ("snapshots.exclude:", json!({"exclude": ["x".repeat(257)]})),
        ("snapshots.keepLast:", json!({"keepLast": -1})),
        ("snapshots.keepLast:", json!({"keepLast": "ten"})),
    ] {
        let spec = json!({"containers": [{"name": "a"}], "snapshots": snapshots});
        for (method, path, body) in [
            ("POST", "/projects", json!({"name": "bad", "spec": spec})),
            ("PATCH", "/projects/good", json!({"snapshots": snapshots})),
        ] {
            let answer = server.rest(method, &format!("/api/v1{path}"), Some(&body)).await;
            assert_eq!(
                (answer.status.as_u16(), answer.reason().as_str()),
                (400, "INVALID_ARGUMENT"),
                "{method} {field}"
            );
            let detail = answer.json()["detail"].as_str().unwrap().to_owned();
            assert!(detail.trim_start_matches("spec.").starts_with(field), "{method} {field}: {detail}");
        }
    }
    // A field that nobody knows is named, wherever it stands.
    for (method, path, body) in [
        ("POST", "/projects", json!({"name": "a", "spec": {"containers": []}, "nmae": 1})),
        ("POST", "/projects", project("a", json!({"containers": [], "nmae": 1}))),
        ("POST", "/projects", project("a", container(json!({"name": "a", "nmae": 1})))),
        ("PATCH", "/projects/good", json!({"nmae": 1})),
        ("POST", "/projects/good/restore", json!({"snapshot": "x", "nmae": 1})),
        ("POST", "/projects/good/tokens", json!({"nmae": 1})),
        ("POST", "/keys", json!({"name": "a", "role": "Viewer", "nmae": 1})),
    ] {
        let answer = server.rest(method, &format!("/api/v1{path}"), Some(&body)).await;
        assert_eq!(answer.status, 400, "{path} {body}");
        assert!(answer.json()["detail"].as_str().unwrap().contains("nmae"), "{answer:?}");
    }
    for (method, path, named) in [
        ("GET", "/projects?pageSize=1001", "pageSize"),
        ("GET", "/projects?pageSize=x", "pageSize"),
        ("GET", "/projects?pageToken=!", "pageToken"),
        ("GET", "/projects?nmae=1", "nmae"),
        ("GET", "/projects/good?nmae=1", "nmae"),
        ("DELETE", "/projects/good?purge=maybe", "purge"),
        ("POST", "/projects/good/stop?nmae=1", "nmae"),
        ("GET", "/projects/%FF", "path"),
    ] {
        let answer = server.rest(method, &format!("/api/v1{path}"), None).await;
        assert_eq!((answer.status.as_u16(), answer.reason().as_str()), (400, "INVALID_ARGUMENT"), "{path}");
        assert!(answer.json()["detail"].as_str().unwrap().contains(named), "{path}: {answer:?}");
    }
    for (method, path) in [
        ("GET", "/projects/..%2fx"),
        ("PATCH", "/projects/none"),
        ("DELETE", "/projects/none"),
        ("POST", "/projects/none/start"),
        ("POST", "/projects/none/stop"),
        ("POST", "/projects/none/hibernate"),
        ("POST", "/projects/none/wake"),
        ("POST", "/projects/none/restore"),
        ("POST", "/projects/none/tokens"),
        ("GET", "/projects/none/watch"),
        ("DELETE", "/keys/1f5f8f34-7c6c-4f43-8c4e-0a8b8d0b8f55"),
    ] {
        let body = match path.rsplit('/').next().unwrap() {
            "restore" => Some(json!({"snapshot": "x"})),
            "tokens" => Some(json!({})),
            _ if method == "PATCH" => Some(json!({})),
            _ => None,
        };
        let answer = server.rest(method, &format!("/api/v1{path}"), body.as_ref()).await;
        assert_eq!((answer.status.as_u16(), answer.reason().as_str()), (404, "NOT_FOUND"), "{method} {path}");
    }
    let bearer = format!("Bearer {}", server.key);
    for kind in ["text/plain", "", "application/x-www-form-urlencoded"] {
        let headers = [("authorization", bearer.as_str()), ("content-type", kind)];
        for (method, path) in [("POST", "/api/v1/projects"), ("PUT", "/api/v1/projects/good/source")] {
            let answer = server.request(method, path, &headers, "{}").await;
            assert!(
                answer.json()["detail"].as_str().unwrap().starts_with("content-type:"),
                "{path} {kind}: {answer:?}"
            );
        }
    }
    let answer = server.rest("PUT", "/api/v1/projects", None).await;
    assert_eq!((answer.status.as_u16(), answer.reason().as_str()), (405, "UNIMPLEMENTED"));
    assert_eq!(server.rest("GET", "/api/v2/projects", None).await.reason(), "NOT_FOUND");
    assert_eq!(everything(&server).await, before);
    server.check_log(&[]);
}
