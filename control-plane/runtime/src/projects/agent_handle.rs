//! [`AgentHandle`]: a connection to one generation's agent, and tokens for it.

use std::{
    fmt, io,
    net::SocketAddr,
    sync::{Arc, Weak},
    time::Duration,
};

use hyper_util::rt::TokioIo;
use remora_proto_model::{Capability, ContainerName, Fault, Generation, PathPrefix, ProjectId, Reason, Verb};
use tokio::{io::BufReader, net::TcpStream};
use tonic::transport::{Channel, Endpoint, Uri};
use uuid::Uuid;

use super::{Inner, now_ms};
use crate::limits::{
    ASK_TIMEOUT, CONNECTION_WINDOW_BYTES, HTTP2_FRAME_BYTES, KEEPALIVE, STREAM_WINDOW_BYTES, TLS_READ_BYTES,
};

/// The way to the agent of a project that is ready.
#[derive(Clone)]
pub struct AgentHandle {
    /// The project.
    pub project: ProjectId,
    /// The generation that this agent serves, and the only one its tokens open.
    pub generation: Generation,
    /// Mutual TLS, kept alive, shared by every call.
    pub channel: Channel,
    /// Where it serves.
    pub(crate) address: SocketAddr,
    /// Its containers; the first is the default one.
    pub containers: Vec<ContainerName>,
    /// Weak: a handle that a caller keeps must not keep the server.
    inner: Weak<Inner>,
}

/// A capability token, fresh from the signer.
#[derive(Clone, Debug)]
pub struct Minted {
    /// Send it as `authorization: Bearer <token>`.
    pub token: String,
    /// When it ends, in milliseconds since the epoch.
    pub expires_ms: u64,
    /// Its own id, for the audit record.
    pub id: String,
}

impl AgentHandle {
    /// Connects at the first call.
    pub(crate) fn dial(
        inner: &Arc<Inner>,
        project: ProjectId,
        generation: Generation,
        address: SocketAddr,
        containers: Vec<ContainerName>,
    ) -> Result<Self, tonic::transport::Error> {
        let channel = Endpoint::from_shared(format!("https://{address}"))?
            .tls_config(inner.identity.client_tls(project, generation))?
            .connect_timeout(ASK_TIMEOUT)
            .http2_keep_alive_interval(KEEPALIVE)
            .keep_alive_timeout(KEEPALIVE)
            .keep_alive_while_idle(true)
            .max_frame_size(HTTP2_FRAME_BYTES)
            .initial_stream_window_size(STREAM_WINDOW_BYTES)
            .initial_connection_window_size(CONNECTION_WINDOW_BYTES)
            .connect_with_connector_lazy(tower::service_fn(move |_: Uri| connected(address)));
        Ok(AgentHandle { project, generation, channel, address, containers, inner: Arc::downgrade(inner) })
    }

    /// A token that lets `subject` do `verbs` below `prefix` and in `containers`
    /// (`None` is all) for `ttl`, 1 second to 15 minutes.
    pub fn token(
        &self,
        subject: &str,
        verbs: &[Verb],
        prefix: Option<PathPrefix>,
        containers: Option<Vec<ContainerName>>,
        ttl: Duration,
    ) -> Result<Minted, Fault> {
        let seconds = ttl.as_secs();
        let most = Capability::MAX_LIFETIME_SECONDS;
        if !(1..=most).contains(&seconds) {
            return Err(Fault::invalid("ttl", format!("is {seconds} s; a token lives 1 to {most}")));
        }
        if let Some(stranger) = containers.iter().flatten().find(|name| !self.containers.contains(name)) {
            let there: Vec<&str> = self.containers.iter().map(ContainerName::as_str).collect();
            return Err(Fault::invalid("containers", format!("there is no container {stranger}"))
                .hint(format!("there are {}", there.join(", "))));
        }
        let now = now_ms() / 1_000;
        let id = Uuid::new_v4().to_string();
        let capability = Capability {
            sub: subject.to_owned(),
            aud: Capability::AUDIENCE.to_owned(),
            iat: now,
            exp: now + seconds,
            jti: id.clone(),
            project: self.project,
            generation: self.generation,
            verbs: verbs.to_vec(),
            path_prefix: prefix,
            containers,
        };
        let inner = self
            .inner
            .upgrade()
            .ok_or_else(|| Fault::new(Reason::Unavailable, "the server that knew this agent has ended"))?;
        Ok(Minted { token: inner.identity.mint(&capability), expires_ms: (now + seconds) * 1_000, id })
    }
}

/// A connection that is read in large pieces: rustls takes small ones, and each would be a system call.
async fn connected(address: SocketAddr) -> io::Result<TokioIo<BufReader<TcpStream>>> {
    let stream = TcpStream::connect(address).await?;
    // Small frames of a terminal must not wait for one another (RFC 9293, 3.7.4).
    stream.set_nodelay(true)?;
    Ok(TokioIo::new(BufReader::with_capacity(TLS_READ_BYTES, stream)))
}

impl fmt::Debug for AgentHandle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "AgentHandle({} generation {})", self.project, self.generation)
    }
}
