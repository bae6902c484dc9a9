//! A node that is lost: its kubelet answers no more, and what runs there runs on.

use std::time::Duration;

use serde_json::{Value, json};

use crate::{
    cluster::{get, kubectl, pods},
    harness::Case,
    host::Pause,
    patience::{LOOK, eventually, seen},
    project::{Project, phase},
    target::Target,
};

pub(super) fn cases() -> Vec<Case> {
    vec![
        Case::new("nodes::a_project_of_a_lost_node_goes_on_elsewhere_and_what_runs_there_still_changes_nothing", lost)
            .on_host()
            .on_full_profile(),
    ]
}

/// How long the kubelet is away: twice what it takes the cluster to notice that and to take
/// its pods (17 s in the full profile), a pod's grace (60 s), the silence after that with
/// which its node counts as lost (10 s), and another pod's start.
const AWAY: Duration = Duration::from_secs(200);

/// Which node is not the one that has the release's trial store: its loss would be that of every snapshot.
async fn nodes(target: &Target) -> (String, String) {
    let label = "app.kubernetes.io/component=trial-store";
    let store = get(&["pods", "--namespace", &target.namespace, "--selector", label]).await;
    let kept = store["items"][0]["spec"]["nodeName"].as_str().expect("the store runs on a node").to_owned();
    let all = get(&["nodes"]).await;
    let names = all["items"].as_array().into_iter().flatten().map(|node| node["metadata"]["name"].as_str());
    let lost = names.flatten().find(|name| *name != kept).expect("there is another node").to_owned();
    (kept, lost)
}

async fn cordon(node: &str, is: bool) {
    let change = json!({"spec": {"unschedulable": is}}).to_string();
    kubectl(&["patch", "node", node, "--patch", &change], "").await.expect("it is changed");
}

async fn node_of(namespace: &str) -> String {
    let pods = pods(namespace).await;
    assert_eq!(pods.len(), 1, "one pod: {pods:#?}");
    pods[0]["spec"]["nodeName"].as_str().expect("it runs on a node").to_owned()
}

async fn lost(target: Target) {
    let (kept, lost) = nodes(&target).await;
    cordon(&kept, true).await;
    let project =
        Project::empty(&target, "lost", "echo $$ >>starts; while :; do date +%s >clock; sleep 0.2; done").await;
    cordon(&kept, false).await;
    let (namespace, generation) = (project.namespace().await, project.generation().await);
    assert_eq!(node_of(&namespace).await, lost);
    let old = pods(&namespace).await[0]["metadata"]["uid"].clone();
    project.shell("echo before >file").await;
    project.cli.run(&["snapshot", "create", &project.name]).await.ok();

    let pause = Pause::of_kubelet(&target.namespace, &lost, AWAY).await;
    // The server may have a replica on that node, which is behind its Service until the loss is noticed.
    loop {
        let told = project.verb("status", &["-o", "json"]).await;
        let status: Value = serde_json::from_slice(&told.stdout).unwrap_or_default();
        if status["status"]["generation"].as_u64() > Some(generation) && phase("Ready")(&status) {
            assert!(status["status"].to_string().contains("its node is lost"), "it says what was lost: {status:#}");
            break;
        }
        assert!(pause.elapsed() < AWAY, "no next pod: {told:?}");
        tokio::time::sleep(LOOK).await;
    }
    assert!(pause.elapsed() < AWAY && !pause.answers().await, "its node was back before it was noticed");
    let serving = pods(&namespace).await;
    let serving = serving.iter().find(|pod| pod["metadata"]["uid"] != old).expect("another pod");
    assert_eq!(serving["spec"]["nodeName"], *kept);
    assert_eq!(project.shell("cat file; wc -l <starts").await, "before\n2\n");
    project.shell("echo after >file").await;

    // The old one is asked to end by its own kubelet, and says its last word: into nothing.
    pause.ends().await;
    eventually(|| async {
        let left = pods(&namespace).await;
        seen(left.iter().all(|pod| pod["metadata"]["uid"] != old), || format!("the old pod stays: {left:#?}"))
    })
    .await;
    project.verb("hibernate", &[]).await.ok();
    project.verb("wake", &[]).await.ok();
    assert_eq!(project.shell("cat file; wc -l <starts").await, "after\n3\n");
    project.remove().await;
}
