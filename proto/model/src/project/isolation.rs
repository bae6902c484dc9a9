//! Whether a project has a namespace to itself.

use serde::{Deserialize, Serialize};

use super::ProjectSpec;
use crate::Fault;

/// Longest name of a container in a namespace that projects share, in bytes: what is
/// made for it has its name between `credentials-` and `-` with the 26 characters of
/// the project's id, and a name of a Service may have 63.
pub const MAX_SHARED_CONTAINER_NAME_BYTES: usize = 24;

/// Whether a project has a namespace of a cluster to itself. A local server has none
/// and takes only the first.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub enum Isolation {
    /// A namespace of its own.
    #[default]
    Dedicated,
    /// The one that all such projects of a control plane are in. Policies keep their
    /// pods apart there as well; nothing bounds them but their own limits.
    Shared,
}

impl Isolation {
    /// Whether it is what a project has whose spec says nothing.
    pub fn is_default(&self) -> bool {
        *self == Isolation::default()
    }

    /// Checks what `spec` cannot have with it. The error names the field.
    pub(super) fn validate(self, spec: &ProjectSpec) -> Result<(), Fault> {
        if self == Isolation::Dedicated {
            return Ok(());
        }
        if spec.quota.is_some() {
            return Err(Fault::invalid(
                "quota",
                "is of a namespace, and with the isolation Shared this project shares its one with others",
            )
            .hint("leave it out and give each container its limits, or take the isolation Dedicated"));
        }
        let long = spec.containers.iter().find(|one| one.name.as_str().len() > MAX_SHARED_CONTAINER_NAME_BYTES);
        match long {
            Some(container) => Err(Fault::invalid(
                "containers.name",
                format!(
                    "{} has {} characters; with the isolation Shared at most {MAX_SHARED_CONTAINER_NAME_BYTES}",
                    container.name,
                    container.name.as_str().len()
                ),
            )
            .hint("choose a shorter name, or take the isolation Dedicated")),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::project::{Container, Quota};

    fn spec(isolation: Isolation, name: &str) -> ProjectSpec {
        let container = Container::named(name.parse().unwrap());
        ProjectSpec { containers: vec![container], isolation, ..ProjectSpec::default() }
    }

    #[test]
    fn a_namespace_that_is_shared_has_no_quota_for_one_and_room_for_names() {
        let (fits, long) =
            ("a".repeat(MAX_SHARED_CONTAINER_NAME_BYTES), "a".repeat(MAX_SHARED_CONTAINER_NAME_BYTES + 1));
        spec(Isolation::Dedicated, &long).validate().unwrap();
        spec(Isolation::Shared, &fits).validate().unwrap();
        let fault = spec(Isolation::Shared, &long).validate().unwrap_err();
        assert!(fault.message.starts_with("containers.name: ") && fault.message.contains("at most 24"), "{fault}");
        let mut bounded = spec(Isolation::Shared, "dev");
        bounded.quota = Some(Quota { pods: Some(4), ..Quota::default() });
        let fault = bounded.validate().unwrap_err();
        assert!(fault.message.starts_with("quota: "), "{fault}");
        bounded.isolation = Isolation::Dedicated;
        bounded.validate().unwrap();
    }

    #[test]
    fn a_spec_that_says_nothing_is_dedicated_and_says_nothing_again() {
        let read: ProjectSpec = serde_json::from_str(r#"{"containers": [{"name": "dev"}]}"#).unwrap();
        assert_eq!(read.isolation, Isolation::Dedicated);
        assert!(!serde_json::to_string(&read).unwrap().contains("isolation"));
        let shared: ProjectSpec =
            serde_json::from_str(r#"{"containers": [{"name": "dev"}], "isolation": "Shared"}"#).unwrap();
        assert!(serde_json::to_string(&shared).unwrap().contains(r#""isolation":"Shared""#));
    }
}
