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

/// Runs `kubectl` as the ServiceAccount `account` of `namespace`, by impersonation.
pub(crate) async fn kubectl_as(namespace: &str, account: &str, args: &[&str]) -> Result<String, String> {
    let user = format!("--as=system:serviceaccount:{namespace}:{account}");
    let own = "/var/run/secrets/kubernetes.io/serviceaccount";
    // With any flag of a connection kubectl looks at the ServiceAccount that it runs as no more.
    let inside = match (std::env::var("KUBECONFIG"), std::fs::read_to_string(format!("{own}/token"))) {
        (Err(_), Ok(token)) => vec![
            "--server=https://kubernetes.default.svc".to_owned(),
            format!("--certificate-authority={own}/ca.crt"),
            format!("--token={token}"),
        ],
        _ => Vec::new(),
    };
    let inside = inside.iter().map(String::as_str);
    kubectl(&args.iter().copied().chain([user.as_str()]).chain(inside).collect::<Vec<_>>(), "").await
}

/// What `kubectl get ARGS` prints, as JSON.
pub(crate) async fn get(args: &[&str]) -> Value {
    let told = kubectl(&[&["get", "--output", "json"], args].concat(), "").await;
    let told = told.unwrap_or_else(|said| panic!("get {args:?}: {said}"));
    serde_json::from_str(&told).expect("kubectl prints JSON")
}

/// Makes an object.
pub(crate) async fn create(object: &Value) {
    if let Err(said) = kubectl(&["create", "--filename", "-"], &object.to_string()).await {
        panic!("{object:#}: {said}");
    }
}

/// The pods of a namespace.
pub(crate) async fn pods(namespace: &str) -> Vec<Value> {
    let listed = get(&["pods", "--namespace", namespace]).await;
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

/// Changes an object by a strategic merge.
pub(crate) async fn patch(namespace: &str, object: &str, change: &Value) {
    let change = change.to_string();
    kubectl(&["patch", object, "--namespace", namespace, "--patch", &change], "").await.expect("it is changed");
}

/// All that is told of a pod from now until it is gone.
pub(crate) async fn last_words(namespace: &str, pod: &str) -> tokio::task::JoinHandle<Vec<Value>> {
    let mut child = Command::new("kubectl")
        .args(["get", "pod", pod, "--namespace", namespace, "--watch", "--output", "json"])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .kill_on_drop(true)
        .spawn()
        .expect("kubectl is on PATH");
    let mut stdout = child.stdout.take().expect("stdout is piped");
    let (namespace, pod) = (namespace.to_owned(), pod.to_owned());
    tokio::spawn(async move {
        // The watch goes on until it is ended.
        let _child = child;
        let mut text = Vec::new();
        let gone = async {
            let deadline = std::time::Instant::now() + VERB_PATIENCE;
            while kubectl(&["get", "pod", &pod, "--namespace", &namespace, "--output", "name"], "").await.is_ok() {
                assert!(std::time::Instant::now() < deadline, "pod {pod} does not go");
                tokio::time::sleep(crate::patience::LOOK).await;
            }
        };
        tokio::select! {
            _ = tokio::io::AsyncReadExt::read_to_end(&mut stdout, &mut text) => {}
            () = gone => {}
        }
        let told = serde_json::Deserializer::from_slice(&text).into_iter::<Value>();
        told.filter_map(Result::ok).collect()
    })
}
