//! Text files, changed in place.

use axum::{extract::State, response::Response};
use bytes::Bytes;
use http::StatusCode;
use remora_proto::agent::v1::{
    EditRequest, FileEdit, LinesReplace, TextChange, TextReplace, text_change::Change as Wire,
};
use remora_proto_model::Fault;
use serde::{Deserialize, Serialize};

use super::{
    agent::{Agent, answer},
    path_bytes::of_text,
    shown::{Cut, ShownPath},
};
use crate::rest::{
    Shared,
    extract::{Asked, Json, Nothing, json},
    problem::{Problem, Refused},
};

/// Changes to one or several files: all of them or none.
#[derive(Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(in crate::rest) struct EditWanted {
    /// 1 to 64 files, each once.
    edits: Vec<EditOfFile>,
    /// Only say what would change.
    #[serde(default)]
    dry_run: bool,
}

/// Changes to one file.
#[derive(Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(in crate::rest) struct EditOfFile {
    path: String,
    /// The version that was read; empty takes any.
    #[serde(default)]
    if_match: String,
    /// In order; each sees what those before it made.
    changes: Vec<Change>,
}

/// One change: the text `old` becomes `new`, or the lines `firstLine` to `lastLine` become `new`.
#[derive(Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(in crate::rest) struct Change {
    /// What is there, exactly, with its white space. Not together with lines.
    old: Option<String>,
    /// What comes in its place; for lines with its line ends.
    new: String,
    /// How many places `old` must have; 0 is 1.
    #[serde(default)]
    expected: u64,
    /// From 1.
    first_line: Option<u64>,
    /// One less than `firstLine` puts `new` in before it.
    last_line: Option<u64>,
}

impl TryFrom<Change> for TextChange {
    type Error = Fault;

    fn try_from(change: Change) -> Result<Self, Fault> {
        let Change { old, new, expected, first_line, last_line } = change;
        let new = Bytes::from(new);
        let wire = match (old, first_line, last_line) {
            (Some(old), None, None) => Wire::Replace(TextReplace { old: old.into(), new, expected }),
            (None, Some(first), Some(last)) if expected == 0 => Wire::Lines(LinesReplace { first, last, new }),
            _ => {
                return Err(Fault::invalid("edits.changes", "a change says old, or firstLine and lastLine")
                    .hint(r#"send {"old": "a", "new": "b"}, or {"firstLine": 3, "lastLine": 3, "new": "b\n"}"#));
            }
        };
        Ok(TextChange { change: Some(wire) })
    }
}

/// One file after its changes.
#[derive(Serialize, utoipa::ToSchema)]
pub(in crate::rest) struct EditedFile {
    #[serde(flatten)]
    path: ShownPath,
    /// Its version now; of a dry run, the one that is there.
    etag: String,
    /// Unified diff.
    diff: String,
    /// Present where the diff was cut.
    #[serde(skip_serializing_if = "Option::is_none")]
    truncated: Option<Cut>,
}

/// What was changed.
#[derive(Serialize, utoipa::ToSchema)]
pub(in crate::rest) struct Edited {
    /// One a file, in the order of the request.
    files: Vec<EditedFile>,
}

/// Changes text files: exact replacements with an expected count, and line ranges. Where one does not fit nothing is
/// written, and the error says what is near.
#[utoipa::path(
    post,
    path = "/api/v1/projects/{name}/edit",
    operation_id = "editFiles",
    tag = "files",
    params(("name" = String, Path, description = "Name or id of the project")),
    request_body = EditWanted,
    responses((status = 200, body = Edited, description = "What was changed"), (status = "default", body = Problem, content_type = "application/problem+json", description = "What went wrong"))
)]
pub(in crate::rest) async fn edit(
    State(_): State<Shared>,
    agent: Agent,
    Asked(Nothing {}): Asked<Nothing>,
    Json(EditWanted { edits, dry_run }): Json<EditWanted>,
) -> Result<Response, Refused> {
    let file = |EditOfFile { path, if_match, changes }| {
        let changes = changes.into_iter().map(TextChange::try_from).collect::<Result<_, Fault>>()?;
        Ok(FileEdit { path: of_text(&path), if_match, changes })
    };
    let edits = edits.into_iter().map(file).collect::<Result<_, Fault>>()?;
    let edited = answer(agent.files().edit(EditRequest { edits, dry_run }).await)?;
    let files = edited
        .files
        .into_iter()
        .map(|file| EditedFile {
            path: file.path.into(),
            etag: file.etag,
            diff: file.diff,
            truncated: file
                .truncated
                .map(|cut| Cut::of(cut, "the diff is cut, the file is not; read the file to see all of it")),
        })
        .collect();
    Ok(json(StatusCode::OK, &Edited { files }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_change_is_of_one_kind() {
        let of = |json: &str| TextChange::try_from(serde_json::from_str::<Change>(json).unwrap());
        assert!(matches!(of(r#"{"old":"a","new":"b"}"#).unwrap().change, Some(Wire::Replace(_))));
        assert!(matches!(of(r#"{"firstLine":1,"lastLine":0,"new":"b\n"}"#).unwrap().change, Some(Wire::Lines(_))));
        for bad in [
            r#"{"new":"b"}"#,
            r#"{"old":"a","new":"b","firstLine":1,"lastLine":1}"#,
            r#"{"firstLine":1,"new":"b"}"#,
            r#"{"firstLine":1,"lastLine":1,"expected":2,"new":"b"}"#,
        ] {
            assert!(of(bad).unwrap_err().message.starts_with("edits.changes:"), "{bad}");
        }
    }
}
