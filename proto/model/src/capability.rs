//! [`Capability`]: what one bearer may do to one generation of one project.

use serde::{Deserialize, Serialize};

use crate::{ContainerName, Fault, Generation, ProjectId, Reason, Verb};

/// A folder, relative to the workspace root, below which the bearer must stay.
///
/// The text is lexically clean (no empty, `.` or `..` component, no leading
/// slash); that the *resolved* path stays below it is the confined root's work.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct PathPrefix(String);

/// A capability's field does not have the form it must have.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("path prefix {0:?} must be a relative path without empty, '.' or '..' components, at most 4095 bytes")]
pub struct CapabilityError(String);

impl PathPrefix {
    /// The text, without a slash at either end.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl TryFrom<String> for PathPrefix {
    type Error = CapabilityError;
    fn try_from(text: String) -> Result<Self, CapabilityError> {
        let clean = !text.is_empty()
            && text.len() <= 4095
            && !text.contains('\0')
            && text.split('/').all(|part| !matches!(part, "" | "." | ".."));
        if clean { Ok(PathPrefix(text)) } else { Err(CapabilityError(text.chars().take(80).collect())) }
    }
}

impl From<PathPrefix> for String {
    fn from(prefix: PathPrefix) -> String {
        prefix.0
    }
}

/// The claims of a capability token (a JWT, RFC 7519, signed with EdDSA, RFC 8037).
///
/// The token is minted by the server for one call or one short session (at most
/// [`Capability::MAX_LIFETIME_SECONDS`]) and verified by the agent offline.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Capability {
    /// Who calls, for the audit record: an API key's name, a user, an AI agent.
    pub sub: String,
    /// Always [`Capability::AUDIENCE`].
    pub aud: String,
    /// Issued at, seconds since the epoch.
    pub iat: u64,
    /// Not valid after, seconds since the epoch.
    pub exp: u64,
    /// The token's own id, for the audit record.
    pub jti: String,
    /// The only project it opens.
    pub project: ProjectId,
    /// The only generation of that project it opens.
    pub generation: Generation,
    /// What it allows.
    pub verbs: Vec<Verb>,
    /// Where it allows file operations; `None` is the whole workspace.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub path_prefix: Option<PathPrefix>,
    /// Which containers it opens; `None` is every one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub containers: Option<Vec<ContainerName>>,
}

impl Capability {
    /// The audience of every capability token.
    pub const AUDIENCE: &'static str = "remora.agent.v1";
    /// Longest life of a token, in seconds: a leaked one is dead before a person reads of it.
    pub const MAX_LIFETIME_SECONDS: u64 = 15 * 60;

    /// Whether the bearer may use `verb`.
    pub fn allows(&self, verb: Verb) -> Result<(), Fault> {
        if self.verbs.contains(&verb) {
            return Ok(());
        }
        Err(Fault::new(Reason::VerbNotGranted, format!("the token of {:?} does not carry the verb {verb}", self.sub))
            .hint(format!("it carries {}; ask for a token with {verb}", list(&self.verbs))))
    }

    /// Whether the bearer may reach `container`.
    pub fn allows_container(&self, container: &ContainerName) -> Result<(), Fault> {
        match &self.containers {
            Some(granted) if !granted.contains(container) => Err(Fault::new(
                Reason::ContainerNotGranted,
                format!("the token of {:?} does not open container {container}", self.sub),
            )
            .hint(format!("it opens {}", list(granted)))),
            _ => Ok(()),
        }
    }
}

fn list(items: &[impl ToString]) -> String {
    if items.is_empty() {
        return "nothing".to_owned();
    }
    items.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_prefix_has_no_way_up_or_out() {
        for bad in ["", "/", "/a", "a/", "a//b", "..", "a/../b", "./a", "a\0b"] {
            assert!(PathPrefix::try_from(bad.to_owned()).is_err(), "{bad:?}");
        }
        assert_eq!(PathPrefix::try_from("a/b".to_owned()).unwrap().as_str(), "a/b");
    }
}
