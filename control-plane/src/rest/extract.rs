//! What handlers take from a request, strict: what is not understood is refused
//! and named, never dropped.

use axum::{
    extract::{FromRequest, FromRequestParts, Path, Query, Request},
    response::{IntoResponse, Response},
};
use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header, request::Parts};
use http_body_util::{BodyExt as _, LengthLimitError, Limited};
use remora_proto_model::{Fault, Reason, project::Project};
use serde::{Serialize, de::DeserializeOwned};
use tokio::time::timeout;

use super::{Shared, problem::Refused};
use crate::{
    audit::Entry,
    auth::{Caller, Identity},
    limits::{BODY_TIMEOUT, MAX_JSON_BYTES},
};

/// Who calls. Taken first, so that nobody else's body is read.
pub(super) struct By(pub(super) Caller);

impl FromRequestParts<Shared> for By {
    type Rejection = Refused;

    async fn from_request_parts(parts: &mut Parts, shared: &Shared) -> Result<Self, Refused> {
        match shared.control.caller(&parts.headers).await {
            Ok(caller) => {
                if let Some(entry) = parts.extensions.get::<Entry>() {
                    entry.who(&Identity::Caller(caller.clone()));
                }
                Ok(By(caller))
            }
            Err(fault) => {
                shared.metrics.refused(fault.reason);
                tracing::info!(path = parts.uri.path(), reason = %fault.reason, error = %fault, "call refused");
                Err(Refused(fault))
            }
        }
    }
}

/// Who calls, with an API key or an access token, and the record of the call.
pub(super) struct Whoever {
    pub(super) identity: Identity,
    pub(super) entry: Option<Entry>,
}

impl FromRequestParts<Shared> for Whoever {
    type Rejection = Refused;

    async fn from_request_parts(parts: &mut Parts, shared: &Shared) -> Result<Self, Refused> {
        let entry = parts.extensions.get::<Entry>().cloned();
        match shared.control.identity(&parts.headers).await {
            Ok(identity) => {
                if let Some(entry) = &entry {
                    entry.who(&identity);
                }
                Ok(Whoever { identity, entry })
            }
            Err(fault) => {
                shared.metrics.refused(fault.reason);
                tracing::info!(path = parts.uri.path(), reason = %fault.reason, error = %fault, "call refused");
                Err(Refused(fault))
            }
        }
    }
}

/// The one parameter of the path.
pub(super) struct Named(pub(super) String);

impl FromRequestParts<Shared> for Named {
    type Rejection = Refused;

    async fn from_request_parts(parts: &mut Parts, shared: &Shared) -> Result<Self, Refused> {
        match Path::<String>::from_request_parts(parts, shared).await {
            Ok(Path(name)) => Ok(Named(name)),
            Err(error) => Err(Refused(Fault::invalid("path", error))),
        }
    }
}

/// The query.
pub(super) struct Asked<T>(pub(super) T);

impl<T: DeserializeOwned> FromRequestParts<Shared> for Asked<T> {
    type Rejection = Refused;

    async fn from_request_parts(parts: &mut Parts, _: &Shared) -> Result<Self, Refused> {
        match Query::<T>::try_from_uri(&parts.uri) {
            Ok(Query(query)) => Ok(Asked(query)),
            Err(error) => Err(Refused(Fault::invalid("query", error.body_text()))),
        }
    }
}

/// A query without parameters.
#[derive(serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Nothing {}

/// A JSON body.
pub(super) struct Json<T>(pub(super) T);

impl<T: DeserializeOwned> FromRequest<Shared> for Json<T> {
    type Rejection = Refused;

    async fn from_request(request: Request, _: &Shared) -> Result<Self, Refused> {
        let kind =
            request.headers().get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
        if kind.split(';').next().map(str::trim) != Some("application/json") {
            let shown: String = kind.chars().take(80).collect();
            return Err(Refused(Fault::invalid("content-type", format!("{shown:?} is not application/json"))));
        }
        Ok(Json(parse(&collect(request).await?)?))
    }
}

async fn collect(request: Request) -> Result<Bytes, Fault> {
    let body = Limited::new(request.into_body(), MAX_JSON_BYTES);
    match timeout(BODY_TIMEOUT, body.collect()).await {
        Ok(Ok(collected)) => Ok(collected.to_bytes()),
        Ok(Err(error)) if error.is::<LengthLimitError>() => {
            Err(Fault::new(Reason::TooLarge, format!("the body has more than {MAX_JSON_BYTES} bytes")))
        }
        Ok(Err(error)) => Err(Fault::new(Reason::Cancelled, format!("the body did not arrive: {error}"))),
        Err(_) => Err(Fault::new(
            Reason::DeadlineExceeded,
            format!("the body did not arrive in {} s", BODY_TIMEOUT.as_secs()),
        )),
    }
}

fn parse<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, Fault> {
    let mut json = serde_json::Deserializer::from_slice(bytes);
    let value = serde_path_to_error::deserialize(&mut json).map_err(|error| {
        let path = error.path().to_string();
        let field = if matches!(path.as_str(), "." | "?") { "body" } else { path.as_str() };
        Fault::invalid(field, error.inner()).hint("/openapi.json describes the body")
    })?;
    json.end().map_err(|error| Fault::invalid("body", error))?;
    Ok(value)
}

/// The version that `If-Match` names; `None` takes any.
pub(super) fn if_match(headers: &HeaderMap) -> Result<Option<u64>, Fault> {
    let Some(value) = headers.get(header::IF_MATCH) else { return Ok(None) };
    let text = value.to_str().unwrap_or_default().trim();
    if text == "*" {
        return Ok(None);
    }
    let version = text.strip_prefix('"').and_then(|rest| rest.strip_suffix('"')).and_then(|digits| digits.parse().ok());
    version.filter(|version| *version != 0).map(Some).ok_or_else(|| {
        let shown: String = text.chars().take(80).collect();
        Fault::invalid("if-match", format!("{shown:?} is no ETag of a project"))
            .hint("send the ETag that was read, in its quotes, or *")
    })
}

/// A project with its version as ETag.
pub(super) struct Versioned(pub(super) StatusCode, pub(super) Project);

impl IntoResponse for Versioned {
    fn into_response(self) -> Response {
        versioned(json(self.0, &self.1), self.1.resource_version)
    }
}

/// The response with a project's version as ETag.
pub(super) fn versioned(response: Response, version: u64) -> Response {
    with(response, header::ETAG, &format!("\"{version}\""))
}

/// The response with the path of what was made.
pub(super) fn located(response: Response, path: &str) -> Response {
    with(response, header::LOCATION, path)
}

/// A header that is text of ours.
fn with(mut response: Response, name: HeaderName, text: &str) -> Response {
    if let Ok(value) = HeaderValue::try_from(text) {
        response.headers_mut().insert(name, value);
    }
    response
}

/// A JSON response that nobody keeps.
pub(super) fn json(status: StatusCode, value: &impl Serialize) -> Response {
    match serde_json::to_vec(value) {
        Ok(body) => {
            let headers = [(header::CONTENT_TYPE, "application/json"), (header::CACHE_CONTROL, "no-store")];
            (status, headers, body).into_response()
        }
        Err(error) => {
            Refused(Fault::new(Reason::Internal, format!("the answer cannot be written: {error}"))).into_response()
        }
    }
}

#[cfg(test)]
mod tests {
    use remora_proto_model::project::ProjectSpec;

    use super::*;

    #[test]
    fn a_wrong_body_names_the_field() {
        for (field, body) in [
            ("containers[0].ports[0].port:", r#"{"containers":[{"name":"a","ports":[{"name":"h","port":"x"}]}]}"#),
            ("containers[0].name:", r#"{"containers":[{"name":"A B"}]}"#),
            ("desired:", r#"{"containers":[],"desired":"Flying"}"#),
            ("body:", "{"),
            ("body:", ""),
            ("body:", r#"{"containers":[]}x"#),
        ] {
            let fault = parse::<ProjectSpec>(body.as_bytes()).unwrap_err();
            assert!(fault.message.starts_with(field), "{field} {fault}");
            assert_eq!(fault.reason, Reason::InvalidArgument);
        }
        let typo = parse::<ProjectSpec>(br#"{"containers":[],"desire":"Running"}"#).unwrap_err();
        assert!(typo.message.contains("desire"), "{typo}");
        let twice = parse::<ProjectSpec>(br#"{"containers":[],"containers":[]}"#).unwrap_err();
        assert!(twice.message.contains("containers"), "{twice}");
    }

    #[test]
    fn an_etag_is_a_version_in_quotes() {
        let of = |text: &str| {
            let mut headers = HeaderMap::new();
            headers.insert(header::IF_MATCH, HeaderValue::from_str(text).unwrap());
            if_match(&headers).map_err(|fault| fault.reason)
        };
        assert_eq!(of("\"7\""), Ok(Some(7)));
        assert_eq!(of("*"), Ok(None));
        for bad in ["7", "W/\"7\"", "\"7\", \"8\"", "\"\"", "\"0\"", "\"x\"", ""] {
            assert_eq!(of(bad), Err(Reason::InvalidArgument), "{bad}");
        }
        assert_eq!(if_match(&HeaderMap::new()).unwrap(), None);
    }
}
