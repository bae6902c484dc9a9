//! API keys. For admins.

use axum::{extract::State, response::Response};
use http::StatusCode;
use remora_proto_model::project::{ApiKey, Role};
use serde::{Deserialize, Serialize};

use super::{
    Shared,
    extract::{Asked, By, Json, Named, Nothing, json},
    problem::{Problem, Refused},
};

/// A key to be made.
#[derive(Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct CreateKey {
    /// 1 to 64 visible characters.
    name: String,
    /// What it may do.
    role: Role,
    /// Names or ids of the projects it is for; none is every one.
    #[serde(default)]
    projects: Vec<String>,
}

/// A key that was made.
#[derive(Serialize, utoipa::ToSchema)]
pub(super) struct CreatedKey {
    /// The key.
    key: ApiKey,
    /// `rmk_` and 43 characters. It cannot be read again.
    secret: String,
}

/// Every API key.
#[derive(Serialize, utoipa::ToSchema)]
pub(super) struct KeyList {
    /// By name.
    keys: Vec<ApiKey>,
}

/// The API keys, without their secrets.
#[utoipa::path(
    get,
    path = "/api/v1/keys",
    operation_id = "listKeys",
    tag = "keys",
    responses((status = 200, body = KeyList, description = "Every key"), (status = "default", body = Problem, content_type = "application/problem+json", description = "What went wrong"))
)]
pub(super) async fn list(
    State(shared): State<Shared>,
    By(caller): By,
    Asked(Nothing {}): Asked<Nothing>,
) -> Result<Response, Refused> {
    Ok(json(StatusCode::OK, &KeyList { keys: shared.control.list_keys(&caller)? }))
}

/// Makes an API key. Its secret is in this answer and nowhere else.
#[utoipa::path(
    post,
    path = "/api/v1/keys",
    operation_id = "createKey",
    tag = "keys",
    request_body = CreateKey,
    responses((status = 201, body = CreatedKey, description = "The key with its secret"), (status = "default", body = Problem, content_type = "application/problem+json", description = "What went wrong"))
)]
pub(super) async fn create(
    State(shared): State<Shared>,
    By(caller): By,
    Asked(Nothing {}): Asked<Nothing>,
    Json(wanted): Json<CreateKey>,
) -> Result<Response, Refused> {
    let (key, secret) = shared.control.create_key(&caller, &wanted.name, wanted.role, &wanted.projects).await?;
    Ok(json(StatusCode::CREATED, &CreatedKey { key, secret }))
}

/// Ends an API key. The last admin key stays.
#[utoipa::path(
    delete,
    path = "/api/v1/keys/{id}",
    operation_id = "revokeKey",
    tag = "keys",
    params(("id" = String, Path, description = "Id of the key")),
    responses((status = 204, description = "It is gone"), (status = "default", body = Problem, content_type = "application/problem+json", description = "What went wrong"))
)]
pub(super) async fn revoke(
    State(shared): State<Shared>,
    By(caller): By,
    Named(id): Named,
    Asked(Nothing {}): Asked<Nothing>,
) -> Result<StatusCode, Refused> {
    shared.control.revoke_key(&caller, &id).await?;
    Ok(StatusCode::NO_CONTENT)
}
