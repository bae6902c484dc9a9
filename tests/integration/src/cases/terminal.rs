//! A terminal through the server.

use std::time::Duration;

use remora_proto::agent::v1::{
    AttachStart, CloseTerminalRequest, Input, OpenTerminalRequest, TerminalInput, attach_start, terminal_input,
    terminal_output::Frame, terminal_service_client::TerminalServiceClient,
};
use tokio::{sync::mpsc, time::timeout};
use tokio_stream::wrappers::ReceiverStream;
use tonic::Streaming;

use crate::{
    harness::Case,
    project::Project,
    remote::{Authorised, channel},
    target::Target,
};

/// Longest wait for a frame.
const PATIENCE: Duration = Duration::from_secs(60);

pub(super) fn cases() -> Vec<Case> {
    vec![
        Case::new("terminal::it_types_survives_its_viewer_and_tells_how_it_ended", types),
        Case::new("terminal::without_a_command_it_is_the_login_shell_of_the_container", login),
    ]
}

/// Somebody at a terminal.
pub(super) struct Attached {
    input: mpsc::Sender<TerminalInput>,
    output: Streaming<remora_proto::agent::v1::TerminalOutput>,
    typed: u64,
    printed: Vec<u8>,
    /// The offset of the next byte.
    pub(super) next: u64,
}

pub(super) async fn client(project: &Project) -> TerminalServiceClient<Authorised> {
    TerminalServiceClient::new(channel(&project.target, Some(&project.name)).await)
}

pub(super) async fn open(client: &mut TerminalServiceClient<Authorised>, argv: &[&str]) -> String {
    let argv = argv.iter().map(|word| (*word).to_owned()).collect();
    let opened = client.open(OpenTerminalRequest { argv, ..OpenTerminalRequest::default() }).await;
    opened.expect("a terminal opens").into_inner().id
}

impl Attached {
    pub(super) async fn to(
        client: &mut TerminalServiceClient<Authorised>,
        id: &str,
        from: u64,
        typed: u64,
    ) -> Attached {
        let (input, frames) = mpsc::channel(16);
        let start = AttachStart {
            id: id.to_owned(),
            mode: attach_start::Mode::Writer.into(),
            client_id: "integration".to_owned(),
            from: Some(attach_start::From::FromOffset(from)),
            credit_bytes: u64::MAX / 2,
            ..AttachStart::default()
        };
        input.send(TerminalInput { frame: Some(terminal_input::Frame::Start(start)) }).await.expect("there is room");
        let output = client.attach(ReceiverStream::new(frames)).await.expect("one can attach").into_inner();
        Attached { input, output, typed, printed: Vec::new(), next: from }
    }

    async fn frame(&mut self) -> Option<Frame> {
        let message = timeout(PATIENCE, self.output.message()).await.expect("a frame comes").expect("it stands");
        message.and_then(|message| message.frame)
    }

    pub(super) async fn type_keys(&mut self, keys: &str) {
        self.typed += 1;
        let input = Input { sequence: self.typed, data: keys.as_bytes().to_vec().into() };
        let frame = TerminalInput { frame: Some(terminal_input::Frame::Input(input)) };
        self.input.send(frame).await.expect("the attachment stands");
    }

    /// Waits until `text` was printed.
    pub(super) async fn expect(&mut self, text: &str) {
        while !String::from_utf8_lossy(&self.printed).contains(text) {
            match self.frame().await.expect("it goes on") {
                Frame::Output(output) => {
                    assert_eq!(output.offset, self.next, "a byte is missing or there twice");
                    self.next += output.data.len() as u64;
                    self.printed.extend_from_slice(&output.data);
                }
                Frame::Exit(exit) => panic!("it ended: {exit:?}"),
                _ => {}
            }
        }
    }

    /// Waits for its end; the exit code.
    pub(super) async fn ended(&mut self) -> Option<i32> {
        loop {
            if let Frame::Exit(exit) = self.frame().await.expect("the end is told") {
                return exit.status.and_then(|status| status.code);
            }
        }
    }
}

async fn types(target: Target) {
    let project = Project::empty(&target, "term", super::IDLE).await;
    let mut terminals = client(&project).await;
    let id = open(&mut terminals, &["sh"]).await;
    let mut first = Attached::to(&mut terminals, &id, 0, 0).await;
    first.type_keys("stty -echo; echo ready-$((1+1)); pwd\n").await;
    first.expect("ready-2").await;
    let (next, typed) = (first.next, first.typed);
    drop(first);
    // Whoever comes back goes on where they were.
    let mut second = Attached::to(&mut terminals, &id, next, typed).await;
    second.type_keys("test -t 0 && echo tty-$((2+2)) && touch by-terminal\n").await;
    second.expect("tty-4").await;
    assert_eq!(project.shell("ls").await, "by-terminal\n");
    second.type_keys("exit 5\n").await;
    assert_eq!(second.ended().await, Some(5));
    let close = CloseTerminalRequest { id, ..CloseTerminalRequest::default() };
    terminals.close(close).await.expect("an ended one is closed");
    project.remove().await;
}

async fn login(target: Target) {
    let project = Project::empty(&target, "login", super::IDLE).await;
    // A shell reads this file where it is one of a login (bash(1) INVOCATION, dash(1)), and only there.
    let home = project.shell("mkdir home && echo 'echo profile-$((3+3))' >home/.profile && cd home && pwd").await;
    let mut terminals = client(&project).await;
    let env = [("HOME".to_owned(), home.trim_end().to_owned())].into();
    let opened = terminals.open(OpenTerminalRequest { env, ..OpenTerminalRequest::default() }).await;
    let id = opened.expect("a terminal opens").into_inner().id;
    let mut shell = Attached::to(&mut terminals, &id, 0, 0).await;
    shell.expect("profile-6").await;
    shell.type_keys("test -t 0 && echo tty-$((2+2)); exit 4\n").await;
    shell.expect("tty-4").await;
    assert_eq!(shell.ended().await, Some(4));
    project.remove().await;
}
