//! Containers added, changed and removed, over REST, gRPC and the command line.

use remora_proto::{
    control::v1::{
        AddContainerRequest, Container, DeleteContainerRequest, Dependency, PatchContainerRequest, Phase, TakesEffect,
    },
    fault::from_status,
    model::{Effect, Generation, Reason},
};
use remora_tests::server::ServerProcess;
use serde_json::{Value, json};

use crate::running::{generation, get, reach_where, run, workspace};

const CONTAINERS: &str = "/api/v1/projects/shop/containers";

fn names(project: &Value) -> Vec<&str> {
    project["spec"]["containers"].as_array().unwrap().iter().map(|one| one["name"].as_str().unwrap()).collect()
}

/// A change ends all containers after a snapshot, and starts them anew as another
/// generation: what they had written is there, and the answer said so.
#[tokio::test(flavor = "multi_thread")]
async fn a_change_goes_through_a_snapshot_and_another_generation() {
    let server = ServerProcess::start().await;
    let first = run(&server, "shop").await;
    std::fs::write(workspace(&server, &first).join("kept"), "work").unwrap();

    let api = json!({"name": "api", "command": ["sh", "-c", "echo $A >api; exec sleep 100000"], "env": {"A": "1"}});
    let added = server.rest("POST", CONTAINERS, Some(&api)).await;
    assert_eq!(added.status.as_u16(), 201, "{:?}", added.json());
    assert_eq!(added.json()["takesEffect"], "NewGeneration");
    assert_eq!(names(&added.json()["project"]), ["dev", "api"]);
    let second = reach_where(&server, "shop", |project| {
        generation(project) == Generation(2) && project.status.as_ref().unwrap().phase() == Phase::Ready
    })
    .await;
    let status = second.status.as_ref().unwrap();
    assert!(status.head.as_ref().is_some_and(|head| head.sequence > 0), "{status:?}");
    assert!(status.containers.iter().any(|one| one.name == "api" && one.running), "{status:?}");
    let current = status.conditions.iter().find(|one| one.r#type == "SpecCurrent").unwrap();
    assert!(current.status, "{current:?}");
    assert_eq!(std::fs::read_to_string(workspace(&server, &second).join("kept")).unwrap(), "work");

    // The same again is no change, and ends nothing.
    let again = server.rest("POST", CONTAINERS, Some(&api)).await;
    assert_eq!((again.status.as_u16(), &again.json()["takesEffect"]), (200, &json!("Unchanged")));
    let other = json!({"name": "api", "command": ["true"]});
    let taken = server.rest("POST", CONTAINERS, Some(&other)).await;
    assert_eq!((taken.status.as_u16(), taken.reason().as_str()), (409, "ALREADY_EXISTS"));

    let path = format!("{CONTAINERS}/api");
    let changed = server.rest("PATCH", &path, Some(&json!({"env": {"A": "2", "B": "3"}}))).await;
    assert_eq!((changed.status.as_u16(), &changed.json()["takesEffect"]), (200, &json!("NewGeneration")));
    let third = reach_where(&server, "shop", |project| {
        generation(project) == Generation(3) && project.status.as_ref().unwrap().phase() == Phase::Ready
    })
    .await;
    remora_tests::eventually::eventually(|| {
        (std::fs::read_to_string(workspace(&server, &third).join("api")).ok()? == "2\n").then_some(())
    })
    .await;
    let same = server.rest("PATCH", &path, Some(&json!({"env": {"B": "3"}}))).await;
    assert_eq!(same.json()["takesEffect"], "Unchanged");

    let removed = server.rest("DELETE", &path, None).await;
    assert_eq!((removed.status.as_u16(), &removed.json()["takesEffect"]), (200, &json!("NewGeneration")));
    let fourth = reach_where(&server, "shop", |project| {
        generation(project) == Generation(4) && project.status.as_ref().unwrap().phase() == Phase::Ready
    })
    .await;
    assert_eq!(fourth.status.unwrap().containers.len(), 1);
    let gone = server.rest("DELETE", &path, None).await;
    assert_eq!((gone.status.as_u16(), gone.reason().as_str()), (404, "NOT_FOUND"));
}

/// A server that is killed in the middle goes on with it.
#[tokio::test(flavor = "multi_thread")]
async fn a_killed_server_goes_on_with_the_change() {
    let mut server = ServerProcess::start().await;
    run(&server, "shop").await;
    let api = json!({"name": "api", "command": ["sleep", "100000"]});
    let added = server.rest("POST", CONTAINERS, Some(&api)).await;
    assert_eq!(added.json()["takesEffect"], "NewGeneration");
    server.kill().await;
    server.restart().await;
    let second = reach_where(&server, "shop", |project| {
        generation(project) > Generation(1) && project.status.as_ref().unwrap().phase() == Phase::Ready
    })
    .await;
    assert!(second.status.unwrap().containers.iter().any(|one| one.name == "api" && one.running));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_does_not_fit_is_refused_and_changes_nothing() {
    let server = ServerProcess::start().await;
    let before = run(&server, "shop").await;
    let mut projects = server.projects().await;
    let container = |name: &str| Some(Container { name: name.to_owned(), ..Container::default() });
    let stopped = remora_proto::control::v1::StopProjectRequest { name: "shop".to_owned() };
    projects.stop(stopped).await.unwrap();
    reach_where(&server, "shop", |project| project.status.as_ref().unwrap().phase() == Phase::Stopped).await;
    let api = Container {
        depends_on: vec![Dependency { name: "dev".to_owned(), condition: 0 }],
        ..container("api").unwrap()
    };
    let add =
        |container, resource_version| AddContainerRequest { project: "shop".to_owned(), resource_version, container };
    let added = projects.add_container(add(Some(api), 0)).await.unwrap().into_inner();
    assert_eq!(added.takes_effect(), TakesEffect::NextStart, "it does not run");

    let delete = |container: &str, resource_version| DeleteContainerRequest {
        project: "shop".to_owned(),
        resource_version,
        container: container.to_owned(),
        data: false,
    };
    let fault = from_status(&projects.delete_container(delete("dev", 0)).await.unwrap_err());
    assert_eq!((fault.reason, fault.effect), (Reason::FailedPrecondition, Effect::NotApplied), "{fault}");
    assert_eq!(fault.message, "dev is what api depends on");
    let fault = from_status(&projects.delete_container(delete("../x", 0)).await.unwrap_err());
    assert!(fault.reason == Reason::InvalidArgument && fault.message.starts_with("container: "), "{fault}");

    // Of two who read the same version one changes it, and the other is told.
    let stale = before.resource_version;
    let fault = from_status(&projects.add_container(add(container("late"), stale)).await.unwrap_err());
    assert_eq!((fault.reason, fault.retryable()), (Reason::Conflict, true));
    let bearer = format!("Bearer {}", server.key);
    let etag = format!("\"{stale}\"");
    let headers = [("authorization", bearer.as_str()), ("if-match", &etag), ("content-type", "application/json")];
    let late = server.request("PATCH", &format!("{CONTAINERS}/api"), &headers, r#"{"workdir":"x"}"#.to_owned()).await;
    assert_eq!((late.status.as_u16(), late.reason().as_str()), (412, "ETAG_MISMATCH"));

    let patch = |fields: &[&str], change: Container| PatchContainerRequest {
        project: "shop".to_owned(),
        resource_version: 0,
        container: Some(Container { name: "dev".to_owned(), ..change }),
        fields: fields.iter().map(|field| (*field).to_owned()).collect(),
    };
    let waits =
        Container { depends_on: vec![Dependency { name: "api".to_owned(), condition: 0 }], ..Container::default() };
    for (names, request) in [
        ("fields: \"kind\"", patch(&["kind"], Container::default())),
        ("containers.dependsOn: is a cycle: dev -> api -> dev", patch(&["dependsOn"], waits)),
        ("containers.workdir", patch(&["workdir"], Container { workdir: "/x".to_owned(), ..Container::default() })),
    ] {
        let fault = from_status(&projects.patch_container(request).await.unwrap_err());
        assert!(fault.reason == Reason::InvalidArgument && fault.message.starts_with(names), "{names}: {fault}");
    }
    for (body, names) in [
        (json!([]), "body"),
        (json!({"name": "other"}), "name"),
        (json!({"comand": []}), "comand"),
        (json!({"kind": "Service", "image": "x"}), "kind"),
    ] {
        let answer = server.rest("PATCH", &format!("{CONTAINERS}/api"), Some(&body)).await;
        assert_eq!(answer.status.as_u16(), 400, "{body}");
        assert!(answer.json()["detail"].as_str().unwrap().contains(names), "{body}: {:?}", answer.json());
    }
    let now = get(&server, "shop").await;
    assert_eq!(now.spec, added.project.unwrap().spec);
    assert_eq!(generation(&now), Generation(1), "nothing was started for it");
}
