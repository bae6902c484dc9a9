//! An API server that falls silent: connections stand, and nothing comes.

use std::time::{Duration, Instant};

use futures_util::StreamExt as _;
use remora_control_plane_kube::secrets::{API_KEYS, Secrets};
use remora_proto_model::project::{Desired, Phase};
use serde_json::json;
use tokio::time::{sleep_until, timeout};

use crate::{
    faults::{Fault, busiest},
    place::Place,
    server::{Doom, client},
    site::{PATIENCE, Site, name, reaches, spec},
};

/// How long it is silent: longer than any call or watch is waited for. What comes after
/// that is the same again, for ten minutes or for ten hours.
const SILENCE: Duration = Duration::from_secs(40);
/// Most requests a second about one object, meanwhile.
const MOST: f64 = 5.0;

/// The control plane's own namespace.
const OWN: &str = "remora-system";

/// Calls that hang are given up, the watches that stood are believed no more, and what was
/// changed meanwhile is seen.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a088_a_silence_that_lasts_is_over_when_it_is_over() {
    let site = Site::new().await;
    let controller = site.controller().await;
    let projects = &controller.projects;
    let id = projects.create(name(), spec()).await.unwrap().id;
    reaches(projects, id, Phase::Ready).await;
    site.api.put("namespaces", "", json!({ "metadata": { "name": OWN } }));
    let keys = Secrets::new(client(site.api.address()), OWN).rows(API_KEYS);
    keys.put(vec![("a".to_owned(), b"row".to_vec())]).await.unwrap();
    let mut told = keys.feed();
    assert_eq!(told.next().await.unwrap(), [("a".to_owned(), b"row".to_vec())]);

    let began = Instant::now();
    site.api.with(|state| {
        state.doom(Doom::Silent);
        state.faults.add(Fault::Silence, None, |_| true);
    });
    site.edits("desired", "Hibernated");
    let place = Place { resource: "secrets".to_owned(), namespace: OWN.to_owned(), name: API_KEYS.to_owned() };
    site.changes(&place, |secret| drop(secret["data"].as_object_mut().unwrap().remove("a")));
    let refused = projects.set_desired(id, Desired::Stopped).await.unwrap_err();
    assert!(refused.to_string().contains("did not answer"), "{refused}");
    sleep_until((began + SILENCE).into()).await;
    let (most, place) = busiest(&site.api.state().calls, began);
    assert!(most <= MOST, "{place} was asked {most} times a second");
    site.api.state().faults.clear();
    reaches(projects, id, Phase::Hibernated).await;
    let revoked = async { while told.next().await.is_some_and(|rows| !rows.is_empty()) {} };
    timeout(PATIENCE, revoked).await.expect("a key that was removed meanwhile is known to be");
    assert_eq!((site.seen().most, site.names("pods").len()), (1, 0));
}
