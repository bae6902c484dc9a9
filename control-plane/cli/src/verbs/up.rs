//! `remora up [PATH]`: a folder becomes a project that runs.
//!
//! ```text
//!   no such project ──► create ──► send the folder ──► follow until Ready
//!   the same spec   ──► (send the folder, where it waits for it) ──► start ──► follow
//!   another spec    ──► say how it differs; nothing is changed
//! ```

use std::{env, path::PathBuf, time::Duration};

use clap::{Args, ValueHint};
use remora_proto::control::v1::{
    CreateProjectRequest, GetProjectRequest, PutSourceHead, PutSourceRequest, StartProjectRequest,
    put_source_request::Part,
};
use remora_proto_model::{
    ContainerName, Fault, ProjectName, Reason,
    project::{Container, Phase, Port, Project, ProjectSpec, SnapshotPolicy, Source},
};

use crate::{
    Context, Failure,
    args::{WaitArgs, parse_env},
    clients::{self, Projects},
    follow::{Goal, domain, follow},
    limits::MAX_SOURCE_BYTES,
    output::{Format, OutputArgs, bytes, note, print},
    progress::{ClearOnDrop, Progress},
    project_name::{from_folder, project_name},
    transfer::{
        pack::{Packed, Rules},
        upload::{Sink, send_folder, upload},
    },
};

/// Flags of `remora up`.
#[derive(Args, Clone, Debug)]
pub struct UpArgs {
    /// Folder whose content the project begins with; what .remoraignore names is left out.
    #[arg(default_value = ".", value_hint = ValueHint::DirPath)]
    path: PathBuf,
    /// Begin with an empty workspace instead.
    #[arg(long, conflicts_with = "path")]
    empty: bool,
    /// Name of the project; that of the folder where none is given.
    #[arg(long, value_parser = project_name)]
    name: Option<ProjectName>,
    /// Command line that the container runs, given to `sh -c`.
    #[arg(long, value_name = "STRING", conflicts_with = "argv")]
    cmd: Option<String>,
    /// Port that the command listens on; repeat for more.
    #[arg(long = "port", value_name = "[NAME:]PORT", value_parser = parse_port)]
    ports: Vec<Port>,
    /// Environment of the container, NAME=VALUE; repeat for more.
    #[arg(long = "env", value_name = "NAME=VALUE", value_parser = parse_env)]
    env: Vec<(String, String)>,
    /// Name of the container.
    #[arg(long, default_value = "dev")]
    container: ContainerName,
    /// Folder that the command runs in, relative to the workspace.
    #[arg(long, default_value = "", value_name = "PATH")]
    workdir: String,
    /// What is neither sent nor kept in snapshots, as a line of .remoraignore; repeat for more.
    #[arg(long, value_name = "PATTERN")]
    exclude: Vec<String>,
    #[command(flatten)]
    wait: WaitArgs,
    #[command(flatten)]
    output: OutputArgs,
    /// Command that the container runs, as it is: no shell reads it.
    #[arg(last = true)]
    argv: Vec<String>,
}

/// Runs the verb.
pub(crate) async fn run(context: &Context, args: UpArgs) -> Result<(), Failure> {
    let folder = if args.empty { None } else { Some(absolute(&args)?) };
    let name = match (&args.name, &folder) {
        (Some(name), _) => name.clone(),
        (None, Some(folder)) => from_folder(folder)?,
        (None, None) => {
            return Err(Failure::usage("a project without a folder needs a name", "give one: --name NAME"));
        }
    };
    let spec = spec(&args);
    spec.validate()?;
    let mut client = clients::projects(context).await?;
    let project = match get(&mut client, &name).await? {
        None => {
            let request = CreateProjectRequest { name: name.to_string(), spec: Some(spec.into()) };
            domain(client.create(request).await?.into_inner())?
        }
        Some(project) => {
            let differences = differences(&project.spec, &spec);
            if !differences.is_empty() {
                return Err(Failure::Fault(differs(&name, &differences)));
            }
            project
        }
    };
    let waits_for_source = project.spec.source == Source::Archive && project.status.phase == Phase::Pending;
    match folder {
        Some(folder) if waits_for_source => {
            let rules = Rules { ignore_files: true, exclude: args.exclude.clone() };
            let packed = put_source(&mut client, &name, folder, rules).await?;
            say_packed(&packed);
        }
        Some(_) => note(&format!("{name} is there already; its files stay as they are (`remora cp` brings others)")),
        None => {}
    }
    let mut project = domain(client.start(StartProjectRequest { name: name.to_string() }).await?.into_inner())?;
    if !args.wait.no_wait {
        project = follow(context, project, Goal::Ready, Duration::from_secs(args.wait.timeout.into())).await?;
    }
    match args.output.format {
        Format::Table | Format::Wide => {
            print(super::lifecycle::summary(&project).as_bytes())?;
            let next = if args.wait.no_wait { "status" } else { "sh" };
            print(format!("next: remora {next} {}\n", project.name).as_bytes())
        }
        format => super::status::show(format, &project),
    }
}

/// The folder by a path from the root, for its name; it is checked to be one.
fn absolute(args: &UpArgs) -> Result<PathBuf, Failure> {
    let shown = args.path.display().to_string();
    let metadata = std::fs::metadata(&args.path).map_err(Failure::local(shown.clone()))?;
    if !metadata.is_dir() {
        return Err(Failure::usage(
            format!("{shown} is no folder"),
            "give the folder that the project begins with, or --empty",
        ));
    }
    let mut path = env::current_dir().map_err(Failure::local("the current folder"))?;
    for part in args.path.components() {
        match part {
            std::path::Component::CurDir => {}
            // Only for the name; the folder itself is opened by the path as it was given.
            std::path::Component::ParentDir => _ = path.pop(),
            other => path.push(other),
        }
    }
    Ok(path)
}

fn spec(args: &UpArgs) -> ProjectSpec {
    let command = match &args.cmd {
        Some(line) => vec!["sh".to_owned(), "-c".to_owned(), line.clone()],
        None => args.argv.clone(),
    };
    ProjectSpec {
        containers: vec![Container {
            name: args.container.clone(),
            command,
            env: args.env.iter().cloned().collect(),
            ports: args.ports.clone(),
            workdir: args.workdir.clone(),
        }],
        source: if args.empty { Source::Empty } else { Source::Archive },
        snapshots: SnapshotPolicy { exclude: args.exclude.clone(), ..SnapshotPolicy::default() },
        ..ProjectSpec::default()
    }
}

async fn get(client: &mut Projects, name: &ProjectName) -> Result<Option<Project>, Failure> {
    match client.get(GetProjectRequest { name: name.to_string() }).await.map_err(Failure::from) {
        Ok(answer) => Ok(Some(domain(answer.into_inner())?)),
        Err(Failure::Fault(fault)) if fault.reason == Reason::NotFound => Ok(None),
        Err(failure) => Err(failure),
    }
}

async fn put_source(
    client: &mut Projects,
    name: &ProjectName,
    folder: PathBuf,
    rules: Rules,
) -> Result<Packed, Failure> {
    let progress = Progress::bytes(&format!("sending {}", folder.display()), None);
    let _line = ClearOnDrop(progress.clone());
    let mut packed = Packed::default();
    let counts = &mut packed;
    let head = PutSourceHead { name: name.to_string(), zstd: true };
    let fill = async |sink: Sink<PutSourceRequest>| {
        sink.send(PutSourceRequest { part: Some(Part::Head(head)) }).await;
        let wrap = |data| PutSourceRequest { part: Some(Part::Data(data)) };
        *counts = send_folder(&sink, folder, rules, MAX_SOURCE_BYTES, progress, wrap).await?;
        Ok(())
    };
    let end = PutSourceRequest { part: Some(Part::End(true)) };
    let sent = upload(fill, end, |messages| client.put_source(messages)).await;
    match sent {
        Ok(_) => Ok(packed),
        Err(Failure::Fault(fault)) => {
            let hint = format!("{} waits for its files; repeat `remora up` to send them again", name);
            let hint = if fault.hint.is_empty() { hint } else { format!("{}; {hint}", fault.hint) };
            Err(Failure::Fault(fault.hint(hint)))
        }
        Err(other) => Err(other),
    }
}

fn say_packed(packed: &Packed) {
    note(&format!("sent {} entries, {}", packed.entries, bytes(packed.content_bytes)));
    if packed.skipped > 0 {
        note(&format!("left out {} sockets, pipes or devices, which no archive holds", packed.skipped));
    }
}

/// How the project that is there differs from the one that is asked for.
fn differences(there: &ProjectSpec, asked: &ProjectSpec) -> Vec<String> {
    let mut found = Vec::new();
    let mut differ = |what: &str, there: String, asked: String| {
        if there != asked {
            found.push(format!("{what} is {there} and not {asked}"));
        }
    };
    let names = |spec: &ProjectSpec| spec.containers.iter().map(|c| c.name.to_string()).collect::<Vec<_>>().join(",");
    differ("container", names(there), names(asked));
    for container in &asked.containers {
        let Some(other) = there.containers.iter().find(|other| other.name == container.name) else { continue };
        let ports = |container: &Container| {
            let ports: Vec<_> = container.ports.iter().map(|port| format!("{}:{}", port.name, port.port)).collect();
            if ports.is_empty() { "none".to_owned() } else { ports.join(",") }
        };
        differ("command", format!("{:?}", other.command), format!("{:?}", container.command));
        differ("env", format!("{:?}", other.env), format!("{:?}", container.env));
        differ("port", ports(other), ports(container));
        differ("workdir", format!("{:?}", other.workdir), format!("{:?}", container.workdir));
    }
    differ("source", format!("{:?}", there.source), format!("{:?}", asked.source));
    differ("exclude", format!("{:?}", there.snapshots.exclude), format!("{:?}", asked.snapshots.exclude));
    found
}

fn differs(name: &ProjectName, differences: &[String]) -> Fault {
    Fault::new(Reason::AlreadyExists, format!("{name} is there with another spec: {}", differences.join("; "))).hint(
        format!("`remora start {name}` starts it as it is; for another project give --name, to replace it `remora rm {name}` first"),
    )
}

/// Parses `[NAME:]PORT`; without a name it is `port-PORT`.
fn parse_port(text: &str) -> Result<Port, String> {
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
        Some(name) => Ok(Port { name: name.to_owned(), port }),
        None => Ok(Port { name: format!("port-{port}"), port }),
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        up: UpArgs,
    }

    fn spec_of(line: &[&str]) -> ProjectSpec {
        let words = std::iter::once("up").chain(line.iter().copied());
        spec(&Line::try_parse_from(words).map_err(|error| error.to_string()).unwrap().up)
    }

    #[test]
    fn flags_become_a_spec() {
        let spec = spec_of(&[
            "--cmd",
            "npm run dev",
            "--port",
            "5173",
            "--port",
            "api:8080",
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
        let ports: Vec<_> = container.ports.iter().map(|port| (port.name.as_str(), port.port)).collect();
        assert_eq!(ports, [("port-5173", 5173), ("api", 8080)]);
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
    fn another_spec_is_told_apart_field_by_field() {
        let there = spec_of(&["--cmd", "a", "--port", "80"]);
        let stopped = ProjectSpec { desired: remora_proto_model::project::Desired::Stopped, ..there.clone() };
        assert_eq!(differences(&stopped, &there), [""; 0]);
        let asked = spec_of(&["--cmd", "b", "--port", "81", "--env", "A=1", "--workdir", "w", "--exclude", "x"]);
        let found = differences(&there, &asked).join("\n");
        for what in ["command", "port is port-80:80 and not port-81:81", "env", "workdir", "exclude"] {
            assert!(found.contains(what), "{what}: {found}");
        }
        assert!(
            differences(&there, &spec_of(&["--container", "web"])).join("").contains("container is dev and not web")
        );
        let fault = differs(&"shop".parse().unwrap(), &["x".to_owned()]);
        assert!(fault.hint.contains("remora start shop"), "{fault}");
    }
}
