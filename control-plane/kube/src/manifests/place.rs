//! Where the objects of a project are, and what they are called there. Everything that
//! makes, refers to, looks for or removes an object has its name from here.

use remora_proto_model::{
    ContainerName, ProjectId,
    project::{Isolation, Project},
};

use super::{Settings, context::PODS};
use crate::defaults::SHARED_NAMESPACE;

/// The digits of [`base32`]: those of RFC 4648, small, since a label of DNS has no others.
const DIGITS: &[u8; 32] = b"abcdefghijklmnopqrstuvwxyz234567";

/// The namespace of a project, and the names in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    namespace: String,
    /// What every name ends with where others are in the namespace.
    suffix: Option<String>,
}

impl Place {
    /// That of `project`. One that shares a namespace stays in the one that its status
    /// names, whatever the settings say after it began.
    pub fn of(project: &Project, settings: &Settings) -> Place {
        match project.spec.isolation {
            Isolation::Dedicated => Place { namespace: format!("proj-{}", project.id), suffix: None },
            Isolation::Shared => {
                let begun = Some(project.status.namespace.as_str()).filter(|namespace| !namespace.is_empty());
                let namespace = begun.or(settings.shared_namespace.as_deref()).unwrap_or(SHARED_NAMESPACE);
                Place { namespace: namespace.to_owned(), suffix: Some(base32(project.id)) }
            }
        }
    }

    /// The namespace.
    pub fn namespace(&self) -> &str {
        &self.namespace
    }

    /// Whether other projects are in it.
    pub fn is_shared(&self) -> bool {
        self.suffix.is_some()
    }

    /// The name of the object that is `base` to its project: `base` in a namespace of its
    /// own, else with the project's id, so that no two projects have one name.
    pub fn name(&self, base: &str) -> String {
        match &self.suffix {
            Some(suffix) => format!("{base}-{suffix}"),
            None => base.to_owned(),
        }
    }

    /// The host of a container's Service, as far as the cluster's domain.
    pub fn service_host(&self, container: &ContainerName) -> String {
        format!("{}.{}.svc", self.name(container.as_str()), self.namespace)
    }

    /// The host of a container's pod, whether that is ready or not.
    pub(super) fn pod_host(&self, container: &ContainerName) -> String {
        format!("{container}.{}.{}.svc", self.name(PODS), self.namespace)
    }
}

/// The 16 bytes of an id in 26 digits of five bits each, the last one filled with zeros
/// (RFC 4648, 6, without padding).
fn base32(id: ProjectId) -> String {
    let mut text = String::new();
    let (mut buffer, mut bits) = (0_u16, 0_u8);
    let digit = |bits: u16| char::from(DIGITS[usize::from(bits & 31)]);
    for byte in id.into_bytes() {
        buffer = buffer << 8 | u16::from(byte);
        bits += 8;
        while bits >= 5 {
            bits -= 5;
            text.push(digit(buffer >> bits));
        }
    }
    text.push(digit(buffer << (5 - bits)));
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_is_written_as_rfc_4648_has_it() {
        for (id, text) in [
            ("3f0c9a52-8d1b-4a77-9a0e-6b1d6c1f2e44", "h4gjuuundnfhpgqonmowyhzoiq"),
            ("00000000-0000-0000-0000-000000000000", "aaaaaaaaaaaaaaaaaaaaaaaaaa"),
            ("ffffffff-ffff-ffff-ffff-ffffffffffff", "77777777777777777777777774"),
        ] {
            assert_eq!(base32(id.parse().unwrap()), text);
        }
    }
}
