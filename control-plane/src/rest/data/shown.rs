//! What several answers of the data plane have in common, as JSON.

use std::collections::BTreeMap;

use base64::{Engine as _, engine::general_purpose::STANDARD};
use bytes::Bytes;
use remora_proto::agent::v1::{
    self as wire, EntryKind, ExitStatus, FileInfo, ItemError, exit_status::Cause, truncated,
};
use remora_proto_model::Fault;
use serde::{Deserialize, Serialize};

/// A path of the file system, which need not be text.
#[derive(Clone, Debug, Serialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase")]
pub(in crate::rest) struct ShownPath {
    /// The path as text, from the workspace or the folder that the token is limited to; what is no UTF-8 is U+FFFD.
    pub(super) path: String,
    /// Its bytes in base64, where they are no UTF-8.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) path_base64: Option<String>,
}

impl From<Bytes> for ShownPath {
    fn from(bytes: Bytes) -> Self {
        let path_base64 = std::str::from_utf8(&bytes).is_err().then(|| STANDARD.encode(&bytes));
        ShownPath { path: String::from_utf8_lossy(&bytes).into_owned(), path_base64 }
    }
}

/// What is known of an entry without reading it.
#[derive(Clone, Debug, Serialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase")]
pub(in crate::rest) struct Entry {
    #[serde(flatten)]
    path: ShownPath,
    /// file, directory, symlink, fifo, socket, characterDevice or blockDevice.
    kind: &'static str,
    /// As chmod(1) takes it, for example `0644`.
    mode: String,
    /// Bytes.
    size: u64,
    /// Milliseconds since the epoch; negative before it.
    modified_ms: i64,
    uid: u32,
    gid: u32,
    /// How many names it has.
    links: u64,
    /// Its version: any write gives another.
    etag: String,
    /// Where a symbolic link leads.
    #[serde(skip_serializing_if = "Option::is_none")]
    link_target: Option<String>,
}

impl From<FileInfo> for Entry {
    fn from(info: FileInfo) -> Self {
        let modified = info.modified.unwrap_or_default();
        Entry {
            kind: kind(info.kind()),
            path: info.path.into(),
            mode: format!("{:04o}", info.mode & 0o7777),
            size: info.size,
            modified_ms: modified.seconds.saturating_mul(1_000).saturating_add(i64::from(modified.nanos / 1_000_000)),
            uid: info.uid,
            gid: info.gid,
            links: info.links,
            etag: info.etag,
            link_target: info.link_target.map(|target| String::from_utf8_lossy(&target).into_owned()),
        }
    }
}

fn kind(kind: EntryKind) -> &'static str {
    match kind {
        EntryKind::File => "file",
        EntryKind::Directory => "directory",
        EntryKind::Symlink => "symlink",
        EntryKind::Fifo => "fifo",
        EntryKind::Socket => "socket",
        EntryKind::CharacterDevice => "characterDevice",
        EntryKind::BlockDevice => "blockDevice",
        EntryKind::Unspecified => "unknown",
    }
}

/// Why one item of several failed.
#[derive(Clone, Debug, Serialize, utoipa::ToSchema)]
pub(in crate::rest) struct ItemProblem {
    #[serde(flatten)]
    path: ShownPath,
    /// The stable word, for example `NOT_FOUND`.
    reason: String,
    detail: String,
    /// What exists instead or what to do next.
    #[serde(skip_serializing_if = "String::is_empty")]
    hint: String,
}

impl ItemProblem {
    pub(super) fn new(path: Bytes, error: ItemError) -> Self {
        ItemProblem { path: path.into(), reason: error.reason, detail: error.message, hint: error.hint }
    }
}

/// That a result is not whole, why, and how to get the rest. A result without it is whole.
#[derive(Clone, Debug, Serialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase")]
pub(in crate::rest) struct Cut {
    /// items, bytes, time or lineLength.
    reason: &'static str,
    /// The bound that was reached, in the unit of the reason (items, bytes, milliseconds, characters).
    limit: u64,
    /// How much there would have been, where that is known.
    #[serde(skip_serializing_if = "Option::is_none")]
    total: Option<u64>,
    /// What to call next.
    note: String,
}

impl Cut {
    pub(super) fn of(truncated: wire::Truncated, note: impl Into<String>) -> Self {
        let reason = match truncated.reason() {
            truncated::Reason::Items | truncated::Reason::Unspecified => "items",
            truncated::Reason::Bytes => "bytes",
            truncated::Reason::Time => "time",
            truncated::Reason::LineLength => "lineLength",
        };
        let total = (truncated.total > 0).then_some(truncated.total);
        Cut { reason, limit: truncated.limit, total, note: note.into() }
    }

    pub(super) fn items(limit: usize, note: impl Into<String>) -> Self {
        Cut { reason: "items", limit: limit as u64, total: None, note: note.into() }
    }

    pub(super) fn bytes(limit: usize, note: impl Into<String>) -> Self {
        Cut { reason: "bytes", limit: limit as u64, total: None, note: note.into() }
    }
}

/// How content is written in JSON.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase")]
pub(in crate::rest) enum Encoding {
    /// As text where it is UTF-8, else in base64.
    #[default]
    Auto,
    /// As text; what is no UTF-8 is U+FFFD.
    Text,
    /// In base64.
    Base64,
}

/// Bytes in JSON: exactly one of the two.
#[derive(Clone, Debug, Serialize, utoipa::ToSchema)]
pub(in crate::rest) struct Content {
    /// The bytes as text.
    #[serde(skip_serializing_if = "Option::is_none")]
    text: Option<String>,
    /// The bytes in base64.
    #[serde(skip_serializing_if = "Option::is_none")]
    base64: Option<String>,
}

impl Content {
    pub(super) fn of(bytes: &[u8], encoding: Encoding) -> Self {
        match (encoding, std::str::from_utf8(bytes)) {
            (Encoding::Auto | Encoding::Text, Ok(text)) => Content { text: Some(text.to_owned()), base64: None },
            (Encoding::Text, Err(_)) => {
                Content { text: Some(String::from_utf8_lossy(bytes).into_owned()), base64: None }
            }
            (Encoding::Base64, _) | (Encoding::Auto, Err(_)) => {
                Content { text: None, base64: Some(STANDARD.encode(bytes)) }
            }
        }
    }
}

/// How many bytes at the end of `bytes` are the beginning of a character whose rest is still to come.
pub(super) fn unfinished_character(bytes: &[u8]) -> usize {
    match std::str::from_utf8(bytes) {
        Err(error) if error.error_len().is_none() => bytes.len() - error.valid_up_to(),
        _ => 0,
    }
}

/// Bytes that a request gives as text or in base64.
pub(super) fn given_bytes(field: &str, text: Option<String>, base64: Option<String>) -> Result<Bytes, Fault> {
    match (text, base64) {
        (Some(_), Some(_)) => Err(Fault::invalid(field, "is given twice").hint("give it as text or as base64")),
        (Some(text), None) => Ok(text.into()),
        (None, Some(encoded)) => match STANDARD.decode(&encoded) {
            Ok(bytes) => Ok(bytes.into()),
            Err(error) => Err(Fault::invalid(&format!("{field}Base64"), error)),
        },
        (None, None) => Ok(Bytes::new()),
    }
}

/// How a process ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, utoipa::ToSchema)]
pub(in crate::rest) struct Exit {
    /// exited, signaled, outOfMemory, timedOut, killedByRequest, or unknown where nobody could observe it.
    cause: &'static str,
    /// The exit status, where it exited by itself.
    #[serde(skip_serializing_if = "Option::is_none")]
    code: Option<i32>,
    /// The number of the signal that ended it, as in signal(7).
    #[serde(skip_serializing_if = "Option::is_none")]
    signal: Option<i32>,
}

impl From<ExitStatus> for Exit {
    fn from(exit: ExitStatus) -> Self {
        let cause = match exit.cause() {
            Cause::Exited => "exited",
            Cause::Signaled => "signaled",
            Cause::OutOfMemory => "outOfMemory",
            Cause::TimedOut => "timedOut",
            Cause::KilledByRequest => "killedByRequest",
            Cause::Unknown | Cause::Unspecified => "unknown",
        };
        Exit { cause, code: exit.code, signal: exit.signal }
    }
}

impl Exit {
    /// In words.
    pub(super) fn words(&self) -> String {
        match (self.cause, self.code, self.signal) {
            ("exited", Some(code), _) => format!("exited with {code}"),
            ("signaled", _, Some(signal)) => format!("was ended by signal {signal}"),
            ("outOfMemory", ..) => "was ended by the system for want of memory".to_owned(),
            ("timedOut", ..) => "ran out of time and was ended with all that it started".to_owned(),
            ("killedByRequest", ..) => "was ended by a caller".to_owned(),
            _ => "ended while nobody could observe how".to_owned(),
        }
    }
}

/// Which bytes of a stream are held. Offsets count from the first byte ever produced.
#[derive(Clone, Copy, Debug, Serialize, utoipa::ToSchema)]
pub(in crate::rest) struct Range {
    /// Offset of the oldest byte that is held.
    base: u64,
    /// Offset after the newest byte.
    pub(super) head: u64,
}

impl From<Option<wire::StreamRange>> for Range {
    fn from(range: Option<wire::StreamRange>) -> Self {
        let wire::StreamRange { base, head } = range.unwrap_or_default();
        Range { base, head }
    }
}

/// A process as seen from inside the container, for display.
#[derive(Clone, Debug, Serialize, utoipa::ToSchema)]
pub(in crate::rest) struct Process {
    pid: u32,
    command: String,
}

pub(super) fn processes(processes: Vec<wire::Process>) -> Vec<Process> {
    processes.into_iter().map(|process| Process { pid: process.pid, command: process.command }).collect()
}

/// A command and its state.
#[derive(Clone, Debug, Serialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase")]
pub(in crate::rest) struct Command {
    /// A UUID.
    pub(super) id: String,
    container: String,
    /// What runs; beyond 2,048 bytes it is cut and ends with an ellipsis.
    argv: Vec<String>,
    cwd: String,
    labels: BTreeMap<String, String>,
    /// The folder that it is kept in, relative to the workspace; empty is none.
    #[serde(skip_serializing_if = "String::is_empty")]
    confine: String,
    stdout: Range,
    stderr: Range,
    /// Bytes written to stdin so far.
    stdin_offset: u64,
    /// Absent while it runs.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) exit: Option<Exit>,
    /// Background processes that still held its output when reading stopped. What they print later is lost.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pipe_holders: Vec<Process>,
    /// Milliseconds since the epoch.
    pub(super) started_ms: u64,
    /// Milliseconds since the epoch; 0 while it runs.
    pub(super) ended_ms: u64,
}

impl From<wire::Command> for Command {
    fn from(command: wire::Command) -> Self {
        Command {
            id: command.id,
            container: command.container,
            argv: command.argv,
            cwd: command.cwd,
            labels: command.labels.into_iter().collect(),
            confine: command.confine,
            stdout: command.stdout.into(),
            stderr: command.stderr.into(),
            stdin_offset: command.stdin_offset,
            exit: command.exit.map(Into::into),
            pipe_holders: processes(command.pipe_holders),
            started_ms: command.started_ms,
            ended_ms: command.ended_ms,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_are_text_where_they_are_and_whole_where_they_are_not() {
        let json = |bytes: &[u8], encoding| serde_json::to_value(Content::of(bytes, encoding)).unwrap();
        assert_eq!(json("é".as_bytes(), Encoding::Auto), serde_json::json!({"text": "é"}));
        assert_eq!(json(b"\xff\x00", Encoding::Auto), serde_json::json!({"base64": "/wA="}));
        assert_eq!(json(b"a\xff", Encoding::Text), serde_json::json!({"text": "a\u{fffd}"}));
        assert_eq!(json(b"a", Encoding::Base64), serde_json::json!({"base64": "YQ=="}));
        assert_eq!(
            (unfinished_character(b"a\xc3"), unfinished_character(b"a\xff"), unfinished_character(b"a")),
            (1, 0, 0)
        );
        assert_eq!(unfinished_character("😀".as_bytes().get(..3).unwrap()), 3);
    }

    #[test]
    fn given_bytes_are_one_of_the_two() {
        let of = |text: Option<&str>, base64: Option<&str>| {
            given_bytes("stdin", text.map(str::to_owned), base64.map(str::to_owned)).map_err(|fault| fault.message)
        };
        assert_eq!(of(Some("a"), None).unwrap(), "a");
        assert_eq!(of(None, Some("/wA=")).unwrap(), &b"\xff\x00"[..]);
        assert_eq!(of(None, None).unwrap(), "");
        assert!(of(Some("a"), Some("YQ==")).unwrap_err().starts_with("stdin:"));
        assert!(of(None, Some("!")).unwrap_err().starts_with("stdinBase64:"));
    }
}
