//! The API server of one project in this process: real HTTP, its resource versions, its
//! status beside its spec, and writes that fail where the test says so.

use std::{
    convert::Infallible,
    net::SocketAddr,
    sync::{Arc, Mutex},
};

use bytes::Bytes;
use http::{Method, Request, Response, StatusCode};
use http_body_util::{BodyExt as _, Full};
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use tokio::{net::TcpListener, task::JoinSet};

#[derive(Default)]
struct State {
    object: Value,
    /// What was asked to be written, in order.
    writes: Vec<&'static str>,
    /// The next write of that kind is answered with this status, and not made.
    fails: Option<(&'static str, u16)>,
}

pub(crate) struct ApiServer {
    address: SocketAddr,
    state: Arc<Mutex<State>>,
    _server: JoinSet<()>,
}

impl ApiServer {
    /// One with the project `object`.
    pub(crate) async fn with(object: Value) -> ApiServer {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let state = Arc::new(Mutex::new(State { object, ..State::default() }));
        let mut server = JoinSet::new();
        let shared = Arc::clone(&state);
        server.spawn(async move {
            let mut connections = JoinSet::new();
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                let shared = Arc::clone(&shared);
                connections.spawn(async move {
                    let service = service_fn(move |request| answer(Arc::clone(&shared), request));
                    // A client that leaves has its reasons.
                    _ = http1::Builder::new().serve_connection(TokioIo::new(stream), service).await;
                });
            }
        });
        ApiServer { address, state, _server: server }
    }

    pub(crate) fn client(&self) -> kube::Client {
        let config = kube::Config::new(format!("http://{}", self.address).parse().unwrap());
        kube::Client::try_from(config).unwrap()
    }

    /// What was written since this was asked last.
    pub(crate) fn writes(&self) -> Vec<&'static str> {
        std::mem::take(&mut self.state.lock().unwrap().writes)
    }

    pub(crate) fn fail(&self, write: &'static str, status: u16) {
        self.state.lock().unwrap().fails = Some((write, status));
    }

    pub(crate) fn object(&self) -> Value {
        self.state.lock().unwrap().object.clone()
    }
}

async fn answer(state: Arc<Mutex<State>>, request: Request<Incoming>) -> Result<Response<Full<Bytes>>, Infallible> {
    let (parts, body) = request.into_parts();
    let body = body.collect().await.unwrap().to_bytes();
    let mut state = state.lock().unwrap();
    let dry = parts.uri.query().is_some_and(|query| query.contains("dryRun=All"));
    let write = match (&parts.method, dry) {
        (&Method::GET, _) if parts.uri.path().ends_with("/projects") => {
            let list = json!({
                "apiVersion": "remora.dev/v1alpha1", "kind": "ProjectList", "metadata": {}, "items": [state.object],
            });
            return Ok(said(StatusCode::OK, &list));
        }
        (&Method::GET, _) => return Ok(said(StatusCode::OK, &state.object)),
        (&Method::PUT, true) => "dry run",
        (&Method::PUT, false) => "spec",
        _ => "status",
    };
    state.writes.push(write);
    if let Some((_, status)) = state.fails.take_if(|(failing, _)| *failing == write) {
        return Ok(refused(status, "as the test wants it"));
    }
    let given: Value = serde_json::from_slice(&body).unwrap();
    if given["metadata"]["resourceVersion"] != state.object["metadata"]["resourceVersion"] {
        return Ok(refused(409, "the object has been modified"));
    }
    let mut next = state.object.clone();
    let version: u64 = next["metadata"]["resourceVersion"].as_str().unwrap().parse().unwrap();
    next["metadata"]["resourceVersion"] = (version + 1).to_string().into();
    if write == "status" {
        next["status"] = given["status"].clone();
    } else {
        // What somebody else's write left there would be forgotten with it.
        assert!(given["metadata"]["managedFields"].as_array().is_none_or(Vec::is_empty) || state.writes == ["spec"]);
        next["spec"] = given["spec"].clone();
        next["metadata"]["generation"] = (next["metadata"]["generation"].as_i64().unwrap() + 1).into();
    }
    if write != "dry run" {
        state.object = next.clone();
    }
    Ok(said(StatusCode::OK, &next))
}

fn refused(status: u16, message: &str) -> Response<Full<Bytes>> {
    let reason = if status == 409 { "Conflict" } else { "" };
    let body = json!({
        "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure",
        "message": message, "reason": reason, "code": status,
    });
    said(StatusCode::from_u16(status).unwrap(), &body)
}

fn said(status: StatusCode, body: &Value) -> Response<Full<Bytes>> {
    let bytes = serde_json::to_vec(body).unwrap();
    Response::builder().status(status).header("content-type", "application/json").body(Full::from(bytes)).unwrap()
}
