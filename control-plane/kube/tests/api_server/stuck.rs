//! What cannot end: a namespace that stays, an agent that is gone, a store that is down.

use std::time::{Duration, Instant};

use remora_proto_model::project::{ConditionType, Desired, Phase, Project};
use tokio::time::sleep_until;

use crate::{
    faults::busiest,
    site::{Site, becomes, goes, name, namespace, reaches, spec, spec_on_a_volume, until},
};

/// How long it cannot.
const STUCK: Duration = Duration::from_secs(6);
/// Most requests a second about one object, meanwhile.
const MOST: f64 = 5.0;

fn says(project: &Project, kind: ConditionType, word: &str) -> bool {
    let mut conditions = project.status.conditions.iter();
    conditions.any(|condition| condition.kind == kind && condition.status && condition.message.contains(word))
}

/// Nothing of the project's records goes while its namespace stays, and asking is bounded.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a092_a_namespace_that_stays_keeps_its_project() {
    let site = Site::new().await;
    let controller = site.controller().await;
    let projects = &controller.projects;
    let id = projects.create(name(), spec()).await.unwrap().id;
    reaches(projects, id, Phase::Ready).await;
    site.api.with(|state| state.objects.namespaces_stay = true);
    projects.delete(id, false).await.unwrap();
    // Until all that is left is to see it gone.
    let emptied = || site.api.state().objects.places().iter().all(|place| place.namespace.is_empty());
    until("what is in it goes", emptied).await;
    let began = Instant::now();
    sleep_until((began + STUCK).into()).await;
    let (most, place) = busiest(&site.api.state().calls, began);
    assert!(most <= MOST, "{place} was asked {most} times a second");
    let project = projects.get(id).unwrap();
    assert_eq!(project.status.phase, Phase::Deleting);
    assert_eq!((site.names("projects").len(), site.names("namespaces")), (1, vec![namespace(id)]));
    site.api.with(|state| {
        state.objects.namespaces_stay = false;
        state.objects.end_namespaces();
    });
    goes(projects, id).await;
    assert_eq!(site.places(), []);
}

/// Somebody deleted the namespace of a project that runs: what comes after that is whole.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a092_a_namespace_that_somebody_deleted_is_made_again_when_it_is_gone() {
    let site = Site::new().await;
    let controller = site.controller().await;
    let projects = &controller.projects;
    let id = projects.create(name(), spec()).await.unwrap().id;
    let before = reaches(projects, id, Phase::Ready).await;
    let began = Instant::now();
    site.api.with(|state| state.objects.namespaces_stay = true);
    site.deletes("namespaces", "", &namespace(id));
    sleep_until((began + STUCK).into()).await;
    let (most, place) = busiest(&site.api.state().calls, began);
    assert!(most <= MOST, "{place} was asked {most} times a second");
    assert_eq!(site.names("pods").len(), 0);
    site.api.with(|state| {
        state.objects.namespaces_stay = false;
        state.objects.end_namespaces();
    });
    let after = becomes(projects, id, |project| {
        project.status.phase == Phase::Ready && project.status.generation > before.status.generation
    })
    .await;
    assert!(after.status.head.is_some(), "what it held is on the store");
    let seen = site.seen();
    assert_eq!((seen.most, &seen.lost), (1, &Vec::new()));
}

/// Without the store nothing is let go of, however it is asked to end, and all of it ends
/// once the store is back.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a092_without_the_store_no_finalizer_goes() {
    let site = Site::new().await;
    let controller = site.controller().await;
    let projects = &controller.projects;
    let id = projects.create(name(), spec()).await.unwrap().id;
    let ready = reaches(projects, id, Phase::Ready).await;
    site.bucket.content().down = true;
    let began = Instant::now();
    projects.delete(id, false).await.unwrap();
    becomes(projects, id, |project| says(project, ConditionType::HibernateBlocked, "STORE_UNAVAILABLE")).await;
    sleep_until((began + STUCK).into()).await;
    let (most, place) = busiest(&site.api.state().calls, began);
    assert!(most <= MOST, "{place} was asked {most} times a second");
    {
        let state = site.api.state();
        for resource in ["pods", "projects"] {
            let objects = state.objects.of(resource);
            assert_eq!(objects.len(), 1, "{resource}");
            assert_eq!(objects[0]["metadata"]["finalizers"].as_array().map(Vec::len), Some(1), "{resource}");
        }
        assert!(state.objects.of("pods")[0]["metadata"]["deletionTimestamp"].is_null(), "it serves on");
    }
    assert_eq!(projects.get(id).unwrap().status.generation, ready.status.generation);
    site.bucket.content().down = false;
    goes(projects, id).await;
    assert_eq!((site.places(), &site.seen().lost), (Vec::new(), &Vec::new()));
    let kept: Vec<String> = site.bucket.content().objects.keys().cloned().collect();
    assert!(kept.iter().any(|key| key.contains("/roots/")), "{kept:?}");
}

/// A pod whose agent ended without a word holds nothing up: that is told, and the head stays.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a092_an_agent_that_is_gone_takes_no_head_along() {
    let site = Site::new().await;
    let controller = site.controller().await;
    let projects = &controller.projects;
    let id = projects.create(name(), spec()).await.unwrap().id;
    reaches(projects, id, Phase::Ready).await;
    projects.set_desired(id, Desired::Hibernated).await.unwrap();
    let asleep = reaches(projects, id, Phase::Hibernated).await;
    projects.set_desired(id, Desired::Running).await.unwrap();
    reaches(projects, id, Phase::Ready).await;
    let [pod] = &site.names("pods")[..] else { panic!("one pod") };
    site.seen().speechless.insert(pod.clone());
    site.deletes("pods", &namespace(id), pod);
    let after = becomes(projects, id, |project| {
        let hydrated = project.status.conditions.iter().find(|condition| condition.kind == ConditionType::Hydrated);
        project.status.phase == Phase::Ready
            && hydrated.is_some_and(|condition| condition.message.contains("without a last snapshot"))
    })
    .await;
    assert_eq!(after.status.head, asleep.status.head, "what it was restored from is the newest there is");
    projects.delete(id, false).await.unwrap();
    goes(projects, id).await;
    assert_eq!((site.places(), site.seen().most), (Vec::new(), 1));
}

/// A volume that never comes is told, and keeps nobody: there is nothing on it to be kept.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_volume_that_never_comes_holds_no_sleep_and_no_removal_up() {
    let site = Site::new().await;
    let controller = site.controller().await;
    let projects = &controller.projects;
    site.seen().volumes_stay_away = true;
    let id = projects.create(name(), spec_on_a_volume()).await.unwrap().id;
    let waits = |project: &Project| {
        project.status.conditions.iter().any(|condition| condition.message.contains("the pod waits for what it mounts"))
    };
    becomes(projects, id, waits).await;
    projects.set_desired(id, Desired::Hibernated).await.unwrap();
    let asleep = becomes(projects, id, |project| {
        assert!(!says(project, ConditionType::HibernateBlocked, ""), "nothing is in its way: {:?}", project.status);
        project.status.phase == Phase::Hibernated
    });
    assert_eq!(asleep.await.status.head, None, "no snapshot is made of nothing");
    assert_eq!((site.names("pods").len(), site.names("persistentvolumeclaims").len()), (0, 0));

    projects.set_desired(id, Desired::Running).await.unwrap();
    becomes(projects, id, waits).await;
    projects.delete(id, false).await.unwrap();
    goes(projects, id).await;
    assert_eq!((site.places(), site.seen().started), (Vec::new(), 0));
}
