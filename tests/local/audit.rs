//! One record a call, on both surfaces, and no secret in any.

use std::fs;

use remora_proto::{
    agent::v1::{ReadRequest, WatchRequest, file_service_client::FileServiceClient},
    control::v1::ListProjectsRequest,
};
use remora_tests::{eventually::eventually_told, server::ServerProcess};
use serde_json::{Value, json};

use crate::{
    data::{Rest, ok},
    running::run,
    tokens::mint,
};

fn records(server: &ServerProcess) -> Vec<Value> {
    let text = fs::read_to_string(server.folder().join("data/audit.jsonl")).unwrap();
    text.lines().map(|line| serde_json::from_str(line).unwrap_or_else(|_| panic!("no JSON: {line}"))).collect()
}

/// The record that has all these members, once it is written.
async fn record(server: &ServerProcess, wanted: Value) -> Value {
    let matches = |record: &Value| wanted.as_object().unwrap().iter().all(|(name, value)| record[name] == *value);
    let mut tries = 0;
    eventually_told(async || {
        tries += 1;
        let found: Vec<Value> = records(server).into_iter().filter(|record| matches(record)).collect();
        assert!(tries < 1_000, "no record of {wanted} in {:#?}", records(server));
        assert!(found.len() < 2, "one call, one record: {found:#?}");
        found.into_iter().next()
    })
    .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_call_has_one_record_and_no_record_a_secret() {
    let server = ServerProcess::start().await;
    let project = run(&server, "a").await;
    let verbs = json!({"verbs": ["file.read", "file.write", "exec.write"], "subject": "bot"});
    let (token, token_id) = mint(&server, "a", verbs).await;
    let rest = Rest { server: &server, key: token.clone(), project: "a".to_owned() };
    let run = json!({"argv": ["sh", "-c", "echo hunter2; exit 3"], "env": {"PASSWORD": "hunter2"}, "stdin": "hunter2"});
    ok(rest.post("exec", run).await, 200);
    let headers = [("x-request-id", "write-1")];
    let written = rest.raw("PUT", "files/d/secret.txt", &headers, b"hunter2".to_vec()).await;
    assert_eq!(written.headers["x-request-id"], "write-1", "the answer names its record");
    let edit = json!({"edits": [{"path": "d/secret.txt", "changes": [{"old": "hunter2", "new": "hunter2!"}]}]});
    ok(rest.post("edit", edit).await, 200);
    rest.get("files/none").await;
    rest.get("commands").await;
    server.rest_as("rmt_stranger", "GET", "/api/v1/projects/a/list", None).await;

    let common =
        json!({"caller": "bot", "callerId": token_id, "credential": "token", "madeBy": "admin", "project": project.id});
    let with = |more: Value| {
        let mut all = common.as_object().unwrap().clone();
        all.extend(more.as_object().unwrap().clone());
        Value::Object(all)
    };
    let ran =
        record(&server, with(json!({"verb": "exec.write", "target": "sh", "outcome": "ok", "surface": "rest"}))).await;
    assert_eq!(ran["method"], "POST /api/v1/projects/a/exec");
    assert!(ran["durationMs"].is_u64() && ran["time"].as_str().unwrap().ends_with('Z'), "{ran}");
    record(
        &server,
        with(json!({"requestId": "write-1", "verb": "file.write", "target": "d/secret.txt", "outcome": "ok"})),
    )
    .await;
    record(&server, with(json!({"method": "POST /api/v1/projects/a/edit", "target": "d/secret.txt", "outcome": "ok"})))
        .await;
    let missing = json!({"verb": "file.read", "target": "none", "outcome": "refused", "reason": "NOT_FOUND"});
    record(&server, with(missing)).await;
    record(&server, with(json!({"verb": "exec.read", "outcome": "refused", "reason": "VERB_NOT_GRANTED"}))).await;
    let stranger =
        json!({"method": "GET /api/v1/projects/a/list", "outcome": "refused", "reason": "CREDENTIALS_INVALID"});
    assert!(record(&server, stranger).await.get("caller").is_none());

    // gRPC, through the proxy and to the server's own services.
    let mut files = FileServiceClient::new(server.authorised(&token, None).await);
    let read = ReadRequest { path: b"d/secret.txt".to_vec().into(), ..ReadRequest::default() };
    files.read(read).await.unwrap();
    let read = json!({"method": "/remora.agent.v1.FileService/Read", "target": "d/secret.txt", "outcome": "ok", "surface": "grpc"});
    record(&server, with(read)).await;
    let mut watch = files.watch(WatchRequest::default()).await.unwrap().into_inner();
    watch.message().await.unwrap();
    drop(watch);
    let left = json!({"method": "/remora.agent.v1.FileService/Watch", "outcome": "cancelled"});
    record(&server, with(left)).await;
    let before = records(&server).len();
    server.projects().await.list(ListProjectsRequest::default()).await.unwrap();
    let listed = eventually_told(async || records(&server).get(before).cloned()).await;
    assert_eq!((listed["caller"].as_str(), listed["credential"].as_str()), (Some("admin"), Some("key")));

    let all = fs::read_to_string(server.folder().join("data/audit.jsonl")).unwrap();
    for secret in ["hunter2", &token, &server.key, "PASSWORD"] {
        assert!(!all.contains(secret), "{secret} is in a record");
    }
    // Whether it lives is asked all the time and is no record.
    let before = records(&server).len();
    server.request("GET", "/healthz", &[], "").await;
    server.request("GET", "/api/v1/info", &[], "").await;
    let next = eventually_told(async || records(&server).get(before).cloned()).await;
    assert_eq!(next["method"], "GET /api/v1/info");
}

/// A record of what was done outlives the server that did it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn records_outlive_kill_9() {
    let mut server = ServerProcess::start().await;
    server.rest("GET", "/api/v1/projects", None).await;
    let told = json!({"method": "GET /api/v1/projects", "outcome": "ok"});
    record(&server, told.clone()).await;
    server.kill().await;
    server.restart().await;
    record(&server, told).await;
}
