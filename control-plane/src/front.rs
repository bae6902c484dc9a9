//! Where a request goes once its headers are here: gRPC to the services of the
//! control plane or through to a project's agent, everything else to REST.

mod host;
mod page;

use std::sync::Arc;

use http::{HeaderMap, Request, Response, Version, header::CONTENT_TYPE};
use http_body_util::BodyExt as _;
use hyper::body::Incoming;
use remora_proto::fault::to_status;
use remora_proto_model::{Fault, Reason};
use remora_proto_serving::{calls::Calls, linger::Lingering};
use tonic::{body::Body, service::Routes};
use tower::Service as _;

use crate::{
    audit::{Audit, Entry, Observed, Peeked},
    auth::{self, Identity},
    control::Control,
    limits::MAX_AUDIT_TARGET_CHARACTERS,
    metrics::Metrics,
    proxy::Proxy,
    rest::problem::problem,
};

pub(crate) use self::{host::Hosts, page::TERMINAL_PROTOCOL};

/// The services of one port.
pub(crate) struct Front {
    pub(crate) hosts: Hosts,
    pub(crate) calls: Calls,
    pub(crate) metrics: Metrics,
    pub(crate) control: Control,
    pub(crate) services: Routes,
    /// The methods that `services` has.
    pub(crate) methods: Vec<String>,
    pub(crate) proxy: Arc<Proxy>,
    pub(crate) rest: axum::Router,
    pub(crate) audit: Audit,
}

/// How a caller wants to hear of an error.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Surface {
    Grpc,
    Rest,
}

impl Front {
    /// Answers one request.
    pub(crate) async fn answer(&self, request: Request<Incoming>) -> Response<Body> {
        // Whoever answers before the end of the body, here or further on, lets the rest of it arrive.
        let request = request.map(Lingering::new);
        let surface = if is_grpc(&request) { Surface::Grpc } else { Surface::Rest };
        self.metrics.call(match surface {
            Surface::Grpc => "grpc",
            Surface::Rest => "rest",
        });
        let path = request.uri().path().to_owned();
        let entry = self.record(surface, &request);
        let response = self.answered(surface, &path, request, entry.as_ref()).await;
        match entry {
            Some(entry) => Observed::of(response, entry),
            None => response,
        }
    }

    /// The record of a call; a look at whether the server lives is none, and a controller's
    /// question about a request that it holds is not the caller's call.
    fn record<B>(&self, surface: Surface, request: &Request<B>) -> Option<Entry> {
        let path: String = request.uri().path().chars().take(MAX_AUDIT_TARGET_CHARACTERS).collect();
        let unasked = ["/healthz", "/readyz", "/metrics", "/openapi.json", "/auth/verify"].contains(&path.as_str())
            || path.starts_with("/grpc.health.v1.Health/");
        let (name, method) = match surface {
            Surface::Grpc => ("grpc", path),
            Surface::Rest => ("rest", format!("{} {path}", request.method())),
        };
        (!unasked).then(|| self.audit.begin(name, method, request.headers()))
    }

    async fn answered(
        &self,
        surface: Surface,
        path: &str,
        mut request: Request<Lingering<Incoming>>,
        entry: Option<&Entry>,
    ) -> Response<Body> {
        if let Some(entry) = entry {
            request.extensions_mut().insert(entry.clone());
        }
        // Counted under what is served, not under what a stranger asks for.
        let counted = if surface == Surface::Grpc { path } else { "REST" };
        let admitted = self.hosts.check(&request).and_then(|()| self.calls.enter(counted));
        let permit = match admitted {
            Ok(permit) => permit,
            Err(fault) => return self.refuse(surface, path, &fault),
        };
        let response = match surface {
            Surface::Rest => self.rest(request).await,
            Surface::Grpc if path.starts_with("/remora.agent.v1.") => {
                self.proxy.call(request.map(Body::new)).await.unwrap_or_else(|fault| self.refuse(surface, path, &fault))
            }
            Surface::Grpc => match self.admit(path, request.headers()).await {
                Ok(caller) => self.serve(request, caller).await,
                Err(fault) => self.refuse(surface, path, &fault),
            },
        };
        response.map(|body| permit.hold(body, ()))
    }

    /// Who calls a method of the server's own; nobody has to be anybody to ask for its health.
    async fn admit(&self, path: &str, headers: &HeaderMap) -> Result<Option<auth::Caller>, Fault> {
        if path.starts_with("/grpc.health.v1.Health/") {
            return Ok(None);
        }
        let caller = self.control.caller(headers).await?;
        if !self.methods.iter().any(|method| method == path) {
            let shown: String = path.chars().take(120).collect();
            return Err(Fault::new(Reason::Unimplemented, format!("this server has no method {shown:?}"))
                .hint("reflection lists the methods; the server may be older than the caller"));
        }
        Ok(Some(caller))
    }

    async fn serve(&self, mut request: Request<Lingering<Incoming>>, caller: Option<auth::Caller>) -> Response<Body> {
        let method = request.uri().path().to_owned();
        let entry = request.extensions().get::<Entry>().cloned();
        if let Some(caller) = caller {
            if let Some(entry) = &entry {
                entry.who(&Identity::Caller(caller.clone()));
            }
            tracing::debug!(method = request.uri().path(), caller = caller.name(), "call");
            request.extensions_mut().insert(caller);
        }
        let mut services = self.services.clone();
        let request = request.map(|body| match entry {
            Some(entry) => Peeked::around(Body::new(body), &method, entry),
            None => Body::new(body),
        });
        match services.call(request).await {
            Ok(response) => response.map(Body::new),
            Err(never) => match never {},
        }
    }

    async fn rest(&self, mut request: Request<Lingering<Incoming>>) -> Response<Body> {
        page::take_credentials(&mut request);
        let mut rest = self.rest.clone();
        match rest.call(request.map(axum::body::Body::new)).await {
            Ok(response) => {
                response.map(|body| Body::new(body.map_err(|error| tonic::Status::unknown(error.to_string()))))
            }
            Err(never) => match never {},
        }
    }

    fn refuse(&self, surface: Surface, path: &str, fault: &Fault) -> Response<Body> {
        self.metrics.refused(fault.reason);
        let path: String = path.chars().take(120).collect();
        tracing::info!(method = %path, reason = %fault.reason, error = %fault, "call refused");
        match surface {
            Surface::Grpc => to_status(fault).into_http(),
            Surface::Rest => problem(fault).map(Body::new),
        }
    }
}

fn is_grpc<B>(request: &Request<B>) -> bool {
    let kind = |headers: &HeaderMap| {
        let value = headers.get(CONTENT_TYPE)?.to_str().ok()?;
        let rest = value.strip_prefix("application/grpc")?;
        // Not gRPC-Web, which is another protocol.
        Some(rest.is_empty() || rest.starts_with(['+', ';']))
    };
    request.version() == Version::HTTP_2 && kind(request.headers()).unwrap_or_default()
}
