//! Connections on their way in: how many may be unfinished, what happens when
//! descriptors run out, and HTTP/2 with every bound set.

use std::{collections::VecDeque, fs::File, io};

use hyper::server::conn::http2;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use tokio::{
    io::BufReader,
    net::{TcpListener, TcpStream},
    task::AbortHandle,
    time::{sleep, timeout},
};

use crate::limits::{
    ACCEPT_BACKOFF, CONNECTION_WINDOW_BYTES, HTTP2_FRAME_BYTES, KEEPALIVE, MAX_ERROR_RESETS, MAX_HANDSHAKES,
    MAX_HEADER_BYTES, MAX_PENDING_RESETS, MAX_SEND_BUFFER_BYTES, MAX_STREAMS_PER_CONNECTION, STREAM_WINDOW_BYTES,
    TLS_READ_BYTES,
};

/// Handshakes that are under way, oldest first.
#[derive(Debug, Default)]
pub struct Handshakes(VecDeque<AbortHandle>);

impl Handshakes {
    /// Adds one, and drops the oldest where too many wait: it had the most time,
    /// and the newest may be a real client behind a flood of silent ones.
    pub fn add(&mut self, handshake: AbortHandle) {
        if self.0.len() >= MAX_HANDSHAKES {
            self.0.retain(|handshake| !handshake.is_finished());
        }
        while self.0.len() >= MAX_HANDSHAKES {
            if let Some(oldest) = self.0.pop_front() {
                oldest.abort();
            }
        }
        self.0.push_back(handshake);
    }
}

/// A descriptor kept back. It is given up when descriptors run out, so that the
/// connection that cannot be served can at least be taken off the queue and closed.
#[derive(Debug)]
pub struct Reserve(Option<File>);

impl Reserve {
    /// Takes one descriptor.
    #[expect(clippy::new_without_default, reason = "it takes a descriptor, which a default value should not")]
    pub fn new() -> Self {
        Reserve(File::open("/dev/null").ok())
    }

    /// Waits until accept(2) is worth another try after it failed with `error`.
    pub async fn back_off(&mut self, listener: &TcpListener, error: io::Error) {
        tracing::warn!(%error, "accept failed");
        self.0 = None;
        if let Ok(Ok((stream, _))) = timeout(ACCEPT_BACKOFF, listener.accept()).await {
            drop(stream);
        }
        self.0 = File::open("/dev/null").ok();
        sleep(ACCEPT_BACKOFF).await;
    }
}

/// A connection below TLS.
pub type BelowTls = BufReader<TcpStream>;

/// `stream`, read in large pieces: rustls takes small ones, and each would be a system call.
pub fn below_tls(stream: TcpStream) -> BelowTls {
    BufReader::with_capacity(TLS_READ_BYTES, stream)
}

/// An HTTP/2 server with every bound set: the libraries' defaults are not safe here.
pub fn http2() -> http2::Builder<TokioExecutor> {
    let mut http2 = http2::Builder::new(TokioExecutor::new());
    http2
        .timer(TokioTimer::new())
        .max_concurrent_streams(MAX_STREAMS_PER_CONNECTION)
        .initial_stream_window_size(STREAM_WINDOW_BYTES)
        .initial_connection_window_size(CONNECTION_WINDOW_BYTES)
        .max_frame_size(HTTP2_FRAME_BYTES)
        .max_header_list_size(MAX_HEADER_BYTES)
        .max_send_buf_size(MAX_SEND_BUFFER_BYTES)
        .max_pending_accept_reset_streams(MAX_PENDING_RESETS)
        .max_local_error_reset_streams(MAX_ERROR_RESETS)
        .keep_alive_interval(KEEPALIVE)
        .keep_alive_timeout(KEEPALIVE);
    http2
}

#[cfg(test)]
mod tests {
    use std::future::pending;

    use tokio::task::JoinSet;

    use super::*;

    #[tokio::test]
    async fn the_oldest_handshake_makes_room() {
        let (mut tasks, mut handshakes) = (JoinSet::new(), Handshakes::default());
        for _ in 0..=MAX_HANDSHAKES {
            handshakes.add(tasks.spawn(pending::<()>()));
        }
        let ended = tasks.join_next().await.unwrap();
        assert!(ended.unwrap_err().is_cancelled());
        assert_eq!((handshakes.0.len(), tasks.len()), (MAX_HANDSHAKES, MAX_HANDSHAKES));
    }
}
