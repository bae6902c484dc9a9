//! `remora up [PATH]`: a folder becomes a project that runs.
//!
//! ```text
//!   no such project ──► create ──► send the folder ──► start, follow until Ready
//!   it is there     ──► change what was given and differs ──► start, follow until Ready
//!                        └─ it runs: it goes on as it was started; --restart starts it anew
//! ```

mod cluster;
mod file;
mod spec;

use std::{env, path::PathBuf, time::Duration};

use clap::{Args, ValueHint};
use remora_proto::control::v1::{
    ContainerList, CreateProjectRequest, GetProjectRequest, PatchProjectRequest, PutSourceHead, PutSourceRequest,
    StartProjectRequest, StopProjectRequest, put_source_request::Part,
};
use remora_proto_model::{
    ContainerName, ProjectName, Reason,
    project::{Phase, Port, Project, Source},
};

pub(crate) use self::spec::parse_port;
use self::{
    cluster::ClusterArgs,
    spec::{Changed, changed, spec},
};
use super::idle::IdlePolicy;
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
        upload::{Sink, send_all, send_folder, upload},
    },
};

/// Flags of `remora up`. Of a project that is there they change what they name; the rest stays.
#[derive(Args, Clone, Debug)]
pub struct UpArgs {
    /// Folder whose content the project begins with; what .remoraignore names is left out.
    #[arg(default_value = ".", value_hint = ValueHint::DirPath)]
    path: PathBuf,
    /// File with the whole project, as `kubectl apply` takes it; - is standard input. Of a
    /// project that is there it is the change.
    #[arg(short = 'f', long, value_name = "FILE", value_hint = ValueHint::FilePath,
          conflicts_with_all = ["empty", "name", "cmd", "ports", "env", "container", "workdir", "exclude", "argv",
                                "image", "cpu", "memory", "mount", "volume", "storage_class", "owner",
                                "after", "action"])]
    file: Option<PathBuf>,
    /// Begin with an empty workspace instead.
    #[arg(long, conflicts_with = "path")]
    empty: bool,
    /// Archive that the project begins with in place of a folder: a tar or a tar.zst.
    #[arg(long, value_name = "ARCHIVE", value_hint = ValueHint::FilePath, conflicts_with_all = ["path", "empty"])]
    source: Option<PathBuf>,
    /// Make the project and send nothing: its archive comes by a URL (`remora source url`).
    #[arg(long, conflicts_with_all = ["path", "empty", "source", "restart"])]
    no_source: bool,
    /// Name of the project; that of the folder where none is given.
    #[arg(long, value_parser = project_name)]
    name: Option<ProjectName>,
    /// Command line that the container runs, given to `sh -c`.
    #[arg(long, value_name = "STRING", conflicts_with = "argv")]
    cmd: Option<String>,
    /// Port that the command listens on, and whom it lets in from outside: private (who may see the project),
    /// authenticated (who has a key) or public; repeat for more. In place of those of a project that is there.
    #[arg(long = "port", value_name = "[NAME:]PORT[=WHOM]", value_parser = parse_port)]
    ports: Vec<Port>,
    /// Environment of the container, NAME=VALUE; repeat for more. In place of that of a project that is there.
    #[arg(long = "env", value_name = "NAME=VALUE", value_parser = parse_env)]
    env: Vec<(String, String)>,
    /// Name of the container [default: dev, or the first one of a project that is there].
    #[arg(long)]
    container: Option<ContainerName>,
    /// Folder that the command runs in, relative to the workspace.
    #[arg(long, value_name = "PATH")]
    workdir: Option<String>,
    #[command(flatten)]
    cluster: ClusterArgs,
    #[command(flatten)]
    idle: IdlePolicy,
    /// What is neither sent nor kept in snapshots, as a line of .remoraignore; repeat for more.
    #[arg(long, value_name = "PATTERN")]
    exclude: Vec<String>,
    /// Stop a project that runs and start it anew, so that changes take effect.
    #[arg(long)]
    restart: bool,
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
    let file = args.file.as_deref().map(file::read).transpose()?;
    let empty = file.as_ref().map_or(args.empty, |file| file.spec.source == Source::Empty);
    let folder = if empty || args.no_source || args.source.is_some() { None } else { Some(absolute(&args)?) };
    let archive = args.source.as_deref().map(super::source::look_at).transpose()?;
    if empty && (archive.is_some() || args.no_source) {
        return Err(Failure::usage(
            "the project's source is empty",
            "say source: archive in the file, or send nothing",
        ));
    }
    let given = file.as_ref().map(file::ProjectFile::name).or(args.name.as_ref());
    let name = match (given, folder.as_ref().or(args.source.as_ref())) {
        (Some(name), _) => name.clone(),
        (None, Some(path)) if args.source.is_some() => from_folder(&stem(path))?,
        (None, Some(folder)) => from_folder(folder)?,
        (None, None) => {
            return Err(Failure::usage("a project without a folder needs a name", "give one: --name NAME"));
        }
    };
    // What can be told from the flags alone is told before anything is asked.
    let file = file.map(|file| file.spec);
    let mut fresh = file.clone().map_or_else(|| spec(&args), Ok)?;
    if let Some(idle) = args.idle.change(fresh.idle)? {
        fresh.idle = Some(idle);
    }
    fresh.validate()?;
    let wait = Duration::from_secs(args.wait.timeout.into());
    let mut client = clients::projects(context).await?;
    let project = match get(&mut client, &name).await? {
        None => {
            let request = CreateProjectRequest { name: name.to_string(), spec: Some(fresh.into()) };
            domain(client.create(request).await?.into_inner())?
        }
        Some(project) => {
            let mut changed = match &file {
                Some(wanted) => file::changed(&project, wanted)?,
                None => changed(&project, &args)?,
            };
            if let Some(idle) = args.idle.change(project.spec.idle)?
                && project.spec.idle != Some(idle)
            {
                changed.spec.idle = Some(idle);
                changed.what.push("idle");
            }
            change(context, &mut client, project, changed, &args, wait).await?
        }
    };
    let waits_for_source = project.spec.source == Source::Archive && project.status.phase == Phase::Pending;
    if args.no_source {
        print(super::lifecycle::summary(&project).as_bytes())?;
        return print(format!("next: remora source url {} ARCHIVE\n", project.name).as_bytes());
    }
    if let Some((file, zstd, length)) = archive {
        match waits_for_source {
            true => put_archive(&mut client, &name, tokio::fs::File::from_std(file), zstd, length).await?,
            false => note(&format!("{name} is there already; its files stay as they are (`remora cp` brings others)")),
        }
    }
    match folder {
        Some(folder) if waits_for_source => {
            let rules = Rules { ignore_files: true, exclude: project.spec.snapshots.exclude.clone() };
            let packed = put_source(&mut client, &name, folder, rules).await?;
            say_packed(&packed);
        }
        Some(_) => note(&format!("{name} is there already; its files stay as they are (`remora cp` brings others)")),
        None => {}
    }
    let mut project = domain(client.start(StartProjectRequest { name: name.to_string() }).await?.into_inner())?;
    if !args.wait.no_wait {
        project = follow(context, project, Goal::Ready, wait).await?;
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

/// The name of an archive without what follows the first dot.
fn stem(archive: &std::path::Path) -> PathBuf {
    let name = archive.file_name().unwrap_or_default().to_string_lossy();
    PathBuf::from(name.split('.').next().unwrap_or_default())
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

/// Changes a project that is there, and stops it where it is to start anew.
async fn change(
    context: &Context,
    client: &mut Projects,
    project: Project,
    Changed { spec, what }: Changed,
    args: &UpArgs,
    wait: Duration,
) -> Result<Project, Failure> {
    let runs = !matches!(project.status.phase, Phase::Pending | Phase::Stopped | Phase::Hibernated);
    let name = project.name.clone();
    let project = if what.is_empty() {
        project
    } else {
        spec.validate()?;
        let request = PatchProjectRequest {
            name: project.id.to_string(),
            // What somebody else changed meanwhile is not taken back unseen.
            resource_version: project.resource_version,
            display_name: Some(spec.display_name),
            containers: Some(ContainerList { containers: spec.containers.into_iter().map(Into::into).collect() }),
            snapshots: Some(spec.snapshots.into()),
            workspace: Some(spec.workspace.into()),
            quota: spec.quota.map(Into::into),
            idle: spec.idle.map(Into::into),
        };
        let patched = domain(client.patch(request).await?.into_inner())?;
        note(&format!("changed {} of {name}", what.join(", ")));
        patched
    };
    if !runs {
        return Ok(project);
    }
    if args.restart {
        let stopping = client.stop(StopProjectRequest { name: project.id.to_string() }).await?;
        return follow(context, domain(stopping.into_inner())?, Goal::Stopped, wait).await;
    }
    if !what.is_empty() {
        note(&format!("{name} goes on as it was started; `remora up --name {name} --restart` starts it anew"));
    }
    Ok(project)
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
    sent.map(|_| packed).map_err(|failure| still_waiting(failure, name))
}

/// Sends an archive as it is.
async fn put_archive(
    client: &mut Projects,
    name: &ProjectName,
    file: tokio::fs::File,
    zstd: bool,
    length: u64,
) -> Result<(), Failure> {
    let progress = Progress::bytes("sending the archive", Some(length));
    let _line = ClearOnDrop(progress.clone());
    let head = PutSourceHead { name: name.to_string(), zstd };
    let fill = async |sink: Sink<PutSourceRequest>| {
        sink.send(PutSourceRequest { part: Some(Part::Head(head)) }).await;
        let wrap = |data| PutSourceRequest { part: Some(Part::Data(data)) };
        send_all(&sink, file, "the archive", &progress, wrap).await
    };
    let end = PutSourceRequest { part: Some(Part::End(true)) };
    let sent = upload(fill, end, |messages| client.put_source(messages)).await;
    sent.map(drop).map_err(|failure| still_waiting(failure, name))
}

/// The failure with what to do about the project that was made.
fn still_waiting(failure: Failure, name: &ProjectName) -> Failure {
    let Failure::Fault(fault) = failure else { return failure };
    let hint = format!("{name} waits for its files; repeat `remora up` to send them again");
    let hint = if fault.hint.is_empty() { hint } else { format!("{}; {hint}", fault.hint) };
    Failure::Fault(fault.hint(hint))
}

fn say_packed(packed: &Packed) {
    note(&format!("sent {} entries, {}", packed.entries, bytes(packed.content_bytes)));
    if packed.skipped > 0 {
        note(&format!("left out {} sockets, pipes or devices, which no archive holds", packed.skipped));
    }
}
