//! `ExecService`: each call is authorised and checked, goes to the shim of its
//! container, and the shim's answer is checked before it is passed on.

use std::sync::Arc;

use futures_util::stream::BoxStream;
use remora_agent_term::{KILL_GRACE, KILL_SETTLE, PIPE_DRAIN};
use remora_proto::agent::v1::{
    AttachCommandRequest, Command, CommandOutput, CommandSpec, GetOutputRequest, GetOutputResponse,
    ListCommandsRequest, ListCommandsResponse, RunRequest, RunResponse, SignalCommandRequest, SignalResponse,
    StartRequest, WaitRequest, WriteStdinRequest, WriteStdinResponse, exec_service_server::ExecService,
};
use remora_proto::model::PathPrefix;
use tokio_util::sync::CancellationToken;
use tonic::{Request, Response, Status};

use super::relay::{self, Checked, UNTIL_READ, checked, container};
use crate::{
    answers::{Violation, exec as answers, signalled},
    limits::SHIM_CALL_TIMEOUT,
    requests::{self, exec::Run, refused},
    shims::{Call, Route, Shims},
};

/// The commands of every container.
pub(crate) struct Commands {
    shims: Arc<Shims>,
    stop: CancellationToken,
}

impl Commands {
    /// Relays to `shims`; attachments end with `stop`.
    pub(crate) fn new(shims: Arc<Shims>, stop: CancellationToken) -> Self {
        Commands { shims, stop }
    }
}

/// Where the caller's world is a folder, what it starts is kept there.
fn keep(world: Option<&PathPrefix>, spec: Option<&mut CommandSpec>) {
    if let Some(spec) = spec {
        spec.confine = relay::kept(world, std::mem::take(&mut spec.confine));
    }
}

/// Refuses a command that is not in the caller's world.
async fn own(route: &Route, world: Option<&PathPrefix>, id: &str) -> Result<(), Status> {
    if world.is_none() {
        return Ok(());
    }
    let id = requests::id(id).map_err(refused)?.to_string();
    let request = ListCommandsRequest { container: route.container().to_string() };
    let answer = route.answer(Call::Reads, SHIM_CALL_TIMEOUT, route.exec().list(request)).await.map_err(refused)?;
    let list = checked(route, answers::list(route.container(), answer))?.into_inner();
    let found = list.commands.iter().any(|command| command.id == id && relay::belongs(world, &command.confine));
    if found { Ok(()) } else { Err(relay::not_there("command", &id)) }
}

fn named(spec: Option<&CommandSpec>) -> &str {
    spec.map_or("", |spec| spec.container.as_str())
}

#[tonic::async_trait]
impl ExecService for Commands {
    async fn run(&self, request: Request<RunRequest>) -> Result<Response<RunResponse>, Status> {
        let shim = container(&self.shims, request.extensions(), named(request.get_ref().command.as_ref()))?;
        let world = relay::world(request.extensions())?;
        let mut request = request.into_inner();
        keep(world.as_ref(), request.command.as_mut());
        let Run { spec, characters, .. } = requests::exec::run(request.clone()).map_err(refused)?;
        let longest = spec.timeout + KILL_GRACE + KILL_SETTLE + PIPE_DRAIN + SHIM_CALL_TIMEOUT;
        let route = shim.route().await.map_err(refused)?;
        if let Some(spec) = &mut request.command {
            spec.container = route.container().to_string();
        }
        let answer = route.answer(Call::Changes, longest, route.exec().run(request)).await.map_err(refused)?;
        checked(&route, answers::ran(route.container(), characters, answer))
    }

    async fn start(&self, request: Request<StartRequest>) -> Result<Response<Command>, Status> {
        let shim = container(&self.shims, request.extensions(), named(request.get_ref().command.as_ref()))?;
        let world = relay::world(request.extensions())?;
        let mut request = request.into_inner();
        keep(world.as_ref(), request.command.as_mut());
        requests::exec::start(request.clone()).map_err(refused)?;
        let route = shim.route().await.map_err(refused)?;
        if let Some(spec) = &mut request.command {
            spec.container = route.container().to_string();
        }
        let answer =
            route.answer(Call::Changes, SHIM_CALL_TIMEOUT, route.exec().start(request)).await.map_err(refused)?;
        checked(&route, answers::command(route.container(), answer))
    }

    type AttachStream = BoxStream<'static, Result<CommandOutput, Status>>;

    async fn attach(&self, request: Request<AttachCommandRequest>) -> Result<Response<Self::AttachStream>, Status> {
        let shim = container(&self.shims, request.extensions(), &request.get_ref().container)?;
        let world = relay::world(request.extensions())?;
        let mut request = request.into_inner();
        let id = requests::id(&request.id).map_err(refused)?.to_string();
        let route = shim.route().await.map_err(refused)?;
        own(&route, world.as_ref(), &request.id).await?;
        request.container = route.container().to_string();
        let following = answers::Following::new(route.container(), &id, request.stdout_offset, request.stderr_offset);
        let answer =
            route.answer(Call::Reads, SHIM_CALL_TIMEOUT, route.exec().attach(request)).await.map_err(refused)?;
        Ok(Response::new(relay::frames(route, answer, following, self.stop.clone(), None)))
    }

    async fn write_stdin(&self, request: Request<WriteStdinRequest>) -> Result<Response<WriteStdinResponse>, Status> {
        let shim = container(&self.shims, request.extensions(), &request.get_ref().container)?;
        let world = relay::world(request.extensions())?;
        let mut request = request.into_inner();
        requests::exec::write_stdin(&request).map_err(refused)?;
        let route = shim.route().await.map_err(refused)?;
        own(&route, world.as_ref(), &request.id).await?;
        request.container = route.container().to_string();
        // The data is counted, not copied: bytes share their storage.
        let given = request.clone();
        let answer =
            route.answer(Call::Changes, UNTIL_READ, route.exec().write_stdin(request)).await.map_err(refused)?;
        checked(&route, answers::written(&given, answer))
    }

    async fn signal(&self, request: Request<SignalCommandRequest>) -> Result<Response<SignalResponse>, Status> {
        let shim = container(&self.shims, request.extensions(), &request.get_ref().container)?;
        let world = relay::world(request.extensions())?;
        let mut request = request.into_inner();
        let target = requests::id(&request.id).and_then(|_| requests::signal(request.signal, request.target));
        let target = target.map_err(refused)?;
        let route = shim.route().await.map_err(refused)?;
        own(&route, world.as_ref(), &request.id).await?;
        request.container = route.container().to_string();
        let answer =
            route.answer(Call::Changes, SHIM_CALL_TIMEOUT, route.exec().signal(request)).await.map_err(refused)?;
        checked(&route, signalled(target, answer))
    }

    async fn wait(&self, request: Request<WaitRequest>) -> Result<Response<Command>, Status> {
        let shim = container(&self.shims, request.extensions(), &request.get_ref().container)?;
        let world = relay::world(request.extensions())?;
        let mut request = request.into_inner();
        let longest = requests::exec::wait(&request).map_err(refused)? + SHIM_CALL_TIMEOUT;
        let route = shim.route().await.map_err(refused)?;
        own(&route, world.as_ref(), &request.id).await?;
        request.container = route.container().to_string();
        let id = requests::id(&request.id).map_err(refused)?.to_string();
        let answer = route.answer(Call::Reads, longest, route.exec().wait(request)).await.map_err(refused)?;
        checked(&route, answers::this_command(route.container(), &id, answer))
    }

    async fn list(&self, request: Request<ListCommandsRequest>) -> Result<Response<ListCommandsResponse>, Status> {
        let shim = container(&self.shims, request.extensions(), &request.get_ref().container)?;
        let world = relay::world(request.extensions())?;
        let route = shim.route().await.map_err(refused)?;
        let request = ListCommandsRequest { container: route.container().to_string() };
        let mut answer =
            route.answer(Call::Reads, SHIM_CALL_TIMEOUT, route.exec().list(request)).await.map_err(refused)?;
        answer.commands.retain(|command| relay::belongs(world.as_ref(), &command.confine));
        checked(&route, answers::list(route.container(), answer))
    }

    async fn get_output(&self, request: Request<GetOutputRequest>) -> Result<Response<GetOutputResponse>, Status> {
        let shim = container(&self.shims, request.extensions(), &request.get_ref().container)?;
        let world = relay::world(request.extensions())?;
        let mut request = request.into_inner();
        let (_, limit) = requests::exec::output(&request).map_err(refused)?;
        let route = shim.route().await.map_err(refused)?;
        own(&route, world.as_ref(), &request.id).await?;
        request.container = route.container().to_string();
        let offset = request.offset;
        let answer =
            route.answer(Call::Reads, SHIM_CALL_TIMEOUT, route.exec().get_output(request)).await.map_err(refused)?;
        checked(&route, answers::output(offset, limit, answer))
    }
}

impl Checked for answers::Following {
    type Frame = CommandOutput;

    fn take(&mut self, frame: CommandOutput) -> Result<CommandOutput, Violation> {
        answers::Following::take(self, frame)
    }

    fn is_over(&self) -> bool {
        answers::Following::is_over(self)
    }
}
