//! The server's REST API over HTTP/1.1, as any program without gRPC speaks it.

use bytes::Bytes;
use http::{Request, StatusCode, header};
use http_body_util::{BodyExt as _, Full};
use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;
use serde_json::Value;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpStream,
    task::JoinHandle,
    time::timeout,
};

use crate::patience::LOOK_PATIENCE;

/// An answer of REST.
#[derive(Debug)]
pub struct Answer {
    /// The status.
    pub status: StatusCode,
    /// The headers.
    pub headers: http::HeaderMap,
    /// The body.
    pub body: Bytes,
}

impl Answer {
    /// The body as JSON.
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|_| panic!("not JSON: {self:?}"))
    }

    /// The stable word of an error.
    pub fn reason(&self) -> String {
        assert_eq!(self.headers[header::CONTENT_TYPE], "application/problem+json", "{self:?}");
        self.json()["reason"].as_str().expect("a problem has a reason").to_owned()
    }

    /// The body as JSON, of an answer that has to be `status`.
    #[track_caller]
    pub fn ok(self, status: u16) -> Value {
        assert_eq!(self.status, status, "{self:?}");
        self.json()
    }

    /// The status and the stable word of a refusal.
    pub fn refusal(&self) -> (u16, String) {
        (self.status.as_u16(), self.reason())
    }
}

/// Calls the server at `url` with `headers` and `body` alone, on a connection of its own.
pub async fn request(url: &str, method: &str, path: &str, headers: &[(&str, &str)], body: impl Into<Bytes>) -> Answer {
    let address = url.split("//").nth(1).expect("a URL has a host");
    let stream = TcpStream::connect(address).await.expect("the server listens");
    let host = [("host", address)];
    let host = if headers.iter().any(|(name, _)| *name == "host") { &[][..] } else { &host[..] };
    request_over(stream, method, path, &[host, headers].concat(), body).await
}

/// The same over a connection that stands, which is that of this call alone.
pub async fn request_over(
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    method: &str,
    path: &str,
    headers: &[(&str, &str)],
    body: impl Into<Bytes>,
) -> Answer {
    Connection::over(stream).await.request(method, path, headers, body).await
}

/// A connection for one call after the other. Cut when dropped.
pub(crate) struct Connection {
    sender: SendRequest<Full<Bytes>>,
    driver: JoinHandle<hyper::Result<()>>,
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.driver.abort();
    }
}

impl Connection {
    pub(crate) async fn over(stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static) -> Connection {
        let (sender, connection) = http1::handshake(TokioIo::new(stream)).await.expect("HTTP/1.1 is spoken");
        Connection { sender, driver: tokio::spawn(connection) }
    }

    pub(crate) async fn request(
        &mut self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: impl Into<Bytes>,
    ) -> Answer {
        let mut request = Request::builder().method(method).uri(path);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let request = request.body(Full::new(body.into())).expect("a request");
        let answered = async {
            self.sender.ready().await.expect("the connection stands");
            let response = self.sender.send_request(request).await.expect("an answer comes");
            let (parts, body) = response.into_parts();
            let body = body.collect().await.expect("the body comes").to_bytes();
            Answer { status: parts.status, headers: parts.headers, body }
        };
        timeout(LOOK_PATIENCE, answered).await.expect("an answer comes in time")
    }
}

/// Calls a whole `url`, which may be another server's, with `headers` and `body` alone.
pub async fn fetch(url: &str, method: &str, headers: &[(&str, &str)], body: impl Into<Bytes>) -> Answer {
    let host = url.split("//").nth(1).and_then(|rest| rest.find('/')).expect("a URL has a host and a path");
    let (server, path) = url.split_at(url.find("//").expect("a URL has a scheme") + 2 + host);
    request(server, method, path, headers, body).await
}

/// Calls the server at `url` as the one with `credential`, a key or a token.
pub async fn request_as(url: &str, credential: &str, method: &str, path: &str, body: Option<&Value>) -> Answer {
    let authorization = format!("Bearer {credential}");
    let mut headers = vec![("authorization", authorization.as_str())];
    let bytes = body.map(Value::to_string).unwrap_or_default();
    if body.is_some() {
        headers.push(("content-type", "application/json"));
    }
    request(url, method, path, &headers, bytes).await
}
