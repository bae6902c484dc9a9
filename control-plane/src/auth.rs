//! Who calls, and what that caller may do. A call carries
//! `authorization: Bearer <API key>`; a call to an agent may carry an access token
//! ([`access`]) instead.

pub(crate) mod access;
pub(crate) mod keys;
pub(crate) mod roles;
pub(crate) mod tokens;

use std::sync::Arc;

use http::{HeaderMap, header::AUTHORIZATION};
use remora_control_plane_kube::service_accounts::ServiceAccountCaller;
use remora_proto_model::{
    AccessToken, Fault, ProjectId, Reason,
    project::{ApiKey, Role},
};

/// Characters of the random part of a key or token: 32 bytes in base64 without padding (RFC 4648, 5).
const SECRET_CHARACTERS: usize = 43;

/// Whether `secret` has the form of those that begin with `prefix`.
fn is_secret(prefix: &str, secret: &str) -> bool {
    let random = secret.strip_prefix(prefix).unwrap_or_default();
    random.len() == SECRET_CHARACTERS
        && random.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_')
}

/// What a caller brought.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Credentials<'a> {
    /// An API key.
    Key(&'a str),
    /// An access token.
    Access(&'a str),
    /// Anything else: a ServiceAccount's token, if it is one.
    Token(&'a str),
}

/// The credentials of a call.
pub(crate) fn credentials(headers: &HeaderMap) -> Result<Credentials<'_>, Fault> {
    let mut values = headers.get_all(AUTHORIZATION).iter();
    let value = values.next().ok_or_else(|| {
        Fault::new(Reason::CredentialsMissing, "the call carries no credentials")
            .hint("send `authorization: Bearer <API key>`; `remora local` writes a key into the context file")
    })?;
    let malformed =
        |problem| Fault::new(Reason::CredentialsInvalid, problem).hint("send one `authorization: Bearer <API key>`");
    if values.next().is_some() {
        return Err(malformed("the call carries two authorization headers"));
    }
    let (scheme, secret) = value.to_str().ok().and_then(|text| text.split_once(' ')).unwrap_or_default();
    // The scheme's case does not matter (RFC 9110, 11.1).
    if !scheme.eq_ignore_ascii_case("bearer") {
        return Err(malformed("the authorization header is no bearer token"));
    }
    let secret = secret.trim_matches(' ');
    Ok(if secret.starts_with(keys::PREFIX) {
        Credentials::Key(secret)
    } else if secret.starts_with(access::PREFIX) {
        Credentials::Access(secret)
    } else {
        Credentials::Token(secret)
    })
}

/// Whoever calls.
#[derive(Clone, Debug)]
pub(crate) enum Identity {
    /// Somebody with a role.
    Caller(Caller),
    /// A program with an access token.
    Token(Arc<AccessToken>),
}

impl Identity {
    /// The name of whoever has a role, and of a token for whom it is.
    pub(crate) fn name(&self) -> &str {
        match self {
            Identity::Caller(caller) => caller.name(),
            Identity::Token(token) => &token.subject,
        }
    }

    /// The id of the key or token; of a ServiceAccount its name.
    pub(crate) fn id(&self) -> &str {
        match self {
            Identity::Caller(caller) => caller.id(),
            Identity::Token(token) => &token.id,
        }
    }

    /// What it came with, in a word.
    pub(crate) fn kind(&self) -> &'static str {
        match self {
            Identity::Caller(caller) if caller.expires().is_some() => "serviceAccount",
            Identity::Caller(_) => "key",
            Identity::Token(_) => "token",
        }
    }

    /// Who made the token.
    pub(crate) fn made_by(&self) -> Option<&str> {
        match self {
            Identity::Caller(_) => None,
            Identity::Token(token) => Some(&token.made_by),
        }
    }
}

/// Who calls: by an API key that stands, or as a ServiceAccount of the cluster.
#[derive(Clone, Debug)]
pub(crate) struct Caller {
    key: Arc<ApiKey>,
    /// Of a ServiceAccount: when its token ends, in seconds since the epoch.
    expires: Option<u64>,
}

impl Caller {
    pub(crate) fn new(key: Arc<ApiKey>) -> Self {
        Caller { key, expires: None }
    }

    /// A ServiceAccount is as somebody who has a key of that role for every project.
    pub(crate) fn service_account(account: ServiceAccountCaller) -> Self {
        let ServiceAccountCaller { name, role, expires } = account;
        let key = ApiKey { id: name.clone(), name, role, projects: Vec::new(), created_ms: 0, last_used_ms: 0 };
        Caller { key: Arc::new(key), expires: Some(expires) }
    }

    /// A ServiceAccount of which only the name and the end of its token are known: it sees, and changes nothing.
    pub(crate) fn viewing_service_account(name: String, expires: u64) -> Self {
        Caller::service_account(ServiceAccountCaller { name, role: Role::Viewer, expires })
    }

    /// When what the caller came with ends, in seconds since the epoch; a key ends by being revoked.
    pub(crate) fn expires(&self) -> Option<u64> {
        self.expires
    }

    pub(crate) fn id(&self) -> &str {
        &self.key.id
    }

    pub(crate) fn name(&self) -> &str {
        &self.key.name
    }

    pub(crate) fn role(&self) -> Role {
        self.key.role
    }

    /// Whether the caller may know that the project exists.
    pub(crate) fn sees(&self, project: ProjectId) -> bool {
        self.key.projects.is_empty() || self.key.projects.contains(&project)
    }

    /// Whether the key is for all projects, those that are still to be made too.
    pub(crate) fn sees_all(&self) -> bool {
        self.key.projects.is_empty()
    }

    /// Whether the caller is at least `role`.
    pub(crate) fn at_least(&self, role: Role) -> Result<(), Fault> {
        if self.key.role >= role {
            return Ok(());
        }
        Err(Fault::new(
            Reason::RoleNotGranted,
            format!("{:?} is {:?}, and this call is for {role:?} or more", self.name(), self.key.role),
        )
        .hint("ask an admin for a key with that role"))
    }
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    fn of(values: &[&str]) -> Result<String, Reason> {
        let mut headers = HeaderMap::new();
        for value in values {
            headers.append(AUTHORIZATION, HeaderValue::from_str(value).unwrap());
        }
        credentials(&headers).map(|found| format!("{found:?}")).map_err(|fault| fault.reason)
    }

    #[test]
    fn credentials_are_one_bearer_token() {
        assert_eq!(of(&[]), Err(Reason::CredentialsMissing));
        for bad in [&["rmk_x"][..], &["Basic eA=="], &["Bearer"], &[""], &["Bearer rmk_x", "Bearer rmk_y"]] {
            assert_eq!(of(bad), Err(Reason::CredentialsInvalid), "{bad:?}");
        }
        assert_eq!(of(&["bearer rmk_x"]).unwrap(), r#"Key("rmk_x")"#);
        assert_eq!(of(&["Bearer rmt_x"]).unwrap(), r#"Access("rmt_x")"#);
        assert_eq!(of(&["Bearer a.b.c"]).unwrap(), r#"Token("a.b.c")"#);
    }

    #[test]
    fn a_service_account_is_held_to_its_role_and_to_its_token() {
        let caller = Caller::service_account(ServiceAccountCaller {
            name: "system:serviceaccount:ci:runner".to_owned(),
            role: Role::Editor,
            expires: 7,
        });
        assert_eq!((caller.name(), caller.role()), ("system:serviceaccount:ci:runner", Role::Editor));
        assert!(caller.sees_all() && caller.sees(ProjectId::new()));
        caller.at_least(Role::Editor).unwrap();
        let fault = caller.at_least(Role::Owner).unwrap_err();
        assert_eq!(fault.reason, Reason::RoleNotGranted);
        assert_eq!(caller.expires(), Some(7));
    }
}
