//! The termination message: what became of a role, for whoever started it.

use std::{
    fs::{self, File},
    io::{self, Write as _},
    path::Path,
};

use remora_agent_snapshot::SnapshotInfo;
use remora_proto::model::Fault;
use serde::Serialize;

/// Longest message, in bytes: what Kubernetes reads of one.
const MAX_MESSAGE_BYTES: usize = 4_096;
/// Longest text in it, in bytes: two of them and the numbers stay below the bound,
/// even where every character is escaped.
const MAX_TEXT_BYTES: usize = 300;

/// See the module.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Termination {
    outcome: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    snapshot: Option<Snapshot>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<&'static str>,
    #[serde(skip_serializing_if = "String::is_empty")]
    message: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    hint: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    effect: Option<&'static str>,
}

#[derive(Clone, Debug, Serialize)]
struct Snapshot {
    id: String,
    root_key: String,
    /// In hexadecimal.
    root_blake3: String,
    sequence: u64,
    generation: u64,
    parent: String,
    created_ms: u64,
    files: u64,
    directories: u64,
    symlinks: u64,
    content_bytes: u64,
    stored_bytes: u64,
    fuzzy_files: u64,
    skipped_entries: u64,
    encrypted: bool,
}

impl Termination {
    /// It did what it was to do.
    pub(crate) fn done(outcome: &'static str, snapshot: Option<&SnapshotInfo>) -> Self {
        let snapshot = snapshot.map(|info| Snapshot {
            id: info.id.clone(),
            root_key: info.root_key.clone(),
            root_blake3: info.root_blake3.iter().map(|byte| format!("{byte:02x}")).collect(),
            sequence: info.sequence,
            generation: info.generation,
            parent: info.parent.clone(),
            created_ms: info.created_ms,
            files: info.statistics.files,
            directories: info.statistics.directories,
            symlinks: info.statistics.symlinks,
            content_bytes: info.statistics.content_bytes,
            stored_bytes: info.statistics.stored_bytes,
            fuzzy_files: info.statistics.fuzzy_files,
            skipped_entries: info.statistics.skipped_entries,
            encrypted: info.encrypted,
        });
        Termination { outcome, snapshot, reason: None, message: String::new(), hint: String::new(), effect: None }
    }

    /// It did not.
    pub(crate) fn failed(fault: &Fault) -> Self {
        Termination {
            outcome: "failed",
            snapshot: None,
            reason: Some(fault.reason.as_str()),
            message: clip(&fault.message),
            hint: clip(&fault.hint),
            effect: Some(fault.effect.as_str()),
        }
    }

    /// In a word.
    pub(crate) fn outcome(&self) -> &'static str {
        self.outcome
    }

    /// Whoever reads the file finds it whole. Where it cannot be replaced, such as a
    /// single file that is mounted into a container, it is written in place.
    pub(crate) fn write(&self, path: &Path) -> io::Result<()> {
        let mut bytes = serde_json::to_vec(self)?;
        bytes.truncate(MAX_MESSAGE_BYTES);
        let temporary = path.with_extension(format!("{}.tmp", std::process::id()));
        let replaced = File::create(&temporary)
            .and_then(|mut file| file.write_all(&bytes).and_then(|()| file.sync_all()))
            .and_then(|()| fs::rename(&temporary, path));
        if replaced.is_err() {
            let _ = fs::remove_file(&temporary);
            return fs::write(path, &bytes);
        }
        Ok(())
    }
}

fn clip(text: &str) -> String {
    let mut end = text.len().min(MAX_TEXT_BYTES);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    if end < text.len() { format!("{}…", &text[..end]) } else { text.to_owned() }
}

#[cfg(test)]
mod tests {
    use remora_proto::model::{Effect, Reason};

    use super::*;

    #[test]
    fn the_longest_failure_fits_and_is_json() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("termination-log");
        let long = "\u{1}".repeat(5_000);
        let fault = Fault::new(Reason::SnapshotDamaged, long.clone()).hint(long).effect(Effect::MayHaveApplied);
        Termination::failed(&fault).write(&path).unwrap();
        let bytes = fs::read(&path).unwrap();
        assert!(bytes.len() <= MAX_MESSAGE_BYTES, "{}", bytes.len());
        let value: serde_json::Value = serde_json::from_slice(&bytes).unwrap();
        assert_eq!((&value["outcome"], &value["reason"]), (&"failed".into(), &"SNAPSHOT_DAMAGED".into()));
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
    }
}
