//! A control plane beside agents and records of other releases.

use std::sync::atomic::Ordering;

use remora_proto_model::project::{ConditionType, Desired, Phase};
use serde_json::json;

use crate::site::{Site, becomes, goes, name, namespace, reaches, spec};

/// An agent that has no such call is told as that, and nothing of it is ended: with one that
/// has it the same wish is fulfilled.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a099_an_agent_that_lacks_a_call_is_told_and_ends_nothing() {
    let site = Site::new().await;
    let controller = site.controller().await;
    let projects = &controller.projects;
    let id = projects.create(name(), spec()).await.unwrap().id;
    reaches(projects, id, Phase::Ready).await;
    let lacks = site.lacks_snapshots();
    lacks.store(true, Ordering::SeqCst);
    projects.set_desired(id, Desired::Hibernated).await.unwrap();
    let blocked = becomes(projects, id, |project| {
        let mut all = project.status.conditions.iter();
        all.any(|one| {
            one.kind == ConditionType::HibernateBlocked && one.status && one.message.contains("UNIMPLEMENTED")
        })
    })
    .await;
    assert_eq!(blocked.status.head, None);
    assert_eq!(site.names("pods").len(), 1, "it serves on");
    lacks.store(false, Ordering::SeqCst);
    projects.set_desired(id, Desired::Hibernated).await.unwrap();
    let asleep = reaches(projects, id, Phase::Hibernated).await;
    assert!(asleep.status.head.is_some());
}

/// A status with fields of a newer release is read for what it says, and a spec with one is
/// left alone: nothing is made or ended by what is half understood.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a099_a_record_of_a_newer_release_costs_nothing() {
    let site = Site::new().await;
    let controller = site.controller().await;
    let projects = &controller.projects;
    let id = projects.create(name(), spec()).await.unwrap().id;
    let ready = reaches(projects, id, Phase::Ready).await;
    drop(controller);
    let place = crate::place::Place { resource: "projects".to_owned(), name: name().to_string(), ..Default::default() };
    site.api.with(|state| {
        let mut object = state.objects.get(&place).unwrap().clone();
        object["status"]["saga"]["later"] = json!({ "more": [1, 2] });
        object["status"]["weather"] = "fine".into();
        object["metadata"]["annotations"] = json!({ "later.example/x": "y" });
        state.objects.store(&place, object);
    });
    let controller = site.controller().await;
    let projects = &controller.projects;
    let again = reaches(projects, id, Phase::Ready).await;
    assert_eq!(again.status.generation, ready.status.generation);
    assert_eq!((site.names("pods").len(), site.seen().started), (1, 1));
    projects.delete(id, false).await.unwrap();
    goes(projects, id).await;
    assert!(!site.names("namespaces").contains(&namespace(id)));
}
