//! API keys through both surfaces, and through kill -9.

use remora_proto::{
    control::v1::{CreateKeyRequest, GetServerInfoRequest, ListKeysRequest, RevokeKeyRequest, Role},
    fault::from_status,
    model::Reason,
};
use remora_tests::server::ServerProcess;
use serde_json::json;

#[tokio::test]
async fn a_key_is_the_same_on_both_surfaces_and_ends_on_both() {
    let server = ServerProcess::start().await;
    let made = server.rest("POST", "/api/v1/keys", Some(&json!({"name": "ci", "role": "Editor"}))).await;
    assert_eq!(made.status, 201);
    let made = made.json();
    let secret = made["secret"].as_str().unwrap().to_owned();
    assert_eq!(secret.len(), 47);

    let info = server.server(&secret).await.get_info(GetServerInfoRequest {}).await.unwrap().into_inner();
    assert_eq!((info.caller.as_str(), info.role()), ("ci", Role::Editor));
    let listed = server.tokens().await.list_keys(ListKeysRequest {}).await.unwrap().into_inner().keys;
    let ci = listed.iter().find(|key| key.name == "ci").unwrap();
    assert_eq!(Some(ci.id.as_str()), made["key"]["id"].as_str());
    assert!(ci.last_used_ms > 0);
    let text = server.rest("GET", "/api/v1/keys", None).await;
    assert!(!String::from_utf8_lossy(&text.body).contains(&secret), "a list never has secrets");

    server.tokens().await.revoke_key(RevokeKeyRequest { id: ci.id.clone() }).await.unwrap();
    let bearer = format!("Bearer {secret}");
    let answer = server.request("GET", "/api/v1/info", &[("authorization", &bearer)], "").await;
    assert_eq!(answer.reason(), "CREDENTIALS_INVALID");
    let again = server.rest("DELETE", &format!("/api/v1/keys/{}", ci.id), None).await;
    assert_eq!((again.status.as_u16(), again.reason().as_str()), (404, "NOT_FOUND"));
}

/// What was acknowledged before kill -9 holds after it: keys that were made, and keys that were ended.
#[tokio::test]
async fn keys_survive_kill_9_and_revoked_ones_stay_away() {
    let mut server = ServerProcess::start().await;
    let mut tokens = server.tokens().await;
    let mut make = async |name: &str| {
        let request = CreateKeyRequest { name: name.to_owned(), role: Role::Viewer.into(), projects: Vec::new() };
        tokens.create_key(request).await.unwrap().into_inner()
    };
    let (kept, ended) = (make("kept").await, make("ended").await);
    tokens.revoke_key(RevokeKeyRequest { id: ended.key.unwrap().id }).await.unwrap();
    server.kill().await;
    server.restart().await;
    let info = server.server(&kept.secret).await.get_info(GetServerInfoRequest {}).await.unwrap().into_inner();
    assert_eq!(info.caller, "kept");
    let status = server.server(&ended.secret).await.get_info(GetServerInfoRequest {}).await.unwrap_err();
    assert_eq!(from_status(&status).reason, Reason::CredentialsInvalid);
    assert_eq!(
        server.server(&server.key).await.get_info(GetServerInfoRequest {}).await.unwrap().into_inner().role(),
        Role::Admin
    );
    server.check_log(&[]);
}

#[tokio::test]
async fn the_last_admin_key_stays() {
    let server = ServerProcess::start().await;
    let keys = server.rest("GET", "/api/v1/keys", None).await.json();
    let id = keys["keys"][0]["id"].as_str().unwrap();
    let answer = server.rest("DELETE", &format!("/api/v1/keys/{id}"), None).await;
    assert_eq!((answer.status.as_u16(), answer.reason().as_str()), (409, "FAILED_PRECONDITION"));
}
