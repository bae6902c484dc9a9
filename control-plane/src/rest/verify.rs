//! What an ingress controller asks about each request to an exposed port.

use axum::{
    body::Body,
    extract::State,
    response::{IntoResponse as _, Response},
};
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use remora_control_plane_kube::manifests::DECIDED_HEADERS;
use remora_proto_model::Fault;

use super::{
    Shared,
    problem::{Problem, problem_with_status, status},
};
use crate::{
    control::no_domain,
    gate::{Pass, Verdict},
};

/// Says whether a request to an exposed port may pass, for an ingress controller: which request that is, is in the
/// headers X-Forwarded-Host, -Uri and -Method (Traefik) or X-Original-URL and -Method (ingress-nginx), and who asks in
/// the caller's own. What the answer has of X-Remora-User, X-Remora-Project, Authorization and Cookie is to replace
/// what the request has, also where it has nothing.
#[utoipa::path(
    get,
    path = "/auth/verify",
    operation_id = "verifyRequest",
    tag = "ports",
    responses(
        (status = 200, description = "It may pass", headers(
            ("x-remora-user" = Option<String>, description = "Who calls; absent where everybody may"),
            ("x-remora-project" = Option<String>, description = "The project"),
            ("authorization" = Option<String>, description = "The caller's, where it opens nothing of this server"),
            ("cookie" = Option<String>, description = "The caller's, without the session with the port"),
            ("set-cookie" = Option<String>, description = "A session that begins")
        )),
        (status = 302, description = "The browser is sent to the port without the link that it came with, or to where people sign in"),
        (status = 401, body = Problem, content_type = "application/problem+json", description = "Nobody knows who asks"),
        (status = 403, body = Problem, content_type = "application/problem+json", description = "Whoever asks may not, or there is no such port"),
        (status = 503, body = Problem, content_type = "application/problem+json", description = "The project is not awake"),
        (status = "default", body = Problem, content_type = "application/problem+json", description = "What went wrong")
    )
)]
pub(super) async fn verify(State(shared): State<Shared>, headers: HeaderMap) -> Response {
    let verdict = match &shared.control.gate {
        Some(gate) => gate.verify(&shared.control, &headers).await,
        None => match shared.control.identity(&headers).await {
            Ok(_) => Verdict::Forbidden(no_domain()),
            Err(fault) => Verdict::Unknown(fault),
        },
    };
    match verdict {
        Verdict::Pass(pass) => passed(pass),
        Verdict::Redirect { to, cookie } => {
            let cookie = cookie.map(|cookie| (header::SET_COOKIE, cookie));
            with([(header::LOCATION, to)].into_iter().chain(cookie), StatusCode::FOUND)
        }
        Verdict::Unknown(fault) if status(&fault) == StatusCode::UNAUTHORIZED => {
            refused(&shared, &fault, StatusCode::UNAUTHORIZED)
        }
        // A bad question, and one that cannot be answered: neither lets anybody in.
        Verdict::Unknown(fault) | Verdict::Forbidden(fault) => refused(&shared, &fault, StatusCode::FORBIDDEN),
        Verdict::Asleep(fault) => problem_with_status(&fault, StatusCode::SERVICE_UNAVAILABLE),
    }
}

fn refused(shared: &Shared, fault: &Fault, status: StatusCode) -> Response {
    shared.metrics.refused(fault.reason);
    tracing::debug!(reason = %fault.reason, error = %fault, "a request to a port is refused");
    problem_with_status(fault, status)
}

fn passed(pass: Pass) -> Response {
    let Pass { user, project, authorization, cookie, set_cookie } = pass;
    let [user_header, project_header, authorization_header, cookie_header] =
        DECIDED_HEADERS.map(|name| HeaderName::from_bytes(name.as_bytes()).ok());
    let text = |text: String| HeaderValue::try_from(text).ok();
    let decided = [
        (user_header, user.and_then(text)),
        (project_header, project.and_then(|name| text(name.into()))),
        (authorization_header, authorization),
        (cookie_header, cookie),
        (Some(header::SET_COOKIE), set_cookie.and_then(text)),
    ];
    let mut response = with([], StatusCode::OK);
    for (name, value) in decided {
        if let (Some(name), Some(value)) = (name, value) {
            response.headers_mut().insert(name, value);
        }
    }
    response
}

fn with(headers: impl IntoIterator<Item = (HeaderName, String)>, status: StatusCode) -> Response {
    let mut response = (status, Body::empty()).into_response();
    response.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    for (name, value) in headers {
        if let Ok(value) = HeaderValue::try_from(value) {
            response.headers_mut().insert(name, value);
        }
    }
    response
}
