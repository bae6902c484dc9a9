//! The accept loop: TLS, the client's certificate, HTTP/2 with every bound set,
//! and an end that takes no longer than it may.
//!
//! ```text
//!  accept ─► handshake ─► connection ─► (peer leaves | drain: GOAWAY, then abort)
//!              │  5 s, oldest dropped when too many wait
//!              └─ certificate without our caller's name: closed
//! ```

use std::{net::SocketAddr, pin::pin, sync::Arc, time::Duration};

use hyper_util::{rt::TokioIo, service::TowerToHyperService};
use remora_proto_serving::{
    calls::Calls,
    connections::{BelowTls, Handshakes, Reserve, below_tls, http2},
};
use rustls::pki_types::CertificateDer;
use tokio::{
    net::{TcpListener, TcpStream},
    task::JoinSet,
    time::timeout,
};
use tokio_rustls::{TlsAcceptor, server::TlsStream};
use tokio_util::sync::CancellationToken;
use tonic::service::Routes;
use x509_parser::{extensions::GeneralName, prelude::FromDer as _};

use crate::{
    auth::Guarded,
    limits::{HANDSHAKE_TIMEOUT, MAX_CONNECTIONS},
    metrics::{ConnectionCount, Metrics},
};

/// A bound port and what is served on it.
pub(crate) struct Acceptor {
    pub(crate) listener: TcpListener,
    pub(crate) tls: TlsAcceptor,
    /// The DNS name that a client certificate must carry.
    pub(crate) client_san: Arc<str>,
    pub(crate) service: Guarded<Routes>,
    pub(crate) calls: Calls,
    pub(crate) metrics: Metrics,
    /// Time for running calls to end.
    pub(crate) drain_timeout: Duration,
}

type Authenticated = Option<(TlsStream<BelowTls>, SocketAddr)>;

impl Acceptor {
    /// Serves until `stop`, then lets running calls end for the drain budget.
    pub(crate) async fn run(self, stop: CancellationToken) {
        let mut handshakes: JoinSet<Authenticated> = JoinSet::new();
        let mut waiting = Handshakes::default();
        let mut connections = JoinSet::new();
        let mut reserve = Reserve::new();
        loop {
            tokio::select! {
                () = stop.cancelled() => break,
                accepted = self.listener.accept() => match accepted {
                    Ok((stream, peer)) => {
                        waiting.add(handshakes.spawn(self.handshake(stream, peer)));
                    }
                    Err(error) => reserve.back_off(&self.listener, error).await,
                },
                Some(done) = handshakes.join_next() => match done {
                    Ok(Some((stream, peer))) if connections.len() < MAX_CONNECTIONS => {
                        connections.spawn(self.connection(stream, peer, stop.clone()));
                    }
                    Ok(Some((_, peer))) => {
                        tracing::warn!(%peer, limit = MAX_CONNECTIONS, "connection closed: too many stand");
                    }
                    Ok(None) | Err(_) => self.metrics.handshake_failed(),
                },
                Some(_) = connections.join_next() => {}
            }
        }
        drop(self.listener);
        drop(handshakes);
        let drained = timeout(self.drain_timeout, async { while connections.join_next().await.is_some() {} }).await;
        if drained.is_err() {
            tracing::warn!(calls = ?self.calls.names(), "drain budget is over; these calls are cut");
            connections.shutdown().await;
        }
    }

    /// The handshake of one connection; `None` where the peer is not our caller.
    fn handshake(&self, stream: TcpStream, peer: SocketAddr) -> impl Future<Output = Authenticated> + Send + use<> {
        let (tls, name) = (self.tls.clone(), Arc::clone(&self.client_san));
        async move {
            // Small frames of a terminal must not wait for one another (RFC 9293, 3.7.4).
            stream.set_nodelay(true).ok()?;
            let stream = match timeout(HANDSHAKE_TIMEOUT, tls.accept(below_tls(stream))).await {
                Ok(Ok(stream)) => stream,
                Ok(Err(error)) => {
                    tracing::info!(%peer, %error, "handshake failed");
                    return None;
                }
                Err(_) => return None,
            };
            let certificates = stream.get_ref().1.peer_certificates().unwrap_or_default();
            if !certificates.first().is_some_and(|certificate| carries_name(certificate, &name)) {
                tracing::warn!(%peer, expected = %name, "client certificate without the expected name");
                return None;
            }
            Some((stream, peer))
        }
    }

    fn connection(
        &self,
        stream: TlsStream<BelowTls>,
        peer: SocketAddr,
        stop: CancellationToken,
    ) -> impl Future<Output = ()> + Send + use<> {
        let service = TowerToHyperService::new(self.service.clone());
        let count: ConnectionCount = self.metrics.connection();
        async move {
            let _count = count;
            let mut connection = pin!(http2().serve_connection(TokioIo::new(stream), service));
            let ended = tokio::select! {
                ended = connection.as_mut() => ended,
                () = stop.cancelled() => {
                    connection.as_mut().graceful_shutdown();
                    connection.await
                }
            };
            if let Err(error) = ended {
                tracing::debug!(%peer, %error, "connection ended");
            }
        }
    }
}

/// Whether the certificate has `name` among its DNS names, as a whole (RFC 6125:
/// no wildcard, no prefix, no suffix). The chain was verified before.
fn carries_name(certificate: &CertificateDer<'_>, name: &str) -> bool {
    let Ok((_, parsed)) = x509_parser::certificate::X509Certificate::from_der(certificate) else { return false };
    let Ok(Some(names)) = parsed.subject_alternative_name() else { return false };
    names.value.general_names.iter().any(|found| matches!(found, GeneralName::DNSName(dns) if *dns == name))
}
