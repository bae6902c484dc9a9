//! Projects that share a namespace: what belongs to one is named, selected and reached
//! by that one alone.

use std::collections::{BTreeMap, BTreeSet};

use k8s_openapi::{
    api::networking::v1::{NetworkPolicy, NetworkPolicyPeer, NetworkPolicyPort},
    apimachinery::pkg::{
        apis::meta::v1::{LabelSelector, LabelSelectorRequirement},
        util::intstr::IntOrString,
    },
};
use proptest::prelude::*;
use remora_control_plane_kube::manifests;
use remora_proto_model::{
    ProjectId, Reason,
    project::{Layout, Project},
};
use serde_norway::Value;

use super::{Made, dedicated, objects, project, sharing};

/// What is there once, whosever project made it.
pub(crate) fn is_the_namespaces_own(object: &Value) -> bool {
    let own = [("Namespace", project::SHARED), ("RoleBinding", "control-plane"), ("NetworkPolicy", "deny")];
    own.iter().any(|(kind, name)| object["kind"] == *kind && object["metadata"]["name"] == *name)
}

fn key(object: &Value) -> (String, String) {
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    (text(&object["kind"]), text(&object["metadata"]["name"]))
}

#[test]
fn every_name_ends_with_the_project_and_what_all_have_is_the_same_for_all() {
    for made in sharing() {
        let (ours, theirs) = (objects(&made), objects(&project::sibling(made)));
        let own = |objects: &[Value]| -> Vec<Value> {
            objects.iter().filter(|object| is_the_namespaces_own(object)).cloned().collect()
        };
        assert_eq!((own(&ours), own(&ours).len()), (own(&theirs), 3));
        let names = |objects: &[Value]| -> BTreeSet<(String, String)> {
            objects.iter().filter(|object| !is_the_namespaces_own(object)).map(key).collect()
        };
        assert!(names(&ours).is_disjoint(&names(&theirs)));
        for (kind, name) in names(&ours) {
            assert!(name.ends_with(project::SUFFIX) && name.len() <= 63, "{kind} {name}");
        }
    }
}

/// Names in pods that mean objects beside them.
fn references(value: &Value, found: &mut BTreeSet<(&'static str, String)>) {
    match value {
        Value::Mapping(members) => {
            for (name, member) in members {
                let kind = match (name.as_str().unwrap_or_default(), member) {
                    ("secretName", Value::String(name)) => Some(("Secret", name)),
                    ("claimName", Value::String(name)) => Some(("PersistentVolumeClaim", name)),
                    ("serviceAccountName", Value::String(name)) => Some(("ServiceAccount", name)),
                    ("subdomain", Value::String(name)) => Some(("Service", name)),
                    ("secretKeyRef", Value::Mapping(of)) => match &of["name"] {
                        Value::String(name) => Some(("Secret", name)),
                        _ => None,
                    },
                    _ => None,
                };
                found.extend(kind.map(|(kind, name)| (kind, name.clone())));
                references(member, found);
            }
        }
        Value::Sequence(items) => items.iter().for_each(|item| references(item, found)),
        _ => {}
    }
}

#[test]
fn what_a_pod_refers_to_is_there_in_both_modes() {
    for made in dedicated().into_iter().chain(sharing()) {
        let objects = objects(&made);
        let there: BTreeSet<(String, String)> = objects.iter().map(key).collect();
        let mut found = BTreeSet::new();
        let runs = |object: &&Value| object["kind"] == "Pod" || object["kind"] == "Deployment";
        objects.iter().filter(runs).for_each(|object| references(object, &mut found));
        assert!(found.len() > 2, "{found:?}");
        for (kind, name) in found {
            assert!(there.contains(&(kind.to_owned(), name.clone())), "no {kind} {name}");
        }
    }
}

/// Whoever is told a host and a port is told a Service of the project, and a pod's own
/// name is below one.
#[test]
fn hosts_are_those_of_its_services() {
    for made in sharing() {
        let services: BTreeSet<String> =
            objects(&made).iter().map(key).filter(|(kind, _)| kind == "Service").map(|(_, name)| name).collect();
        let domain = format!(".{}.svc", project::SHARED);
        let text = super::rendered(&made);
        let words = text.split(|other: char| !(other.is_ascii_alphanumeric() || "-.:".contains(other)));
        let mut seen = 0;
        for (host, rest) in words.filter_map(|word| word.split_once(&domain)) {
            let mut labels = host.rsplit('.');
            let service = labels.next().unwrap();
            assert!(service.ends_with(project::SUFFIX), "{host}");
            if labels.next().is_some() || rest.starts_with(':') {
                assert!(services.contains(service), "{host}");
                seen += 1;
            }
        }
        let apart = services.iter().any(|name| name.starts_with("pods-"));
        assert_eq!(seen > 0, apart, "in one pod they are beside one another");
    }
}

#[test]
fn whoever_selects_pods_selects_those_of_one_project() {
    for made in sharing() {
        for object in objects(&made).iter().filter(|object| !is_the_namespaces_own(object)) {
            let spec = &object["spec"];
            let selectors = match object["kind"].as_str().unwrap() {
                "Service" => vec![&spec["selector"]],
                "Deployment" => vec![&spec["selector"]["matchLabels"]],
                "NetworkPolicy" => vec![&spec["podSelector"]["matchLabels"]],
                _ => continue,
            };
            for selector in selectors {
                assert_eq!(selector["remora.dev/project-id"], project::ID, "{:?}", key(object));
            }
        }
    }
}

/// A pod as policies see it.
struct Seen {
    labels: BTreeMap<String, String>,
}

impl Seen {
    /// The pods of a project.
    fn of(made: &Made) -> Vec<Seen> {
        let labels = |object: &Value| {
            let labels = match object["kind"].as_str() {
                Some("Pod") => &object["metadata"]["labels"],
                Some("Deployment") => &object["spec"]["template"]["metadata"]["labels"],
                _ => return None,
            };
            Some(Seen { labels: serde_norway::from_value(labels.clone()).unwrap() })
        };
        objects(made).iter().filter_map(labels).collect()
    }

    fn is_in(&self, selector: Option<&LabelSelector>) -> bool {
        let selector = selector.expect("every selector is there");
        let meets = |one: &LabelSelectorRequirement| {
            assert_eq!(one.operator, "In");
            self.labels.get(&one.key).is_some_and(|value| one.values.iter().flatten().any(|one| one == value))
        };
        selector.match_labels.iter().flatten().all(|(name, value)| self.labels.get(name) == Some(value))
            && selector.match_expressions.iter().flatten().all(meets)
    }

    /// Of pods of one namespace: an address range is no peer of theirs.
    fn is_among(&self, peers: &[NetworkPolicyPeer]) -> bool {
        let here = |peer: &&NetworkPolicyPeer| peer.namespace_selector.is_none() && peer.ip_block.is_none();
        peers.iter().filter(here).any(|peer| self.is_in(peer.pod_selector.as_ref()))
    }
}

/// Whether a connection gets through, by what the specification says of policies: nobody
/// is shut in whom no policy selects, and what one of them allows is allowed.
fn reaches(policies: &[NetworkPolicy], from: &Seen, to: &Seen, port: i32) -> bool {
    type Rule = (Vec<NetworkPolicyPeer>, Option<Vec<NetworkPolicyPort>>);
    let number = |one: &NetworkPolicyPort| one.port == Some(IntOrString::Int(port));
    let passes = |(peers, ports): &Rule, other: &Seen| {
        other.is_among(peers) && ports.as_ref().is_none_or(|ports| ports.iter().any(number))
    };
    let side = |own: &Seen, other: &Seen, direction: &str| {
        let mut shut = false;
        for policy in policies.iter().filter_map(|policy| policy.spec.as_ref()) {
            let types = policy.policy_types.as_ref().unwrap();
            if !own.is_in(policy.pod_selector.as_ref()) || !types.iter().any(|one| one == direction) {
                continue;
            }
            shut = true;
            let rules: Vec<Rule> = if direction == "Ingress" {
                policy.ingress.iter().flatten().map(|rule| (rule.from.clone().unwrap(), rule.ports.clone())).collect()
            } else {
                policy.egress.iter().flatten().map(|rule| (rule.to.clone().unwrap(), rule.ports.clone())).collect()
            };
            if rules.iter().any(|rule| passes(rule, other)) {
                return true;
            }
        }
        !shut
    };
    side(from, to, "Egress") && side(to, from, "Ingress")
}

#[test]
fn a_project_reaches_its_own_pods_and_no_siblings_in_the_namespace_that_they_share() {
    for made in sharing() {
        let ours = Seen::of(&made);
        let mut policies = manifests::network_policies(&made.context());
        let theirs_made = project::sibling(made);
        let theirs = Seen::of(&theirs_made);
        policies.extend(manifests::network_policies(&theirs_made.context()));
        for (from, to) in ours.iter().flat_map(|from| theirs.iter().map(move |to| (from, to))) {
            for port in [80, 5432, 7070, 7071, 8080] {
                assert!(!reaches(&policies, from, to, port) && !reaches(&policies, to, from, port), "{port}");
            }
        }
        for (from, to) in ours.iter().flat_map(|from| ours.iter().map(move |to| (from, to))) {
            assert!(reaches(&policies, from, to, 8080));
        }
        // What is nobody's there, and what has no policy of its own yet, is shut in all the same.
        let stranger = Seen { labels: BTreeMap::new() };
        for pod in ours.iter().chain(&theirs) {
            assert!(!reaches(&policies, &stranger, pod, 8080) && !reaches(&policies, pod, &stranger, 8080));
        }
        assert!(!reaches(&policies, &stranger, &stranger, 8080));
        // The check itself: without the policies everybody reaches everybody.
        assert!(reaches(&[], &ours[0], &theirs[0], 7070));
    }
}

/// Who has an agent reaches the store, a pod at rest too; who has none does not.
#[test]
fn the_store_is_reached_by_whoever_has_an_agent_and_by_nobody_else() {
    for made in dedicated().into_iter().chain(sharing()) {
        let context = made.context();
        let policies = manifests::network_policies(&context);
        let store =
            policies.iter().find(|one| one.metadata.name.as_ref().is_some_and(|name| name.starts_with("store")));
        let selector = store.unwrap().spec.as_ref().unwrap().pod_selector.clone();
        let apart = made.project.spec.layout == Layout::PodPerContainer;
        for pod in Seen::of(&made) {
            let has_one = !apart || pod.labels["app.kubernetes.io/component"] != "service";
            assert_eq!(pod.is_in(selector.as_ref()), has_one, "{:?}", pod.labels);
        }
        let rest = Seen { labels: manifests::at_rest(&context).metadata.labels.unwrap() };
        assert!(rest.is_in(selector.as_ref()));
    }
}

#[test]
fn a_project_stays_in_the_namespace_that_it_began_in() {
    let mut made = project::shared(project::small());
    made.settings.shared_namespace = Some("proj-other".to_owned());
    assert_eq!(made.context().place().namespace(), "proj-other");
    made.project.status.namespace = "proj-shared".to_owned();
    assert_eq!(made.context().place().namespace(), "proj-shared");
    made.settings.shared_namespace = None;
    assert_eq!(made.context().place().namespace(), "proj-shared");
}

#[test]
fn where_no_namespace_is_shared_no_project_begins_in_one() {
    let mut made = project::shared(project::small());
    manifests::has_a_place(&made.project, &made.settings).unwrap();
    made.settings.shared_namespace = None;
    let fault = manifests::has_a_place(&made.project, &made.settings).unwrap_err();
    assert_eq!(fault.reason, Reason::FailedPrecondition);
    assert!(fault.message.contains("isolation") && fault.hint.contains("projects.sharedNamespace"), "{fault:?}");
    manifests::has_a_place(&project::small().project, &made.settings).unwrap();
}

fn named(made: &Made, id: u128, base: &str) -> String {
    let id: ProjectId = uuid(id);
    let project = Project { id, ..made.project.clone() };
    manifests::Place::of(&project, &made.settings).name(base)
}

fn uuid(id: u128) -> ProjectId {
    let digits = format!("{id:032x}");
    let parts = [&digits[..8], &digits[8..12], &digits[12..16], &digits[16..20], &digits[20..]];
    parts.join("-").parse().unwrap()
}

proptest! {
    /// Of whatever two objects of whatever two projects; and where what is chosen is as
    /// long as it may be, a name is a label of DNS still.
    #[test]
    fn names_that_projects_share_a_namespace_with_are_labels_and_never_alike(
        (one, other) in (any::<u128>(), any::<u128>()),
        (base, another) in ("[a-z][a-z0-9-]{0,34}[a-z0-9]", "[a-z][a-z0-9-]{0,34}[a-z0-9]"),
        container in "[a-z][a-z0-9-]{0,22}[a-z0-9]",
    ) {
        let made = project::shared(project::small());
        let container = container.parse().unwrap();
        let bases = [base.clone(), manifests::credentials_name(&container), manifests::data_name(&container)];
        for base in &bases {
            let name = named(&made, one, base);
            prop_assert!(name.len() <= 63, "{name}");
            prop_assert!(name.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-'));
            prop_assert!(!name.starts_with('-') && !name.ends_with('-'));
        }
        prop_assert_eq!(named(&made, one, &base) == named(&made, other, &another), (one, &base) == (other, &another));
        let place = |id| manifests::Place::of(&Project { id: uuid(id), ..made.project.clone() }, &made.settings);
        prop_assert!(place(one).tells(&named(&made, one, &base)));
        prop_assert_eq!(place(one).tells(&named(&made, other, &another)), one == other);
        prop_assert!(!place(one).tells(&base));
        // Ids that differ in one bit alone differ as well.
        for bit in 0..128 {
            prop_assert_ne!(named(&made, one, &base), named(&made, one ^ (1 << bit), &base));
        }
    }
}
