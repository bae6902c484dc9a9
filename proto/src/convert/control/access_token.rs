//! Access tokens.

use remora_proto_model::{AccessToken, Fault, PathPrefix};

use crate::control::v1 as wire;

impl From<AccessToken> for wire::AccessToken {
    fn from(token: AccessToken) -> Self {
        wire::AccessToken {
            id: token.id,
            project_id: token.project.to_string(),
            subject: token.subject,
            verbs: token.verbs.iter().map(ToString::to_string).collect(),
            path_prefix: token.path_prefix.map(String::from).unwrap_or_default(),
            containers: token.containers.into_iter().flatten().map(String::from).collect(),
            made_by: token.made_by,
            made_by_key: token.made_by_key.unwrap_or_default(),
            created_ms: token.created_ms,
            expires_ms: token.expires_ms,
        }
    }
}

impl TryFrom<wire::AccessToken> for AccessToken {
    type Error = Fault;

    fn try_from(token: wire::AccessToken) -> Result<Self, Fault> {
        let verbs = token.verbs.iter().map(|verb| verb.parse().map_err(|error| Fault::invalid("verbs", error)));
        let containers =
            token.containers.iter().map(|name| name.parse().map_err(|error| Fault::invalid("containers", error)));
        let prefix = Some(token.path_prefix).filter(|prefix| !prefix.is_empty());
        let prefix = prefix.map(PathPrefix::try_from).transpose();
        Ok(AccessToken {
            id: token.id,
            project: token.project_id.parse().map_err(|error| Fault::invalid("projectId", error))?,
            subject: token.subject,
            verbs: verbs.collect::<Result<_, Fault>>()?,
            path_prefix: prefix.map_err(|error| Fault::invalid("pathPrefix", error))?,
            containers: Some(containers.collect::<Result<Vec<_>, Fault>>()?).filter(|names| !names.is_empty()),
            made_by: token.made_by,
            made_by_key: Some(token.made_by_key).filter(|key| !key.is_empty()),
            created_ms: token.created_ms,
            expires_ms: token.expires_ms,
        })
    }
}

#[cfg(test)]
mod tests {
    use remora_proto_model::{ProjectId, Verb};

    use super::*;

    #[test]
    fn a_token_crosses_the_wire_whole() {
        let token = AccessToken {
            id: "1".to_owned(),
            project: ProjectId::new(),
            subject: "bot".to_owned(),
            verbs: vec![Verb::FileRead, Verb::ExecWrite],
            path_prefix: Some("a/b".to_owned().try_into().unwrap()),
            containers: Some(vec!["dev".parse().unwrap()]),
            made_by: "ann".to_owned(),
            made_by_key: Some("2".to_owned()),
            created_ms: 3,
            expires_ms: 4,
        };
        assert_eq!(AccessToken::try_from(wire::AccessToken::from(token.clone())).unwrap(), token);
        let open = AccessToken { path_prefix: None, containers: None, made_by_key: None, ..token };
        assert_eq!(AccessToken::try_from(wire::AccessToken::from(open.clone())).unwrap(), open);
    }
}
