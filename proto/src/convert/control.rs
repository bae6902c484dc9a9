//! Projects, keys and roles between their messages and their validated values.

use remora_proto_model::{
    ContainerName, Fault, Generation, ProjectId,
    project::{
        ApiKey, Condition, ConditionType, Container, ContainerState, Desired, Durability, Endpoint, Head, Phase, Port,
        Project, ProjectPatch, ProjectSpec, ProjectStatus, Role, SnapshotPolicy, Source, StartTimings,
    },
};

use crate::control::v1 as wire;

impl From<Desired> for wire::Desired {
    fn from(desired: Desired) -> Self {
        match desired {
            Desired::Running => wire::Desired::Running,
            Desired::Stopped => wire::Desired::Stopped,
            Desired::Hibernated => wire::Desired::Hibernated,
        }
    }
}

fn desired(number: i32) -> Result<Desired, Fault> {
    match wire::Desired::try_from(number) {
        Ok(wire::Desired::Unspecified | wire::Desired::Running) => Ok(Desired::Running),
        Ok(wire::Desired::Stopped) => Ok(Desired::Stopped),
        Ok(wire::Desired::Hibernated) => Ok(Desired::Hibernated),
        Err(_) => Err(Fault::invalid("desired", format!("{number} is none of RUNNING, STOPPED and HIBERNATED"))),
    }
}

impl From<Phase> for wire::Phase {
    fn from(phase: Phase) -> Self {
        let at = Phase::ALL.iter().position(|known| *known == phase).unwrap_or_default();
        i32::try_from(at + 1).ok().and_then(|number| wire::Phase::try_from(number).ok()).unwrap_or_default()
    }
}

/// The phase of a number; one that a newer server has is shown as Degraded, never as Ready.
fn phase(number: i32) -> Phase {
    let at = usize::try_from(number).ok().and_then(|number| number.checked_sub(1));
    at.and_then(|at| Phase::ALL.get(at).copied()).unwrap_or(Phase::Degraded)
}

impl From<Role> for wire::Role {
    fn from(role: Role) -> Self {
        match role {
            Role::Viewer => wire::Role::Viewer,
            Role::Editor => wire::Role::Editor,
            Role::Owner => wire::Role::Owner,
            Role::Admin => wire::Role::Admin,
        }
    }
}

/// The role of a number of the wire.
pub fn role(number: i32) -> Result<Role, Fault> {
    match wire::Role::try_from(number) {
        Ok(wire::Role::Viewer) => Ok(Role::Viewer),
        Ok(wire::Role::Editor) => Ok(Role::Editor),
        Ok(wire::Role::Owner) => Ok(Role::Owner),
        Ok(wire::Role::Admin) => Ok(Role::Admin),
        _ => Err(Fault::invalid("role", "is missing or unknown").hint("give VIEWER, EDITOR, OWNER or ADMIN")),
    }
}

impl From<Container> for wire::Container {
    fn from(container: Container) -> Self {
        let Container { name, command, env, ports, workdir } = container;
        wire::Container {
            name: name.into(),
            command,
            env: env.into_iter().collect(),
            ports: ports.into_iter().map(|port| wire::Port { name: port.name, port: port.port.into() }).collect(),
            workdir,
        }
    }
}

impl TryFrom<wire::Container> for Container {
    type Error = Fault;
    fn try_from(container: wire::Container) -> Result<Self, Fault> {
        let port = |port: wire::Port| {
            let number = u16::try_from(port.port)
                .map_err(|_| Fault::invalid("containers.ports.port", format!("is {}; give 1 to 65535", port.port)))?;
            Ok(Port { name: port.name, port: number })
        };
        Ok(Container {
            name: container.name.parse().map_err(|error| Fault::invalid("containers.name", error))?,
            command: container.command,
            env: container.env.into_iter().collect(),
            ports: container.ports.into_iter().map(port).collect::<Result<_, Fault>>()?,
            workdir: container.workdir,
        })
    }
}

impl From<SnapshotPolicy> for wire::SnapshotPolicy {
    fn from(policy: SnapshotPolicy) -> Self {
        let SnapshotPolicy { interval_seconds, keep_last, keep_hourly, keep_daily, exclude } = policy;
        wire::SnapshotPolicy { interval_seconds, keep_last, keep_hourly, keep_daily, exclude }
    }
}

impl TryFrom<wire::SnapshotPolicy> for SnapshotPolicy {
    type Error = Fault;
    fn try_from(policy: wire::SnapshotPolicy) -> Result<Self, Fault> {
        let default = SnapshotPolicy::default();
        let or = |given, default| if given == 0 { default } else { given };
        let policy = SnapshotPolicy {
            interval_seconds: or(policy.interval_seconds, default.interval_seconds),
            keep_last: or(policy.keep_last, default.keep_last),
            keep_hourly: policy.keep_hourly,
            keep_daily: policy.keep_daily,
            exclude: policy.exclude,
        };
        policy.validate()?;
        Ok(policy)
    }
}

impl From<ProjectSpec> for wire::ProjectSpec {
    fn from(spec: ProjectSpec) -> Self {
        let ProjectSpec { display_name, desired, containers, source, snapshots } = spec;
        let source = match source {
            Source::Empty => wire::source::Source::Empty(true),
            Source::Archive => wire::source::Source::Archive(true),
        };
        wire::ProjectSpec {
            display_name,
            desired: wire::Desired::from(desired).into(),
            containers: containers.into_iter().map(Into::into).collect(),
            source: Some(wire::Source { source: Some(source) }),
            snapshots: Some(snapshots.into()),
        }
    }
}

/// Validated: a spec that came from the wire holds what [`ProjectSpec::validate`] asks.
impl TryFrom<wire::ProjectSpec> for ProjectSpec {
    type Error = Fault;
    fn try_from(spec: wire::ProjectSpec) -> Result<Self, Fault> {
        let source = match spec.source.and_then(|source| source.source) {
            Some(wire::source::Source::Archive(true)) => Source::Archive,
            _ => Source::Empty,
        };
        let spec = ProjectSpec {
            display_name: spec.display_name,
            desired: desired(spec.desired)?,
            containers: spec.containers.into_iter().map(Container::try_from).collect::<Result<_, Fault>>()?,
            source,
            snapshots: spec.snapshots.map(SnapshotPolicy::try_from).transpose()?.unwrap_or_default(),
        };
        spec.validate()?;
        Ok(spec)
    }
}

impl TryFrom<wire::PatchProjectRequest> for ProjectPatch {
    type Error = Fault;
    fn try_from(request: wire::PatchProjectRequest) -> Result<Self, Fault> {
        let containers = request
            .containers
            .map(|list| list.containers.into_iter().map(Container::try_from).collect::<Result<_, Fault>>())
            .transpose()?;
        Ok(ProjectPatch {
            resource_version: request.resource_version,
            display_name: request.display_name,
            desired: None,
            containers,
            snapshots: request.snapshots.map(SnapshotPolicy::try_from).transpose()?,
        })
    }
}

impl From<ProjectStatus> for wire::ProjectStatus {
    fn from(status: ProjectStatus) -> Self {
        let endpoint = |endpoint: Endpoint| wire::Endpoint {
            container: endpoint.container.into(),
            port_name: endpoint.port_name,
            url: endpoint.url,
        };
        let condition = |condition: Condition| wire::Condition {
            r#type: condition.kind.to_string(),
            status: condition.status,
            reason: condition.reason,
            message: condition.message,
            since_ms: condition.since_ms,
        };
        let container = |state: ContainerState| wire::ContainerState {
            name: state.name.into(),
            running: state.running,
            ended: state.ended,
            starts: state.starts,
        };
        wire::ProjectStatus {
            phase: wire::Phase::from(status.phase).into(),
            generation: status.generation.0,
            endpoints: status.endpoints.into_iter().map(endpoint).collect(),
            head: status.head.map(|head| wire::ProjectHead {
                snapshot: head.snapshot,
                sequence: head.sequence,
                committed_ms: head.committed_ms,
            }),
            durability: Some(wire::ProjectDurability {
                dirty_files: status.durability.dirty_files,
                dirty_bytes: status.durability.dirty_bytes,
                rpo_seconds: status.durability.rpo_seconds,
                measured_ms: status.durability.measured_ms,
            }),
            last_activity_ms: status.last_activity_ms,
            timings: Some(wire::StartTimings {
                scheduled_ms: status.timings.scheduled_ms,
                hydrated_ms: status.timings.hydrated_ms,
                ready_ms: status.timings.ready_ms,
            }),
            conditions: status.conditions.into_iter().map(condition).collect(),
            containers: status.containers.into_iter().map(container).collect(),
        }
    }
}

impl TryFrom<wire::ProjectStatus> for ProjectStatus {
    type Error = Fault;
    fn try_from(status: wire::ProjectStatus) -> Result<Self, Fault> {
        let name = |text: &str| text.parse::<ContainerName>().map_err(|error| Fault::invalid("container", error));
        let endpoint = |endpoint: wire::Endpoint| {
            let container = name(&endpoint.container)?;
            Ok(Endpoint { container, port_name: endpoint.port_name, url: endpoint.url })
        };
        let container = |state: wire::ContainerState| {
            let name = name(&state.name)?;
            Ok(ContainerState { name, running: state.running, ended: state.ended, starts: state.starts })
        };
        // A type that only a newer server knows is left out: its status means nothing here.
        let condition = |condition: wire::Condition| {
            let kind = condition.r#type.parse::<ConditionType>().ok()?;
            let wire::Condition { status, reason, message, since_ms, .. } = condition;
            Some(Condition { kind, status, reason, message, since_ms })
        };
        let durability = status.durability.unwrap_or_default();
        let timings = status.timings.unwrap_or_default();
        Ok(ProjectStatus {
            phase: phase(status.phase),
            generation: Generation(status.generation),
            endpoints: status.endpoints.into_iter().map(endpoint).collect::<Result<_, Fault>>()?,
            head: status.head.map(|head| Head {
                snapshot: head.snapshot,
                sequence: head.sequence,
                committed_ms: head.committed_ms,
            }),
            durability: Durability {
                dirty_files: durability.dirty_files,
                dirty_bytes: durability.dirty_bytes,
                rpo_seconds: durability.rpo_seconds,
                measured_ms: durability.measured_ms,
            },
            last_activity_ms: status.last_activity_ms,
            timings: StartTimings {
                scheduled_ms: timings.scheduled_ms,
                hydrated_ms: timings.hydrated_ms,
                ready_ms: timings.ready_ms,
            },
            conditions: status.conditions.into_iter().filter_map(condition).collect(),
            containers: status.containers.into_iter().map(container).collect::<Result<_, Fault>>()?,
        })
    }
}

impl From<Project> for wire::Project {
    fn from(project: Project) -> Self {
        wire::Project {
            id: project.id.to_string(),
            name: project.name.into(),
            resource_version: project.resource_version,
            created_ms: project.created_ms,
            spec: Some(project.spec.into()),
            status: Some(project.status.into()),
        }
    }
}

impl TryFrom<wire::Project> for Project {
    type Error = Fault;
    fn try_from(project: wire::Project) -> Result<Self, Fault> {
        Ok(Project {
            id: project.id.parse().map_err(|error| Fault::invalid("id", error))?,
            name: project.name.parse().map_err(|error| Fault::invalid("name", error))?,
            resource_version: project.resource_version,
            created_ms: project.created_ms,
            spec: project.spec.unwrap_or_default().try_into()?,
            status: project.status.unwrap_or_default().try_into()?,
        })
    }
}

impl From<ApiKey> for wire::ApiKey {
    fn from(key: ApiKey) -> Self {
        wire::ApiKey {
            id: key.id,
            name: key.name,
            role: wire::Role::from(key.role).into(),
            projects: key.projects.iter().map(ProjectId::to_string).collect(),
            created_ms: key.created_ms,
            last_used_ms: key.last_used_ms,
        }
    }
}

impl TryFrom<wire::ApiKey> for ApiKey {
    type Error = Fault;
    fn try_from(key: wire::ApiKey) -> Result<Self, Fault> {
        let id = |text: &String| text.parse::<ProjectId>().map_err(|error| Fault::invalid("projects", error));
        Ok(ApiKey {
            id: key.id,
            name: key.name,
            role: role(key.role)?,
            projects: key.projects.iter().map(id).collect::<Result<_, Fault>>()?,
            created_ms: key.created_ms,
            last_used_ms: key.last_used_ms,
        })
    }
}

#[cfg(test)]
mod tests {
    use remora_proto_model::ProjectName;

    use super::*;

    fn spec() -> ProjectSpec {
        ProjectSpec {
            display_name: "Shop".to_owned(),
            desired: Desired::Hibernated,
            containers: vec![Container {
                name: "web".parse().unwrap(),
                command: vec!["npm".to_owned(), "run".to_owned(), "dev".to_owned()],
                env: [("A".to_owned(), "b".to_owned())].into(),
                ports: vec![Port { name: "http".to_owned(), port: 5173 }],
                workdir: "app".to_owned(),
            }],
            source: Source::Archive,
            snapshots: SnapshotPolicy { exclude: vec!["*.log".to_owned()], ..SnapshotPolicy::default() },
        }
    }

    #[test]
    fn a_project_crosses_the_wire_whole() {
        for phase in Phase::ALL {
            let project = Project {
                id: ProjectId::new(),
                name: "shop".parse::<ProjectName>().unwrap(),
                resource_version: 7,
                created_ms: 1,
                spec: spec(),
                status: ProjectStatus {
                    phase: *phase,
                    generation: Generation(3),
                    endpoints: vec![Endpoint {
                        container: "web".parse().unwrap(),
                        port_name: "http".to_owned(),
                        url: "http://127.0.0.1:5173".to_owned(),
                    }],
                    head: Some(Head { snapshot: "1-3-aa".to_owned(), sequence: 1, committed_ms: 9 }),
                    durability: Durability { dirty_files: 1, dirty_bytes: 2, rpo_seconds: 3, measured_ms: 4 },
                    last_activity_ms: 5,
                    timings: StartTimings { scheduled_ms: 1, hydrated_ms: 2, ready_ms: 3 },
                    conditions: ConditionType::ALL
                        .iter()
                        .map(|kind| Condition {
                            kind: *kind,
                            status: true,
                            reason: "X".to_owned(),
                            message: "y".to_owned(),
                            since_ms: 6,
                        })
                        .collect(),
                    containers: vec![ContainerState {
                        name: "web".parse().unwrap(),
                        running: false,
                        ended: "exit 1".to_owned(),
                        starts: 2,
                    }],
                },
            };
            assert_eq!(Project::try_from(wire::Project::from(project.clone())), Ok(project));
        }
    }

    /// Each bad spec is refused with the name of its field.
    #[test]
    fn bad_specs_name_their_field() {
        let good = || wire::ProjectSpec::from(spec());
        let with = |change: &dyn Fn(&mut wire::Container)| {
            let mut spec = good();
            change(&mut spec.containers[0]);
            spec
        };
        let policy = |change: &dyn Fn(&mut wire::SnapshotPolicy)| {
            let mut spec = good();
            change(spec.snapshots.as_mut().unwrap());
            spec
        };
        let twice = wire::ProjectSpec { containers: vec![good().containers[0].clone(); 2], ..good() };
        for (field, bad) in [
            ("displayName", wire::ProjectSpec { display_name: "a\nb".to_owned(), ..good() }),
            ("desired", wire::ProjectSpec { desired: 9, ..good() }),
            ("containers:", wire::ProjectSpec { containers: Vec::new(), ..good() }),
            ("containers.name", twice),
            ("containers.name", with(&|c| c.name = "../x".to_owned())),
            ("containers.command", with(&|c| c.command = vec![String::new()])),
            ("containers.command", with(&|c| c.command = vec!["a\0".to_owned()])),
            ("env", with(&|c| c.env = [("1A".to_owned(), String::new())].into())),
            ("env", with(&|c| c.env = [("REMORA_X".to_owned(), String::new())].into())),
            ("containers.env", with(&|c| c.env = [("A".to_owned(), "\0".to_owned())].into())),
            ("containers.ports.port", with(&|c| c.ports[0].port = 0)),
            ("containers.ports.port", with(&|c| c.ports[0].port = 70_000)),
            ("containers.ports.name", with(&|c| c.ports[0].name = "A".to_owned())),
            ("containers.workdir", with(&|c| c.workdir = "../x".to_owned())),
            ("containers.workdir", with(&|c| c.workdir = "/x".to_owned())),
            ("snapshots.intervalSeconds", policy(&|p| p.interval_seconds = 1)),
            ("snapshots.keepLast", policy(&|p| p.keep_last = 1_001)),
            ("snapshots.keepHourly", policy(&|p| p.keep_hourly = 1_001)),
            ("snapshots.exclude", policy(&|p| p.exclude = vec![String::new()])),
        ] {
            let fault = ProjectSpec::try_from(bad).unwrap_err();
            assert!(fault.message.starts_with(field), "{field}: {fault}");
        }
    }

    /// The JSON form, which REST and the CLI print, does not change by accident.
    #[test]
    fn the_json_form_is_frozen() {
        let text = serde_json::to_string(&spec()).unwrap();
        assert_eq!(
            text,
            r#"{"displayName":"Shop","desired":"Hibernated","containers":[{"name":"web","command":["npm","run","dev"],"env":{"A":"b"},"ports":[{"name":"http","port":5173}],"workdir":"app"}],"source":"Archive","snapshots":{"intervalSeconds":60,"keepLast":10,"keepHourly":0,"keepDaily":0,"exclude":["*.log"]}}"#
        );
        assert_eq!(serde_json::from_str::<ProjectSpec>(&text).unwrap(), spec());
        let typo = serde_json::from_str::<ProjectSpec>(r#"{"containers":[],"desire":"Running"}"#).unwrap_err();
        assert!(typo.to_string().contains("desire"), "{typo}");
    }
}
