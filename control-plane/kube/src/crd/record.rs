//! Between the custom resource and the record that a project's driver goes by.

use k8s_openapi::{apimachinery::pkg::apis::meta::v1::MicroTime, jiff::Timestamp};
use remora_control_plane_project::Tree;
use remora_control_plane_runtime::records::{self, Record, SourceFile};
use remora_proto_model::{Fault, Generation};

use super::{
    Condition, Deletion, Project, ProjectStatus, Saga, SourceObject,
    convert::{project, signed, status, unsigned, with_spec},
};

/// The record that a custom resource is. Its `spec_version` is its version: when
/// the spec changed last is for whoever follows it to know.
pub fn record(resource: &Project) -> Result<Record, Fault> {
    let saga = resource.status.as_ref().and_then(|status| status.saga.clone()).unwrap_or_default();
    let (project, refused) = match project(resource) {
        Ok(project) => (project, None),
        // Written beside us, and nothing that we can go by: what was there before stays.
        Err(fault) => match saga.spec.as_deref().and_then(|text| serde_json::from_str(text).ok()) {
            Some(spec) => (with_spec(resource, spec)?, Some(fault.to_string())),
            None => return Err(fault),
        },
    };
    let asked = resource.metadata.deletion_timestamp.is_some();
    let kept = saga.deletion.as_ref().map(|kept| (kept.purge, kept.tombstone));
    let tree = match saga.tree.as_str() {
        "Partial" => Tree::Partial,
        "Kept" => Tree::Kept,
        "Committed" => Tree::Committed,
        "Stored" => Tree::Stored,
        _ => Tree::Absent,
    };
    Ok(Record {
        spec_version: project.resource_version,
        project,
        tree,
        condemned: saga.condemned.map(|generation| Generation(unsigned(generation))),
        source: saga.source.map(|source| SourceFile { file: source.object, bytes: unsigned(source.bytes) }),
        // Deleted by kubectl, or by a call of which only the first half was done.
        deletion: kept
            .or(asked.then_some((false, false)))
            .map(|(purge, tombstone)| records::Deletion { purge, tombstone }),
        asked: unsigned(saga.asked),
        lost: saga.lost,
        replace: saga.replace.map(|generation| Generation(unsigned(generation))),
        discard: saga.discard.iter().filter_map(|name| name.parse().ok()).collect(),
        refused,
        idled: saga.idled.map(|generation| Generation(unsigned(generation))),
        agent: saga.agent.and_then(|address| address.parse().ok()),
    })
}

/// The status of a record, with what the control plane keeps for itself.
pub fn record_status(record: &Record) -> Result<ProjectStatus, Fault> {
    let saga = Saga {
        spec_version: signed(record.spec_version),
        tree: format!("{:?}", record.tree),
        condemned: record.condemned.map(|generation| signed(generation.0)),
        source: record
            .source
            .as_ref()
            .map(|source| SourceObject { object: source.file.clone(), bytes: signed(source.bytes) }),
        spec: serde_json::to_string(&record.project.spec).ok(),
        lost: record.lost.clone(),
        replace: record.replace.map(|generation| signed(generation.0)),
        discard: record.discard.iter().map(ToString::to_string).collect(),
        idled: record.idled.map(|generation| signed(generation.0)),
        agent: record.agent.map(|address| address.to_string()),
        asked: signed(record.asked),
        deletion: record.deletion.map(|deletion| Deletion { purge: deletion.purge, tombstone: deletion.tombstone }),
    };
    Ok(ProjectStatus { saga: Some(saga), ..status(&record.project.status)? })
}

/// The status of a resource that has none and whose spec cannot be read, as an
/// object to apply; `None` where it has a status, which holds more than this.
pub fn refusal(resource: &Project, fault: &Fault) -> Option<serde_json::Value> {
    let there = resource.status.clone().unwrap_or_default();
    let message = fault.to_string();
    if there.saga.is_some() || there.conditions.iter().any(|condition| condition.message == message) {
        return None;
    }
    let metadata = &resource.metadata;
    let since = metadata.creation_timestamp.as_ref().map_or_else(Timestamp::now, |time| time.0);
    let condition = |kind: &str| Condition {
        kind: kind.to_owned(),
        status: "False".to_owned(),
        reason: "SPEC_REFUSED".to_owned(),
        message: message.clone(),
        last_transition_time: MicroTime(since),
    };
    Some(serde_json::json!({
        "apiVersion": "remora.dev/v1alpha1",
        "kind": "Project",
        "metadata": { "name": metadata.name, "uid": metadata.uid, "resourceVersion": metadata.resource_version },
        "status": {
            "observedGeneration": metadata.generation,
            "phase": "Pending",
            "conditions": [condition("Ready"), condition("SpecCurrent")],
        },
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn resource() -> Project {
        let mut resource: Project = serde_json::from_value(serde_json::json!({
            "apiVersion": "remora.dev/v1alpha1",
            "kind": "Project",
            "metadata": { "name": "shop" },
            "spec": { "containers": [{ "name": "web", "image": "debian:12" }] },
        }))
        .unwrap();
        resource.metadata.uid = Some("0b5c2f6e-54a5-4d0e-8d4e-0f0f9d6a1c11".to_owned());
        resource.metadata.resource_version = Some("7".to_owned());
        resource
    }

    #[test]
    fn what_must_not_be_forgotten_survives_the_way_there_and_back() {
        let mut resource = resource();
        let mut before = record(&resource).unwrap();
        assert_eq!((before.tree, before.deletion, before.spec_version), (Tree::Absent, None, 7));
        before.tree = Tree::Kept;
        before.condemned = Some(Generation(3));
        before.source = Some(SourceFile { file: "source-x.tar".to_owned(), bytes: 5 });
        before.deletion = Some(records::Deletion { purge: true, tombstone: true });
        before.asked = 4;
        before.lost = Some("the last hour".to_owned());
        before.replace = Some(Generation(3));
        before.discard = vec!["db".parse().unwrap()];
        before.idled = Some(Generation(3));
        before.agent = Some("10.0.0.7:7070".parse().unwrap());
        before.project.status.generation = Generation(3);
        resource.status = Some(record_status(&before).unwrap());
        assert_eq!(record(&resource).unwrap(), before);
    }

    #[test]
    fn kubectl_delete_is_a_deletion_that_keeps_the_snapshots() {
        let mut resource = resource();
        resource.metadata.deletion_timestamp = Some(k8s_openapi::apimachinery::pkg::apis::meta::v1::Time(
            k8s_openapi::jiff::Timestamp::from_second(1).unwrap(),
        ));
        let deletion = record(&resource).unwrap().deletion;
        assert_eq!(deletion, Some(records::Deletion { purge: false, tombstone: false }));
    }

    #[test]
    fn a_spec_that_cannot_be_read_costs_nothing() {
        let mut resource = resource();
        let before = record(&resource).unwrap();
        resource.status = Some(record_status(&before).unwrap());
        // The rules of the API server take it: it is a quantity above 0.
        resource.spec.containers[0].resources.limits.cpu = Some("1u".to_owned());
        resource.spec.desired = "Stopped".to_owned();
        let after = record(&resource).unwrap();
        assert_eq!(after.project.spec, before.project.spec);
        let why = after.refused.clone().unwrap();
        assert!(why.contains("containers.resources.limits.cpu: 1u is finer"), "{why}");
        assert_eq!(Record { refused: None, ..after }, before);
        assert!(refusal(&resource, &Fault::invalid("x", "y")).is_none(), "its status holds more than that");
    }

    #[test]
    fn a_project_that_never_could_be_read_is_told_so_once() {
        let mut resource = resource();
        resource.spec.containers[0].resources.limits.cpu = Some("1u".to_owned());
        let fault = record(&resource).unwrap_err();
        let object = refusal(&resource, &fault).unwrap();
        resource.status = Some(serde_json::from_value(object["status"].clone()).unwrap());
        let conditions = &resource.status.as_ref().unwrap().conditions;
        assert!(conditions.iter().all(|condition| condition.status == "False" && condition.message.contains("1u")));
        assert!(refusal(&resource, &fault).is_none());
    }
}
