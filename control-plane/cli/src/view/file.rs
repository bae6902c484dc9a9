//! Entries of a workspace.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use remora_proto::agent::v1::{EntryKind, FileInfo, ItemError};
use serde::Serialize;

use crate::output::{Column, Listed, escape_bytes, timestamp};

/// A path of the file system, which need not be text.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct PathView {
    /// The path as text; what is no UTF-8 is U+FFFD.
    pub(crate) path: String,
    /// Its bytes in base64, where they are no UTF-8.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) path_base64: Option<String>,
    #[serde(skip)]
    pub(crate) bytes: Vec<u8>,
}

impl From<Vec<u8>> for PathView {
    fn from(bytes: Vec<u8>) -> Self {
        let path = String::from_utf8_lossy(&bytes).into_owned();
        let path_base64 = std::str::from_utf8(&bytes).is_err().then(|| STANDARD.encode(&bytes));
        PathView { path, path_base64, bytes }
    }
}

impl PathView {
    /// For a terminal; the workspace itself is `.`.
    pub(crate) fn shown(&self) -> String {
        if self.bytes.is_empty() { ".".to_owned() } else { escape_bytes(&self.bytes) }
    }
}

/// What is known of an entry.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct FileView {
    #[serde(flatten)]
    pub(crate) path: PathView,
    pub(crate) kind: &'static str,
    /// As chmod(1) takes it, for example `0644`.
    pub(crate) mode: String,
    pub(crate) size: u64,
    pub(crate) allocated: u64,
    /// Milliseconds since the epoch; negative before it.
    pub(crate) modified_ms: i64,
    pub(crate) uid: u32,
    pub(crate) gid: u32,
    pub(crate) links: u64,
    pub(crate) etag: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) link_target: Option<String>,
}

impl From<FileInfo> for FileView {
    fn from(info: FileInfo) -> Self {
        let modified = info.modified.unwrap_or_default();
        let kind = kind_word(info.kind());
        FileView {
            path: info.path.to_vec().into(),
            kind,
            mode: format!("{:04o}", info.mode & 0o7777),
            size: info.size,
            allocated: info.allocated,
            modified_ms: modified.seconds.saturating_mul(1_000).saturating_add(i64::from(modified.nanos / 1_000_000)),
            uid: info.uid,
            gid: info.gid,
            links: info.links,
            etag: info.etag,
            link_target: info.link_target.map(|target| String::from_utf8_lossy(&target).into_owned()),
        }
    }
}

/// The word of a kind in JSON and tables.
pub(crate) fn kind_word(kind: EntryKind) -> &'static str {
    match kind {
        EntryKind::File => "file",
        EntryKind::Directory => "directory",
        EntryKind::Symlink => "symlink",
        EntryKind::Fifo => "fifo",
        EntryKind::Socket => "socket",
        EntryKind::CharacterDevice => "character-device",
        EntryKind::BlockDevice => "block-device",
        EntryKind::Unspecified => "unknown",
    }
}

/// The first letter of `ls -l`.
fn kind_letter(kind: &str) -> char {
    match kind {
        "directory" => 'd',
        "symlink" => 'l',
        "fifo" => 'p',
        "socket" => 's',
        "character-device" => 'c',
        "block-device" => 'b',
        "file" => '-',
        _ => '?',
    }
}

impl Listed for FileView {
    const COLUMNS: &'static [Column] = &[
        Column::text("MODE"),
        Column::number("UID").only_wide(),
        Column::number("GID").only_wide(),
        Column::number("SIZE"),
        Column::text("MODIFIED"),
        Column::text("ETAG").only_wide(),
        Column::text("PATH"),
    ];

    fn cells(&self) -> Vec<String> {
        let mut path = self.path.shown();
        if self.kind == "directory" && path != "." {
            path.push('/');
        }
        if let Some(target) = &self.link_target {
            path.push_str(" -> ");
            path.push_str(target);
        }
        vec![
            format!("{}{}", kind_letter(self.kind), self.mode),
            self.uid.to_string(),
            self.gid.to_string(),
            self.size.to_string(),
            timestamp(u64::try_from(self.modified_ms).unwrap_or_default()),
            self.etag.clone(),
            path,
        ]
    }

    fn name(&self) -> Vec<u8> {
        self.path.bytes.clone()
    }
}

/// An item that could not be looked at.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct ProblemView {
    #[serde(flatten)]
    pub(crate) path: PathView,
    pub(crate) reason: String,
    pub(crate) message: String,
    pub(crate) hint: String,
}

impl ProblemView {
    /// The problem of `path`.
    pub(crate) fn new(path: Vec<u8>, error: ItemError) -> Self {
        ProblemView { path: path.into(), reason: error.reason, message: error.message, hint: error.hint }
    }
}

#[cfg(test)]
mod tests {
    use remora_proto::agent::v1::FileTime;

    use super::*;

    #[test]
    fn a_name_that_is_no_text_is_whole_in_json() {
        let info = FileInfo {
            path: b"a\xffb\x1b".to_vec().into(),
            kind: EntryKind::Symlink.into(),
            mode: 0o120_777,
            modified: Some(FileTime { seconds: -1, nanos: 500_000_000 }),
            link_target: Some(b"\x1b[2J".to_vec().into()),
            ..FileInfo::default()
        };
        let view = FileView::from(info);
        let json = serde_json::to_value(&view).unwrap();
        assert_eq!(json["pathBase64"], "Yf9iGw==");
        assert_eq!((json["mode"].as_str(), json["modifiedMs"].as_i64()), (Some("0777"), Some(-500)));
        let cells = view.cells();
        assert_eq!(cells.len(), FileView::COLUMNS.len());
        assert!(cells[6].starts_with("a\\xffb\\x1b -> "), "{}", cells[6]);
        assert_eq!(cells[0], "l0777");
        assert_eq!(view.name(), b"a\xffb\x1b");
    }
}
