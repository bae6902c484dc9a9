//! Projects on both surfaces: repeatable creation, versions, pages, watches.

use remora_proto::{
    control::v1::{
        Container, CreateProjectRequest, DeleteProjectRequest, GetProjectRequest, ListProjectsRequest,
        PatchProjectRequest, Project, WatchProjectsRequest, project_event::Kind,
    },
    fault::from_status,
    model::{Reason, project},
};
use remora_tests::server::ServerProcess;
use serde_json::{Value, json};

use crate::auth::waiting_spec;

fn create(name: &str) -> CreateProjectRequest {
    CreateProjectRequest { name: name.to_owned(), spec: Some(waiting_spec()) }
}

fn rest_spec() -> Value {
    json!({"containers": [{"name": "dev"}], "source": "Archive"})
}

/// One project, made on either surface, is the same on both, by name and by id.
#[tokio::test]
async fn both_surfaces_tell_the_same() {
    let server = ServerProcess::start().await;
    let made = server.rest("POST", "/api/v1/projects", Some(&json!({"name": "a", "spec": rest_spec()}))).await;
    assert_eq!(made.status, 201);
    let made: project::Project = serde_json::from_slice(&made.body).unwrap();
    let mut projects = server.projects().await;
    for named in ["a", &made.id.to_string()] {
        // A status that changes between the two reads makes them differ; it settles at Pending.
        let (grpc, rest) = loop {
            let before = projects.get(GetProjectRequest { name: named.to_owned() }).await.unwrap().into_inner();
            let rest = server.rest("GET", &format!("/api/v1/projects/{named}"), None).await;
            let after = projects.get(GetProjectRequest { name: named.to_owned() }).await.unwrap().into_inner();
            if before.resource_version == after.resource_version {
                break (after, rest);
            }
        };
        assert_eq!(rest.headers["etag"], format!("\"{}\"", grpc.resource_version));
        let rest: project::Project = serde_json::from_slice(&rest.body).unwrap();
        assert_eq!(project::Project::try_from(grpc).unwrap(), rest);
        assert_eq!(rest.id, made.id);
    }
    let again: Project = projects.create(create("a")).await.unwrap().into_inner();
    assert_eq!(again.id, made.id.to_string(), "creation is repeatable across surfaces");

    // And one fault is one fault.
    let status = projects.get(GetProjectRequest { name: "none".to_owned() }).await.unwrap_err();
    let problem = server.rest("GET", "/api/v1/projects/none", None).await;
    let (fault, problem) = (from_status(&status), problem.json());
    assert_eq!(problem["reason"], fault.reason.as_str());
    assert_eq!(problem["detail"], fault.message.as_ref());
    assert_eq!(problem["hint"], fault.hint.as_ref());
    assert_eq!((problem["effect"].as_str(), problem["status"].as_u64()), (Some("NOT_APPLIED"), Some(404)));
    server.check_log(&[]);
}

#[tokio::test]
async fn creation_is_repeatable_and_another_spec_is_refused() {
    let server = ServerProcess::start().await;
    let mut projects = server.projects().await;
    let first = projects.create(create("a")).await.unwrap().into_inner();
    let again = projects.create(create("a")).await.unwrap().into_inner();
    assert_eq!((&again.id, again.created_ms), (&first.id, first.created_ms));
    let mut other = create("a");
    other.spec.as_mut().unwrap().containers.push(Container { name: "db".to_owned(), ..Container::default() });
    let fault = from_status(&projects.create(other).await.unwrap_err());
    assert_eq!((fault.reason, fault.hint.is_empty()), (Reason::AlreadyExists, false));
    assert_eq!(projects.get(GetProjectRequest { name: "a".to_owned() }).await.unwrap().into_inner().spec, first.spec);
}

/// Of two who read the same version one changes it, and the other is told.
#[tokio::test]
async fn a_lost_update_is_refused_on_both_surfaces() {
    let server = ServerProcess::start().await;
    let mut projects = server.projects().await;
    let read = projects.create(create("a")).await.unwrap().into_inner().resource_version;
    let patch = |version, name: &str| PatchProjectRequest {
        name: "a".to_owned(),
        resource_version: version,
        display_name: Some(name.to_owned()),
        ..PatchProjectRequest::default()
    };
    let first = projects.patch(patch(read, "first")).await.unwrap().into_inner();
    assert!(first.resource_version > read);
    let fault = from_status(&projects.patch(patch(read, "second")).await.unwrap_err());
    assert_eq!((fault.reason, fault.retryable()), (Reason::Conflict, true));

    let bearer = format!("Bearer {}", server.key);
    let rest = async |etag: &str, body: &str| {
        let headers = [("authorization", bearer.as_str()), ("if-match", etag), ("content-type", "application/json")];
        server.request("PATCH", "/api/v1/projects/a", &headers, body.to_owned()).await
    };
    let stale = rest(&format!("\"{read}\""), r#"{"displayName":"third"}"#).await;
    assert_eq!((stale.status.as_u16(), stale.reason().as_str()), (412, "ETAG_MISMATCH"));
    let stale =
        server.rest("PATCH", "/api/v1/projects/a", Some(&json!({"displayName": "x", "resourceVersion": read}))).await;
    assert_eq!((stale.status.as_u16(), stale.reason().as_str()), (409, "CONFLICT"));
    let there = projects.get(GetProjectRequest { name: "a".to_owned() }).await.unwrap().into_inner();
    assert_eq!(there.spec.unwrap().display_name, "first");
    let fresh = rest(&format!("\"{}\"", there.resource_version), r#"{"displayName":"fourth"}"#).await;
    assert_eq!(fresh.json()["spec"]["displayName"], "fourth");
}

#[tokio::test]
async fn pages_hold_every_project_once() {
    let server = ServerProcess::start().await;
    let mut projects = server.projects().await;
    let names: Vec<String> = (0..7).map(|number| format!("p{number}")).collect();
    for name in &names {
        projects.create(create(name)).await.unwrap();
    }
    for page_size in [1, 3, 7, 100] {
        let (mut seen, mut page_token) = (Vec::new(), String::new());
        loop {
            let page = projects.list(ListProjectsRequest { page_size, page_token }).await.unwrap().into_inner();
            assert!(page.projects.len() <= page_size as usize);
            seen.extend(page.projects.into_iter().map(|project| project.name));
            page_token = page.next_page_token;
            if page_token.is_empty() {
                break;
            }
        }
        assert_eq!(seen, names, "pages of {page_size}");
    }
}

#[tokio::test]
async fn a_watch_tells_what_is_there_and_what_happens() {
    let server = ServerProcess::start().await;
    let mut projects = server.projects().await;
    projects.create(create("a")).await.unwrap();
    let mut events = projects.watch(WatchProjectsRequest::default()).await.unwrap().into_inner();
    let mut next = async || {
        let event =
            tokio::time::timeout(remora_tests::agent::PATIENCE, events.message()).await.unwrap().unwrap().unwrap();
        (event.kind(), event.project)
    };
    let (kind, project) = next().await;
    assert_eq!((kind, project.unwrap().name.as_str()), (Kind::Added, "a"));
    // The driver may have something to say meanwhile.
    let mut until = async |wanted: Kind, name: &str| loop {
        let (kind, project) = next().await;
        if kind == wanted && project.as_ref().map_or("", |project| project.name.as_str()) == name {
            return project;
        }
        assert_eq!(kind, Kind::Modified, "before {wanted:?} of {name:?}");
    };
    until(Kind::Synced, "").await;
    projects.create(create("b")).await.unwrap();
    until(Kind::Added, "b").await;
    let patch = PatchProjectRequest { name: "b".to_owned(), display_name: Some("B".to_owned()), ..Default::default() };
    let version = projects.patch(patch).await.unwrap().into_inner().resource_version;
    loop {
        if until(Kind::Modified, "b").await.unwrap().resource_version >= version {
            break;
        }
    }
    server.check_log(&[]);
}

/// What was acknowledged before kill -9 is there after it.
#[tokio::test]
async fn projects_survive_kill_9() {
    let mut server = ServerProcess::start().await;
    let mut projects = server.projects().await;
    let mut made = Vec::new();
    for number in 0..5 {
        made.push(projects.create(create(&format!("p{number}"))).await.unwrap().into_inner());
    }
    let patch = PatchProjectRequest { name: "p0".to_owned(), display_name: Some("P".to_owned()), ..Default::default() };
    made[0] = projects.patch(patch).await.unwrap().into_inner();
    server.kill().await;
    server.restart().await;
    let mut projects = server.projects().await;
    for before in made {
        let after = projects.get(GetProjectRequest { name: before.id.clone() }).await.unwrap().into_inner();
        assert_eq!((after.name, after.spec, after.created_ms), (before.name, before.spec, before.created_ms));
        assert!(after.resource_version >= before.resource_version, "a version is never given twice");
    }
    server.check_log(&[]);
}

#[tokio::test]
async fn deleting_what_is_not_there_is_not_found() {
    let server = ServerProcess::start().await;
    let request = DeleteProjectRequest { name: "none".to_owned(), purge: false };
    let fault = from_status(&server.projects().await.delete(request).await.unwrap_err());
    assert_eq!(fault.reason, Reason::NotFound);
    assert_eq!(server.rest("DELETE", "/api/v1/projects/none", None).await.reason(), "NOT_FOUND");
}
