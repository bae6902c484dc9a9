//! Projects: made, read, changed, deleted.

use axum::{
    extract::State,
    response::{IntoResponse as _, Response},
};
use http::{HeaderMap, StatusCode};
use remora_proto_model::{
    Fault, Reason,
    project::{Project, ProjectPatch, ProjectSpec},
};
use serde::{Deserialize, Serialize};

use super::{
    Shared,
    extract::{Asked, By, Json, Named, Nothing, Versioned, if_match, json, located},
    problem::{Problem, Refused},
};

/// A project to be made.
#[derive(Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct CreateProject {
    /// 1 to 40 of a-z, 0-9 and '-', unique on the server.
    name: String,
    /// What it should be.
    spec: ProjectSpec,
}

/// One page of projects.
#[derive(Serialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase")]
pub(super) struct ProjectList {
    /// By name.
    projects: Vec<Project>,
    /// For the next page; empty on the last.
    next_page_token: String,
}

/// Which page.
#[derive(Deserialize, utoipa::IntoParams)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
#[into_params(parameter_in = Query)]
#[derive(Default)]
pub(super) struct PageQuery {
    /// At most 1,000; 0 is 100.
    page_size: u32,
    /// The token of the page before.
    page_token: String,
}

/// How to delete.
#[derive(Deserialize, Default, utoipa::IntoParams)]
#[serde(deny_unknown_fields, default)]
#[into_params(parameter_in = Query)]
pub(super) struct DeleteQuery {
    /// Make no final snapshot, and remove the snapshots from the store too.
    purge: bool,
}

/// Projects by name, those that the caller may see.
#[utoipa::path(
    get,
    path = "/api/v1/projects",
    operation_id = "listProjects",
    tag = "projects",
    params(PageQuery),
    responses((status = 200, body = ProjectList, description = "One page"), (status = "default", body = Problem, content_type = "application/problem+json", description = "What went wrong"))
)]
pub(super) async fn list(
    State(shared): State<Shared>,
    By(caller): By,
    Asked(page): Asked<PageQuery>,
) -> Result<Response, Refused> {
    let page = shared.control.list(&caller, page.page_size, &page.page_token)?;
    Ok(json(StatusCode::OK, &ProjectList { projects: page.projects, next_page_token: page.next }))
}

/// Makes a project. With the spec of the project that has this name already, it returns that one.
#[utoipa::path(
    post,
    path = "/api/v1/projects",
    operation_id = "createProject",
    tag = "projects",
    request_body = CreateProject,
    responses(
        (status = 201, body = Project, description = "The project", headers(("etag" = String, description = "Its version"), ("location" = String, description = "Its path"))),
        (status = "default", body = Problem, content_type = "application/problem+json", description = "What went wrong")
    )
)]
pub(super) async fn create(
    State(shared): State<Shared>,
    By(caller): By,
    Asked(Nothing {}): Asked<Nothing>,
    Json(wanted): Json<CreateProject>,
) -> Result<Response, Refused> {
    let project = shared.control.create(&caller, &wanted.name, wanted.spec).await?;
    let path = format!("/api/v1/projects/{}", project.id);
    Ok(located(Versioned(StatusCode::CREATED, project).into_response(), &path))
}

/// One project, by name or id.
#[utoipa::path(
    get,
    path = "/api/v1/projects/{name}",
    operation_id = "getProject",
    tag = "projects",
    params(("name" = String, Path, description = "Name or id of the project; one that is named watch, by its id")),
    responses(
        (status = 200, body = Project, description = "The project", headers(("etag" = String, description = "Its version"))),
        (status = "default", body = Problem, content_type = "application/problem+json", description = "What went wrong")
    )
)]
pub(super) async fn read(
    State(shared): State<Shared>,
    By(caller): By,
    Named(name): Named,
    Asked(Nothing {}): Asked<Nothing>,
) -> Result<Versioned, Refused> {
    Ok(Versioned(StatusCode::OK, shared.control.get(&caller, &name).await?))
}

/// Changes a project. What is absent stays. With `If-Match` (or `resourceVersion`) only if nobody else changed it meanwhile.
#[utoipa::path(
    patch,
    path = "/api/v1/projects/{name}",
    operation_id = "patchProject",
    tag = "projects",
    params(
        ("name" = String, Path, description = "Name or id of the project"),
        ("If-Match" = Option<String>, Header, description = "The ETag that was read")
    ),
    request_body = ProjectPatch,
    responses(
        (status = 200, body = Project, description = "The project", headers(("etag" = String, description = "Its version"))),
        (status = "default", body = Problem, content_type = "application/problem+json", description = "What went wrong")
    )
)]
pub(super) async fn change(
    State(shared): State<Shared>,
    By(caller): By,
    Named(name): Named,
    Asked(Nothing {}): Asked<Nothing>,
    headers: HeaderMap,
    Json(mut patch): Json<ProjectPatch>,
) -> Result<Versioned, Refused> {
    let matched = if_match(&headers)?;
    if let Some(version) = matched {
        if patch.resource_version != 0 && patch.resource_version != version {
            return Err(Refused(
                Fault::invalid("resourceVersion", "is another version than that of If-Match")
                    .hint("send one of the two"),
            ));
        }
        patch.resource_version = version;
    }
    match shared.control.patch(&caller, &name, patch).await {
        Ok(project) => Ok(Versioned(StatusCode::OK, project)),
        // A precondition of HTTP that does not hold is 412 (RFC 9110, 13.1.1).
        Err(fault) if matched.is_some() && fault.reason == Reason::Conflict => {
            Err(Refused(Fault { reason: Reason::EtagMismatch, ..fault }))
        }
        Err(fault) => Err(Refused(fault)),
    }
}

/// Ends a project: a final snapshot unless `purge`, then its processes and its folder.
#[utoipa::path(
    delete,
    path = "/api/v1/projects/{name}",
    operation_id = "deleteProject",
    tag = "projects",
    params(("name" = String, Path, description = "Name or id of the project"), DeleteQuery),
    responses((status = 202, body = Project, description = "The project"), (status = "default", body = Problem, content_type = "application/problem+json", description = "What went wrong"))
)]
pub(super) async fn remove(
    State(shared): State<Shared>,
    By(caller): By,
    Named(name): Named,
    Asked(query): Asked<DeleteQuery>,
) -> Result<Versioned, Refused> {
    Ok(Versioned(StatusCode::ACCEPTED, shared.control.delete(&caller, &name, query.purge).await?))
}
