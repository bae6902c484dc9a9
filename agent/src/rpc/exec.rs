//! `ExecService`: each call is authorised and checked, goes to the shim of its
//! container, and the shim's answer is checked before it is passed on.

use std::sync::Arc;

use futures_util::stream::BoxStream;
use remora_proto::{
    agent::v1::{
        AttachCommandRequest, Command, CommandOutput, GetOutputRequest, GetOutputResponse, ListCommandsRequest,
        ListCommandsResponse, RunRequest, RunResponse, SignalCommandRequest, SignalResponse, StartRequest, WaitRequest,
        WriteStdinRequest, WriteStdinResponse, exec_service_server::ExecService,
    },
    fault::to_status,
};
use tokio_util::sync::CancellationToken;
use tonic::{Request, Response, Status};

use super::relay::{self, Checked, container};
use crate::{
    answers::{Violation, exec as answers},
    requests::{self, refused},
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

fn checked<T>(route: &Route, answer: Result<T, Violation>) -> Result<Response<T>, Status> {
    answer.map(Response::new).map_err(|violation| to_status(&violation.fault(route.container())))
}

fn failed(route: &Route, call: Call) -> impl Fn(Status) -> Status {
    move |status| to_status(&route.refusal(&status, call))
}

fn named(spec: Option<&remora_proto::agent::v1::CommandSpec>) -> &str {
    spec.map_or("", |spec| spec.container.as_str())
}

#[tonic::async_trait]
impl ExecService for Commands {
    async fn run(&self, request: Request<RunRequest>) -> Result<Response<RunResponse>, Status> {
        let shim = container(&self.shims, request.extensions(), named(request.get_ref().command.as_ref()))?;
        let mut request = request.into_inner();
        let characters = requests::exec::run(request.clone()).map_err(refused)?.characters;
        let route = shim.route().await.map_err(refused)?;
        if let Some(spec) = &mut request.command {
            spec.container = route.container().to_string();
        }
        let answer = route.exec().run(request).await.map_err(failed(&route, Call::Changes))?;
        checked(&route, answers::ran(route.container(), characters, answer.into_inner()))
    }

    async fn start(&self, request: Request<StartRequest>) -> Result<Response<Command>, Status> {
        let shim = container(&self.shims, request.extensions(), named(request.get_ref().command.as_ref()))?;
        let mut request = request.into_inner();
        requests::exec::start(request.clone()).map_err(refused)?;
        let route = shim.route().await.map_err(refused)?;
        if let Some(spec) = &mut request.command {
            spec.container = route.container().to_string();
        }
        let answer = route.exec().start(request).await.map_err(failed(&route, Call::Changes))?;
        checked(&route, answers::command(route.container(), answer.into_inner()))
    }

    type AttachStream = BoxStream<'static, Result<CommandOutput, Status>>;

    async fn attach(&self, request: Request<AttachCommandRequest>) -> Result<Response<Self::AttachStream>, Status> {
        let shim = container(&self.shims, request.extensions(), &request.get_ref().container)?;
        let mut request = request.into_inner();
        let id = requests::id(&request.id).map_err(refused)?.to_string();
        let route = shim.route().await.map_err(refused)?;
        request.container = route.container().to_string();
        let following = answers::Following::new(route.container(), &id, request.stdout_offset, request.stderr_offset);
        let inner = route.exec().attach(request).await.map_err(failed(&route, Call::Reads))?;
        Ok(Response::new(relay::frames(route, inner.into_inner(), following, self.stop.clone(), None)))
    }

    async fn write_stdin(&self, request: Request<WriteStdinRequest>) -> Result<Response<WriteStdinResponse>, Status> {
        let shim = container(&self.shims, request.extensions(), &request.get_ref().container)?;
        let mut request = request.into_inner();
        requests::exec::write_stdin(&request).map_err(refused)?;
        let route = shim.route().await.map_err(refused)?;
        request.container = route.container().to_string();
        // The data is counted, not copied: bytes share their storage.
        let given = request.clone();
        let answer = route.exec().write_stdin(request).await.map_err(failed(&route, Call::Changes))?;
        checked(&route, answers::written(&given, answer.into_inner()))
    }

    async fn signal(&self, request: Request<SignalCommandRequest>) -> Result<Response<SignalResponse>, Status> {
        let shim = container(&self.shims, request.extensions(), &request.get_ref().container)?;
        let mut request = request.into_inner();
        requests::id(&request.id).and_then(|_| requests::signal(request.signal, request.target)).map_err(refused)?;
        let route = shim.route().await.map_err(refused)?;
        request.container = route.container().to_string();
        route.exec().signal(request).await.map_err(failed(&route, Call::Changes))
    }

    async fn wait(&self, request: Request<WaitRequest>) -> Result<Response<Command>, Status> {
        let shim = container(&self.shims, request.extensions(), &request.get_ref().container)?;
        let mut request = request.into_inner();
        requests::exec::wait(&request).map_err(refused)?;
        let route = shim.route().await.map_err(refused)?;
        request.container = route.container().to_string();
        let id = request.id.clone();
        let answer = route.exec().wait(request).await.map_err(failed(&route, Call::Reads))?;
        checked(&route, answers::this_command(route.container(), &id, answer.into_inner()))
    }

    async fn list(&self, request: Request<ListCommandsRequest>) -> Result<Response<ListCommandsResponse>, Status> {
        let shim = container(&self.shims, request.extensions(), &request.get_ref().container)?;
        let route = shim.route().await.map_err(refused)?;
        let request = ListCommandsRequest { container: route.container().to_string() };
        let answer = route.exec().list(request).await.map_err(failed(&route, Call::Reads))?;
        checked(&route, answers::list(route.container(), answer.into_inner()))
    }

    async fn get_output(&self, request: Request<GetOutputRequest>) -> Result<Response<GetOutputResponse>, Status> {
        let shim = container(&self.shims, request.extensions(), &request.get_ref().container)?;
        let mut request = request.into_inner();
        let (_, limit) = requests::exec::output(&request).map_err(refused)?;
        let route = shim.route().await.map_err(refused)?;
        request.container = route.container().to_string();
        let offset = request.offset;
        let answer = route.exec().get_output(request).await.map_err(failed(&route, Call::Reads))?;
        checked(&route, answers::output(offset, limit, answer.into_inner()))
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
