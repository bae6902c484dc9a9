//! What a control plane knows of the projects while lists are slow and leaders come and go.

use std::time::Instant;

use futures_util::future::join_all;
use remora_control_plane_kube::limits;
use remora_control_plane_runtime::ChangeKind;
use remora_proto_model::project::{OrphanKind, Phase};
use serde_json::json;

use crate::{
    faults::Fault,
    place::Verb,
    server::{Call, Doom},
    site::{Site, name, reaches, spec, until},
};

/// A list of the projects is on its way while one is made: it does not take that one away.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_list_that_is_older_than_a_project_does_not_end_it() {
    let site = Site::new().await;
    let controller = site.controller().await;
    let projects = &controller.projects;
    let watches = |call: &Call| call.asked.verb == Verb::Watch && call.asked.place.resource == "projects";
    until("the projects are watched", || site.api.state().calls.iter().any(watches)).await;
    site.api.with(|state| {
        let faults = &mut state.faults;
        faults.add(Fault::Late, Some(1), |asked| asked.verb == Verb::List && asked.place.resource == "projects");
        state.doom(Doom::Expired);
    });
    until("the list is asked for", || site.api.state().calls.iter().any(|call| call.fault == Some(Fault::Late))).await;
    let (_, mut changes) = projects.watch();
    let id = projects.create(name(), spec()).await.unwrap().id;
    let released = Instant::now();
    site.api.with(|state| state.faults.release());
    // It begins when what was listed has been taken over.
    let again = |call: &Call| call.at > released && watches(call);
    until("the projects are watched again", || site.api.state().calls.iter().any(again)).await;
    assert_eq!(projects.get(id).map(|project| project.id), Ok(id));
    reaches(projects, id, Phase::Ready).await;
    while let Ok(change) = changes.try_recv() {
        assert_ne!(change.kind, ChangeKind::Deleted, "{change:?}");
    }
    assert_eq!(site.seen().started, 1);
}

/// Whoever begins to act while projects come acts on each of them.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn none_is_left_out_that_comes_while_a_leader_begins() {
    let site = Site::new().await;
    let controller = site.controller().await;
    let projects = &controller.projects;
    for round in 0..8 {
        projects.yield_lead().await;
        let comes = (0..4).map(|each| projects.create(format!("shop-{round}-{each}").parse().unwrap(), spec()));
        let (made, ()) = tokio::join!(join_all(comes), projects.lead());
        for project in made {
            let namespace = format!("proj-{}", project.unwrap().id);
            until("somebody acts on it", || site.names("namespaces").contains(&namespace)).await;
        }
    }
}

/// What is on a page behind the first is found like what is on that.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_page_of_a_list_is_read() {
    const LEFT: usize = limits::LIST_PAGE as usize + 100;
    let site = Site::new().await;
    let controller = site.controller().await;
    let projects = &controller.projects;
    let id = projects.create(name(), spec()).await.unwrap().id;
    reaches(projects, id, Phase::Ready).await;
    for _ in 0..LEFT {
        let id = uuid::Uuid::new_v4().to_string();
        let labels = json!({ "app.kubernetes.io/managed-by": "remora", "remora.dev/project-id": id });
        site.api.put("namespaces", "", json!({ "metadata": { "name": format!("proj-{id}"), "labels": labels } }));
    }
    let found = projects.orphans().await.unwrap();
    let namespaces = found.orphans.iter().filter(|orphan| orphan.kind == OrphanKind::Namespace).count();
    let more = format!("{} more of kind {} are not listed", LEFT - namespaces, OrphanKind::Namespace);
    assert!(namespaces > 0 && found.unseen.contains(&more), "{namespaces} are listed; {:?}", found.unseen);
    assert!(found.orphans.iter().all(|orphan| orphan.project_id != id.to_string()));
}
