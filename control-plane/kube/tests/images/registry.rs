//! A registry in this process: real HTTP, real bytes, real digests.

use std::{
    collections::BTreeMap,
    convert::Infallible,
    net::SocketAddr,
    sync::{Arc, Mutex},
};

use bytes::Bytes;
use http::{
    Request, Response, StatusCode,
    header::{AUTHORIZATION, LOCATION, RETRY_AFTER, WWW_AUTHENTICATE},
};
use http_body_util::Full;
use hyper::body::Incoming;
use serde_json::{Value, json};

use crate::http_server::Server;

#[derive(Default)]
struct State {
    /// By the path behind `/v2/`.
    content: BTreeMap<String, Vec<u8>>,
    requests: usize,
    /// The token that is wanted, and whether anybody gets it.
    token: Option<(String, bool)>,
    token_queries: Vec<String>,
    authorizations: Vec<Option<String>>,
    blobs_elsewhere: Option<String>,
    failure: Option<u16>,
    silent: bool,
}

pub(crate) struct Registry {
    server: Server,
    state: Arc<Mutex<State>>,
}

pub(crate) fn digest(bytes: &[u8]) -> String {
    format!("sha256:{}", hex::encode(ring::digest::digest(&ring::digest::SHA256, bytes)))
}

impl Registry {
    pub(crate) async fn start() -> Registry {
        let state = Arc::new(Mutex::new(State::default()));
        let shared = Arc::clone(&state);
        let answers = |address| move |request| answer(Arc::clone(&shared), address, request);
        Registry { server: Server::start(answers).await, state }
    }

    pub(crate) fn host(&self) -> String {
        self.server.address.to_string()
    }

    /// Puts a document there under a tag and its digest.
    pub(crate) fn manifest(&self, repository: &str, tag: &str, document: &Value) -> String {
        let bytes = serde_json::to_vec(document).unwrap();
        let digest = digest(&bytes);
        let mut state = self.state.lock().unwrap();
        state.content.insert(format!("{repository}/manifests/{tag}"), bytes.clone());
        state.content.insert(format!("{repository}/manifests/{digest}"), bytes);
        digest
    }

    /// Puts an image there; the digest of its manifest.
    pub(crate) fn image(&self, repository: &str, tag: &str, configuration: &Value) -> String {
        let bytes = serde_json::to_vec(configuration).unwrap();
        let blob = digest(&bytes);
        self.state.lock().unwrap().content.insert(format!("{repository}/blobs/{blob}"), bytes);
        let kind = "application/vnd.oci.image.config.v1+json";
        let document = json!({"schemaVersion": 2, "config": {"mediaType": kind, "digest": blob}, "layers": []});
        self.manifest(repository, tag, &document)
    }

    /// Other bytes wherever the digest leads.
    pub(crate) fn swap(&self, digest: &str, bytes: &[u8]) {
        for (path, content) in &mut self.state.lock().unwrap().content {
            if path.ends_with(digest) {
                *content = bytes.to_vec();
            }
        }
    }

    pub(crate) fn want_token(&self, token: &str, for_anybody: bool) {
        self.state.lock().unwrap().token = Some((token.to_owned(), for_anybody));
    }

    pub(crate) fn redirect_blobs_to(&self, base: &str) {
        self.state.lock().unwrap().blobs_elsewhere = Some(base.to_owned());
    }

    pub(crate) fn fail_with(&self, status: u16) {
        self.state.lock().unwrap().failure = Some(status);
    }

    pub(crate) fn say_nothing(&self) {
        self.state.lock().unwrap().silent = true;
    }

    pub(crate) fn requests(&self) -> usize {
        self.state.lock().unwrap().requests
    }

    pub(crate) fn token_queries(&self) -> Vec<String> {
        self.state.lock().unwrap().token_queries.clone()
    }

    /// What the requests for content were authorised with.
    pub(crate) fn authorizations(&self) -> Vec<Option<String>> {
        self.state.lock().unwrap().authorizations.clone()
    }
}

async fn answer(
    state: Arc<Mutex<State>>,
    address: SocketAddr,
    request: Request<Incoming>,
) -> Result<Response<Full<Bytes>>, Infallible> {
    if state.lock().unwrap().silent {
        std::future::pending::<()>().await;
    }
    Ok(content(&mut state.lock().unwrap(), address, &request))
}

fn content(state: &mut State, address: SocketAddr, request: &Request<Incoming>) -> Response<Full<Bytes>> {
    state.requests += 1;
    let plain = |status: StatusCode, body: Vec<u8>| {
        let mut response = Response::new(Full::new(Bytes::from(body)));
        *response.status_mut() = status;
        response
    };
    if let Some(failure) = state.failure {
        let mut response = plain(StatusCode::from_u16(failure).unwrap(), Vec::new());
        response.headers_mut().insert(RETRY_AFTER, "7".parse().unwrap());
        return response;
    }
    let path = request.uri().path();
    if path == "/token" {
        state.token_queries.push(request.uri().query().unwrap_or_default().to_owned());
        let (token, for_anybody) = state.token.clone().unwrap();
        return match for_anybody {
            true => plain(StatusCode::OK, json!({ "token": token }).to_string().into_bytes()),
            false => plain(StatusCode::UNAUTHORIZED, Vec::new()),
        };
    }
    let authorization = request.headers().get(AUTHORIZATION).map(|value| value.to_str().unwrap().to_owned());
    state.authorizations.push(authorization.clone());
    let path = path.strip_prefix("/v2/").unwrap_or_default();
    if let Some((token, _)) = &state.token
        && authorization != Some(format!("Bearer {token}"))
    {
        let repository = path.split("/manifests/").next().unwrap();
        let mut response = plain(StatusCode::UNAUTHORIZED, Vec::new());
        let challenge =
            format!("Bearer realm=\"http://{address}/token\",service=\"test\",scope=\"repository:{repository}:pull\"");
        response.headers_mut().insert(WWW_AUTHENTICATE, challenge.parse().unwrap());
        return response;
    }
    if let (Some(elsewhere), true) = (&state.blobs_elsewhere, path.contains("/blobs/")) {
        let mut response = plain(StatusCode::TEMPORARY_REDIRECT, Vec::new());
        response.headers_mut().insert(LOCATION, format!("{elsewhere}/v2/{path}").parse().unwrap());
        return response;
    }
    match state.content.get(path) {
        Some(bytes) => plain(StatusCode::OK, bytes.clone()),
        None => plain(StatusCode::NOT_FOUND, Vec::new()),
    }
}
