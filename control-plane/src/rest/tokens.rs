//! Access tokens: for programs, limited to some verbs, a folder, containers and a time.

use axum::{
    extract::{Path, State},
    response::Response,
};
use http::StatusCode;
use remora_proto_model::{AccessToken, Fault};
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
    /// For example `file.read`; none is everything that the caller may, and with `pathPrefix` only what is about files.
    verbs: Vec<String>,
    /// The folder, relative to the workspace, that is the token's whole world: paths count from it, and what it runs,
    /// where `verbs` allow that, is kept there by the kernel. Empty is the whole workspace.
    path_prefix: String,
    /// The containers it opens; none is every one.
    containers: Vec<String>,
    /// Seconds until it ends: 1 to 2,592,000 (30 days); 0 is 900.
    ttl_seconds: u32,
    /// For whom it is, for people and audit records; empty is the caller's own name.
    subject: String,
}

/// A token that was made.
#[derive(Serialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase")]
pub(super) struct MintedToken {
    /// Send it as `authorization: Bearer <token>`. It cannot be read again.
    token: String,
    /// When it ends, in milliseconds since the epoch.
    expires_ms: u64,
    /// Its id, which audit records name.
    token_id: String,
}

/// The access tokens of a project.
#[derive(Serialize, utoipa::ToSchema)]
pub(super) struct TokenList {
    /// Oldest first.
    tokens: Vec<AccessToken>,
}

/// Makes an access token for the project. It cannot allow more than the caller may.
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
    let asked = Asked { verbs, path_prefix, containers, ttl_seconds, subject };
    let (token, secret) = shared.control.mint(&caller, &name, asked).await?;
    let minted = MintedToken { token: secret, expires_ms: token.expires_ms, token_id: token.id };
    Ok(json(StatusCode::CREATED, &minted))
}

/// The access tokens of the project that stand, without their secrets: all of them for its owners, for others those that they made.
#[utoipa::path(
    get,
    path = "/api/v1/projects/{name}/tokens",
    operation_id = "listTokens",
    tag = "tokens",
    params(("name" = String, Path, description = "Name or id of the project")),
    responses((status = 200, body = TokenList, description = "The tokens"), (status = "default", body = Problem, content_type = "application/problem+json", description = "What went wrong"))
)]
pub(super) async fn list(
    State(shared): State<Shared>,
    By(caller): By,
    Named(name): Named,
    extract::Asked(Nothing {}): extract::Asked<Nothing>,
) -> Result<Response, Refused> {
    Ok(json(StatusCode::OK, &TokenList { tokens: shared.control.list_tokens(&caller, &name).await? }))
}

/// Ends an access token, and what it has open. For the project's owners and whoever made it.
#[utoipa::path(
    delete,
    path = "/api/v1/projects/{name}/tokens/{id}",
    operation_id = "revokeToken",
    tag = "tokens",
    params(
        ("name" = String, Path, description = "Name or id of the project"),
        ("id" = String, Path, description = "Id of the token")
    ),
    responses((status = 204, description = "It is gone"), (status = "default", body = Problem, content_type = "application/problem+json", description = "What went wrong"))
)]
pub(super) async fn revoke(
    State(shared): State<Shared>,
    By(caller): By,
    parameters: Result<Path<(String, String)>, axum::extract::rejection::PathRejection>,
    extract::Asked(Nothing {}): extract::Asked<Nothing>,
) -> Result<StatusCode, Refused> {
    let Path((name, id)) = parameters.map_err(|error| Fault::invalid("path", error))?;
    shared.control.revoke_token(&caller, &name, &id).await?;
    Ok(StatusCode::NO_CONTENT)
}
