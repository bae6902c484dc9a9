//! Snapshots.

use std::collections::BTreeMap;

use remora_proto::agent::v1::{SnapshotInfo, snapshot_difference::Change};
use serde::Serialize;

use super::file::PathView;
use crate::output::{Column, Listed, age, bytes, now_ms};

/// A committed snapshot.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct SnapshotView {
    pub(crate) id: String,
    pub(crate) sequence: u64,
    pub(crate) generation: u64,
    /// Empty for the first.
    pub(crate) parent: String,
    pub(crate) created_ms: u64,
    pub(crate) labels: BTreeMap<String, String>,
    pub(crate) files: u64,
    pub(crate) directories: u64,
    pub(crate) symlinks: u64,
    pub(crate) content_bytes: u64,
    pub(crate) stored_bytes: u64,
    pub(crate) fuzzy_files: u64,
    pub(crate) skipped_entries: u64,
    pub(crate) encrypted: bool,
    pub(crate) root_key: String,
    /// In hexadecimal.
    pub(crate) root_blake3: String,
}

impl From<SnapshotInfo> for SnapshotView {
    fn from(info: SnapshotInfo) -> Self {
        SnapshotView {
            id: info.id,
            sequence: info.sequence,
            generation: info.generation,
            parent: info.parent,
            created_ms: info.created_ms,
            labels: info.labels.into_iter().collect(),
            files: info.files,
            directories: info.directories,
            symlinks: info.symlinks,
            content_bytes: info.content_bytes,
            stored_bytes: info.stored_bytes,
            fuzzy_files: info.fuzzy_files,
            skipped_entries: info.skipped_entries,
            encrypted: info.encrypted,
            root_key: info.root_key,
            root_blake3: info.root_blake3.iter().map(|byte| format!("{byte:02x}")).collect(),
        }
    }
}

impl Listed for SnapshotView {
    const COLUMNS: &'static [Column] = &[
        Column::number("SEQUENCE"),
        Column::text("ID"),
        Column::number("AGE"),
        Column::number("FILES"),
        Column::number("CONTENT"),
        Column::number("STORED"),
        Column::text("LABELS"),
        Column::number("GENERATION").only_wide(),
        Column::number("FUZZY").only_wide(),
        Column::number("SKIPPED").only_wide(),
        Column::text("PARENT").only_wide(),
    ];

    fn cells(&self) -> Vec<String> {
        let labels: Vec<_> = self
            .labels
            .iter()
            .map(|(key, value)| if value.is_empty() { key.clone() } else { format!("{key}={value}") })
            .collect();
        vec![
            self.sequence.to_string(),
            self.id.clone(),
            age(self.created_ms, now_ms()),
            self.files.to_string(),
            bytes(self.content_bytes),
            bytes(self.stored_bytes),
            labels.join(","),
            self.generation.to_string(),
            self.fuzzy_files.to_string(),
            self.skipped_entries.to_string(),
            self.parent.clone(),
        ]
    }

    fn name(&self) -> Vec<u8> {
        self.id.clone().into()
    }
}

/// One path that differs.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct DifferenceView {
    pub(crate) change: &'static str,
    #[serde(flatten)]
    pub(crate) path: PathView,
}

impl DifferenceView {
    /// The difference `change` at `path`.
    pub(crate) fn new(change: Change, path: Vec<u8>) -> Self {
        let change = match change {
            Change::Added => "added",
            Change::Removed => "removed",
            Change::Content => "content",
            Change::Metadata => "metadata",
            Change::Unspecified => "unknown",
        };
        DifferenceView { change, path: path.into() }
    }
}

impl Listed for DifferenceView {
    const COLUMNS: &'static [Column] = &[Column::text("CHANGE"), Column::text("PATH")];

    fn cells(&self) -> Vec<String> {
        vec![self.change.to_owned(), self.path.shown()]
    }

    fn name(&self) -> Vec<u8> {
        self.path.bytes.clone()
    }
}

/// An object that is missing or damaged.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct DamageView {
    pub(crate) object_key: String,
    pub(crate) problem: String,
    pub(crate) paths: Vec<PathView>,
}

impl Listed for DamageView {
    const COLUMNS: &'static [Column] = &[Column::text("OBJECT"), Column::text("PROBLEM"), Column::text("NEEDED BY")];

    fn cells(&self) -> Vec<String> {
        let paths: Vec<_> = self.paths.iter().map(PathView::shown).collect();
        vec![self.object_key.clone(), self.problem.clone(), paths.join(" ")]
    }

    fn name(&self) -> Vec<u8> {
        self.object_key.clone().into()
    }
}
