//! The port for probes and metrics: plain HTTP/1.1, no authentication, nothing
//! on it that a stranger may not know.
//!
//! - `/livez` (and `/healthz`, the older name): the process serves. For liveness and for
//!   startup: the containers' shims start only after the agent has.
//! - `/readyz`: a call would be served. The shim of every container answers, the workspace
//!   is whole, and the agent was not told to stop. Never for startup.

use std::{convert::Infallible, sync::Arc};

use bytes::Bytes;
use http::{Request, Response, StatusCode, header::CONTENT_TYPE};
use http_body_util::Full;
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use prometheus_client::registry::Registry;
use tokio::{net::TcpListener, sync::Semaphore, time::timeout};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use crate::{
    limits::{MAX_PROBE_CONNECTIONS, PROBE_TIMEOUT},
    metrics,
    shims::Shims,
    snapshots::Snapshots,
};

/// What decides whether the agent is ready.
#[derive(Clone)]
pub(crate) struct Readiness {
    /// Cancelled once it is told to stop.
    pub(crate) draining: CancellationToken,
    /// Whose workspace may be half way to a snapshot.
    pub(crate) restoring: Option<Snapshots>,
    /// The containers, whose shims may not answer.
    pub(crate) shims: Arc<Shims>,
}

impl Readiness {
    /// Why it is not ready.
    fn obstacle(&self) -> Option<&'static str> {
        if self.draining.is_cancelled() {
            return Some("draining\n");
        }
        if self.restoring.as_ref().is_some_and(Snapshots::is_restoring) {
            return Some("restoring\n");
        }
        (!self.shims.all_up()).then_some("a container's shim does not answer\n")
    }
}

/// Serves probes until `stop`.
pub(crate) async fn run(listener: TcpListener, registry: Arc<Registry>, readiness: Readiness, stop: CancellationToken) {
    let room = Arc::new(Semaphore::new(MAX_PROBE_CONNECTIONS));
    let tasks = TaskTracker::new();
    loop {
        let stream = tokio::select! {
            () = stop.cancelled() => return,
            accepted = listener.accept() => match accepted {
                Ok((stream, _)) => stream,
                Err(error) => {
                    tracing::warn!(%error, "accept failed on the probe port");
                    tokio::time::sleep(remora_proto_serving::limits::ACCEPT_BACKOFF).await;
                    continue;
                }
            },
        };
        // A full house closes the newcomer: a probe comes again.
        let Ok(permit) = Arc::clone(&room).try_acquire_owned() else { continue };
        let (registry, readiness) = (Arc::clone(&registry), readiness.clone());
        tasks.spawn(async move {
            let _permit = permit;
            let service = service_fn(move |request: Request<Incoming>| {
                let response = answer(request.uri().path(), &registry, readiness.obstacle());
                async move { Ok::<_, Infallible>(response) }
            });
            let mut http1 = http1::Builder::new();
            http1.timer(TokioTimer::new()).keep_alive(false);
            // A client that leaves or stalls has itself to thank.
            _ = timeout(PROBE_TIMEOUT, http1.serve_connection(TokioIo::new(stream), service)).await;
        });
    }
}

fn answer(path: &str, registry: &Registry, obstacle: Option<&'static str>) -> Response<Full<Bytes>> {
    let (status, kind, body) = match path {
        "/livez" | "/healthz" => (StatusCode::OK, "text/plain", "ok\n".to_owned()),
        "/readyz" => match obstacle {
            Some(obstacle) => (StatusCode::SERVICE_UNAVAILABLE, "text/plain", obstacle.to_owned()),
            None => (StatusCode::OK, "text/plain", "ok\n".to_owned()),
        },
        // https://prometheus.io/docs/specs/om/open_metrics_spec/
        "/metrics" => {
            (StatusCode::OK, "application/openmetrics-text; version=1.0.0; charset=utf-8", metrics::text(registry))
        }
        _ => (StatusCode::NOT_FOUND, "text/plain", "here are /livez, /healthz, /readyz and /metrics\n".to_owned()),
    };
    let mut response = Response::new(Full::from(body));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, http::HeaderValue::from_static(kind));
    response
}
