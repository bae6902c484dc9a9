//! Who may call what. A request passes here before it reaches any service: the
//! token verifies, it is for this project and generation, and it carries the
//! method's verb. What is not in the verb table is not served.

use std::{
    convert::Infallible,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use bytes::Bytes;
use http::{Request, Response, header::AUTHORIZATION};
use remora_proto::{
    capability::CapabilityVerifier,
    fault::to_status,
    model::{Capability, Fault, Generation, ProjectId, Reason, verb_of},
};
use remora_proto_serving::{calls::Calls, linger::Lingering};
use tonic::body::Body;
use tower::Service;

use crate::{metrics::Metrics, usage::Usage};

/// What a token must be for.
#[derive(Debug)]
pub struct Gate {
    /// Verifies signatures and times.
    pub verifier: CapabilityVerifier,
    /// The only project.
    pub project: ProjectId,
    /// The only generation.
    pub generation: Generation,
}

impl Gate {
    /// The capability of a call to `path`, where it may proceed.
    pub fn admit(&self, path: &str, authorization: Option<&http::HeaderValue>) -> Result<Capability, Fault> {
        let header = authorization.ok_or_else(|| {
            Fault::new(Reason::CredentialsMissing, "the call carries no token")
                .hint("send it as metadata `authorization: Bearer <token>`")
        })?;
        let token = header.to_str().ok().and_then(|text| text.strip_prefix("Bearer ")).ok_or_else(|| {
            Fault::new(Reason::CredentialsInvalid, "the authorization metadata is no bearer token")
                .hint("send `authorization: Bearer <token>`")
        })?;
        let capability = self.verifier.verify(token)?;
        if capability.project != self.project {
            return Err(Fault::new(Reason::ProjectMismatch, "the token is for another project")
                .hint(format!("this agent serves project {}", self.project)));
        }
        if capability.generation != self.generation {
            return Err(Fault::new(
                Reason::GenerationMismatch,
                format!(
                    "the token is for generation {}, this agent is generation {}",
                    capability.generation, self.generation
                ),
            )
            .hint("the project was started again; ask the server for a new token"));
        }
        let verb = verb_of(path).ok_or_else(|| {
            Fault::new(Reason::Unimplemented, format!("this agent has no method {path:?}"))
                .hint("reflection lists the methods; the agent may be older than the caller")
        })?;
        capability.allows(verb)?;
        if let Some(prefix) = capability.path_prefix.as_ref().filter(|_| !verb.can_be_limited_to_a_folder()) {
            return Err(Fault::new(
                Reason::PathNotGranted,
                format!("{verb} is about the whole workspace, and the token is limited to {:?}", prefix.as_str()),
            )
            .hint("ask for a token without a folder"));
        }
        Ok(capability)
    }
}

/// Puts a [`Gate`] and the bound on calls before a service.
#[derive(Clone)]
pub struct Guarded<S> {
    inner: S,
    gate: Arc<Gate>,
    calls: Calls,
    metrics: Metrics,
    usage: Usage,
}

impl<S> Guarded<S> {
    /// `inner` behind `gate`.
    pub fn new(inner: S, gate: Arc<Gate>, calls: Calls, metrics: Metrics, usage: Usage) -> Self {
        Guarded { inner, gate, calls, metrics, usage }
    }
}

impl<S, B> Service<Request<B>> for Guarded<S>
where
    S: Service<Request<Lingering<B>>, Response = Response<Body>, Error = Infallible> + Clone + Send + 'static,
    S::Future: Send,
    B: http_body::Body<Data = Bytes> + Send + Unpin + 'static,
{
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Response<Body>, Infallible>> + Send>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        // Whoever answers before the end of the body, here or further on, lets the rest of it arrive.
        let mut request = request.map(Lingering::new);
        let path = request.uri().path().to_owned();
        let admitted = self.gate.admit(&path, request.headers().get(AUTHORIZATION)).and_then(|capability| {
            let permit = self.calls.enter(&path)?;
            Ok((capability, permit))
        });
        let (capability, permit) = match admitted {
            Ok(admitted) => admitted,
            Err(fault) => {
                self.metrics.refused(fault.reason);
                tracing::info!(method = %path, reason = %fault.reason, error = %fault, "call refused");
                let response = to_status(&fault).into_http();
                return Box::pin(std::future::ready(Ok(response)));
            }
        };
        self.metrics.admitted();
        tracing::debug!(method = %path, subject = %capability.sub, token = %capability.jti, "call");
        let in_use = self.usage.call(&path, &capability.sub);
        request.extensions_mut().insert(capability);
        // The clone that was polled ready is the one that is called.
        let ready = self.inner.clone();
        let future = std::mem::replace(&mut self.inner, ready).call(request);
        Box::pin(async move {
            let response = future.await?;
            Ok(response.map(|body| permit.hold(body, in_use)))
        })
    }
}
