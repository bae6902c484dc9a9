//! Which ServiceAccount has which role: settings, as `NAMESPACE/NAME=ROLE`.

use std::{collections::BTreeMap, str::FromStr};

use remora_proto_model::project::Role;

/// One line of the settings.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Grant {
    /// `system:serviceaccount:NAMESPACE:NAME`.
    name: String,
    role: Role,
}

/// The text is no grant.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is no grant; write NAMESPACE/NAME=ROLE, the role one of viewer, editor, owner and admin")]
pub struct GrantError(String);

impl FromStr for Grant {
    type Err = GrantError;
    fn from_str(text: &str) -> Result<Self, GrantError> {
        let wrong = || GrantError(text.chars().take(80).collect());
        let (subject, role) = text.split_once('=').ok_or_else(wrong)?;
        let (namespace, account) = subject.split_once('/').ok_or_else(wrong)?;
        let name_is_good = |name: &str| {
            (1..=253).contains(&name.len())
                && name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-' || b == b'.')
        };
        let role = match role {
            "viewer" => Role::Viewer,
            "editor" => Role::Editor,
            "owner" => Role::Owner,
            "admin" => Role::Admin,
            _ => return Err(wrong()),
        };
        if !name_is_good(namespace) || !name_is_good(account) {
            return Err(wrong());
        }
        Ok(Grant { name: format!("system:serviceaccount:{namespace}:{account}"), role })
    }
}

/// All of them. A ServiceAccount that is not in them has no role.
#[derive(Clone, Debug, Default)]
pub struct Grants(BTreeMap<String, Role>);

impl Grants {
    /// The role of a ServiceAccount by its full name.
    pub fn role(&self, name: &str) -> Option<Role> {
        self.0.get(name).copied()
    }

    /// Whether nobody has a role, so that no token needs to be looked at.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl FromIterator<Grant> for Grants {
    /// Of two for the same ServiceAccount, the lesser role counts.
    fn from_iter<T: IntoIterator<Item = Grant>>(grants: T) -> Self {
        let mut roles = BTreeMap::new();
        for Grant { name, role } in grants {
            roles.entry(name).and_modify(|there: &mut Role| *there = role.min(*there)).or_insert(role);
        }
        Grants(roles)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn grants_are_read() {
        let grants: Grants = ["ci/runner=editor", "ops/root=admin", "ops/root=viewer"]
            .iter()
            .map(|text| text.parse::<Grant>().unwrap())
            .collect();
        assert_eq!(grants.role("system:serviceaccount:ci:runner"), Some(Role::Editor));
        assert_eq!(grants.role("system:serviceaccount:ops:root"), Some(Role::Viewer), "the lesser counts");
        assert_eq!(grants.role("system:serviceaccount:ci:other"), None);
        for bad in
            ["", "ci=editor", "ci/runner", "ci/runner=king", "ci/*=admin", "/x=viewer", "a b/c=viewer", "ci/=viewer"]
        {
            assert!(bad.parse::<Grant>().is_err(), "{bad}");
        }
    }
}
