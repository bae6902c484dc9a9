//! Links that open a port, and the sessions of browsers that come of them: signed by the
//! server, for one host of one project, with an end. Whoever has one has what that host
//! shows and nothing else, and it holds no longer than the key it was made with.

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use remora_proto_model::ProjectId;
use serde::{Deserialize, Serialize};

use crate::{
    auth::{Caller, keys::now_ms},
    limits::MAX_PORT_SESSION_BYTES,
};

/// Signs and reads them.
pub(super) struct Sessions {
    key: [u8; 32],
}

/// What a signed text is good for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Kind {
    /// To begin a session.
    Link,
    /// To reach a port.
    Session,
}

/// For whom it was made.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Who {
    /// Whoever has the key of that id.
    Key { id: String },
    /// A ServiceAccount, until the end of the token that it came with, in seconds since the epoch.
    ServiceAccount { name: String, until: u64 },
}

impl Who {
    pub(super) fn of(caller: &Caller) -> Who {
        match caller.expires() {
            Some(until) => Who::ServiceAccount { name: caller.name().to_owned(), until },
            None => Who::Key { id: caller.id().to_owned() },
        }
    }

    /// The latest end, in milliseconds since the epoch.
    pub(super) fn until(&self) -> u64 {
        match self {
            Who::Key { .. } => u64::MAX,
            Who::ServiceAccount { until, .. } => until.saturating_mul(1_000),
        }
    }
}

#[derive(Serialize, Deserialize)]
struct Claims {
    kind: Kind,
    who: Who,
    project: ProjectId,
    label: String,
    expires_ms: u64,
}

impl Sessions {
    pub(super) fn new(key: [u8; 32]) -> Sessions {
        Sessions { key }
    }

    /// The text, in characters that a URL and a cookie take as they are.
    pub(super) fn sign(&self, kind: Kind, who: &Who, project: ProjectId, label: &str, expires_ms: u64) -> String {
        let claims = Claims { kind, who: who.clone(), project, label: label.to_owned(), expires_ms };
        // Text and numbers serialise.
        let claims = URL_SAFE_NO_PAD.encode(serde_json::to_vec(&claims).unwrap_or_default());
        let mac = blake3::keyed_hash(&self.key, claims.as_bytes());
        format!("{claims}.{}", URL_SAFE_NO_PAD.encode(mac.as_bytes()))
    }

    /// For whom and with which project a text is, where it is one of ours of that kind,
    /// for that host, and has not ended.
    pub(super) fn open(&self, kind: Kind, text: &str, label: &str) -> Option<(Who, ProjectId)> {
        if text.len() > MAX_PORT_SESSION_BYTES {
            return None;
        }
        let (claims, mac) = text.split_once('.')?;
        let mac: [u8; 32] = URL_SAFE_NO_PAD.decode(mac).ok()?.try_into().ok()?;
        // The comparison of these hashes takes the same time whatever differs.
        if blake3::keyed_hash(&self.key, claims.as_bytes()) != blake3::Hash::from_bytes(mac) {
            return None;
        }
        let claims: Claims = serde_json::from_slice(&URL_SAFE_NO_PAD.decode(claims).ok()?).ok()?;
        let holds = claims.kind == kind && claims.label == label && now_ms() < claims.expires_ms;
        holds.then_some((claims.who, claims.project))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn who() -> Who {
        Who::Key { id: "1".to_owned() }
    }

    #[test]
    fn it_opens_what_it_was_made_for_and_nothing_else() {
        let (ours, theirs) = (Sessions::new([1; 32]), Sessions::new([2; 32]));
        let (project, later) = (ProjectId::new(), now_ms() + 60_000);
        let text = ours.sign(Kind::Link, &who(), project, "shop--web--http", later);
        assert_eq!(ours.open(Kind::Link, &text, "shop--web--http"), Some((who(), project)));
        assert_eq!(ours.open(Kind::Session, &text, "shop--web--http"), None, "another kind");
        assert_eq!(ours.open(Kind::Link, &text, "shop--web--api"), None, "another host");
        assert_eq!(theirs.open(Kind::Link, &text, "shop--web--http"), None, "another server");
        let ended = ours.sign(Kind::Link, &who(), project, "a", now_ms());
        assert_eq!(ours.open(Kind::Link, &ended, "a"), None, "its time is over");
        for at in 0..text.len() {
            let mut bytes = text.clone().into_bytes();
            bytes[at] = if bytes[at] == b'A' { b'B' } else { b'A' };
            let changed = String::from_utf8(bytes).unwrap();
            assert_eq!(ours.open(Kind::Link, &changed, "shop--web--http"), None, "changed at {at}");
        }
        for bad in ["", ".", "a.b", &text[..text.len() - 1], &format!("{text}A"), &"a".repeat(3_000)] {
            assert_eq!(ours.open(Kind::Link, bad, "shop--web--http"), None, "{bad}");
        }
    }
}
