//! Connections to the server: one channel, with the caller's key and, for the
//! agent's services, the project's name in each call's metadata.

use std::{fs, time::Duration};

use remora_proto_model::{Fault, ProjectName};
use tonic::{
    metadata::{Ascii, MetadataValue},
    service::{Interceptor, interceptor::InterceptedService},
    transport::{Certificate, Channel, ClientTlsConfig, Endpoint},
};

use crate::{Context, Failure, exit::unreachable, limits::HTTP2_FRAME_BYTES};

/// How long a connection may take to stand. A person waits for it.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// A dead connection is noticed within twice this.
const KEEPALIVE: Duration = Duration::from_secs(20);

/// A channel whose calls carry the caller's credentials.
pub(crate) type Connection = InterceptedService<Channel, Credentials>;

/// The metadata of every call.
#[derive(Clone)]
pub(crate) struct Credentials {
    authorization: MetadataValue<Ascii>,
    project: Option<MetadataValue<Ascii>>,
}

impl Interceptor for Credentials {
    fn call(&mut self, mut request: tonic::Request<()>) -> Result<tonic::Request<()>, tonic::Status> {
        request.metadata_mut().insert("authorization", self.authorization.clone());
        if let Some(project) = &self.project {
            request.metadata_mut().insert("remora-project", project.clone());
        }
        Ok(request)
    }
}

/// Connects to the server for calls about projects, or, with `project`, to that
/// project's agent through the server.
pub(crate) async fn connect(context: &Context, project: Option<&ProjectName>) -> Result<Connection, Failure> {
    let channel = endpoint(context)?.connect().await.map_err(|error| unreachable(&context.server, &error))?;
    let mut authorization = MetadataValue::try_from(format!("Bearer {}", context.api_key))
        .map_err(|_| Fault::invalid("API key", "has characters that no key has; log in again"))?;
    authorization.set_sensitive(true);
    let project = project.map(|name| {
        MetadataValue::try_from(name.as_str()).expect("a project name is made of characters that headers may hold")
    });
    Ok(InterceptedService::new(channel, Credentials { authorization, project }))
}

fn endpoint(context: &Context) -> Result<Endpoint, Failure> {
    let wrong = |problem: String| {
        let shown: String = context.server.chars().take(80).collect();
        Fault::invalid("server", format!("{shown:?} {problem}"))
            .hint("write http://HOST:PORT or https://HOST:PORT in --server, REMORA_SERVER or the context file")
    };
    if !context.server.starts_with("http://") && !context.server.starts_with("https://") {
        return Err(wrong("does not begin with http:// or https://".to_owned()).into());
    }
    let endpoint = Endpoint::from_shared(context.server.clone())
        .map_err(|error| wrong(format!("is no URL: {error}")))?
        .connect_timeout(CONNECT_TIMEOUT)
        .http2_keep_alive_interval(KEEPALIVE)
        .keep_alive_timeout(KEEPALIVE)
        .max_frame_size(HTTP2_FRAME_BYTES);
    if !context.server.starts_with("https://") {
        return Ok(endpoint);
    }
    let mut tls = ClientTlsConfig::new();
    if let Some(path) = &context.ca_file {
        let pem = fs::read(path).map_err(Failure::local(path.display().to_string()))?;
        tls = tls.ca_certificate(Certificate::from_pem(pem));
    }
    endpoint.tls_config(tls).map_err(|error| unreachable(&context.server, &error))
}
