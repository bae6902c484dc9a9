//! A project: what it should be ([`ProjectSpec`]) and what it is
//! ([`ProjectStatus`]). The JSON form is that of REST and of `-o json`; it is
//! frozen once released.

mod container;
mod dependencies;
mod idle;
mod image;
mod isolation;
mod layout;
mod orphan;
mod probe;
mod quantity;
mod resources;
mod service;
mod snapshots;
mod workspace;

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};

pub use self::{
    container::{
        Container, ContainerKind, Exposure, MAX_COMMAND_WORDS, MAX_CONTAINERS, MAX_ENV, MAX_PORTS,
        MAX_VARIABLE_NAME_BYTES, MAX_WORD_BYTES, MAX_WORKDIR_BYTES, Port, validate_containers, variable_name,
    },
    dependencies::{Dependency, DependencyCondition, HealthCheck, dependents},
    idle::{Idle, IdleAction, MAX_IDLE_SECONDS, MIN_IDLE_SECONDS},
    image::{ImageReference, ImageReferenceError, MAX_IMAGE_BYTES},
    isolation::{Isolation, MAX_SHARED_CONTAINER_NAME_BYTES},
    layout::Layout,
    orphan::{Orphan, OrphanKind, Orphans},
    probe::{ExecAction, HttpGet, MAX_PROBE_FAILURES, MAX_PROBE_PATH_BYTES, MAX_PROBE_SECONDS, Probe, TcpSocket},
    quantity::{MAX_QUANTITY_BYTES, Quantity, QuantityError},
    resources::{Amounts, MAX_QUOTA_PODS, Quota, Resources},
    service::{PRESET_STORAGE, Preset, Storage},
    snapshots::{MAX_EXCLUDE_BYTES, MAX_EXCLUDES, SnapshotPolicy},
    workspace::{AccessMode, DEFAULT_WORKSPACE, MAX_STORAGE_CLASS_BYTES, MAX_WORKSPACE_PATH_BYTES, Volume, Workspace},
};
use crate::{ContainerName, Fault, Generation, ProjectId, ProjectName, Reason, UserId};

/// Longest display name, in characters.
pub const MAX_DISPLAY_NAME_CHARACTERS: usize = 256;

/// What the owner wants.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub enum Desired {
    /// Processes that serve.
    #[default]
    Running,
    /// No processes; the working tree stays where it is.
    Stopped,
    /// No processes and no working tree: the last snapshot is the truth.
    Hibernated,
}

/// Where a project is on its way.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[expect(missing_docs, reason = "the words are documented once, in control.proto")]
pub enum Phase {
    #[default]
    Pending,
    Scheduling,
    Hydrating,
    Starting,
    Ready,
    Quiescing,
    Snapshotting,
    Committed,
    Terminating,
    Hibernated,
    Stopped,
    Degraded,
    Deleting,
    Idle,
}

impl Phase {
    /// Every phase, with the numbers of the wire less one.
    pub const ALL: &'static [Phase] = &[
        Phase::Pending,
        Phase::Scheduling,
        Phase::Hydrating,
        Phase::Starting,
        Phase::Ready,
        Phase::Quiescing,
        Phase::Snapshotting,
        Phase::Committed,
        Phase::Terminating,
        Phase::Hibernated,
        Phase::Stopped,
        Phase::Degraded,
        Phase::Deleting,
        Phase::Idle,
    ];

    /// Whether everything of the project serves.
    pub fn serves(self) -> bool {
        matches!(self, Phase::Ready | Phase::Idle)
    }
}

impl fmt::Display for Phase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self, f)
    }
}

/// Where the first content of a workspace comes from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub enum Source {
    /// Nothing.
    #[default]
    Empty,
    /// An archive that is brought after the project was made.
    Archive,
}

/// What a project should be.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ProjectSpec {
    /// Whose it is; what is made for it on a cluster carries it as a label. Cannot change.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "openapi", schema(value_type = Option<String>))]
    pub owner: Option<UserId>,
    /// For people; empty is the name.
    #[serde(default)]
    pub display_name: String,
    /// What the owner wants.
    #[serde(default)]
    pub desired: Desired,
    /// 1 to 16, one of them at least a Dev one; the first of these is the default one.
    pub containers: Vec<Container>,
    /// How they become pods of a cluster. Cannot change.
    #[serde(default, skip_serializing_if = "Layout::is_default")]
    pub layout: Layout,
    /// Whether it has a namespace of a cluster to itself. Cannot change.
    #[serde(default, skip_serializing_if = "Isolation::is_default")]
    pub isolation: Isolation,
    /// Where containers see the workspace, and what holds it.
    #[serde(default, skip_serializing_if = "Workspace::is_default")]
    pub workspace: Workspace,
    /// Where the first content comes from.
    #[serde(default)]
    pub source: Source,
    /// When snapshots are made and which are kept.
    #[serde(default)]
    pub snapshots: SnapshotPolicy,
    /// What all of it may use of a cluster.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub quota: Option<Quota>,
    /// What becomes of it when nobody uses it; absent is nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub idle: Option<Idle>,
}

impl ProjectSpec {
    /// Checks what the types do not say. The error names the field.
    pub fn validate(&self) -> Result<(), Fault> {
        let count = self.display_name.chars().count();
        if count > MAX_DISPLAY_NAME_CHARACTERS || self.display_name.chars().any(char::is_control) {
            return Err(Fault::invalid(
                "displayName",
                format!("has {count} characters; at most {MAX_DISPLAY_NAME_CHARACTERS}, none of them a control"),
            ));
        }
        validate_containers(&self.containers, self.layout)?;
        self.workspace.validate()?;
        self.workspace_is_shared()?;
        self.snapshots.validate()?;
        self.isolation.validate(self)?;
        self.idle.as_ref().map_or(Ok(()), Idle::validate)?;
        self.quota.as_ref().map_or(Ok(()), Quota::validate)
    }

    /// The containers that work in the workspace; the first is the default one.
    pub fn dev_containers(&self) -> impl Iterator<Item = &Container> {
        self.containers.iter().filter(|container| container.kind == ContainerKind::Dev)
    }

    /// The spec with what `patch` names in place of what is here, checked whole.
    /// Which version the patch is for is not looked at.
    pub fn patched(&self, patch: ProjectPatch) -> Result<ProjectSpec, Fault> {
        let ProjectPatch { resource_version: _, display_name, desired, containers, snapshots, workspace, quota, idle } =
            patch;
        let mut spec = self.clone();
        if let Some(display_name) = display_name {
            spec.display_name = display_name;
        }
        if let Some(desired) = desired {
            spec.desired = desired;
        }
        if let Some(containers) = containers {
            self.containers_may_become(&containers)?;
            spec.containers = containers;
        }
        if let Some(snapshots) = snapshots {
            spec.snapshots = snapshots;
        }
        if let Some(workspace) = workspace {
            self.workspace.may_become(&workspace)?;
            spec.workspace = workspace;
        }
        if let Some(quota) = quota {
            spec.quota = Some(quota);
        }
        if let Some(idle) = idle {
            spec.idle = Some(idle);
        }
        spec.validate()?;
        Ok(spec)
    }
}

/// Where a port can be reached.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "camelCase")]
pub struct Endpoint {
    /// The container.
    #[cfg_attr(feature = "openapi", schema(value_type = String))]
    pub container: ContainerName,
    /// The port's name.
    pub port_name: String,
    /// For example `http://127.0.0.1:5173`.
    pub url: String,
}

/// The newest committed snapshot.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "camelCase")]
pub struct Head {
    /// Its id.
    pub snapshot: String,
    /// Its place in the lineage.
    pub sequence: u64,
    /// When it was committed, in milliseconds since the epoch.
    pub committed_ms: u64,
}

/// What would be lost if the workspace vanished now.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "camelCase")]
pub struct Durability {
    /// Files that differ from the head.
    pub dirty_files: u64,
    /// Their bytes.
    pub dirty_bytes: u64,
    /// Age of the oldest change that is not committed, at most, in seconds; 0 where nothing is dirty.
    pub rpo_seconds: u64,
    /// When that was measured, in milliseconds since the epoch; 0 is never.
    pub measured_ms: u64,
}

/// How long the last start took, in milliseconds from the wish; 0 is not reached.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "camelCase")]
pub struct StartTimings {
    /// Until its identity was made.
    pub scheduled_ms: u64,
    /// Until the workspace was restored.
    pub hydrated_ms: u64,
    /// Until it served.
    pub ready_ms: u64,
}

/// What a condition is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub enum ConditionType {
    /// It serves.
    Ready,
    /// Its workspace is restored.
    Hydrated,
    /// The newest snapshot holds everything, or a newer one is on its way in time.
    SnapshotCurrent,
    /// It should sleep and cannot, since its final snapshot does not commit.
    HibernateBlocked,
    /// A newer generation owns the lineage.
    Fenced,
    /// Something that it needs does not run.
    Degraded,
    /// What runs is what its spec says; otherwise a new start is needed.
    SpecCurrent,
    /// Nobody used it for as long as its spec says.
    Idle,
}

impl ConditionType {
    /// Every type.
    pub const ALL: &'static [ConditionType] = &[
        ConditionType::Ready,
        ConditionType::Hydrated,
        ConditionType::SnapshotCurrent,
        ConditionType::HibernateBlocked,
        ConditionType::Fenced,
        ConditionType::Degraded,
        ConditionType::SpecCurrent,
        ConditionType::Idle,
    ];
}

impl fmt::Display for ConditionType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self, f)
    }
}

impl FromStr for ConditionType {
    type Err = Fault;
    fn from_str(text: &str) -> Result<Self, Fault> {
        let found = ConditionType::ALL.iter().find(|known| known.to_string() == text).copied();
        found.ok_or_else(|| Fault::new(Reason::InvalidArgument, format!("{text:?} is no type of a condition")))
    }
}

/// Something that is so, or not, and since when.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "camelCase")]
pub struct Condition {
    /// What it is about.
    #[serde(rename = "type")]
    pub kind: ConditionType,
    /// Whether it is so.
    pub status: bool,
    /// A stable word in capitals, as in errors.
    pub reason: String,
    /// What a person needs to know.
    pub message: String,
    /// Since when, in milliseconds since the epoch.
    pub since_ms: u64,
}

/// How a container is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "camelCase")]
pub struct ContainerState {
    /// Its name.
    #[cfg_attr(feature = "openapi", schema(value_type = String))]
    pub name: ContainerName,
    /// Whether its own command runs.
    pub running: bool,
    /// How it ended, in words; empty while it runs.
    pub ended: String,
    /// How often it was started in this generation.
    pub starts: u32,
    /// Whether it can be counted on: it runs, waits for nothing, and where the
    /// cluster looks at its health, that is good.
    #[serde(default)]
    pub ready: bool,
    /// Which containers it waits for before its command begins, in words; empty where for none.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub waiting: String,
}

/// A pod of a project, on a cluster.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "camelCase")]
pub struct PodState {
    /// Its name in the project's namespace.
    pub name: String,
    /// Its uid: a pod that is made anew has another.
    pub uid: String,
    /// The one container that it is for; absent where it is for all of them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "openapi", schema(value_type = Option<String>))]
    pub container: Option<ContainerName>,
    /// Its address; empty until it has one.
    pub ip: String,
    /// Whether the cluster says that it is ready.
    pub ready: bool,
    /// Whether its agent is the one that makes the project's snapshots.
    #[serde(default)]
    pub owns_snapshots: bool,
}

/// What a project is.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "camelCase")]
pub struct ProjectStatus {
    /// Where it is on its way.
    pub phase: Phase,
    /// Raised before each new start.
    #[cfg_attr(feature = "openapi", schema(value_type = u64))]
    pub generation: Generation,
    /// Where its ports can be reached.
    pub endpoints: Vec<Endpoint>,
    /// The newest committed snapshot.
    pub head: Option<Head>,
    /// What would be lost.
    pub durability: Durability,
    /// Milliseconds since the epoch when it was used last; 0 is never.
    pub last_activity_ms: u64,
    /// How long the last start took.
    pub timings: StartTimings,
    /// What is so and what not.
    pub conditions: Vec<Condition>,
    /// How its containers are.
    pub containers: Vec<ContainerState>,
    /// The namespace that it has on a cluster; empty on a local server.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub namespace: String,
    /// Its pods on a cluster; none on a local server.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub pods: Vec<PodState>,
}

/// A project.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "camelCase")]
pub struct Project {
    /// For ever.
    #[cfg_attr(feature = "openapi", schema(value_type = String, format = Uuid))]
    pub id: ProjectId,
    /// Unique on its server.
    #[cfg_attr(feature = "openapi", schema(value_type = String))]
    pub name: ProjectName,
    /// Changes with each change of spec or status.
    pub resource_version: u64,
    /// When it was made, in milliseconds since the epoch.
    pub created_ms: u64,
    /// What it should be.
    pub spec: ProjectSpec,
    /// What it is.
    pub status: ProjectStatus,
}

/// When a change of a container takes effect.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub enum TakesEffect {
    /// Nothing changed.
    Unchanged,
    /// The project does not run: with its next start.
    NextStart,
    /// At once, and the containers that did not change go on.
    InPlace,
    /// All its containers end after a snapshot that is read back, and start anew as another generation.
    NewGeneration,
}

/// A container was added, changed or removed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "camelCase")]
pub struct ContainerChange {
    /// The project after it.
    pub project: Project,
    /// When it takes effect.
    pub takes_effect: TakesEffect,
}

/// A change of a spec; what is `None` stays.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct ProjectPatch {
    /// The version that was read; 0 takes any.
    pub resource_version: u64,
    /// For people.
    pub display_name: Option<String>,
    /// What the owner wants.
    pub desired: Option<Desired>,
    /// All containers.
    pub containers: Option<Vec<Container>>,
    /// The snapshot policy.
    pub snapshots: Option<SnapshotPolicy>,
    /// Where containers see the workspace; its volume cannot change.
    pub workspace: Option<Workspace>,
    /// What all of it may use of a cluster.
    pub quota: Option<Quota>,
    /// What becomes of it when nobody uses it.
    pub idle: Option<Idle>,
}

/// What a caller may do to a project; each has what those before it have.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub enum Role {
    /// Look.
    Viewer,
    /// Work in it.
    Editor,
    /// Decide over it.
    Owner,
    /// Everything, on every project.
    Admin,
}

/// An API key, without its secret.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "camelCase")]
pub struct ApiKey {
    /// A UUID.
    pub id: String,
    /// For people and audit records.
    pub name: String,
    /// What it may do.
    pub role: Role,
    /// The projects it is for; empty is every one.
    #[cfg_attr(feature = "openapi", schema(value_type = Vec<String>))]
    pub projects: Vec<ProjectId>,
    /// When it was made, in milliseconds since the epoch.
    pub created_ms: u64,
    /// When it was used last, to the minute; 0 is never.
    pub last_used_ms: u64,
}
