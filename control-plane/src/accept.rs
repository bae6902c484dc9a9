//! The accept loop: TLS where it is asked for, HTTP/2 or HTTP/1.1 by what the
//! client says first, every bound set, and an end that takes no longer than it may.
//!
//! ```text
//!  accept ─► handshake ─► connection ─► (peer leaves | drain: GOAWAY, then abort)
//!              5 s, oldest dropped when too many wait
//! ```

use std::{
    io::{self, Cursor},
    net::SocketAddr,
    pin::pin,
    sync::Arc,
};

use hyper::{body::Incoming, server::conn::http1};
use hyper_util::rt::{TokioIo, TokioTimer};
use remora_proto_serving::{
    calls::Calls,
    connections::{Handshakes, Reserve, below_tls, http2},
    limits::{MAX_HEADER_BYTES, MAX_SEND_BUFFER_BYTES},
};
use tokio::{
    io::{AsyncRead, AsyncReadExt as _, AsyncWrite},
    net::{TcpListener, TcpStream},
    task::JoinSet,
    time::timeout,
};
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;

use crate::{
    front::Front,
    limits::{DRAIN_TIMEOUT, HANDSHAKE_TIMEOUT, HEADER_TIMEOUT, MAX_CONNECTIONS, MAX_HEADERS},
    metrics::Metrics,
};

/// What an HTTP/2 client says first (RFC 9113, 3.4).
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

trait Stream: AsyncRead + AsyncWrite + Unpin + Send {}
impl<T: AsyncRead + AsyncWrite + Unpin + Send> Stream for T {}

/// A connection that has said what it speaks.
struct Greeted {
    stream: Box<dyn Stream>,
    http2: bool,
    peer: SocketAddr,
}

/// A bound port and what is served on it.
pub(crate) struct Acceptor {
    pub(crate) listener: TcpListener,
    pub(crate) tls: Option<TlsAcceptor>,
    pub(crate) front: Arc<Front>,
    pub(crate) calls: Calls,
    pub(crate) metrics: Metrics,
}

impl Acceptor {
    /// Serves until `stop`, then lets running calls end for the drain budget,
    /// which `hurry` cuts short.
    pub(crate) async fn run(self, stop: CancellationToken, hurry: CancellationToken) {
        let mut handshakes: JoinSet<Option<Greeted>> = JoinSet::new();
        let mut waiting = Handshakes::default();
        let mut connections = JoinSet::new();
        let mut reserve = Reserve::new();
        loop {
            tokio::select! {
                () = stop.cancelled() => break,
                accepted = self.listener.accept() => match accepted {
                    Ok((stream, peer)) => {
                        waiting.add(handshakes.spawn(handshake(self.tls.clone(), stream, peer)));
                    }
                    Err(error) => reserve.back_off(&self.listener, error).await,
                },
                Some(done) = handshakes.join_next() => match done {
                    Ok(Some(greeted)) if connections.len() < MAX_CONNECTIONS => {
                        connections.spawn(self.connection(greeted, stop.clone()));
                    }
                    Ok(Some(Greeted { peer, .. })) => {
                        tracing::warn!(%peer, limit = MAX_CONNECTIONS, "connection closed: too many stand");
                    }
                    Ok(None) | Err(_) => self.metrics.handshake_failed(),
                },
                Some(_) = connections.join_next() => {}
            }
        }
        drop(self.listener);
        drop(handshakes);
        let ended = async { while connections.join_next().await.is_some() {} };
        let drained = tokio::select! {
            drained = timeout(DRAIN_TIMEOUT, ended) => drained.is_ok(),
            () = hurry.cancelled() => false,
        };
        if !drained {
            tracing::info!(calls = ?self.calls.names(), "drain budget is over; these calls are cut");
            connections.shutdown().await;
        }
    }

    fn connection(&self, greeted: Greeted, stop: CancellationToken) -> impl Future<Output = ()> + Send + use<> {
        let (front, count) = (Arc::clone(&self.front), self.metrics.connection());
        async move {
            let _count = count;
            let Greeted { stream, http2: is_http2, peer } = greeted;
            let service = hyper::service::service_fn(move |request: http::Request<Incoming>| {
                let front = Arc::clone(&front);
                async move { Ok::<_, std::convert::Infallible>(front.answer(request).await) }
            });
            let ended = if is_http2 {
                let mut connection = pin!(http2().serve_connection(TokioIo::new(stream), service));
                tokio::select! {
                    ended = connection.as_mut() => ended,
                    () = stop.cancelled() => {
                        connection.as_mut().graceful_shutdown();
                        connection.await
                    }
                }
            } else {
                let served = http1_builder().serve_connection(TokioIo::new(stream), service);
                // A WebSocket goes on after its connection has ended as one of HTTP.
                let mut connection = pin!(served.with_upgrades());
                tokio::select! {
                    ended = connection.as_mut() => ended,
                    () = stop.cancelled() => {
                        connection.as_mut().graceful_shutdown();
                        connection.await
                    }
                }
            };
            if let Err(error) = ended {
                tracing::debug!(%peer, %error, "connection ended");
            }
        }
    }
}

fn http1_builder() -> http1::Builder {
    let mut http1 = http1::Builder::new();
    http1
        .timer(TokioTimer::new())
        .header_read_timeout(HEADER_TIMEOUT)
        .max_headers(MAX_HEADERS)
        .max_buf_size(MAX_HEADER_BYTES as usize + MAX_SEND_BUFFER_BYTES);
    http1
}

async fn handshake(tls: Option<TlsAcceptor>, stream: TcpStream, peer: SocketAddr) -> Option<Greeted> {
    // Small frames of a terminal must not wait for one another (RFC 9293, 3.7.4).
    stream.set_nodelay(true).ok()?;
    let greeting = async {
        match tls {
            Some(tls) => {
                let stream = tls.accept(below_tls(stream)).await?;
                let http2 = stream.get_ref().1.alpn_protocol() == Some(b"h2");
                Ok(Greeted { stream: Box::new(stream), http2, peer })
            }
            None => plain(stream, peer).await,
        }
    };
    match timeout(HANDSHAKE_TIMEOUT, greeting).await {
        Ok(Ok(greeted)) => Some(greeted),
        Ok(Err(error)) => {
            tracing::debug!(%peer, %error, "handshake failed");
            None
        }
        Err(_) => None,
    }
}

/// Without TLS there is no ALPN: the first bytes say whether it is HTTP/2 with prior knowledge.
async fn plain(mut stream: TcpStream, peer: SocketAddr) -> io::Result<Greeted> {
    let mut first = Vec::with_capacity(PREFACE.len());
    let http2 = loop {
        let mut byte = [0_u8; PREFACE.len()];
        let read = stream.read(&mut byte[..PREFACE.len() - first.len()]).await?;
        if read == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        first.extend_from_slice(&byte[..read]);
        if !PREFACE.starts_with(&first) {
            break false;
        }
        if first.len() == PREFACE.len() {
            break true;
        }
    };
    let (read, write) = stream.into_split();
    let stream = tokio::io::join(Cursor::new(first).chain(read), write);
    Ok(Greeted { stream: Box::new(stream), http2, peer })
}
