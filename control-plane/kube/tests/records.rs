//! A change of a record that is two writes to the API server, cut and refused in each place.

#[path = "records/api.rs"]
mod api;

use std::sync::Arc;

use remora_control_plane_kube::KubeRecords;
use remora_control_plane_runtime::records::{Record, Records};
use remora_proto_model::{Generation, ProjectId, Reason};
use serde_json::json;

use crate::api::ApiServer;

const ID: &str = "3f0c9a52-8d1b-4a77-9a0e-6b1d6c1f2e44";

async fn server() -> (ApiServer, Arc<KubeRecords>) {
    let server = ApiServer::with(json!({
        "apiVersion": "remora.dev/v1alpha1", "kind": "Project",
        "metadata": {
            "name": "shop", "uid": ID, "resourceVersion": "7", "generation": 1,
            "creationTimestamp": "2026-11-25T20:00:00Z", "managedFields": [{"manager": "remora"}],
        },
        "spec": {"containers": [{"name": "web", "image": "node"}]},
        "status": {"generation": 3},
    }))
    .await;
    let records = Arc::new(KubeRecords::new(server.client()));
    (server, records)
}

async fn read(records: &KubeRecords) -> Record {
    records.read(ID.parse::<ProjectId>().unwrap()).await.unwrap().unwrap()
}

/// Another container, which the generation that runs is to be replaced for.
fn changed(mut record: Record) -> Record {
    record.project.spec.containers[0].env.insert("A".to_owned(), "b".to_owned());
    record.replace = Some(Generation(3));
    record
}

async fn change(records: &KubeRecords) -> Result<Record, remora_proto_model::Fault> {
    let before = read(records).await;
    let after = changed(before.clone());
    records.update(before, after).await
}

#[tokio::test]
async fn an_intent_is_there_before_the_spec_that_it_is_for() {
    let (server, records) = server().await;
    let stored = change(&records).await.unwrap();
    assert_eq!(server.writes(), ["dry run", "status", "spec"]);
    assert_eq!(stored.replace, Some(Generation(3)));
    assert_eq!(stored.project.spec.containers[0].env["A"], "b");
    assert_eq!(read(&records).await, stored);
}

#[tokio::test]
async fn whoever_is_cut_between_the_two_leaves_what_the_same_call_completes() {
    let (server, records) = server().await;
    for (cut, status) in [("spec", 500), ("spec", 409)] {
        server.fail(cut, status);
        change(&records).await.unwrap_err();
        let left = read(&records).await;
        assert_eq!(left.replace, Some(Generation(3)), "what runs is to be replaced all the same");
        assert!(left.project.spec.containers[0].env.is_empty(), "the spec is as it was");
    }
    server.writes();
    let stored = change(&records).await.unwrap();
    assert_eq!(server.writes(), ["spec"], "the intent is there");
    assert_eq!((stored.replace, stored.project.spec.containers[0].env.len()), (Some(Generation(3)), 1));
}

#[tokio::test]
async fn what_the_api_server_refuses_leaves_no_intent() {
    let (server, records) = server().await;
    let before = server.object();
    server.fail("dry run", 422);
    let fault = change(&records).await.unwrap_err();
    assert_eq!(fault.reason, Reason::InvalidArgument, "{fault}");
    assert_eq!(server.object(), before);
    server.fail("status", 500);
    change(&records).await.unwrap_err();
    assert_eq!(server.object(), before);
}

#[tokio::test]
async fn a_spec_alone_is_one_write() {
    let (server, records) = server().await;
    let before = read(&records).await;
    let mut after = before.clone();
    after.project.spec.containers[0].env.insert("A".to_owned(), "b".to_owned());
    records.update(before, after).await.unwrap();
    assert_eq!(server.writes(), ["spec"]);
}
