//! Terminals and commands against real processes.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use remora_agent_term::{
    Adopt, Attachment, Cause, Children, CommandSpec, Environment, Event, LagPolicy, Mode, Registry, Start, Stream,
    Target, TermError, Terminal, TerminalSpec,
};
use remora_proto_model::Reason;
use rustix::process::{Pid, Signal, kill_process};
use tokio::time::{Instant, timeout};

const SOON: Duration = Duration::from_secs(60);

struct Bench {
    registry: Registry,
    folder: tempfile::TempDir,
}

fn bench() -> Bench {
    let folder = tempfile::tempdir().unwrap();
    let children = Children::start(Adopt::Nobody).unwrap();
    let environment = Environment::inherited(folder.path().into());
    Bench { registry: Registry::new(environment, children, folder.path().join("spill")), folder }
}

fn shell(script: &str) -> CommandSpec {
    CommandSpec { argv: words(&["sh", "-c", script]), ..CommandSpec::default() }
}

fn words(words: &[&str]) -> Vec<String> {
    words.iter().map(|word| (*word).to_owned()).collect()
}

impl Bench {
    async fn terminal(&self, script: &str) -> Arc<Terminal> {
        let spec = TerminalSpec { argv: words(&["sh", "-c", script]), ..TerminalSpec::default() };
        self.registry.open(spec, None).await.unwrap()
    }

    async fn output(&self, spec: CommandSpec) -> (String, remora_agent_term::ExitStatus) {
        let command = self.registry.start(spec, None).await.unwrap();
        let exit = timeout(SOON, command.ended()).await.unwrap();
        let (_, data) = command.read(Stream::Stdout, 0, 1 << 20).unwrap();
        (String::from_utf8_lossy(&data).into_owned(), exit)
    }
}

fn watch(terminal: &Arc<Terminal>, start: Start) -> Attachment {
    let all = u64::MAX / 2;
    Attachment::new(Arc::clone(terminal), "viewer", Mode::Viewer, start, all, LagPolicy::Backpressure).unwrap()
}

async fn all_of(mut viewer: Attachment) -> (Vec<u8>, Vec<(u64, u64)>, u64) {
    let (mut bytes, mut gaps) = (Vec::new(), Vec::new());
    loop {
        match timeout(SOON, viewer.next()).await.unwrap().unwrap() {
            Event::Output { data, .. } => bytes.extend_from_slice(&data),
            Event::Lagged { from, to } | Event::Attached { gap: Some((from, to)), .. } => gaps.push((from, to)),
            Event::Exit { final_offset, status } => {
                assert_eq!(status.code, Some(0), "{status}");
                return (bytes, gaps, final_offset);
            }
            _ => {}
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn eight_mib_and_an_exit_are_complete_twenty_times() {
    let bench = bench();
    for round in 0..20 {
        let spec = TerminalSpec {
            argv: words(&["sh", "-c", "stty raw; head -c 8388608 /dev/zero | tr '\\0' r"]),
            ring_bytes: 16 << 20,
            ..TerminalSpec::default()
        };
        let terminal = bench.registry.open(spec, None).await.unwrap();
        let (bytes, gaps, last) = all_of(watch(&terminal, Start::Scrollback)).await;
        assert_eq!((bytes.len(), gaps.len(), last), (8 << 20, 0, 8 << 20), "round {round}");
        assert!(bytes.iter().all(|byte| *byte == b'r'));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a042_a_viewer_that_stopped_reading_changes_nothing_for_another() {
    let bench = bench();
    let terminal = bench.terminal("stty raw; exec yes").await;
    let open = |name: &str, credit| {
        let terminal = Arc::clone(&terminal);
        Attachment::new(terminal, name, Mode::Viewer, Start::Scrollback, credit, LagPolicy::Backpressure).unwrap()
    };
    let mut stalled = open("stalled", 1_000);
    let mut fast = open("fast", u64::MAX / 2);
    let mut got = 0;
    let deadline = Instant::now() + SOON;
    while got < 32 << 20 {
        assert!(Instant::now() < deadline, "only {got} bytes");
        if let Some(Event::Output { data, .. }) = fast.next().await {
            got += data.len();
        }
    }
    let held = terminal.view().output;
    assert!(held.head - held.base <= 1 << 20, "the ring keeps its bound");
    // The stalled one reads its credit, and once it has more is told of the gap.
    stalled.typist().credit(1 << 20);
    let mut lagged = None;
    while lagged.is_none() {
        match stalled.next().await.unwrap() {
            Event::Lagged { from, to } => lagged = Some((from, to)),
            Event::Attached { .. } | Event::Output { .. } => {}
            other => panic!("{other:?}"),
        }
    }
    let (from, to) = lagged.unwrap();
    match stalled.next().await.unwrap() {
        Event::Output { offset, .. } => assert!(offset == to && to > from),
        // The flood may have overwritten more by now.
        Event::Lagged { from, .. } => assert_eq!(from, to),
        other => panic!("{other:?}"),
    }
    drop((stalled, fast));
    bench.registry.close(&terminal.view().id.to_string(), Duration::from_millis(100)).await.unwrap();
    assert_eq!(bench.registry.counts().terminals, 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a043_a_thousand_attachments_at_random_offsets_replay_the_same_bytes_or_say_the_gap() {
    let bench = bench();
    // Line n is n in ten digits and a newline, 100 MB: any byte is known from its offset.
    let script = "stty raw; awk 'BEGIN { for (n = 0; n < 9090909; n++) printf \"%010d\\n\", n }'";
    let terminal = bench.terminal(script).await;
    let truth = |offset: u64| format!("{:010}\n", offset / 11).as_bytes()[(offset % 11) as usize];
    let seed = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_nanos() as u64 | 1;
    eprintln!("seed {seed}");
    let mut state = seed;
    let mut random = |below: u64| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state % below.max(1)
    };
    for cycle in 0..1_000 {
        let head = terminal.view().output.head;
        let asked = random(head + 1);
        let mut viewer = watch(&terminal, Start::From(asked));
        let mut next = asked;
        for _ in 0..4 {
            match timeout(SOON, viewer.next()).await.unwrap() {
                Some(Event::Attached { gap: Some((from, to)), .. } | Event::Lagged { from, to }) => {
                    assert_eq!(from, next, "seed {seed} cycle {cycle}");
                    next = to;
                }
                Some(Event::Output { offset, data }) => {
                    assert_eq!(offset, next, "seed {seed} cycle {cycle}");
                    for (at, byte) in (offset..).zip(&data[..]) {
                        assert_eq!(*byte, truth(at), "seed {seed} cycle {cycle} offset {at}");
                    }
                    next += data.len() as u64;
                }
                Some(Event::Exit { .. }) | None => break,
                _ => {}
            }
        }
    }
    timeout(Duration::from_secs(120), terminal.ended()).await.unwrap();
    assert_eq!(terminal.view().output.head, 9_090_909 * 11);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a044_input_to_a_program_that_does_not_read_waits_and_can_be_given_up() {
    let bench = bench();
    let spec = CommandSpec { stdin: true, ..shell("read go < fifo; wc -c") };
    rustix_mkfifo(&bench.folder.path().join("fifo"));
    let command = bench.registry.start(spec, None).await.unwrap();
    let data = vec![b'i'; 1 << 20];
    let given_up = timeout(Duration::from_millis(300), command.write_stdin(0, &data, true)).await;
    assert!(given_up.is_err(), "a full pipe makes the writer wait");
    let written = command.view().stdin_offset;
    assert!(written > 0 && written < 1 << 20, "{written}");
    let hole = command.write_stdin(written + 1, b"x", false).await.unwrap_err();
    assert_eq!(hole.reason(), Reason::OutOfRange);
    std::fs::write(bench.folder.path().join("fifo"), "go\n").unwrap();
    assert_eq!(timeout(SOON, command.write_stdin(0, &data, true)).await.unwrap().unwrap(), 1 << 20);
    timeout(SOON, command.ended()).await.unwrap();
    let (_, counted) = command.read(Stream::Stdout, 0, 100).unwrap();
    assert_eq!(std::str::from_utf8(&counted).unwrap().trim(), "1048576", "each byte once");
}

fn rustix_mkfifo(path: &std::path::Path) {
    assert!(std::process::Command::new("mkfifo").arg(path).status().unwrap().success());
}

#[tokio::test]
async fn a045_what_cannot_be_started_says_why() {
    let bench = bench();
    let put = |name: &str, text: &str, mode: u32| {
        use std::os::unix::fs::PermissionsExt as _;
        let path = bench.folder.path().join(name);
        std::fs::write(&path, text).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
        path
    };
    put("bad-interpreter", "#!/no/such/interpreter\n", 0o755);
    put("not-executable", "#!/bin/sh\n", 0o644);
    put("no-format", "\u{1}\u{2}", 0o755);
    let rows = [
        ("./bad-interpreter", "", Reason::ProgramNotExecutable),
        ("./not-executable", "", Reason::ProgramNotPermitted),
        ("./missing", "", Reason::ProgramNotFound),
        ("no-such-program", "", Reason::ProgramNotFound),
        ("sh", "no/such/folder", Reason::WorkingDirectoryInvalid),
        ("sh", "no-format", Reason::WorkingDirectoryInvalid),
        ("", "", Reason::InvalidArgument),
    ];
    for (program, cwd, reason) in rows {
        let spec = CommandSpec { argv: words(&[program]), cwd: cwd.into(), ..CommandSpec::default() };
        let error = bench.registry.start(spec, None).await.err().unwrap_or_else(|| panic!("{program:?} started"));
        assert_eq!(error.reason(), reason, "{program:?} in {cwd:?}: {error}");
        if !program.is_empty() {
            let spec = TerminalSpec { argv: words(&[program]), cwd: cwd.into(), ..TerminalSpec::default() };
            let error = bench.registry.open(spec, None).await.err().unwrap_or_else(|| panic!("{program:?} started"));
            assert_eq!(error.reason(), reason, "{program:?} in {cwd:?}: {error}");
        }
    }
    assert!(bench.registry.commands().is_empty() && bench.registry.terminals().is_empty());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a046_a_background_child_that_holds_the_pipe_delays_the_exit_by_two_seconds_at_most() {
    let bench = bench();
    let start = Instant::now();
    let command = bench.registry.start(shell("sleep 1000 & echo out; exit 3"), None).await.unwrap();
    let exit = timeout(SOON, command.ended()).await.unwrap();
    assert!(start.elapsed() < Duration::from_secs(4), "{:?}", start.elapsed());
    assert_eq!((exit.cause, exit.code), (Cause::Exited, Some(3)));
    let view = command.view();
    assert!(view.pipe_holders.iter().any(|holder| holder.command == "sleep 1000"), "{:?}", view.pipe_holders);
    for holder in view.pipe_holders {
        kill_process(Pid::from_raw(holder.pid).unwrap(), Signal::TERM).unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a048_a_timeout_ends_what_escaped_into_a_session_of_its_own() {
    let bench = bench();
    let script =
        "setsid -f sh -c 'trap \"\" TERM; echo $$ > escaped; while :; do sleep 1; done'; echo partial; sleep 1000";
    let spec = CommandSpec { timeout: Duration::from_secs(1), ..shell(script) };
    let (out, exit) = bench.output(spec).await;
    assert_eq!((out.as_str(), exit.cause), ("partial\n", Cause::TimedOut));
    let escaped = std::fs::read_to_string(bench.folder.path().join("escaped")).unwrap();
    let left = std::fs::read_to_string(format!("/proc/{}/stat", escaped.trim())).unwrap_or_default();
    assert!(left.is_empty() || left.contains(") Z "), "{left}");
}

#[tokio::test]
async fn a051_a_child_has_three_descriptors_no_blocked_signals_and_none_of_our_names() {
    // As the shim does when it starts: what the test runner left open is not ours.
    remora_agent_term::close_on_exec_from(3).unwrap();
    let bench = bench();
    let (out, _) = bench.output(shell("ls /proc/self/fd; grep SigBlk /proc/self/status; env | grep ^REMORA_")).await;
    let mut lines = out.lines();
    // The fourth is ls's own, on the folder it lists.
    assert_eq!([lines.next(), lines.next(), lines.next(), lines.next()], [Some("0"), Some("1"), Some("2"), Some("3")]);
    assert_eq!(lines.next(), Some("SigBlk:\t0000000000000000"));
    assert!(lines.next().unwrap().starts_with("REMORA_SESSION="));
    assert_eq!(lines.next(), None);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a052_odd_sizes_are_clamped_and_odd_signals_refused() {
    let bench = bench();
    let terminal = bench.terminal("exec cat").await;
    for (columns, rows, set) in [(0, 0, (1, 1)), (65_535, 65_535, (1_000, 1_000)), (120, 40, (120, 40))] {
        let size = terminal.resize(columns, rows).unwrap();
        assert_eq!((size.columns, size.rows), set);
    }
    for number in [0, 65, -1] {
        let error = terminal.signal(number, Target::Leader).unwrap_err();
        assert_eq!(error.reason(), Reason::InvalidArgument);
    }
    assert!(terminal.view().exit.is_none());
    assert_eq!(terminal.signal(9, Target::Leader).unwrap(), 1);
    let exit = timeout(SOON, terminal.ended()).await.unwrap();
    assert_eq!((exit.cause, exit.signal), (Cause::KilledByRequest, Some(9)));
    assert_eq!(terminal.signal(9, Target::Leader).unwrap_err().reason(), Reason::SessionEnded);
}

/// Only the signal that it died of makes a death one by request.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_signal_that_was_survived_is_no_cause_of_death() {
    let bench = bench();
    for (target, cause) in [(None, Cause::Signaled), (Some(Target::Leader), Cause::KilledByRequest)] {
        let command = bench.registry.start(shell("trap : USR1; echo ready; while :; do sleep 0.02; done"), None).await;
        let command = command.unwrap();
        let mut changes = command.changes();
        while command.view().stdout.head == 0 {
            timeout(SOON, changes.changed()).await.unwrap().unwrap();
        }
        assert_eq!(command.signal(10, Target::Leader).unwrap(), 1);
        match target {
            Some(target) => assert_eq!(command.signal(9, target).unwrap(), 1),
            // Somebody else's signal.
            None => kill_process(Pid::from_raw(command.view().pid).unwrap(), Signal::KILL).unwrap(),
        }
        let exit = timeout(SOON, command.ended()).await.unwrap();
        assert_eq!((exit.cause, exit.signal), (cause, Some(9)));
    }
}

/// The kernel ends a child when the thread that forked it ends: that must not be one of the runtime's.
#[test]
fn a_child_outlives_the_thread_that_asked_for_it() {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .thread_keep_alive(Duration::from_millis(1))
        .enable_all()
        .build()
        .unwrap();
    let bench = Arc::new(runtime.block_on(async { bench() }));
    let (asking, handle) = (Arc::clone(&bench), runtime.handle().clone());
    let thread =
        std::thread::spawn(move || handle.block_on(asking.registry.start(shell("sleep 0.3; echo lived"), None)));
    let command = thread.join().unwrap().unwrap();
    runtime.block_on(async {
        // It ends by itself, and not by a signal.
        let exit = timeout(SOON, command.ended()).await.unwrap();
        assert_eq!((exit.cause, exit.code), (Cause::Exited, Some(0)));
        assert_eq!(command.read(Stream::Stdout, 0, 100).unwrap().1, "lived\n");
    });
}

#[tokio::test]
async fn the_input_of_a_run_is_part_of_what_its_key_stands_for() {
    let bench = bench();
    let spec = |byte| CommandSpec { stdin: true, input: Some([byte; 32]), ..shell("cat") };
    let key = || Some("once".parse().unwrap());
    let first = bench.registry.start(spec(1), key()).await.unwrap();
    assert_eq!(bench.registry.start(spec(1), key()).await.unwrap().view().id, first.view().id);
    let other = bench.registry.start(spec(2), key()).await.err().unwrap();
    assert!(matches!(other, TermError::KeyReused { .. }), "{other}");
    first.write_stdin(0, b"", true).await.unwrap();
    timeout(SOON, first.ended()).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a054_input_cut_within_a_character_and_control_output_cross_untouched() {
    let bench = bench();
    let terminal = bench.terminal("stty raw -echo; printf R; head -c 24").await;
    let mut viewer = watch(&terminal, Start::Scrollback);
    loop {
        match timeout(SOON, viewer.next()).await.unwrap().unwrap() {
            Event::Output { data, .. } if data.ends_with(b"R") => break,
            _ => {}
        }
    }
    let text = "\u{1b}]52;c;c2VjcmV0\u{7}\u{5}é€𝄞".as_bytes();
    assert_eq!(text.len(), 26, "OSC 52, answerback, and characters of 2, 3 and 4 bytes");
    for (at, byte) in text[..24].iter().enumerate() {
        let sequence = at as u64 + 1;
        assert_eq!(terminal.write("typist", sequence, &[*byte]).await.unwrap(), sequence);
        terminal.write("typist", sequence, &[*byte]).await.unwrap();
    }
    let (bytes, gaps, _) = all_of(viewer).await;
    assert_eq!((bytes.as_slice(), gaps.len()), (&text[..24], 0), "each byte once");
}

#[tokio::test]
async fn a_key_starts_one_thing_and_refuses_another() {
    let bench = bench();
    let key = || Some("once".parse().unwrap());
    let first = bench.registry.start(shell("echo once >> log"), key()).await.unwrap();
    let second = bench.registry.start(shell("echo once >> log"), key()).await.unwrap();
    assert_eq!(first.view().id, second.view().id);
    let other = bench.registry.start(shell("echo twice >> log"), key()).await.err().unwrap();
    assert!(matches!(other, TermError::KeyReused { .. }), "{other}");
    timeout(SOON, first.ended()).await.unwrap();
    assert_eq!(std::fs::read_to_string(bench.folder.path().join("log")).unwrap(), "once\n");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ended_commands_hold_so_much_on_disk_together_and_the_oldest_is_dropped() {
    const LARGE: u64 = 50 << 20;
    let bench = bench();
    let mut ended = Vec::new();
    for script in ["large", "echo small", "large", "large", "true"] {
        let script = script.replace("large", &format!("head -c {LARGE} /dev/zero"));
        let command = bench.registry.start(shell(&script), None).await.unwrap();
        timeout(SOON, command.ended()).await.unwrap();
        ended.push(command);
    }
    let held: Vec<(u64, u64)> = ended.iter().map(|one| one.view().stdout).map(|held| (held.base, held.head)).collect();
    assert_eq!(held, [(LARGE, LARGE), (0, 6), (0, LARGE), (0, LARGE), (0, 0)]);
    assert_eq!(ended[0].read(Stream::Stdout, 0, 10).unwrap(), (LARGE, bytes::Bytes::new()), "the gap is told");
    assert_eq!(ended[2].read(Stream::Stdout, LARGE - 1, 10).unwrap().1, b"\0"[..]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn output_beyond_memory_moves_to_disk_and_stays_whole() {
    let bench = bench();
    let command =
        bench.registry.start(shell("head -c 5000000 /dev/zero | tr '\\0' d; echo e >&2"), None).await.unwrap();
    timeout(SOON, command.ended()).await.unwrap();
    let view = command.view();
    assert_eq!((view.stdout.base, view.stdout.head, view.stderr.head), (0, 5_000_000, 2));
    let (_, data) = command.read(Stream::Stdout, 0, usize::MAX).unwrap();
    assert!(data.len() == 5_000_000 && data.iter().all(|byte| *byte == b'd'));
}

#[tokio::test]
async fn the_environment_is_the_containers_with_additions_or_a_clean_one() {
    let bench = bench();
    let env = BTreeMap::from([("ADDED".to_owned(), "yes".to_owned())]);
    let (out, _) = bench.output(CommandSpec { env, clean_env: true, ..shell("env | sort | cut -d= -f1") }).await;
    let names: Vec<_> = out.lines().filter(|name| !["_", "SHLVL", "OLDPWD", "HOME"].contains(name)).collect();
    assert_eq!(names, ["ADDED", "PATH", "PWD", "REMORA_SESSION"]);
    let env = BTreeMap::from([("REMORA_SESSION".to_owned(), "mine".to_owned())]);
    let refused = bench.registry.start(CommandSpec { env, ..shell(":") }, None).await.err().unwrap();
    assert_eq!(refused.reason(), Reason::InvalidArgument);
}
