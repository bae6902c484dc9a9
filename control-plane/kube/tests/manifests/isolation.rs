//! What the policies of two projects mean, evaluated: who reaches an agent, and whom a
//! project reaches. That packets go the same way is shown on the rig.

use std::collections::BTreeMap;

use k8s_openapi::api::networking::v1::NetworkPolicy;
use remora_control_plane_kube::{defaults::AGENT_PORT, manifests};
use remora_proto_model::{ProjectId, project::Layout};

use crate::{
    project::{self, Made},
    reach::{Cluster, End, Pod, within},
};

const SIBLING: &str = "7e1d9f64-2c0a-4c8e-8a57-51d2f5b7c9aa";

/// Addresses that no project reaches: of metadata services, private, shared, link-local, and
/// unique local ones, at both ends of their ranges.
const CLOSED: [&str; 32] = [
    "64:ff9b::a00:0",
    "64:ff9b::aff:ffff",
    "64:ff9b::6440:0",
    "64:ff9b::647f:ffff",
    "64:ff9b::a9fe:a9fe",
    "64:ff9b::ac10:0",
    "64:ff9b::ac1f:ffff",
    "64:ff9b::c0a8:0",
    "64:ff9b::c0a8:ffff",
    "64:ff9b:1:ffff:ffff:ffff:ffff:ffff",
    "169.254.169.254",
    "169.254.170.2",
    "169.254.0.0",
    "169.254.255.255",
    "10.0.0.0",
    "10.96.0.1",
    "10.255.255.255",
    "172.16.0.0",
    "172.31.255.255",
    "192.168.0.0",
    "192.168.255.255",
    "100.64.0.0",
    "100.100.100.200",
    "100.127.255.255",
    "fc00::",
    "fd00:ec2::254",
    "fd20:ce::254",
    "fdff:ffff:ffff:ffff:ffff:ffff:ffff:ffff",
    "fe80::1",
    "fe80::a9fe:a9fe",
    "febf:ffff:ffff:ffff:ffff:ffff:ffff:ffff",
    "::ffff:169.254.169.254",
];
/// Addresses of the internet, those right beside the ranges above among them.
const OPEN: [&str; 19] = [
    "64:ff9b::9ff:ffff",
    "64:ff9b::b00:0",
    "64:ff9b::6480:0",
    "64:ff9b::ac0f:ffff",
    "64:ff9b::ac20:0",
    "64:ff9b::c0a9:0",
    "64:ff9b:2::",
    "1.1.1.1",
    "9.255.255.255",
    "11.0.0.0",
    "172.15.255.255",
    "172.32.0.0",
    "192.167.255.255",
    "192.169.0.0",
    "100.63.255.255",
    "100.128.0.0",
    "169.253.255.255",
    "2606:4700::1111",
    "fbff::1",
];

fn labels(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
    pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
}

fn pod(namespace: &str, pairs: &[(&str, &str)], ip: &str) -> Pod {
    Pod { namespace: namespace.to_owned(), labels: labels(pairs), ip: ip.parse().unwrap() }
}

/// A project's pods, with addresses that begin with `ip`: those with an agent first.
fn pods_of(made: &Made, ip: &str) -> (Vec<Pod>, Vec<Pod>) {
    let context = made.context();
    let metadata: Vec<_> = if made.project.spec.layout == Layout::SinglePod {
        vec![manifests::pod(&context).metadata.labels.unwrap()]
    } else {
        let deployments = manifests::deployments(&context).into_iter();
        deployments.map(|one| one.spec.unwrap().template.metadata.unwrap().labels.unwrap()).collect()
    };
    let namespace = manifests::namespace(&context).metadata.name.unwrap();
    let pods = metadata.into_iter().enumerate().map(|(at, labels)| Pod {
        namespace: namespace.clone(),
        labels,
        ip: format!("{ip}.{}", at + 10).parse().unwrap(),
    });
    pods.partition(|pod| pod.labels.contains_key(manifests::GENERATION))
}

/// Two projects of one kind, and what is around them.
struct Two {
    cluster: Cluster,
    agents: Vec<Pod>,
    databases: Vec<Pod>,
    siblings: Vec<Pod>,
    control_plane: Pod,
}

impl Two {
    fn new(made: fn() -> Made, ranges_cover_pods: bool) -> Two {
        let (own, mut other) = (made(), made());
        other.project.id = SIBLING.parse::<ProjectId>().unwrap();
        let mut namespaces = BTreeMap::new();
        let mut policies = Vec::new();
        for one in [&own, &other] {
            let context = one.context();
            let namespace = manifests::namespace(&context).metadata;
            let name = namespace.name.unwrap();
            let mut labels = namespace.labels.unwrap();
            labels.insert("kubernetes.io/metadata.name".to_owned(), name.clone());
            namespaces.insert(name, labels);
            policies.extend(manifests::network_policies(&context));
        }
        for name in ["remora-system", "kube-system", "elsewhere"] {
            namespaces.insert(name.to_owned(), labels(&[("kubernetes.io/metadata.name", name)]));
        }
        let (agents, databases) = pods_of(&own, "10.1.0");
        let (siblings, others) = pods_of(&other, "10.1.1");
        Two {
            cluster: Cluster { namespaces, policies, ranges_cover_pods },
            agents,
            databases,
            siblings: siblings.into_iter().chain(others).collect(),
            control_plane: pod("remora-system", &[("app.kubernetes.io/component", "control-plane")], "10.1.2.1"),
        }
    }

    fn own(&self) -> impl Iterator<Item = &Pod> {
        self.agents.iter().chain(&self.databases)
    }

    /// What is let through and must not be, and what is not and must be.
    fn wrong(&self) -> Vec<String> {
        let mut wrong = Vec::new();
        let mut claim = |passes: bool, what: &str, from: End<'_>, to: End<'_>, port: i32, protocol: &str| {
            if self.cluster.passes(from, to, port, protocol) != passes {
                wrong.push(format!("{what}: {from:?} to {to:?} at {port}"));
            }
        };
        let strangers = [
            (
                "another pod of the control plane's namespace",
                pod("remora-system", &[("app.kubernetes.io/component", "trial-store")], "10.1.2.2"),
            ),
            (
                "a pod that calls itself one",
                pod("elsewhere", &[("app.kubernetes.io/component", "control-plane")], "10.1.3.1"),
            ),
            (
                "a pod with a project's label",
                pod(
                    "elsewhere",
                    &[(manifests::PROJECT_ID, project::ID), ("app.kubernetes.io/component", "dev")],
                    "10.1.3.2",
                ),
            ),
        ];
        let dns = pod("kube-system", &[("k8s-app", "kube-dns")], "10.1.4.1");
        for own in self.own() {
            let end = End::Pod(own);
            for sibling in &self.siblings {
                for port in [AGENT_PORT, AGENT_PORT + 1, 5173, 5432] {
                    claim(false, "from a sibling", End::Pod(sibling), end, port, "TCP");
                    claim(false, "to a sibling", end, End::Pod(sibling), port, "TCP");
                }
            }
            for (what, stranger) in &strangers {
                claim(false, what, End::Pod(stranger), end, AGENT_PORT, "TCP");
            }
            claim(false, "from outside", End::Address("1.1.1.1".parse().unwrap()), end, AGENT_PORT, "TCP");
            for fellow in self.own().filter(|fellow| fellow.ip != own.ip) {
                claim(true, "within the project", End::Pod(fellow), end, 5432, "TCP");
            }
            for ip in CLOSED {
                for port in [80, 443, 6443, 10_250] {
                    claim(false, "closed", end, End::Address(ip.parse().unwrap()), port, "TCP");
                }
            }
            for ip in OPEN {
                claim(true, "open", end, End::Address(ip.parse().unwrap()), 443, "TCP");
            }
            for protocol in ["UDP", "TCP"] {
                claim(true, "DNS", end, End::Pod(&dns), 53, protocol);
            }
            claim(false, "beside DNS", end, End::Pod(&dns), 9153, "TCP");
            claim(false, "the control plane", end, End::Pod(&self.control_plane), 8443, "TCP");
        }
        for agent in &self.agents {
            claim(true, "from the control plane", End::Pod(&self.control_plane), End::Pod(agent), AGENT_PORT, "TCP");
            claim(false, "another port", End::Pod(&self.control_plane), End::Pod(agent), 5173, "TCP");
        }
        for database in &self.databases {
            claim(false, "no agent", End::Pod(&self.control_plane), End::Pod(database), 5432, "TCP");
        }
        wrong
    }
}

/// What a kind of project is called here, and what makes one.
type Kind = (&'static str, fn() -> Made);

/// In namespaces of their own.
fn kinds() -> [Kind; 3] {
    [
        ("small", project::small),
        ("one pod", || project::shop("SinglePod")),
        ("pods", || project::shop("PodPerContainer")),
    ]
}

/// In one namespace that both share.
fn shared_kinds() -> [Kind; 2] {
    [
        ("one pod, shared", || project::shared(project::shop("SinglePod"))),
        ("pods, shared", || project::shared(project::shop("PodPerContainer"))),
    ]
}

#[test]
fn a096_a_sibling_project_metadata_and_private_addresses_are_out_of_reach() {
    for (kind, made) in kinds().into_iter().chain(shared_kinds()) {
        for ranges_cover_pods in [false, true] {
            let two = Two::new(made, ranges_cover_pods);
            assert_eq!(two.wrong(), [""; 0], "{kind}, ranges cover pods: {ranges_cover_pods}");
        }
    }
}

/// Without any one policy some claim fails, so that none of them is there for nothing and
/// the evaluator sees each. The store's has its own claim below; and the one that closes
/// everything counts where no other one is left.
#[test]
fn a096_each_policy_is_missed_when_it_is_gone() {
    let name = |policy: &NetworkPolicy| policy.metadata.name.clone().unwrap();
    for (kind, made) in kinds() {
        let all: Vec<String> = manifests::network_policies(&made().context()).iter().map(name).collect();
        for gone in all.iter().filter(|gone| !["store", "deny"].contains(&gone.as_str())) {
            let mut two = Two::new(made, false);
            two.cluster.policies.retain(|policy| name(policy) != *gone);
            // One pod has nobody within its project.
            let alone = gone == "project" && two.agents.len() + two.databases.len() == 1;
            assert!(alone || !two.wrong().is_empty(), "{kind}: nobody misses {gone}");
        }
        let mut closed = Two::new(made, true);
        closed.cluster.policies.retain(|policy| name(policy) == "deny");
        let own: Vec<End<'_>> = closed.own().map(End::Pod).collect();
        let control_plane = End::Pod(&closed.control_plane);
        for end in &own {
            assert!(!closed.cluster.passes(control_plane, *end, AGENT_PORT, "TCP"), "{kind}: to {end:?}");
            for ip in OPEN {
                let outside = End::Address(ip.parse().unwrap());
                assert!(!closed.cluster.passes(*end, outside, 443, "TCP"), "{kind}: from {end:?}");
            }
        }
    }
}

/// The store is reached at its own port by whoever has an agent, where it is private too.
#[test]
fn a096_the_store_is_reached_by_agents_alone_and_at_its_port_alone() {
    let store = pod("remora-system", &[("app.kubernetes.io/component", "trial-store")], "10.1.2.2");
    let two = Two::new(|| project::shop("PodPerContainer"), false);
    for agent in &two.agents {
        assert!(two.cluster.passes(End::Pod(agent), End::Pod(&store), 8333, "TCP"));
        assert!(!two.cluster.passes(End::Pod(agent), End::Pod(&store), 8334, "TCP"));
    }
    assert!(!two.databases.is_empty());
    for database in &two.databases {
        assert!(!two.cluster.passes(End::Pod(database), End::Pod(&store), 8333, "TCP"));
    }
    let full = Two::new(project::full, false);
    let passes =
        |ip: &str, port| full.cluster.passes(End::Pod(&full.agents[0]), End::Address(ip.parse().unwrap()), port, "TCP");
    assert!(passes("10.20.255.255", 9000) && !passes("10.20.255.255", 9001) && !passes("10.21.0.0", 9000));
}

/// The evaluator itself.
#[test]
fn ranges_are_what_they_say() {
    for (cidr, ip, is) in [
        ("0.0.0.0/0", "255.255.255.255", true),
        ("0.0.0.0/0", "::", false),
        ("::/0", "1.1.1.1", false),
        ("10.0.0.0/8", "11.0.0.0", false),
        ("192.168.1.1/32", "192.168.1.1", true),
        ("192.168.1.1/32", "192.168.1.0", false),
        ("fc00::/7", "fdff::1", true),
        ("fc00::/7", "fe00::1", false),
        ("169.254.0.0/16", "::ffff:169.254.0.1", true),
    ] {
        assert_eq!(within(cidr, ip.parse().unwrap()), is, "{ip} in {cidr}");
    }
}
