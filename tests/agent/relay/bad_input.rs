//! Every field of TerminalService and ExecService that can be wrong, wrong: the
//! answer names the field, and nothing has begun, ended or changed.

use std::{collections::HashMap, fmt::Debug};

use remora_proto::{
    agent::v1::{
        Argv, AttachCommandRequest, AttachStart, CloseTerminalRequest, CommandSpec, GetOutputRequest,
        GetTerminalRequest, Input, ListCommandsRequest, ListTerminalsRequest, OpenTerminalRequest, OutputStream,
        ResizeTerminalRequest, RunRequest, ScreenRequest, SignalCommandRequest, SignalTarget, SignalTerminalRequest,
        StartRequest, TerminalInput, TerminalSize, WaitRequest, WriteStdinRequest, WriteTerminalRequest,
        attach_start::From, command_spec::Program, terminal_input,
    },
    fault::from_status,
    model::{Effect, Reason},
};
use remora_tests::pod::Pod;
use tokio_stream::iter;
use tonic::{Response, Status};

use super::{Client, attach, open, shell, start, viewer, words, writer};

const BAD: Reason = Reason::InvalidArgument;
/// An id of nothing.
const NOBODY: &str = "3f0c9a52-8d1b-4a77-9a0e-6b1d6c1f2e44";

fn check<T: Debug>(field: &str, reason: Reason, what: &dyn Debug, answer: Result<T, Status>) {
    let status = answer.err().unwrap_or_else(|| panic!("{field} is taken: {what:?}"));
    let fault = from_status(&status);
    assert_eq!((fault.reason, fault.effect), (reason, Effect::NotApplied), "{field}: {fault}");
    assert!(fault.message.contains(field), "{field} is not named: {fault}");
    assert!(fault.message.len() <= 600, "{field}: {} bytes of message", fault.message.len());
    assert!(!fault.message.chars().any(char::is_control), "{field}: {fault}");
}

fn long(bytes: usize) -> String {
    "x".repeat(bytes)
}

/// Containers that no request can name, and one that is not there.
fn containers() -> Vec<(String, Reason)> {
    let bad = ["..", "a/b", "Dev", "dév", "-dev", "dev\0", "\u{1b}[2J"].map(str::to_owned);
    let mut rows: Vec<_> = bad.into_iter().chain([long(41), long(300)]).map(|name| (name, BAD)).collect();
    rows.push(("web".to_owned(), Reason::NotFound));
    rows
}

/// Ids that no request can have, and one of nothing.
fn ids() -> Vec<(String, Reason)> {
    let bad = ["", "..", "1234", "3f0c9a528d1b4a779a0e6b1d6c1f2e44", "{3f0c9a52-8d1b-4a77-9a0e-6b1d6c1f2e44}"];
    let mut rows: Vec<_> = bad.map(str::to_owned).into_iter().chain([long(300)]).map(|id| (id, BAD)).collect();
    rows.push((NOBODY.to_owned(), Reason::NotFound));
    rows
}

fn keys() -> Vec<String> {
    vec![long(129), "a\nb".to_owned(), "\u{1b}".to_owned()]
}

type Map = HashMap<String, String>;

fn map(rows: &[(&str, &str)]) -> Map {
    rows.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
}

fn environments() -> Vec<Map> {
    let mut rows: Vec<_> =
        [("", "x"), ("A=B", "x"), ("A\0B", "x"), ("A", "x\0y"), ("REMORA_SESSION", "mine"), ("REMORA_X", "")]
            .iter()
            .map(|row| map(&[*row]))
            .collect();
    rows.push(Map::from([(long(5_000), "\0".to_owned())]));
    rows
}

fn label_rows() -> Vec<Map> {
    vec![
        (0..17).map(|n| (n.to_string(), String::new())).collect(),
        Map::from([(long(257), String::new())]),
        Map::from([("k".to_owned(), long(257))]),
    ]
}

fn argvs() -> Vec<Vec<String>> {
    vec![
        words(&[""]),
        words(&["sh\0"]),
        words(&["sh", "-c", "a\0b"]),
        vec!["x".to_owned(); 4_097],
        vec![long(1 << 20), long(1)],
    ]
}

fn cwds() -> Vec<String> {
    vec!["a\0b".to_owned(), long(4_097)]
}

/// What there is: everything that a request could have changed.
async fn state(pod: &Pod) -> String {
    let terminals = pod.terminals().await.list(ListTerminalsRequest::default()).await.unwrap().into_inner().terminals;
    let commands = pod.commands().await.list(ListCommandsRequest::default()).await.unwrap().into_inner().commands;
    let shim = pod.shims[0].pid();
    let threads = std::fs::read_dir(format!("/proc/{shim}/task")).unwrap().flatten();
    let mut children: Vec<String> = threads
        .filter_map(|thread| std::fs::read_to_string(thread.path().join("children")).ok())
        .flat_map(|line| line.split_whitespace().map(str::to_owned).collect::<Vec<_>>())
        .collect();
    children.sort();
    let mut files: Vec<_> =
        std::fs::read_dir(&pod.workspace).unwrap().flatten().map(|entry| entry.file_name()).collect();
    files.sort();
    format!("{terminals:?}\n{commands:?}\n{children:?}\n{files:?}")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_wrong_field_of_a_terminal_is_named_and_nothing_is_changed() {
    let pod = Pod::start().await;
    let id = open(&pod, "stty raw -echo; printf ready; exec cat", 0).await.id;
    let mut client = pod.terminals().await;
    let (mut ready, _) = attach(&mut client, viewer(&id, From::FromOffset(0))).await.unwrap();
    let mut printed = 0;
    while printed < 5 {
        printed += ready.output().await.data.len();
    }
    drop(ready);
    let before = settled(&pod).await;

    let touch = || OpenTerminalRequest { argv: words(&["touch", "made"]), ..OpenTerminalRequest::default() };
    let mut opens: Vec<(&str, Reason, OpenTerminalRequest)> = Vec::new();
    opens.extend(
        containers()
            .into_iter()
            .map(|(container, why)| ("container", why, OpenTerminalRequest { container, ..touch() })),
    );
    opens.extend(argvs().into_iter().map(|argv| ("argv", BAD, OpenTerminalRequest { argv, ..touch() })));
    opens.extend(environments().into_iter().map(|env| ("env", BAD, OpenTerminalRequest { env, ..touch() })));
    opens.extend(cwds().into_iter().map(|cwd| ("cwd", BAD, OpenTerminalRequest { cwd, ..touch() })));
    opens.extend(
        [1, 65_535, 16_777_217, u32::MAX]
            .map(|ring_bytes| ("ring_bytes", BAD, OpenTerminalRequest { ring_bytes, ..touch() })),
    );
    opens.extend(label_rows().into_iter().map(|labels| ("labels", BAD, OpenTerminalRequest { labels, ..touch() })));
    opens.extend(
        keys()
            .into_iter()
            .map(|idempotency_key| ("idempotency_key", BAD, OpenTerminalRequest { idempotency_key, ..touch() })),
    );
    for (field, why, request) in opens {
        let shown = format!("{request:?}").chars().take(200).collect::<String>();
        check(field, why, &shown, client.open(request).await.map(Response::into_inner));
    }

    for (container, why) in containers() {
        let of = |container: &str| (container.to_owned(), id.clone());
        check("container", why, &container, client.list(ListTerminalsRequest { container: container.clone() }).await);
        let (container, id) = of(&container);
        check(
            "container",
            why,
            &container,
            client.get(GetTerminalRequest { container: container.clone(), id: id.clone() }).await,
        );
        let start = AttachStart { container: container.clone(), ..viewer(&id, From::Live(true)) };
        check("container", why, &container, attach(&mut client, start).await.map(drop));
    }
    for (bad, why) in ids() {
        let (container, id) = (String::new(), bad.clone());
        let field = if why == BAD { "id" } else { NOBODY };
        check(field, why, &bad, client.get(GetTerminalRequest { container, id }).await);
        check(field, why, &bad, client.screen(ScreenRequest { id: bad.clone(), ..Default::default() }).await);
        check(field, why, &bad, client.close(CloseTerminalRequest { id: bad.clone(), ..Default::default() }).await);
        let size = Some(TerminalSize { columns: 10, rows: 10 });
        check(
            field,
            why,
            &bad,
            client.resize(ResizeTerminalRequest { id: bad.clone(), size, ..Default::default() }).await,
        );
        let target = SignalTarget::Leader.into();
        check(
            field,
            why,
            &bad,
            client.signal(SignalTerminalRequest { id: bad.clone(), signal: 9, target, ..Default::default() }).await,
        );
        let data = b"x".to_vec().into();
        check(
            field,
            why,
            &bad,
            client.write(WriteTerminalRequest { id: bad.clone(), data, ..Default::default() }).await,
        );
        check(field, why, &bad, attach(&mut client, viewer(&bad, From::Live(true))).await.map(drop));
    }

    let mut starts: Vec<(&str, Reason, AttachStart)> = Vec::new();
    for client_id in ["", "a b", "dév", "\u{1b}", &long(65)] {
        starts.push(("client_id", BAD, writer(&id, client_id, From::Live(true))));
    }
    starts.push(("client_id", BAD, AttachStart { client_id: long(65), ..viewer(&id, From::Live(true)) }));
    starts.push(("mode", BAD, AttachStart { mode: 0, ..viewer(&id, From::Live(true)) }));
    starts.push(("mode", BAD, AttachStart { mode: 9, ..viewer(&id, From::Live(true)) }));
    starts.push(("lag_policy", BAD, AttachStart { lag_policy: 9, ..viewer(&id, From::Live(true)) }));
    for from in [From::Live(false), From::Screen(false), From::Scrollback(false)] {
        starts.push(("from", BAD, viewer(&id, from)));
    }
    for offset in [6, u64::MAX] {
        starts.push(("from_offset", Reason::OutOfRange, viewer(&id, From::FromOffset(offset))));
    }
    for (field, why, start) in starts {
        let shown = format!("{start:?}");
        check(field, why, &shown, attach(&mut client, start).await.map(drop));
    }
    let input =
        |sequence, bytes: usize| terminal_input::Frame::Input(Input { sequence, data: vec![b'x'; bytes].into() });
    let first = |client: &Client, frame| {
        let mut client = client.clone();
        async move { client.attach(iter([TerminalInput { frame }])).await.map(drop) }
    };
    check("frame", BAD, &"no frame", first(&client, None).await);
    check("frame", BAD, &"input first", first(&client, Some(input(1, 1))).await);
    let again = terminal_input::Frame::Start(viewer(&id, From::Live(true)));
    for (field, why, frame) in [
        ("input.sequence", BAD, input(0, 1)),
        ("input.data", BAD, input(1, 65_537)),
        ("sequence", Reason::OutOfRange, input(2, 1)),
        ("sequence", Reason::OutOfRange, input(u64::MAX, 1)),
        ("frame", BAD, again),
    ] {
        let (mut attached, _) = attach(&mut client, writer(&id, "me", From::Live(true))).await.unwrap();
        let shown = format!("{frame:?}").chars().take(100).collect::<String>();
        attached.send(frame).await;
        let refused = loop {
            match attached.next().await {
                Ok(Some(remora_proto::agent::v1::terminal_output::Frame::InputAck(ack))) => panic!("{field}: {ack:?}"),
                Ok(Some(_)) => {}
                other => break other.map(drop),
            }
        };
        check(field, why, &shown, refused);
    }

    let write = WriteTerminalRequest { id: id.clone(), data: b"x".to_vec().into(), ..WriteTerminalRequest::default() };
    for (field, why, request) in [
        ("data", BAD, WriteTerminalRequest { data: vec![b'x'; 65_537].into(), ..write.clone() }),
        ("client_id", BAD, WriteTerminalRequest { client_id: "a b".to_owned(), ..write.clone() }),
        ("sequence", BAD, WriteTerminalRequest { sequence: 1, ..write.clone() }),
        ("sequence", Reason::OutOfRange, WriteTerminalRequest { client_id: "me".to_owned(), sequence: 7, ..write }),
    ] {
        let sequence = request.sequence;
        check(field, why, &sequence, client.write(request).await);
    }
    check("size", BAD, &"none", client.resize(ResizeTerminalRequest { id: id.clone(), ..Default::default() }).await);
    for (field, signal, target) in
        [("signal", 0, 1), ("signal", 33, 1), ("signal", 65, 3), ("target", 9, 0), ("target", 9, 4)]
    {
        check(
            field,
            BAD,
            &signal,
            client.signal(SignalTerminalRequest { id: id.clone(), signal, target, ..Default::default() }).await,
        );
    }
    for grace_ms in [60_001, u32::MAX] {
        check(
            "grace_ms",
            BAD,
            &grace_ms,
            client.close(CloseTerminalRequest { id: id.clone(), grace_ms, ..Default::default() }).await,
        );
    }
    assert_eq!(settled(&pod).await, before);
}

/// The state once whoever was attached is gone.
async fn settled(pod: &Pod) -> String {
    let deadline = tokio::time::Instant::now() + remora_tests::agent::PATIENCE;
    loop {
        let now = state(pod).await;
        if now.contains("viewers: 0, writer: \"\"") {
            return now;
        }
        assert!(tokio::time::Instant::now() < deadline, "{now}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_wrong_field_of_a_command_is_named_and_nothing_is_changed() {
    let pod = Pod::start().await;
    let id = start(&pod, CommandSpec { stdin: true, ..shell("exec cat") }).await;
    let closed = start(&pod, shell("exec sleep 1000")).await;
    let mut client = pod.commands().await;
    let before = state(&pod).await;

    let touch = || shell("touch made");
    let mut specs: Vec<(&str, Reason, CommandSpec)> = Vec::new();
    specs.extend(
        containers().into_iter().map(|(container, why)| ("container", why, CommandSpec { container, ..touch() })),
    );
    let argv = |words| CommandSpec { program: Some(Program::Argv(Argv { words })), ..CommandSpec::default() };
    specs.extend(argvs().into_iter().chain([Vec::new()]).map(|words| ("argv", BAD, argv(words))));
    specs.push(("program", BAD, CommandSpec { program: None, ..touch() }));
    specs.push(("shell", BAD, shell("")));
    specs.push(("shell", BAD, shell("touch made\0")));
    specs.extend(environments().into_iter().map(|env| ("env", BAD, CommandSpec { env, ..touch() })));
    specs.extend(cwds().into_iter().map(|cwd| ("cwd", BAD, CommandSpec { cwd, ..touch() })));
    specs.push(("timeout_ms", BAD, CommandSpec { timeout_ms: 7 * 24 * 3_600_000 + 1, ..touch() }));
    specs.push(("timeout_ms", BAD, CommandSpec { timeout_ms: u64::MAX, ..touch() }));
    specs.extend(label_rows().into_iter().map(|labels| ("labels", BAD, CommandSpec { labels, ..touch() })));
    for (field, why, spec) in specs {
        let shown = format!("{spec:?}").chars().take(200).collect::<String>();
        let command = Some(spec);
        check(field, why, &shown, client.run(RunRequest { command: command.clone(), ..Default::default() }).await);
        check(field, why, &shown, client.start(StartRequest { command, ..Default::default() }).await);
    }
    let run = RunRequest { command: Some(touch()), ..RunRequest::default() };
    let mut runs = vec![
        ("command", RunRequest { command: None, ..run.clone() }),
        ("command.stdin", RunRequest { command: Some(CommandSpec { stdin: true, ..touch() }), ..run.clone() }),
        ("timeout_ms", RunRequest { command: Some(CommandSpec { timeout_ms: 600_001, ..touch() }), ..run.clone() }),
        ("stdin_data", RunRequest { stdin_data: vec![0; (1 << 20) + 1].into(), ..run.clone() }),
        ("max_output_characters", RunRequest { max_output_characters: 300_001, ..run.clone() }),
        ("max_output_characters", RunRequest { max_output_characters: u32::MAX, ..run.clone() }),
    ];
    runs.extend(
        keys().into_iter().map(|idempotency_key| ("idempotency_key", RunRequest { idempotency_key, ..run.clone() })),
    );
    for (field, request) in runs {
        check(field, BAD, &field, client.run(request).await);
    }
    check("command", BAD, &"none", client.start(StartRequest::default()).await);
    for idempotency_key in keys() {
        let request = StartRequest { command: Some(touch()), idempotency_key: idempotency_key.clone() };
        check("idempotency_key", BAD, &idempotency_key, client.start(request).await);
    }

    for (container, why) in containers() {
        check("container", why, &container, client.list(ListCommandsRequest { container: container.clone() }).await);
        let request = WaitRequest { container: container.clone(), id: id.clone(), timeout_ms: 1 };
        check("container", why, &container, client.wait(request).await);
    }
    let stdout = OutputStream::Stdout.into();
    for (bad, why) in ids() {
        let field = if why == BAD { "id" } else { NOBODY };
        let target = SignalTarget::Leader.into();
        let id = || bad.clone();
        check(field, why, &bad, client.wait(WaitRequest { id: id(), timeout_ms: 1, ..Default::default() }).await);
        check(
            field,
            why,
            &bad,
            client.signal(SignalCommandRequest { id: id(), signal: 9, target, ..Default::default() }).await,
        );
        check(
            field,
            why,
            &bad,
            client.get_output(GetOutputRequest { id: id(), stream: stdout, ..Default::default() }).await,
        );
        check(
            field,
            why,
            &bad,
            client.write_stdin(WriteStdinRequest { id: id(), eof: true, ..Default::default() }).await,
        );
        check(field, why, &bad, client.attach(AttachCommandRequest { id: id(), ..Default::default() }).await.map(drop));
    }
    for timeout_ms in [600_001, u64::MAX] {
        check(
            "timeout_ms",
            BAD,
            &timeout_ms,
            client.wait(WaitRequest { id: id.clone(), timeout_ms, ..Default::default() }).await,
        );
    }
    for (field, signal, target) in
        [("signal", 0, 1), ("signal", -9, 1), ("signal", 65, 3), ("target", 9, 0), ("target", 9, 4)]
    {
        check(
            field,
            BAD,
            &signal,
            client.signal(SignalCommandRequest { id: id.clone(), signal, target, ..Default::default() }).await,
        );
    }
    let output = GetOutputRequest { id: id.clone(), stream: stdout, ..GetOutputRequest::default() };
    for (field, why, request) in [
        ("stream", BAD, GetOutputRequest { stream: 0, ..output.clone() }),
        ("stream", BAD, GetOutputRequest { stream: 9, ..output.clone() }),
        ("limit", BAD, GetOutputRequest { limit: (1 << 20) + 1, ..output.clone() }),
        ("limit", BAD, GetOutputRequest { limit: u32::MAX, ..output.clone() }),
        ("offset", Reason::OutOfRange, GetOutputRequest { offset: 1, ..output.clone() }),
        ("offset", Reason::OutOfRange, GetOutputRequest { offset: u64::MAX, ..output }),
    ] {
        check(field, why, &field, client.get_output(request).await);
    }
    for offset in [1, u64::MAX] {
        let request = AttachCommandRequest { id: id.clone(), ..AttachCommandRequest::default() };
        for (field, request) in [
            ("stdout_offset", AttachCommandRequest { stdout_offset: offset, ..request.clone() }),
            ("stderr_offset", AttachCommandRequest { stderr_offset: offset, ..request }),
        ] {
            check(field, Reason::OutOfRange, &offset, client.attach(request).await.map(drop));
        }
    }
    let stdin = WriteStdinRequest { id: id.clone(), data: b"x".to_vec().into(), ..WriteStdinRequest::default() };
    for (field, why, request) in [
        ("data", BAD, WriteStdinRequest { data: vec![0; 65_537].into(), ..stdin.clone() }),
        ("offset", BAD, WriteStdinRequest { offset: u64::MAX, ..stdin.clone() }),
        ("offset", Reason::OutOfRange, WriteStdinRequest { offset: 1, ..stdin.clone() }),
        ("data", BAD, WriteStdinRequest { id: closed, ..stdin }),
    ] {
        check(field, why, &field, client.write_stdin(request).await);
    }
    assert_eq!(state(&pod).await, before);
}
