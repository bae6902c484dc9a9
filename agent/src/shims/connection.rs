//! The connection to one shim: made, greeted, watched, and made again.

use std::{
    io,
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use hyper_util::rt::TokioIo;
use remora_agent_term::visible;
use remora_proto::{
    agent::v1::ExitStatus,
    model::ContainerName,
    shim::v1::{HelloRequest, StatusRequest, StatusResponse, shim_service_client::ShimServiceClient},
};
use remora_proto_serving::limits::MAX_HEADER_BYTES;
use tokio::{
    net::UnixStream,
    sync::watch,
    time::{Instant, sleep, timeout},
};
use tonic::{
    Request, Status,
    metadata::{Ascii, MetadataValue},
    service::{Interceptor, interceptor::InterceptedService},
    transport::{Channel, Endpoint, Uri},
};

use crate::{
    answers,
    limits::{
        SHIM_BACKOFF_MAX, SHIM_BACKOFF_MIN, SHIM_CALL_TIMEOUT, SHIM_CONNECTION_WINDOW_BYTES, SHIM_HELLO_TIMEOUT,
        SHIM_HTTP2_FRAME_BYTES, SHIM_KEEPALIVE, SHIM_STATUS_INTERVAL, SHIM_STATUS_PAUSE, SHIM_STREAM_WINDOW_BYTES,
        SHIM_TEXT_CHARACTERS,
    },
    shim::{PROTOCOL, SECRET_METADATA},
};

/// Bytes of the shims' secret: 128 bits at the least.
const MIN_SECRET_BYTES: usize = 16;

/// A connection on which every call carries the secret.
pub(crate) type Transport = InterceptedService<Channel, Secret>;

/// What the agent presents to a shim.
#[derive(Clone)]
pub struct Secret(MetadataValue<Ascii>);

impl Secret {
    /// The secret in `bytes`, without white space around it; or why it is none.
    pub(crate) fn new(bytes: &[u8]) -> Result<Secret, &'static str> {
        let bytes = bytes.trim_ascii();
        if bytes.len() < MIN_SECRET_BYTES {
            return Err("holds under 16 bytes");
        }
        let mut value = MetadataValue::try_from(bytes).map_err(|_| "holds a character other than visible ASCII")?;
        value.set_sensitive(true);
        Ok(Secret(value))
    }
}

impl Interceptor for Secret {
    fn call(&mut self, mut request: Request<()>) -> Result<Request<()>, Status> {
        request.metadata_mut().insert(SECRET_METADATA, self.0.clone());
        Ok(request)
    }
}

/// How the connection to a shim is.
#[derive(Clone)]
pub(crate) enum State {
    /// Not tried to the end yet.
    Connecting,
    Up(Up),
    /// Why.
    Down(String),
}

#[derive(Clone)]
pub(crate) struct Up {
    pub(crate) transport: Transport,
    pub(crate) boot_id: String,
    pub(crate) report: Report,
}

/// What a shim says of its container, checked.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Report {
    pub(crate) main_running: bool,
    pub(crate) main_exit: Option<ExitStatus>,
    pub(crate) terminals: u32,
    pub(crate) commands: u32,
    pub(crate) last_activity_ms: u64,
    /// Milliseconds without use when it said so.
    pub(crate) quiet_ms: u64,
    pub(crate) frozen: bool,
    /// What its command waits for before it begins, in words.
    pub(crate) waiting: String,
    /// Whether it waited as long as it may.
    pub(crate) gave_up: bool,
}

/// Keeps `state` up to date for ever.
pub(crate) async fn keep(name: ContainerName, socket: PathBuf, secret: Option<Secret>, state: watch::Sender<State>) {
    let Some(secret) = secret else {
        state.send_replace(State::Down("the agent has no secret for it (--shim-secret-file)".to_owned()));
        return state.closed().await;
    };
    let mut pause = SHIM_BACKOFF_MIN;
    let mut told = String::new();
    loop {
        let why = match connect(&name, &socket, &secret).await {
            Ok((transport, boot_id)) => {
                let since = Instant::now();
                let why = follow(&name, transport, boot_id, &state).await;
                if since.elapsed() >= SHIM_BACKOFF_MAX {
                    // One that breaks each connection at once is tried no faster for that.
                    pause = SHIM_BACKOFF_MIN;
                    told.clear();
                }
                why
            }
            Err(why) => why,
        };
        if why != told {
            tracing::info!(container = %name, socket = %socket.display(), %why, "no connection to the shim");
            told.clone_from(&why);
        }
        state.send_replace(State::Down(why));
        sleep(pause).await;
        pause = (pause * 2).min(SHIM_BACKOFF_MAX);
    }
}

/// A connection whose shim has said who it is, and the id of its start.
async fn connect(name: &ContainerName, socket: &Path, secret: &Secret) -> Result<(Transport, String), String> {
    let stream = UnixStream::connect(socket).await.map_err(|error| format!("its shim does not listen: {error}"))?;
    if !is_trusted(&stream, socket) {
        return Err("a process of another user listens at its socket".to_owned());
    }
    let greet = async {
        let channel = over(stream).await.map_err(|error| format!("its shim speaks no HTTP/2: {error}"))?;
        let transport = InterceptedService::new(channel, secret.clone());
        let hello = ShimServiceClient::new(transport.clone()).hello(HelloRequest { protocol: PROTOCOL }).await;
        let hello = hello.map_err(|status| refused(&status))?.into_inner();
        if hello.protocol != PROTOCOL {
            return Err(format!("its shim speaks protocol {}, this agent {PROTOCOL}", hello.protocol));
        }
        if hello.container != name.as_str() {
            let other: String = visible(&hello.container).chars().take(ContainerName::MAX_BYTES).collect();
            return Err(format!("the shim at its socket is of container {other:?}"));
        }
        match uuid::Uuid::try_parse(&hello.boot_id) {
            Ok(boot_id) => Ok((transport, boot_id.to_string())),
            Err(_) => Err("its shim gives no id of its start".to_owned()),
        }
    };
    timeout(SHIM_HELLO_TIMEOUT, greet).await.unwrap_or_else(|_| Err("its shim does not answer".to_owned()))
}

/// Whether the listener is of this agent's user. Root serves other users' shims:
/// each of the user who owns the socket's folder, as a shim does.
fn is_trusted(stream: &UnixStream, socket: &Path) -> bool {
    let own = rustix::process::geteuid();
    let Ok(peer) = stream.peer_cred() else { return false };
    if peer.uid() == own.as_raw() {
        return true;
    }
    let folder = socket.parent().and_then(|folder| std::fs::metadata(folder).ok());
    own.is_root() && folder.is_some_and(|folder| folder.uid() == peer.uid())
}

/// HTTP/2 over this one stream. The channel makes no other: a shim that comes
/// back is greeted anew before it is trusted with a call.
async fn over(stream: UnixStream) -> Result<Channel, tonic::transport::Error> {
    let slot = Arc::new(Mutex::new(Some(TokioIo::new(stream))));
    let once = tower::service_fn(move |_: Uri| {
        let stream = slot.lock().unwrap_or_else(PoisonError::into_inner).take();
        std::future::ready(stream.ok_or_else(|| io::Error::from(io::ErrorKind::NotConnected)))
    });
    Endpoint::from_static("http://shim")
        .initial_connection_window_size(SHIM_CONNECTION_WINDOW_BYTES)
        .initial_stream_window_size(SHIM_STREAM_WINDOW_BYTES)
        .max_frame_size(SHIM_HTTP2_FRAME_BYTES)
        .http2_max_header_list_size(MAX_HEADER_BYTES)
        .http2_keep_alive_interval(SHIM_KEEPALIVE)
        .keep_alive_timeout(SHIM_KEEPALIVE)
        .keep_alive_while_idle(true)
        .connect_with_connector(once)
        .await
}

/// Passes on what the shim says of itself until it says no more; returns why.
async fn follow(name: &ContainerName, transport: Transport, boot_id: String, state: &watch::Sender<State>) -> String {
    let mut client = ShimServiceClient::new(transport.clone());
    let interval_ms = u32::try_from(SHIM_STATUS_INTERVAL.as_millis()).unwrap_or(u32::MAX);
    let mut reports = match timeout(SHIM_CALL_TIMEOUT, client.status(StatusRequest { interval_ms })).await {
        Ok(Ok(reports)) => reports.into_inner(),
        Ok(Err(status)) => return refused(&status),
        Err(_) => return "its shim says nothing of its state".to_owned(),
    };
    let mut first = true;
    loop {
        match timeout(SHIM_STATUS_INTERVAL * 3, reports.message()).await {
            Ok(Ok(Some(report))) => {
                if std::mem::take(&mut first) {
                    tracing::info!(container = %name, %boot_id, "connected to the shim");
                }
                let (transport, boot_id) = (transport.clone(), boot_id.clone());
                state.send_replace(State::Up(Up { transport, boot_id, report: understood(report) }));
                sleep(SHIM_STATUS_PAUSE).await;
            }
            Ok(Ok(None)) => return "its shim has ended".to_owned(),
            Ok(Err(status)) => return refused(&status),
            Err(_) => return "its shim fell silent".to_owned(),
        }
    }
}

fn understood(report: StatusResponse) -> Report {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO);
    Report {
        main_running: report.main_running,
        // An end that cannot be is one that nobody observed.
        main_exit: report.main_exit.map(|exit| answers::exit(exit).unwrap_or_else(|_| answers::unknown_exit())),
        terminals: report.running_terminals,
        commands: report.running_commands,
        // Activity in the future would keep an idle project awake for ever.
        last_activity_ms: report.last_activity_ms.min(u64::try_from(now.as_millis()).unwrap_or(u64::MAX)),
        quiet_ms: report.quiet_ms,
        frozen: report.frozen,
        waiting: visible(&report.waiting).chars().take(SHIM_TEXT_CHARACTERS).collect(),
        gave_up: report.gave_up,
    }
}

/// Why the shim does not talk to us, in words of ours: its own are a stranger's.
fn refused(status: &Status) -> String {
    use remora_proto::{fault::from_status, model::Reason};
    match from_status(status).reason {
        Reason::CredentialsMissing | Reason::CredentialsInvalid => "its shim has another secret".to_owned(),
        Reason::Unimplemented => "its shim speaks another protocol".to_owned(),
        _ => "its shim broke the connection".to_owned(),
    }
}
