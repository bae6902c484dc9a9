//! The capabilities of callers, who come with something else: made once for many
//! calls, and again before they end.

use std::{
    collections::HashMap,
    sync::{Mutex, PoisonError},
    time::Duration,
};

use remora_control_plane_runtime::AgentHandle;
use remora_proto::model::{ContainerName, Fault, Generation, ProjectId, Reason};

use crate::{
    auth::{Identity, keys::now_ms, roles::verbs_of},
    limits::{CALL_TOKEN_REST_SECONDS, CALL_TOKEN_SECONDS, MAX_CALL_TOKENS},
};

/// Id of a caller or an access token, a project and its generation. What each may never changes
/// while the server runs: a key has a role for ever, a ServiceAccount by the settings, and a token its verbs.
type For = (String, ProjectId, Generation);

#[derive(Default)]
pub(super) struct CallTokens {
    made: Mutex<HashMap<For, (String, u64)>>,
}

impl CallTokens {
    /// The capability with which `identity` calls `agent`.
    pub(super) fn of(&self, identity: &Identity, agent: &AgentHandle) -> Result<String, Fault> {
        let key = (identity.id().to_owned(), agent.project, agent.generation);
        let usable_until = now_ms() + CALL_TOKEN_REST_SECONDS * 1_000;
        let mut made = self.made.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((token, _)) = made.get(&key).filter(|(_, expires_ms)| *expires_ms > usable_until) {
            return Ok(token.clone());
        }
        if made.len() >= MAX_CALL_TOKENS {
            made.retain(|_, (_, expires_ms)| *expires_ms > usable_until);
            if made.len() >= MAX_CALL_TOKENS {
                made.clear();
            }
        }
        let ttl = Duration::from_secs(CALL_TOKEN_SECONDS);
        let minted = match identity {
            Identity::Caller(caller) => agent.token(caller.name(), &verbs_of(caller.role()), None, None, ttl)?,
            Identity::Token(token) => {
                let containers = token.containers.as_ref().map(|granted| still_there(granted, agent)).transpose()?;
                agent.token(&token.subject, &token.verbs, token.path_prefix.clone(), containers, ttl)?
            }
        };
        made.insert(key, (minted.token.clone(), minted.expires_ms));
        Ok(minted.token)
    }
}

/// Those of a token's containers that the project still has. A token for none that is left opens nothing:
/// it must not become one for all.
fn still_there(granted: &[ContainerName], agent: &AgentHandle) -> Result<Vec<ContainerName>, Fault> {
    let left: Vec<_> = granted.iter().filter(|name| agent.containers.contains(name)).cloned().collect();
    if left.is_empty() {
        let there: Vec<&str> = agent.containers.iter().map(ContainerName::as_str).collect();
        return Err(Fault::new(Reason::ContainerNotGranted, "none of the token's containers is there any more")
            .hint(format!("there are {}; ask for a token of one of them", there.join(", "))));
    }
    Ok(left)
}
