//! What the cluster itself says of a project.

use std::process::Stdio;

use serde_json::Value;
use tokio::{io::AsyncWriteExt as _, process::Command, time::timeout};

use crate::patience::VERB_PATIENCE;

/// Runs `kubectl` with `input`; what it printed, or what it said.
pub(crate) async fn kubectl(args: &[&str], input: &str) -> Result<String, String> {
    let mut child = Command::new("kubectl")
        .args(args)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .expect("kubectl is on PATH");
    let mut stdin = child.stdin.take().expect("stdin is piped");
    _ = stdin.write_all(input.as_bytes()).await;
    drop(stdin);
    let output =
        timeout(VERB_PATIENCE, child.wait_with_output()).await.expect("kubectl ends").expect("it is our child");
    let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
    if output.status.success() { Ok(text(output.stdout)) } else { Err(text(output.stderr)) }
}

/// The pods of a namespace.
pub(crate) async fn pods(namespace: &str) -> Vec<Value> {
    let listed =
        kubectl(&["get", "pods", "--namespace", namespace, "--output", "json"], "").await.expect("pods are listed");
    let listed: Value = serde_json::from_str(&listed).expect("kubectl prints JSON");
    listed["items"].as_array().cloned().unwrap_or_default()
}

/// The name of the only pod of a namespace.
pub(crate) async fn pod(namespace: &str) -> String {
    let pods = pods(namespace).await;
    assert_eq!(pods.len(), 1, "one pod: {pods:#?}");
    pods[0]["metadata"]["name"].as_str().expect("a pod has a name").to_owned()
}

/// How often the container of a pod was started anew.
pub(crate) fn restarts(pod: &Value, container: &str) -> u64 {
    let statuses = ["initContainerStatuses", "containerStatuses"].into_iter();
    let mut statuses = statuses.flat_map(|list| pod["status"][list].as_array().into_iter().flatten());
    let found = statuses.find(|status| status["name"] == container);
    found.and_then(|status| status["restartCount"].as_u64()).expect("the container has a status")
}

/// Evicts a pod, as the drain of a node does.
pub(crate) async fn evict(namespace: &str, pod: &str) {
    let eviction = serde_json::json!({
        "apiVersion": "policy/v1", "kind": "Eviction", "metadata": {"name": pod, "namespace": namespace}
    });
    let path = format!("/api/v1/namespaces/{namespace}/pods/{pod}/eviction");
    kubectl(&["create", "--raw", &path, "--filename", "-"], &eviction.to_string()).await.expect("it is evicted");
}

/// Whether there is such a namespace.
pub(crate) async fn has_namespace(namespace: &str) -> bool {
    match kubectl(&["get", "namespace", namespace, "--output", "name"], "").await {
        Ok(_) => true,
        Err(said) if said.contains("NotFound") => false,
        Err(said) => panic!("{said}"),
    }
}
