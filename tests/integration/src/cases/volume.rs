//! Workspaces on a volume, which outlives pods.

use serde_json::Value;

use crate::{
    cluster::{kubectl, pod, pods},
    harness::Case,
    project::{Project, phase},
    store::Store,
    target::Target,
};

pub(super) fn cases() -> Vec<Case> {
    vec![
        Case::new("volume::it_stays_through_a_stop_and_goes_with_a_hibernation", stops_and_sleeps).on_cluster(),
        Case::new("volume::what_a_pod_left_there_without_a_snapshot_gets_one_and_goes_on", left_behind)
            .on_cluster()
            .alone(),
    ]
}

async fn with_volume(target: &Target, word: &str) -> Project {
    let project = Project::named(target, word);
    project.up(None, super::IDLE, &["--volume", "64Mi"]).await.ok();
    project
}

/// Names of the claims in its namespace.
async fn claims(namespace: &str) -> String {
    kubectl(&["get", "persistentvolumeclaims", "--namespace", namespace, "--output", "name"], "")
        .await
        .expect("claims are listed")
}

async fn stops_and_sleeps(target: Target) {
    let project = with_volume(&target, "volume").await;
    let namespace = project.namespace().await;
    assert_eq!(claims(&namespace).await, "persistentvolumeclaim/workspace\n");
    project.shell("mkdir made && echo here > made/it && chmod 640 made/it && ln made/it made/again").await;
    let before = project.tree().await;

    project.verb("stop", &[]).await.ok();
    assert!(pods(&namespace).await.is_empty(), "what is stopped has no pod");
    assert_eq!(claims(&namespace).await, "persistentvolumeclaim/workspace\n", "the volume stays");
    project.verb("start", &[]).await.ok();
    assert_eq!(project.tree().await, before, "the tree is another one");

    project.verb("hibernate", &[]).await.ok();
    assert!(pods(&namespace).await.is_empty(), "what sleeps has no pod");
    assert_eq!(claims(&namespace).await, "", "what sleeps is in the store alone");
    project.verb("wake", &[]).await.ok();
    assert_eq!(project.tree().await, before, "the tree is another one");
    project.remove().await;
}

async fn left_behind(target: Target) {
    let project = with_volume(&target, "left").await;
    let (namespace, generation) = (project.namespace().await, project.generation().await);
    let away = Store::away(&target.namespace).await;
    project.shell("echo in no snapshot > last").await;
    // Without the time that its agent takes to wait for the store.
    let pod = pod(&namespace).await;
    let args = ["delete", "pod", &pod, "--namespace", &namespace, "--grace-period=2", "--wait=false"];
    kubectl(&args, "").await.expect("it is deleted");
    let raised = |status: &Value| status["status"]["generation"].as_u64() > Some(generation);
    project.becomes("the next generation", raised).await;
    away.back().await;
    project.becomes("the next pod", |status| raised(status) && phase("Ready")(status)).await;
    assert_eq!(project.shell("cat last").await, "in no snapshot\n");

    project.verb("hibernate", &[]).await.ok();
    assert_eq!(claims(&namespace).await, "");
    project.verb("wake", &[]).await.ok();
    assert_eq!(project.shell("cat last").await, "in no snapshot\n");
    project.remove().await;
}
