//! What anybody may ask: whether the server lives, and what it counts.

use axum::{
    extract::State,
    response::{IntoResponse as _, Response},
};
use http::{StatusCode, header};

use super::Shared;

const TEXT: [(header::HeaderName, &str); 1] = [(header::CONTENT_TYPE, "text/plain; charset=utf-8")];

/// The process answers.
pub(super) async fn healthz() -> Response {
    (TEXT, "ok\n").into_response()
}

/// It takes new calls.
pub(super) async fn readyz(State(shared): State<Shared>) -> Response {
    if shared.control.draining.is_cancelled() {
        return (StatusCode::SERVICE_UNAVAILABLE, TEXT, "draining\n").into_response();
    }
    (TEXT, "ok\n").into_response()
}

/// <https://prometheus.io/docs/specs/om/open_metrics_spec/>
pub(super) async fn metrics(State(shared): State<Shared>) -> Response {
    let kind = [(header::CONTENT_TYPE, "application/openmetrics-text; version=1.0.0; charset=utf-8")];
    (kind, shared.metrics.text()).into_response()
}
