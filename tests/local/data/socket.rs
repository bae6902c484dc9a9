//! A client of the WebSocket of a terminal.

use futures_util::{SinkExt as _, StreamExt as _};
use remora_tests::agent::PATIENCE;
use serde_json::Value;
use tokio::{net::TcpStream, time::timeout};
use tokio_tungstenite::{
    WebSocketStream, client_async,
    tungstenite::{Error, Message, client::IntoClientRequest as _, http::HeaderValue},
};

use super::Rest;

/// An attachment; remembers what it was told.
pub(crate) struct Socket {
    stream: WebSocketStream<TcpStream>,
    pub(crate) attached: Value,
    pub(crate) protocol: Option<String>,
    /// All output so far.
    pub(crate) output: Vec<u8>,
    /// Offset of the next byte.
    pub(crate) at: u64,
    events: Vec<Value>,
}

type Dialled = Result<(WebSocketStream<TcpStream>, Option<String>), Error>;

async fn dial(rest: &Rest<'_>, id: &str, query: &str, headers: &[(&str, &str)]) -> Dialled {
    let address = rest.server.url.split("//").nth(1).unwrap();
    let url = format!("ws://{address}{}?{query}", rest.path(&format!("terminals/{id}/attach")));
    let mut request = url.into_client_request().unwrap();
    if !rest.key.is_empty() {
        request.headers_mut().insert("authorization", format!("Bearer {}", rest.key).parse().unwrap());
    }
    for (name, value) in headers {
        let name: tokio_tungstenite::tungstenite::http::HeaderName = name.parse().unwrap();
        request.headers_mut().insert(name, HeaderValue::from_str(value).unwrap());
    }
    let stream = TcpStream::connect(address).await.unwrap();
    let (stream, response) = timeout(PATIENCE, client_async(request, stream)).await.expect("an answer comes")?;
    let protocol = response.headers().get("sec-websocket-protocol").map(|value| value.to_str().unwrap().to_owned());
    Ok((stream, protocol))
}

/// The status and reason of an attachment that is refused.
pub(crate) async fn refused(rest: &Rest<'_>, id: &str, query: &str, headers: &[(&str, &str)]) -> (u16, String) {
    match dial(rest, id, query, headers).await {
        Err(Error::Http(response)) => {
            let problem: Value =
                serde_json::from_slice(response.body().as_deref().unwrap_or_default()).unwrap_or_default();
            (response.status().as_u16(), problem["reason"].as_str().unwrap_or_default().to_owned())
        }
        Err(error) => panic!("{error}"),
        Ok(_) => panic!("it was let in"),
    }
}

impl Socket {
    pub(crate) async fn attach(rest: &Rest<'_>, id: &str, query: &str) -> Socket {
        Socket::attach_with(rest, id, query, &[]).await
    }

    pub(crate) async fn attach_with(rest: &Rest<'_>, id: &str, query: &str, headers: &[(&str, &str)]) -> Socket {
        let (stream, protocol) = dial(rest, id, query, headers).await.expect("it is let in");
        let mut socket =
            Socket { stream, attached: Value::Null, protocol, output: Vec::new(), at: 0, events: Vec::new() };
        let events = socket.until(|_, events| !events.is_empty()).await;
        assert_eq!(events[0]["type"], "attached", "{events:?}");
        socket.at = events[0]["offset"].as_u64().unwrap();
        socket.attached = events[0].clone();
        socket
    }

    /// Reads until `enough` of the output and the events so far.
    pub(crate) async fn until(&mut self, enough: impl Fn(&[u8], &[Value]) -> bool) -> Vec<Value> {
        while !enough(&self.output, &self.events) {
            let message = timeout(PATIENCE, self.stream.next()).await;
            let message = message.unwrap_or_else(|_| panic!("{} bytes, {:?}", self.output.len(), self.events));
            match message.expect("the socket stands").expect("the socket stands") {
                Message::Binary(data) => {
                    self.at += data.len() as u64;
                    self.output.extend_from_slice(&data);
                }
                Message::Text(text) => {
                    let event: Value = serde_json::from_str(&text).unwrap();
                    if event["type"] == "lagged" {
                        self.at = event["to"].as_u64().unwrap();
                    }
                    if event["type"] != "heartbeat" {
                        self.events.push(event);
                    }
                }
                Message::Close(close) => panic!("closed: {close:?}, {:?}", self.events),
                _ => {}
            }
        }
        self.events.clone()
    }

    pub(crate) async fn send_text(&mut self, value: &Value) {
        self.send_raw_text(&value.to_string()).await;
    }

    pub(crate) async fn send_raw_text(&mut self, text: &str) {
        self.stream.send(Message::text(text)).await.unwrap();
    }

    pub(crate) async fn send_binary(&mut self, data: &[u8]) {
        self.stream.send(Message::binary(data.to_vec())).await.unwrap();
    }

    /// Lets the connection go without a word; the offset that was reached, and the output.
    pub(crate) fn cut(self) -> (u64, Vec<u8>) {
        (self.at, self.output)
    }

    /// Waits for the end; the code of the close frame.
    pub(crate) async fn closed(&mut self) -> Option<u16> {
        let mut code = None;
        let ended = async {
            while let Some(Ok(message)) = self.stream.next().await {
                if let Message::Close(Some(frame)) = message {
                    code = Some(frame.code.into());
                }
            }
        };
        timeout(PATIENCE, ended).await.expect("the socket ends");
        code
    }
}
