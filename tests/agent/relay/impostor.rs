//! Something else than a shim behind a container's socket: each call to it gets
//! an error that says so, soon, and the other containers notice nothing.

use std::{future::Future, path::PathBuf, pin::Pin, time::Duration};

use bytes::Bytes;
use remora_proto::{
    agent::v1::{
        Attached as AttachedFrame, Command, CommandData, CommandExit, CommandOutput, Excerpt, ExitStatus,
        GetOutputRequest, GetOutputResponse, GetTerminalRequest, Heartbeat, InputAck, Lagged, ListCommandsRequest,
        ListTerminalsRequest, ListTerminalsResponse, OpenTerminalRequest, Output, OutputStream, ResizeTerminalRequest,
        ResizeTerminalResponse, RunRequest, RunResponse, ScreenRequest, ScreenResponse, SignalCommandRequest,
        SignalResponse, SignalTarget, StartRequest, StreamRange, Terminal, TerminalExit, TerminalOutput, TerminalSize,
        WriteStdinRequest, WriteStdinResponse, attach_start::From, command_output,
        exec_service_client::ExecServiceClient, exit_status::Cause, terminal_output::Frame,
        terminal_service_client::TerminalServiceClient,
    },
    fault::{from_status, to_status},
    model::{Fault, Reason},
    shim::v1::HelloResponse,
};
use remora_tests::{
    impostor::{Answer, Impostor, framed, hello, says},
    pod::{Authorised, Pod, ShimProcess},
};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{UnixListener, UnixStream},
    time::timeout,
};
use tonic::Status;

use super::{run, shell};

/// Longest wait for an error: the agent's own bound for a call is 10 s.
const BOUND: Duration = Duration::from_secs(25);
const CLIENT: &str = "a-viewer";
const ID: &str = "3f0c9a52-8d1b-4a77-9a0e-6b1d6c1f2e44";

/// A pod with an honest container `dev` and these others.
async fn pod(folder: tempfile::TempDir, others: &[Impostor]) -> Pod {
    let dev = ShimProcess::start(folder.path(), "dev", &["sleep", "infinity"]).await;
    let addresses: Vec<(String, PathBuf)> = others.iter().map(Impostor::address).collect();
    Pod::around(folder, vec![dev], &addresses).await
}

async fn list(pod: &Pod, container: &str) -> Result<ListTerminalsResponse, Status> {
    let request = ListTerminalsRequest { container: container.to_owned() };
    pod.terminals().await.list(request).await.map(tonic::Response::into_inner)
}

async fn serves_the_others(pod: &Pod) {
    assert_eq!(run(pod, "echo unharmed").await.stdout.unwrap().head, "unharmed\n");
}

type Talk = Pin<Box<dyn Future<Output = ()> + Send>>;
type Row = (&'static str, fn(UnixStream) -> Talk);

/// An empty SETTINGS frame, with which a server begins.
const SETTINGS: [u8; 9] = [0, 0, 0, 4, 0, 0, 0, 0, 0];

fn and_then_waits(mut stream: UnixStream, bytes: Vec<u8>) -> Talk {
    Box::pin(async move {
        _ = stream.write_all(&bytes).await;
        let mut heard = vec![0; 4_096];
        while stream.read(&mut heard).await.is_ok_and(|count| count > 0) {}
    })
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_speaks_no_http2_is_no_shim() {
    let rows: [Row; 9] = [
        ("closes", |stream| Box::pin(async move { drop(stream) })),
        ("silent", |stream| and_then_waits(stream, Vec::new())),
        ("http1", |stream| and_then_waits(stream, b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n".to_vec())),
        ("noise", |stream| and_then_waits(stream, vec![0xa5; 100_000])),
        ("half", |stream| and_then_waits(stream, SETTINGS[..5].to_vec())),
        ("half-and-closes", |mut stream| {
            Box::pin(async move {
                _ = stream.write_all(&SETTINGS[..5]).await;
            })
        }),
        // DATA of 16 MiB - 1 on stream 1, where 16 KiB are allowed.
        ("huge", |stream| {
            let mut bytes = [&SETTINGS[..], &[0xff, 0xff, 0xff, 0, 0, 0, 0, 0, 1]].concat();
            bytes.resize(bytes.len() + 1_000_000, 0);
            and_then_waits(stream, bytes)
        }),
        ("goes-away", |stream| and_then_waits(stream, [&SETTINGS[..], &[0, 0, 8, 7, 0, 0, 0, 0, 0], &[0; 8]].concat())),
        ("settings-only", |stream| and_then_waits(stream, SETTINGS.to_vec())),
    ];
    let folder = tempfile::tempdir().unwrap();
    let others: Vec<_> = rows.iter().map(|(name, talk)| Impostor::raw(folder.path(), name, *talk)).collect();
    let pod = pod(folder, &others).await;
    let calls = rows.iter().map(|(name, _)| {
        let pod = &pod;
        async move {
            let refused = timeout(BOUND, list(pod, name)).await.expect(name).expect_err(name);
            let fault = from_status(&refused);
            assert_eq!(fault.reason, Reason::ContainerUnavailable, "{name}: {fault}");
            assert!(fault.message.contains(name) && fault.retry_after.is_some(), "{name}: {fault}");
        }
    });
    futures_util::future::join_all(calls).await;
    serves_the_others(&pod).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_greets_wrongly_is_no_shim() {
    let greets = |change: fn(&mut HelloResponse)| {
        move |name: &str| {
            let mut hello = hello(name);
            change(&mut hello);
            says(&hello)
        }
    };
    type Greeting = Box<dyn Fn(&str) -> Answer>;
    let rows: Vec<(&str, Greeting, &str)> = vec![
        ("protocol", Box::new(greets(|hello| hello.protocol = 2)), "speaks protocol 2"),
        ("no-protocol", Box::new(greets(|hello| hello.protocol = 0)), "speaks protocol 0"),
        ("other-name", Box::new(greets(|hello| hello.container = "dev\u{1b}[2J".to_owned())), "is of container"),
        ("no-boot-id", Box::new(greets(|hello| hello.boot_id = "x".repeat(100_000))), "no id of its start"),
        ("too-large", Box::new(greets(|hello| hello.version = "v".repeat(5 << 20))), "broke the connection"),
        (
            "claims-4-gib",
            Box::new(|_| Answer::Hangs(Bytes::from_static(b"\0\xff\xff\xff\xff"))),
            "broke the connection",
        ),
        ("half", Box::new(|name| Answer::Ends(framed(&hello(name)).slice(..20))), "broke the connection"),
        ("half-hangs", Box::new(|name| Answer::Hangs(framed(&hello(name)).slice(..20))), "does not answer"),
        ("no-protobuf", Box::new(|_| Answer::Ends(Bytes::from_static(b"\0\0\0\0\x04\xff\xff\xff\xff"))), "broke"),
        ("silence", Box::new(|_| Answer::Silence), "does not answer"),
        ("no-method", Box::new(|_| Answer::Refuses(Status::unimplemented("what?"))), "speaks another protocol"),
        (
            "secret",
            Box::new(|_| Answer::Refuses(to_status(&Fault::new(Reason::CredentialsInvalid, "no")))),
            "another secret",
        ),
    ];
    let folder = tempfile::tempdir().unwrap();
    let mut others = Vec::new();
    let mut said = Vec::new();
    for (name, greeting, says) in rows {
        let answer = greeting(name);
        let greets = move |method: &str| (method == "Hello").then(|| answer.clone());
        others.push(Impostor::grpc(folder.path(), name, greets));
        said.push((name, says));
    }
    // Greets well, and then says nothing of its state, or nonsense.
    for (name, answer, says) in [
        ("no-state", Answer::Silence, "says nothing of its state"),
        ("state-ends", Answer::Ends(Bytes::new()), "has ended"),
        ("half-state", Answer::Ends(Bytes::from_static(b"\0\0\0\0\x04\x08")), "has ended"),
    ] {
        others.push(Impostor::grpc(folder.path(), name, move |method| (method == "Status").then(|| answer.clone())));
        said.push((name, says));
    }
    let pod = pod(folder, &others).await;
    let calls = said.into_iter().map(|(name, says)| {
        let pod = &pod;
        async move {
            // At first it is only not known yet; then it is said why.
            let wait = async {
                loop {
                    let fault = from_status(&list(pod, name).await.expect_err(name));
                    assert_eq!(fault.reason, Reason::ContainerUnavailable, "{name}: {fault}");
                    assert!(!fault.message.chars().any(char::is_control), "{name}: {fault}");
                    if fault.message.contains(says) {
                        return;
                    }
                    assert!(fault.message.ends_with("it does not answer"), "{name}: {fault}");
                    tokio::time::sleep(Duration::from_millis(100)).await;
                }
            };
            timeout(BOUND, wait).await.unwrap_or_else(|_| panic!("{name}: {says:?} is not said"));
        }
    });
    futures_util::future::join_all(calls).await;
    serves_the_others(&pod).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_shim_with_another_secret_and_one_of_another_user_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    // A real one, whose secret is not the agent's.
    let other = tempfile::tempdir().unwrap();
    let (command, socket) = remora_tests::pod::shim_command(other.path(), "db", &["sleep", "infinity"]);
    std::fs::write(other.path().join("shim.secret"), "wrong-horse-battery-staple").unwrap();
    let db = ShimProcess::spawned(command, "db", socket).await;

    // A perfect one, but of another user, in a folder where everybody may write.
    let open = folder.path().join("open");
    std::fs::create_dir(&open).unwrap();
    std::fs::set_permissions(&open, std::os::unix::fs::PermissionsExt::from_mode(0o777)).unwrap();
    std::fs::set_permissions(folder.path(), std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    let socket = open.join("shim.sock");
    let mut others = Vec::new();
    if rustix::process::geteuid().is_root() {
        let path = socket.clone();
        // Only this thread becomes the other user, and ends.
        let listening = std::thread::spawn(move || {
            let nobody = rustix::process::Uid::from_raw(65_534);
            rustix::thread::set_thread_res_uid(nobody, nobody, nobody).unwrap();
            std::os::unix::net::UnixListener::bind(path).unwrap()
        });
        let listener = listening.join().unwrap();
        listener.set_nonblocking(true).unwrap();
        others.push(Impostor::grpc_over(UnixListener::from_std(listener).unwrap(), "stranger", socket, |_| None));
    }
    let dev = ShimProcess::start(folder.path(), "dev", &["sleep", "infinity"]).await;
    let mut addresses: Vec<(String, PathBuf)> = others.iter().map(Impostor::address).collect();
    addresses.push(("db".to_owned(), db.socket.clone()));
    let pod = Pod::around(folder, vec![dev], &addresses).await;
    for (name, _) in &addresses {
        let fault = from_status(&timeout(BOUND, list(&pod, name)).await.unwrap().unwrap_err());
        assert_eq!(fault.reason, Reason::ContainerUnavailable, "{fault}");
        let why = if name == "db" { "has another secret" } else { "of another user" };
        assert!(fault.message.contains(why), "{fault}");
    }
    serves_the_others(&pod).await;
}

fn size() -> Option<TerminalSize> {
    Some(TerminalSize { columns: 80, rows: 24 })
}

fn range(base: u64, head: u64) -> Option<StreamRange> {
    Some(StreamRange { base, head })
}

fn terminal() -> Terminal {
    Terminal { id: ID.to_owned(), size: size(), output: range(0, 0), ..Terminal::default() }
}

fn ended() -> Command {
    let exit = ExitStatus { cause: Cause::Exited.into(), code: Some(0), signal: None };
    Command {
        id: ID.to_owned(),
        stdout: range(0, 0),
        stderr: range(0, 0),
        exit: Some(exit),
        ended_ms: 1,
        ..Command::default()
    }
}

/// Calls `method` of container `name` and returns how it failed.
async fn call(channel: Authorised, name: &str, method: &str) -> Result<(), Status> {
    let (container, id) = (name.to_owned(), ID.to_owned());
    let mut terminals = TerminalServiceClient::new(channel.clone());
    let mut commands = ExecServiceClient::new(channel);
    let spec = || Some(remora_proto::agent::v1::CommandSpec { container: container.clone(), ..shell("true") });
    match method {
        "Open" => {
            terminals.open(OpenTerminalRequest { container, ..Default::default() }).await?;
        }
        "Get" => {
            terminals.get(GetTerminalRequest { container, id }).await?;
        }
        "List" => {
            terminals.list(ListTerminalsRequest { container: container.clone() }).await?;
            commands.list(ListCommandsRequest { container }).await?;
        }
        "Screen" => {
            terminals.screen(ScreenRequest { container, id }).await?;
        }
        "Resize" => {
            terminals.resize(ResizeTerminalRequest { container, id, size: size() }).await?;
        }
        "Attach" => {
            let start = remora_proto::agent::v1::AttachStart {
                container,
                client_id: CLIENT.to_owned(),
                ..super::viewer(&id, From::FromOffset(5))
            };
            let (mut attached, _) = super::attach(&mut terminals, start).await?;
            while attached.next().await?.is_some() {}
        }
        "CommandAttach" => {
            let request = remora_proto::agent::v1::AttachCommandRequest { container, id, ..Default::default() };
            let mut stream = commands.attach(request).await?.into_inner();
            while stream.message().await?.is_some() {}
        }
        "Start" => {
            commands.start(StartRequest { command: spec(), ..Default::default() }).await?;
        }
        "Run" => {
            commands.run(RunRequest { command: spec(), ..Default::default() }).await?;
        }
        "Signal" => {
            let target = SignalTarget::Leader.into();
            commands.signal(SignalCommandRequest { container, id, signal: 15, target }).await?;
        }
        "GetOutput" => {
            let stream = OutputStream::Stdout.into();
            commands.get_output(GetOutputRequest { container, id, stream, offset: 10, limit: 100 }).await?;
        }
        "WriteStdin" => {
            let data = Bytes::from_static(b"abc");
            commands.write_stdin(WriteStdinRequest { container, id, data, ..Default::default() }).await?;
        }
        other => panic!("no row calls {other}"),
    }
    Ok(())
}

/// The frames of one attachment.
fn frames(frames: Vec<Frame>) -> Answer {
    let all: Vec<u8> = frames.into_iter().flat_map(|frame| framed(&TerminalOutput { frame: Some(frame) })).collect();
    Answer::Ends(all.into())
}

fn command_frames(frames: Vec<command_output::Frame>) -> Answer {
    let all: Vec<u8> = frames.into_iter().flat_map(|frame| framed(&CommandOutput { frame: Some(frame) })).collect();
    Answer::Ends(all.into())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn lies_are_violations_and_silence_is_bounded() {
    use Reason::{ContainerUnavailable as Unavailable, ProtocolViolation as Violation};
    let begins = |base, head, gap: Option<(u64, u64)>| {
        Frame::Attached(AttachedFrame {
            output: range(base, head),
            gap: gap.map(|(from, to)| Lagged { from, to }),
            size: size(),
            client_id: CLIENT.to_owned(),
            ..AttachedFrame::default()
        })
    };
    let output = |offset, length: usize| Frame::Output(Output { offset, data: vec![b'x'; length].into() });
    let exit = |final_offset| {
        let status = Some(ExitStatus { cause: Cause::Exited.into(), code: Some(0), signal: None });
        Frame::Exit(TerminalExit { status, final_offset })
    };
    let data = |offset, length: usize| {
        let data = vec![b'x'; length].into();
        command_output::Frame::Data(CommandData { stream: OutputStream::Stdout.into(), offset, data })
    };
    let over = |command| command_output::Frame::Exit(CommandExit { command });
    let held = |offset, data: &'static [u8], head| {
        says(&GetOutputResponse { offset, data: Bytes::from_static(data), held: range(0, head) })
    };
    let excerpt = |length: usize| Some(Excerpt { head: "x".repeat(length), ..Excerpt::default() });
    let ran = |command, stdout| says(&RunResponse { command, stdout, stderr: excerpt(0), survivors: Vec::new() });
    let refuses = |reason| Answer::Refuses(to_status(&Fault::new(reason, "a \u{1b}[31mlie")));
    let half = framed(&terminal()).slice(..20);
    let rows: Vec<(&str, Answer, Reason)> = vec![
        ("Open", Answer::Silence, Unavailable),
        ("Open", Answer::Hangs(half.clone()), Unavailable),
        ("Open", Answer::Ends(half), Unavailable),
        ("Open", Answer::Ends(Bytes::new()), Unavailable),
        ("Open", Answer::Hangs(Bytes::from_static(b"\0\xff\xff\xff\xff")), Violation),
        ("Open", says(&Terminal { title: "t".repeat(5 << 20), ..terminal() }), Violation),
        ("Open", says(&Terminal { id: "../../x".to_owned(), ..terminal() }), Violation),
        ("Open", says(&Terminal { output: range(7, 3), ..terminal() }), Violation),
        ("Open", refuses(Reason::VerbNotGranted), Violation),
        ("Open", refuses(Reason::ProjectNotReady), Violation),
        ("Open", Answer::Refuses(Status::ok("fine")), Unavailable),
        ("Get", says(&Terminal { id: uuid::Uuid::new_v4().to_string(), ..terminal() }), Violation),
        ("List", says(&ListTerminalsResponse { terminals: vec![terminal(); 2] }), Violation),
        ("List", says(&ListTerminalsResponse { terminals: vec![Terminal::default()] }), Violation),
        (
            "Screen",
            says(&ScreenResponse { rows: vec![String::new(); 25], size: size(), ..Default::default() }),
            Violation,
        ),
        ("Resize", says(&ResizeTerminalResponse { size: None }), Violation),
        ("Signal", says(&SignalResponse { delivered: 7 }), Violation),
        ("Attach", Answer::Silence, Unavailable),
        ("Attach", frames(vec![output(5, 3)]), Violation),
        ("Attach", frames(vec![begins(0, 4, None)]), Violation),
        ("Attach", frames(vec![begins(8, 20, None)]), Violation),
        ("Attach", frames(vec![begins(8, 20, Some((0, 8)))]), Violation),
        ("Attach", frames(vec![begins(0, 20, None), output(6, 3)]), Violation),
        ("Attach", frames(vec![begins(0, 20, None), output(5, 3), output(5, 3)]), Violation),
        ("Attach", frames(vec![begins(0, 20, None), output(5, 65_537)]), Violation),
        ("Attach", frames(vec![begins(0, 20, None), Frame::Lagged(Lagged { from: 5, to: 4 })]), Violation),
        ("Attach", frames(vec![begins(0, 20, None), Frame::Heartbeat(Heartbeat { head: 4 })]), Violation),
        ("Attach", frames(vec![begins(0, 20, None), Frame::InputAck(InputAck { sequence: 1 })]), Violation),
        ("Attach", frames(vec![begins(0, 20, None), output(5, 3), exit(7)]), Violation),
        ("Attach", frames(vec![begins(0, 20, None), output(5, 3)]), Unavailable),
        ("CommandAttach", command_frames(vec![data(1, 3)]), Violation),
        ("CommandAttach", command_frames(vec![data(u64::MAX, 3)]), Violation),
        ("CommandAttach", command_frames(vec![data(0, 3), over(Some(ended()))]), Violation),
        ("CommandAttach", command_frames(vec![over(None)]), Violation),
        ("CommandAttach", command_frames(vec![data(0, 3)]), Unavailable),
        ("Start", says(&Command { exit: None, ..ended() }), Violation),
        ("Start", says(&Command { argv: vec!["x".repeat(3_000)], ..ended() }), Violation),
        ("Run", ran(Some(ended()), excerpt(30_001)), Violation),
        ("Run", ran(None, excerpt(0)), Violation),
        ("Run", ran(Some(Command { exit: None, ended_ms: 0, ..ended() }), excerpt(0)), Violation),
        ("GetOutput", held(9, b"abc", 20), Violation),
        ("GetOutput", held(10, b"abc", 12), Violation),
        ("GetOutput", held(u64::MAX, b"abc", 20), Violation),
        ("GetOutput", held(10, &[b'x'; 101], 200), Violation),
        ("WriteStdin", says(&WriteStdinResponse { offset: 2 }), Violation),
    ];
    let folder = tempfile::tempdir().unwrap();
    let mut others = Vec::new();
    for (number, (method, answer, _)) in rows.iter().enumerate() {
        let (wire, answer) = (method.trim_start_matches("Command"), answer.clone());
        let lies = move |asked: &str| (asked == wire).then(|| answer.clone());
        others.push(Impostor::grpc(folder.path(), &format!("row-{number}"), lies));
    }
    let pod = pod(folder, &others).await;
    let channel = pod.channel().await;
    let calls = rows.iter().enumerate().map(|(number, (method, _, reason))| {
        let (channel, row) = (channel.clone(), format!("row {number} ({method})"));
        async move {
            let answer = timeout(BOUND, call(channel, &format!("row-{number}"), method)).await;
            let status = answer.unwrap_or_else(|_| panic!("{row}: no answer")).expect_err(&row);
            let fault = from_status(&status);
            assert_eq!(fault.reason, *reason, "{row}: {fault}");
            assert!(!fault.message.contains("lie") && fault.message.contains("row-"), "{row}: {fault}");
        }
    });
    futures_util::future::join_all(calls).await;
    serves_the_others(&pod).await;
}
