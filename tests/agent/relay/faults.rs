//! What programs do to whoever runs them: attacks 44 to 54, through everything.

use std::{os::unix::fs::PermissionsExt as _, path::Path, process::Stdio, time::Duration};

use remora_proto::{
    agent::v1::{
        Argv, CloseTerminalRequest, CommandSpec, GetTerminalRequest, ListCommandsRequest, ListTerminalsRequest,
        OpenTerminalRequest, ResizeTerminalRequest, RunRequest, ScreenRequest, SignalCommandRequest, SignalTarget,
        SignalTerminalRequest, StartRequest, TerminalSize, WaitRequest, WriteStdinRequest, WriteTerminalRequest,
        attach_start::From, command_spec::Program, exit_status::Cause, terminal_input, terminal_output::Frame,
    },
    fault::from_status,
    model::Reason,
};
use remora_tests::{
    agent::PATIENCE,
    eventually::eventually,
    pod::{Pod, ShimProcess, shim_command},
};
use rustix::process::{Pid, Signal, kill_process};
use tokio::{process::Command, time::timeout};
use tonic::Code;

use super::{attach, open, reason, run, shell, start, viewer, words, writer};

/// Time after which a call is given up that would wait for ever.
const GIVE_UP: Duration = Duration::from_millis(300);

/// State and parent of a process, see proc(5); `None` where there is none.
fn process(pid: &str) -> Option<(char, String)> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let mut fields = stat.rsplit(") ").next()?.split(' ');
    Some((fields.next()?.chars().next()?, fields.next()?.to_owned()))
}

fn lives(pid: &str) -> bool {
    process(pid).is_some_and(|(state, _)| state != 'Z')
}

fn threads(pid: u32) -> usize {
    std::fs::read_dir(format!("/proc/{pid}/task")).unwrap().count()
}

/// `command` behind the words of another program (`unshare ...`), which executes it.
fn behind(words: &[&str], command: &Command) -> Command {
    let command = command.as_std();
    let mut wrapped = Command::new(words[0]);
    wrapped.args(&words[1..]).arg(command.get_program()).args(command.get_args());
    wrapped.env_clear().envs(command.get_envs().filter_map(|(name, value)| Some((name, value?))));
    wrapped.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped()).kill_on_drop(true);
    wrapped
}

/// A pod whose container's shim runs behind `words`.
async fn pod_behind(words: &[&str], more: impl FnOnce(&mut Command)) -> Pod {
    let folder = tempfile::tempdir().unwrap();
    let (command, socket) = shim_command(folder.path(), "dev", &["sleep", "infinity"]);
    let mut command = behind(words, &command);
    more(&mut command);
    let shim = ShimProcess::spawned(command, "dev", socket).await;
    Pod::around(folder, vec![shim], &[]).await
}

async fn wait(pod: &Pod, id: &str) -> remora_proto::agent::v1::Command {
    let request = WaitRequest { id: id.to_owned(), timeout_ms: 30_000, ..WaitRequest::default() };
    pod.commands().await.wait(request).await.unwrap().into_inner()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a044_input_to_what_does_not_read_waits_and_can_be_given_up_without_loss() {
    const TOTAL: u64 = 1 << 20;
    let pod = Pod::start().await;
    let spec = CommandSpec { stdin: true, ..shell("while [ ! -e go ]; do sleep 0.02; done; exec cksum") };
    let id = start(&pod, spec).await;
    let data: Vec<u8> = (0..TOTAL).map(|n| (n % 251) as u8).collect();
    let mut commands = pod.commands().await;
    let request = |offset: u64| {
        let end = data.len().min(offset as usize + 65_536);
        let eof = end == data.len();
        WriteStdinRequest {
            id: id.clone(),
            offset,
            data: data[offset as usize..end].to_vec().into(),
            eof,
            ..Default::default()
        }
    };
    // The pipe takes some; then the call waits, and so does each repetition.
    let mut offset = 0;
    while let Ok(answer) = timeout(GIVE_UP, commands.write_stdin(request(offset))).await {
        offset = answer.unwrap().into_inner().offset;
        assert!(offset < TOTAL, "a program that does not read has read everything");
    }
    let processes = [pod.agent.pid(), pod.shims[0].pid()];
    let before = processes.map(threads);
    let given_up = (0..50).map(|_| {
        let (mut commands, request) = (commands.clone(), request(offset));
        async move { assert!(timeout(GIVE_UP, commands.write_stdin(request)).await.is_err()) }
    });
    futures_util::future::join_all(given_up).await;
    eventually(|| (processes.map(threads).iter().zip(before).all(|(now, then)| *now <= then)).then_some(())).await;
    let hole = WriteStdinRequest { offset: TOTAL, ..request(0) };
    assert_eq!(reason(&commands.write_stdin(hole).await.unwrap_err()), Reason::OutOfRange);

    std::fs::write(pod.workspace.join("go"), "").unwrap();
    std::fs::write(pod.workspace.join("truth"), &data).unwrap();
    while offset < TOTAL {
        offset = timeout(PATIENCE, commands.write_stdin(request(offset))).await.unwrap().unwrap().into_inner().offset;
    }
    assert_eq!(wait(&pod, &id).await.exit.unwrap().code, Some(0));
    let sum = run(&pod, "cksum < truth").await.stdout.unwrap().head;
    let output = remora_proto::agent::v1::GetOutputRequest {
        id,
        stream: remora_proto::agent::v1::OutputStream::Stdout.into(),
        ..Default::default()
    };
    let seen = commands.get_output(output).await.unwrap().into_inner().data;
    assert_eq!(std::str::from_utf8(&seen).unwrap(), sum, "each byte once, in order");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a044_typing_into_what_does_not_read_waits_and_goes_on_where_it_stopped() {
    let pod = Pod::start().await;
    let line = "stty raw -echo; printf R; while [ ! -e go ]; do sleep 0.02; done; head -c 65536 | cksum > sum";
    let id = open(&pod, line, 0).await.id;
    let data: Vec<u8> = (0..65_536_u32).map(|n| (n % 251) as u8).collect();
    std::fs::write(pod.workspace.join("truth"), &data).unwrap();
    let request = WriteTerminalRequest {
        id: id.clone(),
        data: data.into(),
        client_id: "typist".to_owned(),
        sequence: 1,
        ..WriteTerminalRequest::default()
    };
    let mut client = pod.terminals().await;
    // Only once the terminal is raw does it take what is typed as it is.
    let (mut attached, _) = attach(&mut client, viewer(&id, From::FromOffset(0))).await.unwrap();
    assert_eq!(attached.output().await.data, "R");
    for _ in 0..5 {
        assert!(
            timeout(GIVE_UP, client.write(request.clone())).await.is_err(),
            "a full terminal makes the writer wait"
        );
    }
    std::fs::write(pod.workspace.join("go"), "").unwrap();
    let answer = timeout(PATIENCE, client.write(request)).await.unwrap().unwrap().into_inner();
    assert_eq!((answer.sequence, answer.accepted_bytes), (1, 65_536));
    assert_eq!(pod.file("sum").await, run(&pod, "cksum < truth").await.stdout.unwrap().head);
}

fn program(folder: &Path, name: &str, text: &[u8], mode: u32) {
    let path = folder.join(name);
    std::fs::write(&path, text).unwrap();
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a045_what_cannot_be_started_says_why_and_leaves_nothing() {
    let pod = Pod::start().await;
    program(&pod.workspace, "bad-interpreter", b"#!/no/such/interpreter\n", 0o755);
    program(&pod.workspace, "not-executable", b"#!/bin/sh\n", 0o644);
    program(&pod.workspace, "busy", &std::fs::read("/bin/true").unwrap(), 0o755);
    let written = std::fs::OpenOptions::new().write(true).open(pod.workspace.join("busy")).unwrap();
    std::os::unix::fs::symlink("loop", pod.workspace.join("loop")).unwrap();
    let long = "x".repeat(256);
    let rows = [
        ("./bad-interpreter", "", Reason::ProgramNotExecutable, "interpreter"),
        ("./not-executable", "", Reason::ProgramNotPermitted, "not-executable"),
        ("./busy", "", Reason::ProgramNotExecutable, "ETXTBSY"),
        ("./missing", "", Reason::ProgramNotFound, "missing"),
        ("no-such-program", "", Reason::ProgramNotFound, "PATH"),
        ("/", "", Reason::ProgramNotExecutable, "directory"),
        ("sh", "no/such/folder", Reason::WorkingDirectoryInvalid, "no/such/folder"),
        ("sh", "busy", Reason::WorkingDirectoryInvalid, "not a directory"),
        ("./loop", "", Reason::ProgramNotExecutable, "loop of symbolic links"),
        (&long, "", Reason::InvalidArgument, "argv: its first word is longer"),
    ];
    let (mut commands, mut terminals) = (pod.commands().await, pod.terminals().await);
    for (word, cwd, reason, says) in rows {
        let spec = CommandSpec {
            program: Some(Program::Argv(Argv { words: words(&[word]) })),
            cwd: cwd.to_owned(),
            ..CommandSpec::default()
        };
        let open = OpenTerminalRequest { argv: words(&[word]), cwd: cwd.to_owned(), ..Default::default() };
        let answers = [
            commands.run(RunRequest { command: Some(spec.clone()), ..Default::default() }).await.err(),
            commands.start(StartRequest { command: Some(spec), ..Default::default() }).await.err(),
            terminals.open(open).await.err(),
        ];
        for status in answers {
            let fault = from_status(&status.unwrap_or_else(|| panic!("{word:?} started")));
            assert_eq!(fault.reason, reason, "{word:?} in {cwd:?}: {fault}");
            assert!(fault.message.contains(says), "{word:?} in {cwd:?}: {fault}");
        }
    }
    assert!(commands.list(ListCommandsRequest::default()).await.unwrap().into_inner().commands.is_empty());
    assert!(terminals.list(ListTerminalsRequest::default()).await.unwrap().into_inner().terminals.is_empty());
    drop(written);
    let spec = CommandSpec { program: Some(Program::Argv(Argv { words: words(&["./busy"]) })), ..Default::default() };
    let ran = commands.run(RunRequest { command: Some(spec), ..Default::default() }).await.unwrap().into_inner();
    assert_eq!(ran.command.unwrap().exit.unwrap().code, Some(0), "and once it can be started it is");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a046_a_background_child_does_not_hold_up_the_exit() {
    let pod = Pod::start().await;
    let ran = run(&pod, "sleep 1046 & echo out; exit 3").await;
    let command = ran.command.unwrap();
    assert_eq!((command.exit.unwrap().code, ran.stdout.unwrap().head.as_str()), (Some(3), "out\n"));
    assert!(command.ended_ms - command.started_ms < 10_000, "{command:?}");
    assert!(command.pipe_holders.iter().any(|holder| holder.command == "sleep 1046"), "{:?}", command.pipe_holders);

    let id = open(&pod, "trap '' HUP; sleep 1046 & echo out; exit 3", 0).await.id;
    let (mut attached, _) = attach(&mut pod.terminals().await, viewer(&id, From::FromOffset(0))).await.unwrap();
    let (bytes, gaps, exit) = attached.rest(0).await;
    assert_eq!((bytes.as_slice(), gaps.len(), exit.status.unwrap().code), (&b"out\r\n"[..], 0, Some(3)));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a048_a_tree_is_what_was_started_wherever_it_went() {
    let pod = Pod::start().await;
    let bystander = start(&pod, shell("echo $$ > bystander; exec sleep 1000")).await;
    let escapes = "
        setsid -f sh -c 'echo $$ > p1; exec sleep 1048'
        (setsid sh -c 'sh -c \"echo \\$\\$ > p2; exec sleep 1048\" &' &)
        nohup sh -c 'trap \"\" TERM HUP INT; echo $$ > p3; while :; do sleep 1; done' > /dev/null 2>&1 &
        sh -c 'echo $$ > p4; kill -STOP $$; exec sleep 1048' &
        echo $$ > p0; wait; exec sleep 1048";
    for timed_out in [false, true] {
        let files = ["p0", "p1", "p2", "p3", "p4"];
        for file in files {
            _ = std::fs::remove_file(pod.workspace.join(file));
        }
        let timeout_ms = if timed_out { 3_000 } else { 0 };
        let id = start(&pod, CommandSpec { timeout_ms, ..shell(escapes) }).await;
        let mut pids = Vec::new();
        for file in files {
            pids.push(pod.file(file).await.trim().to_owned());
        }
        if !timed_out {
            let request = SignalCommandRequest {
                id: id.clone(),
                signal: 9,
                target: SignalTarget::Tree.into(),
                ..SignalCommandRequest::default()
            };
            let delivered = pod.commands().await.signal(request).await.unwrap().into_inner().delivered;
            assert!(delivered >= 5, "{delivered}");
        }
        let exit = wait(&pod, &id).await.exit.unwrap();
        assert_eq!(exit.cause(), if timed_out { Cause::TimedOut } else { Cause::KilledByRequest });
        for pid in pids {
            eventually(|| (!lives(&pid)).then_some(())).await;
        }
    }
    let request =
        SignalCommandRequest { id: bystander, signal: 9, target: SignalTarget::Leader.into(), ..Default::default() };
    assert!(lives(pod.file("bystander").await.trim()));
    assert_eq!(pod.commands().await.signal(request).await.unwrap().into_inner().delivered, 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a049_a_thousand_orphans_of_pid_1_leave_no_zombies_and_no_wrong_exit_codes() {
    let mut pod = pod_behind(&["unshare", "--pid", "--fork", "--kill-child", "--mount-proc"], |_| {}).await;
    let outer = pod.shims[0].pid();
    let inner = std::fs::read_to_string(format!("/proc/{outer}/task/{outer}/children")).unwrap().trim().to_owned();
    let status = std::fs::read_to_string(format!("/proc/{inner}/status")).unwrap();
    let levels = status.lines().find_map(|line| line.strip_prefix("NSpid:")).unwrap();
    assert_eq!(levels.split_whitespace().last(), Some("1"), "{levels}");

    // Each has its own end; none is anybody's child for long.
    let orphans = "n=0; while [ $n -lt 500 ]; do (sh -c \"exit $((n % 200))\" &); n=$((n + 1)); done; echo made";
    let client = pod.commands().await;
    let run = async |line: String| {
        let request = RunRequest { command: Some(shell(&line)), ..RunRequest::default() };
        client.clone().run(request).await.unwrap().into_inner()
    };
    let run = &run;
    let orphans = [run(orphans.to_owned()), run(orphans.to_owned())];
    let real = (0..60).map(|code| async move {
        (code, run(format!("(exit 9 &); exit {code}")).await.command.unwrap().exit.unwrap())
    });
    let (orphans, real) = tokio::join!(futures_util::future::join_all(orphans), futures_util::future::join_all(real));
    for made in orphans {
        assert_eq!(made.stdout.unwrap().head, "made\n");
        assert_eq!(made.command.unwrap().exit.unwrap().code, Some(0));
    }
    for (code, exit) in real {
        assert_eq!((exit.cause(), exit.code), (Cause::Exited, Some(code)));
    }
    let left = || {
        let all = std::fs::read_dir("/proc").unwrap().flatten();
        let pids = all.filter_map(|entry| entry.file_name().into_string().ok());
        pids.filter_map(|pid| process(&pid)).filter(|(_, parent)| *parent == inner).collect::<Vec<_>>()
    };
    // Its own command alone.
    eventually(|| (left().len() == 1 && left()[0].0 != 'Z').then_some(())).await;
    assert!(lives(&inner));
    kill_process(Pid::from_raw(inner.parse().unwrap()).unwrap(), Signal::TERM).unwrap();
    pod.shims[0].exited().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a051_a_child_gets_three_descriptors_a_clean_mask_and_no_name_of_ours() {
    // Whoever starts the shim leaves descriptors open and names set.
    let leaky = ["sh", "-c", "exec 7< /etc/passwd 8> /dev/null; exec \"$@\"", "sh"];
    let pod = pod_behind(&leaky, |command| {
        command.env("REMORA_SHIM_SECRET_FILE", "/somewhere").env("REMORA_TOKEN", "hush").env("KEPT", "yes");
    })
    .await;
    let look = "ls /proc/self/fd | tr '\\n' ' '; echo; grep -E 'SigBlk|SigIgn' /proc/self/status | cut -f2; env | grep -c ^REMORA_; env | grep ^REMORA_ | cut -d= -f1; echo $KEPT";
    let ran = run(&pod, look).await.stdout.unwrap().head;
    let lines: Vec<_> = ran.lines().collect();
    // The fourth is ls's own, on the folder it lists.
    assert_eq!(lines[0].trim(), "0 1 2 3");
    let mask = |text: &str| u64::from_str_radix(text, 16).unwrap();
    assert_eq!(mask(lines[1]), 0, "nothing is blocked");
    assert_eq!(mask(lines[2]) & (1 << (Signal::PIPE.as_raw() - 1)), 0, "SIGPIPE ends a program as it should");
    assert_eq!(lines[3..], ["1", "REMORA_SESSION", "yes"]);

    let id = open(&pod, &format!("exec > seen; {look}"), 0).await.id;
    let (mut attached, _) = attach(&mut pod.terminals().await, viewer(&id, From::FromOffset(0))).await.unwrap();
    attached.rest(0).await;
    let seen = pod.file("seen").await;
    let lines: Vec<_> = seen.lines().collect();
    // dash keeps a copy of its own while stdout is redirected; above 9 as shells do.
    let fds = lines[0].split_whitespace().map(|fd| fd.parse::<u32>().unwrap()).filter(|fd| *fd < 10);
    assert_eq!(fds.collect::<Vec<_>>(), [0, 1, 2, 3]);
    assert_eq!(mask(lines[1]), 0);
    assert_eq!(lines[3..], ["1", "REMORA_SESSION", "yes"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a052_sizes_are_brought_into_bounds_and_signals_that_are_none_refused() {
    let pod = Pod::start().await;
    let id = open(&pod, "stty -echo; while read line; do stty size; done", 0).await.id;
    let mut client = pod.terminals().await;
    let resize = |columns, rows| ResizeTerminalRequest {
        id: id.clone(),
        size: Some(TerminalSize { columns, rows }),
        ..ResizeTerminalRequest::default()
    };
    for (columns, rows, set) in [(0, 0, (1, 1)), (65_535, 65_535, (1_000, 1_000)), (u32::MAX, 3, (1_000, 3))] {
        let size = client.resize(resize(columns, rows)).await.unwrap().into_inner().size.unwrap();
        assert_eq!((size.columns, size.rows), set);
    }
    // Ten thousand at once; the last one counts, and whoever asks sees it.
    let (mut attached, _) = attach(&mut client, writer(&id, "me", From::Live(true))).await.unwrap();
    for n in 0..10_000_u32 {
        attached.send(terminal_input::Frame::Resize(TerminalSize { columns: n % 500, rows: n % 300 })).await;
    }
    attached.send(terminal_input::Frame::Resize(TerminalSize { columns: 121, rows: 41 })).await;
    attached.input(1, b"\n").await;
    let mut shown = String::new();
    while !shown.contains('\n') {
        shown.push_str(std::str::from_utf8(&attached.output().await.data).unwrap());
    }
    assert_eq!(shown.trim(), "41 121");
    let request = GetTerminalRequest { id: id.clone(), ..GetTerminalRequest::default() };
    assert_eq!(client.get(request).await.unwrap().into_inner().size, Some(TerminalSize { columns: 121, rows: 41 }));

    let command = start(&pod, shell("exec sleep 1000")).await;
    for signal in [0, 65, -1, 32, 33, 34, i32::MAX, i32::MIN] {
        let target = SignalTarget::Leader.into();
        let terminal = SignalTerminalRequest { id: id.clone(), signal, target, ..Default::default() };
        let command = SignalCommandRequest { id: command.clone(), signal, target, ..Default::default() };
        for status in [client.signal(terminal).await.err(), pod.commands().await.signal(command).await.err()] {
            let fault = from_status(&status.unwrap_or_else(|| panic!("{signal} was sent")));
            assert_eq!(fault.reason, Reason::InvalidArgument, "{fault}");
            assert!(fault.message.contains("signal"), "{fault}");
        }
    }
    let request = SignalCommandRequest {
        id: command.clone(),
        signal: 64,
        target: SignalTarget::Leader.into(),
        ..Default::default()
    };
    assert_eq!(pod.commands().await.signal(request).await.unwrap().into_inner().delivered, 1);
    let exit = wait(&pod, &command).await.exit.unwrap();
    assert_eq!((exit.cause(), exit.signal), (Cause::KilledByRequest, Some(64)));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a053_when_no_terminal_is_left_that_is_said_and_one_that_is_closed_makes_room() {
    let few = "mount -t devpts -o newinstance,ptmxmode=0666,mode=0620,max=3 devpts /dev/pts \
               && mount --bind /dev/pts/ptmx /dev/ptmx && exec \"$@\"";
    let pod = pod_behind(&["unshare", "--mount", "sh", "-c", few, "sh"], |_| {}).await;
    let mut client = pod.terminals().await;
    let first = open(&pod, "exec cat", 0).await.id;
    for _ in 0..2 {
        open(&pod, "exec cat", 0).await;
    }
    let request = || OpenTerminalRequest { argv: words(&["cat"]), ..OpenTerminalRequest::default() };
    for _ in 0..3 {
        let status = client.open(request()).await.unwrap_err();
        assert_eq!(
            (status.code(), reason(&status)),
            (Code::ResourceExhausted, Reason::ProcessLimitReached),
            "{status:?}"
        );
    }
    assert_eq!(client.list(ListTerminalsRequest::default()).await.unwrap().into_inner().terminals.len(), 3);
    assert_eq!(run(&pod, "echo commands need none").await.command.unwrap().exit.unwrap().code, Some(0));
    client.close(CloseTerminalRequest { id: first, ..CloseTerminalRequest::default() }).await.unwrap();
    client.open(request()).await.unwrap();
    assert_eq!(reason(&client.open(request()).await.unwrap_err()), Reason::ProcessLimitReached);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a054_bytes_cross_untouched_and_what_people_read_is_escaped() {
    let mut pod = Pod::start().await;
    let text = "\u{1b}]0;a\u{202e}b\u{7}\u{1b}]52;c;c2VjcmV0\u{7}\u{5}\u{1b}[c\u{9b}x é€𝄞 \u{202e}end\r\n".as_bytes();
    let id = open(&pod, &format!("stty raw -echo; printf R; head -c {}; sleep 1000", text.len()), 0).await.id;
    let mut client = pod.terminals().await;
    let (mut attached, _) = attach(&mut client, writer(&id, "me", From::FromOffset(0))).await.unwrap();
    assert_eq!(attached.output().await.data, "R");
    // Each byte on its own, and again: characters and sequences are cut everywhere.
    for (at, byte) in text.iter().enumerate() {
        for _ in 0..2 {
            attached.input(at as u64 + 1, &[*byte]).await;
        }
    }
    let (mut bytes, mut titles) = (Vec::new(), Vec::new());
    while bytes.len() < text.len() || titles.is_empty() {
        match attached.next().await.unwrap().unwrap() {
            Frame::Output(output) => bytes.extend_from_slice(&output.data),
            Frame::Title(title) => titles.push(title),
            Frame::InputAck(_) | Frame::WriterChanged(_) => {}
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(bytes, text, "each byte once, as it was");
    let screen =
        client.screen(ScreenRequest { id: id.clone(), ..ScreenRequest::default() }).await.unwrap().into_inner();
    let title =
        client.get(GetTerminalRequest { id, ..GetTerminalRequest::default() }).await.unwrap().into_inner().title;
    for shown in screen.rows.iter().chain(&titles).chain([&title]) {
        let plain = shown.chars().all(|character| !character.is_control() && character != '\u{202e}');
        assert!(plain, "{shown:?}");
    }
    assert!(screen.rows.iter().any(|row| row.contains("é€𝄞")), "{screen:?}");
    // What is typed and printed is nobody's to log.
    pod.agent.terminate();
    let ended = pod.agent.log_line(|line| {
        assert!(!line.to_string().contains("c2VjcmV0") && !line.to_string().contains('\u{1b}'), "{line}");
        line["fields"]["message"] == "drained"
    });
    ended.await;
}
