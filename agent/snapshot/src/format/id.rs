//! Names of objects and of snapshots.

use std::{fmt, str::FromStr};

use crate::SnapshotError;

/// Where packs are.
const PACKS_PREFIX: &str = "packs/";
/// Where pages are.
const PAGES_PREFIX: &str = "pages/";

/// The name of a pack or a page: BLAKE3 of its bytes as stored.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ObjectId(pub [u8; 32]);

impl ObjectId {
    /// The name of the object that holds `stored`.
    pub fn of(stored: &[u8]) -> Self {
        ObjectId(*blake3::hash(stored).as_bytes())
    }

    /// The key of the pack with this name.
    pub fn pack_key(&self) -> String {
        format!("{PACKS_PREFIX}{self}")
    }

    /// The key of the page with this name.
    pub fn page_key(&self) -> String {
        format!("{PAGES_PREFIX}{self}")
    }

    /// The name of the pack at `key`; `None` where `key` is no pack's.
    pub fn of_pack_key(key: &str) -> Option<Self> {
        parse(key.strip_prefix(PACKS_PREFIX)?)
    }

    /// The name of the page at `key`; `None` where `key` is no page's.
    pub fn of_page_key(key: &str) -> Option<Self> {
        parse(key.strip_prefix(PAGES_PREFIX)?)
    }
}

/// One spelling only: an object has one key.
fn parse(text: &str) -> Option<ObjectId> {
    let mut bytes = [0; 32];
    hex::decode_to_slice(text, &mut bytes).ok()?;
    let id = ObjectId(bytes);
    (id.to_string() == text).then_some(id)
}

impl fmt::Display for ObjectId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex::encode(self.0))
    }
}

impl fmt::Debug for ObjectId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// The name of a snapshot, as callers give it back: `sequence-generation-nonce`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SnapshotId {
    /// Its place in the lineage, from 1.
    pub sequence: u64,
    /// The generation that committed it.
    pub generation: u64,
    /// Drawn by its writer, so that of two roots for one sequence each writer
    /// knows its own.
    pub nonce: [u8; 16],
}

impl fmt::Display for SnapshotId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}-{}", self.sequence, self.generation, hex::encode(self.nonce))
    }
}

impl FromStr for SnapshotId {
    type Err = SnapshotError;

    fn from_str(text: &str) -> Result<Self, SnapshotError> {
        let read = || {
            let mut parts = text.split('-');
            let sequence = parts.next()?.parse().ok()?;
            let generation = parts.next()?.parse().ok()?;
            let mut nonce = [0; 16];
            hex::decode_to_slice(parts.next()?, &mut nonce).ok()?;
            let id = SnapshotId { sequence, generation, nonce };
            (sequence > 0 && id.to_string() == text).then_some(id)
        };
        read().ok_or_else(|| SnapshotError::Invalid {
            what: "snapshot id",
            value: text.chars().take(120).collect(),
            problem: "must be sequence-generation-nonce, exactly as List shows it",
        })
    }
}

#[cfg(test)]
mod tests {
    use remora_proto_model::Reason;

    use super::*;

    #[test]
    fn an_id_has_one_spelling() {
        let id = SnapshotId { sequence: 12, generation: 3, nonce: [0xAB; 16] };
        let text = "12-3-abababababababababababababababab";
        assert_eq!((id.to_string().as_str(), text.parse::<SnapshotId>().unwrap()), (text, id));
        for bad in [
            "",
            "12",
            "12-3",
            "012-3-abababababababababababababababab",
            "+12-3-abababababababababababababababab",
            "12-3-ABababababababababababababababab",
            "12-3-abababababababababababababababab-",
            "0-3-abababababababababababababababab",
            "12-3-ab",
            "99999999999999999999999-3-abababababababababababababababab",
        ] {
            assert_eq!(bad.parse::<SnapshotId>().unwrap_err().reason(), Reason::InvalidArgument, "{bad}");
        }
    }

    #[test]
    fn keys_lead_back_to_names() {
        let id = ObjectId::of(b"x");
        assert_eq!(ObjectId::of_pack_key(&id.pack_key()), Some(id));
        assert_eq!(ObjectId::of_page_key(&id.page_key()), Some(id));
        assert_eq!(ObjectId::of_page_key(&id.pack_key()), None);
        assert_eq!(ObjectId::of_pack_key(&id.pack_key().to_uppercase()), None);
        assert_eq!(ObjectId::of_pack_key("packs/ab"), None);
    }
}
