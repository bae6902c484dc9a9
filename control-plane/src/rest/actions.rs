//! What is wanted of a project. Each returns at once but for restore; the work
//! shows in the status.

use axum::{extract::State, response::Response};
use http::StatusCode;
use remora_proto_model::project::{Desired, Project};
use serde::{Deserialize, Serialize};

use super::{
    Shared,
    extract::{Asked, By, Json, Named, Nothing, Versioned, json},
    problem::{Problem, Refused},
};

/// Which snapshot.
#[derive(Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct RestoreProject {
    /// Id of the snapshot.
    snapshot: String,
}

/// A restore that is done.
#[derive(Serialize, utoipa::ToSchema)]
pub(super) struct RestoredProject {
    /// The project after it.
    project: Project,
    /// The snapshot of what was there before.
    before: String,
    /// The snapshot that is the newest now, with the content that was asked for.
    head: String,
}

macro_rules! wishes {
    ($($(#[$doc:meta])* $name:ident, $path:literal, $id:literal, $desired:ident;)*) => {$(
        $(#[$doc])*
        #[utoipa::path(
            post,
            path = $path,
            operation_id = $id,
            tag = "projects",
            params(("name" = String, Path, description = "Name or id of the project")),
            responses((status = 202, body = Project, description = "The project"), (status = "default", body = Problem, content_type = "application/problem+json", description = "What went wrong"))
        )]
        pub(super) async fn $name(
            State(shared): State<Shared>,
            By(caller): By,
            Named(name): Named,
            Asked(Nothing {}): Asked<Nothing>,
        ) -> Result<Versioned, Refused> {
            let project = shared.control.want(&caller, &name, Desired::$desired).await?;
            Ok(Versioned(StatusCode::ACCEPTED, project))
        }
    )*};
}

wishes! {
    /// Wants it running. A hibernated project wakes. Repeatable.
    start, "/api/v1/projects/{name}/start", "startProject", Running;
    /// Wants it stopped: final snapshot, then the processes end; the working tree stays where it is.
    stop, "/api/v1/projects/{name}/stop", "stopProject", Stopped;
    /// Wants it on the store alone: final snapshot, its root read back, only then the processes and the working tree go.
    hibernate, "/api/v1/projects/{name}/hibernate", "hibernateProject", Hibernated;
    /// As start.
    wake, "/api/v1/projects/{name}/wake", "wakeProject", Running;
}

/// Makes the workspace of a running project equal to one of its snapshots. Waits until it is done; what was there is kept in a snapshot.
#[utoipa::path(
    post,
    path = "/api/v1/projects/{name}/restore",
    operation_id = "restoreProject",
    tag = "projects",
    params(("name" = String, Path, description = "Name or id of the project")),
    request_body = RestoreProject,
    responses((status = 200, body = RestoredProject, description = "What the restore did"), (status = "default", body = Problem, content_type = "application/problem+json", description = "What went wrong"))
)]
pub(super) async fn restore(
    State(shared): State<Shared>,
    By(caller): By,
    Named(name): Named,
    Asked(Nothing {}): Asked<Nothing>,
    Json(wanted): Json<RestoreProject>,
) -> Result<Response, Refused> {
    let restored = shared.control.restore(&caller, &name, &wanted.snapshot).await?;
    let restored = RestoredProject { project: restored.project, before: restored.before, head: restored.head };
    Ok(json(StatusCode::OK, &restored))
}
