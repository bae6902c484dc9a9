//! The store of trials, taken away or exchanged. Its own pod, and what is in it, is left
//! alone: its Service leads elsewhere meanwhile.

use std::time::Duration;

use serde_json::{Value, json};
use tokio::{net::TcpStream, time::timeout};

use crate::{
    cluster::{create, get, kubectl, patch},
    patience::{eventually, seen},
    token_service::TokenService,
};

/// What selects the Service's pods beside what the chart says.
const LABEL: &str = "remora.dev/store";
/// Where it serves.
const PORT: u16 = 8333;
/// Longest wait for a connection, its name included. Without an endpoint it is refused at once.
const CONNECTS_WITHIN: Duration = Duration::from_secs(2);

/// What is different with the store that answers instead.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Other {
    /// It knows other credentials than those that everybody comes with.
    Credentials,
    /// It has another bucket, and makes none by itself.
    Bucket,
    /// It gives a role to ServiceAccounts of the cluster, beside the keys that it knows.
    Roles,
}

/// The store, whose Service leads nowhere or to another one.
pub(crate) struct Store {
    namespace: String,
    service: String,
    /// The pod that answers instead.
    other: Option<String>,
    /// What the token service of that pod needs.
    token_service: Option<TokenService>,
    /// Whether it leads to the first one again.
    whole: bool,
}

/// A case that fails meanwhile leaves the others their store.
impl Drop for Store {
    fn drop(&mut self) {
        if !self.whole {
            let back = json!({"spec": {"selector": {LABEL: null}}}).to_string();
            let kubectl = |args: &[&str]| std::process::Command::new("kubectl").args(args).status();
            if let Some(other) = &self.other {
                _ = kubectl(&["delete", "pod", other, "--namespace", &self.namespace, "--grace-period=1"]);
            }
            _ = kubectl(&["patch", &self.service, "--namespace", &self.namespace, "--patch", &back]);
        }
    }
}

impl Store {
    /// Takes the way away.
    pub(crate) async fn away(namespace: &str) -> Store {
        let store = Store {
            namespace: namespace.to_owned(),
            service: part(namespace, "service").await,
            other: None,
            token_service: None,
            whole: false,
        };
        store.lead(&json!("nowhere")).await;
        store.is_reached(false).await;
        store
    }

    /// Lets another store answer, as real as the first one.
    pub(crate) async fn exchanged(namespace: &str, other: Other) -> Store {
        let name = format!("store-{}", &uuid::Uuid::new_v4().simple().to_string()[..8]);
        // First the way, so that nothing leads to both.
        let mut store = Store::away(namespace).await;
        store.lead(&json!(name)).await;
        if matches!(other, Other::Roles) {
            store.token_service = Some(TokenService::prepared(namespace, &name, LABEL).await);
        }
        create(&store.pod(&name, other).await).await;
        store.other = Some(name.clone());
        let wait = ["wait", "--for=condition=Ready", "--timeout=120s", "--namespace", namespace, "pod", &name];
        kubectl(&wait, "").await.expect("the other store serves");
        store.is_reached(true).await;
        store
    }

    /// Its pod: as the chart's, but for what is different.
    async fn pod(&self, name: &str, other: Other) -> Value {
        let deployment = part(&self.namespace, "deployment").await;
        let deployment = get(&[&deployment, "--namespace", &self.namespace]).await;
        let template = &deployment["spec"]["template"];
        let (mut labels, mut spec) = (template["metadata"]["labels"].clone(), template["spec"].clone());
        labels[LABEL] = json!(name);
        for volume in spec["volumes"].as_array_mut().expect("it has volumes") {
            *volume = json!({"name": volume["name"], "emptyDir": {}});
        }
        let container = &mut spec["containers"][0];
        match other {
            Other::Credentials => {
                let variables = container["env"].as_array_mut().expect("it has variables");
                variables.retain(|variable| variable["name"] != "AWS_SECRET_ACCESS_KEY");
                variables.push(json!({"name": "AWS_SECRET_ACCESS_KEY", "value": "of-somebody-else"}));
            }
            Other::Bucket => {
                let arguments = container["args"].as_array_mut().expect("it has arguments");
                arguments.retain(|argument| argument.as_str().is_none_or(|text| !text.starts_with("-bucket")));
                arguments.extend([json!("-bucket=of-somebody-else"), json!("-s3.autoCreateBucket=false")]);
            }
            Other::Roles => TokenService::added_to(&mut spec, name),
        }
        let metadata = json!({"name": name, "namespace": self.namespace, "labels": labels});
        json!({"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": spec})
    }

    /// Gives it back.
    pub(crate) async fn back(mut self) {
        if let Some(other) = &self.other {
            let end = ["delete", "pod", other, "--namespace", &self.namespace, "--grace-period=1"];
            kubectl(&end, "").await.expect("the other store ends");
        }
        drop(self.token_service.take());
        self.lead(&Value::Null).await;
        self.is_reached(true).await;
        self.whole = true;
    }

    /// Waits until new connections get through, or do not: the node follows a Service a moment later.
    async fn is_reached(&self, wanted: bool) {
        let host = format!("{}.{}.svc", self.service.trim_start_matches("service/"), self.namespace);
        let host = host.as_str();
        eventually(|| async move {
            let connects = TcpStream::connect((host, PORT));
            let reached = timeout(CONNECTS_WITHIN, connects).await.is_ok_and(|connected| connected.is_ok());
            seen(reached == wanted, || format!("{host} is reached: {reached}"))
        })
        .await;
    }

    async fn lead(&self, to: &Value) {
        patch(&self.namespace, &self.service, &json!({"spec": {"selector": {LABEL: to}}})).await;
    }
}

/// The store's only object of a kind, as `kind/name`.
async fn part(namespace: &str, kind: &str) -> String {
    let selector = "app.kubernetes.io/component=trial-store";
    let args = ["get", kind, "--namespace", namespace, "--selector", selector, "--output", "name"];
    let listed = kubectl(&args, "").await.expect("it is listed");
    assert_eq!(listed.lines().count(), 1, "one trial store: {listed:?}");
    listed.trim().to_owned()
}
