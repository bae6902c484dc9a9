//! Projects whose store knows no keys: server and agents show a token.

use std::{fs, path::Path, time::Duration};

use remora_control_plane_runtime::{Store, StoreCredentials, StoreEndpoint, WebIdentity};
use remora_proto_model::{
    Reason,
    project::{Desired, Phase},
};
use remora_tests::{
    issuer::AUDIENCE,
    seaweed::fresh_prefix,
    token_service::{PROJECT, ROLE_ARN, STRANGER, token_service},
};

use crate::rig::{Rig, endpoint};

/// The store below `prefix`, once it answers, for whoever has the token in `file`.
async fn store(prefix: &str, file: &Path) -> StoreEndpoint {
    let service = &token_service().store;
    service.store(prefix).await.unwrap();
    StoreEndpoint {
        credentials: StoreCredentials::WebIdentity(WebIdentity {
            role_arn: ROLE_ARN.to_owned(),
            token_file: file.to_owned(),
            audience: AUDIENCE.to_owned(),
            sts_endpoint: Some(service.endpoint.clone()),
        }),
        ..endpoint(&service.endpoint, prefix)
    }
}

/// What the agent commits with its credentials the server reads back with its own.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_project_hibernates_wakes_and_goes_with_tokens() {
    let folder = tempfile::tempdir().unwrap();
    let token = folder.path().join("token");
    fs::write(&token, token_service().token(PROJECT)).unwrap();
    let prefix = fresh_prefix();
    let rig = Rig::over(store(&prefix, &token).await).await;
    let project = rig.counter().await;
    rig.becomes(project.id, |_| rig.count(project.id) > 0).await;
    rig.wants(project.id, Desired::Hibernated, Phase::Hibernated).await;
    assert!(!rig.workspace(project.id).exists());
    rig.wants(project.id, Desired::Running, Phase::Ready).await;
    assert!(rig.count(project.id) > 0);

    rig.projects.delete(project.id, true).await.unwrap();
    let (_, mut changes) = rig.projects.watch();
    let gone = async {
        while rig.projects.get(project.id).is_ok() {
            let _ = tokio::time::timeout(Duration::from_millis(50), changes.recv()).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(60), gone).await.expect("it is deleted in time");
    let left = token_service().store.store(&prefix).await.unwrap().list("", None).await.unwrap();
    assert!(left.objects.is_empty(), "{left:?}");
}

/// What is wrong with a token is told, and a good one is taken from then on.
#[tokio::test]
async fn the_server_says_why_its_token_is_not_taken() {
    let folder = tempfile::tempdir().unwrap();
    let token = folder.path().join("token");
    let prefix = fresh_prefix();
    let endpoint = store(&prefix, &token).await;
    let server = Store::new(&endpoint);
    let put = async || server.put_tombstone(&prefix, "{}".to_owned()).await;
    let unreadable = put().await.unwrap_err();
    assert_eq!(unreadable.reason, Reason::StoreDenied, "{unreadable}");
    assert!(unreadable.to_string().contains("cannot be read"), "{unreadable}");

    fs::write(&token, token_service().token(STRANGER)).unwrap();
    let stranger = put().await.unwrap_err();
    assert_eq!(stranger.reason, Reason::StoreDenied, "{stranger}");
    let said = stranger.to_string();
    assert!(said.contains("does not give the role") && said.contains("AccessDenied"), "{said}");

    fs::write(&token, token_service().token(PROJECT)).unwrap();
    put().await.unwrap();
    let mut away = endpoint;
    if let StoreCredentials::WebIdentity(identity) = &mut away.credentials {
        identity.sts_endpoint = Some("http://127.0.0.1:9".to_owned());
    }
    let away = Store::new(&away).put_tombstone(&prefix, "{}".to_owned()).await.unwrap_err();
    assert_eq!(away.reason, Reason::StoreUnavailable, "{away}");
}
