//! `remora.agent.v1.TerminalService` for the shim's own container.

use std::{sync::Arc, time::Duration};

use futures_util::{StreamExt as _, stream::BoxStream};
use remora_agent_term::{Attachment, Event, Mode, Registry, Typist};
use remora_proto::{
    agent::v1::{
        Attached, CloseTerminalRequest, CloseTerminalResponse, GetTerminalRequest, Heartbeat, InputAck, Lagged,
        ListTerminalsRequest, ListTerminalsResponse, OpenTerminalRequest, Output, ResizeTerminalRequest,
        ResizeTerminalResponse, ScreenPaint, ScreenRequest, ScreenResponse, SignalResponse, SignalTerminalRequest,
        Terminal, TerminalExit, TerminalInput, TerminalOutput, WriteTerminalRequest, WriteTerminalResponse,
        WriterChanged, terminal_input, terminal_output, terminal_output::Frame,
        terminal_service_server::TerminalService,
    },
    fault::to_status,
    model::{Fault, Reason},
};
use tokio::{
    sync::{mpsc, watch},
    time::sleep,
};
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::task::AbortOnDropHandle;
use tonic::{Request, Response, Status, Streaming};

use super::confiner::Confiner;
use super::wire::{blocking, clamp, exit, held, refuse, same_container, size};
use crate::requests::{self, refused, terminal::Attaching};

/// Frames that wait for the connection: with 64 KiB each, the queue of a viewer.
const QUEUE_FRAMES: usize = 4;
/// Time that the acknowledgement of input waits for output to go with.
const ACK_REST: Duration = Duration::from_millis(5);

pub(super) struct TerminalRpc {
    container: String,
    registry: Arc<Registry>,
    confiner: Arc<Confiner>,
}

impl TerminalRpc {
    pub(super) fn new(container: String, registry: Arc<Registry>, confiner: Arc<Confiner>) -> Self {
        TerminalRpc { container, registry, confiner }
    }

    fn find(&self, container: &str, id: &str) -> Result<Arc<remora_agent_term::Terminal>, Status> {
        same_container(container, &self.container)?;
        self.registry.terminal(id).map_err(refuse)
    }

    fn shown(&self, terminal: &remora_agent_term::Terminal) -> Terminal {
        let view = terminal.view();
        Terminal {
            id: view.id.to_string(),
            container: self.container.clone(),
            argv: view.argv,
            cwd: view.cwd,
            size: Some(size(view.size)),
            labels: view.labels.into_iter().collect(),
            confine: view.confine,
            output: Some(held(view.output)),
            exit: view.exit.map(exit),
            viewers: clamp(view.viewers),
            writer: view.writer,
            title: view.title,
            opened_ms: view.opened_ms,
            last_activity_ms: view.last_activity_ms,
            display_pid: u32::try_from(view.pid).unwrap_or(0),
        }
    }
}

#[tonic::async_trait]
impl TerminalService for TerminalRpc {
    async fn open(&self, request: Request<OpenTerminalRequest>) -> Result<Response<Terminal>, Status> {
        let request = request.into_inner();
        same_container(&request.container, &self.container)?;
        let (spec, key) = requests::terminal::open(request).map_err(refused)?;
        let confinement = self.confiner.folder(&spec.confine).await?;
        let terminal = self.registry.open_in(spec, key, confinement).await.map_err(refuse)?;
        Ok(Response::new(self.shown(&terminal)))
    }

    type AttachStream = BoxStream<'static, Result<TerminalOutput, Status>>;

    async fn attach(&self, request: Request<Streaming<TerminalInput>>) -> Result<Response<Self::AttachStream>, Status> {
        let mut input = request.into_inner();
        let first = input.message().await?.and_then(|message| message.frame);
        let Some(terminal_input::Frame::Start(start)) = first else {
            return Err(to_status(&Fault::invalid("frame", "the first frame must be start")));
        };
        let terminal = self.find(&start.container, &start.id)?;
        let Attaching { mode, start: from, lag, client } = requests::terminal::attach(&start).map_err(refused)?;
        let attachment = Attachment::new(terminal, &client, mode, from, start.credit_bytes, lag).map_err(refuse)?;
        let typist = attachment.typist();
        if let Some(size) = start.size
            && mode != Mode::Viewer
        {
            typist.resize(size.columns, size.rows).map_err(refuse)?;
        }
        let (sender, receiver) = mpsc::channel(QUEUE_FRAMES);
        // Two tasks, so that input which waits for the program never holds up output.
        let (typed, acknowledged) = watch::channel(0);
        let show = AbortOnDropHandle::new(tokio::spawn(show(attachment, client, acknowledged, sender.clone())));
        let hear = AbortOnDropHandle::new(tokio::spawn(hear(input, typist, typed, sender)));
        let frames = ReceiverStream::new(receiver).scan(false, |over, frame: Result<TerminalOutput, Status>| {
            // Exit is the last frame, whatever the client still sends.
            let ended = std::mem::replace(over, is_last(&frame));
            std::future::ready((!ended).then_some(frame))
        });
        let frames = frames.map(move |frame| {
            // The tasks live as long as the stream that they serve.
            let _ = (&show, &hear);
            frame
        });
        Ok(Response::new(Box::pin(frames)))
    }

    async fn write(&self, request: Request<WriteTerminalRequest>) -> Result<Response<WriteTerminalResponse>, Status> {
        let request = request.into_inner();
        let terminal = self.find(&request.container, &request.id)?;
        let client = requests::terminal::write(&request).map_err(refused)?;
        let sequence = terminal.write(&client, request.sequence, &request.data).await.map_err(refuse)?;
        Ok(Response::new(WriteTerminalResponse { accepted_bytes: clamp(request.data.len()), sequence }))
    }

    async fn resize(
        &self,
        request: Request<ResizeTerminalRequest>,
    ) -> Result<Response<ResizeTerminalResponse>, Status> {
        let request = request.into_inner();
        let wanted = requests::terminal::resize(&request).map_err(refused)?;
        let terminal = self.find(&request.container, &request.id)?;
        let set = terminal.resize(wanted.columns, wanted.rows).map_err(refuse)?;
        Ok(Response::new(ResizeTerminalResponse { size: Some(size(set)) }))
    }

    async fn signal(&self, request: Request<SignalTerminalRequest>) -> Result<Response<SignalResponse>, Status> {
        let request = request.into_inner();
        let terminal = self.find(&request.container, &request.id)?;
        let target = requests::signal(request.signal, request.target).map_err(refused)?;
        let delivered = blocking(move || terminal.signal(request.signal, target)).await?;
        Ok(Response::new(SignalResponse { delivered: clamp(delivered) }))
    }

    async fn close(&self, request: Request<CloseTerminalRequest>) -> Result<Response<CloseTerminalResponse>, Status> {
        let request = request.into_inner();
        same_container(&request.container, &self.container)?;
        let grace = requests::terminal::close(&request).map_err(refused)?;
        let (terminal, survivors) = self.registry.close(&request.id, grace).await.map_err(refuse)?;
        Ok(Response::new(CloseTerminalResponse {
            terminal: Some(self.shown(&terminal)),
            survivors: super::wire::processes(survivors),
        }))
    }

    async fn get(&self, request: Request<GetTerminalRequest>) -> Result<Response<Terminal>, Status> {
        let terminal = self.find(&request.get_ref().container, &request.get_ref().id)?;
        Ok(Response::new(self.shown(&terminal)))
    }

    async fn list(&self, request: Request<ListTerminalsRequest>) -> Result<Response<ListTerminalsResponse>, Status> {
        same_container(&request.get_ref().container, &self.container)?;
        let terminals = self.registry.terminals().iter().map(|terminal| self.shown(terminal)).collect();
        Ok(Response::new(ListTerminalsResponse { terminals }))
    }

    async fn screen(&self, request: Request<ScreenRequest>) -> Result<Response<ScreenResponse>, Status> {
        let terminal = self.find(&request.get_ref().container, &request.get_ref().id)?;
        let text = blocking(move || Ok(terminal.screen())).await?;
        Ok(Response::new(ScreenResponse {
            rows: text.rows,
            cursor_row: text.cursor.0.into(),
            cursor_column: text.cursor.1.into(),
            size: Some(size(text.size)),
            at_offset: text.at_offset,
            alternate_screen: text.alternate,
        }))
    }
}

fn is_last(frame: &Result<TerminalOutput, Status>) -> bool {
    matches!(frame, Ok(TerminalOutput { frame: Some(Frame::Exit(_)) }) | Err(_))
}

type Sender = mpsc::Sender<Result<TerminalOutput, Status>>;

/// Sends what happens, and how far `typed` is: before the next event, which mostly is the echo, so that
/// nothing is ahead of that; or by itself soon after.
async fn show(mut attachment: Attachment, client: String, mut typed: watch::Receiver<u64>, sender: Sender) {
    let mut told = 0;
    loop {
        let alone = async {
            if typed.clone().changed().await.is_err() {
                std::future::pending().await
            }
            sleep(ACK_REST).await;
        };
        let event = tokio::select! {
            event = attachment.next() => match event {
                Some(event) => Some(frame(event, &client)),
                None => return,
            },
            () = alone => None,
        };
        let sequence = *typed.borrow_and_update();
        let fresh = sequence > told;
        told = told.max(sequence);
        let acknowledged = fresh.then(|| wrap(Frame::InputAck(InputAck { sequence })));
        for frame in acknowledged.into_iter().chain(event) {
            if sender.send(Ok(frame)).await.is_err() {
                return;
            }
        }
    }
}

async fn hear(mut input: Streaming<TerminalInput>, typist: Arc<Typist>, typed: watch::Sender<u64>, sender: Sender) {
    loop {
        let frame = match input.message().await {
            Ok(Some(message)) => message.frame,
            // The client sends no more but may read on; a broken stream ends the other task too.
            Ok(None) | Err(_) => return,
        };
        let heard = match frame {
            Some(terminal_input::Frame::Input(input)) => match requests::terminal::input(&input) {
                Ok(()) => typist.write(input.sequence, &input.data).await.map(Some).map_err(refuse),
                Err(fault) => Err(to_status(&fault)),
            },
            Some(terminal_input::Frame::Credit(credit)) => {
                typist.credit(credit.bytes);
                Ok(None)
            }
            Some(terminal_input::Frame::Resize(size)) => {
                typist.resize(size.columns, size.rows).map(|_| None).map_err(refuse)
            }
            Some(terminal_input::Frame::Start(_)) | None => {
                Err(to_status(&Fault::invalid("frame", "start comes once; after it input, credit or resize")))
            }
        };
        match heard {
            Ok(None) => {}
            Ok(Some(sequence)) => _ = typed.send_replace(sequence),
            // A program that ended says so with Exit, after its last byte.
            Err(status) if remora_proto::fault::from_status(&status).reason == Reason::SessionEnded => return,
            Err(status) => {
                _ = sender.send(Err(status)).await;
                return;
            }
        }
    }
}

fn frame(event: Event, client: &str) -> TerminalOutput {
    wrap(match event {
        Event::Attached { output, gap, size: cells, writer, input_sequence } => Frame::Attached(Attached {
            output: Some(held(output)),
            gap: gap.map(|(from, to)| Lagged { from, to }),
            size: Some(size(cells)),
            writer,
            client_id: client.into(),
            input_sequence,
        }),
        Event::Paint { at_offset, data } => Frame::Screen(ScreenPaint { at_offset, data }),
        Event::Output { offset, data } => Frame::Output(Output { offset, data }),
        Event::Resized(cells) => Frame::Resized(size(cells)),
        Event::WriterChanged(writer) => Frame::WriterChanged(WriterChanged { writer }),
        Event::Title(title) => Frame::Title(title),
        Event::Lagged { from, to } => Frame::Lagged(Lagged { from, to }),
        Event::Heartbeat { head } => Frame::Heartbeat(Heartbeat { head }),
        Event::Exit { status, final_offset } => Frame::Exit(TerminalExit { status: Some(exit(status)), final_offset }),
    })
}

fn wrap(frame: terminal_output::Frame) -> TerminalOutput {
    TerminalOutput { frame: Some(frame) }
}
