//! The spec, and the rules that the API server holds it to.
//!
//! Where a schema's own words do (`minimum`, `maxItems`, `enum`), they are used:
//! their refusals name the field. A rule in CEL is there where a person needs to
//! be told what to write. Every text and list has a bound: the API server
//! estimates what a rule costs from them.

#![expect(unreachable_pub, reason = "KubeSchema copies each type into a function, where pub reaches nobody")]

use std::collections::BTreeMap;

use kube::{CustomResource, KubeSchema};
use remora_proto_model::project as model;
use serde::{Deserialize, Serialize};

use super::status::ProjectStatus;

/// What a project should be.
#[derive(CustomResource, KubeSchema, Clone, Debug, PartialEq, Serialize, Deserialize)]
#[kube(
    group = "remora.dev",
    version = "v1alpha1",
    kind = "Project",
    plural = "projects",
    shortname = "proj",
    status = "ProjectStatus",
    derive = "PartialEq",
    doc = "A project: one isolated set of containers with a workspace that outlives them on the object store.",
    printcolumn(name = "Phase", type_ = "string", json_path = ".status.phase"),
    printcolumn(name = "Desired", type_ = "string", json_path = ".spec.desired"),
    printcolumn(name = "Generation", type_ = "integer", json_path = ".status.generation"),
    printcolumn(name = "Head", type_ = "integer", json_path = ".status.head.sequence"),
    printcolumn(name = "Owner", type_ = "string", json_path = ".spec.owner", priority = 1),
    printcolumn(name = "Namespace", type_ = "string", json_path = ".status.namespace", priority = 1),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp"),
    validation = Rule::new("self.metadata.name.size() <= 40 && self.metadata.name.matches('^[a-z0-9]([a-z0-9-]*[a-z0-9])?$')")
        .message("metadata.name: must be 1 to 40 of a-z, 0-9 and '-', a letter or digit at both ends")
)]
#[x_kube(
    validation = Rule::new("self.layout == 'PodPerContainer' || self.containers.all(c, c.ports.all(p, self.containers.map(d, d.ports.filter(q, q.port == p.port).size()).sum() == 1))")
        .message("a port is there twice; the containers of one pod share one network, so give each port once")
        .field_path(".containers"),
    validation = Rule::new("self.containers.all(c, c.dependsOn.all(d, d.name != c.name && self.containers.exists(o, o.name == d.name)))")
        .message("a dependsOn names a container that is not there, or the one that it is in; name another container of the project")
        .field_path(".containers"),
    validation = Rule::new("self.layout == 'SinglePod' || self.containers.all(c, !(c.name in ['wait', 'pods']))")
        .message("wait and pods are names that Remora has itself where each container has its pod; choose others")
        .field_path(".containers"),
    validation = Rule::new("self.containers.exists(c, c.kind == 'Dev')")
        .message("has only Service containers; one Dev container at least works in the workspace")
        .field_path(".containers"),
    validation = Rule::new("self.layout == 'SinglePod' || self.containers.filter(c, c.kind == 'Dev').size() <= 1 || (has(self.workspace.volume) && self.workspace.volume.accessMode == 'ReadWriteMany')")
        .message("is none that several Dev containers can share from pods of their own; give a volume with the access mode ReadWriteMany, or the layout SinglePod")
        .field_path(".workspace"),
    validation = Rule::new("self.layout == 'SinglePod' || self.containers.exists(c, c.name == self.containers.filter(d, d.kind == 'Dev')[0].name && c.name == oldSelf.containers.filter(d, d.kind == 'Dev')[0].name)")
        .message("must keep the same first Dev container: its pod makes the snapshots; put others after it")
        .field_path(".containers"),
    validation = Rule::new("self.layout == oldSelf.layout")
        .message("cannot change; make another project with it")
        .field_path(".layout"),
    validation = Rule::new("self.isolation == oldSelf.isolation")
        .message("cannot change; make another project with it")
        .field_path(".isolation"),
    validation = Rule::new("self.isolation == 'Dedicated' || !has(self.quota)")
        .message("is of a namespace, and with the isolation Shared this project shares its one; leave it out, or take Dedicated")
        .field_path(".quota"),
    validation = Rule::new("self.isolation == 'Dedicated' || self.containers.all(c, c.name.size() <= 24)")
        .message("a name is too long; with the isolation Shared they have at most 24 characters")
        .field_path(".containers"),
    validation = Rule::new("has(self.owner) == has(oldSelf.owner) && (!has(self.owner) || self.owner == oldSelf.owner)")
        .message("cannot change; make another project for another owner")
        .field_path(".owner"),
    validation = Rule::new("self.source == oldSelf.source")
        .message("cannot change: the workspace began with it; make another project")
        .field_path(".source"),
    validation = Rule::new("has(self.workspace.volume) == has(oldSelf.workspace.volume) && (!has(self.workspace.volume) || self.workspace.volume == oldSelf.workspace.volume)")
        .message("cannot change: it is what holds the files of this project; make another project with it, and bring the files there")
        .field_path(".workspace.volume")
)]
#[serde(rename_all = "camelCase")]
pub struct ProjectSpec {
    /// Whose it is: what is made for the project carries it as a label. Cannot change.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 63))]
    #[x_kube(validation = Rule::new("self.matches('^[A-Za-z0-9]([A-Za-z0-9._-]*[A-Za-z0-9])?$')")
        .message("must be 1 to 63 letters, digits, '-', '_' and '.', a letter or digit at both ends"))]
    pub owner: Option<String>,
    /// For people; empty is the name.
    #[serde(default)]
    #[schemars(length(max = model::MAX_DISPLAY_NAME_CHARACTERS))]
    #[x_kube(validation = Rule::new("!self.matches('\\\\p{Cc}')")
        .message("has a control character; give one line of text"))]
    pub display_name: String,
    /// What the owner wants.
    #[serde(default = "running")]
    #[schemars(extend("enum" = ["Running", "Stopped", "Hibernated"]))]
    pub desired: String,
    /// The first is the default one.
    #[schemars(length(min = 1, max = model::MAX_CONTAINERS))]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["name".to_owned()]))]
    pub containers: Vec<Container>,
    /// How they become pods: one for all, or one for each. Cannot change.
    #[serde(default = "single_pod")]
    #[schemars(extend("enum" = ["SinglePod", "PodPerContainer"]))]
    pub layout: String,
    /// Whether it has a namespace to itself, or is in the one that all such projects share. Cannot change.
    #[serde(default = "dedicated")]
    #[schemars(extend("enum" = ["Dedicated", "Shared"]))]
    pub isolation: String,
    /// Where containers see the workspace, and what holds it.
    #[serde(default)]
    pub workspace: Workspace,
    /// Where the first content comes from: nothing, or an archive that is brought through the server's API.
    #[serde(default = "empty")]
    #[schemars(extend("enum" = ["Empty", "Archive"]))]
    pub source: String,
    /// When snapshots are made by themselves and which are kept.
    #[serde(default)]
    pub snapshots: SnapshotPolicy,
    /// What all of it may use of the cluster.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub quota: Option<Quota>,
    /// What becomes of it when nobody uses it; absent is nothing.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub idle: Option<Idle>,
}

/// A container of a project.
#[derive(KubeSchema, Clone, Debug, PartialEq, Serialize, Deserialize)]
#[x_kube(
    validation = Rule::new("has(self.image) || has(self.preset)")
        .message("is missing; name the image that it runs in").field_path(".image"),
    validation = Rule::new("self.kind == 'Service' || (!has(self.preset) && !has(self.storage) && !has(self.user))")
        .message("preset, storage and user are for Service containers; give it the kind Service, or leave them out"),
    validation = Rule::new("self.kind == 'Dev' || self.workdir == ''")
        .message("is given for a Service container, which has no workspace; leave it out").field_path(".workdir"),
    validation = Rule::new("!has(self.preset) || self.ports.size() <= 1")
        .message("a preset has one port").field_path(".ports"),
    validation = Rule::new("!has(self.preset) || self.ports.all(p, !has(p.expose))")
        .message("a preset speaks no HTTP and cannot be exposed; expose the container that uses it").field_path(".ports"),
    validation = Rule::new("!has(self.storage) || has(self.preset) == (self.storage.path == '')")
        .message("a preset knows its own path; without one, say where the container keeps its data").field_path(".storage"),
    validation = Rule::new("self.ports.all(p, self.ports.filter(q, q.port == p.port).size() == 1)")
        .message("a port is there twice; give each port once").field_path(".ports")
)]
#[serde(rename_all = "camelCase")]
pub struct Container {
    /// Unique in the project.
    #[schemars(length(min = 1, max = 40))]
    #[x_kube(
        validation = Rule::new("self.matches('^[a-z]([a-z0-9-]*[a-z0-9])?$')")
            .message("must be 1 to 40 of a-z, 0-9 and '-', a letter first, and a letter or digit last"),
        validation = Rule::new("!(self in ['install', 'hydrate', 'agent'])")
            .message("is a name that Remora has here itself; choose another name")
    )]
    pub name: String,
    /// What it is: a Dev container works in the workspace and is reached by terminals
    /// and commands, a Service container is a server beside those, its image as it is.
    #[serde(default = "dev")]
    #[schemars(extend("enum" = ["Dev", "Service"]))]
    pub kind: String,
    /// A server whose image, user, volume, health and credentials are known; for Service containers.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(extend("enum" = ["Postgres", "Redis"]))]
    pub preset: Option<String>,
    /// The image that it runs in: [REGISTRY/]REPOSITORY[:TAG][@DIGEST]. Only a preset has one of its own.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = model::MAX_IMAGE_BYTES))]
    #[x_kube(validation = Rule::new("self.matches('^(([A-Za-z0-9.-]+|\\\\[[0-9A-Fa-f:]+\\\\])(:[0-9]{1,5})?/)?[a-z0-9]+(([._]|__|-+)[a-z0-9]+)*(/[a-z0-9]+(([._]|__|-+)[a-z0-9]+)*)*(:[A-Za-z0-9_][A-Za-z0-9_.-]{0,127})?(@(sha256:[0-9a-f]{64}|sha512:[0-9a-f]{128}))?$')")
        .message("is no reference to an image; write [REGISTRY/]REPOSITORY[:TAG][@DIGEST]"))]
    pub image: Option<String>,
    /// Program and arguments; empty runs what the image says.
    #[serde(default)]
    #[schemars(length(max = model::MAX_COMMAND_WORDS), inner(length(max = model::MAX_WORD_BYTES), regex(pattern = r"^[^\x00]*$")))]
    #[x_kube(validation = Rule::new("self.size() == 0 || self[0].size() > 0")
        .message("begins with an empty word; name a program, or give no command at all"))]
    pub command: Vec<String>,
    /// Arguments after the command, or after the image's entry point in place of the image's own.
    #[serde(default)]
    #[schemars(length(max = model::MAX_COMMAND_WORDS), inner(length(max = model::MAX_WORD_BYTES), regex(pattern = r"^[^\x00]*$")))]
    pub args: Vec<String>,
    /// Added to the environment.
    #[serde(default)]
    #[schemars(length(max = model::MAX_ENV), schema_with = "environment")]
    pub env: BTreeMap<String, String>,
    /// Ports that the command listens on.
    #[serde(default)]
    #[schemars(length(max = model::MAX_PORTS))]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["name".to_owned()]))]
    pub ports: Vec<Port>,
    /// Working directory relative to the workspace; empty is the workspace.
    #[serde(default)]
    #[schemars(length(max = model::MAX_WORKDIR_BYTES), regex(pattern = r"^[^\x00]*$"))]
    #[x_kube(validation = Rule::new("!self.startsWith('/') && !self.matches('(^|/)[.][.](/|$)')")
        .message("must be relative to the workspace, without '..'"))]
    pub workdir: String,
    /// What it is promised of a node, and what it may not exceed.
    #[serde(default)]
    pub resources: Resources,
    /// Containers that it waits for before its command begins. A cycle is not followed: status says which one it is.
    #[serde(default)]
    #[schemars(length(max = model::MAX_CONTAINERS - 1))]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["name".to_owned()]))]
    pub depends_on: Vec<Dependency>,
    /// How its health is seen; without one its first port is, or what its preset says.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub probe: Option<Probe>,
    /// A volume of its own, which outlives its pods and hibernation; for Service containers.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub storage: Option<Storage>,
    /// The uid that it runs as; for Service containers. Absent is that of its preset's own image, else that of the project's pods.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 2147483647))]
    pub user: Option<i64>,
}

/// A container that another one waits for.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Dependency {
    /// Its name.
    #[schemars(length(min = 1, max = 40))]
    pub name: String,
    /// What of it is waited for: that it has begun, or that its health is good.
    #[serde(default = "started")]
    #[schemars(extend("enum" = ["Started", "Healthy"]))]
    pub condition: String,
}

/// A look at a container from time to time; it says whether the container is ready.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[x_kube(validation = Rule::new("[has(self.httpGet), has(self.tcpSocket), has(self.exec)].filter(given, given).size() == 1")
    .message("must have exactly one of httpGet, tcpSocket and exec"))]
#[serde(rename_all = "camelCase")]
pub struct Probe {
    /// A GET of HTTP; an answer from 200 to 399 is good.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub http_get: Option<HttpGet>,
    /// A connection that is taken is good.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tcp_socket: Option<TcpSocket>,
    /// A command in the container that ends with 0 is good.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub exec: Option<ExecAction>,
    /// Seconds before the first look.
    #[serde(default)]
    #[schemars(range(min = 0, max = model::MAX_PROBE_SECONDS))]
    pub initial_delay_seconds: i32,
    /// Seconds between two looks.
    #[serde(default = "period_seconds")]
    #[schemars(range(min = 1, max = model::MAX_PROBE_SECONDS))]
    pub period_seconds: i32,
    /// Seconds that a look may take.
    #[serde(default = "timeout_seconds")]
    #[schemars(range(min = 1, max = model::MAX_PROBE_SECONDS))]
    pub timeout_seconds: i32,
    /// Failures in a row until it is unhealthy.
    #[serde(default = "failure_threshold")]
    #[schemars(range(min = 1, max = model::MAX_PROBE_FAILURES))]
    pub failure_threshold: i32,
}

/// A GET of HTTP.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct HttpGet {
    /// From the root.
    #[serde(default = "root_path")]
    #[schemars(length(max = model::MAX_PROBE_PATH_BYTES))]
    #[x_kube(validation = Rule::new("self.matches('^/[!-~]*$')")
        .message("must be a path from the root of visible characters"))]
    pub path: String,
    /// 1 to 65,535.
    #[schemars(range(min = 1, max = 65535))]
    pub port: i32,
}

/// A connection.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct TcpSocket {
    /// 1 to 65,535.
    #[schemars(range(min = 1, max = 65535))]
    pub port: i32,
}

/// A command in the container; no shell reads it.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct ExecAction {
    /// Program and arguments.
    #[schemars(length(min = 1, max = model::MAX_COMMAND_WORDS), inner(length(max = model::MAX_WORD_BYTES), regex(pattern = r"^[^\x00]*$")))]
    #[x_kube(validation = Rule::new("self[0].size() > 0").message("begins with an empty word; name a program"))]
    pub command: Vec<String>,
}

/// A volume of a Service container's own.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Storage {
    /// Its bytes, for example 5Gi.
    #[schemars(length(max = model::MAX_QUANTITY_BYTES))]
    #[x_kube(validation = Rule::new(BYTES).message("must be a whole number of bytes above 0, for example 512Mi or 1.5Gi"))]
    pub size: String,
    /// The storage class; empty is the cluster's default one.
    #[serde(default)]
    #[schemars(length(max = model::MAX_STORAGE_CLASS_BYTES))]
    #[x_kube(validation = Rule::new("self == '' || self.matches('^[a-z0-9]([a-z0-9-]*[a-z0-9])?([.][a-z0-9]([a-z0-9-]*[a-z0-9])?)*$')")
        .message("is no name of a storage class; kubectl get storageclass lists them"))]
    pub class: String,
    /// Where the container sees it; absolute. Empty with a preset, which knows its own.
    #[serde(default)]
    #[schemars(length(max = model::MAX_WORKSPACE_PATH_BYTES))]
    #[x_kube(validation = Rule::new("self == '' || (self.matches('^(/[A-Za-z0-9._-]+)+$') && !self.matches('/[.][.]?(/|$)'))")
        .message("must be an absolute path of letters, digits, '.', '_' and '-', without '.', '..' and a last '/'"))]
    pub path: String,
}

/// A port that a container's command listens on.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Port {
    /// Unique in the container.
    #[schemars(length(min = 1, max = 15))]
    #[x_kube(validation = Rule::new("self.matches('^[a-z0-9]([a-z0-9-]*[a-z0-9])?$')")
        .message("must be 1 to 15 of a-z, 0-9 and '-', a letter or digit at both ends"))]
    pub name: String,
    /// 1 to 65,535.
    #[schemars(range(min = 1, max = 65535))]
    pub port: i32,
    /// Whom it lets in from outside of the project, where the server has a domain for ports; absent is nobody.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(extend("enum" = ["Private", "Authenticated", "Public"]))]
    pub expose: Option<String>,
}

/// What a container is promised, and what it may not exceed.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[x_kube(
    validation = Rule::new("!has(self.requests.cpu) || !has(self.limits.cpu) || !isQuantity(self.requests.cpu) || !isQuantity(self.limits.cpu) || quantity(self.requests.cpu).compareTo(quantity(self.limits.cpu)) <= 0")
        .message("is more than the limit; request at most the limit").field_path(".requests.cpu"),
    validation = Rule::new("!has(self.requests.memory) || !has(self.limits.memory) || !isQuantity(self.requests.memory) || !isQuantity(self.limits.memory) || quantity(self.requests.memory).compareTo(quantity(self.limits.memory)) <= 0")
        .message("is more than the limit; request at most the limit").field_path(".requests.memory"),
    validation = Rule::new("!has(self.requests.ephemeralStorage) || !has(self.limits.ephemeralStorage) || !isQuantity(self.requests.ephemeralStorage) || !isQuantity(self.limits.ephemeralStorage) || quantity(self.requests.ephemeralStorage).compareTo(quantity(self.limits.ephemeralStorage)) <= 0")
        .message("is more than the limit; request at most the limit").field_path(".requests.ephemeralStorage")
)]
pub struct Resources {
    /// What it is promised.
    #[serde(default)]
    pub requests: Amounts,
    /// What it may not exceed.
    #[serde(default)]
    pub limits: Amounts,
}

/// Amounts of a node, as Kubernetes writes them; what is absent is not said.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Amounts {
    /// Processors, for example 500m.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = model::MAX_QUANTITY_BYTES))]
    #[x_kube(validation = Rule::new(CPU).message("must be an amount of processors above 0, for example 500m or 2"))]
    pub cpu: Option<String>,
    /// Bytes of memory, for example 1Gi.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = model::MAX_QUANTITY_BYTES))]
    #[x_kube(validation = Rule::new(BYTES).message("must be a whole number of bytes above 0, for example 512Mi or 1.5Gi"))]
    pub memory: Option<String>,
    /// Bytes on the node's own disk, for example 10Gi.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = model::MAX_QUANTITY_BYTES))]
    #[x_kube(validation = Rule::new(BYTES).message("must be a whole number of bytes above 0, for example 512Mi or 1.5Gi"))]
    pub ephemeral_storage: Option<String>,
}

/// An amount of processors. The form comes before the value: what is no quantity has none.
const CPU: &str = "self.matches('^[0-9.]+([numkMGTPE]|[KMGTPE]i|[eE][+-]?[0-9]{1,2})?$') && isQuantity(self) && quantity(self).isGreaterThan(quantity('0'))";
/// An amount of bytes: no suffix that is a fraction. `isInteger` would not do, it is false of 1.5Gi.
const BYTES: &str = "self.matches('^[0-9.]+([kMGTPE]|[KMGTPE]i|[eE][+]?[0-9]{1,2})?$') && isQuantity(self) && quantity(self).isGreaterThan(quantity('0'))";

/// The workspace of a project.
#[derive(KubeSchema, Clone, Debug, PartialEq, Serialize, Deserialize)]
#[x_kube(validation = Rule::new("!has(self.volume) || !has(self.sizeLimit)")
    .message("is for the node's own disk, and this is a volume; give volume.size alone").field_path(".sizeLimit"))]
#[serde(rename_all = "camelCase")]
pub struct Workspace {
    /// Where containers see it; absolute.
    #[serde(default = "workspace_path")]
    #[schemars(length(max = model::MAX_WORKSPACE_PATH_BYTES))]
    #[x_kube(
        validation = Rule::new("self.matches('^(/[A-Za-z0-9._-]+)+$') && !self.matches('/[.][.]?(/|$)')")
            .message("must be an absolute path of letters, digits, '.', '_' and '-', without '.', '..' and a last '/'"),
        validation = Rule::new("!self.matches('^/(proc|sys|dev|opt/remora|run/remora|etc/remora)(/|$)') && !self.matches('^/(opt|run|etc|usr|bin|sbin|lib|lib64|var|var/run)$')")
            .message("is a folder that the container itself needs; give one of its own, for example /workspace")
    )]
    pub path: String,
    /// A volume that outlives the pod. Absent, the node's own disk holds it, and the snapshots alone outlive the pod. Cannot change.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub volume: Option<Volume>,
    /// Most bytes on the node's own disk; not with a volume, which has a size.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = model::MAX_QUANTITY_BYTES))]
    #[x_kube(validation = Rule::new(BYTES).message("must be a whole number of bytes above 0, for example 512Mi or 1.5Gi"))]
    pub size_limit: Option<String>,
}

impl Default for Workspace {
    fn default() -> Self {
        Workspace { path: workspace_path(), volume: None, size_limit: None }
    }
}

/// A volume that the cluster provides.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Volume {
    /// Its bytes, for example 20Gi.
    #[schemars(length(max = model::MAX_QUANTITY_BYTES))]
    #[x_kube(validation = Rule::new(BYTES).message("must be a whole number of bytes above 0, for example 512Mi or 1.5Gi"))]
    pub size: String,
    /// The storage class; empty is the cluster's default one.
    #[serde(default)]
    #[schemars(length(max = model::MAX_STORAGE_CLASS_BYTES))]
    #[x_kube(validation = Rule::new("self == '' || self.matches('^[a-z0-9]([a-z0-9-]*[a-z0-9])?([.][a-z0-9]([a-z0-9-]*[a-z0-9])?)*$')")
        .message("is no name of a storage class; kubectl get storageclass lists them"))]
    pub class: String,
    /// Who may mount it.
    #[serde(default = "read_write_once")]
    #[schemars(extend("enum" = ["ReadWriteOnce", "ReadWriteOncePod", "ReadWriteMany"]))]
    pub access_mode: String,
}

/// When snapshots are made by themselves and which are kept.
#[derive(KubeSchema, Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SnapshotPolicy {
    /// Seconds between two snapshots of a running project that changed.
    #[schemars(range(min = 10, max = 86400))]
    #[serde(default = "interval_seconds")]
    pub interval_seconds: i32,
    /// How many of the newest are kept.
    #[schemars(range(min = 1, max = 1000))]
    #[serde(default = "keep_last")]
    pub keep_last: i32,
    /// Of how many hours the newest is kept.
    #[schemars(range(min = 0, max = 1000))]
    #[serde(default)]
    pub keep_hourly: i32,
    /// Of how many days the newest is kept.
    #[schemars(range(min = 0, max = 1000))]
    #[serde(default)]
    pub keep_daily: i32,
    /// What is left out, as in .remoraignore.
    #[schemars(length(max = model::MAX_EXCLUDES), inner(length(min = 1, max = model::MAX_EXCLUDE_BYTES)))]
    #[x_kube(validation = Rule::new("self.all(pattern, !pattern.matches('\\\\p{Cc}'))")
        .message("a pattern has a control character; give each as a line of .remoraignore"))]
    #[serde(default)]
    pub exclude: Vec<String>,
}

impl Default for SnapshotPolicy {
    fn default() -> Self {
        SnapshotPolicy {
            interval_seconds: interval_seconds(),
            keep_last: keep_last(),
            keep_hourly: 0,
            keep_daily: 0,
            exclude: Vec::new(),
        }
    }
}

fn interval_seconds() -> i32 {
    60
}

fn keep_last() -> i32 {
    10
}

/// What all of a project may use of the cluster; what is absent is not bounded.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Quota {
    /// Processors that all its containers request.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = model::MAX_QUANTITY_BYTES))]
    #[x_kube(validation = Rule::new(CPU).message("must be an amount of processors above 0, for example 500m or 2"))]
    pub cpu: Option<String>,
    /// The memory limits of all its containers.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = model::MAX_QUANTITY_BYTES))]
    #[x_kube(validation = Rule::new(BYTES).message("must be a whole number of bytes above 0, for example 512Mi or 1.5Gi"))]
    pub memory: Option<String>,
    /// Pods at a time: one that ends still counts while the next one starts.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 2, max = model::MAX_QUOTA_PODS))]
    pub pods: Option<i32>,
    /// Bytes of all its volumes.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = model::MAX_QUANTITY_BYTES))]
    #[x_kube(validation = Rule::new(BYTES).message("must be a whole number of bytes above 0, for example 512Mi or 1.5Gi"))]
    pub storage: Option<String>,
}

/// When the project counts as idle, and what happens then.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Idle {
    /// Seconds without use: terminal input, commands that run, calls, open connections to ports, processor time.
    #[schemars(range(min = model::MIN_IDLE_SECONDS, max = model::MAX_IDLE_SECONDS))]
    pub after_seconds: i32,
    /// What is done then; None leaves it at the phase Idle.
    #[serde(default = "hibernate")]
    #[schemars(extend("enum" = ["Hibernate", "Stop", "None"]))]
    pub action: String,
}

fn hibernate() -> String {
    "Hibernate".to_owned()
}

fn running() -> String {
    "Running".to_owned()
}

fn empty() -> String {
    "Empty".to_owned()
}

fn single_pod() -> String {
    "SinglePod".to_owned()
}

fn dedicated() -> String {
    "Dedicated".to_owned()
}

fn dev() -> String {
    "Dev".to_owned()
}

fn started() -> String {
    "Started".to_owned()
}

fn root_path() -> String {
    "/".to_owned()
}

fn period_seconds() -> i32 {
    5
}

fn timeout_seconds() -> i32 {
    2
}

fn failure_threshold() -> i32 {
    3
}

fn read_write_once() -> String {
    "ReadWriteOnce".to_owned()
}

fn workspace_path() -> String {
    model::DEFAULT_WORKSPACE.to_owned()
}

/// A map of variables: `schemars` has no words for what its keys and values must be.
fn environment(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
    schemars::json_schema!({
        "type": "object",
        "maxProperties": model::MAX_ENV,
        "additionalProperties": { "type": "string", "maxLength": model::MAX_WORD_BYTES, "pattern": "^[^\\x00]*$" },
        "x-kubernetes-validations": [{
            "rule": "self.all(name, !name.startsWith('REMORA_') && name.matches('^[A-Za-z_][A-Za-z0-9_]{0,255}$'))",
            "message": "a name must have 1 to 256 letters, digits and '_', a digit not first, and may not begin with REMORA_, which is taken"
        }]
    })
}
