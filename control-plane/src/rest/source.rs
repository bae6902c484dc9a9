//! The archive that a project starts from.

use axum::{body::Body, extract::State};
use bytes::Bytes;
use futures_util::{Stream, StreamExt as _, stream};
use http::{HeaderMap, StatusCode, header};
use remora_proto_model::{Fault, Reason, project::Project};
use tokio::time::timeout;

use super::{
    Shared,
    extract::{Asked, By, Named, Nothing, Versioned},
    problem::{Problem, Refused},
};
use crate::limits::BODY_STALL_TIMEOUT;

/// Gives a project that was created with an archive as its source that archive, at most 4 GiB.
#[utoipa::path(
    put,
    path = "/api/v1/projects/{name}/source",
    operation_id = "putProjectSource",
    tag = "projects",
    params(("name" = String, Path, description = "Name or id of the project")),
    request_body(
        content(("application/x-tar"), ("application/zstd")),
        description = "A tar, or a tar in a zstd stream (RFC 8878)"
    ),
    responses((status = 200, body = Project, description = "The project"), (status = "default", body = Problem, content_type = "application/problem+json", description = "What went wrong"))
)]
pub(super) async fn put(
    State(shared): State<Shared>,
    By(caller): By,
    Named(name): Named,
    Asked(Nothing {}): Asked<Nothing>,
    headers: HeaderMap,
    body: Body,
) -> Result<Versioned, Refused> {
    let kind = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let zstd = match kind {
        "application/x-tar" => false,
        "application/zstd" => true,
        _ => {
            let shown: String = kind.chars().take(80).collect();
            return Err(Refused(Fault::invalid(
                "content-type",
                format!("{shown:?} is neither application/x-tar nor application/zstd"),
            )));
        }
    };
    let project = shared.control.put_source(&caller, &name, zstd, chunks(body)).await?;
    Ok(Versioned(StatusCode::OK, project))
}

fn chunks(body: Body) -> impl Stream<Item = Result<Bytes, Fault>> + Send {
    stream::unfold(Some(body.into_data_stream()), |body| async {
        let mut body = body?;
        match timeout(BODY_STALL_TIMEOUT, body.next()).await {
            Ok(Some(Ok(bytes))) => Some((Ok(bytes), Some(body))),
            Ok(None) => None,
            Ok(Some(Err(error))) => {
                Some((Err(Fault::new(Reason::Cancelled, format!("the archive was cut: {error}"))), None))
            }
            Err(_) => {
                Some((Err(Fault::new(Reason::DeadlineExceeded, "the archive stalled").hint("send it again")), None))
            }
        }
    })
}
