//! The server's own replicas: which of them acts, and one more that is to die.

use serde_json::{Value, json};

use crate::{
    cli::Cli,
    cluster::{create, get, kubectl, patch},
    patience::{eventually, seen},
    target::Target,
    token_service::{AUDIENCE, ROLE_ARN},
};

/// The Lease of whoever acts on projects.
const LEASE: &str = "remora";
/// What selects the replicas.
pub(crate) const REPLICAS: &str = "app.kubernetes.io/component=control-plane";
/// How a shell names the end by SIGKILL.
const KILLED: i64 = 128 + 9;

/// Who acts.
pub(crate) async fn leader(namespace: &str) -> String {
    let lease = get(&["lease", LEASE, "--namespace", namespace]).await;
    lease["spec"]["holderIdentity"].as_str().unwrap_or_default().to_owned()
}

/// The command line of one who comes to a replica that does not act.
pub(crate) async fn by_a_follower(target: &Target) -> Cli {
    let address = eventually(|| async {
        let leader = leader(&target.namespace).await;
        let pods = get(&["pods", "--namespace", &target.namespace, "--selector", REPLICAS]).await;
        let follows = |pod: &&Value| {
            let ready = pod["status"]["containerStatuses"][0]["ready"] == true;
            ready && !ends(pod) && !leader.is_empty() && pod["metadata"]["name"] != leader.as_str()
        };
        let found = pods["items"].as_array().into_iter().flatten().find(follows);
        let address = found.and_then(|pod| pod["status"]["podIP"].as_str().map(str::to_owned));
        address.ok_or_else(|| format!("no replica beside {leader:?} serves: {pods:#}"))
    })
    .await;
    Cli::new(&format!("http://{address}:7600"), &target.key)
}

async fn deployment(namespace: &str) -> Value {
    let listed = get(&["deployments", "--namespace", namespace, "--selector", REPLICAS]).await;
    let found = listed["items"].as_array().cloned().unwrap_or_default();
    assert_eq!(found.len(), 1, "one control plane: {found:#?}");
    found[0].clone()
}

/// Starts every replica anew, one after the other.
pub(crate) async fn restart(namespace: &str) {
    let name = name_of(&deployment(namespace).await);
    kubectl(&["rollout", "restart", &name, "--namespace", namespace], "").await.expect("it is restarted");
    settled(namespace, &name).await;
}

fn name_of(deployment: &Value) -> String {
    format!("deployment/{}", deployment["metadata"]["name"].as_str().expect("it has a name"))
}

/// Waits until every replica is as the Deployment `name` says now.
async fn settled(namespace: &str, name: &str) {
    let wait = ["rollout", "status", name, "--namespace", namespace, "--timeout=120s"];
    kubectl(&wait, "").await.expect("its replicas are new");
    // An old one acts until it is told to end, a moment after it takes no new calls.
    let ending = ["pods", "--namespace", namespace, "--selector", REPLICAS];
    eventually(|| async move {
        let pods = get(&ending).await;
        let ends = pods["items"].as_array().into_iter().flatten().any(ends);
        seen(!ends, || "an old replica does not end".to_owned())
    })
    .await;
}

fn ends(pod: &Value) -> bool {
    pod["metadata"]["deletionTimestamp"].is_string()
}

/// No replica runs.
pub(crate) struct Away {
    namespace: String,
    deployment: String,
    replicas: u64,
    /// Whether they are wanted again.
    undone: bool,
}

/// A case that fails meanwhile leaves the others a server.
impl Drop for Away {
    fn drop(&mut self) {
        if !self.undone {
            _ = std::process::Command::new("kubectl").args(self.scale(self.replicas)).status();
        }
    }
}

impl Away {
    /// Ends every replica, and returns once none is left.
    pub(crate) async fn taken(namespace: &str) -> Away {
        let deployment = deployment(namespace).await;
        let replicas = deployment["spec"]["replicas"].as_u64().expect("it has a number of replicas");
        let away = Away { namespace: namespace.to_owned(), deployment: name_of(&deployment), replicas, undone: false };
        away.are(0).await;
        let left = ["pods", "--namespace", namespace, "--selector", REPLICAS];
        eventually(|| async move {
            let pods = get(&left).await;
            seen(pods["items"].as_array().is_some_and(Vec::is_empty), || "a replica does not end".to_owned())
        })
        .await;
        away
    }

    /// Returns once they are all there again.
    pub(crate) async fn back(mut self) {
        self.are(self.replicas).await;
        self.undone = true;
        settled(&self.namespace, &self.deployment).await;
    }

    async fn are(&self, replicas: u64) {
        let scale = self.scale(replicas);
        let scale: Vec<&str> = scale.iter().map(String::as_str).collect();
        kubectl(&scale, "").await.expect("it is scaled");
    }

    fn scale(&self, replicas: u64) -> Vec<String> {
        let replicas = format!("--replicas={replicas}");
        ["scale", &self.deployment, "--namespace", &self.namespace, &replicas].map(str::to_owned).into()
    }
}

/// Every replica has other settings than the release gave it.
pub(crate) struct Changed {
    namespace: String,
    deployment: String,
    /// Whether they have their own again.
    undone: bool,
}

/// A case that fails meanwhile leaves the others a server with its own settings.
impl Drop for Changed {
    fn drop(&mut self) {
        if !self.undone {
            let undo = ["rollout", "undo", &self.deployment, "--namespace", &self.namespace];
            _ = std::process::Command::new("kubectl").args(undo).status();
        }
    }
}

impl Changed {
    /// They open the store with a role and have no keys: the Deployment is what the chart makes of `store.webIdentity`.
    pub(crate) async fn with_role(namespace: &str) -> Changed {
        let deployment = deployment(namespace).await;
        let container = &deployment["spec"]["template"]["spec"]["containers"][0];
        let mut variables = container["env"].as_array().into_iter().flatten();
        let endpoint = variables.find(|variable| variable["name"] == "REMORA_S3_ENDPOINT");
        let endpoint = endpoint.expect("the store of trials has a URL")["value"].clone();
        let folder = "/var/run/secrets/store.remora.dev";
        let token = json!({"audience": AUDIENCE, "expirationSeconds": 86_400, "path": "token"});
        let pod = json!({
            "containers": [{
                "name": container["name"],
                "env": [
                    {"name": "AWS_ACCESS_KEY_ID", "$patch": "delete"},
                    {"name": "AWS_SECRET_ACCESS_KEY", "$patch": "delete"},
                    {"name": "REMORA_S3_ROLE_ARN", "value": ROLE_ARN},
                    {"name": "REMORA_S3_TOKEN_AUDIENCE", "value": AUDIENCE},
                    {"name": "REMORA_S3_STS_ENDPOINT", "value": endpoint},
                    {"name": "AWS_WEB_IDENTITY_TOKEN_FILE", "value": format!("{folder}/token")},
                ],
                "volumeMounts": [{"name": "store-token", "mountPath": folder, "readOnly": true}],
            }],
            "volumes": [{"name": "store-token", "projected": {"sources": [{"serviceAccountToken": token}]}}],
        });
        Changed::to(namespace, &deployment, &pod).await
    }

    /// Certificates of ports come from a ClusterIssuer: the Deployment is what the chart makes of
    /// `routing.tls.clusterIssuer`.
    pub(crate) async fn with_issuer(namespace: &str, issuer: &str) -> Changed {
        let deployment = deployment(namespace).await;
        let container = &deployment["spec"]["template"]["spec"]["containers"][0]["name"];
        let tls = json!({"name": "REMORA_ROUTE_TLS", "value": format!("issuer:{issuer}")});
        Changed::to(namespace, &deployment, &json!({"containers": [{"name": container, "env": [tls]}]})).await
    }

    /// Changes the pods of the Deployment by a strategic merge.
    async fn to(namespace: &str, deployment: &Value, pod: &Value) -> Changed {
        let changed = Changed { namespace: namespace.to_owned(), deployment: name_of(deployment), undone: false };
        patch(namespace, &changed.deployment, &json!({"spec": {"template": {"spec": pod}}})).await;
        settled(namespace, &changed.deployment).await;
        changed
    }

    /// Gives them their own settings back.
    pub(crate) async fn back(mut self) {
        let undo = ["rollout", "undo", &self.deployment, "--namespace", &self.namespace];
        kubectl(&undo, "").await.expect("it is undone");
        self.undone = true;
        settled(&self.namespace, &self.deployment).await;
    }
}

/// A replica that acts until it dies, at failpoints, as by kill -9.
///
/// It is none of the Deployment's and takes no calls, so that whoever calls meanwhile meets
/// the others: those who are to end what it has begun.
pub(crate) struct Mortal {
    namespace: String,
    name: String,
    points: Vec<String>,
}

impl Mortal {
    /// One that leads, and dies once each of `points` was reached (`PROJECT=STEP:before`).
    pub(crate) async fn leads(namespace: &str, points: Vec<String>) -> Mortal {
        let name = format!("mortal-{}", &uuid::Uuid::new_v4().simple().to_string()[..8]);
        let template = &deployment(namespace).await["spec"]["template"];
        let mut spec = template["spec"].clone();
        spec["restartPolicy"] = json!("Never");
        // Nobody ever says so: it is behind no Service.
        spec["readinessGates"] = json!([{"conditionType": "remora.dev/takes-calls"}]);
        let variable = json!({"name": "REMORA_FAILPOINT", "value": points.join(",")});
        spec["containers"][0]["env"].as_array_mut().expect("it has variables").push(variable);
        let metadata = json!({"name": name, "namespace": namespace, "labels": template["metadata"]["labels"]});
        create(&json!({"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": spec})).await;
        let mortal = Mortal { namespace: namespace.to_owned(), name, points };
        mortal.becomes("up", |status| status["started"] == true).await;
        // Who leads goes by what the Lease says, and whoever is named in it takes it up.
        let lease = json!({"spec": {"holderIdentity": mortal.name}}).to_string();
        let give = ["patch", "lease", LEASE, "--namespace", namespace, "--type=merge", "--patch", &lease];
        kubectl(&give, "").await.expect("the Lease is given");
        eventually(|| async {
            let leads = mortal.log().await.contains("this server acts on the projects");
            seen(leads, || format!("{} does not lead", mortal.name))
        })
        .await;
        mortal
    }

    /// Waits until it is dead, and has reached every point; another one leads after it.
    pub(crate) async fn dies(self) {
        let status = self.becomes("dead", |status| status["state"]["terminated"].is_object()).await;
        let end = &status["state"]["terminated"];
        assert!(end["exitCode"] == KILLED && end["reason"] != "OOMKilled", "{end:#}");
        let log = self.log().await;
        for point in &self.points {
            assert!(log.contains(&format!("failpoint {point} is reached")), "{point} was not reached:\n{log}");
        }
        eventually(|| async {
            let leader = leader(&self.namespace).await;
            seen(leader != self.name, || format!("nobody leads after {leader}"))
        })
        .await;
        let end = ["delete", "pod", &self.name, "--namespace", &self.namespace, "--wait=false"];
        kubectl(&end, "").await.expect("what is left of it goes");
    }

    async fn becomes(&self, what: &str, wanted: impl Fn(&Value) -> bool) -> Value {
        let wanted = &wanted;
        eventually(|| async move {
            let pod = get(&["pod", &self.name, "--namespace", &self.namespace]).await;
            let status = &pod["status"]["containerStatuses"][0];
            if wanted(status) {
                return Ok(status.clone());
            }
            Err(format!("{} is not {what}: {:#}\n{}", self.name, pod["status"], self.log().await))
        })
        .await
    }

    /// What it said until now; nothing where there is no word yet.
    async fn log(&self) -> String {
        kubectl(&["logs", &self.name, "--namespace", &self.namespace], "").await.unwrap_or_default()
    }
}
