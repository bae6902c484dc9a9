//! `/api/v1`: the control plane as JSON over HTTP, and the OpenAPI 3.1 document
//! that describes it. The routes are a table, which a test compares with the
//! document, so that neither can lie.

mod actions;
mod containers;
mod data;
mod document;
mod extract;
mod info;
mod keys;
mod links;
mod open;
mod orphans;
pub(crate) mod problem;
mod projects;
pub(crate) mod sockets;
mod source;
mod tokens;
mod transfers;
mod verify;
mod watch;

use std::sync::Arc;

use axum::{
    Router,
    routing::{MethodRouter, delete, get, patch, post, put},
};
use http::Method;
use remora_proto_model::{Fault, Reason};

use self::{
    data::{changes, commands, content, edit, entries, exec, search, terminals},
    problem::{Refused, problem_with_status},
    sockets::Sockets,
};
use crate::{control::Control, metrics::Metrics, proxy::Proxy};

/// What the handlers share.
#[derive(Clone)]
pub(crate) struct Shared {
    pub(crate) control: Control,
    pub(crate) metrics: Metrics,
    /// The way to agents.
    pub(crate) proxy: Arc<Proxy>,
    pub(crate) sockets: Sockets,
    /// Origins of pages that may attach to terminals, beside this server's own.
    pub(crate) allowed_origins: Arc<[String]>,
}

/// Every route that takes an API key.
fn routes() -> Vec<(Method, &'static str, MethodRouter<Shared>)> {
    vec![
        (Method::GET, "/api/v1/info", get(info::info)),
        (Method::GET, "/api/v1/orphans", get(orphans::list)),
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
        (Method::POST, "/api/v1/projects/{name}/source/uploads", post(transfers::begin)),
        (Method::POST, "/api/v1/projects/{name}/source/uploads/{id}/complete", post(transfers::complete)),
        (Method::POST, "/api/v1/projects/{name}/exports", post(transfers::export)),
        (Method::POST, "/api/v1/projects/{name}/containers", post(containers::add)),
        (Method::PATCH, "/api/v1/projects/{name}/containers/{container}", patch(containers::change)),
        (Method::DELETE, "/api/v1/projects/{name}/containers/{container}", delete(containers::remove)),
        (Method::GET, "/api/v1/projects/{name}/watch", get(watch::one)),
        (Method::GET, "/api/v1/projects/{name}/tokens", get(tokens::list)),
        (Method::POST, "/api/v1/projects/{name}/tokens", post(tokens::mint)),
        (Method::DELETE, "/api/v1/projects/{name}/tokens/{id}", delete(tokens::revoke)),
        (Method::POST, "/api/v1/projects/{name}/links", post(links::make)),
        (Method::POST, "/api/v1/projects/{name}/exec", post(exec::run)),
        (Method::GET, "/api/v1/projects/{name}/commands", get(commands::list)),
        (Method::GET, "/api/v1/projects/{name}/commands/{id}", get(commands::get)),
        (Method::GET, "/api/v1/projects/{name}/commands/{id}/output", get(commands::output)),
        (Method::POST, "/api/v1/projects/{name}/commands/{id}/stdin", post(commands::stdin)),
        (Method::POST, "/api/v1/projects/{name}/commands/{id}/signal", post(commands::signal)),
        (Method::GET, "/api/v1/projects/{name}/files/{*path}", get(content::read)),
        (Method::PUT, "/api/v1/projects/{name}/files/{*path}", put(content::write)),
        (Method::DELETE, "/api/v1/projects/{name}/files/{*path}", delete(content::remove)),
        (Method::GET, "/api/v1/projects/{name}/list", get(entries::list)),
        (Method::POST, "/api/v1/projects/{name}/stat", post(entries::stat)),
        (Method::POST, "/api/v1/projects/{name}/glob", post(entries::glob)),
        (Method::POST, "/api/v1/projects/{name}/mkdir", post(entries::mkdir)),
        (Method::POST, "/api/v1/projects/{name}/move", post(entries::rename)),
        (Method::POST, "/api/v1/projects/{name}/copy", post(entries::copy)),
        (Method::POST, "/api/v1/projects/{name}/edit", post(edit::edit)),
        (Method::POST, "/api/v1/projects/{name}/grep", post(search::grep)),
        (Method::GET, "/api/v1/projects/{name}/changes", get(changes::watch)),
        (Method::GET, "/api/v1/projects/{name}/terminals", get(terminals::list)),
        (Method::POST, "/api/v1/projects/{name}/terminals", post(terminals::open)),
        (Method::GET, "/api/v1/projects/{name}/terminals/{id}", get(terminals::get)),
        (Method::DELETE, "/api/v1/projects/{name}/terminals/{id}", delete(terminals::close)),
        (Method::GET, "/api/v1/projects/{name}/terminals/{id}/attach", get(terminals::attach::attach)),
        (Method::POST, "/api/v1/projects/{name}/terminals/{id}/input", post(terminals::input)),
        (Method::POST, "/api/v1/projects/{name}/terminals/{id}/resize", post(terminals::resize)),
        (Method::GET, "/api/v1/projects/{name}/terminals/{id}/screen", get(terminals::screen)),
        (Method::POST, "/api/v1/projects/{name}/terminals/{id}/signal", post(terminals::signal)),
        (Method::GET, "/auth/verify", get(verify::verify)),
        (Method::GET, "/api/v1/keys", get(keys::list)),
        (Method::POST, "/api/v1/keys", post(keys::create)),
        (Method::DELETE, "/api/v1/keys/{id}", delete(keys::revoke)),
    ]
}

/// The whole of REST.
pub(crate) fn router(shared: Shared) -> Router {
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
        .with_state(shared)
}

#[cfg(test)]
mod tests;
