//! Ports are the machine's: of the projects that run, one has a port.

use remora_proto_model::{
    Fault, ProjectId, Reason,
    project::{Container, Desired},
};

use super::{Inner, entry::Entry};

/// Refuses `containers` a port that another project has, because it is to run
/// with it or because a process of it may still listen there.
pub(super) fn unclaimed(inner: &Inner, own: Option<ProjectId>, containers: &[Container]) -> Result<(), Fault> {
    let asked: Vec<u16> = ports(containers).collect();
    if asked.is_empty() || !inner.runtime.shares_ports() {
        return Ok(());
    }
    let table = inner.read_table();
    // By name, so that the same one is named each time.
    let others = table.by_name.values().filter(|id| Some(**id) != own).filter_map(|id| table.by_id.get(id));
    for other in others {
        let has = claimed(other);
        if let Some(port) = asked.iter().find(|port| has.contains(port)) {
            let project = other.project();
            return Err(Fault::new(
                Reason::PortInUse,
                format!("port {port} is taken by project {}, which is {}", project.name, project.status.phase),
            )
            .hint(format!("stop {} first, or give one of the two another port", project.name)));
        }
    }
    Ok(())
}

/// What a project listens on, now or soon.
fn claimed(entry: &Entry) -> Vec<u16> {
    let record = entry.record();
    let runs = record.deletion.is_none() && record.project.spec.desired == Desired::Running;
    let wanted = ports(&record.project.spec.containers).filter(|_| runs);
    wanted.chain(entry.pod_ports()).collect()
}

/// The ports of `containers`.
pub(super) fn ports(containers: &[Container]) -> impl Iterator<Item = u16> {
    containers.iter().flat_map(|container| &container.ports).map(|port| port.port)
}
