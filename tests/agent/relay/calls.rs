//! Calls that are given up, repeated, or more than there is room for.

use std::time::Duration;

use remora_proto::{
    agent::v1::{
        AttachStart, Command, ListCommandsRequest, ListTerminalsRequest, OpenTerminalRequest, RunRequest,
        SignalCommandRequest, SignalTarget, StartRequest, Terminal, WaitRequest, attach_start::From,
        exit_status::Cause, terminal_output::Frame,
    },
    fault::from_status,
    model::Reason,
};
use remora_tests::{agent::PATIENCE, eventually::eventually, pod::Pod};
use tokio::time::{Instant, timeout};

use super::{attach, open, reason, shell, viewer, words, writer};

async fn commands(pod: &Pod) -> Vec<Command> {
    pod.commands().await.list(ListCommandsRequest::default()).await.unwrap().into_inner().commands
}

async fn terminals(pod: &Pod) -> Vec<Terminal> {
    pod.terminals().await.list(ListTerminalsRequest::default()).await.unwrap().into_inner().terminals
}

fn lives(pid: &str) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    !stat.is_empty() && !stat.contains(") Z ")
}

/// A call to Run that is given up once its command has written the file `name`.
async fn given_up(pod: &Pod, request: RunRequest, name: &str) -> String {
    let mut client = pod.commands().await;
    tokio::select! {
        answer = client.run(request) => panic!("{answer:?}"),
        pid = pod.file(name) => pid.trim().to_owned(),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_run_that_is_given_up_ends_its_tree_and_one_with_a_key_goes_on() {
    let pod = Pod::start().await;
    let line = "setsid -f sh -c 'echo $$ > escaped; exec sleep 1000'; while [ ! -s escaped ]; do sleep 0.02; done; \
                echo $$ > pid; exec sleep 1000";
    let request = RunRequest { command: Some(shell(line)), ..RunRequest::default() };
    let pid = given_up(&pod, request, "pid").await;
    let escaped = pod.file("escaped").await.trim().to_owned();
    eventually(|| (!lives(&pid) && !lives(&escaped)).then_some(())).await;
    let [ended] = &commands(&pod).await[..] else { panic!("one command") };
    let wait = WaitRequest { id: ended.id.clone(), timeout_ms: 30_000, ..WaitRequest::default() };
    let exit = pod.commands().await.wait(wait).await.unwrap().into_inner().exit.unwrap();
    assert_eq!((exit.cause(), exit.signal), (Cause::KilledByRequest, Some(15)));

    let keyed = RunRequest {
        command: Some(shell("echo $$ > keyed; while [ ! -e go ]; do sleep 0.02; done; echo once >> log; cat log")),
        idempotency_key: "intent-1".to_owned(),
        ..RunRequest::default()
    };
    let pid = given_up(&pod, keyed.clone(), "keyed").await;
    std::fs::write(pod.workspace.join("go"), "").unwrap();
    let mut client = pod.commands().await;
    for _ in 0..2 {
        let ran = client.run(keyed.clone()).await.unwrap().into_inner();
        assert_eq!(
            (ran.stdout.unwrap().head.as_str(), ran.command.unwrap().display_pid.to_string()),
            ("once\n", pid.clone())
        );
    }
    for other in [
        RunRequest { command: Some(shell("echo another")), ..keyed.clone() },
        RunRequest { stdin_data: b"x".to_vec().into(), ..keyed.clone() },
    ] {
        assert_eq!(reason(&client.run(other).await.unwrap_err()), Reason::IdempotencyKeyReused);
    }
    assert_eq!(commands(&pod).await.len(), 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_key_starts_one_thing_whoever_repeats_it_and_after_a_restart_of_serve() {
    let mut pod = Pod::start().await;
    let command =
        StartRequest { command: Some(shell("echo once >> log; sleep 1000")), idempotency_key: "k".to_owned() };
    let terminal = OpenTerminalRequest {
        argv: words(&["sh", "-c", "echo once >> shown; sleep 1000"]),
        idempotency_key: "k".to_owned(),
        ..OpenTerminalRequest::default()
    };
    let (commands_client, terminals_client) = (pod.commands().await, pod.terminals().await);
    let racing = (0..20).map(|_| {
        let (mut commands, mut terminals) = (commands_client.clone(), terminals_client.clone());
        let (command, terminal) = (command.clone(), terminal.clone());
        async move {
            let command = commands.start(command).await.unwrap().into_inner().id;
            (command, terminals.open(terminal).await.unwrap().into_inner().id)
        }
    });
    let ids = futures_util::future::join_all(racing).await;
    assert!(ids.iter().all(|id| *id == ids[0]), "{ids:?}");
    pod.restart_agent().await;
    assert_eq!(pod.commands().await.start(command.clone()).await.unwrap().into_inner().id, ids[0].0);
    assert_eq!(pod.terminals().await.open(terminal.clone()).await.unwrap().into_inner().id, ids[0].1);
    let other = StartRequest { command: Some(shell("echo twice >> log")), ..command };
    assert_eq!(reason(&pod.commands().await.start(other).await.unwrap_err()), Reason::IdempotencyKeyReused);
    let other = OpenTerminalRequest { ring_bytes: 65_536, ..terminal };
    assert_eq!(reason(&pod.terminals().await.open(other).await.unwrap_err()), Reason::IdempotencyKeyReused);
    assert_eq!((pod.file("log").await.as_str(), pod.file("shown").await.as_str()), ("once\n", "once\n"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_full_says_so_and_takes_more_once_there_is_room() {
    let pod = Pod::start().await;
    let (mut terminals_client, mut commands_client) = (pod.terminals().await, pod.commands().await);
    let full = |status: tonic::Status, limit: &str| {
        let fault = from_status(&status);
        assert_eq!(fault.reason, Reason::LimitReached, "{fault}");
        assert!(fault.message.contains(limit) && !fault.hint.is_empty(), "{fault}");
    };

    let id = open(&pod, "exec cat", 0).await.id;
    let mut viewers = Vec::new();
    for _ in 0..16 {
        viewers.push(attach(&mut terminals_client, viewer(&id, From::Live(true))).await.unwrap());
    }
    full(attach(&mut terminals_client, viewer(&id, From::Live(true))).await.err().unwrap(), "16");
    viewers.pop();
    let deadline = Instant::now() + PATIENCE;
    while attach(&mut terminals_client, viewer(&id, From::Live(true))).await.is_err() {
        assert!(Instant::now() < deadline, "whoever left makes room");
    }

    let cat = || OpenTerminalRequest { argv: words(&["cat"]), ..OpenTerminalRequest::default() };
    for _ in 1..64 {
        terminals_client.open(cat()).await.unwrap();
    }
    full(terminals_client.open(cat()).await.unwrap_err(), "64");
    let ended = open_ended(&pod, &terminals(&pod).await[1].id).await;
    let fresh = terminals_client.open(cat()).await.unwrap().into_inner().id;
    let now = terminals(&pod).await;
    assert!(now.len() == 64 && now.iter().all(|one| one.id != ended) && now.iter().any(|one| one.id == fresh));

    let sleep = || StartRequest { command: Some(shell("exec sleep 1000")), ..StartRequest::default() };
    for _ in 0..64 {
        commands_client.start(sleep()).await.unwrap();
    }
    full(commands_client.start(sleep()).await.unwrap_err(), "64");
    let run = RunRequest { command: Some(shell("true")), ..RunRequest::default() };
    full(commands_client.run(run.clone()).await.unwrap_err(), "64");
    let first = commands(&pod).await[0].id.clone();
    let target = SignalTarget::Leader.into();
    let kill = SignalCommandRequest { id: first.clone(), signal: 9, target, ..SignalCommandRequest::default() };
    commands_client.signal(kill).await.unwrap();
    let wait = |timeout_ms| WaitRequest { id: first.clone(), timeout_ms, ..WaitRequest::default() };
    commands_client.wait(wait(30_000)).await.unwrap();
    // Ended commands are remembered, 256 in all, and then forgotten oldest first.
    for _ in 0..193 {
        commands_client.run(run.clone()).await.unwrap();
    }
    let all = commands(&pod).await;
    assert!(all.len() == 256 && all.iter().all(|one| one.id != first), "{}", all.len());
    assert_eq!(reason(&commands_client.wait(wait(1)).await.unwrap_err()), Reason::NotFound);

    // Calls that wait, as many as a shim takes; the agent itself still talks to it.
    let running = all[0].id.clone();
    let waiting: Vec<_> = (0..241)
        .map(|_| {
            let (mut client, id) = (commands_client.clone(), running.clone());
            tokio::spawn(
                async move { client.wait(WaitRequest { id, timeout_ms: 60_000, ..WaitRequest::default() }).await },
            )
        })
        .collect();
    let (refused, _, waiting) = futures_util::future::select_all(waiting).await;
    full(refused.unwrap().unwrap_err(), "240");
    assert_eq!(reason(&commands_client.list(ListCommandsRequest::default()).await.unwrap_err()), Reason::LimitReached);
    for call in waiting {
        call.abort();
    }
    let deadline = Instant::now() + PATIENCE;
    while commands_client.list(ListCommandsRequest::default()).await.is_err() {
        assert!(Instant::now() < deadline, "whoever left makes room");
    }
}

/// Ends the terminal `id` without closing it, and returns it.
async fn open_ended(pod: &Pod, id: &str) -> String {
    let mut client = pod.terminals().await;
    let (mut attached, state) = attach(&mut client, writer(id, "me", From::Live(true))).await.unwrap();
    // cat ends with its input.
    attached.input(1, b"\x04").await;
    attached.rest(state.output.unwrap().head).await;
    id.to_owned()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_terminal_that_nobody_needs_is_closed_and_a_watched_one_is_not() {
    let pod = Pod::start().await;
    let idle =
        |argv: &[&str]| OpenTerminalRequest { argv: words(argv), idle_ttl_ms: 100, ..OpenTerminalRequest::default() };
    let mut client = pod.terminals().await;
    let watched = client.open(idle(&["cat"])).await.unwrap().into_inner().id;
    let (mut attached, _) = attach(&mut client, viewer(&watched, From::Live(true))).await.unwrap();
    let busy = client.open(idle(&["sh", "-c", "while :; do echo x; sleep 0.02; done"])).await.unwrap().into_inner().id;
    let unwanted = client.open(idle(&["cat"])).await.unwrap().into_inner().id;
    let deadline = Instant::now() + PATIENCE;
    loop {
        let ids: Vec<_> = terminals(&pod).await.into_iter().map(|terminal| terminal.id).collect();
        assert!(ids.contains(&watched) && ids.contains(&busy), "{ids:?}");
        if !ids.contains(&unwanted) {
            break;
        }
        assert!(Instant::now() < deadline, "it is still there");
    }
    drop(attached.input);
    assert!(timeout(Duration::from_millis(100), attached.output.message()).await.is_err(), "it goes on");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_viewer_without_credit_hears_that_the_terminal_lives_while_others_see_a_flood() {
    let pod = Pod::start().await;
    let id = open(&pod, "stty raw; exec yes", 0).await.id;
    let start = AttachStart { credit_bytes: 1, ..viewer(&id, From::FromOffset(0)) };
    let (mut attached, _) = attach(&mut pod.terminals().await, start).await.unwrap();
    let mut came = 0;
    let head = loop {
        match attached.next().await.unwrap().unwrap() {
            Frame::Output(output) => came += output.data.len(),
            Frame::Heartbeat(heartbeat) => break heartbeat.head,
            Frame::Lagged(_) => {}
            other => panic!("{other:?}"),
        }
    };
    assert!(came == 1 && head > 1 << 20, "{came} bytes of {head}");
}
