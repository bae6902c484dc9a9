//! What a caller asks of an access token, checked: it cannot allow more than the
//! caller may, and one for a folder allows only what can be kept in it.

use std::time::Duration;

use remora_proto_model::{ContainerName, Fault, PathPrefix, Reason, Verb};

use super::{
    Caller,
    keys::visible_name,
    roles::{role_allows, role_of, verbs_of},
};
use crate::limits::{DEFAULT_TOKEN_SECONDS, MAX_TOKEN_CONTAINERS, MAX_TOKEN_SECONDS};

/// The fields of a request as they came, on every surface.
#[derive(Clone, Debug, Default)]
pub(crate) struct Asked {
    pub(crate) verbs: Vec<String>,
    pub(crate) path_prefix: String,
    pub(crate) containers: Vec<String>,
    pub(crate) ttl_seconds: u32,
    pub(crate) subject: String,
}

/// A token to be made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Wanted {
    pub(crate) subject: String,
    pub(crate) verbs: Vec<Verb>,
    pub(crate) prefix: Option<PathPrefix>,
    pub(crate) containers: Option<Vec<ContainerName>>,
    pub(crate) ttl: Duration,
}

/// What `caller` gets who asks for `asked`.
pub(crate) fn granted(caller: &Caller, asked: Asked) -> Result<Wanted, Fault> {
    let Asked { verbs, path_prefix, containers, ttl_seconds, subject } = asked;
    let seconds = if ttl_seconds == 0 { DEFAULT_TOKEN_SECONDS } else { u64::from(ttl_seconds) };
    if seconds > MAX_TOKEN_SECONDS {
        return Err(Fault::invalid("ttlSeconds", format!("is {seconds}; at most {MAX_TOKEN_SECONDS}, 30 days"))
            .hint("for what has no end use an API key"));
    }
    let subject = if subject.is_empty() { caller.name().to_owned() } else { subject };
    visible_name("subject", &subject)?;
    let prefix = match path_prefix.as_str() {
        "" => None,
        _ => Some(PathPrefix::try_from(path_prefix).map_err(|error| Fault::invalid("pathPrefix", error))?),
    };
    if containers.len() > MAX_TOKEN_CONTAINERS {
        let count = containers.len();
        return Err(Fault::invalid("containers", format!("{count} given; at most {MAX_TOKEN_CONTAINERS}")));
    }
    let name = |text: &String| text.parse::<ContainerName>().map_err(|error| Fault::invalid("containers", error));
    let named = containers.iter().map(name).collect::<Result<Vec<_>, Fault>>()?;
    Ok(Wanted {
        subject,
        verbs: verbs_within(caller, &verbs, prefix.is_some())?,
        prefix,
        containers: Some(named).filter(|named| !named.is_empty()),
        ttl: Duration::from_secs(seconds),
    })
}

/// Of a token for a folder nothing but files comes by itself: a command, which can
/// be kept there only by the kernel, must be asked for.
fn verbs_within(caller: &Caller, asked: &[String], for_folder: bool) -> Result<Vec<Verb>, Fault> {
    if asked.is_empty() {
        let mut verbs = verbs_of(caller.role());
        verbs.retain(|verb| !for_folder || matches!(verb, Verb::StatusRead | Verb::FileRead | Verb::FileWrite));
        return Ok(verbs);
    }
    let mut verbs = Vec::new();
    for text in asked {
        let verb: Verb = text.parse().map_err(|error| Fault::invalid("verbs", error))?;
        if !role_allows(caller.role(), verb) {
            return Err(Fault::new(
                Reason::RoleNotGranted,
                format!(
                    "a token cannot have {verb}: {:?} is {:?}, it needs {:?}",
                    caller.name(),
                    caller.role(),
                    role_of(verb)
                ),
            )
            .hint("ask for verbs that you have yourself"));
        }
        if for_folder && !verb.can_be_limited_to_a_folder() {
            return Err(Fault::invalid("verbs", format!("{verb} is about the whole workspace, and pathPrefix is set"))
                .hint("leave out that verb, or make two tokens"));
        }
        if !verbs.contains(&verb) {
            verbs.push(verb);
        }
    }
    Ok(verbs)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use remora_proto_model::project::{ApiKey, Role};

    use super::*;

    fn caller(role: Role) -> Caller {
        Caller::new(Arc::new(ApiKey {
            id: "1".to_owned(),
            name: "ann".to_owned(),
            role,
            projects: Vec::new(),
            created_ms: 0,
            last_used_ms: 0,
        }))
    }

    fn asked() -> Asked {
        Asked::default()
    }

    #[test]
    fn nothing_asked_is_everything_the_caller_may() {
        let wanted = granted(&caller(Role::Viewer), asked()).unwrap();
        assert_eq!(wanted.verbs, verbs_of(Role::Viewer));
        assert_eq!((wanted.subject.as_str(), wanted.ttl.as_secs()), ("ann", 900));
        assert_eq!((wanted.prefix, wanted.containers), (None, None));
    }

    #[test]
    fn a_token_for_a_folder_runs_commands_only_on_purpose_and_never_does_what_is_about_everything() {
        let folder = |verbs: &[&str]| Asked {
            path_prefix: "a".to_owned(),
            verbs: verbs.iter().map(|verb| (*verb).to_owned()).collect(),
            ..asked()
        };
        let words = |wanted: Wanted| wanted.verbs.iter().map(|verb| verb.as_str()).collect::<Vec<_>>().join(" ");
        assert_eq!(words(granted(&caller(Role::Admin), folder(&[])).unwrap()), "status.read file.read file.write");
        assert_eq!(words(granted(&caller(Role::Viewer), folder(&[])).unwrap()), "status.read file.read");
        assert_eq!(words(granted(&caller(Role::Editor), folder(&["exec.write"])).unwrap()), "exec.write");
        for verb in ["snapshot.read", "snapshot.create", "snapshot.admin", "lifecycle"] {
            let fault = granted(&caller(Role::Admin), folder(&[verb])).unwrap_err();
            assert!(fault.message.starts_with("verbs:"), "{fault}");
        }
    }

    /// Every role, every verb: a token has what its maker has and not more.
    #[test]
    fn a_token_cannot_exceed_its_maker() {
        for role in [Role::Viewer, Role::Editor, Role::Owner, Role::Admin] {
            for verb in Verb::ALL {
                let asked = Asked { verbs: vec![verb.to_string()], ..asked() };
                match granted(&caller(role), asked) {
                    Ok(wanted) => assert!(role_allows(role, *verb) && wanted.verbs == [*verb], "{role:?} {verb}"),
                    Err(fault) => {
                        assert!(!role_allows(role, *verb), "{role:?} {verb}");
                        assert_eq!(fault.reason, Reason::RoleNotGranted);
                    }
                }
            }
        }
    }

    #[test]
    fn bad_fields_are_named() {
        for (field, asked) in [
            ("verbs", Asked { verbs: vec!["file.eat".to_owned()], ..asked() }),
            ("pathPrefix", Asked { path_prefix: "../x".to_owned(), ..asked() }),
            ("pathPrefix", Asked { path_prefix: "/x".to_owned(), ..asked() }),
            ("containers", Asked { containers: vec!["A".to_owned()], ..asked() }),
            ("containers", Asked { containers: vec!["a".to_owned(); 17], ..asked() }),
            ("ttlSeconds", Asked { ttl_seconds: 30 * 24 * 3_600 + 1, ..asked() }),
            ("subject", Asked { subject: "a b".to_owned(), ..asked() }),
            ("subject", Asked { subject: "x".repeat(65), ..asked() }),
        ] {
            let fault = granted(&caller(Role::Admin), asked).unwrap_err();
            assert!(fault.message.starts_with(&format!("{field}:")), "{field}: {fault}");
        }
    }
}
