//! [`SnapshotInfo`]: a committed snapshot as callers see it.

use std::collections::BTreeMap;

use crate::format::{Root, Statistics};

/// A committed snapshot, as its root says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SnapshotInfo {
    /// Its id, `sequence-generation-nonce`.
    pub id: String,
    /// The key of its root.
    pub root_key: String,
    /// BLAKE3 of the root's stored bytes.
    pub root_blake3: [u8; 32],
    /// Its place in the lineage, from 1.
    pub sequence: u64,
    /// The generation that committed it.
    pub generation: u64,
    /// Id of the root it was made after; empty for the first.
    pub parent: String,
    /// When its scan began, in milliseconds since the epoch, by the writer's clock.
    pub created_ms: u64,
    /// The caller's words.
    pub labels: BTreeMap<String, String>,
    /// What it holds.
    pub statistics: Statistics,
    /// Whether it is only the claim of a new owner.
    pub claim: bool,
    /// Whether contents are encrypted.
    pub encrypted: bool,
}

/// A root with the hash of the bytes it was read from or written as.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredRoot {
    /// The root.
    pub root: Root,
    /// BLAKE3 of its stored bytes.
    pub blake3: [u8; 32],
    /// Whether contents are encrypted.
    pub encrypted: bool,
}

impl StoredRoot {
    /// As callers see it.
    pub fn info(&self) -> SnapshotInfo {
        let root = &self.root;
        SnapshotInfo {
            id: root.id.to_string(),
            root_key: root.key(),
            root_blake3: self.blake3,
            sequence: root.id.sequence,
            generation: root.id.generation,
            parent: root.parent.map(|parent| parent.to_string()).unwrap_or_default(),
            created_ms: root.created_ms,
            labels: root.labels.clone(),
            statistics: root.statistics,
            claim: root.claim,
            encrypted: self.encrypted,
        }
    }
}
