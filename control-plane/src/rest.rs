//! `/api/v1`: the control plane as JSON over HTTP, and the OpenAPI 3.1 document
//! that describes it. The routes are a table, which a test compares with the
//! document, so that neither can lie.

mod actions;
mod document;
mod extract;
mod info;
mod keys;
mod open;
pub(crate) mod problem;
mod projects;
mod source;
mod tokens;
mod watch;

use axum::{
    Router,
    routing::{MethodRouter, delete, get, patch, post, put},
};
use http::Method;
use remora_proto_model::{Fault, Reason};

use self::problem::{Refused, problem_with_status};
use crate::{control::Control, metrics::Metrics};

/// What the handlers share.
#[derive(Clone)]
pub(crate) struct Shared {
    control: Control,
    metrics: Metrics,
}

/// Every route that takes an API key.
fn routes() -> Vec<(Method, &'static str, MethodRouter<Shared>)> {
    vec![
        (Method::GET, "/api/v1/info", get(info::info)),
        (Method::GET, "/api/v1/projects", get(projects::list)),
        (Method::POST, "/api/v1/projects", post(projects::create)),
        (Method::GET, "/api/v1/projects/watch", get(watch::all)),
        (Method::GET, "/api/v1/projects/{name}", get(projects::read)),
        (Method::PATCH, "/api/v1/projects/{name}", patch(projects::change)),
        (Method::DELETE, "/api/v1/projects/{name}", delete(projects::remove)),
        (Method::POST, "/api/v1/projects/{name}/start", post(actions::start)),
        (Method::POST, "/api/v1/projects/{name}/stop", post(actions::stop)),
        (Method::POST, "/api/v1/projects/{name}/hibernate", post(actions::hibernate)),
        (Method::POST, "/api/v1/projects/{name}/wake", post(actions::wake)),
        (Method::POST, "/api/v1/projects/{name}/restore", post(actions::restore)),
        (Method::PUT, "/api/v1/projects/{name}/source", put(source::put)),
        (Method::GET, "/api/v1/projects/{name}/watch", get(watch::one)),
        (Method::POST, "/api/v1/projects/{name}/tokens", post(tokens::mint)),
        (Method::GET, "/api/v1/keys", get(keys::list)),
        (Method::POST, "/api/v1/keys", post(keys::create)),
        (Method::DELETE, "/api/v1/keys/{id}", delete(keys::revoke)),
    ]
}

/// The whole of REST.
pub(crate) fn router(control: Control, metrics: Metrics) -> Router {
    let mut router = Router::new()
        .route("/healthz", get(open::healthz))
        .route("/readyz", get(open::readyz))
        .route("/metrics", get(open::metrics))
        .route("/openapi.json", get(document::openapi));
    for (_, path, handler) in routes() {
        router = router.route(path, handler);
    }
    router
        .method_not_allowed_fallback(async || {
            let fault = Fault::new(Reason::Unimplemented, "the path has no such method")
                .hint("/openapi.json lists the paths with their methods");
            problem_with_status(&fault, http::StatusCode::METHOD_NOT_ALLOWED)
        })
        .fallback(async || {
            Refused(Fault::new(Reason::NotFound, "there is no such path").hint("/openapi.json lists the paths"))
        })
        .with_state(Shared { control, metrics })
}

#[cfg(test)]
mod tests;
