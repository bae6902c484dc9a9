//! Access tokens on every surface: made, listed, revoked, and what they open.

use std::fs;

use remora_proto::{
    agent::v1::{WatchRequest, file_service_client::FileServiceClient},
    control::v1::{
        CreateKeyRequest, ListTokensRequest, MintTokenRequest, RevokeKeyRequest, RevokeTokenRequest, Role,
        token_service_client::TokenServiceClient,
    },
    fault::from_status,
    model::Reason,
};
use remora_tests::{agent::PATIENCE, eventually::eventually_told, server::ServerProcess};
use serde_json::{Value, json};
use tokio::time::timeout;

use crate::{
    data::{Rest, ok, refusal},
    running::{reach, run, workspace},
};

/// Makes a token over REST; its secret and id.
pub(crate) async fn mint(server: &ServerProcess, project: &str, wanted: Value) -> (String, String) {
    let minted = ok(Rest::admin(server, project).post("tokens", wanted).await, 201);
    (minted["token"].as_str().unwrap().to_owned(), minted["tokenId"].as_str().unwrap().to_owned())
}

fn bearer<'a>(server: &'a ServerProcess, token: &str, project: &str) -> Rest<'a> {
    Rest { server, key: token.to_owned(), project: project.to_owned() }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_token_is_the_same_on_both_surfaces_and_ends_on_both() {
    let server = ServerProcess::start().await;
    let project = run(&server, "a").await;
    fs::write(workspace(&server, &project).join("f"), "text").unwrap();
    let wanted = json!({"verbs": ["file.read"], "subject": "bot", "ttlSeconds": 86_400, "containers": ["dev"]});
    let (token, id) = mint(&server, "a", wanted).await;
    assert!(token.starts_with("rmt_") && token.len() == 47, "{token}");
    let rest = bearer(&server, &token, "a");
    assert_eq!(ok(rest.get("files/f").await, 200)["text"], "text");
    assert_eq!(refusal(&rest.put("files/f", b"x").await), (403, "VERB_NOT_GRANTED".to_owned()));
    assert_eq!(refusal(&rest.post("exec", json!({"argv": ["true"]})).await), (403, "VERB_NOT_GRANTED".to_owned()));

    let listed = server.rest("GET", "/api/v1/projects/a/tokens", None).await;
    assert!(!String::from_utf8_lossy(&listed.body).contains(&token), "a list never has secrets");
    let listed = listed.json();
    let only = &listed["tokens"][0];
    assert_eq!((only["id"].as_str(), only["subject"].as_str()), (Some(id.as_str()), Some("bot")));
    assert_eq!(
        (&only["verbs"], &only["containers"], &only["madeBy"]),
        (&json!(["file.read"]), &json!(["dev"]), &json!("admin"))
    );
    let over_grpc = ListTokensRequest { project: "a".to_owned() };
    let over_grpc = server.tokens().await.list_tokens(over_grpc).await.unwrap().into_inner().tokens;
    assert_eq!((over_grpc.len(), over_grpc[0].id.as_str()), (1, id.as_str()));

    // It is no key of the server, and cannot make others.
    for (method, path) in
        [("GET", "/api/v1/projects"), ("GET", "/api/v1/projects/a/tokens"), ("DELETE", "/api/v1/projects/a")]
    {
        let answer = server.rest_as(&token, method, path, None).await;
        assert_eq!(refusal(&answer), (401, "CREDENTIALS_INVALID".to_owned()), "{method} {path}");
    }
    let minting = server.rest_as(&token, "POST", "/api/v1/projects/a/tokens", Some(&json!({}))).await;
    assert_eq!(refusal(&minting).0, 401);

    let revoke = RevokeTokenRequest { project: "a".to_owned(), id: id.clone() };
    server.tokens().await.revoke_token(revoke).await.unwrap();
    assert_eq!(refusal(&rest.get("files/f").await), (401, "CREDENTIALS_INVALID".to_owned()));
    let again = server.rest("DELETE", &format!("/api/v1/projects/a/tokens/{id}"), None).await;
    assert_eq!(refusal(&again), (404, "NOT_FOUND".to_owned()));
    server.check_log(&[]);
}

/// What was acknowledged before kill -9 holds after it, revocations too.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tokens_survive_kill_9_and_revoked_ones_stay_away() {
    let mut server = ServerProcess::start().await;
    run(&server, "a").await;
    let (kept, _) = mint(&server, "a", json!({"verbs": ["file.read"]})).await;
    let (ended, id) = mint(&server, "a", json!({"verbs": ["file.read"]})).await;
    assert_eq!(server.rest("DELETE", &format!("/api/v1/projects/a/tokens/{id}"), None).await.status, 204);
    server.kill().await;
    server.restart().await;
    reach(&server, "a", remora_proto::control::v1::Phase::Ready).await;
    ok(bearer(&server, &kept, "a").get("list").await, 200);
    assert_eq!(refusal(&bearer(&server, &ended, "a").get("list").await), (401, "CREDENTIALS_INVALID".to_owned()));
}

/// What is open ends with its token: a watch, and a command that is waited for.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_token_has_open_ends_when_it_is_revoked() {
    let server = ServerProcess::start().await;
    let project = run(&server, "a").await;
    let (token, id) = mint(&server, "a", json!({"verbs": ["file.read", "exec.write"]})).await;
    let mut files = FileServiceClient::new(server.authorised(&token, None).await);
    let mut changes = files.watch(WatchRequest::default()).await.unwrap().into_inner();
    changes.message().await.unwrap().expect("the watch stands");
    let rest = bearer(&server, &token, "a");
    let tree = workspace(&server, &project);
    let running = rest.post("exec", json!({"shell": "echo $$ > pid; exec sleep 600"}));
    let revoke = async {
        let pid =
            eventually_told(async || fs::read_to_string(tree.join("pid")).ok().filter(|text| !text.is_empty())).await;
        let path = format!("/api/v1/projects/a/tokens/{id}");
        assert_eq!(server.rest("DELETE", &path, None).await.status, 204);
        pid
    };
    let (answer, pid) = tokio::join!(running, revoke);
    assert_eq!(refusal(&answer), (401, "CREDENTIALS_INVALID".to_owned()));
    assert_eq!(answer.json()["effect"], "MAY_HAVE_APPLIED");
    let process = format!("/proc/{}", pid.trim());
    eventually_told(async || (!std::path::Path::new(&process).exists()).then_some(())).await;
    let ended = timeout(PATIENCE, async { while let Ok(Some(_)) = changes.message().await {} });
    ended.await.expect("the watch ends");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_token_ends_with_its_time_and_with_the_key_that_made_it() {
    let server = ServerProcess::start().await;
    run(&server, "a").await;
    let (short, _) = mint(&server, "a", json!({"verbs": ["file.read"], "ttlSeconds": 1})).await;
    let rest = bearer(&server, &short, "a");
    let expired = eventually_told(async || {
        let answer = rest.get("list").await;
        (answer.status != 200).then_some(answer)
    })
    .await;
    assert_eq!(refusal(&expired), (401, "CREDENTIALS_EXPIRED".to_owned()));

    let request = CreateKeyRequest { name: "ed".to_owned(), role: Role::Editor.into(), projects: Vec::new() };
    let key = server.tokens().await.create_key(request).await.unwrap().into_inner();
    let made = server.rest_as(&key.secret, "POST", "/api/v1/projects/a/tokens", Some(&json!({}))).await;
    let token = ok(made, 201)["token"].as_str().unwrap().to_owned();
    ok(bearer(&server, &token, "a").get("list").await, 200);
    server.tokens().await.revoke_key(RevokeKeyRequest { id: key.key.unwrap().id }).await.unwrap();
    assert_eq!(refusal(&bearer(&server, &token, "a").get("list").await), (401, "CREDENTIALS_INVALID".to_owned()));
}

/// Tokens of others are for the project's owners.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_editor_sees_and_ends_the_tokens_that_it_made() {
    let server = ServerProcess::start().await;
    run(&server, "a").await;
    let request = CreateKeyRequest { name: "ed".to_owned(), role: Role::Editor.into(), projects: Vec::new() };
    let editor = server.tokens().await.create_key(request).await.unwrap().into_inner().secret;
    let (_, admins) = mint(&server, "a", json!({})).await;
    let mut tokens = TokenServiceClient::new(server.authorised(&editor, None).await);
    let own = MintTokenRequest { project: "a".to_owned(), ..MintTokenRequest::default() };
    let own = tokens.mint(own).await.unwrap().into_inner().token_id;
    let listed = tokens.list_tokens(ListTokensRequest { project: "a".to_owned() }).await.unwrap().into_inner().tokens;
    assert_eq!(listed.iter().map(|token| token.id.as_str()).collect::<Vec<_>>(), [own.as_str()]);
    let foreign = tokens.revoke_token(RevokeTokenRequest { project: "a".to_owned(), id: admins }).await;
    assert_eq!(from_status(&foreign.unwrap_err()).reason, Reason::RoleNotGranted);
    tokens.revoke_token(RevokeTokenRequest { project: "a".to_owned(), id: own }).await.unwrap();
}

/// A token of one project on another, over REST and gRPC; and one for another container.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_token_opens_neither_another_project_nor_another_container() {
    let server = ServerProcess::start().await;
    run(&server, "a").await;
    let spec = json!({"name": "two", "spec": {"containers": [{"name": "web"}, {"name": "db"}]}});
    ok(server.rest("POST", "/api/v1/projects", Some(&spec)).await, 201);
    reach(&server, "two", remora_proto::control::v1::Phase::Ready).await;
    let (token, _) = mint(&server, "two", json!({"containers": ["db"], "verbs": ["exec.write", "exec.read"]})).await;
    for named in ["a", "no-such"] {
        let answer = bearer(&server, &token, named).post("exec", json!({"argv": ["true"]})).await;
        assert_eq!(refusal(&answer), (403, "PROJECT_MISMATCH".to_owned()), "{named}: there is no difference");
    }
    let rest = bearer(&server, &token, "two");
    ok(rest.post("exec", json!({"argv": ["true"], "container": "db"})).await, 200);
    for container in ["web", "", "none"] {
        let answer = rest.post("exec", json!({"argv": ["true"], "container": container})).await;
        assert_eq!(refusal(&answer), (403, "CONTAINER_NOT_GRANTED".to_owned()), "{container:?}");
        let answer = rest.get(&format!("commands?container={container}")).await;
        assert_eq!(refusal(&answer), (403, "CONTAINER_NOT_GRANTED".to_owned()), "{container:?}");
    }
    let unknown = Rest::admin(&server, "two").post("tokens", json!({"containers": ["none"]})).await;
    assert_eq!(refusal(&unknown), (400, "INVALID_ARGUMENT".to_owned()));
    assert!(unknown.json()["hint"].as_str().unwrap().contains("web, db"), "{:?}", unknown.json());
}
