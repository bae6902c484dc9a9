use std::{
    collections::BTreeMap,
    convert::Infallible,
    sync::{Arc, Mutex},
};

use bytes::Bytes;
use http::{Method, Request, Response, StatusCode};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use kube::core::GroupVersionKind;
use serde_json::{Value, json};

use self::http_server::Server;
use super::*;

#[path = "../../../../tests/http/server.rs"]
mod http_server;

const ID: &str = "3f0c9a52-8d1b-4a77-9a0e-6b1d6c1f2e44";

#[derive(Default)]
struct State {
    /// By kind in the plural and name.
    objects: BTreeMap<(String, String), Value>,
    /// What was written, in order.
    writes: Vec<String>,
    /// Kinds that it does not know.
    unknown: Vec<&'static str>,
    /// Kinds and names whose changes it refuses.
    refuses: Vec<(&'static str, &'static str)>,
}

/// The API server of one namespace in this process: real HTTP, lists, server-side apply and deletions.
struct ApiServer {
    client: Client,
    state: Arc<Mutex<State>>,
    _server: Server,
}

impl ApiServer {
    async fn new() -> ApiServer {
        let state = Arc::new(Mutex::new(State::default()));
        let shared = Arc::clone(&state);
        let server = Server::start(|_| move |request| answer(Arc::clone(&shared), request)).await;
        let url = format!("http://{}", server.address);
        let client = Client::try_from(kube::Config::new(url.parse().unwrap())).unwrap();
        ApiServer { client, state, _server: server }
    }

    fn state(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }

    /// What was written since this was asked last.
    fn writes(&self) -> Vec<String> {
        std::mem::take(&mut self.state().writes)
    }

    fn objects(&self) -> Objects<'_> {
        Objects { client: &self.client, namespace: "proj", project: ID.parse().unwrap(), kinds: kinds() }
    }

    /// Whether something is left for later; all else is as wanted.
    async fn brought(&self, wanted: &[DynamicObject]) -> bool {
        let Brought { fault, lingers } = self.objects().bring(wanted, None).await.unwrap();
        assert_eq!(fault, None);
        lingers
    }

    /// The names that are there.
    fn there(&self) -> Vec<String> {
        self.state().objects.keys().map(|(kind, name)| format!("{kind}/{name}")).collect()
    }
}

async fn answer(state: Arc<Mutex<State>>, request: Request<Incoming>) -> Result<Response<Full<Bytes>>, Infallible> {
    let (parts, body) = request.into_parts();
    let body = body.collect().await.unwrap().to_bytes();
    let mut state = state.lock().unwrap();
    let (_, rest) = parts.uri.path().split_once("/namespaces/proj/").unwrap();
    let (kind, name) = rest.split_once('/').map_or((rest, None), |(kind, name)| (kind, Some(name.to_owned())));
    if state.unknown.contains(&kind) {
        return Ok(refused(404, "the server could not find the requested resource"));
    }
    let Some(name) = name else {
        assert!(parts.uri.query().unwrap().contains("labelSelector"), "strangers' objects are asked for");
        let items: Vec<&Value> = state.objects.iter().filter(|((of, _), _)| of == kind).map(|(_, one)| one).collect();
        return Ok(said(200, &json!({"apiVersion": "v1", "kind": "List", "metadata": {}, "items": items})));
    };
    let key = (kind.to_owned(), name);
    if parts.method == Method::DELETE {
        state.writes.push(format!("delete {}", key.1));
        return Ok(match state.objects.remove(&key) {
            Some(object) => said(200, &object),
            None => refused(404, "not found"),
        });
    }
    assert_eq!(parts.method, Method::PATCH);
    assert!(parts.uri.query().unwrap().contains("fieldManager="), "applied by nobody");
    if state.refuses.iter().any(|refuses| *refuses == (kind, &*key.1)) {
        return Ok(refused(422, "as the test wants it"));
    }
    state.writes.push(format!("apply {}", key.1));
    let object: Value = serde_json::from_slice(&body).unwrap();
    state.objects.insert(key, object.clone());
    Ok(said(200, &object))
}

fn refused(status: u16, message: &str) -> Response<Full<Bytes>> {
    let body = json!({
        "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure", "message": message, "reason": "",
        "code": status,
    });
    said(status, &body)
}

fn said(status: u16, body: &Value) -> Response<Full<Bytes>> {
    let status = StatusCode::from_u16(status).unwrap();
    let bytes = serde_json::to_vec(body).unwrap();
    Response::builder().status(status).header("content-type", "application/json").body(Full::from(bytes)).unwrap()
}

fn kinds() -> Vec<ApiResource> {
    let kind = |group: &str, version: &str, kind: &str, plural: &str| {
        ApiResource::from_gvk_with_plural(&GroupVersionKind::gvk(group, version, kind), plural)
    };
    vec![
        kind("networking.k8s.io", "v1", "NetworkPolicy", "networkpolicies"),
        kind("traefik.io", "v1alpha1", "Middleware", "middlewares"),
        kind("", "v1", "Secret", "secrets"),
        kind("networking.k8s.io", "v1", "Ingress", "ingresses"),
    ]
}

/// An object that is made of `of`.
fn object(version: &str, kind: &str, name: &str, of: &str) -> DynamicObject {
    let metadata = json!({"name": name, "namespace": "proj", "annotations": {ROUTE: of}});
    serde_json::from_value(json!({"apiVersion": version, "kind": kind, "metadata": metadata})).unwrap()
}

fn policy() -> DynamicObject {
    object("networking.k8s.io/v1", "NetworkPolicy", "policy", "1")
}

fn guard() -> DynamicObject {
    object("traefik.io/v1alpha1", "Middleware", "guard", "1")
}

fn certificate() -> DynamicObject {
    object("v1", "Secret", "certificate", "1")
}

fn host(name: &str, of: &str) -> DynamicObject {
    object("networking.k8s.io/v1", "Ingress", name, of)
}

#[tokio::test]
async fn what_guards_a_host_is_there_before_it_and_goes_after_it() {
    let server = ApiServer::new().await;
    let wanted = [policy(), guard(), certificate(), host("web", "1"), host("docs", "1")];
    assert!(!server.brought(&wanted).await);
    assert_eq!(server.writes(), ["apply policy", "apply guard", "apply certificate", "apply web", "apply docs"]);
    // One of them is exposed no longer.
    assert!(!server.brought(&wanted[..4]).await);
    assert_eq!(server.there(), ["ingresses/web", "middlewares/guard", "networkpolicies/policy", "secrets/certificate"]);
    server.writes();
    assert!(server.brought(&[]).await, "the controller has not heard of it");
    assert_eq!(server.writes(), ["delete web"]);
    assert!(!server.brought(&[]).await);
    assert_eq!(server.writes(), ["delete certificate", "delete guard", "delete policy"]);
}

/// A port that is closed and opened again before its guards are gone.
#[tokio::test]
async fn what_is_wanted_again_in_time_was_never_away() {
    let server = ApiServer::new().await;
    let wanted = [policy(), guard(), host("web", "1")];
    assert!(!server.brought(&wanted).await);
    assert!(server.brought(&[]).await);
    server.writes();
    assert!(!server.brought(&wanted).await);
    assert_eq!(server.writes(), ["apply policy", "apply guard", "apply web"]);
}

/// A private port that was public: while the change is refused, it is nobody's.
#[tokio::test]
async fn what_cannot_be_changed_is_removed_and_the_rest_goes_on() {
    let server = ApiServer::new().await;
    server.objects().bring(&[policy(), host("web", "public"), host("docs", "1")], None).await.unwrap();
    server.state().refuses.push(("ingresses", "web"));
    let wanted = [policy(), guard(), host("web", "private"), host("docs", "2")];
    let fault = server.objects().bring(&wanted, None).await.unwrap().fault.unwrap();
    assert!(fault.message.contains("apply Ingress web"), "{fault}");
    assert_eq!(server.there(), ["ingresses/docs", "middlewares/guard", "networkpolicies/policy"]);
    assert_eq!(
        server.state().objects[&("ingresses".to_owned(), "docs".to_owned())]["metadata"]["annotations"][ROUTE],
        "2"
    );
    // It is there again once it is taken.
    server.state().refuses.clear();
    assert!(!server.brought(&wanted).await);
    assert!(server.there().contains(&"ingresses/web".to_owned()));
    // What is as it was made stays, where only the attempt fails.
    server.state().refuses.push(("ingresses", "web"));
    assert!(server.objects().bring(&wanted, None).await.unwrap().fault.is_some());
    assert!(server.there().contains(&"ingresses/web".to_owned()));
}

#[tokio::test]
async fn a_cluster_that_does_not_know_a_kind_is_told_so() {
    let server = ApiServer::new().await;
    server.state().unknown.push("middlewares");
    let fault = server.objects().bring(&[policy(), guard(), host("web", "1")], None).await.unwrap().fault.unwrap();
    assert_eq!(fault.reason, Reason::FailedPrecondition, "{fault}");
    assert!(fault.message.contains("Middleware of traefik.io"), "{fault}");
    assert!(server.brought(&[]).await);
    assert!(!server.brought(&[]).await, "there is none of it to remove");
}

/// The copy of a certificate is better than none while the original cannot be read.
#[tokio::test]
async fn what_is_kept_stays_while_it_is_not_known_what_it_should_be() {
    let server = ApiServer::new().await;
    server.objects().bring(&[policy(), certificate(), host("web", "1")], None).await.unwrap();
    assert_eq!(server.objects().bring(&[policy(), host("web", "1")], Some("Secret")).await.unwrap().fault, None);
    assert!(server.there().contains(&"secrets/certificate".to_owned()));
}
