//! A [`Fault`] as `application/problem+json` (RFC 9457).

use axum::{
    body::Body,
    response::{IntoResponse, Response},
};
use http::{HeaderValue, StatusCode, header};
use remora_proto_model::Fault;
use serde::Serialize;

/// What a failed call answers: the members of RFC 9457 and those of the error model.
#[derive(Debug, Serialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Problem {
    /// Always `about:blank`: `reason` says which problem it is.
    #[serde(rename = "type")]
    kind: &'static str,
    /// The status in words.
    title: String,
    /// The HTTP status.
    status: u16,
    /// What was wrong.
    detail: String,
    /// The stable word, as on every surface, for example `NOT_FOUND`.
    reason: String,
    /// NOT_APPLIED, MAY_HAVE_APPLIED or APPLIED.
    effect: String,
    /// Whether the same call, unchanged, can succeed later.
    retryable: bool,
    /// What exists instead or what to do next.
    #[serde(skip_serializing_if = "String::is_empty")]
    hint: String,
    /// The system error behind it, as in errno(3).
    #[serde(skip_serializing_if = "Option::is_none")]
    errno: Option<i32>,
    /// The step of a longer operation that failed.
    #[serde(skip_serializing_if = "Option::is_none")]
    stage: Option<String>,
}

impl Problem {
    pub(crate) fn of(fault: &Fault, status: StatusCode) -> Self {
        Problem {
            kind: "about:blank",
            title: status.canonical_reason().unwrap_or("Client Closed Request").to_owned(),
            status: status.as_u16(),
            detail: fault.message.clone().into_owned(),
            reason: fault.reason.as_str().to_owned(),
            effect: fault.effect.as_str().to_owned(),
            retryable: fault.retryable(),
            hint: fault.hint.clone().into_owned(),
            errno: fault.errno,
            stage: fault.stage.clone().map(Into::into),
        }
    }
}

/// The status of the one table.
pub(crate) fn status(fault: &Fault) -> StatusCode {
    StatusCode::from_u16(fault.reason.http()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR)
}

/// The response that says `fault`.
pub(crate) fn problem(fault: &Fault) -> Response {
    problem_with_status(fault, status(fault))
}

pub(crate) fn problem_with_status(fault: &Fault, status: StatusCode) -> Response {
    // Text, numbers and words serialise.
    let body = serde_json::to_vec(&Problem::of(fault, status)).unwrap_or_default();
    let mut response = Response::new(Body::from(body));
    *response.status_mut() = status;
    // For the record of the call.
    response.extensions_mut().insert(fault.reason);
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    if status == StatusCode::UNAUTHORIZED {
        headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
    }
    if let Some(wait) = fault.retry_after {
        // In whole seconds, and never too early.
        headers.insert(header::RETRY_AFTER, HeaderValue::from(wait.as_millis().div_ceil(1_000) as u64));
    }
    response
}

/// The error of every handler.
#[derive(Debug)]
pub(crate) struct Refused(pub(crate) Fault);

impl From<Fault> for Refused {
    fn from(fault: Fault) -> Self {
        Refused(fault)
    }
}

impl IntoResponse for Refused {
    fn into_response(self) -> Response {
        problem(&self.0)
    }
}
