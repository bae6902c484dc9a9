//! What is measured of commands and terminals, whatever serves them: round trips, bytes
//! per second, and how soon a key is echoed.

use std::time::{Duration, Instant};

use remora_proto::agent::v1::{
    Argv, AttachCommandRequest, AttachStart, CommandSpec, Input, OpenTerminalRequest, OutputStream, RunRequest,
    StartRequest, TerminalInput, TerminalOutput, attach_start, command_output::Frame as CommandFrame,
    command_spec::Program, exec_service_client::ExecServiceClient, terminal_input, terminal_output,
    terminal_service_client::TerminalServiceClient,
};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{
    Request, Status, Streaming,
    metadata::{Ascii, MetadataValue},
    service::{Interceptor, interceptor::InterceptedService},
    transport::{Channel, Endpoint},
};

/// Round trips that are measured.
pub const ROUNDS: usize = 500;
/// Keystrokes that are measured.
pub const KEYS: usize = 300;
/// Bytes through a pipe.
pub const PIPE_BYTES: u64 = 512 << 20;
/// Bytes through a terminal.
pub const TERMINAL_BYTES: u64 = 64 << 20;
/// Bytes of one command's output: what is held of a stream is bounded, so it is produced in
/// parts, as fast as it is read.
const PART_BYTES: u64 = 32 << 20;
/// Bytes of an HTTP/2 frame that are taken, as the command line does.
const HTTP2_FRAME_BYTES: u32 = 128 << 10;
/// Answers each key with itself, after a first mark.
pub const ECHO: &str = "stty raw -echo; printf R; exec cat";

/// What each call carries.
#[derive(Clone, Default)]
pub struct Headers(Vec<(&'static str, MetadataValue<Ascii>)>);

impl Headers {
    /// These, too.
    pub fn and(mut self, name: &'static str, value: &str) -> Self {
        self.0.push((name, value.parse().expect("it fits into a header")));
        self
    }
}

impl Interceptor for Headers {
    fn call(&mut self, mut request: Request<()>) -> Result<Request<()>, Status> {
        for (name, value) in &self.0 {
            request.metadata_mut().insert(*name, value.clone());
        }
        Ok(request)
    }
}

/// The settings of a client that moves much.
pub fn wide(endpoint: Endpoint) -> Endpoint {
    endpoint.max_frame_size(HTTP2_FRAME_BYTES)
}

/// Somebody who serves commands and terminals.
#[derive(Clone)]
pub struct Served(InterceptedService<Channel, Headers>);

impl Served {
    /// Whoever is at the other end of `channel`.
    pub fn new(channel: Channel, headers: Headers) -> Self {
        Served(InterceptedService::new(channel, headers))
    }

    fn commands(&self) -> ExecServiceClient<InterceptedService<Channel, Headers>> {
        ExecServiceClient::new(self.0.clone())
    }

    /// The time of each of `rounds` runs of `true`.
    pub async fn round_trips(&self, rounds: usize) -> anyhow::Result<Vec<Duration>> {
        let mut client = self.commands();
        let mut times = Vec::new();
        for _ in 0..rounds {
            let request = RunRequest { command: Some(argv(&["true"])), ..RunRequest::default() };
            let began = Instant::now();
            let ran = client.run(request).await?.into_inner();
            times.push(began.elapsed());
            anyhow::ensure!(ran.command.and_then(|command| command.exit).and_then(|exit| exit.code) == Some(0));
        }
        Ok(times)
    }

    /// The time in which `wanted` bytes came from the stdout of commands, of each from the first to the last.
    pub async fn pipe(&self, wanted: u64) -> anyhow::Result<Duration> {
        let mut client = self.commands();
        let (mut bytes, mut time) = (0, Duration::ZERO);
        while bytes < wanted {
            let command = Some(argv(&["head", "-c", &PART_BYTES.to_string(), "/dev/zero"]));
            let id = client.start(StartRequest { command, ..StartRequest::default() }).await?.into_inner().id;
            let request = AttachCommandRequest { id, ..AttachCommandRequest::default() };
            let mut frames = client.attach(request).await?.into_inner();
            let (mut got, mut began, mut last) = (0, None, Duration::ZERO);
            while let Some(frame) = frames.message().await? {
                match frame.frame {
                    Some(CommandFrame::Data(data)) if data.stream() == OutputStream::Stdout => {
                        last = began.get_or_insert_with(Instant::now).elapsed();
                        got += data.data.len() as u64;
                    }
                    Some(CommandFrame::Gap(gap)) => anyhow::bail!("bytes were lost: {gap:?}"),
                    _ => {}
                }
            }
            anyhow::ensure!(got == PART_BYTES, "{got} bytes came");
            (bytes, time) = (bytes + got, time + last);
        }
        Ok(time)
    }

    /// A terminal that runs `line`, and its attachment.
    async fn attached(&self, line: &str) -> anyhow::Result<(mpsc::Sender<TerminalInput>, Streaming<TerminalOutput>)> {
        let mut client = TerminalServiceClient::new(self.0.clone());
        let argv = ["sh", "-c", line].map(str::to_owned).to_vec();
        let open = OpenTerminalRequest { argv, ring_bytes: 16 << 20, ..OpenTerminalRequest::default() };
        let id = client.open(open).await?.into_inner().id;
        let (input, frames) = mpsc::channel(16);
        let start = AttachStart {
            id,
            mode: attach_start::Mode::Writer.into(),
            client_id: "bench".to_owned(),
            from: Some(attach_start::From::FromOffset(0)),
            credit_bytes: u64::MAX / 2,
            lag_policy: attach_start::LagPolicy::Backpressure.into(),
            ..AttachStart::default()
        };
        input.send(TerminalInput { frame: Some(terminal_input::Frame::Start(start)) }).await?;
        let output = client.attach(ReceiverStream::new(frames)).await?.into_inner();
        Ok((input, output))
    }

    /// The time from the first byte of a terminal's flood to the last one, and how many of
    /// them were overwritten before they were read.
    pub async fn terminal(&self, wanted: u64) -> anyhow::Result<(Duration, u64)> {
        let (_input, mut output) = self.attached(&flood(wanted)).await?;
        let (mut bytes, mut next, mut began) = (0_u64, 0_u64, None);
        while next < wanted {
            match output.message().await?.and_then(|message| message.frame) {
                Some(terminal_output::Frame::Output(output)) => {
                    began.get_or_insert_with(Instant::now);
                    bytes += output.data.len() as u64;
                    next = output.offset + output.data.len() as u64;
                }
                Some(_) => {}
                None => anyhow::bail!("it ended after {next} bytes"),
            }
        }
        Ok((began.map(|began| began.elapsed()).unwrap_or_default(), next - bytes))
    }

    /// The time until each of `keys` keys came back.
    pub async fn echo(&self, keys: usize) -> anyhow::Result<Vec<Duration>> {
        let (input, mut output) = self.attached(ECHO).await?;
        let mut printed = async || -> anyhow::Result<()> {
            loop {
                match output.message().await?.and_then(|message| message.frame) {
                    Some(terminal_output::Frame::Output(_)) => return Ok(()),
                    Some(_) => {}
                    None => anyhow::bail!("the terminal ended"),
                }
            }
        };
        printed().await?;
        let mut times = Vec::new();
        for sequence in 1..=keys as u64 {
            let key = Input { sequence, data: b"k".to_vec().into() };
            let began = Instant::now();
            input.send(TerminalInput { frame: Some(terminal_input::Frame::Input(key)) }).await?;
            printed().await?;
            times.push(began.elapsed());
        }
        Ok(times)
    }
}

/// A command line that prints `bytes` into a terminal which changes none of them.
pub fn flood(bytes: u64) -> String {
    format!("stty raw -echo; head -c {bytes} /dev/zero | tr '\\0' x; sleep 2")
}

fn argv(words: &[&str]) -> CommandSpec {
    let words = words.iter().map(|word| (*word).to_owned()).collect();
    CommandSpec { program: Some(Program::Argv(Argv { words })), ..CommandSpec::default() }
}

/// The percentile in milliseconds.
pub fn percentile(times: &[Duration], part: usize) -> f64 {
    let mut times = times.to_vec();
    times.sort_unstable();
    times[(times.len() * part / 100).min(times.len() - 1)].as_secs_f64() * 1_000.0
}

/// Megabytes per second.
pub fn rate(bytes: u64, time: Duration) -> f64 {
    bytes as f64 / time.as_secs_f64() / 1e6
}
