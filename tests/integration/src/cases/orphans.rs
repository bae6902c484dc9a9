//! What belongs to no project.

use serde_json::{Value, json};

use super::containers::{databases, preset, up};
use crate::{
    cluster::{create, get, has_namespace, kubectl},
    harness::Case,
    patience::{eventually, seen},
    project::Project,
    target::Target,
};

pub(super) fn cases() -> Vec<Case> {
    vec![
        Case::new("orphans::what_belongs_to_no_project_is_told_and_left_alone", told).on_cluster(),
        Case::new("orphans::a_project_that_is_deleted_leaves_nothing", nothing).with_databases(),
    ]
}

/// What the server finds of the project `id`, as kind and name.
async fn found(project: &Project, id: &str) -> Vec<(String, String)> {
    let listed: Value =
        serde_json::from_str(&project.cli.run(&["orphans", "-o", "json"]).await.ok()).expect("the list is JSON");
    let of = listed.as_array().expect("it is a list").iter().filter(|orphan| orphan["projectId"] == id);
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    of.map(|orphan| (text(&orphan["kind"]), text(&orphan["name"]))).collect()
}

/// As a project has it that somebody removed by hand, finalizer and all.
async fn told(target: Target) {
    let project = Project::named(&target, "orphan");
    let id = uuid::Uuid::new_v4().to_string();
    let namespace = format!("proj-{id}");
    let labels = json!({"app.kubernetes.io/managed-by": "remora", "remora.dev/project-id": id});
    create(&json!({
        "apiVersion": "v1", "kind": "Namespace", "metadata": {"name": namespace, "labels": labels},
    }))
    .await;
    create(&json!({
        "apiVersion": "v1", "kind": "Secret",
        "metadata": {"name": "store", "namespace": namespace, "labels": labels}, "stringData": {"a": "b"},
    }))
    .await;
    let told = found(&project, &id).await;
    assert_eq!(told, [("Namespace".to_owned(), namespace.clone())], "nothing gives it rights in there");
    // Of what it may not read it says so, and fails for none of it.
    let run = project.cli.run(&["orphans"]).await;
    assert!(run.code == 0 && run.stderr.contains(&format!("Secrets in {namespace}")), "{run:?}");
    assert!(has_namespace(&namespace).await, "it is nobody's to remove");
    kubectl(&["delete", "namespace", &namespace, "--wait=false"], "").await.expect("it is deleted");
    eventually(|| async {
        let left = found(&project, &id).await;
        seen(left.is_empty(), || format!("still told: {left:?}"))
    })
    .await;
}

/// Kinds of what a project has in the cluster, each with the label of its project.
const KINDS: [&str; 7] =
    ["namespaces", "pods", "deployments", "services", "networkpolicies", "persistentvolumeclaims", "secrets"];

async fn nothing(target: Target) {
    let project = Project::named(&target, "nothing");
    let web = json!({"name": "web", "image": databases(&target), "command": ["sh", "-c", super::IDLE]});
    let spec = json!({
        "layout": "PodPerContainer",
        "workspace": {"volume": {"size": "64Mi", "accessMode": "ReadWriteMany"}},
        "containers": [web, preset(&target, "db", "Postgres"), preset(&target, "cache", "Redis")],
    });
    up(&project, spec, &[]).await;
    let id = project.status().await["id"].as_str().expect("a project has an id").to_owned();
    let namespace = project.namespace().await;
    assert_eq!(found(&project, &id).await, [], "what is of a project is no orphan");
    let there = left(&namespace, &id).await;
    for kind in KINDS.iter().chain(&["persistentvolumes"]) {
        assert!(there.iter().any(|(one, _)| one == kind), "no {kind} to be looked for: {there:?}");
    }

    project.verb("rm", &["--yes", "--purge"]).await.ok();
    project.is_gone(&namespace).await;
    let other = Project::named(&target, "other");
    eventually(|| async {
        let mut left = left(&namespace, &id).await;
        left.extend(found(&other, &id).await);
        seen(left.is_empty(), || format!("left: {left:?}"))
    })
    .await;
}

/// What the cluster has of a project, beside what the server says: all of its label, and its volumes.
async fn left(namespace: &str, id: &str) -> Vec<(String, String)> {
    let selector = format!("remora.dev/project-id={id}");
    let mut left = Vec::new();
    let name = |object: &Value| object["metadata"]["name"].as_str().unwrap_or_default().to_owned();
    for kind in KINDS {
        let there = get(&[kind, "--all-namespaces", "--selector", &selector]).await;
        left.extend(there["items"].as_array().into_iter().flatten().map(|one| (kind.to_owned(), name(one))));
    }
    let volumes = get(&["persistentvolumes"]).await;
    let of_it = |volume: &&Value| volume["spec"]["claimRef"]["namespace"] == namespace;
    let volumes = volumes["items"].as_array().into_iter().flatten().filter(of_it);
    left.extend(volumes.map(|volume| ("persistentvolumes".to_owned(), name(volume))));
    left
}
