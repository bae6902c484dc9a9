//! A control plane that is killed at every call that changes something, before that is done
//! and after. A run does a part of them, which its seed says: REMORA_RESTART_SEED; with
//! REMORA_EVERY_RESTART=1 all.

use std::{
    env,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use futures_util::{StreamExt as _, stream};
use remora_control_plane_runtime::Projects;
use remora_proto_model::{
    ProjectId,
    project::{Desired, Phase},
};
use tokio::time::{sleep, timeout};

use crate::site::{PATIENCE, Site, goes, name, reaches, spec};

/// How many of these run at once: most of the time each waits.
const AT_ONCE: usize = 8;
/// Of so many kills a run does one.
const STRIDE: usize = 5;
/// Time between two looks whether the call was reached.
const LOOK: Duration = Duration::from_millis(10);

/// What a caller wants of a project, one after the other; how far it is stands in `stage`.
async fn life(projects: Projects, stage: Arc<AtomicUsize>) {
    while stage.load(Ordering::SeqCst) < STAGES {
        let at = stage.load(Ordering::SeqCst);
        let there = projects.resolve(name().as_str()).await.ok();
        match (at, there) {
            (0, _) => {
                // One that was made and whose maker was not told is the same one.
                let made = projects.create(name(), spec()).await.unwrap();
                reaches(&projects, made.id, Phase::Ready).await;
            }
            (1, Some(id)) => wants(&projects, id, Desired::Hibernated, Phase::Hibernated).await,
            (2, Some(id)) => wants(&projects, id, Desired::Running, Phase::Ready).await,
            (3, Some(id)) => {
                // It may be gone before this is answered.
                _ = projects.delete(id, false).await;
                goes(&projects, id).await;
            }
            (3, None) => {}
            (at, None) => panic!("in stage {at} the project is gone"),
            (at, _) => panic!("there is no stage {at}"),
        }
        stage.store(at + 1, Ordering::SeqCst);
    }
}

const STAGES: usize = 4;

async fn wants(projects: &Projects, id: ProjectId, desired: Desired, phase: Phase) {
    projects.set_desired(id, desired).await.unwrap();
    reaches(projects, id, phase).await;
}

/// Lives through with a kill at the write after `answered` others, which was done before that
/// or not; how many writes there were, where it was not reached.
async fn killed_at(answered: usize, done: bool) -> Option<usize> {
    let what = format!("killed at write {answered}, which was {}done", if done { "" } else { "not " });
    let site = Site::new().await;
    site.api.state().faults.freeze_after(answered, done);
    let stage = Arc::new(AtomicUsize::new(0));
    let first = site.starting();
    let lived = {
        let stage = Arc::clone(&stage);
        first.lives(|projects| life(projects, stage))
    };
    let frozen = async {
        while !site.api.state().faults.frozen {
            sleep(LOOK).await;
        }
    };
    let whole = tokio::select! {
        () = frozen => false,
        lived = lived => {
            lived.unwrap_or_else(|error| panic!("{what}: {error}"));
            true
        }
    };
    let writes = site.api.state().calls.iter().filter(|call| call.asked.writes()).count();
    first.kill();
    site.api.state().faults.clear();
    if !whole {
        let next = site.starting();
        let lived = {
            let stage = Arc::clone(&stage);
            next.lives(|projects| life(projects, stage))
        };
        let lived = timeout(PATIENCE * 2, lived)
            .await
            .unwrap_or_else(|_| panic!("{what}, in stage {}: {}", stage.load(Ordering::SeqCst), site.tells()));
        lived.unwrap_or_else(|error| panic!("{what}: {error}"));
        next.kill();
    }
    let seen = site.seen();
    assert_eq!(seen.most, 1, "{what}: pods at the same moment");
    assert_eq!(seen.lost, [""; 0], "{what}: let go of before it was safe");
    assert_eq!(site.places(), [], "{what}: left in the cluster");
    let kept: Vec<String> = site.bucket.content().objects.keys().cloned().collect();
    assert_eq!(kept.iter().filter(|key| key.ends_with("/tombstone")).count(), 1, "{what}: {kept:?}");
    assert!(kept.iter().any(|key| key.contains("/roots/")), "{what}: {kept:?}");
    whole.then_some(writes)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a090_a_control_plane_that_is_killed_at_any_call_leaves_the_same_end_and_no_orphan() {
    let seed = env::var("REMORA_RESTART_SEED").ok().and_then(|text| text.parse().ok());
    let seed: usize = seed.unwrap_or_else(|| std::process::id().try_into().unwrap());
    let (first, stride) = if env::var_os("REMORA_EVERY_RESTART").is_some() { (0, 1) } else { (seed % STRIDE, STRIDE) };
    eprintln!("REMORA_RESTART_SEED={seed}");
    // Undisturbed, for the number of writes.
    let writes = killed_at(usize::MAX, false).await.expect("nothing is met");
    assert!(writes > 30, "{writes} writes");
    let kills: Vec<_> = (0..writes * 2).skip(first).step_by(stride).collect();
    let all = kills.len();
    let reached = stream::iter(kills)
        .map(|kill| async move { usize::from(killed_at(kill / 2, kill % 2 == 1).await.is_none()) })
        .buffer_unordered(AT_ONCE)
        .fold(0, |sum, reached| async move { sum + reached })
        .await;
    // How often a status is written at the end is chance.
    assert!(reached * 10 > all * 8, "seed {seed}: {reached} of {all} kills were met");
    eprintln!("{reached} of {all} kills, {writes} writes of one life");
}
