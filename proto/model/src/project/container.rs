//! A container of a project, and what is wrong with one.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::{ImageReference, Resources};
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
/// A port that a container's command listens on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct Port {
    /// 1 to 15 of a-z, 0-9 and '-', unique in the container (RFC 6335, 5.1, less the rule of a letter).
    pub name: String,
    /// 1 to 65,535.
    pub port: u16,
}

/// A container of a project.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Container {
    /// Unique in the project.
    #[cfg_attr(feature = "openapi", schema(value_type = String))]
    pub name: ContainerName,
    /// The image that it runs in on a cluster, which needs one. On a local server
    /// it is accepted and means nothing: commands run on the machine itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "openapi", schema(value_type = Option<String>))]
    pub image: Option<ImageReference>,
    /// Program and arguments; empty runs what the image says, and without an image nothing of its own.
    #[serde(default)]
    pub command: Vec<String>,
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
}

/// Checks a project's containers. The error names the field.
pub fn validate_containers(containers: &[Container]) -> Result<(), Fault> {
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
        for port in &container.ports {
            if let Some(other) = ports.insert(port.port, &container.name) {
                return Err(Fault::invalid(
                    "containers.ports",
                    format!("{} is a port of {other} and of {}", port.port, container.name),
                )
                .hint("the containers of a project share one network; give each port once"));
            }
        }
    }
    Ok(())
}

impl Container {
    /// A container that has nothing but a name.
    pub fn named(name: ContainerName) -> Container {
        Container {
            name,
            image: None,
            command: Vec::new(),
            env: BTreeMap::new(),
            ports: Vec::new(),
            workdir: String::new(),
            resources: Resources::default(),
        }
    }

    fn validate(&self) -> Result<(), Fault> {
        let name = &self.name;
        if self.command.len() > MAX_COMMAND_WORDS {
            return Err(Fault::invalid(
                "containers.command",
                format!("of {name} has {} words; at most {MAX_COMMAND_WORDS}", self.command.len()),
            ));
        }
        if self.command.first().is_some_and(String::is_empty) {
            return Err(Fault::invalid("containers.command", format!("of {name} begins with an empty word"))
                .hint("name a program, or give no command at all"));
        }
        for word in &self.command {
            word_fits("containers.command", word)?;
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
        self.resources.validate()
    }
}

fn port_name_is_good(name: &str) -> bool {
    (1..=15).contains(&name.len())
        && name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
        && !name.starts_with('-')
        && !name.ends_with('-')
}

fn word_fits(field: &str, word: &str) -> Result<(), Fault> {
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
