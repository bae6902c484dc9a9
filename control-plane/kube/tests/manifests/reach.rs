//! What NetworkPolicies let pass, by the rules of Kubernetes: a policy selects pods of its
//! own namespace; a pod that any policy selects for a direction is closed in it but for what
//! some policy opens. Ports are numbers: a policy with anything else is an error here and not
//! a guess.

use std::{collections::BTreeMap, net::IpAddr};

use k8s_openapi::{
    api::networking::v1::{IPBlock, NetworkPolicy, NetworkPolicyPeer, NetworkPolicyPort},
    apimachinery::pkg::{
        apis::meta::v1::{LabelSelector, LabelSelectorRequirement},
        util::intstr::IntOrString,
    },
};

/// A pod.
#[derive(Clone, Debug)]
pub(crate) struct Pod {
    pub(crate) namespace: String,
    pub(crate) labels: BTreeMap<String, String>,
    pub(crate) ip: IpAddr,
}

/// One end of a connection.
#[derive(Clone, Copy, Debug)]
pub(crate) enum End<'a> {
    Pod(&'a Pod),
    Address(IpAddr),
}

impl End<'_> {
    fn ip(self) -> IpAddr {
        match self {
            End::Pod(pod) => pod.ip,
            End::Address(ip) => ip,
        }
    }
}

/// A cluster, as far as it decides about packets.
pub(crate) struct Cluster {
    pub(crate) namespaces: BTreeMap<String, BTreeMap<String, String>>,
    pub(crate) policies: Vec<NetworkPolicy>,
    /// Whether address ranges cover pods too: enforcers differ.
    pub(crate) ranges_cover_pods: bool,
}

impl Cluster {
    /// Whether a connection from `from` to a port of `to` is let through.
    pub(crate) fn passes(&self, from: End<'_>, to: End<'_>, port: i32, protocol: &str) -> bool {
        self.leaves(from, to, port, protocol) && self.enters(from, to, port, protocol)
    }

    fn leaves(&self, from: End<'_>, to: End<'_>, port: i32, protocol: &str) -> bool {
        let End::Pod(pod) = from else { return true };
        let mut policies = self.of(pod, "Egress").peekable();
        policies.peek().is_none()
            || policies.flat_map(|policy| policy.spec.iter().flat_map(|spec| spec.egress.iter().flatten())).any(
                |rule| {
                    self.peers(&pod.namespace, rule.to.as_deref(), to) && ports(rule.ports.as_deref(), port, protocol)
                },
            )
    }

    fn enters(&self, from: End<'_>, to: End<'_>, port: i32, protocol: &str) -> bool {
        let End::Pod(pod) = to else { return true };
        let mut policies = self.of(pod, "Ingress").peekable();
        policies.peek().is_none()
            || policies.flat_map(|policy| policy.spec.iter().flat_map(|spec| spec.ingress.iter().flatten())).any(
                |rule| {
                    self.peers(&pod.namespace, rule.from.as_deref(), from)
                        && ports(rule.ports.as_deref(), port, protocol)
                },
            )
    }

    /// The policies that close `pod` in a direction.
    fn of<'a>(&'a self, pod: &'a Pod, direction: &'a str) -> impl Iterator<Item = &'a NetworkPolicy> {
        self.policies.iter().filter(move |policy| {
            let spec = policy.spec.as_ref().unwrap();
            policy.metadata.namespace.as_ref() == Some(&pod.namespace)
                && spec.policy_types.iter().flatten().any(|kind| kind == direction)
                && spec.pod_selector.as_ref().is_none_or(|selector| selects(selector, &pod.labels))
        })
    }

    /// Whether a rule of a policy in `namespace` is about `end`; one without peers is about all.
    fn peers(&self, namespace: &str, peers: Option<&[NetworkPolicyPeer]>, end: End<'_>) -> bool {
        let Some(peers) = peers.filter(|peers| !peers.is_empty()) else { return true };
        peers.iter().any(|peer| match (&peer.ip_block, end) {
            (Some(range), End::Pod(_)) => self.ranges_cover_pods && covers(range, end.ip()),
            (Some(range), End::Address(ip)) => covers(range, ip),
            (None, End::Address(_)) => false,
            (None, End::Pod(pod)) => {
                let place = match &peer.namespace_selector {
                    Some(selector) => selects(selector, &self.namespaces[&pod.namespace]),
                    None => pod.namespace == namespace,
                };
                place && peer.pod_selector.as_ref().is_none_or(|selector| selects(selector, &pod.labels))
            }
        })
    }
}

fn selects(selector: &LabelSelector, labels: &BTreeMap<String, String>) -> bool {
    let holds = |rule: &LabelSelectorRequirement| {
        let value = labels.get(&rule.key);
        let among = value.is_some_and(|value| rule.values.iter().flatten().any(|one| one == value));
        match rule.operator.as_str() {
            "In" => among,
            "NotIn" => !among,
            "Exists" => value.is_some(),
            "DoesNotExist" => value.is_none(),
            other => panic!("the operator {other} is not understood here"),
        }
    };
    selector.match_labels.iter().flatten().all(|(name, value)| labels.get(name) == Some(value))
        && selector.match_expressions.iter().flatten().all(holds)
}

fn ports(ports: Option<&[NetworkPolicyPort]>, number: i32, protocol: &str) -> bool {
    let Some(ports) = ports.filter(|ports| !ports.is_empty()) else { return true };
    ports.iter().any(|port| {
        assert!(port.end_port.is_none(), "ranges of ports are not understood here");
        let same = match &port.port {
            None => true,
            Some(IntOrString::Int(own)) => *own == number,
            Some(IntOrString::String(name)) => panic!("port {name} has a name, which is not understood here"),
        };
        same && port.protocol.as_deref().unwrap_or("TCP") == protocol
    })
}

fn covers(range: &IPBlock, ip: IpAddr) -> bool {
    within(&range.cidr, ip) && !range.except.iter().flatten().any(|except| within(except, ip))
}

/// Whether `ip` is in `cidr`. An address that is one of IPv4 in IPv6 is that of IPv4.
pub(crate) fn within(cidr: &str, ip: IpAddr) -> bool {
    let (base, bits) = cidr.split_once('/').unwrap();
    let bits: u32 = bits.parse().unwrap();
    match (base.parse::<IpAddr>().unwrap(), ip.to_canonical()) {
        (IpAddr::V4(base), IpAddr::V4(ip)) => {
            (u32::from(base) ^ u32::from(ip)).checked_shr(32 - bits).unwrap_or(0) == 0
        }
        (IpAddr::V6(base), IpAddr::V6(ip)) => {
            (u128::from(base) ^ u128::from(ip)).checked_shr(128 - bits).unwrap_or(0) == 0
        }
        _ => false,
    }
}
