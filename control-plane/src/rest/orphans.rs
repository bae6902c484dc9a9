//! What was made for projects that are not there. For admins.

use axum::{extract::State, response::Response};
use http::StatusCode;
use remora_proto_model::project::Orphans;

use super::{
    Shared,
    extract::{Asked, By, Nothing, json},
    problem::{Problem, Refused},
};

/// What carries the marks of a project and belongs to none. Nothing of it is removed by itself.
#[utoipa::path(
    get,
    path = "/api/v1/orphans",
    operation_id = "listOrphans",
    tag = "server",
    responses((status = 200, body = Orphans, description = "What was found"), (status = "default", body = Problem, content_type = "application/problem+json", description = "What went wrong"))
)]
pub(super) async fn list(
    State(shared): State<Shared>,
    By(caller): By,
    Asked(Nothing {}): Asked<Nothing>,
) -> Result<Response, Refused> {
    Ok(json(StatusCode::OK, &shared.control.list_orphans(&caller).await?))
}
