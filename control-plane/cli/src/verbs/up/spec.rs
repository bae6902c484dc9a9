//! From the flags of `remora up` to a spec, or to the change of one.

use remora_proto_model::{
    Fault, Reason,
    project::{Container, Exposure, Phase, Port, Project, ProjectSpec, SnapshotPolicy, Source, Workspace},
};

use super::UpArgs;

/// What a project that is made by these flags should be.
pub(super) fn spec(args: &UpArgs) -> Result<ProjectSpec, Fault> {
    let default = || "dev".parse().map_err(|error| Fault::invalid("containers.name", error));
    let mut container = Container::named(args.container.clone().map_or_else(default, Ok)?);
    container.command = command(args).unwrap_or_default();
    container.env = args.env.iter().cloned().collect();
    container.ports.clone_from(&args.ports);
    container.workdir = args.workdir.clone().unwrap_or_default();
    args.cluster.change(&mut container);
    Ok(ProjectSpec {
        owner: args.cluster.owner().cloned(),
        containers: vec![container],
        workspace: args.cluster.workspace(&Workspace::default()),
        source: if args.empty { Source::Empty } else { Source::Archive },
        snapshots: SnapshotPolicy { exclude: args.exclude.clone(), ..SnapshotPolicy::default() },
        ..ProjectSpec::default()
    })
}

/// The command that the flags name.
fn command(args: &UpArgs) -> Option<Vec<String>> {
    match &args.cmd {
        Some(line) => Some(vec!["sh".to_owned(), "-c".to_owned(), line.clone()]),
        None => (!args.argv.is_empty()).then(|| args.argv.clone()),
    }
}

/// A spec after its change.
#[derive(Clone, Debug)]
pub(super) struct Changed {
    pub(super) spec: ProjectSpec,
    /// What differs, in words.
    pub(super) what: Vec<&'static str>,
}

/// The spec of `project` with what the flags name in place of what is there.
pub(super) fn changed(project: &Project, args: &UpArgs) -> Result<Changed, Fault> {
    let name = &project.name;
    let mut spec = project.spec.clone();
    let mut what = Vec::new();
    if args.empty && spec.source == Source::Archive && project.status.phase == Phase::Pending {
        return Err(Fault::new(Reason::AlreadyExists, format!("{name} is there and waits for its files"))
            .hint(format!("give the folder it begins with instead of --empty, or `remora rm {name}` first")));
    }
    args.cluster.same_owner(spec.owner.as_ref())?;
    let there: Vec<String> = spec.containers.iter().map(|container| container.name.to_string()).collect();
    let wanted = |container: &&mut Container| args.container.as_ref().is_none_or(|name| container.name == *name);
    let Some(container) = spec.containers.iter_mut().find(wanted) else {
        let asked = args.container.as_ref().map_or("", |name| name.as_str());
        return Err(Fault::new(
            Reason::AlreadyExists,
            format!("{name} is there without a container {asked}; it has {}", there.join(", ")),
        )
        .hint(format!("name one of these with --container, or `remora rm {name}` first")));
    };
    let mut set = |field: &'static str, differs: bool| {
        if differs {
            what.push(field);
        }
        differs
    };
    if let Some(command) = command(args)
        && set("command", container.command != command)
    {
        container.command = command;
    }
    if !args.ports.is_empty() && set("ports", container.ports != args.ports) {
        container.ports.clone_from(&args.ports);
    }
    let env = args.env.iter().cloned().collect();
    if !args.env.is_empty() && set("env", container.env != env) {
        container.env = env;
    }
    if let Some(workdir) = &args.workdir
        && set("workdir", container.workdir != *workdir)
    {
        container.workdir.clone_from(workdir);
    }
    if !args.exclude.is_empty() && set("exclude", spec.snapshots.exclude != args.exclude) {
        spec.snapshots.exclude.clone_from(&args.exclude);
    }
    let workspace = args.cluster.workspace(&spec.workspace);
    if set("workspace", spec.workspace != workspace) {
        spec.workspace = workspace;
    }
    what.extend(args.cluster.change(container));
    Ok(Changed { spec, what })
}

/// Parses `[NAME:]PORT[=WHOM]`; without a name it is `port-PORT`, without WHOM nobody outside reaches it.
pub(crate) fn parse_port(text: &str) -> Result<Port, String> {
    let (text, whom) = match text.split_once('=') {
        Some((text, whom)) => (text, Some(whom)),
        None => (text, None),
    };
    let expose = match whom {
        None => None,
        Some("private") => Some(Exposure::Private),
        Some("authenticated") => Some(Exposure::Authenticated),
        Some("public") => Some(Exposure::Public),
        Some(whom) => return Err(format!("{whom:?} is nobody to let in; give private, authenticated or public")),
    };
    let (name, number) = match text.split_once(':') {
        Some((name, number)) => (Some(name), number),
        None => (None, text),
    };
    let port = number.parse::<u16>().ok().filter(|port| *port > 0);
    let port = port.ok_or_else(|| format!("{number:?} is no port; give 1 to 65535, as PORT or NAME:PORT"))?;
    let good = |name: &str| {
        (1..=15).contains(&name.len())
            && name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
            && !name.starts_with('-')
            && !name.ends_with('-')
    };
    match name {
        Some(name) if !good(name) => Err(format!("{name:?} is no name of a port; it has 1 to 15 of a-z, 0-9 and '-'")),
        Some(name) => Ok(Port { expose, ..Port::named(name, port) }),
        None => Ok(Port { expose, ..Port::named(&format!("port-{port}"), port) }),
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;
    use remora_proto_model::{
        ProjectId,
        project::{Desired, ProjectStatus},
    };

    use super::*;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        up: UpArgs,
    }

    fn args_of(line: &[&str]) -> UpArgs {
        let words = std::iter::once("up").chain(line.iter().copied());
        Line::try_parse_from(words).map_err(|error| error.to_string()).unwrap().up
    }

    fn spec_of(line: &[&str]) -> ProjectSpec {
        spec(&args_of(line)).unwrap()
    }

    fn project_of(line: &[&str], phase: Phase) -> Project {
        Project {
            id: ProjectId::new(),
            name: "shop".parse().unwrap(),
            resource_version: 1,
            created_ms: 1,
            spec: ProjectSpec { desired: Desired::Stopped, ..spec_of(line) },
            status: ProjectStatus { phase, ..ProjectStatus::default() },
        }
    }

    #[test]
    fn flags_become_a_spec() {
        let spec = spec_of(&[
            "--cmd",
            "npm run dev",
            "--port",
            "5173",
            "--port",
            "api:8080=public",
            "--env",
            "A=b=c",
            "--container",
            "web",
            "--workdir",
            "app",
            "--exclude",
            "*.log",
        ]);
        spec.validate().unwrap();
        let container = &spec.containers[0];
        assert_eq!(container.command, ["sh", "-c", "npm run dev"]);
        assert_eq!(container.env["A"], "b=c");
        let ports: Vec<_> = container.ports.iter().map(|port| (port.name.as_str(), port.port, port.expose)).collect();
        assert_eq!(ports, [("port-5173", 5173, None), ("api", 8080, Some(Exposure::Public))]);
        assert_eq!((container.name.as_str(), container.workdir.as_str()), ("web", "app"));
        assert_eq!((spec.source, spec.snapshots.exclude), (Source::Archive, vec!["*.log".to_owned()]));
    }

    #[test]
    fn words_after_two_dashes_run_as_they_are() {
        let spec = spec_of(&["--empty", "--", "node", "$HOME", "a b"]);
        assert_eq!(spec.containers[0].command, ["node", "$HOME", "a b"]);
        assert_eq!(spec.source, Source::Empty);
        assert_eq!(spec_of(&["."]).containers[0].command, [""; 0]);
    }

    #[test]
    fn of_a_project_that_is_there_only_what_is_given_changes() {
        let there = ["--cmd", "a", "--port", "80", "--env", "A=1", "--env", "B=2"];
        let project = project_of(&there, Phase::Stopped);
        for same in [&there[..], &[], &["--cmd", "a"], &["--env", "B=2", "--env", "A=1"], &["--container", "dev"]] {
            let Changed { spec, what } = changed(&project, &args_of(same)).unwrap();
            assert_eq!((&spec, what), (&project.spec, Vec::new()), "{same:?}");
        }
        let flags = ["--cmd", "b", "--port", "81", "--env", "A=2", "--workdir", "w", "--exclude", "x"];
        let Changed { spec, what } = changed(&project, &args_of(&flags)).unwrap();
        assert_eq!(what, ["command", "ports", "env", "workdir", "exclude"]);
        let asked = spec_of(&flags);
        assert_eq!((spec.containers, &spec.snapshots), (asked.containers, &asked.snapshots));
        assert_eq!(spec.desired, Desired::Stopped, "what is wanted of it is another verb's");
        let one = changed(&project, &args_of(&["--", "node", "x"])).unwrap();
        assert_eq!(one.what, ["command"]);
        assert_eq!(one.spec.containers[0].env, project.spec.containers[0].env);
    }

    #[test]
    fn flags_for_a_cluster_become_a_spec_and_change_what_they_name() {
        let first = ["--image", "r.io/a:1", "--cpu", "250m:1", "--memory", "1Gi", "--mount", "/srv/app"];
        let spec = spec_of(&[&first[..], &["--volume", "5Gi", "--storage-class", "fast", "--owner", "alice"]].concat());
        spec.validate().unwrap();
        let text = serde_json::to_value(&spec).unwrap();
        assert_eq!(text["containers"][0]["image"], "r.io/a:1");
        assert_eq!(
            text["containers"][0]["resources"],
            serde_json::json!({"requests": {"cpu": "250m", "memory": "1Gi"}, "limits": {"cpu": "1", "memory": "1Gi"}})
        );
        let volume = serde_json::json!({"size": "5Gi", "class": "fast", "accessMode": "ReadWriteOnce"});
        assert_eq!(text["workspace"], serde_json::json!({"path": "/srv/app", "volume": volume}));
        assert_eq!(text["owner"], "alice");

        let project = Project { spec, ..project_of(&[], Phase::Stopped) };
        let same = changed(&project, &args_of(&[&first[..], &["--owner", "alice"]].concat())).unwrap();
        assert_eq!((same.spec, same.what), (project.spec.clone(), Vec::new()));
        let other = changed(&project, &args_of(&["--image", "r.io/a:2", "--cpu", "2", "--mount", "/srv"])).unwrap();
        assert_eq!(other.what, ["workspace", "image", "resources"]);
        assert_eq!(other.spec.containers[0].resources.limits.memory, "1Gi".parse().ok());
        let owner = changed(&project, &args_of(&["--owner", "bob"])).unwrap_err();
        assert!(owner.message.contains("alice's") && owner.message.contains("cannot change"), "{owner}");
    }

    #[test]
    fn what_cannot_be_changed_is_said() {
        let stranger = changed(&project_of(&[], Phase::Ready), &args_of(&["--container", "web"])).unwrap_err();
        assert_eq!(stranger.reason, Reason::AlreadyExists);
        assert!(stranger.message.contains("web") && stranger.message.contains("dev"), "{stranger}");
        let waits = changed(&project_of(&[], Phase::Pending), &args_of(&["--empty"])).unwrap_err();
        assert!(waits.message.contains("waits for its files"), "{waits}");
        changed(&project_of(&[], Phase::Ready), &args_of(&["--empty"])).unwrap();
    }
}
