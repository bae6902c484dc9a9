//! What a project gets of a cluster: resources, its workspace, its quota.

use remora_proto_model::{
    Fault,
    project::{AccessMode, Amounts, ImageReference, Quantity, Quota, Resources, Volume, Workspace},
};

use crate::control::v1 as wire;

/// A quantity of the wire, where empty is none.
fn quantity(field: &str, text: &str) -> Result<Option<Quantity>, Fault> {
    if text.is_empty() {
        return Ok(None);
    }
    text.parse().map(Some).map_err(|error| Fault::invalid(field, error))
}

fn text(quantity: Option<Quantity>) -> String {
    quantity.map(String::from).unwrap_or_default()
}

/// An image of the wire, where empty is none.
pub(super) fn image(text: &str) -> Result<Option<ImageReference>, Fault> {
    if text.is_empty() {
        return Ok(None);
    }
    text.parse().map(Some).map_err(|error| Fault::invalid("containers.image", error))
}

impl From<Amounts> for wire::Amounts {
    fn from(amounts: Amounts) -> Self {
        let Amounts { cpu, memory, ephemeral_storage } = amounts;
        wire::Amounts { cpu: text(cpu), memory: text(memory), ephemeral_storage: text(ephemeral_storage) }
    }
}

fn amounts(part: &str, amounts: Option<wire::Amounts>) -> Result<Amounts, Fault> {
    let wire::Amounts { cpu, memory, ephemeral_storage } = amounts.unwrap_or_default();
    let quantity = |name: &str, text: &str| quantity(&format!("containers.resources.{part}.{name}"), text);
    Ok(Amounts {
        cpu: quantity("cpu", &cpu)?,
        memory: quantity("memory", &memory)?,
        ephemeral_storage: quantity("ephemeralStorage", &ephemeral_storage)?,
    })
}

impl From<Resources> for wire::Resources {
    fn from(resources: Resources) -> Self {
        let Resources { requests, limits } = resources;
        wire::Resources { requests: Some(requests.into()), limits: Some(limits.into()) }
    }
}

impl TryFrom<wire::Resources> for Resources {
    type Error = Fault;
    fn try_from(resources: wire::Resources) -> Result<Self, Fault> {
        let wire::Resources { requests, limits } = resources;
        Ok(Resources { requests: amounts("requests", requests)?, limits: amounts("limits", limits)? })
    }
}

impl From<AccessMode> for wire::AccessMode {
    fn from(mode: AccessMode) -> Self {
        match mode {
            AccessMode::ReadWriteOnce => wire::AccessMode::ReadWriteOnce,
            AccessMode::ReadWriteOncePod => wire::AccessMode::ReadWriteOncePod,
            AccessMode::ReadWriteMany => wire::AccessMode::ReadWriteMany,
        }
    }
}

fn access_mode(number: i32) -> Result<AccessMode, Fault> {
    match wire::AccessMode::try_from(number) {
        Ok(wire::AccessMode::Unspecified | wire::AccessMode::ReadWriteOnce) => Ok(AccessMode::ReadWriteOnce),
        Ok(wire::AccessMode::ReadWriteOncePod) => Ok(AccessMode::ReadWriteOncePod),
        Ok(wire::AccessMode::ReadWriteMany) => Ok(AccessMode::ReadWriteMany),
        Err(_) => Err(Fault::invalid("workspace.volume.accessMode", format!("{number} is unknown"))
            .hint("give ReadWriteOnce, ReadWriteOncePod or ReadWriteMany")),
    }
}

impl From<Workspace> for wire::Workspace {
    fn from(workspace: Workspace) -> Self {
        let Workspace { path, volume, size_limit } = workspace;
        let volume = volume.map(|Volume { size, class, access_mode }| wire::Volume {
            size: size.into(),
            class,
            access_mode: wire::AccessMode::from(access_mode).into(),
        });
        wire::Workspace { path, volume, size_limit: text(size_limit) }
    }
}

impl TryFrom<wire::Workspace> for Workspace {
    type Error = Fault;
    fn try_from(workspace: wire::Workspace) -> Result<Self, Fault> {
        let volume = |volume: wire::Volume| {
            Ok(Volume {
                size: volume.size.parse().map_err(|error| Fault::invalid("workspace.volume.size", error))?,
                class: volume.class,
                access_mode: access_mode(volume.access_mode)?,
            })
        };
        let wire::Workspace { path, volume: given, size_limit } = workspace;
        let default = Workspace::default();
        Ok(Workspace {
            path: if path.is_empty() { default.path } else { path },
            volume: given.map(volume).transpose()?,
            size_limit: quantity("workspace.sizeLimit", &size_limit)?,
        })
    }
}

impl From<Quota> for wire::Quota {
    fn from(quota: Quota) -> Self {
        let Quota { cpu, memory, pods, storage } = quota;
        wire::Quota { cpu: text(cpu), memory: text(memory), pods, storage: text(storage) }
    }
}

impl TryFrom<wire::Quota> for Quota {
    type Error = Fault;
    fn try_from(quota: wire::Quota) -> Result<Self, Fault> {
        let wire::Quota { cpu, memory, pods, storage } = quota;
        Ok(Quota {
            cpu: quantity("quota.cpu", &cpu)?,
            memory: quantity("quota.memory", &memory)?,
            pods,
            storage: quantity("quota.storage", &storage)?,
        })
    }
}
