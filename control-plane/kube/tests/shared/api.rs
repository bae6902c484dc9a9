//! The API server of a cluster in this process: real HTTP, objects at their paths with
//! uids, finalizers and labels, preconditions, removals in the foreground, and rights that
//! come with a RoleBinding.

use std::{
    collections::{BTreeMap, HashMap},
    convert::Infallible,
    sync::{Arc, Mutex, MutexGuard},
};

use bytes::Bytes;
use http::{Method, Request, Response, StatusCode};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use serde_json::{Value, json};
use tokio::sync::Notify;

use crate::http_server::Server;

#[derive(Default)]
struct State {
    /// By their paths.
    objects: BTreeMap<String, Value>,
    made: u64,
    /// What was asked to be removed, in order: the path, and the uid that it was to have.
    removals: Vec<(String, Option<String>)>,
    /// How often each collection was listed.
    lists: HashMap<String, usize>,
    /// What becomes of an object between the next list of it and whatever follows.
    swap: Option<(String, Value)>,
}

#[derive(Clone)]
pub(crate) struct ApiServer {
    server: Arc<Server>,
    state: Arc<Mutex<State>>,
    listed: Arc<Notify>,
}

impl ApiServer {
    pub(crate) async fn start() -> ApiServer {
        let (state, listed) = (Arc::new(Mutex::new(State::default())), Arc::new(Notify::new()));
        let shared = (Arc::clone(&state), Arc::clone(&listed));
        let answers = |_| move |request| answer(Arc::clone(&shared.0), Arc::clone(&shared.1), request);
        let server = Arc::new(Server::start(answers).await);
        ApiServer { server, state, listed }
    }

    pub(crate) fn client(&self) -> kube::Client {
        let config = kube::Config::new(format!("http://{}", self.server.address).parse().unwrap());
        kube::Client::try_from(config).unwrap()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }

    /// Puts an object there, as somebody else would.
    pub(crate) fn put(&self, path: &str, object: Value) {
        let mut state = self.state();
        let object = state.with_uid(object, None);
        state.objects.insert(path.to_owned(), object);
    }

    /// Takes one away.
    pub(crate) fn take(&self, path: &str) {
        self.state().objects.remove(path);
    }

    /// Puts another object in the place of one, once that was listed.
    pub(crate) fn swap_once_listed(&self, path: &str, object: Value) {
        self.state().swap = Some((path.to_owned(), object));
    }

    /// All that is there.
    pub(crate) fn objects(&self) -> BTreeMap<String, Value> {
        self.state().objects.clone()
    }

    pub(crate) fn removals(&self) -> Vec<(String, Option<String>)> {
        self.state().removals.clone()
    }

    /// Waits until a collection was listed `times` more.
    pub(crate) async fn listed(&self, collection: &str, times: usize) {
        let count = || self.state().lists.get(collection).copied().unwrap_or_default();
        let wanted = count() + times;
        while count() < wanted {
            // Whoever lists at this very moment is seen by the next look.
            _ = tokio::time::timeout(std::time::Duration::from_millis(50), self.listed.notified()).await;
        }
    }
}

impl State {
    fn with_uid(&mut self, mut object: Value, uid: Option<Value>) -> Value {
        self.made += 1;
        object["metadata"]["uid"] = uid.unwrap_or_else(|| format!("00000000-0000-4000-8000-{:012x}", self.made).into());
        object["metadata"]["resourceVersion"] = self.made.to_string().into();
        object
    }

    /// Whether there is something without whose end an object's own does not come.
    fn has_dependents(&self, path: &str) -> bool {
        let uid = &self.objects[path]["metadata"]["uid"];
        let depends = |owner: &Value| owner["uid"] == *uid && owner["blockOwnerDeletion"] == true;
        let owners = |object: &Value| object["metadata"]["ownerReferences"].as_array().cloned().unwrap_or_default();
        self.objects.values().any(|object| owners(object).iter().any(depends))
    }

    /// Whether the control plane may do that: looking for pods and Deployments is for
    /// everywhere, all else in a namespace comes with the binding there.
    fn may(&self, method: &Method, path: &str) -> bool {
        let Some((root, rest)) = path.split_once("/namespaces/") else { return true };
        let Some((namespace, inside)) = rest.split_once('/') else { return true };
        let kind = inside.split('/').next().unwrap_or_default();
        let looks = method == Method::GET && !inside.contains('/') && ["pods", "deployments"].contains(&kind);
        let binding = format!("/apis/rbac.authorization.k8s.io/v1/namespaces/{namespace}/rolebindings/control-plane");
        root != "/api/v1" && kind == "rolebindings" || looks || self.objects.contains_key(&binding)
    }
}

/// The labels that a list asks for.
fn selector(query: &str) -> Vec<(String, String)> {
    let text = query.split('&').find_map(|pair| pair.strip_prefix("labelSelector=")).unwrap_or_default();
    let text = text.replace("%2F", "/").replace("%3D", "=").replace("%2C", ",");
    text.split(',').filter_map(|pair| pair.split_once('=')).map(|(k, v)| (k.to_owned(), v.to_owned())).collect()
}

async fn answer(
    state: Arc<Mutex<State>>,
    listed: Arc<Notify>,
    request: Request<Incoming>,
) -> Result<Response<Full<Bytes>>, Infallible> {
    let (parts, body) = request.into_parts();
    let body = body.collect().await.unwrap().to_bytes();
    let given: Value = serde_json::from_slice(&body).unwrap_or_default();
    let path = parts.uri.path().to_owned();
    let mut state = state.lock().unwrap();
    // Those who follow all pods come again later.
    if path == "/api/v1/pods" || !state.may(&parts.method, &path) {
        return Ok(refused(403, "forbidden"));
    }
    let apply = parts.headers.get("content-type").is_some_and(|kind| kind == "application/apply-patch+yaml");
    Ok(match parts.method {
        Method::GET if state.objects.contains_key(&path) => said(&state.objects[&path]),
        Method::GET if is_collection(&path) => {
            let wanted = selector(parts.uri.query().unwrap_or_default());
            let below = format!("{path}/");
            let is_wanted = |object: &Value| wanted.iter().all(|(k, v)| object["metadata"]["labels"][k] == **v);
            let inside = state.objects.range(below.clone()..).take_while(|(at, _)| at.starts_with(&below));
            let items: Vec<Value> = inside.map(|(_, object)| object.clone()).filter(is_wanted).collect();
            if let Some((at, object)) = state.swap.take_if(|(at, _)| at.starts_with(&below)) {
                let object = state.with_uid(object, None);
                state.objects.insert(at, object);
            }
            *state.lists.entry(path).or_default() += 1;
            listed.notify_one();
            said(&json!({ "kind": "List", "apiVersion": "v1", "metadata": {}, "items": items }))
        }
        Method::PATCH if apply || state.objects.contains_key(&path) => {
            let there = state.objects.get(&path).cloned();
            let uid = there.as_ref().map(|there| there["metadata"]["uid"].clone());
            // What is merged here is the finalizers of a project, and nobody looks at those.
            let object = state.with_uid(if apply { given } else { there.unwrap_or_default() }, uid);
            state.objects.insert(path, object.clone());
            said(&object)
        }
        Method::POST => {
            let path = format!("{path}/{}", given["metadata"]["name"].as_str().unwrap());
            if state.objects.contains_key(&path) {
                return Ok(refused(409, "it is there"));
            }
            let object = state.with_uid(given, None);
            state.objects.insert(path, object.clone());
            said(&object)
        }
        Method::DELETE if state.objects.contains_key(&path) => {
            let uid = given["preconditions"]["uid"].as_str().map(str::to_owned);
            state.removals.push((path.clone(), uid.clone()));
            // Nothing is collected here: a test takes away what depends on it, and then the object.
            let waits = given["propagationPolicy"] == "Foreground" && state.has_dependents(&path);
            let object = state.objects.get_mut(&path).unwrap();
            if uid.is_some_and(|uid| object["metadata"]["uid"] != *uid) {
                return Ok(refused(409, "it is another one"));
            }
            let held = object["metadata"]["finalizers"].as_array().is_some_and(|held| !held.is_empty());
            object["metadata"]["deletionTimestamp"] = "2026-11-26T10:00:00Z".into();
            let object = object.clone();
            if !held && !waits {
                state.objects.remove(&path);
            }
            said(&object)
        }
        _ => refused(404, "not found"),
    })
}

/// Whether a path is that of a kind in a namespace.
fn is_collection(path: &str) -> bool {
    path.split_once("/namespaces/").is_some_and(|(_, rest)| rest.split('/').count() == 2)
}

fn refused(code: u16, message: &str) -> Response<Full<Bytes>> {
    let body = json!({
        "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure",
        "message": message, "reason": if code == 404 { "NotFound" } else { "" }, "code": code,
    });
    let mut response = said(&body);
    *response.status_mut() = StatusCode::from_u16(code).unwrap();
    response
}

fn said(body: &Value) -> Response<Full<Bytes>> {
    let bytes = serde_json::to_vec(body).unwrap();
    Response::builder().header("content-type", "application/json").body(Full::from(bytes)).unwrap()
}
