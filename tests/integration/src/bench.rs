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
    process::{Command, ExitStatus, Stdio},
    time::{Duration, Instant},
};

use tonic::transport::Endpoint;

use crate::{
    cli::Cli,
    pty::at_terminal,
    streams::{ECHO, Headers, KEYS, PIPE_BYTES, ROUNDS, Served, TERMINAL_BYTES, flood, percentile, rate, wide},
    target::Target,
};

/// How often streams are measured, the one and the other by turns: which processor a step of
/// them wakes on is luck that lasts for a stream. The median counts.
const STREAM_ROUNDS: usize = 5;
/// Round trips of kubectl, which takes a hundred times as long.
const KUBECTL_ROUNDS: usize = 40;

/// One container, from both sides.
struct Place {
    remora: Served,
    project: String,
    /// Where there is a cluster.
    pod: Option<Pod>,
}

struct Pod {
    namespace: String,
    name: String,
}

impl Place {
    /// What `measure` finds of kubectl, where there is a cluster.
    fn kubectl<T>(&self, measure: impl Fn(&Pod) -> anyhow::Result<T>) -> anyhow::Result<Option<T>> {
        self.pod.as_ref().map(measure).transpose()
    }
}

impl Pod {
    fn kubectl(&self, flags: &[&str], words: &[&str]) -> Command {
        let mut command = Command::new("kubectl");
        command.args(["exec", "--namespace", &self.namespace, &self.name, "--container", "dev"]);
        command.args(flags).arg("--").args(words).stdin(Stdio::null()).stderr(Stdio::inherit());
        command
    }
}

/// Prints a line for each thing that is compared; without an image, Remora's numbers alone.
pub async fn run(target: Target) -> anyhow::Result<()> {
    let Target { server, key, image, .. } = target;
    let cli = Cli::new(&server, &key);
    let name = format!("bench-{}", std::process::id());
    let idle = "trap 'exit 0' TERM; while :; do sleep 1; done";
    let mut up = vec!["up", "--empty", "--name", &name, "--cmd", idle];
    up.extend(image.iter().flat_map(|image| ["--image", image]));
    cli.run(&up).await.ok();
    let status: serde_json::Value = serde_json::from_str(&cli.run(&["status", &name, "-o", "json"]).await.ok())?;
    let text = |value: &serde_json::Value| value.as_str().unwrap_or_default().to_owned();
    let pod = image.is_some().then(|| Pod {
        namespace: text(&status["status"]["namespace"]),
        name: text(&status["status"]["pods"][0]["name"]),
    });
    let channel = wide(Endpoint::from_shared(server)?).connect().await?;
    let headers = Headers::default().and("authorization", &format!("Bearer {key}")).and("remora-project", &name);
    let place = Place { remora: Served::new(channel, headers), project: name.clone(), pod };

    println!("{:<34} {:>14} {:>14}", "", "kubectl exec", "remora");
    let (kubectl, remora) = (place.kubectl(kubectl_true)?, place.remora.round_trips(ROUNDS).await?);
    times("round trip of true", kubectl.as_deref(), &remora);
    // Beside one process of kubectl, one of the command line: it starts and connects each time, too.
    times("remora exec as a process", kubectl.as_deref(), &remora_process(&place, &cli).await?);
    let (mut pipe, mut terminal, mut bare) = (Rates::default(), Rates::default(), Vec::new());
    let (mut kubectl_keys, mut remora_keys, mut lost, mut cut) = (Vec::new(), Vec::new(), 0, Vec::new());
    for _ in 0..STREAM_ROUNDS {
        if let Some(piped) = place.kubectl(kubectl_pipe)? {
            pipe.kubectl.push(piped.rate);
            cut.extend((piped.bytes < PIPE_BYTES).then_some(piped));
        }
        pipe.remora.push(rate(PIPE_BYTES, place.remora.pipe(PIPE_BYTES).await?));
        terminal.kubectl.extend(place.kubectl(kubectl_terminal)?);
        let (time, overwritten) = place.remora.terminal(TERMINAL_BYTES).await?;
        terminal.remora.push(rate(TERMINAL_BYTES - overwritten, time));
        lost += overwritten;
        bare.push(bare_terminal()?);
        kubectl_keys.extend(place.kubectl(kubectl_echo)?.unwrap_or_default());
        remora_keys.extend(place.remora.echo(KEYS).await?);
    }
    pipe.print("a pipe, MB/s");
    for Piped { bytes, exit, .. } in cut {
        println!("    kubectl exec left out {} bytes of {PIPE_BYTES} once, and said {exit}", PIPE_BYTES - bytes);
    }
    terminal.print("a terminal, MB/s");
    println!("    a PTY that is read where its program runs, without anybody between: {}", listed(&bare));
    if lost > 0 {
        println!("    of the terminals' bytes {lost} were overwritten before they were read");
    }
    times("keystroke echo", (!kubectl_keys.is_empty()).then_some(&kubectl_keys[..]), &remora_keys);
    println!("goals: true 25 times, pipe 4 times, terminal 2.5 times, echo p50 twice as good");
    cli.run(&["rm", &name, "--yes"]).await.ok();
    Ok(())
}

fn times(what: &str, kubectl: Option<&[Duration]>, remora: &[Duration]) {
    for part in [50, 99] {
        let kubectl = kubectl.map(|times| percentile(times, part));
        row(&format!("{what}, p{part}, ms"), kubectl, percentile(remora, part), false);
    }
}

/// Bytes a second, once a round.
#[derive(Default)]
struct Rates {
    /// Empty where there is no cluster.
    kubectl: Vec<f64>,
    remora: Vec<f64>,
}

impl Rates {
    fn print(mut self, what: &str) {
        let rounds = (listed(&self.kubectl), listed(&self.remora));
        row(what, median(&mut self.kubectl), median(&mut self.remora).unwrap_or_default(), true);
        println!("    round by round: kubectl exec {}; remora {}", rounds.0, rounds.1);
    }
}

fn listed(rates: &[f64]) -> String {
    let rounded: Vec<String> = rates.iter().map(|rate| format!("{rate:.0}")).collect();
    rounded.join(" ")
}

/// Sorts them.
fn median(rates: &mut [f64]) -> Option<f64> {
    rates.sort_by(f64::total_cmp);
    rates.get(rates.len() / 2).copied()
}

fn row(what: &str, kubectl: Option<f64>, remora: f64, more_is_better: bool) {
    let Some(kubectl) = kubectl else { return println!("{what:<34} {:>14} {remora:>14.2}", "") };
    let times = if more_is_better { remora / kubectl } else { kubectl / remora };
    println!("{what:<34} {kubectl:>14.2} {remora:>14.2} {times:>9.1} times as good");
}

fn kubectl_true(pod: &Pod) -> anyhow::Result<Vec<Duration>> {
    let mut times = Vec::new();
    for _ in 0..KUBECTL_ROUNDS {
        let began = Instant::now();
        anyhow::ensure!(pod.kubectl(&[], &["true"]).status()?.success());
        times.push(began.elapsed());
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

/// What came of kubectl's pipe: now and then less than was written (kubernetes#124571).
struct Piped {
    bytes: u64,
    rate: f64,
    exit: ExitStatus,
}

fn kubectl_pipe(pod: &Pod) -> anyhow::Result<Piped> {
    let count = PIPE_BYTES.to_string();
    let mut child = pod.kubectl(&[], &["head", "-c", &count, "/dev/zero"]).stdout(Stdio::piped()).spawn()?;
    let mut output = child.stdout.take().expect("stdout is piped");
    let (bytes, time) = drain(&mut output, PIPE_BYTES);
    Ok(Piped { bytes, rate: rate(bytes, time), exit: child.wait()? })
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

fn at_kubectl(pod: &Pod, line: &str) -> (OwnedFd, tokio::process::Child) {
    let command = pod.kubectl(&["--stdin", "--tty"], &["sh", "-c", line]);
    at_terminal(tokio::process::Command::from(command))
}

fn kubectl_terminal(pod: &Pod) -> anyhow::Result<f64> {
    let (terminal, _child) = at_kubectl(pod, &flood(TERMINAL_BYTES));
    let (bytes, time) = drain(&mut File::from(terminal), TERMINAL_BYTES);
    anyhow::ensure!(bytes >= TERMINAL_BYTES, "{bytes} bytes came");
    Ok(rate(bytes, time))
}

/// What the kernel gives whoever reads a terminal: nobody can be faster.
fn bare_terminal() -> anyhow::Result<f64> {
    let mut command = tokio::process::Command::new("sh");
    command.args(["-c", &flood(TERMINAL_BYTES)]);
    let (terminal, _child) = at_terminal(command);
    let (bytes, time) = drain(&mut File::from(terminal), TERMINAL_BYTES);
    anyhow::ensure!(bytes >= TERMINAL_BYTES, "{bytes} bytes came");
    Ok(rate(bytes, time))
}

fn kubectl_echo(pod: &Pod) -> anyhow::Result<Vec<Duration>> {
    let (terminal, _child) = at_kubectl(pod, ECHO);
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
