//! Archives by signed URLs: a snapshot to download, and a source to bring. The bytes go
//! between the store and whoever has the URL.

use std::collections::BTreeMap;

use axum::{
    extract::{Path, State},
    response::Response,
};
use http::StatusCode;
use remora_proto_model::{Verb, project::Project};
use serde::{Deserialize, Serialize};

use super::{
    Shared,
    extract::{Asked, By, Json, Named, Nothing, Versioned, Whoever, json},
    problem::{Problem, Refused},
};

/// Which snapshot, and for how long.
#[derive(Deserialize, Default, utoipa::ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub(super) struct ExportSnapshot {
    /// Id of the snapshot; empty is the newest.
    snapshot: String,
    /// Seconds until the URL ends: 1 to 604,800 (7 days); 0 is 3,600.
    ttl_seconds: u32,
}

/// An archive of a snapshot on the store.
#[derive(Serialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase")]
pub(super) struct SnapshotExport {
    /// Id of the snapshot.
    snapshot: String,
    /// GET it without other credentials. It is a credential itself and cannot be read again.
    url: String,
    /// When the URL ends, in milliseconds since the epoch.
    expires_ms: u64,
    /// Length of the archive in bytes.
    bytes: u64,
}

/// An archive that is to be brought.
#[derive(Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct BeginSourceUpload {
    /// Its length: 1 to 4 GiB. The store takes no other.
    bytes: u64,
    /// Whether the tar is in a zstd stream (RFC 8878).
    #[serde(default)]
    zstd: bool,
    /// Seconds until the URL ends: 1 to 604,800 (7 days); 0 is 3,600.
    #[serde(default)]
    ttl_seconds: u32,
}

/// A place on the store for one archive.
#[derive(Serialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase")]
pub(super) struct SourceUpload {
    /// Names it when it is completed.
    upload: String,
    /// Send the archive here as the body of a PUT. It is a credential and cannot be read again.
    url: String,
    /// Headers that the PUT must have, by their names in lower case. HTTP clients send the length by themselves.
    headers: BTreeMap<String, String>,
    /// When the URL ends, in milliseconds since the epoch.
    expires_ms: u64,
}

/// Packs a snapshot of a running project as a tar.zst on the store and makes a URL by which whoever has it may download that. Waits until it is there. An access token needs snapshot.read and file.read, and no folder.
#[utoipa::path(
    post,
    path = "/api/v1/projects/{name}/exports",
    operation_id = "exportSnapshot",
    tag = "snapshots",
    params(("name" = String, Path, description = "Name or id of the project")),
    request_body = ExportSnapshot,
    responses((status = 201, body = SnapshotExport, description = "The archive and its URL"), (status = "default", body = Problem, content_type = "application/problem+json", description = "What went wrong"))
)]
pub(super) async fn export(
    State(shared): State<Shared>,
    Whoever { identity, entry }: Whoever,
    Named(name): Named,
    Asked(Nothing {}): Asked<Nothing>,
    Json(wanted): Json<ExportSnapshot>,
) -> Result<Response, Refused> {
    let id = shared.control.may_export(&identity, &name).await?;
    if let Some(entry) = &entry {
        entry.project(id);
        entry.verb(Verb::SnapshotRead);
        entry.target(wanted.snapshot.clone());
    }
    let export = shared.control.export(&identity, id, &wanted.snapshot, wanted.ttl_seconds).await?;
    let export = SnapshotExport {
        snapshot: export.snapshot,
        bytes: export.bytes,
        expires_ms: export.signed.expires_ms,
        url: export.signed.url.expose(),
    };
    Ok(json(StatusCode::CREATED, &export))
}

/// Makes a URL by which whoever has it may bring the archive that the project starts from, once and until its end. Completing the upload then gives it to the project.
#[utoipa::path(
    post,
    path = "/api/v1/projects/{name}/source/uploads",
    operation_id = "beginSourceUpload",
    tag = "projects",
    params(("name" = String, Path, description = "Name or id of the project")),
    request_body = BeginSourceUpload,
    responses((status = 201, body = SourceUpload, description = "Where the archive goes"), (status = "default", body = Problem, content_type = "application/problem+json", description = "What went wrong"))
)]
pub(super) async fn begin(
    State(shared): State<Shared>,
    By(caller): By,
    Named(name): Named,
    Asked(Nothing {}): Asked<Nothing>,
    Json(wanted): Json<BeginSourceUpload>,
) -> Result<Response, Refused> {
    let BeginSourceUpload { bytes, zstd, ttl_seconds } = wanted;
    let upload = shared.control.begin_upload(&caller, &name, bytes, zstd, ttl_seconds).await?;
    let upload = SourceUpload {
        upload: upload.upload,
        headers: upload.signed.headers,
        expires_ms: upload.signed.expires_ms,
        url: upload.signed.url.expose(),
    };
    Ok(json(StatusCode::CREATED, &upload))
}

/// Gives the project the archive that was brought, once it was read through. One that is not taken is removed. Repeatable until the project has started.
#[utoipa::path(
    post,
    path = "/api/v1/projects/{name}/source/uploads/{id}/complete",
    operation_id = "completeSourceUpload",
    tag = "projects",
    params(
        ("name" = String, Path, description = "Name or id of the project"),
        ("id" = String, Path, description = "The `upload` that was begun")
    ),
    responses((status = 200, body = Project, description = "The project"), (status = "default", body = Problem, content_type = "application/problem+json", description = "What went wrong"))
)]
pub(super) async fn complete(
    State(shared): State<Shared>,
    By(caller): By,
    Path((name, upload)): Path<(String, String)>,
    Asked(Nothing {}): Asked<Nothing>,
) -> Result<Versioned, Refused> {
    let project = shared.control.complete_upload(&caller, &name, &upload).await?;
    Ok(Versioned(StatusCode::OK, project))
}
