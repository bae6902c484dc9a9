//! [`Root`]: the one object whose existence is a commit.

use std::collections::BTreeMap;

use prost::Message as _;

use super::{
    Crypt, ObjectId, PageRef, SnapshotId, Timestamp,
    block::{read_checked, write_checked},
    crypt::Sealed,
    path,
    wire::{Bound, within},
};
use crate::{
    SnapshotError,
    limits::{
        MAX_FUZZY_PATHS, MAX_LABEL_KEY_BYTES, MAX_LABEL_VALUE_BYTES, MAX_LABELS, MAX_PAGE_ENTRIES, MAX_PAGE_STORED,
        MAX_ROOT_PAGES, MAX_ROOT_RAW, MAX_RULE_BYTES, MAX_RULE_REPORTS,
    },
};

const MAGIC: &[u8; 8] = b"REMORART";

/// Where roots are.
pub const ROOTS_PREFIX: &str = "roots/";

/// The key of the root at `sequence`. It holds nothing of the writer, so of all
/// who write one sequence only one can.
pub fn root_key(sequence: u64) -> String {
    format!("{ROOTS_PREFIX}{sequence:020}")
}

/// The sequence of the root at `key`; `None` where `key` is no root's.
pub fn sequence_of_key(key: &str) -> Option<u64> {
    let sequence = key.strip_prefix(ROOTS_PREFIX)?.parse().ok()?;
    (sequence > 0 && root_key(sequence) == key).then_some(sequence)
}

/// A committed snapshot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Root {
    /// Its name.
    pub id: SnapshotId,
    /// What was the newest root when it was written; `None` for the first.
    pub parent: Option<SnapshotId>,
    /// Whether it is only the claim of a new owner, with the pages of its parent.
    pub claim: bool,
    /// Of a claim: the snapshot whose pages it has; `None` where nothing was
    /// committed before.
    pub origin: Option<SnapshotId>,
    /// Whether it was removed and waits until its objects may be deleted.
    pub removed: bool,
    /// When its scan began, in milliseconds since the epoch, by the writer's clock.
    pub created_ms: u64,
    /// The caller's words.
    pub labels: BTreeMap<String, String>,
    /// What it holds.
    pub statistics: Statistics,
    /// Paths of files that changed each time they were read, the first ones.
    pub fuzzy: Vec<Vec<u8>>,
    /// What was left out, by rule.
    pub rules: Vec<RuleReport>,
    /// What the next scan must know about time.
    pub clock: ClockReading,
    /// The manifest, in path order.
    pub pages: Vec<PageRef>,
}

/// What a snapshot holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Statistics {
    /// Regular files, further names of the same inode not counted.
    pub files: u64,
    /// Directories, the root of the tree included.
    pub directories: u64,
    /// Symbolic links.
    pub symlinks: u64,
    /// FIFOs.
    pub fifos: u64,
    /// Further names of inodes.
    pub hardlinks: u64,
    /// Bytes of all files, holes not counted.
    pub content_bytes: u64,
    /// Bytes of the packs and pages that it added to the store.
    pub stored_bytes: u64,
    /// Files that changed each time they were read.
    pub fuzzy_files: u64,
    /// Entries that were left out; what lies below one is not counted.
    pub skipped_entries: u64,
}

/// What one rule left out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RuleReport {
    /// The rule: where it stands and how it reads.
    pub rule: String,
    /// How many entries it left out; what lies below one is not counted.
    pub entries: u64,
    /// One of them.
    pub example: Vec<u8>,
}

/// What the writer's clocks said at the scan.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ClockReading {
    /// The kernel's id of the boot, zeros where unknown.
    pub boot_id: [u8; 16],
    /// Real time minus time since that boot, in nanoseconds: constant until
    /// somebody sets the clock.
    pub offset_ns: i64,
    /// A file whose content or inode changed at or after this moment may have
    /// changed again without a trace: the next scan reads it.
    pub racy_since: Timestamp,
}

#[derive(Clone, PartialEq, prost::Message)]
struct WireRoot {
    #[prost(message, optional, tag = "1")]
    id: Option<WireId>,
    #[prost(message, optional, tag = "2")]
    parent: Option<WireId>,
    #[prost(bool, tag = "3")]
    claim: bool,
    #[prost(message, optional, tag = "4")]
    origin: Option<WireId>,
    #[prost(bool, tag = "5")]
    removed: bool,
    #[prost(uint64, tag = "6")]
    created_ms: u64,
    #[prost(message, repeated, tag = "7")]
    labels: Vec<WireLabel>,
    #[prost(message, optional, tag = "8")]
    statistics: Option<WireStatistics>,
    #[prost(bytes = "vec", repeated, tag = "9")]
    fuzzy: Vec<Vec<u8>>,
    #[prost(message, repeated, tag = "10")]
    rules: Vec<WireRule>,
    #[prost(message, optional, tag = "11")]
    clock: Option<WireClock>,
    #[prost(message, repeated, tag = "12")]
    pages: Vec<WirePage>,
}

const BOUNDS: &[Bound] = &[
    Bound { path: &[7], most: MAX_LABELS },
    Bound { path: &[9], most: MAX_FUZZY_PATHS },
    Bound { path: &[10], most: MAX_RULE_REPORTS },
    Bound { path: &[12], most: MAX_ROOT_PAGES },
];

#[derive(Clone, PartialEq, prost::Message)]
struct WireId {
    #[prost(uint64, tag = "1")]
    sequence: u64,
    #[prost(uint64, tag = "2")]
    generation: u64,
    #[prost(bytes = "vec", tag = "3")]
    nonce: Vec<u8>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct WireLabel {
    #[prost(string, tag = "1")]
    key: String,
    #[prost(string, tag = "2")]
    value: String,
}

#[derive(Clone, Copy, PartialEq, prost::Message)]
struct WireStatistics {
    #[prost(uint64, tag = "1")]
    files: u64,
    #[prost(uint64, tag = "2")]
    directories: u64,
    #[prost(uint64, tag = "3")]
    symlinks: u64,
    #[prost(uint64, tag = "4")]
    fifos: u64,
    #[prost(uint64, tag = "5")]
    hardlinks: u64,
    #[prost(uint64, tag = "6")]
    content_bytes: u64,
    #[prost(uint64, tag = "7")]
    stored_bytes: u64,
    #[prost(uint64, tag = "8")]
    fuzzy_files: u64,
    #[prost(uint64, tag = "9")]
    skipped_entries: u64,
}

#[derive(Clone, PartialEq, prost::Message)]
struct WireRule {
    #[prost(string, tag = "1")]
    rule: String,
    #[prost(uint64, tag = "2")]
    entries: u64,
    #[prost(bytes = "vec", tag = "3")]
    example: Vec<u8>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct WireClock {
    #[prost(bytes = "vec", tag = "1")]
    boot_id: Vec<u8>,
    #[prost(sint64, tag = "2")]
    offset_ns: i64,
    #[prost(sint64, tag = "3")]
    racy_seconds: i64,
    #[prost(uint32, tag = "4")]
    racy_nanos: u32,
}

#[derive(Clone, PartialEq, prost::Message)]
struct WirePage {
    #[prost(bytes = "vec", tag = "1")]
    id: Vec<u8>,
    #[prost(uint32, tag = "2")]
    stored: u32,
    #[prost(uint32, tag = "3")]
    restore_stored: u32,
    #[prost(bytes = "vec", tag = "4")]
    restore_blake3: Vec<u8>,
    #[prost(bytes = "vec", tag = "5")]
    content: Vec<u8>,
    #[prost(uint32, tag = "6")]
    entries: u32,
    #[prost(bytes = "vec", tag = "7")]
    first: Vec<u8>,
}

impl Root {
    /// Its key.
    pub fn key(&self) -> String {
        root_key(self.id.sequence)
    }

    /// The stored object.
    pub fn encode(&self, crypt: &Crypt) -> Result<Vec<u8>, SnapshotError> {
        let raw = wire_of(self).encode_to_vec();
        for (what, found, limit) in [
            ("the number of manifest pages", self.pages.len(), MAX_ROOT_PAGES),
            ("the length of the list of manifest pages", raw.len(), MAX_ROOT_RAW),
        ] {
            if found > limit {
                let (found, limit) = (found as u64, limit as u64);
                return Err(SnapshotError::TooLarge { what, found, limit, path: String::new() });
            }
        }
        write_checked(MAGIC, crypt, Sealed::Root, self.key().as_bytes(), &raw)
    }

    /// The root at `sequence` from its stored bytes.
    pub fn decode(crypt: &Crypt, sequence: u64, bytes: &[u8]) -> Result<Root, SnapshotError> {
        let key = root_key(sequence);
        let raw = read_checked(&key, bytes, MAGIC, crypt, Sealed::Root, key.as_bytes(), MAX_ROOT_RAW)?;
        let root = root_of(&raw).map_err(|problem| SnapshotError::damaged(&key, problem))?;
        if root.id.sequence != sequence {
            return Err(SnapshotError::damaged(&key, "it is the root of another sequence"));
        }
        Ok(root)
    }
}

fn wire_of(root: &Root) -> WireRoot {
    let id = |id: &SnapshotId| WireId { sequence: id.sequence, generation: id.generation, nonce: id.nonce.to_vec() };
    let label = |(key, value): (&String, &String)| WireLabel { key: key.clone(), value: value.clone() };
    let rule = |report: &RuleReport| WireRule {
        rule: report.rule.clone(),
        entries: report.entries,
        example: report.example.clone(),
    };
    let page = |page: &PageRef| WirePage {
        id: page.id.0.to_vec(),
        stored: page.stored,
        restore_stored: page.restore_stored,
        restore_blake3: page.restore_blake3.to_vec(),
        content: page.content.to_vec(),
        entries: page.entries,
        first: page.first.clone(),
    };
    let Statistics {
        files,
        directories,
        symlinks,
        fifos,
        hardlinks,
        content_bytes,
        stored_bytes,
        fuzzy_files,
        skipped_entries,
    } = root.statistics;
    WireRoot {
        id: Some(id(&root.id)),
        parent: root.parent.as_ref().map(id),
        claim: root.claim,
        origin: root.origin.as_ref().map(id),
        removed: root.removed,
        created_ms: root.created_ms,
        labels: root.labels.iter().map(label).collect(),
        statistics: Some(WireStatistics {
            files,
            directories,
            symlinks,
            fifos,
            hardlinks,
            content_bytes,
            stored_bytes,
            fuzzy_files,
            skipped_entries,
        }),
        fuzzy: root.fuzzy.clone(),
        rules: root.rules.iter().map(rule).collect(),
        clock: Some(WireClock {
            boot_id: root.clock.boot_id.to_vec(),
            offset_ns: root.clock.offset_ns,
            racy_seconds: root.clock.racy_since.seconds,
            racy_nanos: root.clock.racy_since.nanos,
        }),
        pages: root.pages.iter().map(page).collect(),
    }
}

fn root_of(raw: &[u8]) -> Result<Root, &'static str> {
    if !within(raw, BOUNDS) {
        return Err("it holds more than a root may");
    }
    let wire = WireRoot::decode(raw).map_err(|_| "its body does not decode")?;
    let id = wire.id.as_ref().and_then(id_of).ok_or("it has no id")?;
    let optional = |wire: &Option<WireId>| match wire {
        None => Ok(None),
        Some(wire) => id_of(wire).map(Some).ok_or("an id in it is none"),
    };
    let (parent, origin) = (optional(&wire.parent)?, optional(&wire.origin)?);
    let follows = match parent {
        None => id.sequence == 1,
        Some(parent) => parent.sequence.checked_add(1) == Some(id.sequence) && parent.generation <= id.generation,
    };
    if !follows || (origin.is_some() && !wire.claim) {
        return Err("it does not follow its parent");
    }
    let pages = wire.pages.iter().map(page_of).collect::<Option<Vec<_>>>().ok_or("a page's reference is none")?;
    if !pages.is_sorted_by(|a, b| path::path_order(&a.first, &b.first).is_le()) {
        return Err("its pages are out of order");
    }
    let statistics = wire.statistics.unwrap_or_default();
    Ok(Root {
        id,
        parent,
        claim: wire.claim,
        origin,
        removed: wire.removed,
        created_ms: wire.created_ms,
        labels: labels_of(wire.labels)?,
        statistics: Statistics {
            files: statistics.files,
            directories: statistics.directories,
            symlinks: statistics.symlinks,
            fifos: statistics.fifos,
            hardlinks: statistics.hardlinks,
            content_bytes: statistics.content_bytes,
            stored_bytes: statistics.stored_bytes,
            fuzzy_files: statistics.fuzzy_files,
            skipped_entries: statistics.skipped_entries,
        },
        fuzzy: if wire.fuzzy.iter().all(|path| path::is_valid(path)) {
            wire.fuzzy
        } else {
            return Err("a path is none");
        },
        rules: wire.rules.into_iter().map(rule_of).collect::<Option<_>>().ok_or("a rule's report is none")?,
        clock: clock_of(&wire.clock.unwrap_or_default()).ok_or("its clock reading is none")?,
        pages,
    })
}

fn id_of(wire: &WireId) -> Option<SnapshotId> {
    let nonce = wire.nonce.as_slice().try_into().ok()?;
    (wire.sequence > 0).then_some(SnapshotId { sequence: wire.sequence, generation: wire.generation, nonce })
}

fn labels_of(wire: Vec<WireLabel>) -> Result<BTreeMap<String, String>, &'static str> {
    let fits = |label: &WireLabel| {
        (1..=MAX_LABEL_KEY_BYTES).contains(&label.key.len()) && label.value.len() <= MAX_LABEL_VALUE_BYTES
    };
    if !wire.iter().all(fits) || !wire.is_sorted_by(|a, b| a.key < b.key) {
        return Err("its labels are as none can be");
    }
    Ok(wire.into_iter().map(|label| (label.key, label.value)).collect())
}

fn rule_of(wire: WireRule) -> Option<RuleReport> {
    let fits = wire.rule.len() <= MAX_RULE_BYTES && path::is_valid(&wire.example);
    fits.then_some(RuleReport { rule: wire.rule, entries: wire.entries, example: wire.example })
}

fn clock_of(wire: &WireClock) -> Option<ClockReading> {
    let racy_since = Timestamp { seconds: wire.racy_seconds, nanos: wire.racy_nanos };
    let boot_id = wire.boot_id.as_slice().try_into().ok()?;
    (racy_since.nanos < 1_000_000_000).then_some(ClockReading { boot_id, offset_ns: wire.offset_ns, racy_since })
}

fn page_of(wire: &WirePage) -> Option<PageRef> {
    let page = PageRef {
        id: ObjectId(wire.id.as_slice().try_into().ok()?),
        stored: wire.stored,
        restore_stored: wire.restore_stored,
        restore_blake3: wire.restore_blake3.as_slice().try_into().ok()?,
        content: wire.content.as_slice().try_into().ok()?,
        entries: wire.entries,
        first: wire.first.clone(),
    };
    let fits = page.restore_stored <= page.stored
        && (page.stored as usize) <= MAX_PAGE_STORED
        && (1..=MAX_PAGE_ENTRIES).contains(&(page.entries as usize))
        && path::is_valid(&page.first);
    fits.then_some(page)
}

#[cfg(test)]
mod tests {
    use proptest::{collection::vec, prelude::*};

    use super::{super::arbitrary, *};

    proptest! {
        #[test]
        fn round_trip_and_damage(root in arbitrary::roots(), crypt in arbitrary::crypts(),
            spoil in arbitrary::spoils(), raw in vec(any::<u8>(), 0..300)) {
            let stored = root.encode(&crypt).unwrap();
            let sequence = root.id.sequence;
            prop_assert_eq!(&Root::decode(&crypt, sequence, &stored).unwrap(), &root);
            prop_assert!(Root::decode(&crypt, sequence ^ 1, &stored).is_err());
            spoil.check(&stored, |bytes| Root::decode(&crypt, sequence, bytes))?;
            let _ = root_of(&raw);
        }
    }

    #[test]
    fn keys_and_sequences() {
        assert_eq!(root_key(1), "roots/00000000000000000001");
        assert_eq!(sequence_of_key(&root_key(u64::MAX)), Some(u64::MAX));
        for bad in ["roots/1", "roots/00000000000000000000", "roots/+0000000000000000001", "packs/00000000000000000001"]
        {
            assert_eq!(sequence_of_key(bad), None, "{bad}");
        }
    }
}
