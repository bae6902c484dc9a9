//! A daemon of the cluster's host that is away for a while: asked for in the ConfigMap
//! host-fault, done by whoever runs the suite (tests/cluster/faults.sh).

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use serde_json::json;
use tokio::time::timeout;

use crate::{
    cluster::kubectl,
    patience::{eventually, seen},
};

/// Longest wait for one answer of an API server that may be away. It is none of kubectl's own
/// flags: with one, kubectl takes its ServiceAccount for no configuration.
const ANSWERS_WITHIN: Duration = Duration::from_secs(2);

/// A daemon that is away.
pub(crate) struct Pause {
    namespace: String,
    number: String,
    /// What the API server answers to, while the daemon is there.
    probe: String,
    began: Instant,
}

impl Pause {
    /// The API server, for `time`.
    pub(crate) async fn of_api_server(namespace: &str, time: Duration) -> Pause {
        Pause::of(namespace, "kube-apiserver", time, "/readyz".to_owned()).await
    }

    /// The kubelet of `node`, for `time`.
    pub(crate) async fn of_kubelet(namespace: &str, node: &str, time: Duration) -> Pause {
        Pause::of(namespace, &format!("kubelet@{node}"), time, format!("/api/v1/nodes/{node}/proxy/healthz")).await
    }

    /// Returns once it is away. The host starts it again by itself: who asked may be
    /// unable to.
    async fn of(namespace: &str, part: &str, time: Duration, probe: String) -> Pause {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let number = since.as_millis().to_string();
        let mut pause = Pause { namespace: namespace.to_owned(), number, probe, began: Instant::now() };
        eventually(|| async { seen(pause.answers().await, || format!("{part} is not there before")) }).await;
        let request = json!({"data": {"request": format!("{} pause {part} {}", pause.number, time.as_secs())}});
        let (request, patch) = (request.to_string(), ["patch", "configmap", "host-fault", "--type=merge"]);
        let ask = [&patch[..], &["--namespace", namespace, "--patch", &request]].concat();
        kubectl(&ask, "").await.expect("the host is asked");
        eventually(|| async { seen(!pause.answers().await, || format!("the host does not stop {part}")) }).await;
        pause.began = Instant::now();
        pause
    }

    /// Whether the daemon is there.
    pub(crate) async fn answers(&self) -> bool {
        ask(&["get", "--raw", &self.probe]).await.is_ok()
    }

    /// How long it has been away.
    pub(crate) fn elapsed(&self) -> Duration {
        self.began.elapsed()
    }

    /// Waits until the host says that it is there again.
    pub(crate) async fn ends(self) {
        let output = "jsonpath={.data.answer}";
        let ask = ["get", "configmap", "host-fault", "--namespace", &self.namespace, "--output", output];
        let answer = eventually(|| async {
            let answer = self::ask(&ask).await.unwrap_or_default();
            let own = answer.strip_prefix(&self.number).map(|word| word.trim().to_owned());
            own.ok_or_else(|| format!("the host does not answer: {answer:?}"))
        })
        .await;
        assert_eq!(answer, "done", "the host did not do it");
    }
}

async fn ask(args: &[&str]) -> Result<String, String> {
    timeout(ANSWERS_WITHIN, kubectl(args, "")).await.unwrap_or_else(|_| Err("no answer in time".to_owned()))
}
