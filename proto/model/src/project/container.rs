//! A container of a project, and what is wrong with one.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::{Dependency, ImageReference, Layout, Preset, Probe, Resources, Storage, dependencies};
use crate::{ContainerName, Fault};

/// Most containers of a project: what one person's machine runs.
pub const MAX_CONTAINERS: usize = 16;
/// Most ports of a container.
pub const MAX_PORTS: usize = 16;
/// Most variables that a container's environment adds.
pub const MAX_ENV: usize = 256;
/// Longest value of a variable, and longest word of a command, in bytes (MAX_ARG_STRLEN of execve(2) is 131,072).
pub const MAX_WORD_BYTES: usize = 32 * 1024;
/// Longest name of a variable, in bytes.
pub const MAX_VARIABLE_NAME_BYTES: usize = 256;
/// Longest working directory, in bytes (PATH_MAX of Linux, less the final NUL).
pub const MAX_WORKDIR_BYTES: usize = 4_095;
/// Most words of a command.
pub const MAX_COMMAND_WORDS: usize = 1_024;

/// What a container is to its project.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub enum ContainerKind {
    /// It works in the workspace, and terminals and commands reach it.
    #[default]
    Dev,
    /// A server beside them, for example a database: its image as it is, without
    /// the workspace. Only on a cluster.
    Service,
}

impl ContainerKind {
    /// Whether it is what a container is unless its spec says another.
    pub fn is_default(&self) -> bool {
        *self == ContainerKind::default()
    }
}

/// Whom a port lets in that is reached from outside of its project.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub enum Exposure {
    /// Whoever may see the project.
    Private,
    /// Whoever the server knows.
    Authenticated,
    /// Everybody.
    Public,
}

/// A port that a container's command listens on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct Port {
    /// 1 to 15 of a-z, 0-9 and '-', unique in the container (RFC 6335, 5.1, less the rule of a letter).
    pub name: String,
    /// 1 to 65,535.
    pub port: u16,
    /// Whom it lets in from outside of the project, where the server has a domain for ports; absent is nobody.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expose: Option<Exposure>,
}

impl Port {
    /// A port that nobody outside of the project reaches.
    pub fn named(name: &str, port: u16) -> Port {
        Port { name: name.to_owned(), port, expose: None }
    }
}

/// A container of a project.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Container {
    /// Unique in the project.
    #[cfg_attr(feature = "openapi", schema(value_type = String))]
    pub name: ContainerName,
    /// What it is to the project.
    #[serde(default, skip_serializing_if = "ContainerKind::is_default")]
    pub kind: ContainerKind,
    /// A server whose image, user, volume, health and credentials are known; for Service containers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub preset: Option<Preset>,
    /// The image that it runs in on a cluster, which needs one. On a local server
    /// it is accepted and means nothing: commands run on the machine itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "openapi", schema(value_type = Option<String>))]
    pub image: Option<ImageReference>,
    /// Program and arguments; empty runs what the image says, and without an image nothing of its own.
    #[serde(default)]
    pub command: Vec<String>,
    /// Arguments after the command, or after the image's entry point in place of the image's own.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub args: Vec<String>,
    /// Added to the environment.
    #[serde(default)]
    pub env: BTreeMap<String, String>,
    /// Ports that the command listens on.
    #[serde(default)]
    pub ports: Vec<Port>,
    /// Working directory relative to the workspace; empty is the workspace.
    #[serde(default)]
    pub workdir: String,
    /// What it is promised of a machine, and what it may not exceed.
    #[serde(default, skip_serializing_if = "Resources::is_empty")]
    pub resources: Resources,
    /// Containers that it waits for before its command begins.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub depends_on: Vec<Dependency>,
    /// How its health is seen; without one its first port is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub probe: Option<Probe>,
    /// A volume of its own, which outlives its pods; for Service containers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub storage: Option<Storage>,
    /// The uid that it runs as, never 0; for Service containers. Absent is that of
    /// its preset's own image, else that of the project's pods.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user: Option<u32>,
}

/// Checks a project's containers. The error names the field.
pub fn validate_containers(containers: &[Container], layout: Layout) -> Result<(), Fault> {
    if containers.is_empty() || containers.len() > MAX_CONTAINERS {
        return Err(Fault::invalid(
            "containers",
            format!("{} given; a project has 1 to {MAX_CONTAINERS}", containers.len()),
        ));
    }
    let mut ports = BTreeMap::new();
    for (at, container) in containers.iter().enumerate() {
        if containers[..at].iter().any(|other| other.name == container.name) {
            return Err(Fault::invalid("containers.name", format!("{} is there twice", container.name))
                .hint("give each container its own name"));
        }
        container.validate()?;
        if layout == Layout::PodPerContainer {
            ports.clear();
        }
        for port in container.listens() {
            if let Some(other) = ports.insert(port.port, &container.name) {
                return Err(Fault::invalid(
                    "containers.ports",
                    format!("{} is a port of {other} and of {}", port.port, container.name),
                )
                .hint("containers that share one network have each port once"));
            }
        }
    }
    dependencies::has_a_workspace(containers)?;
    dependencies::validate(containers, layout)
}

impl Container {
    /// A container that has nothing but a name.
    pub fn named(name: ContainerName) -> Container {
        Container {
            name,
            kind: ContainerKind::default(),
            preset: None,
            image: None,
            command: Vec::new(),
            args: Vec::new(),
            env: BTreeMap::new(),
            ports: Vec::new(),
            workdir: String::new(),
            resources: Resources::default(),
            depends_on: Vec::new(),
            probe: None,
            storage: None,
            user: None,
        }
    }

    /// This container with what `fields` name of `other` in place of its own.
    pub fn with(&self, other: &Container, fields: &[String]) -> Result<Container, Fault> {
        let mut changed = self.clone();
        for field in fields {
            let other = other.clone();
            match field.as_str() {
                "image" => changed.image = other.image,
                "command" => changed.command = other.command,
                "args" => changed.args = other.args,
                "env" => changed.env = other.env,
                "ports" => changed.ports = other.ports,
                "workdir" => changed.workdir = other.workdir,
                "resources" => changed.resources = other.resources,
                "dependsOn" => changed.depends_on = other.depends_on,
                "probe" => changed.probe = other.probe,
                "storage" => changed.storage = other.storage,
                "user" => changed.user = other.user,
                stranger => {
                    let shown: String = stranger.chars().take(40).collect();
                    return Err(Fault::invalid("fields", format!("{shown:?} is none that can change")).hint(
                        "name image, command, args, env, ports, workdir, resources, dependsOn, probe, storage or user",
                    ));
                }
            }
        }
        Ok(changed)
    }

    /// What of it a pod is made of: whom its ports let in can change while it runs.
    #[must_use]
    pub fn of_its_pod(&self) -> Container {
        let mut container = self.clone();
        container.ports.iter_mut().for_each(|port| port.expose = None);
        container
    }

    fn validate(&self) -> Result<(), Fault> {
        let name = &self.name;
        for (field, words) in [("containers.command", &self.command), ("containers.args", &self.args)] {
            if words.len() > MAX_COMMAND_WORDS {
                return Err(Fault::invalid(
                    field,
                    format!("of {name} has {} words; at most {MAX_COMMAND_WORDS}", words.len()),
                ));
            }
            for word in words {
                word_fits(field, word)?;
            }
        }
        if !self.args.is_empty() && self.command.is_empty() && self.image.is_none() && self.preset.is_none() {
            return Err(Fault::invalid("containers.args", format!("of {name} are arguments of no command"))
                .hint("give a command, or an image whose entry point takes them"));
        }
        if self.command.first().is_some_and(String::is_empty) {
            return Err(Fault::invalid("containers.command", format!("of {name} begins with an empty word"))
                .hint("name a program, or give no command at all"));
        }
        if self.env.len() > MAX_ENV {
            return Err(Fault::invalid(
                "containers.env",
                format!("of {name} has {} variables; at most {MAX_ENV}", self.env.len()),
            ));
        }
        for (variable, value) in &self.env {
            variable_name(variable)?;
            word_fits("containers.env", value)?;
        }
        if self.ports.len() > MAX_PORTS {
            return Err(Fault::invalid(
                "containers.ports",
                format!("of {name} are {}; at most {MAX_PORTS}", self.ports.len()),
            ));
        }
        for (at, port) in self.ports.iter().enumerate() {
            if !port_name_is_good(&port.name) {
                let shown: String = port.name.chars().take(40).collect();
                return Err(Fault::invalid(
                    "containers.ports.name",
                    format!("{shown:?} must be 1 to 15 of a-z, 0-9 and '-'"),
                ));
            }
            if port.port == 0 {
                return Err(Fault::invalid("containers.ports.port", "is 0").hint("give 1 to 65535"));
            }
            if self.ports[..at].iter().any(|other| other.name == port.name) {
                return Err(Fault::invalid(
                    "containers.ports.name",
                    format!("{:?} is there twice in {name}", port.name),
                ));
            }
        }
        if self.workdir.len() > MAX_WORKDIR_BYTES
            || self.workdir.contains('\0')
            || self.workdir.starts_with('/')
            || self.workdir.split('/').any(|part| part == "..")
        {
            let shown: String = self.workdir.chars().take(80).collect();
            return Err(Fault::invalid("containers.workdir", format!("{shown:?} is no path inside the workspace"))
                .hint("give it relative to the workspace, without '..'"));
        }
        self.resources.validate()?;
        self.probe.as_ref().map_or(Ok(()), Probe::validate)?;
        self.fits_its_kind()
    }
}

fn port_name_is_good(name: &str) -> bool {
    (1..=15).contains(&name.len())
        && name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
        && !name.starts_with('-')
        && !name.ends_with('-')
}

pub(super) fn word_fits(field: &str, word: &str) -> Result<(), Fault> {
    if word.len() > MAX_WORD_BYTES || word.contains('\0') {
        return Err(Fault::invalid(
            field,
            format!("a word has {} bytes or a NUL; at most {MAX_WORD_BYTES}, no NUL", word.len()),
        ));
    }
    Ok(())
}

/// Checks the name of an environment variable that a caller sets.
pub fn variable_name(name: &str) -> Result<(), Fault> {
    let shown: String = name.chars().take(80).collect();
    let starts = name.bytes().next().is_some_and(|b| b.is_ascii_alphabetic() || b == b'_');
    if !starts || name.len() > MAX_VARIABLE_NAME_BYTES || !name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_')
    {
        return Err(Fault::invalid("env", format!("{shown:?} is no name of a variable"))
            .hint("use letters, digits and '_', a digit not first"));
    }
    if name.starts_with("REMORA_") {
        return Err(
            Fault::invalid("env", format!("{shown:?} begins with REMORA_, which is taken")).hint("choose another name")
        );
    }
    Ok(())
}
