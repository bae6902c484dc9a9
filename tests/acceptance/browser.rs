//! What a browser does with the dev server: pages over HTTP and the HMR WebSocket.

use std::time::{Duration, Instant};

use futures_util::StreamExt as _;
use serde_json::Value;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    time::{sleep, timeout},
};
use tokio_tungstenite::{
    MaybeTlsStream, WebSocketStream, connect_async,
    tungstenite::{Message, client::IntoClientRequest as _, http::HeaderValue},
};

/// Pause between two attempts to connect, which fail at once while nothing listens.
const LOOK: Duration = Duration::from_millis(50);
/// Longest wait for an update after an edit.
const UPDATE_WITHIN: Duration = Duration::from_secs(30);

/// The body at `path`, as soon as the server answers 200.
pub(crate) async fn get(port: u16, path: &str, within_seconds: u64) -> String {
    let deadline = Instant::now() + Duration::from_secs(within_seconds);
    loop {
        match request(port, path).await {
            Ok(answer) if answer.starts_with("HTTP/1.1 200") => return answer,
            other if Instant::now() > deadline => panic!("GET {path}: no 200 in time; last {other:?}"),
            _ => sleep(LOOK).await,
        }
    }
}

/// One exchange without keep-alive; chunk sizes stay in the text, which nobody here minds.
async fn request(port: u16, path: &str) -> std::io::Result<String> {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).await?;
    let head = format!("GET {path} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nAccept: */*\r\nConnection: close\r\n\r\n");
    stream.write_all(head.as_bytes()).await?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).await?;
    Ok(String::from_utf8_lossy(&answer).into_owned())
}

/// The WebSocket on which the dev server tells a page what changed.
pub(crate) struct HmrSocket(WebSocketStream<MaybeTlsStream<TcpStream>>);

impl HmrSocket {
    /// Connects as the page's client does, with the token that the client carries.
    pub(crate) async fn open(port: u16) -> Self {
        let client = get(port, "/@vite/client", 30).await;
        let token = client.split("wsToken = \"").nth(1).and_then(|rest| rest.split('"').next()).expect("a token");
        let mut request = format!("ws://127.0.0.1:{port}/?token={token}").into_client_request().unwrap();
        request.headers_mut().insert("sec-websocket-protocol", HeaderValue::from_static("vite-hmr"));
        let (socket, _) = connect_async(request).await.expect("the HMR socket opens");
        HmrSocket(socket)
    }

    /// Waits for the update frame that names `path`.
    pub(crate) async fn update_of(mut self, path: &str) -> Value {
        let mut seen = Vec::new();
        let search = async {
            while let Some(message) = self.0.next().await {
                let Message::Text(text) = message.expect("the socket lives") else { continue };
                let frame: Value = serde_json::from_str(&text).expect("frames are JSON");
                let updates = frame["updates"].as_array().cloned().unwrap_or_default();
                if let Some(update) = updates.into_iter().find(|update| update["path"] == path) {
                    return Some(update);
                }
                seen.push(frame);
            }
            None
        };
        let found = timeout(UPDATE_WITHIN, search).await;
        found.ok().flatten().unwrap_or_else(|| panic!("no update of {path}; frames were {seen:?}"))
    }
}
