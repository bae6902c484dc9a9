//! The server itself.

use axum::{extract::State, response::Response};
use http::StatusCode;
use remora_proto_model::project::Role;
use serde::Serialize;

use super::{
    Shared,
    extract::{Asked, By, Nothing, json},
    problem::{Problem, Refused},
};

/// What the server is, and who the caller is to it.
#[derive(Serialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase")]
pub(super) struct Info {
    /// Semantic versioning.
    version: String,
    /// `local`.
    runtime: String,
    /// Changes with each start of the server.
    boot_id: String,
    /// Where snapshots go, without credentials.
    store: String,
    /// The caller's name.
    caller: String,
    /// The caller's role.
    role: Role,
    /// The version of the agent that the next start of a project uses; empty where it cannot be run.
    agent_version: String,
    /// Why it cannot be run; empty where it can.
    agent_problem: String,
}

/// What this server is, and who the caller is to it.
#[utoipa::path(
    get,
    path = "/api/v1/info",
    operation_id = "getInfo",
    tag = "server",
    responses((status = 200, body = Info, description = "The server"), (status = "default", body = Problem, content_type = "application/problem+json", description = "What went wrong"))
)]
pub(super) async fn info(
    State(shared): State<Shared>,
    By(caller): By,
    Asked(Nothing {}): Asked<Nothing>,
) -> Result<Response, Refused> {
    let about = &shared.control.about;
    let (agent_version, agent_problem) = shared.control.agent_version().await;
    Ok(json(
        StatusCode::OK,
        &Info {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            runtime: about.runtime.to_owned(),
            boot_id: about.boot_id.clone(),
            store: about.store.clone(),
            caller: caller.name().to_owned(),
            role: caller.role(),
            agent_version,
            agent_problem,
        },
    ))
}
