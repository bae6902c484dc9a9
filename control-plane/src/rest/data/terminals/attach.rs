//! A terminal over a WebSocket: one attachment of `TerminalService`, passed on
//! both ways.
//!
//! ```text
//! page ──input──► checked, numbered ──► agent
//! page ◄─output── credit is given for what the page took ◄── agent's ring
//! ```
//!
//! A viewer who does not read holds back its own attachment and nothing else:
//! output waits in the ring, and what the ring had to overwrite is told as
//! `lagged`. One who takes nothing for a minute is let go, and comes back at the
//! offset that it has reached.

use std::time::Duration;

use axum::{
    body::Body,
    extract::{Request, State},
    response::Response,
};
use futures_util::{Sink, SinkExt as _, Stream, StreamExt as _};
use http::{HeaderMap, HeaderValue, Method, StatusCode, Version, header};
use hyper::upgrade::Upgraded;
use hyper_util::rt::TokioIo;
use remora_proto::{
    agent::v1::{
        AttachStart, Attached, Credit, TerminalInput, TerminalOutput, TerminalSize, attach_start, terminal_input,
        terminal_output::Frame,
    },
    fault::from_status,
};
use remora_proto_model::{Fault, Reason};
use serde::Deserialize;
use tokio::{
    sync::mpsc,
    time::{MissedTickBehavior, interval, timeout},
};
use tokio_stream::wrappers::ReceiverStream;
use tokio_tungstenite::{
    WebSocketStream,
    tungstenite::{
        Error as SocketError, Message,
        handshake::derive_accept_key,
        protocol::{CloseFrame, Role, WebSocketConfig, frame::coding::CloseCode},
    },
};
use tonic::Streaming;
use uuid::Uuid;

use super::{
    super::agent::{Agent, Id, answer},
    frames::{self, Sequence, TerminalEvent},
    origin,
};
use crate::{
    audit::Entry,
    front::TERMINAL_PROTOCOL,
    limits::{
        MAX_SOCKET_MESSAGE_BYTES, SOCKET_CREDIT_BYTES, SOCKET_LINGER, SOCKET_PING, SOCKET_SILENCE, SOCKET_STALL,
        SOCKET_UPGRADE,
    },
    rest::{
        Shared,
        extract::Asked,
        problem::{Problem, Refused},
    },
};

/// Frames of the client on their way to the agent.
const INPUT_QUEUE: usize = 16;

/// How to attach.
#[derive(Deserialize, Default, utoipa::IntoParams)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
#[into_params(parameter_in = Query)]
pub(in crate::rest) struct Attaching {
    /// The container; empty is the project's default one.
    container: String,
    /// viewer (the default) watches; writer also types, where nobody else does; takeover also takes the place of a writer.
    #[param(inline)]
    mode: Mode,
    /// Names this client across reconnections, so that its numbered input arrives once. 1 to 64 visible characters;
    /// empty gets one, which `attached` tells.
    client_id: String,
    /// Output from this offset on: where a connection was lost, the offset that was reached.
    offset: Option<u64>,
    /// At most this many of the newest bytes.
    tail: Option<u64>,
    /// Without offset and tail: live (the default), scrollback or screen.
    #[param(inline)]
    from: Option<From>,
    /// backpressure (the default): output waits for this client; drop: always recent, and what is left out is told.
    #[param(inline)]
    lag: Lag,
    /// The client's size, applied when it is the writer.
    columns: u32,
    /// The client's size, applied when it is the writer.
    rows: u32,
}

#[derive(Clone, Copy, Default, PartialEq, Eq, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase")]
enum Mode {
    #[default]
    Viewer,
    Writer,
    Takeover,
}

#[derive(Clone, Copy, PartialEq, Eq, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase")]
enum From {
    Live,
    Scrollback,
    Screen,
}

#[derive(Clone, Copy, Default, PartialEq, Eq, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase")]
enum Lag {
    #[default]
    Backpressure,
    Drop,
}

impl Attaching {
    fn start(self, id: String) -> Result<AttachStart, Fault> {
        use attach_start::{From as Start, LagPolicy, Mode as WireMode};
        let from = match (self.offset, self.tail, self.from) {
            (Some(offset), None, None) => Start::FromOffset(offset),
            (None, Some(bytes), None) => Start::Tail(bytes),
            (None, None, None | Some(From::Live)) => Start::Live(true),
            (None, None, Some(From::Scrollback)) => Start::Scrollback(true),
            (None, None, Some(From::Screen)) => Start::Screen(true),
            _ => return Err(Fault::invalid("from", "only one of offset, tail and from says where output starts")),
        };
        let mode = match self.mode {
            Mode::Viewer => WireMode::Viewer,
            Mode::Writer => WireMode::Writer,
            Mode::Takeover => WireMode::Takeover,
        };
        let lag = match self.lag {
            Lag::Backpressure => LagPolicy::Backpressure,
            Lag::Drop => LagPolicy::Drop,
        };
        // A writer needs a name; one who brings none gets one, and is told it.
        let client_id = if self.client_id.is_empty() { Uuid::new_v4().to_string() } else { self.client_id };
        Ok(AttachStart {
            container: self.container,
            id,
            client_id,
            mode: mode.into(),
            from: Some(from),
            credit_bytes: SOCKET_CREDIT_BYTES,
            lag_policy: lag.into(),
            size: (self.columns > 0 && self.rows > 0)
                .then_some(TerminalSize { columns: self.columns, rows: self.rows }),
        })
    }
}

/// Attaches to a terminal over a WebSocket (RFC 6455). Binary frames are output, and input of a writer; text frames are
/// JSON with a `type`: TerminalEvent from the server, TerminalSaid from the client. A page, which cannot send the header
/// Authorization, offers the subprotocols `remora.terminal.v1` and `remora.bearer.TOKEN`; its origin must be this
/// server's own or an allowed one.
#[utoipa::path(
    get,
    path = "/api/v1/projects/{name}/terminals/{id}/attach",
    operation_id = "attachTerminal",
    tag = "terminals",
    params(
        ("name" = String, Path, description = "Name or id of the project"),
        ("id" = String, Path, description = "Id of the terminal"),
        Attaching
    ),
    responses(
        (status = 101, body = TerminalEvent, description = "The WebSocket stands; its first frame says attached"),
        (status = "default", body = Problem, content_type = "application/problem+json", description = "What went wrong")
    )
)]
pub(in crate::rest) async fn attach(
    State(shared): State<Shared>,
    agent: Agent,
    Id(id): Id,
    Asked(wanted): Asked<Attaching>,
    mut request: Request,
) -> Result<Response, Refused> {
    let (key, protocol) = handshake(&request)?;
    origin::check(request.headers(), request.uri(), &shared.allowed_origins)?;
    let room = shared.sockets.enter()?;
    let start = wanted.start(id)?;
    let from = start.from;
    let (input, queue) = mpsc::channel(INPUT_QUEUE);
    let first = TerminalInput { frame: Some(terminal_input::Frame::Start(start)) };
    // The queue is empty: there is room.
    _ = input.try_send(first);
    // Before the upgrade: what is refused is an answer with a status.
    let mut output = answer(agent.terminals().attach(ReceiverStream::new(queue)).await)?;
    let attached = output.message().await.map_err(|status| from_status(&status))?.and_then(|frame| frame.frame);
    let Some(Frame::Attached(attached)) = attached else {
        return Err(Refused(Fault::new(Reason::ProtocolViolation, "the agent did not say where the output starts")));
    };
    let upgrade = hyper::upgrade::on(&mut request);
    let bridge = Bridge { input, output, sequence: Sequence(attached.input_sequence), at: 0 };
    let draining = shared.control.draining.clone();
    let entry = request.extensions().get::<Entry>().cloned();
    shared.sockets.spawn(async move {
        let _room = room;
        match timeout(SOCKET_UPGRADE, upgrade).await {
            Ok(Ok(upgraded)) => {
                let stopped = async move { draining.cancelled().await };
                bridge.run(upgraded, attached, from, stopped, entry).await;
            }
            Ok(Err(error)) => tracing::debug!(%error, "a WebSocket did not come to stand"),
            Err(_) => tracing::debug!("a WebSocket did not come to stand in time"),
        }
    });
    let mut response = Response::new(Body::empty());
    *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
    let headers = response.headers_mut();
    headers.insert(header::CONNECTION, HeaderValue::from_static("upgrade"));
    headers.insert(header::UPGRADE, HeaderValue::from_static("websocket"));
    headers.extend(HeaderValue::try_from(key).ok().map(|key| (header::SEC_WEBSOCKET_ACCEPT, key)));
    if protocol {
        headers.insert(header::SEC_WEBSOCKET_PROTOCOL, HeaderValue::from_static(TERMINAL_PROTOCOL));
    }
    Ok(response)
}

/// The answer to the client's key, and whether it offered our subprotocol.
fn handshake(request: &Request) -> Result<(String, bool), Fault> {
    let headers = request.headers();
    let wrong = |field: &str, problem: &str| {
        Fault::invalid(field, problem.to_owned()).hint("attach with a WebSocket client, over HTTP/1.1")
    };
    if request.version() != Version::HTTP_11 || request.method() != Method::GET {
        return Err(wrong("upgrade", "a WebSocket begins with GET over HTTP/1.1"));
    }
    if !names(headers, header::CONNECTION, "upgrade") || !names(headers, header::UPGRADE, "websocket") {
        return Err(wrong("upgrade", "the request does not ask for a WebSocket"));
    }
    if headers.get(header::SEC_WEBSOCKET_VERSION).is_none_or(|version| version != "13") {
        return Err(wrong("sec-websocket-version", "is not 13"));
    }
    let key = headers.get(header::SEC_WEBSOCKET_KEY).filter(|key| key.len() == 24);
    let key = key.ok_or_else(|| wrong("sec-websocket-key", "is missing or no key"))?;
    let offered = headers.contains_key(header::SEC_WEBSOCKET_PROTOCOL);
    let ours = names(headers, header::SEC_WEBSOCKET_PROTOCOL, TERMINAL_PROTOCOL);
    if offered && !ours {
        return Err(wrong("sec-websocket-protocol", "does not offer remora.terminal.v1"));
    }
    Ok((derive_accept_key(key.as_bytes()), ours))
}

/// Whether a header that is a list has `word`.
fn names(headers: &HeaderMap, name: header::HeaderName, word: &str) -> bool {
    let values = headers.get_all(name).into_iter().filter_map(|value| value.to_str().ok());
    values.flat_map(|value| value.split(',')).any(|one| one.trim().eq_ignore_ascii_case(word))
}

/// One attachment.
struct Bridge {
    input: mpsc::Sender<TerminalInput>,
    output: Streaming<TerminalOutput>,
    sequence: Sequence,
    /// Offset of the next byte of output.
    at: u64,
}

/// Why a bridge ends.
enum End {
    /// After the last frame.
    Exit,
    /// The client left or can no longer be reached.
    Gone,
    /// The server stops.
    Draining,
    Refused(Fault),
}

impl Bridge {
    async fn run(
        self,
        upgraded: Upgraded,
        attached: Attached,
        from: Option<attach_start::From>,
        stopped: impl Future<Output = ()>,
        entry: Option<Entry>,
    ) {
        let config = WebSocketConfig::default()
            .max_message_size(Some(MAX_SOCKET_MESSAGE_BYTES))
            .max_frame_size(Some(MAX_SOCKET_MESSAGE_BYTES))
            .max_write_buffer_size(4 * MAX_SOCKET_MESSAGE_BYTES);
        let socket = WebSocketStream::from_raw_socket(TokioIo::new(upgraded), Role::Server, Some(config)).await;
        let (mut sink, mut stream) = socket.split();
        let Bridge { input, output, sequence, mut at } = self;
        at = start_of(&attached, from).unwrap_or(at);
        let end = tokio::select! {
            end = outward(&mut sink, output, &input, attached, at) => end,
            end = inward(&mut stream, &input, sequence) => end,
            () = stopped => End::Draining,
        };
        if let Some(entry) = entry {
            match &end {
                End::Exit => entry.ok(),
                End::Gone => entry.ended(Reason::Cancelled),
                End::Draining => entry.ended(Reason::Unavailable),
                End::Refused(fault) => entry.fault(fault),
            }
        }
        let (last, code) = match end {
            End::Gone => return,
            End::Exit => (None, CloseCode::Normal),
            End::Draining => (None, CloseCode::Away),
            End::Refused(fault) => {
                let code = if fault.reason == Reason::InvalidArgument { CloseCode::Policy } else { CloseCode::Again };
                (Some(frames::problem(&fault)), code)
            }
        };
        let close = Message::Close(Some(CloseFrame { code, reason: "".into() }));
        let closing = async {
            if let Some(last) = last {
                sink.send(last).await?;
            }
            sink.send(close).await
        };
        _ = timeout(SOCKET_STALL, closing).await;
        // A connection that is closed with something unread is reset, and a client that is
        // still sending would lose the last words with it.
        if let Ok(mut socket) = sink.reunite(stream) {
            _ = timeout(SOCKET_LINGER, tokio::io::copy(socket.get_mut(), &mut tokio::io::sink())).await;
        }
    }
}

/// The offset of the first byte of output, where it can be told before a `screen`.
fn start_of(attached: &Attached, from: Option<attach_start::From>) -> Option<u64> {
    use attach_start::From as Start;
    let held = attached.output.unwrap_or_default();
    Some(match from? {
        Start::FromOffset(offset) => attached.gap.map_or(offset, |gap| gap.to),
        Start::Scrollback(_) => held.base,
        Start::Tail(bytes) => held.head.saturating_sub(bytes).max(held.base),
        Start::Live(_) | Start::Screen(_) => held.head,
    })
}

/// What the agent says, as fast as the client takes it.
async fn outward(
    sink: &mut (impl Sink<Message, Error = SocketError> + Unpin),
    mut output: Streaming<TerminalOutput>,
    input: &mpsc::Sender<TerminalInput>,
    attached: Attached,
    mut at: u64,
) -> End {
    let gap = attached.gap;
    let (mut messages, _) = frames::out(TerminalOutput { frame: Some(Frame::Attached(attached)) }, &mut at);
    if let Some(gap) = gap {
        messages.push(frames::text(&TerminalEvent::Lagged { from: gap.from, to: gap.to }));
    }
    let mut pings = interval(SOCKET_PING);
    pings.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let (mut owed, mut over) = (0, false);
    loop {
        for message in messages {
            // Sending waits until the client has room.
            match timeout(SOCKET_STALL, sink.send(message)).await {
                Ok(Ok(())) => {}
                Ok(Err(_)) | Err(_) => return End::Gone,
            }
        }
        if over {
            return End::Exit;
        }
        if owed >= SOCKET_CREDIT_BYTES / 4 {
            let credit = terminal_input::Frame::Credit(Credit { bytes: std::mem::take(&mut owed) });
            if input.send(TerminalInput { frame: Some(credit) }).await.is_err() {
                return End::Gone;
            }
        }
        let frame = tokio::select! {
            frame = output.message() => frame,
            _ = pings.tick() => {
                messages = vec![Message::Ping(Vec::new().into())];
                continue;
            }
        };
        messages = match frame {
            Ok(Some(frame)) => {
                over = matches!(frame.frame, Some(Frame::Exit(_)));
                let (messages, bytes) = frames::out(frame, &mut at);
                owed += bytes;
                messages
            }
            Ok(None) => return End::Exit,
            Err(status) => return End::Refused(from_status(&status)),
        };
    }
}

/// What the client says.
async fn inward(
    mut stream: impl Stream<Item = Result<Message, SocketError>> + Unpin,
    input: &mpsc::Sender<TerminalInput>,
    mut sequence: Sequence,
) -> End {
    loop {
        let message = match timeout(SOCKET_SILENCE, stream.next()).await {
            // Not even a pong.
            Err(_) | Ok(None) => return End::Gone,
            Ok(Some(Err(SocketError::Capacity(_)))) => {
                return End::Refused(Fault::invalid(
                    "frame",
                    format!("has more than {MAX_SOCKET_MESSAGE_BYTES} bytes; type in smaller pieces"),
                ));
            }
            Ok(Some(Err(_)) | Some(Ok(Message::Close(_)))) => return End::Gone,
            Ok(Some(Ok(message))) => message,
        };
        match sequence.said(message) {
            Ok(Some(frame)) => {
                if input.send(frame).await.is_err() {
                    // The answer has ended, and says why.
                    std::future::pending::<()>().await;
                }
            }
            Ok(None) => {}
            Err(fault) => return End::Refused(fault),
        }
    }
}

/// Between two looks at whether anybody is there.
const _: () = assert!(Duration::as_millis(&SOCKET_SILENCE) > 2 * Duration::as_millis(&SOCKET_PING));

#[cfg(test)]
mod tests {
    use remora_proto::agent::v1::{Lagged, StreamRange};

    use super::*;

    fn attaching(query: &str) -> Result<AttachStart, Fault> {
        let uri = format!("/?{query}").parse().unwrap();
        let axum::extract::Query(wanted) = axum::extract::Query::<Attaching>::try_from_uri(&uri).unwrap();
        wanted.start("id".to_owned())
    }

    #[test]
    fn output_starts_where_the_client_says() {
        use attach_start::From as Start;
        assert_eq!(attaching("").unwrap().from, Some(Start::Live(true)));
        assert_eq!(attaching("offset=7&mode=writer&clientId=a").unwrap().from, Some(Start::FromOffset(7)));
        assert_eq!(attaching("from=screen").unwrap().from, Some(Start::Screen(true)));
        for bad in ["offset=1&tail=1", "offset=1&from=live", "tail=1&from=screen"] {
            assert!(attaching(bad).unwrap_err().message.starts_with("from:"), "{bad}");
        }
        let held = Some(StreamRange { base: 10, head: 30 });
        let attached = Attached { output: held, ..Attached::default() };
        assert_eq!(start_of(&attached, Some(Start::FromOffset(20))), Some(20));
        assert_eq!(start_of(&attached, Some(Start::Tail(100))), Some(10));
        assert_eq!(start_of(&attached, Some(Start::Tail(5))), Some(25));
        let lost = Attached { output: held, gap: Some(Lagged { from: 2, to: 10 }), ..Attached::default() };
        assert_eq!(start_of(&lost, Some(Start::FromOffset(2))), Some(10));
    }
}
