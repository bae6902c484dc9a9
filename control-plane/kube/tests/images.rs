//! What images run by themselves, asked of a registry that serves real bytes over HTTP.

#[path = "http/server.rs"]
mod http_server;
#[path = "images/registry.rs"]
mod registry;

use std::time::Duration;

use remora_control_plane_kube::image::Commands;
use remora_proto_model::{Fault, Reason};
use serde_json::{Value, json};

use crate::registry::{Registry, digest};

fn images(registry: &Registry) -> Commands {
    Commands::new(vec![registry.host()])
}

async fn command(registry: &Registry, reference: &str) -> Result<Vec<String>, Fault> {
    images(registry).of(&format!("{}/{reference}", registry.host()).parse().unwrap(), &[]).await
}

fn configuration(entrypoint: Value, cmd: Value) -> Value {
    json!({"architecture": "amd64", "os": "linux", "config": {"Entrypoint": entrypoint, "Cmd": cmd, "Env": ["A=b"]}})
}

#[tokio::test]
async fn entry_point_and_arguments_make_the_command() {
    let registry = Registry::start().await;
    for (entrypoint, cmd, expected) in [
        (json!(["/entry"]), json!(["a", "b"]), vec!["/entry", "a", "b"]),
        (Value::Null, json!(["node"]), vec!["node"]),
        (json!(["/entry"]), Value::Null, vec!["/entry"]),
        (json!([]), json!(["sh", "-c", "echo $HOME"]), vec!["sh", "-c", "echo $HOME"]),
    ] {
        registry.image("a/b", "1", &configuration(entrypoint, cmd));
        assert_eq!(command(&registry, "a/b:1").await.unwrap(), expected);
    }
}

#[tokio::test]
async fn an_image_without_a_command_is_refused_with_what_to_do() {
    let registry = Registry::start().await;
    for bad in [configuration(Value::Null, Value::Null), json!({}), configuration(json!([""]), Value::Null)] {
        registry.image("a", "1", &bad);
        let fault = command(&registry, "a:1").await.unwrap_err();
        assert_eq!(fault.reason, Reason::FailedPrecondition);
        assert!(fault.message.contains("a:1 has no command of its own"), "{fault}");
        assert_eq!(fault.hint, "give the container a command");
    }
    registry.image("a", "1", &configuration(Value::Null, json!(["x".repeat(32 * 1024 + 1)])));
    assert!(command(&registry, "a:1").await.unwrap_err().message.contains("more than"));
}

#[tokio::test]
async fn an_index_is_read_for_the_nodes_platform() {
    let registry = Registry::start().await;
    let amd64 = registry.image("a", "amd64", &configuration(Value::Null, json!(["amd64"])));
    let arm64 = registry.image("a", "arm64", &configuration(Value::Null, json!(["arm64"])));
    let entry = |digest: &str, os: &str, architecture: &str| json!({"digest": digest, "platform": {"os": os, "architecture": architecture}});
    let both = [entry(&arm64, "linux", "arm64"), entry(&amd64, "linux", "amd64"), json!({"digest": arm64})];
    registry.manifest("a", "both", &json!({"schemaVersion": 2, "manifests": both}));
    let own = if cfg!(target_arch = "aarch64") { "arm64" } else { "amd64" };
    assert_eq!(command(&registry, "a:both").await.unwrap(), [own]);

    registry.manifest("a", "other", &json!({"schemaVersion": 2, "manifests": [entry(&arm64, "windows", "s390x\n")]}));
    let fault = command(&registry, "a:other").await.unwrap_err();
    assert_eq!(fault.reason, Reason::FormatUnsupported);
    assert!(fault.message.ends_with("it is for windows/s390x"), "{fault}");
}

#[tokio::test]
async fn a_digest_is_verified_and_asked_for_once() {
    let registry = Registry::start().await;
    let right = registry.image("a", "1", &configuration(Value::Null, json!(["node"])));
    let images = images(&registry);
    let reference = format!("{}/a@{right}", registry.host()).parse().unwrap();
    assert_eq!(images.of(&reference, &[]).await.unwrap(), ["node"]);
    let asked = registry.requests();
    assert_eq!(images.of(&reference, &[]).await.unwrap(), ["node"]);
    assert_eq!(registry.requests(), asked, "a digest never means another image");

    // A tag may: its manifest is asked for each time, and nothing more where that is known.
    let tag = format!("{}/a:1", registry.host()).parse().unwrap();
    assert_eq!(images.of(&tag, &[]).await.unwrap(), ["node"]);
    assert_eq!(registry.requests(), asked + 1);
    registry.image("a", "1", &configuration(Value::Null, json!(["python3"])));
    assert_eq!(images.of(&tag, &[]).await.unwrap(), ["python3"]);

    registry.swap(&right, b"{}");
    let fault = command(&registry, &format!("a@{right}")).await.unwrap_err();
    assert_eq!(fault.reason, Reason::ProtocolViolation);
    assert!(fault.message.contains("sent something else than the digest says"), "{fault}");
}

#[tokio::test]
async fn a_configuration_that_is_not_its_digests_is_refused() {
    let registry = Registry::start().await;
    let body = serde_json::to_vec(&configuration(Value::Null, json!(["node"]))).unwrap();
    registry.image("a", "1", &configuration(Value::Null, json!(["node"])));
    registry.swap(&digest(&body), b"{\"config\":{\"Cmd\":[\"evil\"]}}");
    let fault = command(&registry, "a:1").await.unwrap_err();
    assert_eq!(fault.reason, Reason::ProtocolViolation, "{fault}");
}

#[tokio::test]
async fn a_registry_that_wants_a_token_gets_an_anonymous_one() {
    let registry = Registry::start().await;
    registry.image("a/b", "1", &configuration(Value::Null, json!(["node"])));
    registry.want_token("s3cr3t", true);
    assert_eq!(command(&registry, "a/b:1").await.unwrap(), ["node"]);
    assert_eq!(registry.token_queries(), ["service=test&scope=repository%3Aa%2Fb%3Apull"]);

    registry.want_token("s3cr3t", false);
    let fault = command(&registry, "a/b:1").await.unwrap_err();
    assert_eq!(fault.reason, Reason::FailedPrecondition);
    assert!(fault.message.contains("to nobody without credentials"), "{fault}");
    assert!(!fault.to_string().contains("s3cr3t"));
}

#[tokio::test]
async fn blobs_are_followed_to_their_storage_without_the_token() {
    let registry = Registry::start().await;
    let storage = Registry::start().await;
    registry.image("a", "1", &configuration(Value::Null, json!(["node"])));
    storage.image("a", "1", &configuration(Value::Null, json!(["node"])));
    registry.want_token("s3cr3t", true);
    registry.redirect_blobs_to(&format!("http://{}", storage.host()));
    let both = vec![registry.host(), storage.host()];
    let reference = format!("{}/a:1", registry.host()).parse().unwrap();
    assert_eq!(Commands::new(both).of(&reference, &[]).await.unwrap(), ["node"]);
    assert_eq!(storage.authorizations(), [None]);

    // A host that is not named for plain http is not asked by it, whoever sends there.
    let fault = images(&registry).of(&reference, &[]).await.unwrap_err();
    assert_eq!(fault.reason, Reason::ProtocolViolation);
    assert_eq!(storage.authorizations().len(), 1, "{fault}");

    registry.redirect_blobs_to(&format!("http://{}", registry.host()));
    let fault = images(&registry).of(&reference, &[]).await.unwrap_err();
    assert!(fault.message.contains("redirects in circles"), "{fault}");
}

#[tokio::test]
async fn what_goes_wrong_is_said_with_what_to_do() {
    let registry = Registry::start().await;
    registry.image("a", "1", &configuration(Value::Null, json!(["node"])));
    let fault = command(&registry, "a:2").await.unwrap_err();
    assert_eq!(fault.reason, Reason::NotFound);
    assert!(fault.message.contains("a:2 does not exist in the registry"), "{fault}");

    for (document, words) in [
        (json!({"schemaVersion": 1}), "schema 1"),
        (json!({"schemaVersion": 2}), "names no configuration"),
        (json!([]), "no manifest"),
        (json!({"schemaVersion": 2, "config": {"digest": "../../secret"}}), "names no sha256"),
    ] {
        registry.manifest("a", "odd", &document);
        let fault = command(&registry, "a:odd").await.unwrap_err();
        assert!(fault.message.contains(words), "{fault}");
        assert!(!fault.hint.is_empty());
    }

    registry.manifest("a", "huge", &json!({"schemaVersion": 2, "x": "y".repeat(5 << 20)}));
    let fault = command(&registry, "a:huge").await.unwrap_err();
    assert!(fault.message.contains("sent more than 4194304 bytes"), "{fault}");

    registry.fail_with(503);
    let fault = command(&registry, "a:1").await.unwrap_err();
    assert_eq!((fault.reason, fault.retry_after), (Reason::Unavailable, Some(Duration::from_secs(7))));

    let gone = registry.host();
    drop(registry);
    let reference = format!("{gone}/a:1").parse().unwrap();
    let fault = Commands::new(vec![gone]).of(&reference, &[]).await.unwrap_err();
    assert_eq!(fault.reason, Reason::Unavailable);
    assert!(fault.message.contains("cannot be asked for image"), "{fault}");
}

#[tokio::test]
async fn a_registry_that_says_nothing_is_left() {
    let registry = Registry::start().await;
    registry.image("a", "1", &configuration(Value::Null, json!(["node"])));
    registry.say_nothing();
    let reference = format!("{}/a:1", registry.host()).parse().unwrap();
    let fault = images(&registry).patience(Duration::from_secs(1)).of(&reference, &[]).await.unwrap_err();
    assert_eq!(fault.reason, Reason::Unavailable);
    assert!(fault.message.contains("did not answer within 1 s"), "{fault}");
}

/// https is what is spoken where nothing else is said: plain http is not tried.
#[tokio::test]
async fn plain_http_is_spoken_only_where_it_is_allowed() {
    let registry = Registry::start().await;
    registry.image("a", "1", &configuration(Value::Null, json!(["node"])));
    let reference = format!("{}/a:1", registry.host()).parse().unwrap();
    let fault = Commands::new(Vec::new()).of(&reference, &[]).await.unwrap_err();
    assert_eq!(fault.reason, Reason::Unavailable, "{fault}");
    assert_eq!(registry.requests(), 0);
}
