//! kill -9 of `serve` while things run.

use std::{os::unix::fs::FileTypeExt as _, path::Path};

use remora_proto::agent::v1::{
    AttachCommandRequest, CommandSpec, ListTerminalsRequest, OutputStream, attach_start::From, command_output,
    exit_status::Cause,
};
use remora_tests::{agent::PATIENCE, eventually::eventually, pod::Pod};
use tokio::time::timeout;

use super::{attach, open, shell, start, viewer, writer};

/// Line n is n in ten digits and a newline: any byte is known from its offset.
const LINES: u64 = 300_000;

fn truth() -> Vec<u8> {
    (0..LINES).flat_map(|n| format!("{n:010}\n").into_bytes()).collect()
}

/// Half of the lines at once, the rest once the file `go` is there.
fn script() -> String {
    let half = LINES / 2;
    format!(
        "awk 'BEGIN {{ for (n = 0; n < {half}; n++) printf \"%010d\\n\", n }}'; \
         while [ ! -e go ]; do sleep 0.02; done; \
         awk 'BEGIN {{ for (n = {half}; n < {LINES}; n++) printf \"%010d\\n\", n }}'; exit 7"
    )
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_terminal_and_a_command_outlive_kill_9_of_serve_byte_by_byte() {
    let mut pod = Pod::start().await;
    let terminal = open(&pod, &format!("stty raw; {}", script()), 16 << 20).await;
    let command = start(&pod, CommandSpec { ..shell(&script()) }).await;
    let truth = truth();

    let mut client = pod.terminals().await;
    let (mut attached, _) = attach(&mut client, viewer(&terminal.id, From::FromOffset(0))).await.unwrap();
    let mut seen = Vec::new();
    while seen.len() < truth.len() / 4 {
        let output = attached.output().await;
        assert_eq!(output.offset, seen.len() as u64);
        seen.extend_from_slice(&output.data);
    }
    let mut commands = pod.commands().await;
    let ask = |stdout_offset| AttachCommandRequest { id: command.clone(), stdout_offset, ..Default::default() };
    let mut stream = commands.attach(ask(0)).await.unwrap().into_inner();
    let mut printed = Vec::new();
    while printed.len() < truth.len() / 4 {
        let frame = timeout(PATIENCE, stream.message()).await.unwrap().unwrap().unwrap().frame.unwrap();
        if let command_output::Frame::Data(data) = frame {
            assert_eq!((data.stream(), data.offset), (OutputStream::Stdout, printed.len() as u64));
            printed.extend_from_slice(&data.data);
        }
    }

    pod.restart_agent().await;
    // What had arrived can still be read; then the old attachment is broken.
    while attached.next().await.is_ok_and(|frame| frame.is_some()) {}
    std::fs::write(pod.workspace.join("go"), "").unwrap();

    let mut client = pod.terminals().await;
    let from = seen.len() as u64;
    let (mut attached, _) = attach(&mut client, viewer(&terminal.id, From::FromOffset(from))).await.unwrap();
    let (rest, gaps, exit) = attached.rest(from).await;
    assert_eq!(gaps, []);
    seen.extend_from_slice(&rest);
    assert!(seen == truth, "{} bytes of {}", seen.len(), truth.len());
    let status = exit.status.unwrap();
    assert_eq!((status.cause(), status.code, exit.final_offset), (Cause::Exited, Some(7), truth.len() as u64));

    let mut commands = pod.commands().await;
    let mut stream = commands.attach(ask(printed.len() as u64)).await.unwrap().into_inner();
    let ended = loop {
        match timeout(PATIENCE, stream.message()).await.unwrap().unwrap().unwrap().frame.unwrap() {
            command_output::Frame::Data(data) => {
                assert_eq!(data.offset, printed.len() as u64);
                printed.extend_from_slice(&data.data);
            }
            command_output::Frame::Exit(exit) => break exit.command.unwrap(),
            command_output::Frame::Gap(gap) => panic!("{gap:?}"),
            command_output::Frame::Heartbeat(_) => {}
        }
    };
    assert!(printed == truth, "{} bytes of {}", printed.len(), truth.len());
    let status = ended.exit.unwrap();
    assert_eq!((status.cause(), status.code), (Cause::Exited, Some(7)));
}

/// The user's code shares the socket's folder with the shim.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a102_a_socket_that_was_removed_is_made_again() {
    let mut pod = Pod::start().await;
    let terminal = open(&pod, "exec cat", 0).await;
    let socket = pod.shims[0].socket.clone();
    let remove: [fn(&Path); 3] = [
        |socket| std::fs::remove_file(socket).unwrap(),
        |socket| std::fs::remove_dir_all(socket.parent().unwrap()).unwrap(),
        |socket| {
            std::fs::remove_file(socket).unwrap();
            std::fs::write(socket, "not a socket").unwrap();
        },
    ];
    for remove in remove {
        remove(&socket);
        // The connection that stands needs no path.
        let listed = pod.terminals().await.list(ListTerminalsRequest::default()).await.unwrap().into_inner();
        assert_eq!(listed.terminals[0].id, terminal.id);
        eventually(|| std::fs::metadata(&socket).ok().filter(|file| file.file_type().is_socket())).await;
        pod.restart_agent().await;
        let listed = pod.terminals().await.list(ListTerminalsRequest::default()).await.unwrap().into_inner();
        assert_eq!(listed.terminals[0].id, terminal.id);
    }
}

/// What was typed before the restart is not typed again: the client's numbers live in the shim.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn input_that_is_sent_again_after_the_restart_is_typed_once() {
    let mut pod = Pod::start().await;
    let terminal = open(&pod, "stty raw -echo; printf R; head -c 6 > typed; cat typed", 0).await;
    let mut client = pod.terminals().await;
    let (mut attached, _) = attach(&mut client, writer(&terminal.id, "me", From::Scrollback(true))).await.unwrap();
    assert_eq!(attached.output().await.data, "R");
    attached.input(1, b"abc").await;
    loop {
        if let Some(remora_proto::agent::v1::terminal_output::Frame::InputAck(ack)) = attached.next().await.unwrap() {
            assert_eq!(ack.sequence, 1);
            break;
        }
    }
    pod.restart_agent().await;
    let mut client = pod.terminals().await;
    let (mut attached, state) = attach(&mut client, writer(&terminal.id, "me", From::FromOffset(1))).await.unwrap();
    assert_eq!(state.input_sequence, 1);
    attached.input(1, b"abc").await;
    attached.input(2, b"def").await;
    let (bytes, gaps, _) = attached.rest(1).await;
    assert_eq!((bytes.as_slice(), gaps.len()), (&b"abcdef"[..], 0));
}
