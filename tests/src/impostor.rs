//! What the user's code can put in the place of a container's shim: a listener
//! on its Unix socket that says whatever a test wants.

use std::{
    convert::Infallible,
    future::Future,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use bytes::{BufMut as _, Bytes, BytesMut};
use futures_util::{StreamExt as _, stream};
use http_body_util::{BodyExt as _, StreamBody, combinators::UnsyncBoxBody};
use hyper::{
    body::{Frame, Incoming},
    service::service_fn,
};
use hyper_util::rt::{TokioExecutor, TokioIo};
use prost::Message;
use remora_proto::shim::v1::{HelloResponse, StatusResponse};
use tokio::{
    net::{UnixListener, UnixStream},
    task::{AbortHandle, JoinSet},
};
use tonic::Status;

/// Time between two reports of an impostor that plays its part.
const REPORT: Duration = Duration::from_millis(500);

/// A false shim. Ends when dropped.
pub struct Impostor {
    /// The container that it claims to be of.
    pub name: String,
    /// Where it listens.
    pub socket: PathBuf,
    task: AbortHandle,
}

/// What it answers to a call.
#[derive(Clone)]
pub enum Answer {
    /// These bytes, and that this was all.
    Ends(Bytes),
    /// These bytes, and never an end.
    Hangs(Bytes),
    /// No answer, not even a header.
    Silence,
    /// An error.
    Refuses(Status),
}

/// A message as it travels: its flag, its length, itself.
pub fn framed(message: &impl Message) -> Bytes {
    let mut bytes = BytesMut::new();
    bytes.put_u8(0);
    bytes.put_u32(u32::try_from(message.encoded_len()).expect("a test's message is small"));
    message.encode(&mut bytes).expect("the buffer grows");
    bytes.freeze()
}

/// One message and the end.
pub fn says(message: &impl Message) -> Answer {
    Answer::Ends(framed(message))
}

/// What an honest shim of container `name` greets with.
pub fn hello(name: &str) -> HelloResponse {
    HelloResponse {
        protocol: 1,
        boot_id: uuid::Uuid::new_v4().to_string(),
        version: "0.0.0".to_owned(),
        container: name.to_owned(),
    }
}

/// The socket of the false shim `name` in `folder`.
fn listen(folder: &Path, name: &str) -> (UnixListener, PathBuf) {
    let folder = folder.join(format!("false-{name}"));
    std::fs::create_dir_all(&folder).expect("the test's folder takes folders");
    let socket = folder.join("shim.sock");
    (UnixListener::bind(&socket).expect("a new path takes a socket"), socket)
}

impl Impostor {
    /// One that does `talk` with each connection.
    pub fn raw<F>(folder: &Path, name: &str, talk: impl Fn(UnixStream) -> F + Send + 'static) -> Impostor
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let (listener, socket) = listen(folder, name);
        Impostor::over(listener, name, socket, talk)
    }

    /// One that speaks gRPC, and well, but answers a method as `answer` says.
    pub fn grpc(
        folder: &Path,
        name: &str,
        answer: impl Fn(&str) -> Option<Answer> + Send + Sync + 'static,
    ) -> Impostor {
        let (listener, socket) = listen(folder, name);
        Impostor::grpc_over(listener, name, socket, answer)
    }

    /// The same on a socket that somebody else has opened.
    pub fn grpc_over(
        listener: UnixListener,
        name: &str,
        socket: PathBuf,
        answer: impl Fn(&str) -> Option<Answer> + Send + Sync + 'static,
    ) -> Impostor {
        let (answer, container) = (Arc::new(answer), name.to_owned());
        Impostor::over(listener, name, socket, move |stream| {
            let (answer, container) = (Arc::clone(&answer), container.clone());
            async move {
                let respond = service_fn(move |request: http::Request<Incoming>| {
                    let method = request.uri().path().rsplit('/').next().unwrap_or_default().to_owned();
                    let (answer, container) = (answer(&method), container.clone());
                    async move { respond(answer, &method, &container).await }
                });
                let server = hyper::server::conn::http2::Builder::new(TokioExecutor::new());
                // A connection that the agent breaks is what some tests want.
                _ = server.serve_connection(TokioIo::new(stream), respond).await;
            }
        })
    }

    fn over<F>(
        listener: UnixListener,
        name: &str,
        socket: PathBuf,
        talk: impl Fn(UnixStream) -> F + Send + 'static,
    ) -> Impostor
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let task = tokio::spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                connections.spawn(talk(stream));
            }
        });
        Impostor { name: name.to_owned(), socket, task: task.abort_handle() }
    }

    /// As a pod takes it.
    pub fn address(&self) -> (String, PathBuf) {
        (self.name.clone(), self.socket.clone())
    }
}

impl Drop for Impostor {
    fn drop(&mut self) {
        self.task.abort();
    }
}

type Body = UnsyncBoxBody<Bytes, Infallible>;

async fn respond(answer: Option<Answer>, method: &str, container: &str) -> Result<http::Response<Body>, Infallible> {
    let body = match answer {
        Some(Answer::Silence) => std::future::pending().await,
        Some(Answer::Refuses(status)) => return Ok(status.into_http()),
        Some(Answer::Ends(bytes)) => body(stream::iter([bytes]).boxed()),
        Some(Answer::Hangs(bytes)) => body(stream::iter([bytes]).chain(stream::pending()).boxed()),
        None if method == "Hello" => body(stream::iter([framed(&hello(container))]).boxed()),
        None if method == "Status" => {
            let report = framed(&StatusResponse { main_running: true, ..StatusResponse::default() });
            let again = stream::unfold((), |()| async { Some((tokio::time::sleep(REPORT).await, ())) });
            let reports = stream::iter([report.clone()]).chain(again.map(move |()| report.clone()));
            body(reports.boxed())
        }
        None => return Ok(Status::unimplemented("an impostor knows no such method").into_http()),
    };
    let response = http::Response::builder().header("content-type", "application/grpc").body(body);
    Ok(response.expect("the headers are fixed"))
}

fn body(chunks: stream::BoxStream<'static, Bytes>) -> Body {
    let frames = chunks.map(|chunk| Ok(Frame::data(chunk)));
    let mut trailers = http::HeaderMap::new();
    trailers.insert("grpc-status", http::HeaderValue::from_static("0"));
    let end = stream::iter([Ok(Frame::trailers(trailers))]);
    StreamBody::new(frames.chain(end)).boxed_unsync()
}
