//! The control plane killed before and after every step of a saga: whoever leads next
//! ends it, with the whole tree, in one pod, and leaves nothing behind.
//!
//! Each case has one project for each place. All of them stand in their places when the
//! replica that drives them dies, so that one death cuts them all.

use std::collections::BTreeSet;

use futures_util::future::join_all;
use serde_json::Value;

use crate::{
    cluster::{get, kubectl, pod, pods},
    control_plane::Mortal,
    harness::Case,
    project::{Project, phase},
    target::Target,
};

/// Steps from a pod that serves to none.
const HIBERNATION: [&str; 4] = ["Save", "ReadBack", "Condemn", "Stop"];
/// Steps from a pod that somebody deleted to the next one.
const REPLACEMENT: [&str; 3] = ["Sweep", "RaiseGeneration", "Hydrate"];
/// Steps of a deletion that come after those of a hibernation.
const DELETION: [&str; 2] = ["Tombstone", "Forget"];
/// Steps of one that takes the snapshots along.
const PURGE: [&str; 2] = ["Kill", "PurgeSnapshots"];

pub(super) fn cases() -> Vec<Case> {
    vec![
        Case::new("killed::a_hibernation_that_is_cut_anywhere_ends_and_loses_nothing", hibernation)
            .on_cluster()
            .alone(),
        Case::new("killed::a_pod_that_is_replaced_is_followed_by_one_whatever_is_cut", replacement)
            .on_cluster()
            .alone(),
        Case::new("killed::a_deletion_that_is_cut_anywhere_leaves_nothing", deletion).on_cluster().alone(),
    ]
}

/// A project that is to be cut.
struct Cut {
    project: Project,
    /// `STEP:WHEN`.
    place: String,
    namespace: String,
    generation: u64,
    tree: String,
}

impl Cut {
    /// The failpoint that it is to reach.
    fn point(&self) -> String {
        format!("{}={}", self.project.name, self.place)
    }
}

/// One that serves and has a tree for each side of each of `steps`.
async fn ready(target: &Target, steps: &[&str]) -> Vec<Cut> {
    let places = steps.iter().flat_map(|step| [format!("{step}:before"), format!("{step}:after")]);
    join_all(places.map(async |place| {
        let project = Project::named(target, "cut");
        // Little of the node: they run beside one another.
        project.up(None, super::IDLE, &["--cpu", "20m:1"]).await.ok();
        project.shell("mkdir -p deep/er && head -c 1m /dev/urandom > deep/er/file && ln -s er/file deep/link").await;
        let (namespace, generation, tree) =
            (project.namespace().await, project.generation().await, project.tree().await);
        Cut { project, place, namespace, generation, tree }
    }))
    .await
}

/// A replica that drives them and dies when each is in its place.
async fn mortal(target: &Target, cuts: &[Cut]) -> Mortal {
    Mortal::leads(&target.namespace, cuts.iter().map(Cut::point).collect()).await
}

/// It has one pod of one generation, with the tree that it had.
async fn is_whole(cut: &Cut, status: &Value) {
    let Cut { project, place, namespace, generation, tree } = cut;
    let now = status["status"]["generation"].as_u64();
    assert!(now > Some(*generation), "{place}: {status:#}");
    let now = now.unwrap_or_default();
    let pods = pods(namespace).await;
    assert_eq!(pods.len(), 1, "{place}: {pods:#?}");
    assert_eq!(pods[0]["metadata"]["labels"]["remora.dev/generation"], now.to_string(), "{place}: {:#}", pods[0]);
    assert_eq!(project.tree().await, *tree, "{place}: the tree is another one");
    let secrets = get(&["secrets", "--namespace", namespace]).await;
    let names = secrets["items"].as_array().into_iter().flatten().filter_map(|one| one["metadata"]["name"].as_str());
    let identities: BTreeSet<&str> = names.filter(|name| name.starts_with("agent-g")).collect();
    assert_eq!(identities, BTreeSet::from([format!("agent-g{now}").as_str()]), "{place}");
}

async fn hibernation(target: Target) {
    let cuts = ready(&target, &HIBERNATION).await;
    let mortal = mortal(&target, &cuts).await;
    join_all(cuts.iter().map(async |cut| cut.project.verb("hibernate", &["--no-wait"]).await.ok())).await;
    mortal.dies().await;
    join_all(cuts.into_iter().map(async |cut| {
        let asleep = cut.project.becomes("sleep", phase("Hibernated")).await;
        assert_eq!(asleep["status"]["generation"], cut.generation, "{}: {asleep:#}", cut.place);
        assert!(pods(&cut.namespace).await.is_empty(), "{}: what sleeps has a pod", cut.place);
        cut.project.verb("wake", &[]).await.ok();
        is_whole(&cut, &cut.project.status().await).await;
        cut.project.remove().await;
    }))
    .await;
}

async fn replacement(target: Target) {
    let cuts = ready(&target, &REPLACEMENT).await;
    let mortal = mortal(&target, &cuts).await;
    join_all(cuts.iter().map(async |cut| {
        let pod = pod(&cut.namespace).await;
        let end = ["delete", "pod", &pod, "--namespace", &cut.namespace, "--wait=false"];
        kubectl(&end, "").await.expect("it is deleted");
    }))
    .await;
    mortal.dies().await;
    join_all(cuts.into_iter().map(async |cut| {
        let generation = cut.generation;
        let again =
            |status: &Value| status["status"]["generation"].as_u64() > Some(generation) && phase("Ready")(status);
        let status = cut.project.becomes("the next pod", again).await;
        is_whole(&cut, &status).await;
        cut.project.remove().await;
    }))
    .await;
}

async fn deletion(target: Target) {
    let cuts = ready(&target, &[&DELETION[..], &PURGE].concat()).await;
    let mortal = mortal(&target, &cuts).await;
    join_all(cuts.iter().map(async |cut| {
        let purges = PURGE.iter().any(|step| cut.place.starts_with(step));
        let how: &[&str] = if purges { &["--yes", "--no-wait", "--purge"] } else { &["--yes", "--no-wait"] };
        cut.project.verb("rm", how).await.ok();
    }))
    .await;
    mortal.dies().await;
    join_all(cuts.into_iter().map(async |cut| {
        cut.project.is_gone(&cut.namespace).await;
    }))
    .await;
}
