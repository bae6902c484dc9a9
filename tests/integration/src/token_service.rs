//! A token service in the store of trials (SeaweedFS's STS) that gives a role to the
//! cluster's ServiceAccounts: the control plane's, and those of projects.

use serde_json::{Value, json};

use crate::cluster::{create, kubectl};

/// The role that may use the bucket.
pub(crate) const ROLE_ARN: &str = "arn:aws:iam::role/snapshots";
/// Whom the tokens are for.
pub(crate) const AUDIENCE: &str = "sts.amazonaws.com";

/// Where its settings are in the store's pod, and the authority of the API server.
const FOLDER: &str = "/etc/seaweedfs";

/// What it needs of the cluster; gone with this.
pub(crate) struct TokenService {
    namespace: String,
    name: String,
}

impl Drop for TokenService {
    fn drop(&mut self) {
        let kinds = "configmap,networkpolicy,clusterrolebinding";
        let delete = ["delete", kinds, &self.name, "--namespace", &self.namespace, "--ignore-not-found"];
        _ = std::process::Command::new("kubectl").args(delete).status();
    }
}

impl TokenService {
    /// Makes what the pod `name` needs, which carries its name as the label `label`.
    pub(crate) async fn prepared(namespace: &str, name: &str, label: &str) -> TokenService {
        let service = TokenService { namespace: namespace.to_owned(), name: name.to_owned() };
        let metadata = json!({"name": name, "namespace": namespace});
        // Who trusts a token asks the issuer for its keys, and is nobody that the API server knows.
        create(&json!({
            "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRoleBinding", "metadata": {"name": name},
            "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole",
                "name": "system:service-account-issuer-discovery"},
            "subjects": [{"apiGroup": "rbac.authorization.k8s.io", "kind": "Group", "name": "system:unauthenticated"}],
        }))
        .await;
        // The chart's store calls nobody.
        create(&json!({
            "apiVersion": "networking.k8s.io/v1", "kind": "NetworkPolicy", "metadata": metadata,
            "spec": {"podSelector": {"matchLabels": {label: name}}, "policyTypes": ["Egress"], "egress": [{}]},
        }))
        .await;
        let told = kubectl(&["get", "--raw", "/.well-known/openid-configuration"], "").await;
        let issuer: Value = serde_json::from_str(&told.expect("the cluster is an issuer")).expect("it says so in JSON");
        let settings = settings(namespace, &issuer["issuer"]).to_string();
        create(&json!({
            "apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": {"iam.json": settings},
        }))
        .await;
        service
    }

    /// Adds it to the pod `name` of a store.
    pub(crate) fn added_to(spec: &mut Value, name: &str) {
        let container = &mut spec["containers"][0];
        let mut add = |list: &str, item: Value| container[list].as_array_mut().expect("it is a list").push(item);
        add("args", json!(format!("-s3.iam.config={FOLDER}/iam.json")));
        add("env", json!({"name": "SSL_CERT_FILE", "value": format!("{FOLDER}/ca.crt")}));
        add("volumeMounts", json!({"name": "iam", "mountPath": FOLDER, "readOnly": true}));
        let authority = json!({"name": "kube-root-ca.crt", "items": [{"key": "ca.crt", "path": "ca.crt"}]});
        let sources = json!([{"configMap": {"name": name}}, {"configMap": authority}]);
        let volume = json!({"name": "iam", "projected": {"sources": sources}});
        spec["volumes"].as_array_mut().expect("it has volumes").push(volume);
    }
}

/// As in docs/web-identity.md. The key signs what a store of one case gives, for an hour.
fn settings(namespace: &str, issuer: &Value) -> Value {
    let control_plane = format!("system:serviceaccount:{namespace}:remora");
    json!({
        "sts": {
            "tokenDuration": "1h", "maxSessionLength": "12h", "issuer": "remora-integration",
            "signingKey": "cmVtb3JhLXRlc3RzLXNpZ25pbmcta2V5LTMyLWJ5dGVzISE=",
        },
        "providers": [{
            "name": "cluster", "type": "oidc", "enabled": true,
            "config": {"issuer": issuer, "clientId": AUDIENCE},
        }],
        "policy": {"defaultEffect": "Deny", "storeType": "memory"},
        "policies": [{
            "name": "buckets",
            "document": {"Version": "2012-10-17", "Statement": [{
                "Effect": "Allow", "Action": ["s3:*"], "Resource": ["arn:aws:s3:::*", "arn:aws:s3:::*/*"],
            }]},
        }],
        "roles": [{
            "roleName": "snapshots", "roleArn": ROLE_ARN, "attachedPolicies": ["buckets"],
            "trustPolicy": {"Version": "2012-10-17", "Statement": [{
                "Effect": "Allow", "Principal": {"Federated": "cluster"}, "Action": ["sts:AssumeRoleWithWebIdentity"],
                "Condition": {"StringLike": {"oidc:sub": [control_plane, "system:serviceaccount:proj-*:project"]}},
            }]},
        }],
    })
}
