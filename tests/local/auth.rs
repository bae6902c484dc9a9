//! Who is let in, on every surface. The methods come from reflection and the
//! paths from the OpenAPI document, so that a new one cannot be forgotten here.

use remora_proto::{
    control::v1::{
        Container, CreateKeyRequest, CreateProjectRequest, GetProjectRequest, ListProjectsRequest, ProjectSpec, Role,
        Source, project_service_client::ProjectServiceClient, source,
    },
    fault::from_status,
    model::{METHODS, Reason, Verb},
};
use remora_tests::{
    reflection::{call, call_with, reflected_methods},
    server::ServerProcess,
};

/// A project that waits for its archive, and so runs nothing.
pub(crate) fn waiting_spec() -> ProjectSpec {
    ProjectSpec {
        containers: vec![Container { name: "dev".to_owned(), ..Container::default() }],
        source: Some(Source { source: Some(source::Source::Archive(true)) }),
        ..ProjectSpec::default()
    }
}

pub(crate) async fn waiting(server: &ServerProcess, name: &str) -> String {
    let request = CreateProjectRequest { name: name.to_owned(), spec: Some(waiting_spec()) };
    server.projects().await.create(request).await.unwrap().into_inner().id
}

pub(crate) async fn key(server: &ServerProcess, name: &str, role: Role, projects: &[&str]) -> String {
    let projects = projects.iter().map(|name| (*name).to_owned()).collect();
    let request = CreateKeyRequest { name: name.to_owned(), role: role.into(), projects };
    server.tokens().await.create_key(request).await.unwrap().into_inner().secret
}

/// a079, through the server.
#[tokio::test]
async fn a079_every_reflected_method_refuses_whoever_may_not_call_it() {
    let server = ServerProcess::start().await;
    waiting(&server, "mine").await;
    let channel = server.channel().await;
    let methods = reflected_methods(&channel, &server.key).await;
    assert!(methods.contains("/remora.control.v1.TokenService/CreateKey"), "{methods:?}");
    let agents: Vec<_> = methods.iter().filter(|path| path.starts_with("/remora.agent.v1.")).collect();
    assert!(agents.len() > 20, "{agents:?}");

    let viewer = key(&server, "viewer", Role::Viewer, &[]).await;
    let other = key(&server, "other", Role::Owner, &[]).await;
    waiting(&server, "theirs").await;
    let stranger = key(&server, "stranger", Role::Owner, &["theirs"]).await;
    let revoked = key(&server, "revoked", Role::Owner, &[]).await;
    let keys = server.rest("GET", "/api/v1/keys", None).await.json();
    let id = keys["keys"].as_array().unwrap().iter().find(|key| key["name"] == "revoked").unwrap()["id"].clone();
    let gone = server.rest("DELETE", &format!("/api/v1/keys/{}", id.as_str().unwrap()), None).await;
    assert_eq!(gone.status, 204);

    let mine = [("remora-project", "mine")];
    for path in methods.iter().filter(|path| !path.starts_with("/grpc.health.v1.")) {
        let reason = async |token: Option<&str>| {
            from_status(&call_with(&channel, path, token, &mine).await.expect_err(path)).reason
        };
        assert_eq!(reason(None).await, Reason::CredentialsMissing, "{path}");
        assert_eq!(reason(Some("rmk_x")).await, Reason::CredentialsInvalid, "{path}");
        assert_eq!(reason(Some(&revoked)).await, Reason::CredentialsInvalid, "{path}");
        assert_eq!(reason(Some("a.b.c")).await, Reason::CredentialsInvalid, "{path}");
    }
    for path in agents {
        let reason = async |token: &str, metadata: &[(&'static str, &str)]| {
            from_status(&call_with(&channel, path, Some(token), metadata).await.expect_err(path)).reason
        };
        assert_eq!(reason(&stranger, &mine).await, Reason::NotFound, "{path}: another project's key");
        assert_eq!(reason(&other, &[("remora-project", "none")]).await, Reason::NotFound, "{path}");
        assert_eq!(reason(&other, &[]).await, Reason::InvalidArgument, "{path}: no project");
        assert_eq!(reason(&other, &mine).await, Reason::ProjectNotReady, "{path}: an owner");
        let verb = METHODS.iter().find(|(method, _)| method == path).unwrap().1;
        let reads = matches!(
            verb,
            Verb::StatusRead | Verb::TerminalRead | Verb::ExecRead | Verb::FileRead | Verb::SnapshotRead
        );
        let expected = if reads { Reason::ProjectNotReady } else { Reason::RoleNotGranted };
        assert_eq!(reason(&viewer, &mine).await, expected, "{path}: a viewer");
    }
    let unknown = call_with(&channel, "/remora.agent.v1.AgentService/Nothing", Some(&other), &mine).await;
    assert_eq!(from_status(&unknown.unwrap_err()).reason, Reason::Unimplemented);
    let unknown = call(&channel, "/remora.control.v1.ProjectService/Nothing", Some(&other)).await;
    assert_eq!(from_status(&unknown.unwrap_err()).reason, Reason::Unimplemented);
    // Whether it lives is told to anybody.
    call(&channel, "/grpc.health.v1.Health/Check", None).await.unwrap();
    server.check_log(&[]);
}

#[tokio::test]
async fn a_project_that_is_not_ready_says_so_and_when_to_come_back() {
    let server = ServerProcess::start().await;
    waiting(&server, "mine").await;
    let channel = server.channel().await;
    let path = "/remora.agent.v1.ExecService/List";
    let status = call_with(&channel, path, Some(&server.key), &[("remora-project", "mine")]).await.unwrap_err();
    let fault = from_status(&status);
    assert_eq!((status.code(), fault.reason), (tonic::Code::Unavailable, Reason::ProjectNotReady));
    assert!(fault.retryable() && fault.retry_after.is_some(), "{fault:?}");
    assert!(fault.message.contains("mine") && fault.message.contains("waits for the archive"), "{fault}");
}

/// Every path of the document, with every bad way to be somebody.
#[tokio::test]
async fn every_documented_path_refuses_whoever_may_not_call_it() {
    let server = ServerProcess::start().await;
    waiting(&server, "mine").await;
    let viewer = key(&server, "viewer", Role::Viewer, &[]).await;
    let document = server.request("GET", "/openapi.json", &[], "").await.json();
    let mut operations = 0;
    for (template, item) in document["paths"].as_object().unwrap() {
        let path = template
            .replace("{name}", "mine")
            .replace("{id}", "1f5f8f34-7c6c-4f43-8c4e-0a8b8d0b8f55")
            .replace("{path}", "a/b");
        for method in item.as_object().unwrap().keys().map(|method| method.to_uppercase()) {
            operations += 1;
            let answer = server.request(&method, &path, &[], "").await;
            assert_eq!(
                (answer.status.as_u16(), answer.reason().as_str()),
                (401, "CREDENTIALS_MISSING"),
                "{method} {path}"
            );
            assert_eq!(answer.headers["www-authenticate"], "Bearer");
            for bad in ["Bearer rmk_x", "Bearer a.b.c", "Basic eDp5"] {
                let answer = server.request(&method, &path, &[("authorization", bad)], "").await;
                assert_eq!(
                    (answer.status.as_u16(), answer.reason().as_str()),
                    (401, "CREDENTIALS_INVALID"),
                    "{method} {path} {bad}"
                );
            }
            if method != "GET" || path.ends_with("/keys") {
                let bearer = format!("Bearer {viewer}");
                let body = match path.rsplit('/').next().unwrap() {
                    "projects" => r#"{"name":"a","spec":{"containers":[{"name":"dev"}]}}"#,
                    "containers" => r#"{"name":"api"}"#,
                    "restore" => r#"{"snapshot":"x"}"#,
                    "keys" => r#"{"name":"a","role":"Viewer"}"#,
                    "tokens" => r#"{"verbs":["file.write"]}"#,
                    "links" => r#"{"container":"dev","port":"http"}"#,
                    "exec" => r#"{"argv":["true"]}"#,
                    "uploads" => r#"{"bytes":1}"#,
                    "signal" => r#"{"signal":15}"#,
                    "resize" => r#"{"columns":1,"rows":1}"#,
                    "mkdir" => r#"{"path":"a"}"#,
                    "move" | "copy" => r#"{"from":"a","to":"b"}"#,
                    "edit" => r#"{"edits":[]}"#,
                    "grep" => r#"{"pattern":"a"}"#,
                    "glob" => r#"{"patterns":["a"]}"#,
                    "stat" => r#"{"paths":["a"]}"#,
                    _ => "{}",
                };
                let kind = if path.ends_with("/source") { "application/x-tar" } else { "application/json" };
                let headers = [("authorization", bearer.as_str()), ("content-type", kind)];
                let answer = server.request(&method, &path, &headers, body).await;
                let reads = ["/grep", "/glob", "/stat", "/exports"].iter().any(|end| path.ends_with(end));
                let expected = match path.contains("/tokens/") {
                    // Whoever made a token may end it, whatever the role: there is none.
                    true => (404, "NOT_FOUND"),
                    false if reads => (503, "PROJECT_NOT_READY"),
                    // Whoever may look may open a port; this server has none.
                    false if path.ends_with("/links") => (409, "FAILED_PRECONDITION"),
                    false => (403, "ROLE_NOT_GRANTED"),
                };
                assert_eq!((answer.status.as_u16(), answer.reason().as_str()), expected, "{method} {path}");
            }
        }
    }
    assert!(operations > 40);
    let there = server.rest("GET", "/api/v1/projects", None).await.json();
    assert_eq!(there["projects"].as_array().unwrap().len(), 1, "nothing was made or removed");
    server.check_log(&[]);
}

/// A key for some projects sees those and does not learn of others.
#[tokio::test]
async fn a_scoped_key_sees_its_projects_alone() {
    let server = ServerProcess::start().await;
    for name in ["a", "b", "c"] {
        waiting(&server, name).await;
    }
    let scoped = key(&server, "scoped", Role::Owner, &["b"]).await;
    let mut projects = ProjectServiceClient::new(server.authorised(&scoped, None).await);
    let list =
        projects.list(ListProjectsRequest { page_size: 1, page_token: String::new() }).await.unwrap().into_inner();
    assert_eq!(list.projects.iter().map(|project| project.name.as_str()).collect::<Vec<_>>(), ["b"]);
    assert_eq!(list.next_page_token, "");
    let mut text = async |name: &str| {
        from_status(&projects.get(GetProjectRequest { name: name.to_owned() }).await.unwrap_err()).to_string()
    };
    assert_eq!(
        text("a").await.replace("\"a\"", "?"),
        text("zz").await.replace("\"zz\"", "?"),
        "there is no difference"
    );
    let request = CreateProjectRequest { name: "d".to_owned(), spec: Some(waiting_spec()) };
    let fault = from_status(&projects.create(request).await.unwrap_err());
    assert_eq!(fault.reason, Reason::RoleNotGranted);
}

/// A page in a browser that made its own name point to loopback gets nothing.
#[tokio::test]
async fn a_request_for_another_host_is_refused() {
    let server = ServerProcess::start().await;
    let bearer = format!("Bearer {}", server.key);
    for path in ["/api/v1/projects", "/healthz", "/openapi.json", "/metrics"] {
        let headers = [("host", "evil.example:7600"), ("authorization", bearer.as_str())];
        let answer = server.request("GET", path, &headers, "").await;
        assert_eq!(answer.status, 400, "{path}");
        assert!(answer.json()["detail"].as_str().unwrap().starts_with("host:"), "{answer:?}");
    }
    // And one of its own origin cannot send the key without being asked first.
    let headers = [("origin", "http://evil.example"), ("access-control-request-method", "GET")];
    let answer = server.request("OPTIONS", "/api/v1/projects", &headers, "").await;
    assert!(!answer.headers.contains_key("access-control-allow-origin"), "{answer:?}");
    assert_eq!(answer.status, 405);
}
