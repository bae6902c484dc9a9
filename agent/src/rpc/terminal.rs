//! `TerminalService`: each call is authorised and checked, goes to the shim of
//! its container, and the shim's answer is checked before it is passed on.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

use futures_util::stream::{self, BoxStream, Stream, StreamExt as _};
use remora_agent_term::{KILL_SETTLE, Mode, PIPE_DRAIN};
use remora_proto::{
    agent::v1::{
        AttachStart, CloseTerminalRequest, CloseTerminalResponse, GetTerminalRequest, ListTerminalsRequest,
        ListTerminalsResponse, OpenTerminalRequest, ResizeTerminalRequest, ResizeTerminalResponse, ScreenRequest,
        ScreenResponse, SignalResponse, SignalTerminalRequest, Terminal, TerminalInput, TerminalOutput,
        WriteTerminalRequest, WriteTerminalResponse, terminal_input::Frame, terminal_service_server::TerminalService,
    },
    model::{Fault, PathPrefix, Verb},
};
use tokio::sync::oneshot;
use tokio_util::sync::CancellationToken;
use tonic::{Request, Response, Status, Streaming};

use super::relay::{self, Caller, Checked, UNTIL_READ, capability, checked, container};
use crate::{
    answers::{Violation, signalled, terminal as answers},
    limits::SHIM_CALL_TIMEOUT,
    requests::{self, refused},
    shims::{Call, Route, Shims},
};

/// The terminals of every container.
pub(crate) struct Terminals {
    shims: Arc<Shims>,
    stop: CancellationToken,
}

impl Terminals {
    /// Relays to `shims`; attachments end with `stop`.
    pub(crate) fn new(shims: Arc<Shims>, stop: CancellationToken) -> Self {
        Terminals { shims, stop }
    }
}

/// Refuses a session that is not in the caller's world.
async fn own(route: &Route, world: Option<&PathPrefix>, id: &str) -> Result<(), Status> {
    if world.is_none() {
        return Ok(());
    }
    let id = requests::id(id).map_err(refused)?.to_string();
    let request = GetTerminalRequest { container: route.container().to_string(), id: id.clone() };
    let answer = route.answer(Call::Reads, SHIM_CALL_TIMEOUT, route.terminal().get(request)).await.map_err(refused)?;
    let found = checked(route, answers::this_session(route.container(), &id, answer))?.into_inner();
    if relay::belongs(world, &found.confine) { Ok(()) } else { Err(relay::not_there("terminal", &id)) }
}

#[tonic::async_trait]
impl TerminalService for Terminals {
    async fn open(&self, request: Request<OpenTerminalRequest>) -> Result<Response<Terminal>, Status> {
        let shim = container(&self.shims, request.extensions(), &request.get_ref().container)?;
        let world = relay::world(request.extensions())?;
        let mut request = request.into_inner();
        request.confine = relay::kept(world.as_ref(), std::mem::take(&mut request.confine));
        requests::terminal::open(request.clone()).map_err(refused)?;
        let route = shim.route().await.map_err(refused)?;
        request.container = route.container().to_string();
        let answer =
            route.answer(Call::Changes, SHIM_CALL_TIMEOUT, route.terminal().open(request)).await.map_err(refused)?;
        checked(&route, answers::session(route.container(), answer))
    }

    type AttachStream = BoxStream<'static, Result<TerminalOutput, Status>>;

    async fn attach(&self, request: Request<Streaming<TerminalInput>>) -> Result<Response<Self::AttachStream>, Status> {
        let capability = capability(request.extensions())?.clone();
        let mut input = request.into_inner();
        let first = input.message().await?.and_then(|message| message.frame);
        let Some(Frame::Start(mut start)) = first else {
            return Err(refused(Fault::invalid("frame", "the first frame must be start")));
        };
        let shim = self.shims.find(&capability, &start.container).map_err(refused)?;
        let asked = requests::terminal::attach(&start).map_err(refused)?;
        if asked.mode != Mode::Viewer {
            capability.allows(Verb::TerminalWrite).map_err(refused)?;
        }
        let route = shim.route().await.map_err(refused)?;
        own(&route, capability.path_prefix.as_ref(), &start.id).await?;
        start.container = route.container().to_string();
        start.client_id.clone_from(&asked.client);
        let sent = Arc::new(AtomicU64::new(0));
        let (refuse, refusal) = oneshot::channel();
        let ended = CancellationToken::new();
        let passed = Passed {
            input,
            writes: asked.mode != Mode::Viewer,
            sent: Arc::clone(&sent),
            refuse: Some(refuse),
            ended: ended.clone(),
        };
        let answer = route
            .answer(Call::Reads, SHIM_CALL_TIMEOUT, route.terminal().attach(passed.after(start)))
            .await
            .map_err(refused)?;
        let following = answers::Following::new(asked.start, asked.mode, &asked.client, sent);
        let frames = relay::frames(
            route,
            answer,
            following,
            self.stop.clone(),
            Some(Caller { refusal: Some(refusal), _ended: ended.drop_guard() }),
        );
        Ok(Response::new(frames))
    }

    async fn write(&self, request: Request<WriteTerminalRequest>) -> Result<Response<WriteTerminalResponse>, Status> {
        let shim = container(&self.shims, request.extensions(), &request.get_ref().container)?;
        let world = relay::world(request.extensions())?;
        let mut request = request.into_inner();
        requests::terminal::write(&request).map_err(refused)?;
        let route = shim.route().await.map_err(refused)?;
        own(&route, world.as_ref(), &request.id).await?;
        request.container = route.container().to_string();
        let given = request.data.len();
        let answer = route.answer(Call::Changes, UNTIL_READ, route.terminal().write(request)).await.map_err(refused)?;
        checked(&route, answers::written(given, answer))
    }

    async fn resize(
        &self,
        request: Request<ResizeTerminalRequest>,
    ) -> Result<Response<ResizeTerminalResponse>, Status> {
        let shim = container(&self.shims, request.extensions(), &request.get_ref().container)?;
        let world = relay::world(request.extensions())?;
        let mut request = request.into_inner();
        requests::terminal::resize(&request).map_err(refused)?;
        let route = shim.route().await.map_err(refused)?;
        own(&route, world.as_ref(), &request.id).await?;
        request.container = route.container().to_string();
        let answer =
            route.answer(Call::Changes, SHIM_CALL_TIMEOUT, route.terminal().resize(request)).await.map_err(refused)?;
        checked(&route, answers::resized(answer))
    }

    async fn signal(&self, request: Request<SignalTerminalRequest>) -> Result<Response<SignalResponse>, Status> {
        let shim = container(&self.shims, request.extensions(), &request.get_ref().container)?;
        let world = relay::world(request.extensions())?;
        let mut request = request.into_inner();
        let target = requests::id(&request.id).and_then(|_| requests::signal(request.signal, request.target));
        let target = target.map_err(refused)?;
        let route = shim.route().await.map_err(refused)?;
        own(&route, world.as_ref(), &request.id).await?;
        request.container = route.container().to_string();
        let answer =
            route.answer(Call::Changes, SHIM_CALL_TIMEOUT, route.terminal().signal(request)).await.map_err(refused)?;
        checked(&route, signalled(target, answer))
    }

    async fn close(&self, request: Request<CloseTerminalRequest>) -> Result<Response<CloseTerminalResponse>, Status> {
        let shim = container(&self.shims, request.extensions(), &request.get_ref().container)?;
        let world = relay::world(request.extensions())?;
        let mut request = request.into_inner();
        let grace = requests::terminal::close(&request).map_err(refused)?;
        let route = shim.route().await.map_err(refused)?;
        own(&route, world.as_ref(), &request.id).await?;
        request.container = route.container().to_string();
        let id = requests::id(&request.id).map_err(refused)?.to_string();
        let longest = grace + KILL_SETTLE + PIPE_DRAIN + SHIM_CALL_TIMEOUT;
        let answer = route.answer(Call::Changes, longest, route.terminal().close(request)).await.map_err(refused)?;
        checked(&route, answers::closed(route.container(), &id, answer))
    }

    async fn get(&self, request: Request<GetTerminalRequest>) -> Result<Response<Terminal>, Status> {
        let shim = container(&self.shims, request.extensions(), &request.get_ref().container)?;
        let world = relay::world(request.extensions())?;
        let mut request = request.into_inner();
        let id = requests::id(&request.id).map_err(refused)?.to_string();
        let route = shim.route().await.map_err(refused)?;
        own(&route, world.as_ref(), &request.id).await?;
        request.container = route.container().to_string();
        let answer =
            route.answer(Call::Reads, SHIM_CALL_TIMEOUT, route.terminal().get(request)).await.map_err(refused)?;
        checked(&route, answers::this_session(route.container(), &id, answer))
    }

    async fn list(&self, request: Request<ListTerminalsRequest>) -> Result<Response<ListTerminalsResponse>, Status> {
        let shim = container(&self.shims, request.extensions(), &request.get_ref().container)?;
        let world = relay::world(request.extensions())?;
        let route = shim.route().await.map_err(refused)?;
        let request = ListTerminalsRequest { container: route.container().to_string() };
        let mut answer =
            route.answer(Call::Reads, SHIM_CALL_TIMEOUT, route.terminal().list(request)).await.map_err(refused)?;
        answer.terminals.retain(|terminal| relay::belongs(world.as_ref(), &terminal.confine));
        checked(&route, answers::list(route.container(), answer))
    }

    async fn screen(&self, request: Request<ScreenRequest>) -> Result<Response<ScreenResponse>, Status> {
        let shim = container(&self.shims, request.extensions(), &request.get_ref().container)?;
        let world = relay::world(request.extensions())?;
        let mut request = request.into_inner();
        requests::id(&request.id).map_err(refused)?;
        let route = shim.route().await.map_err(refused)?;
        own(&route, world.as_ref(), &request.id).await?;
        request.container = route.container().to_string();
        let answer =
            route.answer(Call::Reads, SHIM_CALL_TIMEOUT, route.terminal().screen(request)).await.map_err(refused)?;
        checked(&route, answers::screen(answer))
    }
}

/// The caller's frames on their way to the shim, each checked.
struct Passed {
    input: Streaming<TerminalInput>,
    writes: bool,
    /// The last input frame that was passed on.
    sent: Arc<AtomicU64>,
    /// Tells the caller why its input is not taken.
    refuse: Option<oneshot::Sender<Fault>>,
    /// The answer to the caller has ended, and so must what is sent to the shim:
    /// while it is open the attachment stands there.
    ended: CancellationToken,
}

impl Passed {
    /// `start`, then what the caller sends until it ends or is refused.
    fn after(self, start: AttachStart) -> impl Stream<Item = TerminalInput> + Send + 'static {
        let start = TerminalInput { frame: Some(Frame::Start(start)) };
        let rest = stream::unfold(self, |mut passed| async { passed.next().await.map(|frame| (frame, passed)) });
        stream::iter([start]).chain(rest)
    }

    async fn next(&mut self) -> Option<TerminalInput> {
        // A caller that left or sends no more is no refusal: it may read on.
        let message = self.ended.run_until_cancelled(self.input.message()).await?.ok()??;
        match self.check(&message) {
            Ok(()) => Some(message),
            Err(fault) => {
                if let Some(refuse) = self.refuse.take() {
                    _ = refuse.send(fault);
                }
                // The refusal ends the answer, and that ends this.
                self.ended.cancelled().await;
                None
            }
        }
    }

    fn check(&self, message: &TerminalInput) -> Result<(), Fault> {
        match &message.frame {
            Some(Frame::Credit(_)) => Ok(()),
            Some(Frame::Input(_) | Frame::Resize(_)) if !self.writes => {
                Err(Fault::invalid("frame", "input and resize are a writer's").hint("attach as WRITER or TAKEOVER"))
            }
            Some(Frame::Input(input)) => {
                requests::terminal::input(input)?;
                self.sent.fetch_max(input.sequence, Ordering::AcqRel);
                Ok(())
            }
            Some(Frame::Resize(_)) => Ok(()),
            Some(Frame::Start(_)) | None => {
                Err(Fault::invalid("frame", "start comes once; after it input, credit or resize"))
            }
        }
    }
}

impl Checked for answers::Following {
    type Frame = TerminalOutput;

    fn take(&mut self, frame: TerminalOutput) -> Result<TerminalOutput, Violation> {
        answers::Following::take(self, frame)
    }

    fn is_over(&self) -> bool {
        answers::Following::is_over(self)
    }
}
