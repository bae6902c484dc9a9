//! `remora container …`: the containers of a project, one by one.

mod flags;

use std::time::Duration;

use clap::{Args, Subcommand};
use remora_proto::control::v1::{
    AddContainerRequest, DeleteContainerRequest, GetProjectRequest, PatchContainerRequest,
};
use remora_proto_model::{
    ContainerName, ProjectName,
    project::{Container, ContainerChange, ContainerKind, Preset, Project, TakesEffect},
};

use self::flags::Flags;
use crate::{
    Context, Failure,
    args::WaitArgs,
    clients,
    follow::{Goal, domain, follow},
    output::{Column, Format, Listed, Listing, OutputArgs, note, print},
    project_name::project_name,
};

/// The verbs on containers.
#[derive(Subcommand, Clone, Debug)]
pub enum ContainerCommand {
    /// List the containers of a project.
    #[command(alias = "list")]
    Ls(LsArgs),
    /// Add a container to a project.
    Add(Box<AddArgs>),
    /// Change a container; what is not given stays.
    Set(Box<SetArgs>),
    /// Remove a container that no other one depends on.
    Rm(RmArgs),
}

/// Flags of `remora container ls`.
#[derive(Args, Clone, Debug)]
pub struct LsArgs {
    /// Name of the project.
    #[arg(value_parser = project_name)]
    project: ProjectName,
    #[command(flatten)]
    output: OutputArgs,
}

/// Flags of `remora container add`.
#[derive(Args, Clone, Debug)]
pub struct AddArgs {
    /// Name of the project.
    #[arg(value_parser = project_name)]
    project: ProjectName,
    /// Name of the container.
    container: ContainerName,
    /// Dev works in the workspace; Service is a server beside it, its image as it is (on a cluster).
    #[arg(long, value_parser = flags::parse_kind, default_value = "dev", default_value_if("preset", clap::builder::ArgPredicate::IsPresent, "service"))]
    kind: ContainerKind,
    /// A server that is known: postgres or redis; a Service container.
    #[arg(long, value_parser = flags::parse_preset)]
    preset: Option<Preset>,
    #[command(flatten)]
    flags: Flags,
    #[command(flatten)]
    wait: WaitArgs,
    #[command(flatten)]
    output: OutputArgs,
}

/// Flags of `remora container set`.
#[derive(Args, Clone, Debug)]
pub struct SetArgs {
    /// Name of the project.
    #[arg(value_parser = project_name)]
    project: ProjectName,
    /// Name of the container.
    container: ContainerName,
    #[command(flatten)]
    flags: Flags,
    #[command(flatten)]
    wait: WaitArgs,
    #[command(flatten)]
    output: OutputArgs,
}

/// Flags of `remora container rm`.
#[derive(Args, Clone, Debug)]
pub struct RmArgs {
    /// Name of the project.
    #[arg(value_parser = project_name)]
    project: ProjectName,
    /// Name of the container.
    container: ContainerName,
    /// Remove the volume and the password that it has, too; there is no way back.
    #[arg(long)]
    delete_data: bool,
    #[command(flatten)]
    wait: WaitArgs,
    #[command(flatten)]
    output: OutputArgs,
}

/// Runs one of them.
pub(crate) async fn run(context: &Context, command: ContainerCommand) -> Result<(), Failure> {
    let mut client = clients::projects(context).await?;
    let (change, wait, output) = match command {
        ContainerCommand::Ls(args) => {
            let answer = client.get(GetProjectRequest { name: args.project.to_string() }).await?;
            return list(args.output.format, &domain(answer.into_inner())?);
        }
        ContainerCommand::Add(args) => {
            let AddArgs { project, container, kind, preset, flags, wait, output } = *args;
            let named = Container { kind, preset, ..Container::named(container) };
            let (container, _) = flags.over(named);
            let (project, container) = (project.to_string(), Some(container.into()));
            let request = AddContainerRequest { project, resource_version: 0, container };
            (client.add_container(request).await?, wait, output)
        }
        ContainerCommand::Set(args) => {
            let SetArgs { project, container, flags, wait, output } = *args;
            let (container, fields) = flags.over(Container::named(container));
            if fields.is_empty() {
                return Err(Failure::usage("nothing is to change", "give a flag, for example --image or --env"));
            }
            let request = PatchContainerRequest {
                project: project.to_string(),
                resource_version: 0,
                container: Some(container.into()),
                fields: fields.into_iter().map(str::to_owned).collect(),
            };
            (client.patch_container(request).await?, wait, output)
        }
        ContainerCommand::Rm(args) => {
            let RmArgs { project, container, delete_data, wait, output } = args;
            let (project, container) = (project.to_string(), container.to_string());
            let request = DeleteContainerRequest { project, resource_version: 0, container, data: delete_data };
            (client.delete_container(request).await?, wait, output)
        }
    };
    let change = ContainerChange::try_from(change.into_inner())?;
    note(words(change.takes_effect));
    let mut project = change.project;
    let works = matches!(change.takes_effect, TakesEffect::InPlace | TakesEffect::NewGeneration);
    if works && !wait.no_wait {
        project = follow(context, project, Goal::Current, Duration::from_secs(wait.timeout.into())).await?;
    }
    match output.format {
        Format::Table | Format::Wide => print(super::lifecycle::summary(&project).as_bytes()),
        format => super::status::show(format, &project),
    }
}

fn words(takes_effect: TakesEffect) -> &'static str {
    match takes_effect {
        TakesEffect::Unchanged => "nothing changed",
        TakesEffect::NextStart => "it takes effect with the next start",
        TakesEffect::InPlace => "it takes effect at once; containers that did not change go on",
        TakesEffect::NewGeneration => "all containers end after a snapshot and start anew",
    }
}

/// A container with how it is.
#[derive(serde::Serialize)]
struct Row<'a> {
    #[serde(flatten)]
    container: &'a Container,
    running: bool,
    ready: bool,
    waiting: &'a str,
}

impl Listed for Row<'_> {
    const COLUMNS: &'static [Column] = &[
        Column::text("NAME"),
        Column::text("KIND"),
        Column::text("STATE"),
        Column::text("PORTS"),
        Column::text("DEPENDS ON"),
        Column::text("IMAGE").only_wide(),
    ];

    fn cells(&self) -> Vec<String> {
        let Row { container, running, ready, waiting } = self;
        let kind = container.preset.map_or_else(|| format!("{:?}", container.kind), |preset| format!("{preset:?}"));
        let state = match (running, ready) {
            _ if !waiting.is_empty() => format!("waits for {waiting}"),
            (true, true) => "ready".to_owned(),
            (true, false) => "runs".to_owned(),
            (false, _) => "does not run".to_owned(),
        };
        let ports: Vec<String> = container.listens().iter().map(|port| port.port.to_string()).collect();
        let others: Vec<&str> = container.depends_on.iter().map(|dependency| dependency.name.as_str()).collect();
        let dash = |text: String| if text.is_empty() { "-".to_owned() } else { text };
        let image = container.image.as_ref().map(ToString::to_string).unwrap_or_default();
        vec![container.name.to_string(), kind, state, dash(ports.join(",")), dash(others.join(",")), dash(image)]
    }

    fn name(&self) -> Vec<u8> {
        self.container.name.as_str().into()
    }
}

fn row<'a>(project: &'a Project, container: &'a Container) -> Row<'a> {
    let state = project.status.containers.iter().find(|state| state.name == container.name);
    Row {
        container,
        running: state.is_some_and(|state| state.running),
        ready: state.is_some_and(|state| state.ready),
        waiting: state.map_or("", |state| &state.waiting),
    }
}

fn list(format: Format, project: &Project) -> Result<(), Failure> {
    let mut listing = Listing::new(format);
    let rows: Vec<Row<'_>> = project.spec.containers.iter().map(|container| row(project, container)).collect();
    listing.push(&rows)?;
    listing.finish().map(drop)
}
