//! Capabilities for programs.

use axum::{extract::State, response::Response};
use http::StatusCode;
use serde::{Deserialize, Serialize};

use super::{
    Shared,
    extract::{self, By, Json, Named, Nothing, json},
    problem::{Problem, Refused},
};
use crate::auth::tokens::Asked;

/// What a token is to allow.
#[derive(Deserialize, Default, utoipa::ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub(super) struct MintToken {
    /// For example `file.read`; none is everything that the caller may.
    verbs: Vec<String>,
    /// The folder that file operations are limited to; empty is the whole workspace.
    path_prefix: String,
    /// The containers it opens; none is every one.
    containers: Vec<String>,
    /// Seconds until it ends: 1 to 900; 0 is 900.
    ttl_seconds: u32,
    /// For whom it is; empty is the caller's own name.
    subject: String,
}

/// A capability.
#[derive(Serialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase")]
pub(super) struct MintedToken {
    /// Send it as `authorization: Bearer <token>`.
    token: String,
    /// When it ends, in milliseconds since the epoch.
    expires_ms: u64,
    /// The id that audit records name.
    token_id: String,
}

/// Mints a capability for the project at its present generation. It cannot allow more than the caller may.
#[utoipa::path(
    post,
    path = "/api/v1/projects/{name}/tokens",
    operation_id = "mintToken",
    tag = "tokens",
    params(("name" = String, Path, description = "Name or id of the project")),
    request_body = MintToken,
    responses((status = 201, body = MintedToken, description = "The token"), (status = "default", body = Problem, content_type = "application/problem+json", description = "What went wrong"))
)]
pub(super) async fn mint(
    State(shared): State<Shared>,
    By(caller): By,
    Named(name): Named,
    extract::Asked(Nothing {}): extract::Asked<Nothing>,
    Json(wanted): Json<MintToken>,
) -> Result<Response, Refused> {
    let MintToken { verbs, path_prefix, containers, ttl_seconds, subject } = wanted;
    let minted =
        shared.control.mint(&caller, &name, Asked { verbs, path_prefix, containers, ttl_seconds, subject }).await?;
    let minted = MintedToken { token: minted.token, expires_ms: minted.expires_ms, token_id: minted.id };
    Ok(json(StatusCode::CREATED, &minted))
}
