//! `remora.agent.v1.ExecService` for the shim's own container.

use std::{collections::VecDeque, sync::Arc};

use futures_util::stream::BoxStream;
use remora_agent_term::{Command, HEARTBEAT, OUTPUT_FRAME_BYTES, Registry, Stream, TermError, excerpt};
use remora_proto::agent::v1::{
    self as wire, AttachCommandRequest, CommandData, CommandExit, CommandGap, CommandHeartbeat, CommandOutput,
    GetOutputRequest, GetOutputResponse, ListCommandsRequest, ListCommandsResponse, OutputStream, RunRequest,
    RunResponse, SignalCommandRequest, SignalResponse, StartRequest, Truncated, WaitRequest, WriteStdinRequest,
    WriteStdinResponse, command_output::Frame, exec_service_server::ExecService, truncated,
};
use tokio::{sync::watch, time::timeout};
use tonic::{Request, Response, Status};

use super::confiner::Confiner;
use super::wire::{blocking, clamp, exit, held, processes, refuse, same_container};
use crate::requests::{self, exec::Run, refused};

pub(super) struct ExecRpc {
    container: String,
    registry: Arc<Registry>,
    confiner: Arc<Confiner>,
}

impl ExecRpc {
    pub(super) fn new(container: String, registry: Arc<Registry>, confiner: Arc<Confiner>) -> Self {
        ExecRpc { container, registry, confiner }
    }

    fn ours(&self, spec: Option<&wire::CommandSpec>) -> Result<(), Status> {
        spec.map_or(Ok(()), |spec| same_container(&spec.container, &self.container))
    }

    fn find(&self, container: &str, id: &str) -> Result<Arc<Command>, Status> {
        same_container(container, &self.container)?;
        self.registry.command(id).map_err(refuse)
    }
}

/// Ends the command of a call whose caller went away.
struct EndOnDrop(Option<Arc<Command>>);

impl Drop for EndOnDrop {
    fn drop(&mut self) {
        if let Some(command) = &self.0 {
            command.end();
        }
    }
}

#[tonic::async_trait]
impl ExecService for ExecRpc {
    async fn run(&self, request: Request<RunRequest>) -> Result<Response<RunResponse>, Status> {
        let request = request.into_inner();
        self.ours(request.command.as_ref())?;
        let Run { spec, key, stdin, characters } = requests::exec::run(request).map_err(refused)?;
        let keyed = key.is_some();
        let confinement = self.confiner.folder(&spec.confine).await?;
        let command = self.registry.start_in(spec, key, confinement).await.map_err(refuse)?;
        let mut end = EndOnDrop((!keyed).then(|| Arc::clone(&command)));
        let feed = async {
            if !stdin.is_empty() {
                // A command that does not read to the end (head) is no failure.
                let _ = command.write_stdin(0, &stdin, true).await;
            }
        };
        tokio::join!(feed, command.ended());
        end.0 = None;
        let view = command.view();
        let survivors = processes(view.survivors.clone());
        let (reader, held) = (Arc::clone(&command), [view.stdout, view.stderr]);
        let read = move || {
            Ok([
                read_excerpt(&reader, Stream::Stdout, held[0], characters)?,
                read_excerpt(&reader, Stream::Stderr, held[1], characters)?,
            ])
        };
        let [stdout, stderr] = blocking(read).await?;
        let command = Some(shown(&self.container, &command));
        Ok(Response::new(RunResponse { command, stdout: Some(stdout), stderr: Some(stderr), survivors }))
    }

    async fn start(&self, request: Request<StartRequest>) -> Result<Response<wire::Command>, Status> {
        let request = request.into_inner();
        self.ours(request.command.as_ref())?;
        let (spec, key) = requests::exec::start(request).map_err(refused)?;
        let confinement = self.confiner.folder(&spec.confine).await?;
        let command = self.registry.start_in(spec, key, confinement).await.map_err(refuse)?;
        Ok(Response::new(shown(&self.container, &command)))
    }

    type AttachStream = BoxStream<'static, Result<CommandOutput, Status>>;

    async fn attach(&self, request: Request<AttachCommandRequest>) -> Result<Response<Self::AttachStream>, Status> {
        let request = request.into_inner();
        let command = self.find(&request.container, &request.id)?;
        let view = command.view();
        for (what, given, head) in [
            ("stdout_offset", request.stdout_offset, view.stdout.head),
            ("stderr_offset", request.stderr_offset, view.stderr.head),
        ] {
            if given > head {
                let problem = format!("only {head} bytes were printed so far");
                return Err(refuse(TermError::OutOfRange { what, given, problem }));
            }
        }
        let follower = Follower {
            changes: command.changes(),
            command,
            container: self.container.clone(),
            next: [request.stdout_offset, request.stderr_offset],
            ready: VecDeque::new(),
            over: false,
        };
        let frames = futures_util::stream::unfold(follower, |mut follower| async {
            follower.next().await.map(|frame| (frame, follower))
        });
        Ok(Response::new(Box::pin(frames)))
    }

    async fn write_stdin(&self, request: Request<WriteStdinRequest>) -> Result<Response<WriteStdinResponse>, Status> {
        let request = request.into_inner();
        requests::exec::write_stdin(&request).map_err(refused)?;
        let command = self.find(&request.container, &request.id)?;
        let offset = command.write_stdin(request.offset, &request.data, request.eof).await.map_err(refuse)?;
        Ok(Response::new(WriteStdinResponse { offset }))
    }

    async fn signal(&self, request: Request<SignalCommandRequest>) -> Result<Response<SignalResponse>, Status> {
        let request = request.into_inner();
        let command = self.find(&request.container, &request.id)?;
        let target = requests::signal(request.signal, request.target).map_err(refused)?;
        let delivered = blocking(move || command.signal(request.signal, target)).await?;
        Ok(Response::new(SignalResponse { delivered: clamp(delivered) }))
    }

    async fn wait(&self, request: Request<WaitRequest>) -> Result<Response<wire::Command>, Status> {
        let request = request.into_inner();
        let command = self.find(&request.container, &request.id)?;
        let time = requests::exec::wait(&request).map_err(refused)?;
        // Not having ended is an answer: the state says so.
        let _ = timeout(time, command.ended()).await;
        Ok(Response::new(shown(&self.container, &command)))
    }

    async fn list(&self, request: Request<ListCommandsRequest>) -> Result<Response<ListCommandsResponse>, Status> {
        same_container(&request.get_ref().container, &self.container)?;
        let commands = self.registry.commands().iter().map(|command| shown(&self.container, command)).collect();
        Ok(Response::new(ListCommandsResponse { commands }))
    }

    async fn get_output(&self, request: Request<GetOutputRequest>) -> Result<Response<GetOutputResponse>, Status> {
        let request = request.into_inner();
        let command = self.find(&request.container, &request.id)?;
        let (stream, limit) = requests::exec::output(&request).map_err(refused)?;
        let (offset, data) = command.read(stream, request.offset, limit).map_err(refuse)?;
        let view = command.view();
        let range = if stream == Stream::Stdout { view.stdout } else { view.stderr };
        Ok(Response::new(GetOutputResponse { offset, data, held: Some(held(range)) }))
    }
}

/// One caller of Attach.
struct Follower {
    command: Arc<Command>,
    changes: watch::Receiver<u64>,
    container: String,
    /// The next offset of stdout and of stderr.
    next: [u64; 2],
    ready: VecDeque<Frame>,
    over: bool,
}

impl Follower {
    async fn next(&mut self) -> Option<Result<CommandOutput, Status>> {
        loop {
            if let Some(frame) = self.ready.pop_front() {
                return Some(Ok(CommandOutput { frame: Some(frame) }));
            }
            if self.over {
                return None;
            }
            self.changes.borrow_and_update();
            // Asked for before the bytes: once it has ended there are no more.
            let ended = self.command.has_ended();
            if let Err(status) = self.gather() {
                self.over = true;
                return Some(Err(status));
            }
            if !self.ready.is_empty() {
                continue;
            }
            if ended {
                self.over = true;
                let command = Some(shown(&self.container, &self.command));
                self.ready.push_back(Frame::Exit(CommandExit { command }));
            } else if timeout(HEARTBEAT, self.changes.changed()).await.is_err() {
                let [stdout_head, stderr_head] = self.next;
                self.ready.push_back(Frame::Heartbeat(CommandHeartbeat { stdout_head, stderr_head }));
            }
        }
    }

    fn gather(&mut self) -> Result<(), Status> {
        let streams = [(Stream::Stdout, OutputStream::Stdout), (Stream::Stderr, OutputStream::Stderr)];
        for ((stream, name), next) in streams.into_iter().zip(&mut self.next) {
            let (offset, data) = self.command.read(stream, *next, OUTPUT_FRAME_BYTES).map_err(refuse)?;
            if offset > *next {
                self.ready.push_back(Frame::Gap(CommandGap { stream: name.into(), from: *next, to: offset }));
            }
            *next = offset + data.len() as u64;
            if !data.is_empty() {
                self.ready.push_back(Frame::Data(CommandData { stream: name.into(), offset, data }));
            }
        }
        Ok(())
    }
}

fn shown(container: &str, command: &Command) -> wire::Command {
    let view = command.view();
    wire::Command {
        id: view.id.to_string(),
        container: container.to_owned(),
        argv: view.argv,
        cwd: view.cwd,
        labels: view.labels.into_iter().collect(),
        confine: view.confine,
        stdout: Some(held(view.stdout)),
        stderr: Some(held(view.stderr)),
        stdin_offset: view.stdin_offset,
        exit: view.exit.map(exit),
        pipe_holders: processes(view.pipe_holders),
        started_ms: view.started_ms,
        ended_ms: view.ended_ms,
        display_pid: u32::try_from(view.pid).unwrap_or(0),
    }
}

/// The excerpt of a stream of a command that has ended. A character has at most
/// four bytes, so reading four times the limit from each side is enough.
fn read_excerpt(
    command: &Command,
    stream: Stream,
    range: remora_agent_term::Held,
    limit: usize,
) -> Result<wire::Excerpt, TermError> {
    let bytes = limit * 4;
    let (offset, first) = command.read(stream, range.base, bytes)?;
    // Not by what was held at first: it may have been dropped since.
    let whole = offset == 0 && first.len() as u64 == range.head;
    let (_, last) = command.read(stream, range.head.saturating_sub(bytes as u64), bytes)?;
    let text = excerpt(&first, &last, whole, limit);
    let truncated = text.truncated.then(|| Truncated {
        reason: truncated::Reason::Bytes.into(),
        limit: limit as u64,
        total: range.head,
    });
    Ok(wire::Excerpt { head: text.head, tail: text.tail, truncated, replaced_bytes: text.replaced })
}
