//! An API server that refuses everything for a while, and watches that break.

use std::time::{Duration, Instant};

use remora_proto_model::project::{Desired, Phase};
use serde_json::Value;
use tokio::time::sleep_until;

use crate::{
    faults::{Fault, busiest},
    place::{Asked, Verb},
    server::Doom,
    site::{Site, name, reaches, spec, spec_on_a_volume, until},
};

/// How long it refuses.
const STORM: Duration = Duration::from_secs(6);
/// Most requests a second about one object, meanwhile.
const MOST: f64 = 5.0;

/// A storm of `fault` begins when a project has just been made, and ends.
async fn storm(fault: Fault, of_writes: bool) {
    let site = Site::new().await;
    let controller = site.controller().await;
    let projects = &controller.projects;
    let began = Instant::now();
    site.api.state().faults.add(fault, None, move |asked| match asked.verb {
        Verb::Create => asked.place.resource != "projects",
        _ => !of_writes || asked.writes(),
    });
    let id = projects.create(name(), spec()).await.unwrap().id;
    sleep_until((began + STORM).into()).await;
    let (most, place) = {
        let mut state = site.api.state();
        let refused = state.calls.iter().filter(|call| call.fault.is_some()).count();
        assert!(refused > 1, "{fault:?}: it is asked again");
        let most = busiest(&state.calls, began);
        state.faults.clear();
        most
    };
    assert!(most <= MOST, "{fault:?}: {place} was asked {most} times a second");
    reaches(projects, id, Phase::Ready).await;
    let seen = site.seen();
    assert_eq!((seen.started, seen.most), (1, 1), "{fault:?}");
    drop(seen);
    assert_eq!(site.names("pods").len(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a088_storms_of_refusals_are_waited_out_at_five_requests_a_second() {
    tokio::join!(
        storm(Fault::Status(409), true),
        storm(Fault::Status(500), false),
        storm(Fault::Status(503), false),
        storm(Fault::Later(429, 1), false),
        storm(Fault::Later(429, 3_600), false),
    );
}

/// Watches end in three ways; what is told in between is not missed.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a088_watches_that_expire_or_are_cut_within_an_event_go_on() {
    let broken = async |doom: Doom| {
        let site = Site::new().await;
        let controller = site.controller().await;
        let projects = &controller.projects;
        let id = projects.create(name(), spec()).await.unwrap().id;
        reaches(projects, id, Phase::Ready).await;
        let began = Instant::now();
        site.api.with(|state| state.doom(doom));
        site.edits("desired", "Hibernated");
        reaches(projects, id, Phase::Hibernated).await;
        site.api.with(|state| state.doom(doom));
        site.edits("desired", "Running");
        reaches(projects, id, Phase::Ready).await;
        let watches =
            site.api.state().calls.iter().filter(|call| call.at > began && call.asked.verb == Verb::Watch).count();
        assert!(watches >= 2, "{doom:?}: {watches} were begun anew");
        assert!(watches <= 40, "{doom:?}: {watches} were begun anew");
        assert_eq!(site.seen().most, 1, "{doom:?}");
    };
    tokio::join!(broken(Doom::Expired), broken(Doom::Cut));
}

/// What an earlier start noted of its restore is no word about the next one's, also where the
/// note of that start's own times is refused: that a volume holds a whole tree is recorded, or
/// the start after that would restore over it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_restore_is_noted_although_the_times_of_its_start_could_not_be() {
    for status in [409, 500] {
        let site = Site::new().await;
        let controller = site.controller().await;
        let projects = &controller.projects;
        let id = projects.create(name(), spec_on_a_volume()).await.unwrap().id;
        reaches(projects, id, Phase::Ready).await;
        projects.set_desired(id, Desired::Hibernated).await.unwrap();
        let before = reaches(projects, id, Phase::Hibernated).await.status.generation.0;
        let mut raised = false;
        let of_times = move |_: &Asked, body: &Value| {
            let later = body["status"]["generation"].as_u64().is_some_and(|generation| generation > before);
            let first = !raised;
            raised |= later;
            later && !first
        };
        site.api.state().faults.add_by_body(Fault::Status(status), Some(1), of_times);
        projects.set_desired(id, Desired::Running).await.unwrap();
        reaches(projects, id, Phase::Ready).await;
        let refused = site.api.state().calls.iter().filter(|call| call.fault.is_some()).count();
        assert_eq!(refused, 1, "{status}");
        let tree = || {
            let state = site.api.state();
            let [project] = &state.objects.of("projects")[..] else { panic!("one project") };
            project["status"]["saga"]["tree"].clone()
        };
        until("the tree is recorded as whole", || tree() == "Kept").await;
        assert_ne!(projects.get(id).unwrap().status.timings.hydrated_ms, 0);
    }
}
