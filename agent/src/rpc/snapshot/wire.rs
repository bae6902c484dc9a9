//! Results of the engine as messages.

use remora_agent_snapshot::{Change, Difference};
use remora_proto::agent::v1::{SnapshotDifference, SnapshotInfo, snapshot_difference};

/// A committed snapshot.
pub(crate) fn info(info: &remora_agent_snapshot::SnapshotInfo) -> SnapshotInfo {
    let statistics = &info.statistics;
    SnapshotInfo {
        id: info.id.clone(),
        root_key: info.root_key.clone(),
        root_blake3: info.root_blake3.to_vec().into(),
        sequence: info.sequence,
        generation: info.generation,
        parent: info.parent.clone(),
        created_ms: info.created_ms,
        labels: info.labels.clone().into_iter().collect(),
        files: statistics.files,
        directories: statistics.directories,
        symlinks: statistics.symlinks,
        content_bytes: statistics.content_bytes,
        stored_bytes: statistics.stored_bytes,
        fuzzy_files: statistics.fuzzy_files,
        skipped_entries: statistics.skipped_entries,
        encrypted: info.encrypted,
    }
}

/// One path that differs.
pub(crate) fn difference(difference: Difference) -> SnapshotDifference {
    let change = match difference.change {
        Change::Added => snapshot_difference::Change::Added,
        Change::Removed => snapshot_difference::Change::Removed,
        Change::Content => snapshot_difference::Change::Content,
        Change::Metadata => snapshot_difference::Change::Metadata,
    };
    SnapshotDifference { path: difference.path.into(), change: change.into() }
}
