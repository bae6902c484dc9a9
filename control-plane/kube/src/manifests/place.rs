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

    /// The project of the object `name` in `namespace`: that of a namespace of its own, or in
    /// one that is `shared` the one that the name ends with. `None` where it is of none.
    pub fn project_of(namespace: &str, name: &str, shared: &[String]) -> Option<ProjectId> {
        if shared.iter().any(|one| one == namespace) {
            return from_base32(name.rsplit_once('-')?.1);
        }
        namespace.strip_prefix("proj-")?.parse().ok()
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

    /// Whether a name can only be that of something of this project: where others are in
    /// the namespace, and nobody else makes names that end so.
    pub fn tells(&self, name: &str) -> bool {
        let base = self.suffix.as_deref().and_then(|suffix| name.strip_suffix(suffix)?.strip_suffix('-'));
        base.is_some_and(|base| !base.is_empty())
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

/// The id that [`base32`] writes so.
fn from_base32(text: &str) -> Option<ProjectId> {
    // The 130 bits of the digits but for the last two, which fill.
    let (last, first) = text.as_bytes().split_last()?;
    let digit = |byte: &u8| DIGITS.iter().position(|digit| digit == byte).and_then(|at| u128::try_from(at).ok());
    let first = first.iter().try_fold(0_u128, |value, byte| Some(value << 5 | digit(byte)?))?;
    let id = ProjectId::from_bytes((first << 3 | digit(last)? >> 2).to_be_bytes());
    // One id has one spelling.
    (base32(id) == text).then_some(id)
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
            assert_eq!(from_base32(text), Some(id.parse().unwrap()));
        }
        for other in [
            "",
            "a",
            "h4gjuuundnfhpgqonmowyhzoi1",
            "h4gjuuundnfhpgqonmowyhzoir",
            "ah4gjuuundnfhpgqonmowyhzoiq",
            "größe",
        ] {
            assert_eq!(from_base32(other), None, "{other}");
        }
    }

    #[test]
    fn an_object_leads_back_to_its_project() {
        let (id, shared) = (ProjectId::new(), &["before".to_owned(), "all".to_owned()][..]);
        assert_eq!(Place::project_of(&format!("proj-{id}"), "data-db", shared), Some(id));
        assert_eq!(Place::project_of("all", &format!("data-db-{}", base32(id)), shared), Some(id));
        assert_eq!(Place::project_of("all", &format!("data-db-{}", base32(id)), &[]), None);
        for namespace in ["", "all", "proj-", "proj-web", &id.to_string()] {
            assert_eq!(Place::project_of(namespace, "data-db", shared), None, "{namespace}");
        }
    }
}
