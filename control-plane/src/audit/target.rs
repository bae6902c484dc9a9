//! What a call is about: read from the first message of its body as it passes,
//! without holding it up. Only the fields of a table are looked at, so that
//! contents, inputs and environments stay out of the record.

use std::{
    pin::Pin,
    task::{Context, Poll},
};

use bytes::{Buf as _, Bytes};
use http_body::{Frame, SizeHint};
use tonic::{Status, body::Body};

use super::Entry;
use crate::limits::{AUDIT_PEEK_BYTES, MAX_AUDIT_TARGET_CHARACTERS};

/// Length of the prefix of a gRPC message: a flag and its length.
const PREFIX: usize = 5;

/// The numbers that lead to a field, through the messages around it.
type Path = &'static [u32];

/// The fields that say what a method is about: paths, ids, the program, the container.
fn fields(method: &str) -> &'static [Path] {
    let Some((service, name)) = method.strip_prefix("/remora.").and_then(|rest| rest.split_once('/')) else {
        return &[];
    };
    match (service, name) {
        ("agent.v1.FileService", "Move" | "Copy") => &[&[1], &[2]],
        ("agent.v1.FileService", "Write" | "Edit" | "ArchivePut") => &[&[1, 1]],
        ("agent.v1.FileService", _) => &[&[1]],
        // The container, and the first word alone: those after it may be secrets.
        ("agent.v1.ExecService", "Run" | "Start") => &[&[1, 1], &[1, 2, 1]],
        ("agent.v1.TerminalService", "Attach") => &[&[1, 1], &[1, 2]],
        ("agent.v1.ExecService" | "agent.v1.TerminalService", _) => &[&[1], &[2]],
        ("agent.v1.SnapshotService", "Get" | "Restore" | "Verify" | "Export") => &[&[1]],
        ("control.v1.TokenService", "RevokeToken") => &[&[2]],
        ("control.v1.ProjectService" | "control.v1.TokenService", name) if name != "List" => &[&[1]],
        _ => &[],
    }
}

/// Whether a field that is there several times is told once.
fn once(method: &str) -> bool {
    ["/Run", "/Start", "/Open"].iter().any(|end| method.ends_with(end))
}

/// The texts at `path` in `message`, which may be cut.
fn texts(message: &[u8], path: &[u32], found: &mut Vec<String>) {
    let Some((wanted, rest)) = path.split_first() else { return };
    let mut at = message;
    while let Some(key) = varint(&mut at) {
        let length = match key & 7 {
            0 => match varint(&mut at) {
                Some(_) => continue,
                None => return,
            },
            1 => 8,
            5 => 4,
            2 => match varint(&mut at).and_then(|length| usize::try_from(length).ok()) {
                Some(length) => length,
                None => return,
            },
            _ => return,
        };
        // Of a message that is cut, what is there of its fields is still a field.
        let value = &at[..length.min(at.len())];
        if key & 7 == 2 && key >> 3 == u64::from(*wanted) {
            if !rest.is_empty() {
                texts(value, rest, found);
            } else if value.len() == length && length > 0 {
                found.push(String::from_utf8_lossy(value).into_owned());
            }
        }
        at = &at[value.len()..];
    }
}

fn varint(at: &mut &[u8]) -> Option<u64> {
    let mut value = 0;
    for shift in (0..64).step_by(7) {
        let byte = at.first()?;
        *at = &at[1..];
        value |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Some(value);
        }
    }
    None
}

/// What the call to `method` that begins with `message` is about.
fn target(method: &str, message: &[u8]) -> Option<String> {
    let mut parts = Vec::new();
    for path in fields(method) {
        let mut found = Vec::new();
        texts(message, path, &mut found);
        if once(method) {
            found.truncate(1);
        }
        parts.extend(found);
    }
    let text = parts.join(", ");
    if text.chars().count() > MAX_AUDIT_TARGET_CHARACTERS {
        let cut: String = text.chars().take(MAX_AUDIT_TARGET_CHARACTERS).collect();
        return Some(format!("{cut}\u{2026}"));
    }
    Some(text).filter(|text| !text.is_empty())
}

/// The body of a call, looked at as it passes.
pub(crate) struct Peeked {
    body: Body,
    /// `None` once it is told.
    looking: Option<Looking>,
}

struct Looking {
    method: String,
    entry: Entry,
    seen: Seen,
}

/// The beginning of a call's body, as far as it is looked at.
#[derive(Default)]
pub(crate) struct Seen(Vec<u8>);

impl Seen {
    /// Takes what comes next of the body, and says whether that is enough.
    pub(crate) fn is_enough_with(&mut self, data: &[u8]) -> bool {
        let room = AUDIT_PEEK_BYTES - self.0.len();
        self.0.extend_from_slice(&data[..data.len().min(room)]);
        let mut at = self.0.as_slice();
        if at.len() < PREFIX {
            return false;
        }
        let compressed = at.get_u8() != 0;
        let length = at.get_u32() as usize;
        compressed || at.len() >= length || self.0.len() == AUDIT_PEEK_BYTES
    }

    /// The first message, which may be cut; `None` where it cannot be read.
    pub(crate) fn message(&self) -> Option<&[u8]> {
        let mut at = self.0.as_slice();
        if at.len() < PREFIX || at.get_u8() != 0 {
            return None;
        }
        let length = at.get_u32() as usize;
        Some(&at[..length.min(at.len())])
    }
}

/// Whether calls to `method` are for one container, which their first message names.
pub(crate) fn names_a_container(method: &str) -> bool {
    let service = method.strip_prefix("/remora.agent.v1.").and_then(|rest| rest.split_once('/'));
    matches!(service, Some(("ExecService" | "TerminalService", _)))
}

/// The container that the call to `method` beginning with `message` names.
pub(crate) fn container(method: &str, message: &[u8]) -> Option<String> {
    let path = fields(method).first().filter(|_| names_a_container(method))?;
    let mut found = Vec::new();
    texts(message, path, &mut found);
    // Of a field that is there twice the last one counts.
    found.pop()
}

impl Peeked {
    pub(crate) fn around(body: Body, method: &str, entry: Entry) -> Body {
        if fields(method).is_empty() {
            return body;
        }
        let looking = Looking { method: method.to_owned(), entry, seen: Seen::default() };
        Body::new(Peeked { body, looking: Some(looking) })
    }
}

impl Looking {
    /// Whether there is no more to see.
    fn see(&mut self, data: &[u8]) -> bool {
        if !self.seen.is_enough_with(data) {
            return false;
        }
        if let Some(target) = self.seen.message().and_then(|message| target(&self.method, message)) {
            self.entry.target(target);
        }
        true
    }
}

impl http_body::Body for Peeked {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        let polled = Pin::new(&mut self.body).poll_frame(context);
        if let (Poll::Ready(Some(Ok(frame))), Some(looking)) = (&polled, self.looking.as_mut())
            && frame.data_ref().is_none_or(|data| looking.see(data))
        {
            self.looking = None;
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

#[cfg(test)]
mod tests {
    use prost::Message as _;
    use remora_proto::agent::v1::{
        Argv, CommandSpec, EditRequest, FileEdit, MoveRequest, RunRequest, TextChange, TextReplace, WaitRequest,
        WriteHead, WriteRequest, command_spec::Program, text_change::Change, write_request::Part,
    };
    use remora_proto_model::METHODS;

    use super::*;

    fn of(method: &str, message: &impl prost::Message) -> Option<String> {
        target(&format!("/remora.agent.v1.{method}"), &message.encode_to_vec())
    }

    #[test]
    fn a_target_names_what_is_touched_and_nothing_of_what_is_in_it() {
        let head = WriteHead { path: "a/b".into(), ..WriteHead::default() };
        assert_eq!(of("FileService/Write", &WriteRequest { part: Some(Part::Head(head)) }).unwrap(), "a/b");
        let edit = |path: &str| FileEdit {
            path: path.to_owned().into(),
            changes: vec![TextChange {
                change: Some(Change::Replace(TextReplace { old: "secret".into(), new: "secret".into(), expected: 0 })),
            }],
            ..FileEdit::default()
        };
        let edits = EditRequest { edits: vec![edit("x"), edit("y")], dry_run: true };
        assert_eq!(of("FileService/Edit", &edits).unwrap(), "x, y");
        let from_to = MoveRequest { from: "x".into(), to: "y".into(), overwrite: true };
        assert_eq!(of("FileService/Move", &from_to).unwrap(), "x, y");
        let command = CommandSpec {
            container: "dev".to_owned(),
            program: Some(Program::Argv(Argv { words: ["curl", "-H", "secret"].map(str::to_owned).to_vec() })),
            env: [("TOKEN".to_owned(), "secret".to_owned())].into(),
            ..CommandSpec::default()
        };
        let run = RunRequest { command: Some(command), stdin_data: "secret".into(), ..RunRequest::default() };
        assert_eq!(of("ExecService/Run", &run).unwrap(), "dev, curl");
        let wait = WaitRequest { id: "1f5f".to_owned(), ..WaitRequest::default() };
        assert_eq!(of("ExecService/Wait", &wait).unwrap(), "1f5f");
        let shell = CommandSpec { program: Some(Program::Shell("echo secret".to_owned())), ..CommandSpec::default() };
        assert_eq!(of("ExecService/Run", &RunRequest { command: Some(shell), ..RunRequest::default() }), None);
    }

    #[test]
    fn what_is_cut_or_no_message_does_no_harm() {
        let long = EditRequest {
            edits: vec![FileEdit { path: "p".into(), changes: Vec::new(), ..FileEdit::default() }; 3],
            dry_run: false,
        };
        let bytes = long.encode_to_vec();
        for length in 0..bytes.len() {
            target("/remora.agent.v1.FileService/Edit", &bytes[..length]);
        }
        let mut random = 1_u32;
        let noise: Vec<u8> = std::iter::repeat_with(|| {
            random = random.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (random >> 24) as u8
        })
        .take(4_096)
        .collect();
        for (method, _) in METHODS {
            for from in (0..noise.len()).step_by(97) {
                target(method, &noise[from..]);
            }
        }
    }

    #[test]
    fn a_long_target_is_cut_and_says_so() {
        let from_to = MoveRequest { from: "x".repeat(4_000).into(), to: "y".into(), overwrite: true };
        let text = of("FileService/Move", &from_to).unwrap();
        assert!(text.ends_with('\u{2026}') && text.chars().count() == MAX_AUDIT_TARGET_CHARACTERS + 1);
    }
}
