//! From a client through `serve` to a program in a container, and back.

mod bad_input;
mod calls;
mod containers;
mod faults;
mod impostor;
mod memory;
mod output;
mod replay;
mod restart;
mod signals;

use remora_proto::{
    agent::v1::{
        AttachStart, CommandSpec, Output, RunRequest, RunResponse, StartRequest, Terminal, TerminalExit, TerminalInput,
        TerminalOutput, attach_start, command_spec::Program, terminal_input, terminal_output,
    },
    fault::from_status,
    model::Reason,
};
use remora_tests::{
    agent::PATIENCE,
    pod::{Authorised, Pod},
};
use tokio::{sync::mpsc, time::timeout};
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Status, Streaming};

pub(crate) fn reason(status: &Status) -> Reason {
    from_status(status).reason
}

pub(crate) fn shell(line: &str) -> CommandSpec {
    CommandSpec { program: Some(Program::Shell(line.to_owned())), ..CommandSpec::default() }
}

pub(crate) fn words(words: &[&str]) -> Vec<String> {
    words.iter().map(|word| (*word).to_owned()).collect()
}

pub(crate) async fn run(pod: &Pod, line: &str) -> RunResponse {
    let request = RunRequest { command: Some(shell(line)), ..RunRequest::default() };
    pod.commands().await.run(request).await.unwrap().into_inner()
}

async fn start(pod: &Pod, spec: CommandSpec) -> String {
    let request = StartRequest { command: Some(spec), ..StartRequest::default() };
    pod.commands().await.start(request).await.unwrap().into_inner().id
}

pub(crate) async fn open(pod: &Pod, line: &str, ring_bytes: u32) -> Terminal {
    let request = remora_proto::agent::v1::OpenTerminalRequest {
        argv: words(&["sh", "-c", line]),
        ring_bytes,
        ..Default::default()
    };
    pod.terminals().await.open(request).await.unwrap().into_inner()
}

/// An attachment: what goes in and what comes out.
pub(crate) struct Attached {
    input: mpsc::Sender<TerminalInput>,
    output: Streaming<TerminalOutput>,
}

type Client = remora_proto::agent::v1::terminal_service_client::TerminalServiceClient<Authorised>;

/// Attaches and takes the first frame.
pub(crate) async fn attach(
    client: &mut Client,
    start: AttachStart,
) -> Result<(Attached, remora_proto::agent::v1::Attached), Status> {
    let (input, frames) = mpsc::channel(64);
    input.send(TerminalInput { frame: Some(terminal_input::Frame::Start(start)) }).await.unwrap();
    let mut output = client.attach(ReceiverStream::new(frames)).await?.into_inner();
    match timeout(PATIENCE, output.message()).await.expect("an attachment begins")? {
        Some(TerminalOutput { frame: Some(terminal_output::Frame::Attached(attached)) }) => {
            Ok((Attached { input, output }, attached))
        }
        other => panic!("{other:?} instead of Attached"),
    }
}

pub(crate) fn viewer(id: &str, from: attach_start::From) -> AttachStart {
    AttachStart {
        id: id.to_owned(),
        mode: attach_start::Mode::Viewer.into(),
        from: Some(from),
        credit_bytes: u64::MAX / 2,
        ..AttachStart::default()
    }
}

fn writer(id: &str, client: &str, from: attach_start::From) -> AttachStart {
    AttachStart { mode: attach_start::Mode::Writer.into(), client_id: client.to_owned(), ..viewer(id, from) }
}

impl Attached {
    async fn next(&mut self) -> Result<Option<terminal_output::Frame>, Status> {
        let message = timeout(PATIENCE, self.output.message()).await.expect("a frame comes")?;
        Ok(message.map(|message| message.frame.expect("no frame is empty")))
    }

    /// The next output; what is between is for people.
    async fn output(&mut self) -> Output {
        loop {
            match self.next().await.unwrap().expect("the session goes on") {
                terminal_output::Frame::Output(output) => return output,
                terminal_output::Frame::Lagged(gap) => panic!("{gap:?}"),
                terminal_output::Frame::Exit(exit) => panic!("{exit:?}"),
                _ => {}
            }
        }
    }

    /// Everything to the end: the bytes from `next` on, gaps, and how it ended.
    async fn rest(&mut self, mut next: u64) -> (Vec<u8>, Vec<(u64, u64)>, TerminalExit) {
        let (mut bytes, mut gaps) = (Vec::new(), Vec::new());
        loop {
            match self.next().await.unwrap().expect("Exit comes last") {
                terminal_output::Frame::Output(output) => {
                    assert_eq!(output.offset, next);
                    next += output.data.len() as u64;
                    bytes.extend_from_slice(&output.data);
                }
                terminal_output::Frame::Lagged(gap) => {
                    assert_eq!(gap.from, next);
                    next = gap.to;
                    gaps.push((gap.from, gap.to));
                }
                terminal_output::Frame::Exit(exit) => {
                    assert_eq!(self.next().await.unwrap(), None, "nothing comes after Exit");
                    return (bytes, gaps, exit);
                }
                _ => {}
            }
        }
    }

    async fn send(&self, frame: terminal_input::Frame) {
        self.input.send(TerminalInput { frame: Some(frame) }).await.expect("the attachment stands");
    }

    async fn input(&self, sequence: u64, data: &[u8]) {
        let input = remora_proto::agent::v1::Input { sequence, data: data.to_vec().into() };
        self.send(terminal_input::Frame::Input(input)).await;
    }
}
