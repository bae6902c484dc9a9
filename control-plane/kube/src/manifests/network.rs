//! Who may reach a project's pods, and whom they may reach.
//!
//! One policy denies both ways; each other one opens one thing. None counts on an
//! address range covering a pod or a node, or not covering it: enforcers differ.
//! Where projects share a namespace, they select the pods of their project by its label,
//! and one more, which is the namespace's own, denies whatever is in none of them.

use std::{collections::BTreeMap, net::IpAddr};

use k8s_openapi::{
    api::networking::v1::{
        IPBlock, NetworkPolicy, NetworkPolicyEgressRule, NetworkPolicyIngressRule, NetworkPolicyPeer,
        NetworkPolicyPort, NetworkPolicySpec,
    },
    apimachinery::pkg::{
        apis::meta::v1::{LabelSelector, ObjectMeta},
        util::intstr::IntOrString,
    },
};
use remora_control_plane_runtime::StoreCredentials;
use remora_proto_model::project::Layout;

use super::{
    Context,
    labels::{all_pods, metadata, own_metadata, selecting, with_agent},
    routing::Gate,
};
use crate::defaults::AGENT_PORT;

/// Addresses that are no part of the internet: private (RFC 1918), shared (RFC
/// 6598) and link-local (RFC 3927, with the metadata services of clouds).
const PRIVATE: [&str; 5] = ["10.0.0.0/8", "100.64.0.0/10", "169.254.0.0/16", "172.16.0.0/12", "192.168.0.0/16"];
/// The same of IPv6: unique local (RFC 4193) and link-local, and what a NAT64 makes the former
/// of: all of its local prefix (RFC 8215), and those addresses behind the well-known one (RFC
/// 6052), which it should not translate.
const PRIVATE_6: [&str; 8] = [
    "fc00::/7",
    "fe80::/10",
    "64:ff9b:1::/48",
    "64:ff9b::a00:0/104",
    "64:ff9b::6440:0/106",
    "64:ff9b::a9fe:0/112",
    "64:ff9b::ac10:0/108",
    "64:ff9b::c0a8:0/112",
];
/// Where the store and the token service are without a URL: names of AWS, which
/// an endpoint of a private network may answer for.
const AWS: &str = "https://amazonaws.com";
/// The label that every namespace has its name in.
const NAMESPACE_NAME: &str = "kubernetes.io/metadata.name";

/// Every policy of a project, and of the namespace that it shares.
pub fn network_policies(context: &Context<'_>) -> Vec<NetworkPolicy> {
    let agents = agents(context);
    let mut policies = Vec::new();
    if context.place().is_shared() {
        policies.push(shared_deny(context));
    }
    policies.extend([
        policy(context, "deny", Some(Vec::new()), Some(Vec::new())),
        of(policy(context, "control-plane", Some(vec![from_control_plane(context)]), None), &agents),
        policy(
            context,
            "project",
            Some(vec![NetworkPolicyIngressRule { from: Some(vec![own_pods(context)]), ports: None }]),
            Some(vec![NetworkPolicyEgressRule { to: Some(vec![own_pods(context)]), ports: None }]),
        ),
        policy(context, "dns", None, Some(vec![to_dns()])),
        policy(context, "internet", None, Some(vec![to_internet()])),
    ]);
    let store = to_store(context);
    if !store.is_empty() {
        policies.push(of(policy(context, "store", None, Some(store)), &agents));
    }
    policies
}

/// A policy for all pods of the project; `None` leaves a direction alone.
fn policy(
    context: &Context<'_>,
    name: &str,
    ingress: Option<Vec<NetworkPolicyIngressRule>>,
    egress: Option<Vec<NetworkPolicyEgressRule>>,
) -> NetworkPolicy {
    let types = [("Ingress", ingress.is_some()), ("Egress", egress.is_some())];
    NetworkPolicy {
        metadata: metadata(context, name, "network"),
        spec: Some(NetworkPolicySpec {
            pod_selector: Some(all_pods(context)),
            policy_types: Some(types.iter().filter(|(_, is)| *is).map(|(name, _)| (*name).to_owned()).collect()),
            ingress: ingress.filter(|rules| !rules.is_empty()),
            egress: egress.filter(|rules| !rules.is_empty()),
        }),
    }
}

/// Denies both ways for every pod of a namespace that is shared, whosever it is.
fn shared_deny(context: &Context<'_>) -> NetworkPolicy {
    let mut deny = of(policy(context, "deny", Some(Vec::new()), Some(Vec::new())), &LabelSelector::default());
    deny.metadata = own_metadata(context, "deny", "network");
    deny
}

/// The pods with an agent: all of them, but for the databases beside them that have pods of their own.
fn agents(context: &Context<'_>) -> LabelSelector {
    match context.project.spec.layout {
        Layout::SinglePod => all_pods(context),
        Layout::PodPerContainer => with_agent(context),
    }
}

/// `policy` for the pods of `selector` alone.
fn of(mut policy: NetworkPolicy, selector: &LabelSelector) -> NetworkPolicy {
    if let Some(spec) = &mut policy.spec {
        spec.pod_selector = Some(selector.clone());
    }
    policy
}

fn port(number: i32, protocol: &str) -> NetworkPolicyPort {
    NetworkPolicyPort {
        port: Some(IntOrString::Int(number)),
        protocol: Some(protocol.to_owned()),
        ..NetworkPolicyPort::default()
    }
}

fn in_namespace(name: &str, pods: Option<BTreeMap<String, String>>) -> NetworkPolicyPeer {
    NetworkPolicyPeer {
        namespace_selector: Some(selecting([(NAMESPACE_NAME.to_owned(), name.to_owned())].into())),
        pod_selector: pods.map(selecting),
        ..NetworkPolicyPeer::default()
    }
}

fn addresses(cidr: &str, except: &[&str]) -> NetworkPolicyPeer {
    let except: Vec<String> = except.iter().map(|range| (*range).to_owned()).collect();
    NetworkPolicyPeer {
        ip_block: Some(IPBlock { cidr: cidr.to_owned(), except: (!except.is_empty()).then_some(except) }),
        ..NetworkPolicyPeer::default()
    }
}

/// The project's pods: a peer without a selector of namespaces is in the policy's own.
fn own_pods(context: &Context<'_>) -> NetworkPolicyPeer {
    NetworkPolicyPeer { pod_selector: Some(all_pods(context)), ..NetworkPolicyPeer::default() }
}

fn from_control_plane(context: &Context<'_>) -> NetworkPolicyIngressRule {
    let settings = context.settings;
    let control_plane = in_namespace(&settings.control_namespace, Some(settings.control_pod_labels.clone()));
    NetworkPolicyIngressRule { from: Some(vec![control_plane]), ports: Some(vec![port(AGENT_PORT, "TCP")]) }
}

/// A policy that lets the pods of an ingress controller in to the port `number` of `pods`.
pub(super) fn from_gate(metadata: ObjectMeta, pods: LabelSelector, gate: &Gate, number: u16) -> NetworkPolicy {
    let labels = Some(gate.pod_labels.clone()).filter(|labels| !labels.is_empty());
    let rule = NetworkPolicyIngressRule {
        from: Some(vec![in_namespace(&gate.namespace, labels)]),
        ports: Some(vec![port(number.into(), "TCP")]),
    };
    NetworkPolicy {
        metadata,
        spec: Some(NetworkPolicySpec {
            pod_selector: Some(pods),
            policy_types: Some(vec!["Ingress".to_owned()]),
            ingress: Some(vec![rule]),
            egress: None,
        }),
    }
}

fn to_dns() -> NetworkPolicyEgressRule {
    let pods = [("k8s-app".to_owned(), "kube-dns".to_owned())].into();
    NetworkPolicyEgressRule {
        to: Some(vec![in_namespace("kube-system", Some(pods))]),
        ports: Some(vec![port(53, "UDP"), port(53, "TCP")]),
    }
}

fn to_internet() -> NetworkPolicyEgressRule {
    NetworkPolicyEgressRule {
        to: Some(vec![addresses("0.0.0.0/0", &PRIVATE), addresses("::/0", &PRIVATE_6)]),
        ports: None,
    }
}

/// The store and what gives its credentials, where they are no part of the
/// internet: Services of this cluster, addresses, or the ranges that the settings name.
fn to_store(context: &Context<'_>) -> Vec<NetworkPolicyEgressRule> {
    let settings = context.settings;
    let mut urls = vec![settings.store.endpoint.as_deref().unwrap_or(AWS)];
    if let StoreCredentials::WebIdentity(identity) = &settings.store.credentials {
        urls.push(identity.sts_endpoint.as_deref().unwrap_or(AWS));
    }
    let mut rules: Vec<_> = urls.into_iter().filter_map(|url| to_url(url, &settings.store_cidrs)).collect();
    rules.dedup();
    rules
}

fn to_url(url: &str, ranges: &[String]) -> Option<NetworkPolicyEgressRule> {
    let url = url.parse::<http::Uri>().ok()?;
    let default = if url.scheme_str() == Some("http") { 80 } else { 443 };
    let number = url.port_u16().map_or(default, i32::from);
    let host = url.host()?.trim_start_matches('[').trim_end_matches(']');
    let mut peers: Vec<_> = ranges.iter().map(|range| addresses(range, &[])).collect();
    match host.parse::<IpAddr>() {
        Ok(IpAddr::V4(address)) => peers.push(addresses(&format!("{address}/32"), &[])),
        Ok(IpAddr::V6(address)) => peers.push(addresses(&format!("{address}/128"), &[])),
        Err(_) => {
            // SERVICE.NAMESPACE.svc[.CLUSTER-DOMAIN]
            let mut labels = host.split('.');
            if let (Some(_), Some(namespace), Some("svc")) = (labels.next(), labels.next(), labels.next()) {
                peers.push(in_namespace(namespace, None));
            }
        }
    }
    (!peers.is_empty()).then(|| NetworkPolicyEgressRule { to: Some(peers), ports: Some(vec![port(number, "TCP")]) })
}
