//! `remora sh NAME`: the local terminal on a session that outlives it.
//!
//! ```text
//!            open            cut                   again
//!   (none) ───────► attached ────► waiting ──────────────► attached
//!                      │              └─ patience is over ─► left (says how to come back)
//!                      ├─ Ctrl-] ──► left (says how to come back)
//!                      └─ Exit ────► ended (exit code of the shell)
//! ```

use std::{
    collections::VecDeque,
    io::{self, IsTerminal as _},
    time::Duration,
};

use bytes::Bytes;
use clap::Args;
use remora_proto::{
    agent::v1::{
        AttachStart, Credit, ListTerminalsRequest, OpenTerminalRequest, TerminalExit, TerminalInput, TerminalOutput,
        TerminalSize,
        attach_start::{From as StartFrom, LagPolicy, Mode},
        exit_status::Cause,
        terminal_input::Frame as InputFrame,
        terminal_output::Frame as OutputFrame,
        terminal_service_client::TerminalServiceClient,
    },
    fault::from_status,
};
use remora_proto_model::{ContainerName, Fault, ProjectName, Reason, SessionId};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    signal::unix::{Signal, SignalKind, signal},
    sync::mpsc,
};
use tokio_stream::wrappers::ReceiverStream;
use tonic::Streaming;
use uuid::Uuid;

use crate::{
    Context, Failure, clients,
    connect::Connection,
    input_log::{InputLog, MAX_UNACKNOWLEDGED},
    output::{Format, Listing, OutputArgs, note, stdout_failure},
    patience::Patience,
    project_name::project_name,
    raw_terminal::{self, RawTerminal},
    view::terminal::TerminalView,
};

/// Ctrl-], the escape of telnet(1): leaves the terminal, which goes on.
const DETACH: u8 = 0x1d;
/// Bytes of output in flight: enough for a screen full of colour many times over.
const CREDIT_BYTES: u64 = 256 * 1024;
/// Bytes read from the keyboard at once; the contract's bound on a frame.
const INPUT_FRAME_BYTES: usize = 64 * 1024;
/// How long the last keys before Ctrl-] may take to arrive.
const LEAVE_PATIENCE: Duration = Duration::from_secs(1);
/// What a program may have switched on in the local terminal that is left: the
/// alternate screen, a hidden cursor, colours, application keys, mouse and paste
/// reports (as in `xterm`'s control sequences).
const PUT_BACK: &[u8] =
    b"\x1b[?1049l\x1b[?25h\x1b[0m\x1b[?1l\x1b>\x1b[?1000l\x1b[?1002l\x1b[?1003l\x1b[?1006l\x1b[?2004l\r\n";

/// Flags of `remora sh`.
#[derive(Args, Clone, Debug)]
pub struct ShArgs {
    /// Name of the project.
    #[arg(value_parser = project_name)]
    name: ProjectName,
    /// Container; the dev container where none is given.
    #[arg(short, long)]
    container: Option<ContainerName>,
    /// Come back to the terminal with this id.
    #[arg(long, value_name = "ID", conflicts_with = "argv")]
    attach: Option<SessionId>,
    /// List the terminals that there are.
    #[arg(short, long, conflicts_with_all = ["attach", "argv"])]
    list: bool,
    #[command(flatten)]
    output: OutputArgs,
    /// Command instead of a login shell.
    #[arg(last = true)]
    argv: Vec<String>,
}

type Client = TerminalServiceClient<Connection>;

/// Runs the verb.
pub(crate) async fn run(context: &Context, args: ShArgs) -> Result<(), Failure> {
    let mut client = clients::terminals(context, &args.name).await?;
    let container = args.container.map(String::from).unwrap_or_default();
    if args.list {
        return list(&mut client, container, &args.name, args.output.format).await;
    }
    let (id, begin) = match args.attach {
        Some(id) => (id.to_string(), StartFrom::Screen(true)),
        // A terminal that was just opened: from its first byte.
        None => (open(&mut client, &container, args.argv).await?, StartFrom::FromOffset(0)),
    };
    let come_back = format!("remora sh {} --attach {id}", args.name);
    let raw = RawTerminal::enter().map_err(Failure::local("terminal"))?;
    if raw.is_some() {
        note(&format!("Ctrl-] leaves this terminal, which goes on; to come back: {come_back}\r"));
    }
    let mut shell = Shell {
        container,
        id,
        client_id: Uuid::new_v4().to_string(),
        begin,
        offset: None,
        log: InputLog::default(),
        early: VecDeque::new(),
        keyboard: Some(keyboard()),
        at_terminal: raw.is_some(),
        resized: signal(SignalKind::window_change()).map_err(Failure::local("signals"))?,
    };
    let end = shell.stay(client).await;
    if raw.is_some() && !matches!(end, Ok(End::Exited(_))) && io::stdout().is_terminal() {
        // One and the same: what another one was given is not waited for. Whatever ended the stay is told below.
        let mut stdout = tokio::io::stdout();
        _ = stdout.write_all(PUT_BACK).await;
        _ = stdout.flush().await;
    }
    drop(raw);
    match end {
        Ok(End::Exited(exit)) => exit_code(&exit),
        Ok(End::Left) => {
            if !shell.early.is_empty() || shell.log.unacknowledged().next().is_some() {
                note("remora: what was typed last may not have arrived");
            }
            note(&format!("left; the terminal goes on: {come_back}"));
            Ok(())
        }
        Err(failure) => {
            if may_go_on(&failure) {
                note(&format!("the terminal goes on: {come_back}"));
            }
            Err(failure)
        }
    }
}

/// Whether there may be a terminal to come back to after `failure`.
fn may_go_on(failure: &Failure) -> bool {
    match failure {
        // A project that is stopped has ended its terminals.
        Failure::Fault(fault) => {
            !matches!(fault.reason, Reason::NotFound | Reason::SessionEnded | Reason::ProjectNotReady)
                || fault.retry_after.is_some()
        }
        _ => true,
    }
}

async fn list(client: &mut Client, container: String, name: &ProjectName, format: Format) -> Result<(), Failure> {
    let terminals = client.list(ListTerminalsRequest { container }).await?.into_inner().terminals;
    let terminals: Vec<_> = terminals.into_iter().map(TerminalView::from).collect();
    let mut listing = Listing::new(format);
    listing.push(&terminals)?;
    if listing.finish()? == 0 && matches!(format, Format::Table | Format::Wide) {
        note(&format!("no terminals; `remora sh {name}` opens one"));
    }
    Ok(())
}

async fn open(client: &mut Client, container: &str, argv: Vec<String>) -> Result<String, Failure> {
    let request = OpenTerminalRequest {
        container: container.to_owned(),
        argv,
        env: std::env::var("TERM").ok().map(|term| ("TERM".to_owned(), term)).into_iter().collect(),
        size: local_size(),
        idempotency_key: Uuid::new_v4().to_string(),
        ..OpenTerminalRequest::default()
    };
    let mut patience = Patience::default();
    loop {
        match client.open(request.clone()).await {
            Ok(response) => return Ok(response.into_inner().id),
            Err(status) => patience.wait_or_give_up(from_status(&status)).await?,
        }
    }
}

fn local_size() -> Option<TerminalSize> {
    raw_terminal::size().map(|(columns, rows)| TerminalSize { columns: columns.into(), rows: rows.into() })
}

/// Bytes from standard input. The read is a blocking one that nothing can call
/// off, so it has a thread of its own, which ends with the process.
fn keyboard() -> mpsc::Receiver<Bytes> {
    let (sender, receiver) = mpsc::channel(4);
    tokio::spawn(async move {
        let mut stdin = tokio::io::stdin();
        let mut buffer = vec![0; INPUT_FRAME_BYTES];
        while let Ok(length @ 1..) = stdin.read(&mut buffer).await {
            if sender.send(Bytes::copy_from_slice(&buffer[..length])).await.is_err() {
                return;
            }
        }
    });
    receiver
}

enum End {
    Exited(TerminalExit),
    Left,
}

struct Shell {
    container: String,
    id: String,
    client_id: String,
    /// Where the first attachment begins.
    begin: StartFrom,
    /// Offset after the last byte that was shown; `None` before the first attach.
    offset: Option<u64>,
    log: InputLog,
    /// What was typed while nobody was there to take it. It gets its numbers from the
    /// next attachment, which says where they go on.
    early: VecDeque<Bytes>,
    /// `None` after the end of what is typed, which a pipe has and a terminal not.
    keyboard: Option<mpsc::Receiver<Bytes>>,
    at_terminal: bool,
    resized: Signal,
}

impl Shell {
    /// Attaches, and attaches again whenever the connection is cut.
    async fn stay(&mut self, mut client: Client) -> Result<End, Failure> {
        let mut patience = Patience::default();
        loop {
            let cut = match self.attached(&mut client, &mut patience).await {
                Ok(end) => return Ok(end),
                Err(Failure::Fault(fault)) => fault,
                Err(other) => return Err(other),
            };
            tokio::select! {
                waited = patience.wait_or_give_up(cut) => waited?,
                () = self.hold_keys() => return Ok(End::Left),
            }
        }
    }

    /// Keeps what is typed meanwhile; returns where that is the wish to leave.
    async fn hold_keys(&mut self) {
        while self.has_room() {
            let Some(bytes) = next_keys(&mut self.keyboard).await else {
                self.keyboard = None;
                if self.at_terminal {
                    return;
                }
                continue;
            };
            let (bytes, leaves) = self.typed(bytes);
            self.early.extend((!bytes.is_empty()).then_some(bytes));
            if leaves {
                return;
            }
        }
        std::future::pending().await
    }

    /// Whether more may be typed before some of it arrives.
    fn has_room(&self) -> bool {
        self.early.len() + self.log.unacknowledged().count() < MAX_UNACKNOWLEDGED
    }

    /// What of `bytes` is for the terminal, and whether the wish to leave follows.
    fn typed(&self, mut bytes: Bytes) -> (Bytes, bool) {
        let leaves = bytes.iter().position(|byte| self.at_terminal && *byte == DETACH);
        if let Some(at) = leaves {
            bytes.truncate(at);
        }
        (bytes, leaves.is_some())
    }

    fn start(&self) -> TerminalInput {
        let start = AttachStart {
            container: self.container.clone(),
            id: self.id.clone(),
            client_id: self.client_id.clone(),
            mode: Mode::Takeover.into(),
            from: Some(match self.offset {
                Some(offset) => StartFrom::FromOffset(offset),
                None => self.begin,
            }),
            credit_bytes: CREDIT_BYTES,
            lag_policy: LagPolicy::Backpressure.into(),
            size: local_size(),
        };
        TerminalInput { frame: Some(InputFrame::Start(start)) }
    }

    /// Waits until what was typed before Ctrl-] is with the terminal.
    async fn leave(&mut self, frames: mpsc::Sender<TerminalInput>, output: &mut Streaming<TerminalOutput>) {
        let acknowledged = async {
            while self.log.unacknowledged().next().is_some() {
                match output.message().await {
                    Ok(Some(TerminalOutput { frame: Some(OutputFrame::InputAck(ack)) })) => {
                        self.log.acknowledge(ack.sequence)
                    }
                    Ok(Some(_)) => {}
                    Ok(None) | Err(_) => return,
                }
            }
        };
        _ = tokio::time::timeout(LEAVE_PATIENCE, acknowledged).await;
        drop(frames);
    }

    async fn attached(&mut self, client: &mut Client, patience: &mut Patience) -> Result<End, Failure> {
        // Room for everything that is unacknowledged and for credit and resizes beside it.
        let (frames, receiver) = mpsc::channel(2 * MAX_UNACKNOWLEDGED);
        let send = |frame| TerminalInput { frame: Some(frame) };
        // The channel is empty and large enough.
        _ = frames.try_send(self.start());
        let mut output = client.attach(ReceiverStream::new(receiver)).await?.into_inner();
        let mut stdout = tokio::io::stdout();
        let mut shown = 0_u64;
        let mut there = false;
        let mut typing = false;
        loop {
            tokio::select! {
                message = output.message() => {
                    let message = message?.ok_or_else(|| lost("the connection ended"))?;
                    match message.frame {
                        Some(OutputFrame::Attached(attached)) => {
                            patience.reset();
                            if let Some(gap) = attached.gap {
                                say_gap(gap.from, gap.to);
                                self.offset = Some(gap.to);
                            }
                            self.log.acknowledge(attached.input_sequence);
                            for input in self.log.unacknowledged() {
                                _ = frames.try_send(send(InputFrame::Input(input.clone())));
                            }
                            (there, typing) = (true, attached.writer == self.client_id);
                            for bytes in self.early.drain(..).filter(|_| typing) {
                                _ = frames.try_send(send(InputFrame::Input(self.log.push(bytes))));
                            }
                        }
                        Some(OutputFrame::Screen(paint)) => {
                            show(&mut stdout, &paint.data).await?;
                            self.offset = Some(paint.at_offset);
                        }
                        Some(OutputFrame::Output(data)) => {
                            let end = data.offset + data.data.len() as u64;
                            show(&mut stdout, &data.data).await?;
                            self.offset = Some(end);
                            shown += data.data.len() as u64;
                            if shown >= CREDIT_BYTES / 2 {
                                _ = frames.try_send(send(InputFrame::Credit(Credit { bytes: shown })));
                                shown = 0;
                            }
                        }
                        Some(OutputFrame::InputAck(ack)) => self.log.acknowledge(ack.sequence),
                        Some(OutputFrame::WriterChanged(change)) => {
                            typing = change.writer == self.client_id;
                            if !typing {
                                note("\r\nremora: another client types now; you are watching (Ctrl-] leaves)\r");
                            }
                        }
                        Some(OutputFrame::Lagged(gap)) => {
                            say_gap(gap.from, gap.to);
                            self.offset = Some(gap.to);
                        }
                        Some(OutputFrame::Exit(exit)) => return Ok(End::Exited(exit)),
                        Some(OutputFrame::Resized(_) | OutputFrame::Title(_) | OutputFrame::Heartbeat(_)) | None => {}
                    }
                }
                bytes = next_keys(&mut self.keyboard), if self.has_room() => {
                    let Some(bytes) = bytes else {
                        // A terminal that hung up is left; what a pipe typed may still be answered.
                        self.keyboard = None;
                        if self.at_terminal {
                            return Ok(End::Left);
                        }
                        continue;
                    };
                    let (bytes, leaves) = self.typed(bytes);
                    if !there {
                        self.early.extend((!bytes.is_empty()).then_some(bytes));
                    } else if typing && !bytes.is_empty() {
                        let input = self.log.push(bytes);
                        frames.send(send(InputFrame::Input(input))).await.map_err(|_| lost("the connection was cut"))?;
                    }
                    if leaves {
                        if there {
                            self.leave(frames, &mut output).await;
                        }
                        return Ok(End::Left);
                    }
                }
                _ = self.resized.recv() => {
                    if let (true, Some(size)) = (typing, local_size()) {
                        _ = frames.try_send(send(InputFrame::Resize(size)));
                    }
                }
            }
        }
    }
}

/// The next bytes of the keyboard; never, where it has ended.
async fn next_keys(keyboard: &mut Option<mpsc::Receiver<Bytes>>) -> Option<Bytes> {
    match keyboard {
        Some(keyboard) => keyboard.recv().await,
        None => std::future::pending().await,
    }
}

async fn show(stdout: &mut tokio::io::Stdout, data: &[u8]) -> Result<(), Failure> {
    stdout.write_all(data).await.map_err(stdout_failure)?;
    stdout.flush().await.map_err(stdout_failure)
}

fn say_gap(from: u64, to: u64) {
    note(&format!("\r\nremora: {} bytes of output are no longer held and are missing here\r", to.saturating_sub(from)));
}

fn lost(what: &'static str) -> Failure {
    Failure::Fault(Fault::new(Reason::Unavailable, what))
}

fn exit_code(exit: &TerminalExit) -> Result<(), Failure> {
    let Some(status) = &exit.status else { return Err(lost("the terminal ended and nobody could observe how")) };
    let code = match status.cause() {
        Cause::Unknown | Cause::Unspecified => return Err(lost("the terminal ended and nobody could observe how")),
        _ => status.code.or(status.signal.map(|signal| 128 + signal)),
    };
    match code.map(u8::try_from) {
        Some(Ok(0)) => Ok(()),
        Some(Ok(code)) => Err(Failure::Code(code)),
        _ => Err(lost("the terminal ended without an exit code")),
    }
}
