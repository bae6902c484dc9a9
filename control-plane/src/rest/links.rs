//! Links that open an exposed port in a browser.

use axum::{extract::State, response::Response};
use http::StatusCode;
use serde::{Deserialize, Serialize};

use super::{
    Shared,
    extract::{Asked, By, Json, Named, Nothing, json},
    problem::{Problem, Refused},
};

/// Which port.
#[derive(Deserialize, Default, utoipa::ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub(super) struct MakeLink {
    /// Its container; empty where only one exposes a port of that name.
    container: String,
    /// Its name; empty where only one is exposed.
    port: String,
    /// Path and query that the browser is led to; empty is `/`.
    path: String,
}

/// A link that was made.
#[derive(Serialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase")]
pub(super) struct MadeLink {
    /// To be opened at once, in the browser of whoever it was made for. It begins a session of twelve hours with that
    /// port alone, which ends earlier with the key that made it.
    url: String,
    /// When it ends, in milliseconds since the epoch; absent for a port that lets everybody in.
    #[serde(skip_serializing_if = "Option::is_none")]
    expires_ms: Option<u64>,
}

/// Makes a link that opens an exposed port of the project in a browser, as the caller.
#[utoipa::path(
    post,
    path = "/api/v1/projects/{name}/links",
    operation_id = "makeLink",
    tag = "ports",
    params(("name" = String, Path, description = "Name or id of the project")),
    request_body = MakeLink,
    responses((status = 201, body = MadeLink, description = "The link"), (status = "default", body = Problem, content_type = "application/problem+json", description = "What went wrong"))
)]
pub(super) async fn make(
    State(shared): State<Shared>,
    By(caller): By,
    Named(name): Named,
    Asked(Nothing {}): Asked<Nothing>,
    Json(wanted): Json<MakeLink>,
) -> Result<Response, Refused> {
    let MakeLink { container, port, path } = wanted;
    let link = shared.control.link(&caller, &name, &container, &port, &path).await?;
    Ok(json(StatusCode::CREATED, &MadeLink { url: link.url, expires_ms: link.expires_ms }))
}
