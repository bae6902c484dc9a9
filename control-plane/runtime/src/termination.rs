//! The termination message of the agent: what became of a role, as the agent
//! writes it for whoever started it. Its twin is `agent/src/termination.rs`.

use remora_proto_model::{Fault, Reason};
use serde::Deserialize;

use crate::store::Committed;

/// See the module; as far as it is of use here.
#[derive(Debug, Deserialize)]
pub struct Termination {
    snapshot: Option<Snapshot>,
    reason: Option<String>,
    #[serde(default)]
    message: String,
    #[serde(default)]
    hint: String,
}

#[derive(Debug, Deserialize)]
struct Snapshot {
    id: String,
    root_key: String,
    root_blake3: String,
    sequence: u64,
    created_ms: u64,
}

impl Termination {
    /// The message in `bytes`; `None` where they are none.
    pub fn of(bytes: &[u8]) -> Option<Termination> {
        serde_json::from_slice(bytes).ok()
    }

    /// Whether the role says why it failed.
    pub fn failed(&self) -> bool {
        self.reason.is_some()
    }

    /// The snapshot that it names, if any.
    pub fn committed(&self) -> Result<Option<Committed>, Fault> {
        let Some(snapshot) = &self.snapshot else { return Ok(None) };
        let root = blake3::Hash::from_hex(&snapshot.root_blake3).map_err(|_| {
            Fault::new(Reason::ProtocolViolation, "the agent names a root by something that is no hash")
        })?;
        Ok(Some(Committed {
            id: snapshot.id.clone(),
            root_key: snapshot.root_key.clone(),
            root,
            sequence: snapshot.sequence,
            created_ms: snapshot.created_ms,
        }))
    }

    /// Why it failed.
    pub fn fault(&self, stage: &'static str) -> Fault {
        let reason = self.reason.as_deref().and_then(|word| word.parse().ok()).unwrap_or(Reason::Unavailable);
        Fault::new(reason, self.message.clone()).hint(self.hint.clone()).stage(stage)
    }
}
