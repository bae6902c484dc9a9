//! The way of REST to a project's agent: a transport of gRPC clients whose calls
//! go through the proxy, so that both surfaces have one authorisation, one set of
//! bounds and the same errors.

use std::{
    convert::Infallible,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use http::{HeaderValue, Request, Response, header::AUTHORIZATION};
use remora_proto::{
    fault::to_status,
    model::{Fault, Reason},
};
use tonic::body::Body;
use tower::Service;

use super::{PROJECT, Proxy};
use crate::audit::Entry;

/// A transport for one caller and one project. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Through {
    proxy: Arc<Proxy>,
    authorization: HeaderValue,
    project: HeaderValue,
    /// The record of the caller's request, which is one however many calls it takes.
    entry: Option<Entry>,
}

impl Through {
    /// Calls the agent of `project` with the credentials in `authorization`.
    pub(crate) fn new(
        proxy: Arc<Proxy>,
        authorization: &HeaderValue,
        project: &str,
        entry: Option<Entry>,
    ) -> Result<Self, Fault> {
        let project = HeaderValue::try_from(project).map_err(|_| {
            Fault::new(Reason::NotFound, format!("there is no project {project:?}"))
                .hint("list the projects to see their names")
        })?;
        let mut authorization = authorization.clone();
        authorization.set_sensitive(true);
        Ok(Through { proxy, authorization, project, entry })
    }
}

impl Service<Request<Body>> for Through {
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Response<Body>, Infallible>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, mut request: Request<Body>) -> Self::Future {
        let headers = request.headers_mut();
        headers.insert(AUTHORIZATION, self.authorization.clone());
        headers.insert(PROJECT, self.project.clone());
        if let Some(entry) = &self.entry {
            request.extensions_mut().insert(entry.clone());
        }
        let proxy = Arc::clone(&self.proxy);
        Box::pin(async move { Ok(proxy.call(request).await.unwrap_or_else(|fault| to_status(&fault).into_http())) })
    }
}
