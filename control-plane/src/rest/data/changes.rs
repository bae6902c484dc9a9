//! Changes of the workspace as they happen: server-sent events for those who ask
//! for them, else one JSON object a line.

use std::{convert::Infallible, time::Duration};

use axum::{
    body::Body,
    extract::State,
    response::{IntoResponse as _, Response},
};
use bytes::Bytes;
use futures_util::{Stream, StreamExt as _, stream};
use http::{HeaderMap, StatusCode, header};
use remora_proto::{
    agent::v1::{WatchBatch, WatchRequest, watch_change},
    fault::from_status,
};
use remora_proto_model::Fault;
use serde::{Deserialize, Serialize};
use tokio::time::timeout;
use tonic::Streaming;

use super::{
    agent::{Agent, answer},
    path_bytes::of_text,
    shown::ShownPath,
};
use crate::{
    limits::WATCH_HEARTBEAT,
    rest::{
        Shared,
        extract::Asked,
        problem::{Problem, Refused, status},
    },
};

/// What to watch.
#[derive(Deserialize, Default, utoipa::IntoParams)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
#[into_params(parameter_in = Query)]
pub(in crate::rest) struct Watching {
    /// The directory; empty is the workspace, or the folder that the token is limited to.
    path: String,
    /// Only paths that match one of these, separated by commas outside of braces; none is all.
    globs: String,
    /// Leave out hidden files and what .gitignore and the like leave out.
    ignore_rules: bool,
    /// Milliseconds within which changes become one batch: 10 to 5,000; 0 is 50.
    coalesce_ms: u32,
}

/// Changes that happened one after another.
#[derive(Serialize, utoipa::ToSchema)]
pub(in crate::rest) struct Batch {
    /// Counts the batches of this stream from 1. The first has no changes: from then on all are seen.
    cursor: u64,
    changes: Vec<FileChange>,
    /// Something was missed: look at the watched tree anew.
    #[serde(skip_serializing_if = "is_false")]
    resync: bool,
    /// The system's budget for watches is used up: changes come with a delay of seconds.
    #[serde(skip_serializing_if = "is_false")]
    polling: bool,
}

fn is_false(value: &bool) -> bool {
    !*value
}

/// One change.
#[derive(Serialize, utoipa::ToSchema)]
pub(in crate::rest) struct FileChange {
    #[serde(flatten)]
    path: ShownPath,
    /// created, modified or removed.
    kind: &'static str,
}

impl From<WatchBatch> for Batch {
    fn from(batch: WatchBatch) -> Self {
        let WatchBatch { cursor, changes, resync, polling } = batch;
        let changes = changes
            .into_iter()
            .map(|change| FileChange {
                kind: match change.kind() {
                    watch_change::Kind::Created => "created",
                    watch_change::Kind::Modified | watch_change::Kind::Unspecified => "modified",
                    watch_change::Kind::Removed => "removed",
                },
                path: change.path.into(),
            })
            .collect();
        Batch { cursor, changes, resync, polling }
    }
}

#[derive(Clone, Copy)]
enum Form {
    Lines,
    ServerSent,
}

/// Changes below a directory, in batches a little after they happen. A batch without changes comes first, when the
/// watch stands.
#[utoipa::path(
    get,
    path = "/api/v1/projects/{name}/changes",
    operation_id = "watchFiles",
    tag = "files",
    params(("name" = String, Path, description = "Name or id of the project"), Watching),
    responses(
        (status = 200, description = "One batch a line, or, where they are accepted, server-sent events", content((Batch = "application/jsonl"), (Batch = "text/event-stream"))),
        (status = "default", body = Problem, content_type = "application/problem+json", description = "What went wrong")
    )
)]
pub(in crate::rest) async fn watch(
    State(_): State<Shared>,
    agent: Agent,
    Asked(wanted): Asked<Watching>,
    headers: HeaderMap,
) -> Result<Response, Refused> {
    let Watching { path, globs, ignore_rules, coalesce_ms } = wanted;
    let request = WatchRequest { path: of_text(&path), globs: patterns(&globs), ignore_rules, coalesce_ms };
    let mut batches = answer(agent.files().watch(request).await)?;
    // It comes at once, or the reason why there is no watch, which then is an answer with a status.
    let first = batches.message().await.map_err(|status| from_status(&status))?;
    let accepted = headers.get(header::ACCEPT).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let (form, kind) = if accepted.contains("text/event-stream") {
        (Form::ServerSent, "text/event-stream")
    } else {
        (Form::Lines, "application/jsonl")
    };
    let body = Body::from_stream(written(form, first, batches, WATCH_HEARTBEAT));
    Ok((StatusCode::OK, [(header::CONTENT_TYPE, kind), (header::CACHE_CONTROL, "no-store")], body).into_response())
}

/// Cuts at commas that stand in no braces.
fn patterns(text: &str) -> Vec<String> {
    let (mut patterns, mut depth) = (vec![String::new()], 0_u32);
    for character in text.chars() {
        match character {
            ',' if depth == 0 => {
                patterns.push(String::new());
                continue;
            }
            '{' => depth += 1,
            '}' => depth = depth.saturating_sub(1),
            _ => {}
        }
        if let Some(last) = patterns.last_mut() {
            last.push(character);
        }
    }
    patterns.retain(|pattern| !pattern.is_empty());
    patterns
}

fn written(
    form: Form,
    first: Option<WatchBatch>,
    batches: Streaming<WatchBatch>,
    heartbeat: Duration,
) -> impl Stream<Item = Result<Bytes, Infallible>> + Send {
    let first = first.map(|first| Ok(event(form, "batch", &Batch::from(first)).into()));
    let rest = stream::unfold(Some(batches), move |batches| async move {
        let mut batches = batches?;
        let text = match timeout(heartbeat, batches.message()).await {
            Err(_) => match form {
                Form::Lines => "\n".to_owned(),
                Form::ServerSent => ":\n\n".to_owned(),
            },
            Ok(Ok(Some(batch))) => event(form, "batch", &Batch::from(batch)),
            Ok(Ok(None)) => return None,
            Ok(Err(failed)) => {
                let fault: Fault = from_status(&failed);
                return Some((Ok(event(form, "problem", &Problem::of(&fault, status(&fault))).into()), None));
            }
        };
        Some((Ok(text.into()), Some(batches)))
    });
    stream::iter(first).chain(rest)
}

/// Our own types serialise.
fn event(form: Form, name: &str, value: &impl Serialize) -> String {
    let json = serde_json::to_string(value).unwrap_or_default();
    match form {
        Form::Lines => format!("{json}\n"),
        Form::ServerSent => format!("event: {name}\ndata: {json}\n\n"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_are_cut_outside_of_braces() {
        assert_eq!(patterns("*.rs,src/{a,b}/**,!x"), ["*.rs", "src/{a,b}/**", "!x"]);
        assert_eq!(patterns(""), Vec::<String>::new());
        assert_eq!(patterns("a}b,c"), ["a}b", "c"]);
    }
}
