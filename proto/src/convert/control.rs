//! Projects, keys and roles between their messages and their validated values.

mod access_token;
mod containers;
mod idle;
mod orphan;
mod resources;

use remora_proto_model::{
    ContainerName, Fault, Generation, ProjectId, UserId,
    project::{
        ApiKey, Condition, ConditionType, Container, ContainerState, Desired, Durability, Endpoint, Head, Idle, Phase,
        PodState, Project, ProjectPatch, ProjectSpec, ProjectStatus, Quota, Role, SnapshotPolicy, Source, StartTimings,
        Workspace,
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
        let ProjectSpec {
            owner,
            display_name,
            desired,
            containers,
            layout,
            isolation,
            workspace,
            source,
            snapshots,
            quota,
            idle,
        } = spec;
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
            owner: owner.map(String::from).unwrap_or_default(),
            workspace: Some(workspace.into()),
            quota: quota.map(Into::into),
            layout: wire::Layout::from(layout).into(),
            isolation: wire::Isolation::from(isolation).into(),
            idle: idle.map(Into::into),
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
        let owner = |text: String| text.parse::<UserId>().map_err(|error| Fault::invalid("owner", error));
        let spec = ProjectSpec {
            owner: Some(spec.owner).filter(|text| !text.is_empty()).map(owner).transpose()?,
            display_name: spec.display_name,
            desired: desired(spec.desired)?,
            containers: spec.containers.into_iter().map(Container::try_from).collect::<Result<_, Fault>>()?,
            layout: containers::layout(spec.layout)?,
            isolation: containers::isolation(spec.isolation)?,
            workspace: spec.workspace.map(Workspace::try_from).transpose()?.unwrap_or_default(),
            source,
            snapshots: spec.snapshots.map(SnapshotPolicy::try_from).transpose()?.unwrap_or_default(),
            quota: spec.quota.map(Quota::try_from).transpose()?,
            idle: spec.idle.map(Idle::try_from).transpose()?,
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
            workspace: request.workspace.map(Workspace::try_from).transpose()?,
            quota: request.quota.map(Quota::try_from).transpose()?,
            idle: request.idle.map(Idle::try_from).transpose()?,
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
            ready: state.ready,
            waiting: state.waiting,
        };
        let pod = |pod: PodState| wire::PodState {
            name: pod.name,
            uid: pod.uid,
            container: pod.container.map(String::from).unwrap_or_default(),
            ip: pod.ip,
            ready: pod.ready,
            owns_snapshots: pod.owns_snapshots,
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
            namespace: status.namespace,
            pods: status.pods.into_iter().map(pod).collect(),
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
            let wire::ContainerState { running, ended, starts, ready, waiting, .. } = state;
            Ok(ContainerState { name, running, ended, starts, ready, waiting })
        };
        // A type that only a newer server knows is left out: its status means nothing here.
        let condition = |condition: wire::Condition| {
            let kind = condition.r#type.parse::<ConditionType>().ok()?;
            let wire::Condition { status, reason, message, since_ms, .. } = condition;
            Some(Condition { kind, status, reason, message, since_ms })
        };
        let pod = |pod: wire::PodState| {
            let wire::PodState { name: pod_name, uid, container, ip, ready, owns_snapshots } = pod;
            let container = if container.is_empty() { None } else { Some(name(&container)?) };
            Ok(PodState { name: pod_name, uid, container, ip, ready, owns_snapshots })
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
            namespace: status.namespace,
            pods: status.pods.into_iter().map(pod).collect::<Result<_, Fault>>()?,
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
    use remora_proto_model::{
        ProjectName,
        project::{AccessMode, Amounts, IdleAction, Port, Resources, Volume},
    };

    use super::*;

    fn spec() -> ProjectSpec {
        ProjectSpec {
            display_name: "Shop".to_owned(),
            desired: Desired::Hibernated,
            containers: vec![Container {
                command: vec!["npm".to_owned(), "run".to_owned(), "dev".to_owned()],
                env: [("A".to_owned(), "b".to_owned())].into(),
                ports: vec![Port::named("http", 5173)],
                workdir: "app".to_owned(),
                ..Container::named("web".parse().unwrap())
            }],
            source: Source::Archive,
            snapshots: SnapshotPolicy { exclude: vec!["*.log".to_owned()], ..SnapshotPolicy::default() },
            ..ProjectSpec::default()
        }
    }

    /// With everything that only a cluster gives a meaning to.
    fn cluster_spec() -> ProjectSpec {
        let quantity = |text: &str| Some(text.parse().unwrap());
        let mut spec = spec();
        spec.owner = Some("alice".parse().unwrap());
        spec.containers[0].image = Some("ghcr.io/a/web:1".parse().unwrap());
        spec.containers[0].resources = Resources {
            requests: Amounts { cpu: quantity("250m"), memory: quantity("1Gi"), ephemeral_storage: None },
            limits: Amounts { cpu: None, memory: quantity("2Gi"), ephemeral_storage: quantity("10Gi") },
        };
        let volume = Volume {
            size: "20Gi".parse().unwrap(),
            class: "fast".to_owned(),
            access_mode: AccessMode::ReadWriteOncePod,
        };
        spec.workspace = Workspace { path: "/srv/app".to_owned(), volume: Some(volume), size_limit: None };
        spec.quota =
            Some(Quota { cpu: quantity("4"), memory: quantity("8Gi"), pods: Some(4), storage: quantity("50Gi") });
        spec.idle = Some(Idle { after_seconds: 1_800, action: IdleAction::Stop });
        spec
    }

    #[test]
    fn a_project_crosses_the_wire_whole() {
        for phase in Phase::ALL {
            let project = Project {
                id: ProjectId::new(),
                name: "shop".parse::<ProjectName>().unwrap(),
                resource_version: 7,
                created_ms: 1,
                spec: cluster_spec(),
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
                        ready: true,
                        waiting: "db".to_owned(),
                    }],
                    namespace: "proj-x".to_owned(),
                    pods: vec![PodState {
                        name: "dev-g3".to_owned(),
                        uid: "u".to_owned(),
                        container: Some("web".parse().unwrap()),
                        ip: "10.0.0.1".to_owned(),
                        ready: true,
                        owns_snapshots: true,
                    }],
                },
            };
            assert_eq!(Project::try_from(wire::Project::from(project.clone())), Ok(project));
        }
    }

    /// Each bad spec is refused with the name of its field.
    #[test]
    fn bad_specs_name_their_field() {
        let good = || wire::ProjectSpec::from(cluster_spec());
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
        let limits = |cpu: &str, memory: &str| {
            with(&|container| {
                let amounts = wire::Amounts { cpu: cpu.to_owned(), memory: memory.to_owned(), ..Default::default() };
                container.resources.as_mut().unwrap().limits = Some(amounts);
            })
        };
        let workspace = |change: &dyn Fn(&mut wire::Workspace)| {
            let mut spec = good();
            change(spec.workspace.as_mut().unwrap());
            spec
        };
        let volume = |change: &dyn Fn(&mut wire::Volume)| workspace(&|w| change(w.volume.as_mut().unwrap()));
        let quota = |change: &dyn Fn(&mut wire::Quota)| {
            let mut spec = good();
            change(spec.quota.as_mut().unwrap());
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
            ("containers.ports.expose", with(&|c| c.ports[0].expose = 4)),
            ("containers.workdir", with(&|c| c.workdir = "../x".to_owned())),
            ("containers.workdir", with(&|c| c.workdir = "/x".to_owned())),
            ("owner", wire::ProjectSpec { owner: "a/b".to_owned(), ..good() }),
            ("containers.image", with(&|c| c.image = "A b".to_owned())),
            ("containers.resources.limits.cpu", limits("fast", "")),
            ("containers.resources.limits.cpu", limits("0", "")),
            ("containers.resources.limits.cpu", limits("1u", "")),
            ("containers.resources.limits.memory", limits("", "1m")),
            ("containers.resources.requests.cpu", limits("249m", "")),
            ("containers.resources.requests.memory", limits("", "1M")),
            ("workspace.path", workspace(&|w| w.path = "srv".to_owned())),
            ("workspace.path", workspace(&|w| w.path = "/proc".to_owned())),
            ("workspace.sizeLimit", workspace(&|w| w.size_limit = "1Gi".to_owned())),
            ("workspace.volume.size", volume(&|v| v.size = String::new())),
            ("workspace.volume.size", volume(&|v| v.size = "0".to_owned())),
            ("workspace.volume.class", volume(&|v| v.class = "Fast".to_owned())),
            ("workspace.volume.accessMode", volume(&|v| v.access_mode = 9)),
            ("quota.cpu", quota(&|q| q.cpu = "x".to_owned())),
            ("quota.memory", quota(&|q| q.memory = "0".to_owned())),
            ("quota.pods", quota(&|q| q.pods = Some(1))),
            ("quota.storage", quota(&|q| q.storage = "1m".to_owned())),
            ("idle.afterSeconds", wire::ProjectSpec { idle: Some(wire::Idle::default()), ..good() }),
            ("idle.action", wire::ProjectSpec { idle: Some(wire::Idle { after_seconds: 60, action: 9 }), ..good() }),
            ("snapshots.intervalSeconds", policy(&|p| p.interval_seconds = 1)),
            ("snapshots.keepLast", policy(&|p| p.keep_last = 1_001)),
            ("snapshots.keepHourly", policy(&|p| p.keep_hourly = 1_001)),
            ("snapshots.exclude", policy(&|p| p.exclude = vec![String::new()])),
        ] {
            let fault = ProjectSpec::try_from(bad).unwrap_err();
            assert!(fault.message.starts_with(field), "{field}: {fault}");
        }
    }

    #[test]
    fn a_patch_changes_what_it_names_and_never_the_volume() {
        let spec = cluster_spec();
        let same = ProjectPatch { workspace: Some(spec.workspace.clone()), ..ProjectPatch::default() };
        assert_eq!(spec.patched(same), Ok(spec.clone()));
        let moved = Workspace { path: "/srv/other".to_owned(), ..spec.workspace.clone() };
        let request =
            wire::PatchProjectRequest { workspace: Some(moved.clone().into()), ..wire::PatchProjectRequest::default() };
        let patched = spec.patched(request.try_into().unwrap()).unwrap();
        assert_eq!(patched, ProjectSpec { workspace: moved, ..spec.clone() });
        let gone = ProjectPatch { workspace: Some(Workspace::default()), ..ProjectPatch::default() };
        let fault = spec.patched(gone).unwrap_err();
        assert!(fault.message.starts_with("workspace.volume: cannot change"), "{fault}");
        let quota = Quota { pods: Some(2), ..Quota::default() };
        let patched = spec.patched(ProjectPatch { quota: Some(quota.clone()), ..ProjectPatch::default() }).unwrap();
        assert_eq!(patched.quota, Some(quota));
        assert_eq!(patched.idle, spec.idle, "what a patch does not name stays");
        for action in [IdleAction::Hibernate, IdleAction::Stop, IdleAction::None] {
            let idle = Idle { after_seconds: 5, action };
            let request = wire::PatchProjectRequest { idle: Some(idle.into()), ..wire::PatchProjectRequest::default() };
            assert_eq!(spec.patched(request.try_into().unwrap()).unwrap().idle, Some(idle));
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
        let text = serde_json::to_string(&cluster_spec()).unwrap();
        assert_eq!(
            text,
            r#"{"owner":"alice","displayName":"Shop","desired":"Hibernated","containers":[{"name":"web","image":"ghcr.io/a/web:1","command":["npm","run","dev"],"env":{"A":"b"},"ports":[{"name":"http","port":5173}],"workdir":"app","resources":{"requests":{"cpu":"250m","memory":"1Gi"},"limits":{"memory":"2Gi","ephemeralStorage":"10Gi"}}}],"workspace":{"path":"/srv/app","volume":{"size":"20Gi","class":"fast","accessMode":"ReadWriteOncePod"}},"source":"Archive","snapshots":{"intervalSeconds":60,"keepLast":10,"keepHourly":0,"keepDaily":0,"exclude":["*.log"]},"quota":{"cpu":"4","memory":"8Gi","pods":4,"storage":"50Gi"},"idle":{"afterSeconds":1800,"action":"Stop"}}"#
        );
        assert_eq!(serde_json::from_str::<ProjectSpec>(&text).unwrap(), cluster_spec());
        let typo = serde_json::from_str::<ProjectSpec>(r#"{"containers":[],"desire":"Running"}"#).unwrap_err();
        assert!(typo.to_string().contains("desire"), "{typo}");
    }
}
