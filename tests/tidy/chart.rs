//! What the rendered chart lets the control plane do. The snapshots are compared
//! with what helm renders by tests/chart/run.sh.

use std::{collections::BTreeSet, fs, path::Path};

use serde::Deserialize as _;
use serde_json::Value;

const PROFILES: [&str; 2] = ["minimal", "full"];

fn objects(profile: &str) -> Vec<Value> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("chart/snapshots/{profile}.yaml"));
    let text = fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    serde_norway::Deserializer::from_str(&text)
        .map(|document| Value::deserialize(document).expect("a rendered object is YAML"))
        .filter(|object| !object.is_null())
        .collect()
}

fn of_kind<'a>(objects: &'a [Value], kind: &str) -> Vec<&'a Value> {
    objects.iter().filter(|object| object["kind"] == kind).collect()
}

fn words(list: &Value) -> BTreeSet<&str> {
    list.as_array().into_iter().flatten().filter_map(Value::as_str).collect()
}

/// The rules of every role, each with its role's kind and name.
fn rules(objects: &[Value]) -> Vec<(String, &Value)> {
    let roles = objects.iter().filter(|object| object["kind"] == "ClusterRole" || object["kind"] == "Role");
    roles
        .flat_map(|role| {
            let name = format!("{} {}", role["kind"], role["metadata"]["name"]);
            role["rules"].as_array().expect("a role has rules").iter().map(move |rule| (name.clone(), rule))
        })
        .collect()
}

#[test]
fn a095_no_role_reaches_into_pods_or_has_wildcards() {
    for profile in PROFILES {
        let objects = objects(profile);
        let rules = rules(&objects);
        assert!(rules.len() > 5, "{profile}: {rules:?}");
        for (role, rule) in rules {
            let resources = words(&rule["resources"]);
            for banned in ["pods/exec", "pods/attach", "pods/portforward", "pods/proxy", "pods/ephemeralcontainers"] {
                assert!(!resources.contains(banned), "{profile}: {role} has {banned}");
            }
            for field in ["apiGroups", "resources", "verbs"] {
                assert!(!words(&rule[field]).contains("*"), "{profile}: {role} has a wildcard in {field}");
            }
            assert!(rule["nonResourceURLs"].is_null(), "{profile}: {role}");
            let verbs = words(&rule["verbs"]);
            for banned in ["escalate", "impersonate", "deletecollection"] {
                assert!(!verbs.contains(banned), "{profile}: {role} has the verb {banned}");
            }
            let bound = verbs.contains("bind").then(|| words(&rule["resourceNames"]));
            assert!(bound.is_none_or(|names| names == BTreeSet::from(["remora-project"])), "{profile}: {role}: {rule}");
        }
    }
}

#[test]
fn a095_nothing_that_holds_everywhere_reads_secrets_or_changes_pods() {
    for profile in PROFILES {
        let objects = objects(profile);
        let everywhere: BTreeSet<_> = of_kind(&objects, "ClusterRoleBinding")
            .into_iter()
            .map(|binding| binding["roleRef"]["name"].as_str().expect("a binding names its role"))
            .collect();
        assert_eq!(everywhere, BTreeSet::from(["remora"]), "{profile}");
        for role in of_kind(&objects, "ClusterRole") {
            if everywhere.contains(role["metadata"]["name"].as_str().unwrap()) {
                for rule in role["rules"].as_array().unwrap() {
                    let resources = words(&rule["resources"]);
                    for banned in ["secrets", "configmaps", "serviceaccounts", "serviceaccounts/token"] {
                        assert!(!resources.contains(banned), "{profile}: {banned} everywhere: {rule}");
                    }
                    let seen_only = words(&rule["verbs"]).is_subset(&BTreeSet::from(["get", "list", "watch"]));
                    assert!(!resources.contains("pods") || seen_only, "{profile}: {rule}");
                }
            }
        }
    }
}

#[test]
fn a095_secrets_of_its_own_namespace_are_read_by_name() {
    for profile in PROFILES {
        let objects = objects(profile);
        let [role] = of_kind(&objects, "Role")[..] else { panic!("{profile}: one role of its own namespace") };
        for rule in role["rules"].as_array().unwrap() {
            let creates_only = words(&rule["verbs"]) == BTreeSet::from(["create"]);
            if words(&rule["resources"]).contains("secrets") && !creates_only {
                let names =
                    BTreeSet::from(["remora-access-tokens", "remora-admin-key", "remora-api-keys", "remora-identity"]);
                assert_eq!(words(&rule["resourceNames"]), names, "{profile}");
            }
        }
    }
}

#[test]
fn the_namespace_that_projects_share_is_not_the_control_planes_to_delete() {
    for profile in PROFILES {
        let objects = objects(profile);
        let server = of_kind(&objects, "Deployment")
            .into_iter()
            .flat_map(|one| one["spec"]["template"]["spec"]["containers"].as_array().into_iter().flatten())
            .find(|container| container["name"] == "server")
            .expect("there is the server");
        let variables = server["env"].as_array().expect("it has variables");
        let shared = variables.iter().find(|variable| variable["name"] == "REMORA_SHARED_NAMESPACE");
        let shared = shared.and_then(|variable| variable["value"].as_str()).expect("it is told its name");
        let [policy] = of_kind(&objects, "ValidatingAdmissionPolicy")[..] else { panic!("{profile}: one policy") };
        let rules = policy["spec"]["validations"].as_array().expect("it has rules");
        let guards = |rule: &&Value| {
            let text = rule["expression"].as_str().unwrap_or_default();
            text.contains("request.operation != 'DELETE'") && text.contains(&format!("metadata.name != '{shared}'"))
        };
        assert_eq!(rules.iter().filter(guards).count(), 1, "{profile}: {shared}");
    }
}

/// What Pod Security `restricted` asks for, and a root file system that is read only.
#[test]
fn a095_every_pod_is_restricted() {
    for profile in PROFILES {
        let objects = objects(profile);
        let pods = objects.iter().filter_map(|object| match object["kind"].as_str() {
            Some("Deployment") => Some(&object["spec"]["template"]["spec"]),
            Some("Pod") => Some(&object["spec"]),
            _ => None,
        });
        let mut seen = 0;
        for pod in pods {
            seen += 1;
            assert_eq!(pod["securityContext"]["runAsNonRoot"], true, "{profile}");
            assert_eq!(pod["securityContext"]["seccompProfile"]["type"], "RuntimeDefault", "{profile}");
            for container in pod["containers"].as_array().expect("a pod has containers") {
                let security = &container["securityContext"];
                assert_eq!(security["allowPrivilegeEscalation"], false, "{profile}: {container}");
                assert_eq!(security["readOnlyRootFilesystem"], true, "{profile}: {container}");
                assert_eq!(words(&security["capabilities"]["drop"]), BTreeSet::from(["ALL"]), "{profile}: {container}");
                for part in ["requests", "limits"] {
                    assert!(container["resources"][part]["memory"].is_string(), "{profile}: {container}");
                }
            }
        }
        assert!(seen >= 2, "{profile}: {seen} pods");
    }
}

/// The control plane asks the API server, and nothing else here does.
#[test]
fn a095_nobody_but_the_control_plane_has_a_token() {
    for profile in PROFILES {
        let objects = objects(profile);
        for object in &objects {
            let pod = match object["kind"].as_str() {
                Some("Deployment") => &object["spec"]["template"],
                Some("Pod") => object,
                _ => continue,
            };
            let labels = &object["metadata"]["labels"];
            let server = object["kind"] == "Deployment" && labels["app.kubernetes.io/component"] == "control-plane";
            let mounted = pod["spec"]["automountServiceAccountToken"] != false;
            assert_eq!(mounted, server, "{profile}: {} {}", object["kind"], object["metadata"]["name"]);
        }
    }
}

/// An annotation is what some controller acts on: the chart has those of Kubernetes and of
/// helm alone, and none with a value that somebody sets.
#[test]
fn a095_annotations_are_those_of_the_chart() {
    fn annotations(value: &Value, found: &mut BTreeSet<String>) {
        match value {
            Value::Object(fields) => {
                if let Some(own) = fields.get("annotations").and_then(Value::as_object) {
                    found.extend(
                        own.iter().map(|(name, value)| format!("{name}={}", value.as_str().unwrap_or_default())),
                    );
                }
                fields.values().for_each(|inner| annotations(inner, found));
            }
            Value::Array(items) => items.iter().for_each(|inner| annotations(inner, found)),
            _ => {}
        }
    }
    for profile in PROFILES {
        let mut found = BTreeSet::new();
        for object in objects(profile).iter().filter(|object| object["kind"] != "CustomResourceDefinition") {
            annotations(object, &mut found);
        }
        let known = [
            "kubectl.kubernetes.io/default-container=server",
            "helm.sh/hook=test",
            "helm.sh/hook-delete-policy=before-hook-creation",
        ];
        assert_eq!(found, known.map(str::to_owned).into(), "{profile}");
    }
}
