//! What only a Service container has: storage of its own, a user, a preset.

use serde::{Deserialize, Serialize};

use super::{
    container::{Container, ContainerKind, Port},
    quantity::{self, Counted, Quantity},
    workspace::{is_subdomain, validate_path},
};
use crate::Fault;

/// Bytes of the volume of a preset whose spec does not say.
pub const PRESET_STORAGE: &str = "1Gi";

/// A server that many projects need, with its image, user, volume, health and
/// credentials. What the container says itself is used instead.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub enum Preset {
    /// PostgreSQL: a user and a database `app`, `DATABASE_URL` for the Dev containers.
    Postgres,
    /// Redis, with a password: `REDIS_URL` for the Dev containers.
    Redis,
}

impl Preset {
    /// The port that it listens on, unless the container names another one.
    pub const fn port(self) -> u16 {
        match self {
            Preset::Postgres => 5_432,
            Preset::Redis => 6_379,
        }
    }

    /// The name of that port.
    pub const fn port_name(self) -> &'static str {
        match self {
            Preset::Postgres => "postgres",
            Preset::Redis => "redis",
        }
    }
}

/// A volume of a Service container's own. It outlives the container's pods,
/// hibernation too, and goes with the project, or where somebody says so.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Storage {
    /// Its bytes, for example `5Gi`.
    #[cfg_attr(feature = "openapi", schema(value_type = String))]
    pub size: Quantity,
    /// The storage class; empty is the cluster's default one.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub class: String,
    /// Where the container sees it; absolute. A preset knows its own.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub path: String,
}

impl Container {
    /// The ports that it listens on: its own, else its preset's.
    pub fn listens(&self) -> Vec<Port> {
        match self.preset {
            Some(preset) if self.ports.is_empty() => {
                vec![Port::named(preset.port_name(), preset.port())]
            }
            _ => self.ports.clone(),
        }
    }

    /// Checks what a kind has and what it has not.
    pub(super) fn fits_its_kind(&self) -> Result<(), Fault> {
        let name = &self.name;
        if self.kind == ContainerKind::Dev {
            let foreign = [
                ("containers.preset", self.preset.is_some()),
                ("containers.storage", self.storage.is_some()),
                ("containers.user", self.user.is_some()),
            ];
            return match foreign.into_iter().find(|(_, given)| *given) {
                Some((field, _)) => {
                    Err(Fault::invalid(field, format!("is for Service containers, and {name} is a Dev one"))
                        .hint("give it the kind Service, or leave this out: a Dev container works in the workspace"))
                }
                None => Ok(()),
            };
        }
        if self.image.is_none() && self.preset.is_none() {
            return Err(Fault::invalid("containers.image", format!("of {name} is missing"))
                .hint("a Service container runs its image: name one, or a preset (Postgres, Redis)"));
        }
        if !self.workdir.is_empty() {
            return Err(Fault::invalid("containers.workdir", format!("is given, and {name} is a Service container"))
                .hint("Service containers have no workspace; leave it out"));
        }
        if self.preset.is_some() && self.ports.len() > 1 {
            return Err(Fault::invalid(
                "containers.ports",
                format!("of {name} are {}; a preset has one", self.ports.len()),
            ));
        }
        if self.preset.is_some() && self.ports.iter().any(|port| port.expose.is_some()) {
            return Err(Fault::invalid("containers.ports.expose", format!("is given, and {name} speaks no HTTP"))
                .hint("expose the container that uses it"));
        }
        if self.user == Some(0) {
            return Err(Fault::invalid("containers.user", "is 0, which is root; nothing of a project runs as root")
                .hint("give the uid that the image's own documentation names"));
        }
        self.storage.as_ref().map_or(Ok(()), |storage| storage.validate(self.preset.is_some()))
    }
}

impl Storage {
    fn validate(&self, preset: bool) -> Result<(), Fault> {
        quantity::validate("containers.storage.size", &self.size, Counted::Bytes)?;
        if !self.class.is_empty() && !is_subdomain(&self.class) {
            let shown: String = self.class.chars().take(80).collect();
            return Err(Fault::invalid("containers.storage.class", format!("{shown:?} is no name of a storage class"))
                .hint("give a-z, 0-9, '-' and '.'; `kubectl get storageclass` lists them"));
        }
        match (preset, self.path.as_str()) {
            (true, "") => Ok(()),
            (true, _) => Err(Fault::invalid("containers.storage.path", "is given, and the preset knows its own")),
            (false, "") => Err(Fault::invalid("containers.storage.path", "is missing")
                .hint("say where the container keeps its data, for example /data")),
            (false, path) => validate_path("containers.storage.path", path),
        }
    }
}
