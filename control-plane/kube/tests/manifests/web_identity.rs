//! A store without keys: what of a project's objects is different then.

use std::collections::BTreeSet;

use k8s_openapi::api::core::v1::{Container, Pod};
use remora_control_plane_kube::manifests;
use remora_control_plane_runtime::{StoreCredentials, WebIdentity};

use crate::{containers, project, project::Made, restricted};

const ROLE: &str = "arn:aws:iam::123456789012:role/snapshots";

fn with_token(mut made: Made, sts_endpoint: Option<&str>) -> Made {
    made.settings.store.credentials = StoreCredentials::WebIdentity(WebIdentity {
        role_arn: ROLE.to_owned(),
        token_file: "/of/the/control-plane".into(),
        audience: "minio".to_owned(),
        sts_endpoint: sts_endpoint.map(str::to_owned),
    });
    made
}

/// The token's volumes of `pod`, whatever they are called.
fn tokens(pod: &Pod) -> Vec<String> {
    let volumes = pod.spec.as_ref().unwrap().volumes.iter().flatten();
    volumes.filter(|volume| volume.projected.is_some()).map(|volume| volume.name.clone()).collect()
}

/// Names of the variables by which an AWS SDK finds credentials.
fn variables(container: &Container) -> BTreeSet<&str> {
    let names = container.env.iter().flatten().map(|variable| variable.name.as_str());
    names.filter(|name| name.starts_with("AWS_")).collect()
}

/// Who mounts the token, of all the containers of `pod`.
fn who_sees_the_token(pod: &Pod) -> BTreeSet<String> {
    let token = tokens(pod);
    assert_eq!(token.len(), 1, "one token");
    let sees = |container: &Container| {
        let mut mounts = container.volume_mounts.iter().flatten();
        let mounted = mounts.find(|mount| mount.name == token[0]);
        assert!(mounted.is_none_or(|mount| mount.read_only == Some(true)));
        assert_eq!(mounted.is_some(), !variables(container).is_empty(), "{}", container.name);
        mounted.is_some()
    };
    containers(pod).into_iter().filter(sees).map(|container| container.name).collect()
}

#[test]
fn the_token_is_the_agents_alone() {
    for made in [project::small(), project::full(), project::shop("SinglePod")] {
        let made = with_token(made, Some("https://sts.example.com"));
        let context = made.context();
        let (pod, rest) = (manifests::pod(&context), manifests::at_rest(&context));
        assert_eq!(who_sees_the_token(&pod), ["agent".to_owned(), "hydrate".to_owned()].into());
        assert_eq!(who_sees_the_token(&rest), ["dehydrate".to_owned()].into());
        for pod in [&pod, &rest] {
            let spec = pod.spec.as_ref().unwrap();
            assert_eq!(spec.automount_service_account_token, Some(false));
            // Else a container looks into the agent's by /proc.
            assert_ne!(spec.share_process_namespace, Some(true));
            assert_eq!(restricted::violations(spec), [""; 0]);
            let text = serde_norway::to_string(pod).unwrap();
            assert!(!text.contains("AWS_SECRET_ACCESS_KEY") && !text.contains("/of/the/control-plane"), "{text}");
        }
        assert_eq!(manifests::store_secret(&context), None);
        let account = manifests::service_account(&context);
        assert!(account.metadata.annotations.is_none(), "no webhook is asked to give the token to every container");
    }
}

#[test]
fn of_several_pods_the_owners_has_it() {
    let made = with_token(project::shop("PodPerContainer"), None);
    let mut having = Vec::new();
    for deployment in manifests::deployments(&made.context()) {
        let template = deployment.spec.unwrap().template;
        let pod = Pod { spec: template.spec, ..Pod::default() };
        if !tokens(&pod).is_empty() {
            assert_eq!(who_sees_the_token(&pod), ["agent".to_owned(), "hydrate".to_owned()].into());
            having.push(deployment.metadata.name.unwrap());
        }
        assert!(containers(&pod).iter().all(|container| variables(container).is_empty() || !tokens(&pod).is_empty()));
    }
    assert_eq!(having, ["web"], "it makes the snapshots");
}

#[test]
fn an_agent_has_what_every_sdk_looks_for() {
    let made = with_token(project::small(), Some("https://sts.example.com/$x"));
    let pod = manifests::pod(&made.context());
    let agent = containers(&pod).into_iter().find(|container| container.name == "agent").unwrap();
    let value = |name: &str| {
        let variable = agent.env.iter().flatten().find(|variable| variable.name == name);
        variable.and_then(|variable| variable.value.clone()).unwrap_or_default()
    };
    assert_eq!(value("AWS_ROLE_ARN"), ROLE);
    assert_eq!(value("AWS_ROLE_SESSION_NAME"), format!("proj-{}", project::ID));
    assert_eq!(value("AWS_ENDPOINT_URL_STS"), "https://sts.example.com/$$x");
    let mounts = agent.volume_mounts.iter().flatten();
    let folder = mounts.into_iter().find(|mount| mount.name == "store-token").unwrap().mount_path.clone();
    assert_eq!(value("AWS_WEB_IDENTITY_TOKEN_FILE"), format!("{folder}/token"));
    let volumes = pod.spec.unwrap().volumes.unwrap();
    let volume = volumes.into_iter().find(|volume| volume.name == "store-token").unwrap();
    let source = volume.projected.unwrap().sources.unwrap().remove(0).service_account_token.unwrap();
    assert_eq!((source.audience.as_deref(), source.path.as_str()), (Some("minio"), "token"));
    assert!(source.expiration_seconds.unwrap() >= 600, "what an API server takes at least");

    let aws = with_token(project::small(), None);
    let agent = containers(&manifests::pod(&aws.context())).remove(2);
    assert!(!variables(&agent).contains("AWS_ENDPOINT_URL_STS"));
}

/// Ports and peers of the policy for the store, as text.
fn to_store(made: &Made) -> Option<String> {
    let policies = manifests::network_policies(&made.context());
    let policy = policies.into_iter().find(|policy| policy.metadata.name.as_deref() == Some("store"))?;
    let rules = policy.spec.unwrap().egress.unwrap();
    Some(rules.iter().map(|rule| serde_json::to_string(rule).unwrap() + "\n").collect())
}

#[test]
fn the_token_service_is_reached_where_it_is_no_part_of_the_internet() {
    let inside = to_store(&with_token(project::small(), Some("https://sts.identity.svc"))).unwrap();
    assert_eq!(inside.lines().count(), 2, "{inside}");
    assert!(inside.contains(r#""kubernetes.io/metadata.name":"identity""#) && inside.contains("443"), "{inside}");
    let same = "http://remora-trial-store.remora-system.svc:8333";
    assert_eq!(to_store(&with_token(project::small(), Some(same))), to_store(&project::small()), "one rule is enough");
    let address = to_store(&with_token(project::small(), Some("https://10.1.2.3:9443"))).unwrap();
    assert!(address.contains(r#""cidr":"10.1.2.3/32""#) && address.contains("9443"), "{address}");

    let mut aws = with_token(project::small(), None);
    aws.settings.store.endpoint = None;
    assert_eq!(to_store(&aws), None, "AWS is a part of the internet");
    aws.settings.store_cidrs = vec!["10.20.0.0/16".to_owned()];
    let private = to_store(&aws).unwrap();
    assert_eq!(private.lines().count(), 1, "{private}");
    assert!(private.contains(r#""cidr":"10.20.0.0/16""#) && private.contains("443"), "{private}");
}
