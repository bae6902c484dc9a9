//! Names and labels of what is made, for projects that were named by an enemy.

use std::collections::{BTreeMap, BTreeSet};

use proptest::{prelude::*, sample::select};
use remora_control_plane_kube::manifests;
use remora_proto_model::{ContainerName, ProjectId, project::ProjectSpec};
use serde_json::{Value, json};

use crate::{
    documents,
    project::{self, Made},
};

/// Names that something of ours has, or nearly has.
const NEAR: [&str; 26] = [
    "a",
    "a-b",
    "agent",
    "agent-g3",
    "api",
    "control-plane",
    "credentials",
    "credentials-a",
    "data",
    "data-a",
    "data-data-a",
    "default",
    "deny",
    "dev",
    "dev-g3",
    "hydrate",
    "install",
    "kubernetes",
    "pods",
    "project",
    "rest-g3",
    "run",
    "store",
    "tmp",
    "wait",
    "workspace",
];

/// Labels that objects may have: no other one, whatever a spec says.
const LABELS: [&str; 12] = [
    "app.kubernetes.io/component",
    "app.kubernetes.io/instance",
    "app.kubernetes.io/managed-by",
    "app.kubernetes.io/name",
    "app.kubernetes.io/part-of",
    "pod-security.kubernetes.io/audit",
    "pod-security.kubernetes.io/enforce",
    "pod-security.kubernetes.io/warn",
    manifests::CONTAINER,
    manifests::GENERATION,
    manifests::PROJECT_ID,
    manifests::USER_ID,
];

/// A name of a container by the grammar: short ones, the longest ones, and near ours.
fn name() -> impl Strategy<Value = String> {
    let near = || select(&NEAR[..]).prop_map(str::to_owned);
    let twin = near().prop_map(|name| format!("{name}-{}", "x".repeat(ContainerName::MAX_BYTES - name.len() - 1)));
    prop_oneof![near(), twin, "[a-z]([a-z0-9-]{0,38}[a-z0-9])?"]
}

fn spec() -> impl Strategy<Value = Value> {
    let container = (name(), any::<bool>(), any::<bool>(), ".{0,20}");
    let containers = prop::collection::vec(container, 1..6);
    (containers, select(vec!["SinglePod", "PodPerContainer"]), "[A-Za-z0-9]([A-Za-z0-9._-]{0,20}[A-Za-z0-9])?", ".{0,30}").prop_map(
        |(containers, layout, owner, text)| {
            let one = |at: usize, (name, database, port, text): (String, bool, bool, String)| {
                let text: String = text.chars().filter(|character| *character != '\0').collect();
                let ports = if port { json!([{ "name": "http", "port": 3000 + at }]) } else { json!([]) };
                // One of them works in the workspace.
                if database && at > 0 {
                    json!({ "name": name, "kind": "Service", "preset": "Postgres", "ports": [{ "name": "db", "port": 5000 + at }], "storage": { "size": "1Gi" } })
                } else {
                    json!({ "name": name, "image": "node", "command": ["node", text], "env": { "TEXT": text }, "ports": ports })
                }
            };
            let containers: Vec<Value> = containers.into_iter().enumerate().map(|(at, it)| one(at, it)).collect();
            let text: String = text.chars().filter(|character| !character.is_control()).collect();
            json!({
                "owner": owner, "displayName": text, "layout": layout, "containers": containers,
                "workspace": { "volume": { "size": "1Gi", "accessMode": "ReadWriteMany" } },
            })
        },
    )
}

fn is_label_name(text: &str) -> bool {
    let inner = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    (1..=63).contains(&text.len())
        && text.bytes().all(|byte| inner(byte) || byte == b'-')
        && text.bytes().next().is_some_and(inner)
        && text.bytes().last().is_some_and(inner)
}

fn is_label_value(text: &str) -> bool {
    let inner = |byte: u8| byte.is_ascii_alphanumeric();
    text.is_empty()
        || (text.len() <= 63
            && text.bytes().all(|byte| inner(byte) || b"-_.".contains(&byte))
            && text.bytes().next().is_some_and(inner)
            && text.bytes().last().is_some_and(inner))
}

/// Every metadata in an object, that of its templates too.
fn metadata(value: &Value) -> Vec<&Value> {
    match value {
        Value::Object(fields) => {
            let own = fields.get("metadata").into_iter();
            own.chain(fields.iter().filter(|(name, _)| *name != "metadata").flat_map(|(_, inner)| metadata(inner)))
                .collect()
        }
        Value::Array(items) => items.iter().flat_map(metadata).collect(),
        _ => Vec::new(),
    }
}

/// The lists in a pod whose entries have to have names of their own.
fn twins(value: &Value) -> Vec<String> {
    let mut found = Vec::new();
    let mut pods = vec![value];
    while let Some(next) = pods.pop() {
        match next {
            Value::Object(fields) => {
                for lists in [&["containers", "initContainers"][..], &["volumes"][..]] {
                    let all = lists.iter().filter_map(|list| fields.get(*list)?.as_array()).flatten();
                    let mut seen = BTreeSet::new();
                    for name in all.filter_map(|entry| entry["name"].as_str()) {
                        if !seen.insert(name) {
                            found.push(format!("{lists:?}: {name}"));
                        }
                    }
                }
                pods.extend(fields.values());
            }
            Value::Array(items) => pods.extend(items),
            _ => {}
        }
    }
    found
}

/// What is wrong with the objects of `made`.
fn wrong(made: &Made) -> Vec<String> {
    let mut wrong = Vec::new();
    let mut seen = BTreeSet::new();
    for object in documents(made) {
        let place = format!("{} {}/{}", object["kind"], object["metadata"]["namespace"], object["metadata"]["name"]);
        if !seen.insert(place.clone()) {
            wrong.push(format!("{place} is there twice"));
        }
        if !is_label_name(object["metadata"]["name"].as_str().unwrap()) {
            wrong.push(format!("{place} has a name that is none"));
        }
        wrong.extend(twins(&object).into_iter().map(|twin| format!("{place}: {twin} is there twice")));
        for metadata in metadata(&object) {
            for (name, value) in metadata["labels"].as_object().into_iter().flatten() {
                let value = value.as_str().unwrap();
                if !LABELS.contains(&name.as_str()) || !is_label_value(value) {
                    wrong.push(format!("{place} has the label {name}={value}"));
                }
                if name == manifests::PROJECT_ID && value != made.project.id.to_string() {
                    wrong.push(format!("{place} is of {value}"));
                }
            }
            for (name, value) in metadata["annotations"].as_object().into_iter().flatten() {
                // Text of people is there as JSON, for the control plane alone.
                let json = serde_json::from_str::<Value>(value.as_str().unwrap()).is_ok_and(|value| value.is_object());
                if name != manifests::MADE || !json {
                    wrong.push(format!("{place} has the annotation {name}={value}"));
                }
            }
        }
    }
    wrong
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, ..ProptestConfig::default() })]

    /// What is taken has objects with names of their own, and no label or annotation but ours.
    #[test]
    fn a094_a095_names_are_injective_and_no_text_of_people_is_a_label_or_an_annotation(spec in spec()) {
        let spec: ProjectSpec = serde_json::from_value(spec).unwrap();
        if spec.validate().is_ok() && manifests::accepts(&spec).is_ok() {
            prop_assert_eq!(wrong(&project::of(spec)), Vec::<String>::new());
        }
    }
}

/// That the specs above are mostly such as are taken.
#[test]
fn the_names_of_enemies_are_mostly_taken() {
    let taken = NEAR.iter().filter(|name| {
        let spec = json!({ "containers": [{ "name": name, "image": "node", "command": ["x"] }] });
        let spec: ProjectSpec = serde_json::from_value(spec).unwrap();
        spec.validate().is_ok() && manifests::accepts(&spec).is_ok()
    });
    assert_eq!(taken.count(), NEAR.len() - 3, "all but those of the pod's own containers");
}

/// No two projects share an object: each has a namespace whose name is its id.
#[test]
fn a094_projects_whose_names_are_twins_share_nothing() {
    let mut places = BTreeMap::new();
    for name in ["a", "a-b", "a-b-c", "proj-a", &"a".repeat(40), &format!("{}b", "a".repeat(39))] {
        let mut made = project::shop("PodPerContainer");
        made.project.id = ProjectId::new();
        made.project.name = name.parse().unwrap();
        assert_eq!(wrong(&made), [""; 0], "{name}");
        for object in documents(&made) {
            let metadata = &object["metadata"];
            let place = [&object["kind"], &metadata["namespace"], &metadata["name"]].map(ToString::to_string);
            let before = places.insert(place.clone(), name.to_owned());
            assert_eq!(before, None, "{place:?} of {name}");
        }
    }
}

/// Names that are none, and fields that would be labels, annotations or a template, are
/// refused and not scrubbed in silence.
#[test]
fn a094_what_is_no_name_and_what_would_be_metadata_is_refused() {
    let long = "a".repeat(41);
    for name in [
        "",
        "A",
        "a_b",
        "-a",
        "a-",
        "a.b",
        "a/b",
        "\u{e4}",
        "\u{43e}",
        "a\u{301}",
        "a b",
        "a\n",
        "a\0",
        &long,
        &"a".repeat(64),
    ] {
        assert!(name.parse::<ContainerName>().is_err(), "{name:?}");
        assert!(name.parse::<remora_proto_model::ProjectName>().is_err(), "{name:?}");
    }
    let good = json!({ "containers": [{ "name": "web", "image": "node" }] });
    assert!(serde_json::from_value::<ProjectSpec>(good.clone()).is_ok());
    for field in [
        "labels",
        "annotations",
        "metadata",
        "template",
        "podTemplate",
        "nodeSelector",
        "hostNetwork",
        "serviceAccountName",
    ] {
        let mut spec = good.clone();
        spec[field] = json!({ "remora.dev/project-id": project::ID, "app.kubernetes.io/managed-by": "remora" });
        assert!(serde_json::from_value::<ProjectSpec>(spec).is_err(), "{field}");
        let mut spec = good.clone();
        spec["containers"][0][field] = json!({ "remora.dev/project-id": project::ID });
        assert!(serde_json::from_value::<ProjectSpec>(spec).is_err(), "containers.{field}");
    }
    for owner in ["a b", "a/b", "a,b=c", "\u{e4}", "a\n", &"a".repeat(64)] {
        let mut spec = good.clone();
        spec["owner"] = json!(owner);
        let refused = serde_json::from_value::<ProjectSpec>(spec).map_or(true, |spec| spec.validate().is_err());
        assert!(refused, "{owner:?}");
    }
}
