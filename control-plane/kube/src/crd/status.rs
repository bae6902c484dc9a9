//! The status: what a project is, and what the control plane remembers of its sagas.

#![expect(unreachable_pub, reason = "KubeSchema copies the type into a function, where pub reaches nobody")]

use k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime;
use kube::KubeSchema;
use remora_proto_model::project as model;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// What a project is. The control plane alone writes it.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ProjectStatus {
    /// The metadata.generation of the spec that this tells of.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// Where it is on its way.
    #[schemars(schema_with = "phases")]
    #[serde(default)]
    pub phase: String,
    /// Raised before each new start; in every certificate, token and snapshot.
    #[serde(default)]
    pub generation: i64,
    /// The namespace of what is made for it.
    #[serde(default)]
    pub namespace: String,
    /// Its pods.
    #[x_kube(merge_strategy = ListMerge::Map(vec!["name".to_owned()]))]
    #[serde(default)]
    pub pods: Vec<Pod>,
    /// Where its ports can be reached.
    #[x_kube(merge_strategy = ListMerge::Atomic)]
    #[serde(default)]
    pub endpoints: Vec<Endpoint>,
    /// The newest committed snapshot; absent before the first.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub head: Option<Head>,
    /// What would be lost if the workspace vanished now.
    #[serde(default)]
    pub durability: Durability,
    /// When it was used last, as its agents say.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_activity: Option<MicroTime>,
    /// How long the last start took.
    #[serde(default)]
    pub timings: StartTimings,
    /// How its containers are.
    #[x_kube(merge_strategy = ListMerge::Map(vec!["name".to_owned()]))]
    #[serde(default)]
    pub containers: Vec<ContainerState>,
    /// What is so and what not.
    #[x_kube(merge_strategy = ListMerge::Map(vec!["type".to_owned()]))]
    #[serde(default)]
    pub conditions: Vec<Condition>,
    /// The control plane's own memory of what it has begun; nothing to build on.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub saga: Option<Saga>,
}

/// A pod of a project.
#[derive(JsonSchema, Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Pod {
    /// Its name in the project's namespace.
    pub name: String,
    /// Its uid: a pod that is made anew has another.
    #[serde(default)]
    pub uid: String,
    /// The one container that it is for; absent where it is for all of them.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub container: Option<String>,
    /// Its address; empty until it has one.
    #[serde(default)]
    pub ip: String,
    /// Whether the cluster says that it is ready.
    #[serde(default)]
    pub ready: bool,
    /// Whether its agent is the one that makes the project's snapshots.
    #[serde(default, rename = "ownsSnapshots")]
    pub owns_snapshots: bool,
}

/// Where a port can be reached.
#[derive(JsonSchema, Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Endpoint {
    /// The container.
    pub container: String,
    /// The port's name.
    pub port_name: String,
    /// The address.
    pub url: String,
}

/// The newest committed snapshot.
#[derive(JsonSchema, Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Head {
    /// Its id.
    pub snapshot: String,
    /// Its place in the lineage.
    pub sequence: i64,
    /// When it was committed.
    pub committed_at: MicroTime,
}

/// What would be lost if the workspace vanished now: the recovery point.
#[derive(JsonSchema, Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Durability {
    /// Files that differ from the head.
    pub dirty_files: i64,
    /// Their bytes.
    pub dirty_bytes: i64,
    /// Age of the oldest change that is not committed, at most, in seconds; 0 where nothing is dirty.
    pub rpo_seconds: i64,
    /// When that was measured; absent is never.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub measured_at: Option<MicroTime>,
}

/// Milliseconds from the wish to each point of a start; 0 is not reached.
#[derive(JsonSchema, Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct StartTimings {
    /// Until its identity was made.
    pub scheduled_ms: i64,
    /// Until the workspace was restored.
    pub hydrated_ms: i64,
    /// Until it served.
    pub ready_ms: i64,
}

/// How a container is.
#[derive(JsonSchema, Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct ContainerState {
    /// Its name.
    pub name: String,
    /// Whether its own command runs.
    #[serde(default)]
    pub running: bool,
    /// How it ended, in words; empty while it runs.
    #[serde(default)]
    pub ended: String,
    /// How often it was started in this generation.
    #[serde(default)]
    pub starts: i32,
    /// Whether it can be counted on: it runs, waits for nothing, and its health is good where it is looked at.
    #[serde(default)]
    pub ready: bool,
    /// Which containers it waits for before its command begins, in words.
    #[serde(default)]
    pub waiting: String,
}

/// Something that is so, or not, and since when.
#[derive(JsonSchema, Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Condition {
    /// What it is about.
    #[serde(rename = "type")]
    pub kind: String,
    /// Whether it is so.
    #[schemars(extend("enum" = ["True", "False", "Unknown"]))]
    pub status: String,
    /// A stable word.
    pub reason: String,
    /// What a person needs to know.
    #[serde(default)]
    pub message: String,
    /// Since when.
    pub last_transition_time: MicroTime,
}

/// How far the sagas of a project are: what must not be forgotten when a control
/// plane ends between two steps.
#[derive(JsonSchema, Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Saga {
    /// The resource version of the last change of the spec.
    pub spec_version: i64,
    /// What the working tree is, never better than it is.
    #[schemars(extend("enum" = ["Absent", "Partial", "Kept", "Committed", "Stored"]))]
    pub tree: String,
    /// The generation whose pods are to end: decided, and not yet seen done.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub condemned: Option<i64>,
    /// The archive that it starts from, once that is on the store whole.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub source: Option<SourceObject>,
    /// The spec that is gone by, as JSON: the last one that could be read. One that
    /// somebody wrote meanwhile and that cannot be read must not cost the project.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub spec: Option<String>,
    /// What the last word of a pod that ended says is missing, in words.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub lost: Option<String>,
    /// The generation that is to be followed by another one, because its containers are to be others.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub replace: Option<i64>,
    /// Containers that were removed together with their data, which may still be there.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub discard: Vec<String>,
    /// The generation whose end is wanted because nobody used it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub idled: Option<i64>,
    /// Where the agent of the present pod is, as HOST:PORT, for control planes that do not lead.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub agent: Option<String>,
    /// Its end was asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub deletion: Option<Deletion>,
    /// Counts calls that ask for what is wanted already: whoever leads tries at once what failed.
    pub asked: i64,
}

impl Default for Saga {
    fn default() -> Self {
        Saga {
            spec_version: 0,
            tree: "Absent".to_owned(),
            condemned: None,
            source: None,
            spec: None,
            lost: None,
            replace: None,
            discard: Vec::new(),
            idled: None,
            agent: None,
            deletion: None,
            asked: 0,
        }
    }
}

/// An archive on the store.
#[derive(JsonSchema, Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct SourceObject {
    /// Its key, below the store's prefix.
    pub object: String,
    /// Its length.
    pub bytes: i64,
}

/// How a project ends, and how far that is.
#[derive(JsonSchema, Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Deletion {
    /// Without a final snapshot, and with its snapshots.
    pub purge: bool,
    /// The tombstone is on the store: from here nothing brings it back.
    pub tombstone: bool,
}

/// The phases, and nothing before the control plane has seen it.
fn phases(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
    let mut words: Vec<String> = model::Phase::ALL.iter().map(ToString::to_string).collect();
    words.push(String::new());
    schemars::json_schema!({ "type": "string", "enum": words })
}
