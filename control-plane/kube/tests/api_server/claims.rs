//! Whoever knows old things about a project, and acts on them.

use std::{collections::BTreeSet, env, sync::Arc, time::Duration};

use remora_control_plane_kube::KubeRecords;
use remora_control_plane_runtime::{
    Projects,
    records::{Record, Records},
};
use remora_proto_model::{
    Generation, ProjectId, Reason,
    project::{Desired, Phase, Project, ProjectStatus},
};

use crate::{
    faults::Fault,
    place::Verb,
    server::{ApiServer, Doom, client},
    site::{PATIENCE, Site, name, reaches, spec, until},
};

/// Claims of a generation.
const CLAIMS: usize = 1_000;
/// How long somebody waits before they ask again.
const ASKS_AGAIN: Duration = Duration::from_secs(10);
/// Versions of a record that somebody may still take for the newest.
const REMEMBERED: usize = 4;

/// A thousand claims by two control planes that know the record as it was some writes ago,
/// their own among them: of each generation there is one claim that was taken.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a089_of_a_thousand_claims_by_what_is_stale_none_is_taken_twice() {
    let seed = env::var("REMORA_CLAIM_SEED").ok().and_then(|text| text.parse().ok());
    let seed: u64 = seed.unwrap_or_else(|| u64::from(std::process::id()) | 1);
    eprintln!("REMORA_CLAIM_SEED={seed}");
    let server = ApiServer::new().await;
    let planes = [0, 1].map(|_| Arc::new(KubeRecords::new(client(server.address()))));
    let project = Project {
        id: remora_proto_model::ProjectId::new(),
        name: name(),
        resource_version: 0,
        created_ms: 1,
        spec: spec(),
        status: ProjectStatus::default(),
    };
    let first = planes[0].create(Record::new(project)).await.unwrap();
    let id = first.project.id;
    let mut known = vec![first];
    let mut taken = BTreeSet::new();
    let mut random = seed;
    for _ in 0..CLAIMS {
        // Each takes another old copy for the record, and both claim at once.
        let claims = planes.iter().map(|plane| {
            random ^= random << 13;
            random ^= random >> 7;
            random ^= random << 17;
            let back = usize::try_from(random).unwrap() % known.len().min(REMEMBERED);
            let before = known[known.len() - 1 - back].clone();
            let mut after = before.clone();
            after.project.status.generation = before.project.status.generation.next();
            plane.update(before, after)
        });
        for claim in futures_util::future::join_all(claims).await {
            match claim {
                Ok(record) => {
                    let generation = record.project.status.generation;
                    assert!(taken.insert(generation), "seed {seed}: generation {generation} was given twice");
                    known.push(record);
                }
                Err(fault) => assert_eq!(fault.reason, Reason::Conflict, "seed {seed}: {fault}"),
            }
        }
    }
    let last = planes[1].read(id).await.unwrap().unwrap();
    assert_eq!(last.project.status.generation, *taken.last().unwrap(), "seed {seed}");
    assert_eq!(taken.first(), Some(&Generation(1)), "seed {seed}");
    assert_eq!(taken.len() as u64, taken.last().unwrap().0, "seed {seed}: each was given once");
    assert!(taken.len() > CLAIMS / 10, "seed {seed}: {} of {CLAIMS} claims", taken.len());
}

/// Two control planes act at once, each deaf to the other, and are told in turn what is
/// wanted: never do two pods of the project run.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a089_two_leaders_that_hear_nothing_never_run_two_pods() {
    let site = Site::new().await;
    let (one, other) = tokio::join!(site.controller(), site.controller());
    site.api.with(|state| state.doom(Doom::Silent));
    let id = one.projects.create(name(), spec()).await.unwrap().id;
    other.projects.resolve(name().as_str()).await.unwrap();
    for (round, projects) in [&one.projects, &other.projects].into_iter().cycle().take(10).enumerate() {
        let (desired, phase) =
            if round % 2 == 0 { (Desired::Hibernated, Phase::Hibernated) } else { (Desired::Running, Phase::Ready) };
        asks(projects, id, desired, phase).await;
        assert_eq!(site.seen().most.max(1), 1, "round {round}");
    }
    drop(one);
    asks(&other.projects, id, Desired::Running, Phase::Ready).await;
    assert_eq!((site.names("pods").len(), site.seen().most), (1, 1));
    assert_eq!(site.seen().lost, [""; 0]);
}

/// Asks until it is so: what one of two that hear nothing takes for the state of things may
/// be the other's of a while ago, until it writes the next time.
async fn asks(projects: &Projects, id: ProjectId, desired: Desired, phase: Phase) {
    let asking = async {
        loop {
            projects.set_desired(id, desired).await.unwrap();
            if tokio::time::timeout(ASKS_AGAIN, reaches(projects, id, phase)).await.is_ok() {
                return;
            }
        }
    };
    tokio::time::timeout(PATIENCE, asking).await.expect("who asks again gets there");
}

/// One is held up right before it makes its pod, and another one overtakes it: the pod that
/// is made too late does not run beside the other one, and goes.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a089_a_pod_that_is_made_too_late_never_runs() {
    let site = Site::new().await;
    let slow = site.controller().await;
    site.api
        .state()
        .faults
        .add(Fault::Held, Some(1), |asked| asked.verb == Verb::Create && asked.place.resource == "pods");
    let id = slow.projects.create(name(), spec()).await.unwrap().id;
    until("a pod is made", || site.api.state().calls.iter().any(|call| call.fault == Some(Fault::Held))).await;
    assert_eq!(site.names("pods"), [""; 0]);
    let quick = site.controller().await;
    let ready = reaches(&quick.projects, id, Phase::Ready).await;
    assert!(ready.status.generation > Generation(1), "{:?}", ready.status.generation);
    site.api.with(|state| state.faults.release());
    let mut pods = Vec::new();
    until("the pod that came late goes", || {
        pods = site.names("pods");
        let late = site.api.state().calls.iter().any(|call| call.asked.place.name == "dev-g1");
        late && pods.len() == 1 && pods[0] != "dev-g1"
    })
    .await;
    assert_eq!((pods.len(), site.seen().most), (1, 1));
    assert_eq!(site.seen().lost, [""; 0]);
}
