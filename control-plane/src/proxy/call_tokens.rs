//! The capabilities of callers who came with an API key: made once for many
//! calls, and again before they end.

use std::{
    collections::HashMap,
    sync::{Mutex, PoisonError},
    time::Duration,
};

use remora_control_plane_runtime::AgentHandle;
use remora_proto::model::{Fault, Generation, ProjectId};

use crate::{
    auth::{Caller, keys::now_ms, roles::verbs_of},
    limits::{CALL_TOKEN_REST_SECONDS, CALL_TOKEN_SECONDS, MAX_CALL_TOKENS},
};

/// A caller's id, a project and its generation. The role of a caller never changes
/// while the server runs: a key has one for ever, a ServiceAccount by the settings.
type For = (String, ProjectId, Generation);

#[derive(Default)]
pub(super) struct CallTokens {
    made: Mutex<HashMap<For, (String, u64)>>,
}

impl CallTokens {
    /// The token with which `caller` calls `agent`.
    pub(super) fn of(&self, caller: &Caller, agent: &AgentHandle) -> Result<String, Fault> {
        let key = (caller.id().to_owned(), agent.project, agent.generation);
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
        let minted = agent.token(caller.name(), &verbs_of(caller.role()), None, None, ttl)?;
        made.insert(key, (minted.token.clone(), minted.expires_ms));
        Ok(minted.token)
    }
}
