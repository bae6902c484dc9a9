//! What a container is, as flags.

use clap::Args;
use remora_proto_model::{
    ContainerName,
    project::{
        Container, ContainerKind, Dependency, DependencyCondition, ImageReference, Port, Preset, Quantity, Storage,
    },
};

use crate::{args::parse_env, verbs::up::parse_port};

/// Flags of `remora container add` and `set`.
#[derive(Args, Clone, Debug, Default)]
pub(super) struct Flags {
    /// Image that it runs in, on a cluster.
    #[arg(long, value_name = "REFERENCE")]
    image: Option<ImageReference>,
    /// Command line that it runs, given to `sh -c`.
    #[arg(long, value_name = "STRING", conflicts_with = "argv")]
    cmd: Option<String>,
    /// Argument after the command, or after the image's entry point; repeat for more.
    #[arg(long = "arg", value_name = "STRING", allow_hyphen_values = true)]
    args: Vec<String>,
    /// Port that it listens on; repeat for more.
    #[arg(long = "port", value_name = "[NAME:]PORT[=WHOM]", value_parser = parse_port)]
    ports: Vec<Port>,
    /// Environment, NAME=VALUE; repeat for more. In place of all that it has.
    #[arg(long = "env", value_name = "NAME=VALUE", value_parser = parse_env)]
    env: Vec<(String, String)>,
    /// Folder that the command runs in, relative to the workspace.
    #[arg(long, value_name = "PATH")]
    workdir: Option<String>,
    /// Container that it waits for before its command begins, until it is started or healthy; repeat for more.
    #[arg(long = "depends-on", value_name = "NAME[:healthy]", value_parser = parse_dependency)]
    depends_on: Vec<Dependency>,
    /// Size of a volume of its own, for a Service container.
    #[arg(long, value_name = "SIZE")]
    storage: Option<Quantity>,
    /// Storage class of that volume [default: the cluster's].
    #[arg(long, value_name = "NAME", requires = "storage")]
    storage_class: Option<String>,
    /// Where it sees that volume; a preset knows.
    #[arg(long, value_name = "PATH", requires = "storage")]
    storage_path: Option<String>,
    /// The uid that it runs as, for a Service container.
    #[arg(long, value_name = "UID", value_parser = clap::value_parser!(u32).range(1..))]
    user: Option<u32>,
    /// Command that it runs, as it is: no shell reads it.
    #[arg(last = true)]
    argv: Vec<String>,
}

impl Flags {
    /// `container` with what the flags name, and the fields that these are.
    pub(super) fn over(self, mut container: Container) -> (Container, Vec<&'static str>) {
        let mut fields = Vec::new();
        let mut given = |field: &'static str, is: bool| {
            if is {
                fields.push(field);
            }
            is
        };
        if given("image", self.image.is_some()) {
            container.image = self.image;
        }
        if given("command", self.cmd.is_some() || !self.argv.is_empty()) {
            let line = self.cmd.map(|line| vec!["sh".to_owned(), "-c".to_owned(), line]);
            container.command = line.unwrap_or(self.argv);
        }
        if given("args", !self.args.is_empty()) {
            container.args = self.args;
        }
        if given("ports", !self.ports.is_empty()) {
            container.ports = self.ports;
        }
        if given("env", !self.env.is_empty()) {
            container.env = self.env.into_iter().collect();
        }
        if given("workdir", self.workdir.is_some()) {
            container.workdir = self.workdir.unwrap_or_default();
        }
        if given("dependsOn", !self.depends_on.is_empty()) {
            container.depends_on = self.depends_on;
        }
        if given("storage", self.storage.is_some()) {
            container.storage = self.storage.map(|size| Storage {
                size,
                class: self.storage_class.unwrap_or_default(),
                path: self.storage_path.unwrap_or_default(),
            });
        }
        if given("user", self.user.is_some()) {
            container.user = self.user;
        }
        (container, fields)
    }
}

pub(super) fn parse_kind(text: &str) -> Result<ContainerKind, String> {
    match text {
        "dev" => Ok(ContainerKind::Dev),
        "service" => Ok(ContainerKind::Service),
        _ => Err(format!("{text:?} is no kind; give dev or service")),
    }
}

pub(super) fn parse_preset(text: &str) -> Result<Preset, String> {
    match text {
        "postgres" => Ok(Preset::Postgres),
        "redis" => Ok(Preset::Redis),
        _ => Err(format!("{text:?} is no preset; give postgres or redis")),
    }
}

fn parse_dependency(text: &str) -> Result<Dependency, String> {
    let (name, condition) = match text.split_once(':') {
        None | Some((_, "started")) => (text.trim_end_matches(":started"), DependencyCondition::Started),
        Some((name, "healthy")) => (name, DependencyCondition::Healthy),
        Some((_, other)) => return Err(format!("{other:?} is no condition; give started or healthy")),
    };
    let name = name.parse::<ContainerName>().map_err(|error| error.to_string())?;
    Ok(Dependency { name, condition })
}
