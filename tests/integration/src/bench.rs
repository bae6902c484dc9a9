//! How fast commands and terminals are through a server on a cluster, beside `kubectl exec`
//! into the same container, which `kubectl` on PATH reaches.
//!
//! A call of Remora goes over a connection that stands, as an agent or an editor has it; one
//! of kubectl is a process and a WebSocket of its own, which is what it has.

#![expect(clippy::print_stdout, reason = "a benchmark's output is what it is for")]

use std::{
    fs::File,
    io::{Read as _, Write as _},
    os::fd::OwnedFd,
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use anyhow::Context as _;
use remora_proto::agent::v1::{
    Argv, AttachCommandRequest, AttachStart, CommandSpec, Input, OpenTerminalRequest, OutputStream, RunRequest,
    StartRequest, TerminalInput, attach_start, command_output::Frame as CommandFrame, command_spec::Program,
    exec_service_client::ExecServiceClient, terminal_input, terminal_output,
    terminal_service_client::TerminalServiceClient,
};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, transport::Channel};

use crate::{cli::Cli, pty::at_terminal, target::Target};

/// Round trips of Remora, and of kubectl, which takes a hundred times as long.
const ROUNDS: usize = 500;
const KUBECTL_ROUNDS: usize = 40;
/// Keystrokes of each.
const KEYS: usize = 300;
/// Bytes through a pipe and through a terminal.
const PIPE_BYTES: u64 = 512 << 20;
const TERMINAL_BYTES: u64 = 64 << 20;

/// One container, from both sides.
struct Place {
    channel: Channel,
    key: String,
    project: String,
    namespace: String,
    pod: String,
}

impl Place {
    fn request<T>(&self, message: T) -> Request<T> {
        let mut request = Request::new(message);
        let value = |text: &str| text.parse().expect("it fits into a header");
        request.metadata_mut().insert("authorization", value(&format!("Bearer {}", self.key)));
        request.metadata_mut().insert("remora-project", value(&self.project));
        request
    }

    fn kubectl(&self, flags: &[&str], words: &[&str]) -> Command {
        let mut command = Command::new("kubectl");
        command.args(["exec", "--namespace", &self.namespace, &self.pod, "--container", "dev"]);
        command.args(flags).arg("--").args(words).stdin(Stdio::null()).stderr(Stdio::inherit());
        command
    }
}

/// Prints a line for each thing that is compared.
pub async fn run(target: Target) -> anyhow::Result<()> {
    let Target { server, key, image, .. } = target;
    let image = image.context("only a cluster can be compared with kubectl exec: name an image")?;
    let cli = Cli::new(&server, &key);
    let name = format!("bench-{}", std::process::id());
    let idle = "trap 'exit 0' TERM; while :; do sleep 1; done";
    cli.run(&["up", "--empty", "--name", &name, "--image", &image, "--cmd", idle]).await.ok();
    let status: serde_json::Value = serde_json::from_str(&cli.run(&["status", &name, "-o", "json"]).await.ok())?;
    let text = |value: &serde_json::Value| value.as_str().unwrap_or_default().to_owned();
    let (namespace, pod) = (text(&status["status"]["namespace"]), text(&status["status"]["pods"][0]["name"]));
    let channel = Channel::from_shared(server)?.connect().await?;
    let place = Place { channel, key, project: name.clone(), namespace, pod };

    println!("{:<34} {:>14} {:>14}", "", "kubectl exec", "remora");
    let (kubectl, remora) = (kubectl_true(&place)?, remora_true(&place).await?);
    for (what, part) in [("p50", 50), ("p99", 99)] {
        row(&format!("round trip of true, {what}, ms"), of(&kubectl, part), of(&remora, part), false);
    }
    // Beside one process of kubectl, one of the command line: it starts and connects each time, too.
    let process = remora_process(&place, &cli).await?;
    for (what, part) in [("p50", 50), ("p99", 99)] {
        row(&format!("remora exec as a process, {what}, ms"), of(&kubectl, part), of(&process, part), false);
    }
    row("a pipe, MB/s", kubectl_pipe(&place)?, remora_pipe(&place).await?, true);
    row("a terminal, MB/s", kubectl_terminal(&place)?, remora_terminal(&place).await?, true);
    let (kubectl, remora) = (kubectl_echo(&place)?, remora_echo(&place).await?);
    for (what, part) in [("p50", 50), ("p99", 99)] {
        row(&format!("keystroke echo, {what}, ms"), of(&kubectl, part), of(&remora, part), false);
    }
    println!("goals: true 25 times, pipe 4 times, terminal 2.5 times, echo p50 twice as good");
    cli.run(&["rm", &name, "--yes"]).await.ok();
    Ok(())
}

fn row(what: &str, kubectl: f64, remora: f64, more_is_better: bool) {
    let times = if more_is_better { remora / kubectl } else { kubectl / remora };
    println!("{what:<34} {kubectl:>14.2} {remora:>14.2} {times:>9.1} times as good");
}

/// The percentile in milliseconds.
fn of(times: &[Duration], part: usize) -> f64 {
    let mut times = times.to_vec();
    times.sort_unstable();
    times[(times.len() * part / 100).min(times.len() - 1)].as_secs_f64() * 1_000.0
}

fn per_second(bytes: u64, time: Duration) -> f64 {
    bytes as f64 / time.as_secs_f64() / 1e6
}

fn argv(words: &[&str]) -> CommandSpec {
    let words = words.iter().map(|word| (*word).to_owned()).collect();
    CommandSpec { program: Some(Program::Argv(Argv { words })), ..CommandSpec::default() }
}

fn kubectl_true(place: &Place) -> anyhow::Result<Vec<Duration>> {
    let mut times = Vec::new();
    for _ in 0..KUBECTL_ROUNDS {
        let began = Instant::now();
        anyhow::ensure!(place.kubectl(&[], &["true"]).status()?.success());
        times.push(began.elapsed());
    }
    Ok(times)
}

async fn remora_true(place: &Place) -> anyhow::Result<Vec<Duration>> {
    let mut client = ExecServiceClient::new(place.channel.clone());
    let mut times = Vec::new();
    for _ in 0..ROUNDS {
        let request = RunRequest { command: Some(argv(&["true"])), ..RunRequest::default() };
        let began = Instant::now();
        let ran = client.run(place.request(request)).await?.into_inner();
        times.push(began.elapsed());
        anyhow::ensure!(ran.command.and_then(|command| command.exit).and_then(|exit| exit.code) == Some(0));
    }
    Ok(times)
}

async fn remora_process(place: &Place, cli: &Cli) -> anyhow::Result<Vec<Duration>> {
    let mut times = Vec::new();
    for _ in 0..KUBECTL_ROUNDS {
        let began = Instant::now();
        let ran = cli.run(&["exec", &place.project, "--", "true"]).await;
        times.push(began.elapsed());
        anyhow::ensure!(ran.code == 0, "{ran:?}");
    }
    Ok(times)
}

fn kubectl_pipe(place: &Place) -> anyhow::Result<f64> {
    let count = PIPE_BYTES.to_string();
    let mut child = place.kubectl(&[], &["head", "-c", &count, "/dev/zero"]).stdout(Stdio::piped()).spawn()?;
    let mut output = child.stdout.take().expect("stdout is piped");
    let (bytes, time) = drain(&mut output, PIPE_BYTES);
    child.wait()?;
    anyhow::ensure!(bytes == PIPE_BYTES, "{bytes} bytes came");
    Ok(per_second(bytes, time))
}

/// Reads `wanted` bytes or to the end; from the first byte on.
fn drain(output: &mut impl std::io::Read, wanted: u64) -> (u64, Duration) {
    let (mut buffer, mut bytes, mut began) = (vec![0; 1 << 20], 0, None);
    // EIO is how a PTY says that nobody holds the other end.
    while bytes < wanted
        && let Ok(count @ 1..) = output.read(&mut buffer)
    {
        began.get_or_insert_with(Instant::now);
        bytes += count as u64;
    }
    (bytes, began.map(|began| began.elapsed()).unwrap_or_default())
}

async fn remora_pipe(place: &Place) -> anyhow::Result<f64> {
    let mut client = ExecServiceClient::new(place.channel.clone());
    // What is held of a stream is bounded, so it is produced as fast as it is read: in parts.
    let (mut bytes, mut time) = (0, Duration::ZERO);
    let part = 32_u64 << 20;
    while bytes < PIPE_BYTES {
        let count = part.to_string();
        let command = Some(argv(&["head", "-c", &count, "/dev/zero"]));
        let id =
            client.start(place.request(StartRequest { command, ..StartRequest::default() })).await?.into_inner().id;
        let began = Instant::now();
        let request = AttachCommandRequest { id, ..AttachCommandRequest::default() };
        let mut frames = client.attach(place.request(request)).await?.into_inner();
        let mut got = 0;
        while let Some(frame) = frames.message().await? {
            match frame.frame {
                Some(CommandFrame::Data(data)) if data.stream() == OutputStream::Stdout => {
                    got += data.data.len() as u64
                }
                Some(CommandFrame::Gap(gap)) => anyhow::bail!("bytes were lost: {gap:?}"),
                _ => {}
            }
        }
        anyhow::ensure!(got == part, "{got} bytes came");
        (bytes, time) = (bytes + got, time + began.elapsed());
    }
    Ok(per_second(bytes, time))
}

fn flood() -> String {
    format!("stty raw -echo; head -c {TERMINAL_BYTES} /dev/zero | tr '\\0' x; sleep 2")
}

fn at_kubectl(place: &Place, line: &str) -> (OwnedFd, tokio::process::Child) {
    let command = place.kubectl(&["--stdin", "--tty"], &["sh", "-c", line]);
    at_terminal(tokio::process::Command::from(command))
}

fn kubectl_terminal(place: &Place) -> anyhow::Result<f64> {
    let (terminal, _child) = at_kubectl(place, &flood());
    let (bytes, time) = drain(&mut File::from(terminal), TERMINAL_BYTES);
    anyhow::ensure!(bytes >= TERMINAL_BYTES, "{bytes} bytes came");
    Ok(per_second(bytes, time))
}

/// A terminal that runs `line`, and its attachment.
async fn attached(
    place: &Place,
    line: &str,
) -> anyhow::Result<(mpsc::Sender<TerminalInput>, tonic::Streaming<remora_proto::agent::v1::TerminalOutput>)> {
    let mut client = TerminalServiceClient::new(place.channel.clone());
    let argv = ["sh", "-c", line].map(str::to_owned).to_vec();
    let open = OpenTerminalRequest { argv, ring_bytes: 16 << 20, ..OpenTerminalRequest::default() };
    let id = client.open(place.request(open)).await?.into_inner().id;
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
    let output = client.attach(place.request(ReceiverStream::new(frames))).await?.into_inner();
    Ok((input, output))
}

async fn remora_terminal(place: &Place) -> anyhow::Result<f64> {
    let (_input, mut output) = attached(place, &flood()).await?;
    let (mut bytes, mut next, mut began) = (0_u64, 0_u64, None);
    while next < TERMINAL_BYTES {
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
    if bytes < next {
        println!("    of {next} bytes {} were overwritten before they were read", next - bytes);
    }
    Ok(per_second(bytes, began.map(|began| began.elapsed()).unwrap_or_default()))
}

/// Answers each key with itself, after a first mark.
const ECHO: &str = "stty raw -echo; printf R; exec cat";

fn kubectl_echo(place: &Place) -> anyhow::Result<Vec<Duration>> {
    let (terminal, _child) = at_kubectl(place, ECHO);
    let mut terminal = File::from(terminal);
    let mut byte = [0; 1];
    while byte != *b"R" {
        terminal.read_exact(&mut byte)?;
    }
    let mut times = Vec::new();
    for _ in 0..KEYS {
        let began = Instant::now();
        terminal.write_all(b"k")?;
        terminal.read_exact(&mut byte)?;
        times.push(began.elapsed());
    }
    Ok(times)
}

async fn remora_echo(place: &Place) -> anyhow::Result<Vec<Duration>> {
    let (input, mut output) = attached(place, ECHO).await?;
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
    for sequence in 1..=KEYS as u64 {
        let key = Input { sequence, data: b"k".to_vec().into() };
        let began = Instant::now();
        input.send(TerminalInput { frame: Some(terminal_input::Frame::Input(key)) }).await?;
        printed().await?;
        times.push(began.elapsed());
    }
    Ok(times)
}
