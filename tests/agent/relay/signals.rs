//! A shim stands for its container's command: it is sent what the command is
//! sent, and ends as the command does.

use std::{path::Path, process::Stdio};

use remora_tests::{
    eventually::eventually,
    pod::{ShimProcess, shim_command},
};
use rustix::process::{Pid, Signal, kill_process};

async fn shim(folder: &Path, line: &str) -> ShimProcess {
    ShimProcess::start(folder, "dev", &["sh", "-c", line]).await
}

/// Sends the signal of that number as anybody would.
fn send(shim: &ShimProcess, number: i32) {
    let status = std::process::Command::new("sh")
        .args(["-c", "kill \"-$0\" \"$1\"", &number.to_string(), &shim.pid().to_string()])
        .status();
    assert!(status.unwrap().success());
}

async fn wait_for(path: &Path, wanted: &str) {
    eventually(|| std::fs::read_to_string(path).ok().filter(|text| text.contains(wanted))).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_signal_reaches_the_command_and_sigterm_ends_it_its_own_way() {
    // HUP, INT, QUIT, USR1, USR2, ALRM, CONT, WINCH, and two that only images know.
    const SIGNALS: [i32; 10] = [1, 2, 3, 10, 12, 14, 18, 28, 37, 64];
    let folder = tempfile::tempdir().unwrap();
    let traps: String = SIGNALS.iter().map(|number| format!("trap 'echo got{number}. >> got' {number}; ")).collect();
    // A trap runs once the command in the foreground has ended: the sleep is short.
    let line = format!("{traps} trap 'echo last >> got; exit 21' 15; echo ready > got; while :; do sleep 0.02; done");
    let mut shim = shim(folder.path(), &line).await;
    let got = folder.path().join("workspace/got");
    wait_for(&got, "ready").await;
    for number in SIGNALS {
        send(&shim, number);
        wait_for(&got, &format!("got{number}.")).await;
    }
    send(&shim, 15);
    assert_eq!(shim.exited().await.code(), Some(21));
    let text = std::fs::read_to_string(&got).unwrap();
    assert_eq!(text.lines().count(), SIGNALS.len() + 2, "each once: {text:?}");
    assert!(text.ends_with("last\n"), "{text:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_shim_ends_as_its_command_did() {
    let rows = [
        ("exit 0", 0),
        ("exit 7", 7),
        ("exit 255", 255),
        ("kill -9 $$", 128 + 9),
        ("kill -15 $$", 128 + 15),
        ("kill -1 $$", 128 + 1),
        ("kill -64 $$", 128 + 64),
        // What it leaves behind is ended, and changes nothing.
        ("setsid -f sleep 1000; trap '' TERM; sleep 1000 & exit 3", 3),
    ];
    for (line, code) in rows {
        let folder = tempfile::tempdir().unwrap();
        let mut shim = shim(folder.path(), line).await;
        assert_eq!(shim.exited().await.code(), Some(code), "{line}");
        assert!(!shim.socket.exists(), "{line}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_command_that_ignores_sigterm_is_ended_after_its_grace_with_all_it_started() {
    let folder = tempfile::tempdir().unwrap();
    let line = "trap '' TERM; setsid -f sh -c 'trap \"\" TERM; echo $$ > escaped; while :; do sleep 0.1; done'; \
                while [ ! -s escaped ]; do sleep 0.02; done; echo $$ > pid; while :; do sleep 0.1; done";
    let mut shim = shim(folder.path(), line).await;
    let read = |name: &str| std::fs::read_to_string(folder.path().join("workspace").join(name)).unwrap_or_default();
    eventually(|| (!read("pid").trim().is_empty()).then_some(())).await;
    shim.signal(Signal::TERM);
    assert_eq!(shim.exited().await.code(), Some(128 + 9));
    for name in ["pid", "escaped"] {
        let pid = Pid::from_raw(read(name).trim().parse().unwrap()).unwrap();
        assert!(kill_process(pid, Signal::CONT).is_err(), "{name} lives on");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_command_that_cannot_be_started_is_told_as_shells_do() {
    for (program, code, says) in [
        ("/no/such/program", 127, "no program"),
        ("/etc/passwd", 126, "may not be executed"),
        ("/", 126, "it is a directory"),
    ] {
        let folder = tempfile::tempdir().unwrap();
        let (mut command, _) = shim_command(folder.path(), "dev", &[program]);
        let output = command.stderr(Stdio::piped()).output().await.unwrap();
        let log = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(code), "{program}: {log}");
        assert!(log.contains(says), "{program}: {log}");
    }
}
