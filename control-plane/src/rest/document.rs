//! The OpenAPI 3.1 document.

use axum::response::{IntoResponse as _, Response};
use http::header;
use utoipa::{
    Modify, OpenApi,
    openapi::{
        SecurityRequirement,
        security::{Http, HttpAuthScheme, SecurityScheme},
    },
};

use super::{
    actions, containers,
    data::{
        changes, commands, content, edit, entries, exec, search,
        terminals::{self, attach, frames},
    },
    info, keys, links, orphans, projects, source, tokens, transfers, verify, watch,
};

#[derive(OpenApi)]
#[openapi(
    info(
        title = "Remora",
        description = "Projects: isolated sets of containers whose work outlives them. The same calls are there over gRPC as remora.control.v1.",
        license(name = "Apache-2.0", identifier = "Apache-2.0")
    ),
    paths(
        info::info,
        orphans::list,
        projects::list,
        projects::create,
        projects::read,
        projects::change,
        projects::remove,
        actions::start,
        actions::stop,
        actions::hibernate,
        actions::wake,
        actions::restore,
        containers::add,
        containers::change,
        containers::remove,
        source::put,
        transfers::begin,
        transfers::complete,
        transfers::export,
        watch::all,
        watch::one,
        tokens::list,
        tokens::mint,
        tokens::revoke,
        links::make,
        exec::run,
        commands::list,
        commands::get,
        commands::output,
        commands::stdin,
        commands::signal,
        content::read,
        content::write,
        content::remove,
        entries::list,
        entries::stat,
        entries::glob,
        entries::mkdir,
        entries::rename,
        entries::copy,
        edit::edit,
        search::grep,
        changes::watch,
        terminals::list,
        terminals::open,
        terminals::get,
        terminals::close,
        attach::attach,
        terminals::input,
        terminals::resize,
        terminals::screen,
        terminals::signal,
        verify::verify,
        keys::list,
        keys::create,
        keys::revoke,
    ),
    components(schemas(frames::TerminalSaid)),
    modifiers(&ApiKey)
)]
pub(super) struct Document;

struct ApiKey;

impl Modify for ApiKey {
    fn modify(&self, document: &mut utoipa::openapi::OpenApi) {
        let scheme = SecurityScheme::Http(Http::new(HttpAuthScheme::Bearer));
        document.components.get_or_insert_default().add_security_scheme("apiKey", scheme);
        document.security = Some(vec![SecurityRequirement::new("apiKey", Vec::<String>::new())]);
    }
}

/// Serves the document. It holds nothing that a stranger may not know.
pub(super) async fn openapi() -> Response {
    match Document::openapi().to_json() {
        Ok(text) => ([(header::CONTENT_TYPE, "application/json")], text).into_response(),
        Err(error) => {
            tracing::error!(%error, "the OpenAPI document cannot be written");
            http::StatusCode::INTERNAL_SERVER_ERROR.into_response()
        }
    }
}
