//! What the data plane refuses: other projects, other people, what is too large,
//! what is not ready.

use remora_proto::control::v1::{CreateKeyRequest, CreateProjectRequest, Role};
use remora_tests::server::ServerProcess;
use serde_json::json;

use super::{Rest, ok, refusal};
use crate::{auth::waiting_spec, running::run};

/// F9: 503, when to come back, and why.
#[tokio::test]
async fn a_project_that_is_not_ready_is_503_with_a_reason_and_a_time() {
    let server = ServerProcess::start().await;
    let request = CreateProjectRequest { name: "mine".to_owned(), spec: Some(waiting_spec()) };
    server.projects().await.create(request).await.unwrap();
    let rest = Rest::admin(&server, "mine");
    for answer in [
        rest.post("exec", json!({"argv": ["true"]})).await,
        rest.get("files/a").await,
        rest.put("files/a", b"x").await,
        rest.get("list").await,
        rest.post("grep", json!({"pattern": "a"})).await,
        rest.get("changes").await,
        rest.get("terminals").await,
    ] {
        assert_eq!(refusal(&answer), (503, "PROJECT_NOT_READY".to_owned()));
        let seconds: u64 = answer.headers["retry-after"].to_str().unwrap().parse().unwrap();
        assert!((1..=60).contains(&seconds), "{seconds}");
        let problem = answer.json();
        assert!(problem["detail"].as_str().unwrap().contains("waits for the archive"), "{problem}");
        assert_eq!(problem["retryable"], true);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn paths_that_lead_out_reach_nothing() {
    let server = ServerProcess::start().await;
    let project = run(&server, "a").await;
    let tree = crate::running::workspace(&server, &project);
    let secret = server.folder().join("secret");
    std::fs::write(&secret, "secret").unwrap();
    std::os::unix::fs::symlink(&secret, tree.join("link")).unwrap();
    std::os::unix::fs::symlink(server.folder(), tree.join("folder")).unwrap();
    std::os::unix::fs::symlink("/proc/self/root", tree.join("magic")).unwrap();
    let rest = Rest::admin(&server, "a");
    for path in [
        "files/link",
        "files/folder/secret",
        "files/magic/etc/passwd",
        "files/..%2f..%2f..%2fsecret",
        "files/%2e%2e/%2e%2e/%2e%2e/secret",
        "files//etc/passwd",
        "files/a%00b",
    ] {
        for answer in [rest.get(path).await, rest.put(path, b"overwritten").await] {
            let (status, reason) = refusal(&answer);
            assert!(
                matches!((status, reason.as_str()), (403, "PATH_ESCAPES_ROOT") | (400, "PATH_INVALID")),
                "{path}: {status} {reason}"
            );
        }
    }
    for (call, body) in [
        ("copy", json!({"from": "folder/secret", "to": "stolen"})),
        ("move", json!({"from": "../../../secret", "to": "stolen"})),
        ("edit", json!({"edits": [{"path": "link", "changes": [{"old": "secret", "new": "x"}]}]})),
        ("mkdir", json!({"path": "folder/made"})),
        ("grep", json!({"pattern": "secret", "path": "folder"})),
        ("glob", json!({"patterns": ["*"], "path": "folder"})),
    ] {
        let answer = rest.post(call, body).await;
        let (status, reason) = refusal(&answer);
        assert!(matches!(reason.as_str(), "PATH_ESCAPES_ROOT" | "PATH_INVALID"), "{call}: {status} {reason}");
    }
    assert_eq!(std::fs::read(&secret).unwrap(), b"secret");
    assert!(!tree.join("stolen").exists() && !server.folder().join("made").exists());
    // What a search meets on its way is not followed.
    let found = ok(rest.post("grep", json!({"pattern": "secret", "noIgnoreRules": true})).await, 200);
    assert_eq!(found["matches"], 0, "{found}");
}

/// A body over the bound is refused while it arrives; one that says so itself is, too.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_body_that_is_too_large_is_refused_and_nothing_is_done() {
    let server = ServerProcess::start().await;
    let project = run(&server, "a").await;
    let rest = Rest::admin(&server, "a");
    let body = json!({"shell": "touch ran", "env": {"A": "x".repeat(5 << 20)}}).to_string().into_bytes();
    let answer = rest.raw("POST", "exec", &[("content-type", "application/json")], body).await;
    assert_eq!(refusal(&answer), (413, "TOO_LARGE".to_owned()));
    let answer = rest.post("exec", json!({"shell": "touch ran", "stdin": "x".repeat((1 << 20) + 1)})).await;
    assert_eq!(refusal(&answer).0, 400, "{answer:?}");
    assert!(!crate::running::workspace(&server, &project).join("ran").exists());
}

/// A key for another project learns nothing of this one.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_key_of_another_project_finds_none() {
    let server = ServerProcess::start().await;
    run(&server, "mine").await;
    let request = CreateProjectRequest { name: "theirs".to_owned(), spec: Some(waiting_spec()) };
    server.projects().await.create(request).await.unwrap();
    let key = CreateKeyRequest { name: "k".to_owned(), role: Role::Owner.into(), projects: vec!["theirs".to_owned()] };
    let key = server.tokens().await.create_key(key).await.unwrap().into_inner().secret;
    let rest = Rest { server: &server, key, project: "mine".to_owned() };
    for answer in
        [rest.get("files/a").await, rest.post("exec", json!({"argv": ["true"]})).await, rest.put("files/a", b"").await]
    {
        assert_eq!(refusal(&answer), (404, "NOT_FOUND".to_owned()));
    }
    let none = Rest { project: "no%20such".to_owned(), ..rest };
    assert_eq!(refusal(&none.get("list").await), (404, "NOT_FOUND".to_owned()));
}
