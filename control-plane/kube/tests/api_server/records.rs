//! A change of a record that is two writes to the API server, cut and refused in each place.

use std::sync::Arc;

use remora_control_plane_kube::KubeRecords;
use remora_control_plane_runtime::records::{Record, Records};
use remora_proto_model::{Generation, ProjectId, Reason};
use serde_json::{Value, json};

use crate::{
    faults::Fault,
    place::{Asked, Place, Verb},
    server::{ApiServer, client},
};

const ID: &str = "3f0c9a52-8d1b-4a77-9a0e-6b1d6c1f2e44";

/// An API server with one project.
struct One(ApiServer);

impl One {
    /// What was asked to be written since this was asked last.
    fn writes(&self) -> Vec<&'static str> {
        let calls = std::mem::take(&mut self.0.state().calls);
        let mut noted = false;
        let mut writes = Vec::new();
        for call in calls {
            let Some(write) = write(&call.asked) else { continue };
            if write == "spec" && noted && call.fault.is_none() {
                // What the status's write left there would be forgotten with it.
                assert!(call.body["metadata"]["managedFields"].as_array().is_none_or(Vec::is_empty));
            }
            noted |= write == "status";
            writes.push(write);
        }
        writes
    }

    fn fail(&self, failing: &'static str, status: u16) {
        self.0.state().faults.add(Fault::Status(status), Some(1), move |asked| write(asked) == Some(failing));
    }

    fn object(&self) -> Value {
        let place = Place { resource: "projects".to_owned(), name: "shop".to_owned(), ..Place::default() };
        self.0.state().objects.get(&place).unwrap().clone()
    }
}

fn write(asked: &Asked) -> Option<&'static str> {
    match asked.verb {
        Verb::Replace if asked.dry_run => Some("dry run"),
        Verb::Replace => Some("spec"),
        Verb::Apply if asked.status => Some("status"),
        _ => None,
    }
}

async fn server() -> (One, Arc<KubeRecords>) {
    let server = ApiServer::new().await;
    let project = json!({
        "apiVersion": "remora.dev/v1alpha1", "kind": "Project",
        "metadata": {
            "name": "shop", "uid": ID, "creationTimestamp": "2026-11-25T20:00:00Z", "managedFields": [{"manager": "remora"}],
        },
        "spec": {"containers": [{"name": "web", "image": "node"}]},
        "status": {"generation": 3},
    });
    server.put("projects", "", project);
    let records = Arc::new(KubeRecords::new(client(server.address())));
    (One(server), records)
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
