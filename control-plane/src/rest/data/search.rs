//! Lines that match.

use axum::{extract::State, response::Response};
use http::StatusCode;
use remora_proto::{
    agent::v1::{GrepRequest, GrepResult, GrepSummary, grep_event::Event, grep_request},
    fault::from_status,
};
use remora_proto_model::{Fault, Reason};
use serde::{Deserialize, Serialize};

use super::{
    agent::{Agent, answer},
    path_bytes::of_text,
    shown::{Cut, ShownPath},
};
use crate::{
    limits::MAX_GREP_ANSWER_BYTES,
    rest::{
        Shared,
        extract::{Asked, Json, Nothing, json},
        problem::{Problem, Refused},
    },
};

/// What is returned.
#[derive(Clone, Copy, Default, PartialEq, Eq, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase")]
pub(in crate::rest) enum Mode {
    /// Matching lines with their context.
    #[default]
    Content,
    /// Paths of files with a match.
    Files,
    /// Number of matching lines of each file.
    Count,
}

/// What to search for.
#[derive(Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(in crate::rest) struct GrepWanted {
    /// A regular expression (Rust regex syntax, linear time), or with `literal` the text itself.
    pattern: String,
    /// Where to look, a directory or one file; empty is the workspace, or the folder that the token is limited to.
    #[serde(default)]
    path: String,
    #[serde(default)]
    literal: bool,
    #[serde(default)]
    ignore_case: bool,
    #[serde(default)]
    whole_words: bool,
    /// Let a match span lines.
    #[serde(default)]
    multiline: bool,
    /// Only files that match one of these; one that begins with `!` leaves out. At most 64.
    #[serde(default)]
    globs: Vec<String>,
    /// Search also hidden files and what .gitignore and the like leave out.
    #[serde(default)]
    no_ignore_rules: bool,
    #[serde(default)]
    mode: Mode,
    /// Lines before each match, at most 20.
    #[serde(default)]
    before_context: u32,
    /// Lines after each match, at most 20.
    #[serde(default)]
    after_context: u32,
    /// Most results, those of context too: at most 10,000; 0 is 250.
    #[serde(default)]
    max_results: u32,
    /// Milliseconds, at most 60,000; 0 is 15,000.
    #[serde(default)]
    time_budget_ms: u32,
}

/// One line, file or count.
#[derive(Serialize, utoipa::ToSchema)]
pub(in crate::rest) struct Match {
    #[serde(flatten)]
    path: ShownPath,
    /// content: from 1.
    #[serde(skip_serializing_if = "Option::is_none")]
    line: Option<u64>,
    /// content: the line; over 2,000 characters it is clipped around its first match. What is no UTF-8 is U+FFFD.
    #[serde(skip_serializing_if = "Option::is_none")]
    text: Option<String>,
    /// content: whether this is a line of context and no match.
    #[serde(skip_serializing_if = "is_false")]
    context: bool,
    /// content: whether the line was clipped.
    #[serde(skip_serializing_if = "is_false")]
    clipped: bool,
    /// count: matching lines of the file.
    #[serde(skip_serializing_if = "Option::is_none")]
    count: Option<u64>,
}

fn is_false(value: &bool) -> bool {
    !*value
}

/// What was found, and what was not looked at.
#[derive(Serialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase")]
pub(in crate::rest) struct Matches {
    /// In the order of the files' names.
    results: Vec<Match>,
    files_searched: u64,
    matches: u64,
    /// Files with a NUL byte, which are searched up to it.
    binary_files: u64,
    /// Files and directories that could not be read.
    unreadable_files: u64,
    /// Files over 8 MiB, which a search with `multiline` leaves out.
    too_large_files: u64,
    /// Present where results, bytes or time ran out.
    #[serde(skip_serializing_if = "Option::is_none")]
    truncated: Option<Cut>,
}

const NARROWER: &str = "there may be more: narrow it with path, globs or a longer pattern, ask for mode files or count, or raise maxResults";

/// Lines that match a regular expression or a literal text. Links are not followed.
#[utoipa::path(
    post,
    path = "/api/v1/projects/{name}/grep",
    operation_id = "grepFiles",
    tag = "files",
    params(("name" = String, Path, description = "Name or id of the project")),
    request_body = GrepWanted,
    responses((status = 200, body = Matches, description = "What was found"), (status = "default", body = Problem, content_type = "application/problem+json", description = "What went wrong"))
)]
pub(in crate::rest) async fn grep(
    State(_): State<Shared>,
    agent: Agent,
    Asked(Nothing {}): Asked<Nothing>,
    Json(wanted): Json<GrepWanted>,
) -> Result<Response, Refused> {
    let mode = wanted.mode;
    let mut events = answer(agent.files().grep(request(wanted)).await)?;
    let (mut results, mut bytes) = (Vec::new(), 0);
    let mut summary = None;
    while let Some(event) = events.message().await.map_err(|status| from_status(&status))? {
        match event.event {
            Some(Event::Batch(batch)) => {
                for found in batch.results {
                    bytes += found.path.len() + found.text.len();
                    if bytes > MAX_GREP_ANSWER_BYTES {
                        // Letting go of the stream ends the search.
                        return Ok(json(StatusCode::OK, &Matches::cut(results)));
                    }
                    results.push(shown(mode, found));
                }
            }
            Some(Event::Done(done)) => summary = Some(done),
            None => {}
        }
    }
    let GrepSummary { files_searched, binary_files, matches, unreadable_files, truncated, too_large_files, .. } =
        summary.ok_or_else(|| Fault::new(Reason::ProtocolViolation, "the agent ended the search without a summary"))?;
    let truncated = truncated.map(|cut| Cut::of(cut, NARROWER));
    let found =
        Matches { results, files_searched, matches, binary_files, unreadable_files, too_large_files, truncated };
    Ok(json(StatusCode::OK, &found))
}

impl Matches {
    /// What was found until the answer was full; how much was searched by then is not known.
    fn cut(results: Vec<Match>) -> Self {
        let matches = results.iter().filter(|found| !found.context).count() as u64;
        Matches {
            results,
            files_searched: 0,
            matches,
            binary_files: 0,
            unreadable_files: 0,
            too_large_files: 0,
            truncated: Some(Cut::bytes(MAX_GREP_ANSWER_BYTES, NARROWER)),
        }
    }
}

fn request(wanted: GrepWanted) -> GrepRequest {
    let mode = match wanted.mode {
        Mode::Content => grep_request::Mode::Content,
        Mode::Files => grep_request::Mode::Files,
        Mode::Count => grep_request::Mode::Count,
    };
    GrepRequest {
        path: of_text(&wanted.path),
        pattern: wanted.pattern,
        literal: wanted.literal,
        ignore_case: wanted.ignore_case,
        whole_words: wanted.whole_words,
        multiline: wanted.multiline,
        globs: wanted.globs,
        no_ignore_rules: wanted.no_ignore_rules,
        mode: mode.into(),
        before_context: wanted.before_context,
        after_context: wanted.after_context,
        max_results: wanted.max_results,
        time_budget_ms: wanted.time_budget_ms,
    }
}

fn shown(mode: Mode, found: GrepResult) -> Match {
    let content = mode == Mode::Content;
    Match {
        path: found.path.into(),
        line: content.then_some(found.line),
        text: content.then(|| String::from_utf8_lossy(&found.text).into_owned()),
        context: found.context,
        clipped: found.clipped,
        count: (mode == Mode::Count).then_some(found.count),
    }
}
