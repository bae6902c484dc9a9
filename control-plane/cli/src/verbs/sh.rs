//! `remora sh NAME`: the local terminal on a session that outlives it.
//!
//! ```text
//!            open            cut                   again
//!   (none) ───────► attached ────► waiting ──────────────► attached
//!                      │              └─ patience is over ─► left (says how to come back)
//!                      ├─ Ctrl-] ──► left (says how to come back)
//!                      └─ Exit ────► ended (exit code of the shell)
//! ```

use bytes::Bytes;
use remora_proto::{
    agent::v1::{
        AttachStart, Credit, OpenTerminalRequest, TerminalExit, TerminalInput, TerminalSize,
        attach_start::{From as StartFrom, LagPolicy, Mode},
        exit_status::Cause,
        terminal_input::Frame as InputFrame,
        terminal_output::Frame as OutputFrame,
        terminal_service_client::TerminalServiceClient,
    },
    fault::from_status,
};
use remora_proto_model::Fault;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    signal::unix::{Signal, SignalKind, signal},
    sync::mpsc,
};
use tokio_stream::wrappers::ReceiverStream;
use uuid::Uuid;

use crate::{
    Context, Failure,
    args::ShArgs,
    connect::{Connection, connect},
    input_log::{InputLog, MAX_UNACKNOWLEDGED},
    output::note,
    patience::Patience,
    raw_terminal::{self, RawTerminal},
};

/// Ctrl-], the escape of telnet(1): leaves the terminal, which goes on.
const DETACH: u8 = 0x1d;
/// Bytes of output in flight: enough for a screen full of colour many times over.
const CREDIT_BYTES: u64 = 256 * 1024;
/// Bytes read from the keyboard at once; the contract's bound on a frame.
const INPUT_FRAME_BYTES: usize = 64 * 1024;

type Client = TerminalServiceClient<Connection>;

/// Runs the verb.
pub(crate) async fn run(context: &Context, args: ShArgs) -> Result<(), Failure> {
    let mut client = TerminalServiceClient::new(connect(context, Some(&args.name)).await?);
    let container = args.container.map(String::from).unwrap_or_default();
    let id = match args.attach {
        Some(id) => id.to_string(),
        None => open(&mut client, &container, args.argv).await?,
    };
    let come_back = format!("remora sh {} --attach {id}", args.name);
    let mut shell = Shell {
        container,
        id,
        client_id: Uuid::new_v4().to_string(),
        offset: None,
        log: InputLog::default(),
        keyboard: keyboard(),
        resized: signal(SignalKind::window_change()).map_err(Failure::local("signals"))?,
    };
    let raw = RawTerminal::enter().map_err(Failure::local("terminal"))?;
    let end = shell.stay(client).await;
    drop(raw);
    match end {
        Ok(End::Exited(exit)) => exit_code(&exit),
        Ok(End::Left) => {
            note(&format!("left; the terminal goes on: {come_back}"));
            Ok(())
        }
        Err(failure) => {
            note(&format!("the terminal goes on: {come_back}"));
            Err(failure)
        }
    }
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
    /// Offset after the last byte that was shown; `None` before the first attach.
    offset: Option<u64>,
    log: InputLog,
    keyboard: mpsc::Receiver<Bytes>,
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
            patience.wait_or_give_up(cut).await?;
        }
    }

    fn start(&self) -> TerminalInput {
        let start = AttachStart {
            container: self.container.clone(),
            id: self.id.clone(),
            client_id: self.client_id.clone(),
            mode: Mode::Takeover.into(),
            from: Some(match self.offset {
                Some(offset) => StartFrom::FromOffset(offset),
                None => StartFrom::Screen(true),
            }),
            credit_bytes: CREDIT_BYTES,
            lag_policy: LagPolicy::Backpressure.into(),
            size: local_size(),
        };
        TerminalInput { frame: Some(InputFrame::Start(start)) }
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
                            typing = attached.writer == self.client_id;
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
                bytes = self.keyboard.recv(), if self.log.has_room() => {
                    let Some(bytes) = bytes else { return Ok(End::Left) };
                    if bytes.contains(&DETACH) {
                        return Ok(End::Left);
                    }
                    if typing {
                        let input = self.log.push(bytes);
                        frames.send(send(InputFrame::Input(input))).await.map_err(|_| lost("the connection was cut"))?;
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

async fn show(stdout: &mut tokio::io::Stdout, data: &[u8]) -> Result<(), Failure> {
    stdout.write_all(data).await.map_err(Failure::local("standard output"))?;
    stdout.flush().await.map_err(Failure::local("standard output"))
}

fn say_gap(from: u64, to: u64) {
    note(&format!("\r\nremora: {} bytes of output are no longer held and are missing here\r", to.saturating_sub(from)));
}

fn lost(what: &'static str) -> Failure {
    Failure::Fault(Fault::new(remora_proto_model::Reason::Unavailable, what))
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
