//! Between the custom resource and the project that the rest of Remora knows.

use k8s_openapi::{apimachinery::pkg::apis::meta::v1::MicroTime, jiff::Timestamp};
use kube::ResourceExt as _;
use remora_proto_model::{
    ContainerName, Fault, Generation, Reason,
    project::{self as model, ConditionType},
};
use serde::{Serialize, de::DeserializeOwned};

use super::{
    Condition, ContainerState, Durability, Endpoint, Head, Pod, Project, ProjectSpec, ProjectStatus, StartTimings,
};
use crate::manifests::accepts;

/// The reason of a condition that has none of its own: Kubernetes wants one.
const AS_EXPECTED: &str = "AsExpected";

/// The project that a custom resource is. The error names the field that cannot
/// be read: what the API server's rules let through and the strict types do not.
pub fn project(resource: &Project) -> Result<model::Project, Fault> {
    with_spec(resource, spec_of(&resource.spec)?)
}

/// The same, with another spec than that of the resource.
pub(super) fn with_spec(resource: &Project, spec: model::ProjectSpec) -> Result<model::Project, Fault> {
    let metadata = &resource.metadata;
    let uid = metadata.uid.as_deref().unwrap_or_default();
    let version = metadata.resource_version.as_deref().unwrap_or_default();
    let created = metadata.creation_timestamp.as_ref().map_or(0, |time| milliseconds(time.0));
    Ok(model::Project {
        id: uid.parse().map_err(|error| Fault::invalid("metadata.uid", error))?,
        name: resource.name_any().parse().map_err(|error| Fault::invalid("metadata.name", error))?,
        resource_version: version
            .parse()
            .map_err(|_| Fault::invalid("metadata.resourceVersion", format!("{version:?} is no number")))?,
        created_ms: created,
        spec,
        status: resource.status.as_ref().map(project_status).transpose()?.unwrap_or_default(),
    })
}

/// The spec that a custom resource has, read strictly.
pub fn spec_of(spec: &ProjectSpec) -> Result<model::ProjectSpec, Fault> {
    let spec: model::ProjectSpec = through_json(spec)?;
    spec.validate()?;
    accepts(&spec)?;
    Ok(spec)
}

/// The spec as a custom resource has it: one that a cluster takes.
pub fn spec(spec: &model::ProjectSpec) -> Result<ProjectSpec, Fault> {
    accepts(spec)?;
    through_json(spec)
}

/// The two have one form in JSON; the path to what does not fit is in the error.
fn through_json<From: Serialize, To: DeserializeOwned>(from: &From) -> Result<To, Fault> {
    let value = serde_json::to_value(from).map_err(|error| Fault::invalid("spec", error))?;
    serde_path_to_error::deserialize(value)
        .map_err(|error| Fault::invalid(&format!("spec.{}", error.path()), error.inner()))
}

/// What a status says, without what the control plane keeps for itself.
pub fn project_status(status: &ProjectStatus) -> Result<model::ProjectStatus, Fault> {
    let name = |text: &str| text.parse::<ContainerName>().map_err(|error| Fault::invalid("status", error));
    let endpoint = |endpoint: &Endpoint| {
        let container = name(&endpoint.container)?;
        Ok(model::Endpoint { container, port_name: endpoint.port_name.clone(), url: endpoint.url.clone() })
    };
    let container = |state: &ContainerState| {
        Ok(model::ContainerState {
            name: name(&state.name)?,
            running: state.running,
            ended: state.ended.clone(),
            starts: u32::try_from(state.starts).unwrap_or_default(),
            ready: state.ready,
            waiting: state.waiting.clone(),
        })
    };
    let pod = |pod: &Pod| {
        Ok(model::PodState {
            name: pod.name.clone(),
            uid: pod.uid.clone(),
            container: pod.container.as_deref().map(name).transpose()?,
            ip: pod.ip.clone(),
            ready: pod.ready,
            owns_snapshots: pod.owns_snapshots,
        })
    };
    // A type that only a newer control plane knows means nothing here.
    let condition = |condition: &Condition| {
        let kind = condition.kind.parse::<ConditionType>().ok()?;
        let reason = if condition.reason == AS_EXPECTED { String::new() } else { condition.reason.clone() };
        Some(model::Condition {
            kind,
            status: condition.status == "True",
            reason,
            message: condition.message.clone(),
            since_ms: milliseconds(condition.last_transition_time.0),
        })
    };
    // A phase that only a newer control plane knows is never shown as one that serves.
    let phase = model::Phase::ALL.iter().find(|phase| phase.to_string() == status.phase);
    let unknown = if status.phase.is_empty() { model::Phase::Pending } else { model::Phase::Degraded };
    Ok(model::ProjectStatus {
        phase: phase.copied().unwrap_or(unknown),
        generation: Generation(unsigned(status.generation)),
        endpoints: status.endpoints.iter().map(endpoint).collect::<Result<_, Fault>>()?,
        head: status.head.as_ref().map(|head| model::Head {
            snapshot: head.snapshot.clone(),
            sequence: unsigned(head.sequence),
            committed_ms: milliseconds(head.committed_at.0),
        }),
        durability: model::Durability {
            dirty_files: unsigned(status.durability.dirty_files),
            dirty_bytes: unsigned(status.durability.dirty_bytes),
            rpo_seconds: unsigned(status.durability.rpo_seconds),
            measured_ms: status.durability.measured_at.as_ref().map_or(0, |time| milliseconds(time.0)),
        },
        last_activity_ms: status.last_activity.as_ref().map_or(0, |time| milliseconds(time.0)),
        timings: model::StartTimings {
            scheduled_ms: unsigned(status.timings.scheduled_ms),
            hydrated_ms: unsigned(status.timings.hydrated_ms),
            ready_ms: unsigned(status.timings.ready_ms),
        },
        conditions: status.conditions.iter().filter_map(condition).collect(),
        containers: status.containers.iter().map(container).collect::<Result<_, Fault>>()?,
        namespace: status.namespace.clone(),
        pods: status.pods.iter().map(pod).collect::<Result<_, Fault>>()?,
    })
}

/// A status as a custom resource has it; what the control plane keeps for itself is its to add.
pub fn status(status: &model::ProjectStatus) -> Result<ProjectStatus, Fault> {
    let condition = |condition: &model::Condition| {
        Ok(Condition {
            kind: condition.kind.to_string(),
            status: if condition.status { "True" } else { "False" }.to_owned(),
            reason: if condition.reason.is_empty() { AS_EXPECTED.to_owned() } else { condition.reason.clone() },
            message: condition.message.clone(),
            last_transition_time: time(condition.since_ms)?,
        })
    };
    let head = |head: &model::Head| {
        Ok::<_, Fault>(Head {
            snapshot: head.snapshot.clone(),
            sequence: signed(head.sequence),
            committed_at: time(head.committed_ms)?,
        })
    };
    let never = |milliseconds: u64| (milliseconds != 0).then(|| time(milliseconds)).transpose();
    Ok(ProjectStatus {
        observed_generation: None,
        phase: status.phase.to_string(),
        generation: signed(status.generation.0),
        namespace: status.namespace.clone(),
        pods: status
            .pods
            .iter()
            .map(|pod| Pod {
                name: pod.name.clone(),
                uid: pod.uid.clone(),
                container: pod.container.as_ref().map(ToString::to_string),
                ip: pod.ip.clone(),
                ready: pod.ready,
                owns_snapshots: pod.owns_snapshots,
            })
            .collect(),
        endpoints: status
            .endpoints
            .iter()
            .map(|endpoint| Endpoint {
                container: endpoint.container.to_string(),
                port_name: endpoint.port_name.clone(),
                url: endpoint.url.clone(),
            })
            .collect(),
        head: status.head.as_ref().map(head).transpose()?,
        durability: Durability {
            dirty_files: signed(status.durability.dirty_files),
            dirty_bytes: signed(status.durability.dirty_bytes),
            rpo_seconds: signed(status.durability.rpo_seconds),
            measured_at: never(status.durability.measured_ms)?,
        },
        last_activity: never(status.last_activity_ms)?,
        timings: StartTimings {
            scheduled_ms: signed(status.timings.scheduled_ms),
            hydrated_ms: signed(status.timings.hydrated_ms),
            ready_ms: signed(status.timings.ready_ms),
        },
        containers: status
            .containers
            .iter()
            .map(|state| ContainerState {
                name: state.name.to_string(),
                running: state.running,
                ended: state.ended.clone(),
                starts: i32::try_from(state.starts).unwrap_or(i32::MAX),
                ready: state.ready,
                waiting: state.waiting.clone(),
            })
            .collect(),
        conditions: status.conditions.iter().map(condition).collect::<Result<_, Fault>>()?,
        saga: None,
    })
}

/// Milliseconds since the epoch; a time before it is 0.
fn milliseconds(time: Timestamp) -> u64 {
    u64::try_from(time.as_millisecond()).unwrap_or_default()
}

fn time(milliseconds: u64) -> Result<MicroTime, Fault> {
    let time = i64::try_from(milliseconds).ok().and_then(|number| Timestamp::from_millisecond(number).ok());
    time.map(MicroTime).ok_or_else(|| {
        Fault::new(
            Reason::InvalidArgument,
            format!("{milliseconds} milliseconds since the epoch is no time of a calendar"),
        )
    })
}

pub(super) fn unsigned(number: i64) -> u64 {
    u64::try_from(number).unwrap_or_default()
}

/// Kubernetes counts to 2^63 - 1; nothing that we count gets there.
pub(super) fn signed(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}
