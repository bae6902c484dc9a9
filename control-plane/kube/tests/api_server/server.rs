//! An API server in this process: real HTTP, objects that are kept, watches, and faults
//! around the answers. It defaults nothing, and takes a field manager at its word.

use std::{
    convert::Infallible,
    net::SocketAddr,
    sync::{Arc, Mutex, MutexGuard},
    time::Instant,
};

use bytes::Bytes;
use futures_util::{StreamExt as _, stream};
use http::{Request, Response, StatusCode};
use http_body_util::{BodyExt, Full, StreamBody, combinators::BoxBody};
use hyper::body::{Frame, Incoming};
use serde_json::{Value, json};
use tokio::sync::watch;

use crate::{
    faults::{Fault, Faults},
    http_server::Server,
    objects::{Objects, wanted},
    place::{Asked, Place, Verb},
};

/// A request as it came.
#[derive(Clone, Debug)]
pub(crate) struct Call {
    pub(crate) at: Instant,
    pub(crate) asked: Asked,
    pub(crate) body: Value,
    pub(crate) fault: Option<Fault>,
}

/// What becomes of the watches that stand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Doom {
    /// They tell nothing any more, and do not end.
    Silent,
    /// They end in the middle of what they tell next.
    Cut,
    /// What they would tell next is known no more.
    Expired,
}

#[derive(Default)]
pub(crate) struct State {
    pub(crate) objects: Objects,
    pub(crate) faults: Faults,
    pub(crate) calls: Vec<Call>,
    /// How many watches there were.
    watches: u64,
    /// The same, when what stood then was doomed.
    doomed: Option<(u64, Doom)>,
}

impl State {
    /// Dooms every watch that stands; later ones are as they should be.
    pub(crate) fn doom(&mut self, doom: Doom) {
        self.doomed = Some((self.watches, doom));
        if doom == Doom::Expired {
            self.objects.compacted = self.objects.version;
        }
    }

    fn doom_of(&self, watch: u64) -> Option<Doom> {
        self.doomed.filter(|(before, _)| watch < *before).map(|(_, doom)| doom)
    }
}

/// See the module. Ends when it is dropped.
pub(crate) struct ApiServer {
    server: Server,
    state: Arc<Mutex<State>>,
    changes: watch::Sender<u64>,
}

type Answer = Response<BoxBody<Bytes, std::io::Error>>;

impl ApiServer {
    pub(crate) async fn new() -> ApiServer {
        let state = Arc::new(Mutex::new(State::default()));
        let changes = watch::Sender::new(0);
        let (shared, told) = (Arc::clone(&state), changes.clone());
        let server = Server::start(|_| move |request| answer(Arc::clone(&shared), told.clone(), request)).await;
        ApiServer { server, state, changes }
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.server.address
    }

    pub(crate) fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }

    /// Changes something beside every client, and tells the watches.
    pub(crate) fn with<T>(&self, change: impl FnOnce(&mut State) -> T) -> T {
        let mut state = self.state();
        let outcome = change(&mut state);
        self.changes.send_replace(state.objects.version);
        outcome
    }

    /// The state to share with a task, and what says that it changed.
    pub(crate) fn shared(&self) -> (Arc<Mutex<State>>, watch::Sender<u64>) {
        (Arc::clone(&self.state), self.changes.clone())
    }

    /// Puts an object there as somebody else would.
    pub(crate) fn put(&self, resource: &str, namespace: &str, object: Value) {
        let name = object["metadata"]["name"].as_str().unwrap().to_owned();
        let place = Place { resource: resource.to_owned(), namespace: namespace.to_owned(), name };
        self.with(|state| state.objects.store(&place, object));
    }
}

/// A client as the control plane's, of the server at `address`.
pub(crate) fn client(address: SocketAddr) -> kube::Client {
    let config = kube::Config::new(format!("http://{address}").parse().unwrap());
    remora_control_plane_kube::client_of(config).unwrap()
}

async fn answer(
    shared: Arc<Mutex<State>>,
    changes: watch::Sender<u64>,
    request: Request<Incoming>,
) -> Result<Answer, Infallible> {
    let (parts, body) = request.into_parts();
    let asked = Asked::of(&parts.method, &parts.uri, &parts.headers);
    // Whoever was cut while it asked has asked nothing.
    let Ok(body) = body.collect().await else { return std::future::pending().await };
    let body: Value = serde_json::from_slice(&body.to_bytes()).unwrap_or(Value::Null);
    let (fault, answered) = {
        let mut state = shared.lock().unwrap();
        let fault = state.faults.meets(&asked, &body);
        state.calls.push(Call { at: Instant::now(), asked: asked.clone(), body: body.clone(), fault });
        let answered = match fault {
            Some(Fault::Status(status)) => Some(said(refusal(status, "", "as the test wants it"), None)),
            Some(Fault::Later(status, seconds)) => {
                Some(said(refusal(status, "TooManyRequests", "as the test wants it"), Some(seconds)))
            }
            Some(Fault::Silence | Fault::Held) => None,
            None if asked.verb == Verb::Watch => {
                Some(watched(&mut state, Arc::clone(&shared), &changes, asked.clone()))
            }
            None | Some(Fault::Lost | Fault::Late) => {
                let outcome = done(&mut state.objects, &asked, &body);
                changes.send_replace(state.objects.version);
                (fault != Some(Fault::Lost)).then(|| said(outcome, None))
            }
        };
        (fault, answered)
    };
    match (fault, answered) {
        (Some(Fault::Late), Some(answer)) => {
            released(&shared, &changes).await;
            return Ok(answer);
        }
        (_, Some(answer)) => return Ok(answer),
        (Some(Fault::Held), None) => released(&shared, &changes).await,
        (_, None) => return std::future::pending().await,
    }
    let mut state = shared.lock().unwrap();
    let outcome = done(&mut state.objects, &asked, &body);
    changes.send_replace(state.objects.version);
    Ok(said(outcome, None))
}

/// Waits until what is held may go on.
async fn released(shared: &Mutex<State>, changes: &watch::Sender<u64>) {
    let mut heard = changes.subscribe();
    while !shared.lock().unwrap().faults.released {
        // The sender is this server's own.
        _ = heard.changed().await;
    }
}

fn done(objects: &mut Objects, asked: &Asked, body: &Value) -> (u16, Value) {
    match asked.verb {
        Verb::List => {
            let items = objects.list(asked);
            let end = asked.limit.map_or(items.len(), |limit| items.len().min(asked.after + limit));
            let more = (end < items.len()).then(|| end.to_string());
            let items = &items[asked.after.min(end)..end];
            let metadata = json!({ "resourceVersion": objects.version.to_string(), "continue": more });
            (200, json!({ "apiVersion": "v1", "kind": "List", "metadata": metadata, "items": items }))
        }
        Verb::Get => match objects.get(&asked.place) {
            Some(object) => (200, object.clone()),
            None => refusal(404, "NotFound", &format!("there is no {}", asked.place.name)),
        },
        _ => match objects.write(asked, body) {
            Ok(object) => (200, object),
            Err((status, reason, message)) => refusal(status, reason, &message),
        },
    }
}

/// Tells every change after the version that was asked for, until it is doomed.
fn watched(state: &mut State, shared: Arc<Mutex<State>>, changes: &watch::Sender<u64>, asked: Asked) -> Answer {
    let from = asked.version.unwrap_or(state.objects.version);
    if from < state.objects.compacted {
        // As the real one: the watch begins, and its only event says it (kubernetes#25151).
        return said((200, expired()), None);
    }
    let watch = state.watches;
    state.watches += 1;
    let begun = (shared, changes.subscribe(), from, Then::GoesOn);
    let told = stream::unfold(begun, move |(shared, mut heard, from, then)| {
        let asked = asked.clone();
        async move {
            match then {
                Then::GoesOn => {}
                Then::Ends => return None,
                // Without its end: whoever reads it sees that something is missing.
                Then::IsCut => return Some((Err(std::io::Error::other("cut")), (shared, heard, from, then))),
            }
            loop {
                heard.borrow_and_update();
                let step = next(&shared.lock().unwrap(), watch, &asked, from);
                match step {
                    Step::Tell(text, at, then) => return Some((Ok(text), (shared, heard, at, then))),
                    Step::Wait => heard.changed().await.ok()?,
                }
            }
        }
    });
    let body = StreamBody::new(told.map(|text| text.map(|text: String| Frame::data(Bytes::from(text)))));
    Response::builder().header("content-type", "application/json").body(BodyExt::boxed(body)).unwrap()
}

/// What becomes of a watch after it has told something.
enum Then {
    GoesOn,
    Ends,
    IsCut,
}

enum Step {
    /// With the version from which on the next is told.
    Tell(String, u64, Then),
    Wait,
}

fn next(state: &State, watch: u64, asked: &Asked, from: u64) -> Step {
    let doom = state.doom_of(watch);
    if doom == Some(Doom::Silent) {
        return Step::Wait;
    }
    if doom == Some(Doom::Expired) {
        return Step::Tell(format!("{}\n", expired()), from, Then::Ends);
    }
    let log = &state.objects.log;
    let told = log.iter().find(|logged| logged.version > from && wanted(asked, &logged.place, &logged.object));
    let Some(told) = told else { return Step::Wait };
    let text = format!("{}\n", json!({ "type": told.kind, "object": told.object }));
    if doom == Some(Doom::Cut) {
        return Step::Tell(text[..text.len() / 2].to_owned(), from, Then::IsCut);
    }
    Step::Tell(text, told.version, Then::GoesOn)
}

/// The event that ends a watch of what is not known any more.
fn expired() -> Value {
    let (_, status) = refusal(410, "Expired", "too old resource version");
    json!({ "type": "ERROR", "object": status })
}

fn refusal(status: u16, reason: &str, message: &str) -> (u16, Value) {
    let body = json!({
        "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure",
        "message": message, "reason": if status == 409 && reason.is_empty() { "Conflict" } else { reason }, "code": status,
    });
    (status, body)
}

fn said((status, body): (u16, Value), after: Option<u64>) -> Answer {
    let bytes = Full::new(Bytes::from(serde_json::to_vec(&body).unwrap()));
    let mut response =
        Response::builder().status(StatusCode::from_u16(status).unwrap()).header("content-type", "application/json");
    if let Some(after) = after {
        response = response.header("retry-after", after.to_string());
    }
    response.body(bytes.map_err(|never| match never {}).boxed()).unwrap()
}
