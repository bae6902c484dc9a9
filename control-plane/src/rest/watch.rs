//! Projects as they change: server-sent events for those who ask for them, else
//! one JSON object a line.

use std::convert::Infallible;

use axum::{
    body::Body,
    extract::State,
    response::{IntoResponse as _, Response},
};
use bytes::Bytes;
use futures_util::{Stream, StreamExt as _};
use http::{HeaderMap, StatusCode, header};
use remora_proto_model::{Fault, project::Project};
use serde::Serialize;

use super::{
    Shared,
    extract::{Asked, By, Named, Nothing},
    problem::{Problem, Refused, status},
};
use crate::control::watch::{Event, EventKind};

/// One event of a watch.
#[derive(Serialize, utoipa::ToSchema)]
pub(super) struct ProjectEvent {
    /// ADDED, MODIFIED, DELETED, or SYNCED when everything that was there has been sent.
    kind: EventKind,
    /// Absent with SYNCED.
    #[serde(skip_serializing_if = "Option::is_none")]
    project: Option<Box<Project>>,
}

#[derive(Clone, Copy)]
enum Form {
    Lines,
    ServerSent,
}

/// Every project that the caller may see: first those that are there, then SYNCED, then changes as they come.
#[utoipa::path(
    get,
    path = "/api/v1/projects/watch",
    operation_id = "watchProjects",
    tag = "projects",
    responses(
        (status = 200, description = "One event a line, or, where they are accepted, server-sent events", content((ProjectEvent = "application/jsonl"), (ProjectEvent = "text/event-stream"))),
        (status = "default", body = Problem, content_type = "application/problem+json", description = "What went wrong")
    )
)]
pub(super) async fn all(
    State(shared): State<Shared>,
    By(caller): By,
    Asked(Nothing {}): Asked<Nothing>,
    headers: HeaderMap,
) -> Result<Response, Refused> {
    Ok(respond(shared.control.watch(caller, None).await?, &headers))
}

/// One project: first as it is, then SYNCED, then changes as they come.
#[utoipa::path(
    get,
    path = "/api/v1/projects/{name}/watch",
    operation_id = "watchProject",
    tag = "projects",
    params(("name" = String, Path, description = "Name or id of the project")),
    responses(
        (status = 200, description = "One event a line, or, where they are accepted, server-sent events", content((ProjectEvent = "application/jsonl"), (ProjectEvent = "text/event-stream"))),
        (status = "default", body = Problem, content_type = "application/problem+json", description = "What went wrong")
    )
)]
pub(super) async fn one(
    State(shared): State<Shared>,
    By(caller): By,
    Named(name): Named,
    Asked(Nothing {}): Asked<Nothing>,
    headers: HeaderMap,
) -> Result<Response, Refused> {
    Ok(respond(shared.control.watch(caller, Some(&name)).await?, &headers))
}

fn respond(events: impl Stream<Item = Result<Event, Fault>> + Send + 'static, headers: &HeaderMap) -> Response {
    let accepted = headers.get(header::ACCEPT).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let (form, kind) = if accepted.contains("text/event-stream") {
        (Form::ServerSent, "text/event-stream")
    } else {
        (Form::Lines, "application/jsonl")
    };
    let body = Body::from_stream(events.map(move |event| Ok::<_, Infallible>(written(form, event))));
    (StatusCode::OK, [(header::CONTENT_TYPE, kind), (header::CACHE_CONTROL, "no-store")], body).into_response()
}

/// Our own types serialise.
fn json(value: &impl Serialize) -> String {
    serde_json::to_string(value).unwrap_or_default()
}

fn written(form: Form, event: Result<Event, Fault>) -> Bytes {
    let text = match (form, event) {
        (Form::Lines, Ok(Event::Heartbeat)) => "\n".to_owned(),
        (Form::ServerSent, Ok(Event::Heartbeat)) => ":\n\n".to_owned(),
        (Form::Lines, Ok(Event::Of(kind, project))) => format!("{}\n", json(&ProjectEvent { kind, project })),
        (Form::ServerSent, Ok(Event::Of(kind, project))) => {
            format!("event: project\ndata: {}\n\n", json(&ProjectEvent { kind, project }))
        }
        (Form::Lines, Err(fault)) => format!("{}\n", json(&Problem::of(&fault, status(&fault)))),
        (Form::ServerSent, Err(fault)) => {
            format!("event: problem\ndata: {}\n\n", json(&Problem::of(&fault, status(&fault))))
        }
    };
    text.into()
}
