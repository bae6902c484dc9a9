//! From SIGTERM to the end of a container: whatever runs in it, it takes no longer than
//! the shim promises, so that the agent's last snapshot fits into the pod's grace period.

use std::{
    fs,
    path::Path,
    process::Stdio,
    time::{Duration, Instant},
};

use remora_agent::limits::SHIM_STOP_SLACK;
use remora_proto::{
    agent::v1::{FreezeContainersRequest, OpenTerminalRequest, StartRequest},
    model::Reason,
};
use remora_tests::{
    agent::PATIENCE,
    eventually::eventually,
    log::Log,
    pod::{Pod, ShimProcess, shim_with_grace},
};
use rustix::process::{Pid, Signal, kill_process};
use tokio::time::timeout;

use super::processes_with;
use crate::relay::{reason, shell, words};

/// Seconds that what runs has to end.
const GRACE: u64 = 1;

/// A word that no other process of this machine has on its command line: seconds to sleep.
fn unique(number: u32) -> String {
    format!("9{number}{:07}", std::process::id())
}

/// Ways not to end. Each writes `ready` once it is on its way; W is the word.
const STUBBORN: [(&str, &str); 4] = [
    ("ignores it", "trap '' TERM HUP INT; echo > ready; while :; do sleep W; done"),
    (
        // Forked away twice, a session of its own, nothing in its environment that says whose it is.
        "forks away",
        "setsid -f env -i /bin/sh -c 'trap \"\" TERM HUP; (sleep W) & echo > ready; while :; do sleep W; done' \
         & wait; while :; do sleep W; done",
    ),
    (
        "keeps spawning",
        "trap '' TERM HUP; echo > ready; while :; do (trap '' TERM; sleep W) & setsid -f sleep W; sleep 0.02; done",
    ),
    ("is stopped", "trap 'exit 3' TERM; echo > ready; (sleep W) & kill -STOP $$; while :; do sleep W; done"),
];

fn stubborn(number: usize) -> (&'static str, String, String) {
    let (what, line) = STUBBORN[number];
    let word = unique(number as u32);
    (what, line.replace('W', &word), word)
}

async fn ready(folder: &Path) {
    let path = folder.join("workspace/ready");
    eventually(|| path.exists().then_some(())).await;
}

fn in_time(what: &str, grace: u64, began: Instant) {
    let (took, bound) = (began.elapsed(), Duration::from_secs(grace) + SHIM_STOP_SLACK);
    assert!(took <= bound, "{what}: {took:?} of {bound:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whatever_the_command_does_all_of_it_is_gone_in_time() {
    for number in 0..STUBBORN.len() {
        let (what, line, word) = stubborn(number);
        let folder = tempfile::tempdir().unwrap();
        let (command, socket) = shim_with_grace(folder.path(), "dev", GRACE, &["sh", "-c", &line]);
        let mut shim = ShimProcess::spawned(command, "dev", socket).await;
        ready(folder.path()).await;
        eventually(|| (!processes_with(&word).is_empty()).then_some(())).await;
        let began = Instant::now();
        shim.signal(Signal::TERM);
        shim.exited().await;
        in_time(what, GRACE, began);
        assert_eq!(processes_with(&word), Vec::<String>::new(), "{what}");
    }
}

/// As PID 1 of a PID namespace, as in a container.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn as_pid_1_too() {
    if !rustix::process::geteuid().is_root() {
        // Only root may make a PID namespace everywhere.
        return;
    }
    for number in 0..STUBBORN.len() {
        let (what, line, word) = stubborn(number);
        let word = format!("{word}1");
        let line = line.replace(&word[..word.len() - 1], &word);
        let folder = tempfile::tempdir().unwrap();
        let (inner, _) = shim_with_grace(folder.path(), "dev", GRACE, &["sh", "-c", &line]);
        let inner = inner.as_std();
        let mut command = tokio::process::Command::new("unshare");
        command
            .args(["--pid", "--fork", "--kill-child", "--mount-proc"])
            .arg(inner.get_program())
            .args(inner.get_args());
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped()).kill_on_drop(true);
        let mut unshare = command.spawn().unwrap();
        let mut log = Log::of(unshare.stderr.take().unwrap());
        log.line(|line| line["fields"]["message"] == "shim is ready").await;
        ready(folder.path()).await;
        let outer = unshare.id().unwrap();
        let children = fs::read_to_string(format!("/proc/{outer}/task/{outer}/children")).unwrap();
        let shim = Pid::from_raw(children.trim().parse().unwrap()).unwrap();
        let began = Instant::now();
        kill_process(shim, Signal::TERM).unwrap();
        timeout(PATIENCE, unshare.wait()).await.unwrap().unwrap();
        in_time(what, GRACE, began);
        assert_eq!(processes_with(&word), Vec::<String>::new(), "{what}");
    }
}

/// Terminals and commands have the same time as the container's own command, and nothing
/// starts meanwhile.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn terminals_and_commands_are_asked_too_and_have_the_same_time() {
    const LONG: u64 = 20;
    let folder = tempfile::tempdir().unwrap();
    let slow = |signal: &str, name: &str, then: &str| {
        format!(
            "trap 'echo asked > {name}.asked; while [ ! -e go ]; do sleep 0.02; done; echo saved > {name}; {then}' {signal}; \
             echo > {name}.ready; while :; do sleep 0.02; done"
        )
    };
    let main = slow("TERM", "main", "exit 5");
    let (command, socket) = shim_with_grace(folder.path(), "dev", LONG, &["sh", "-c", &main]);
    let shim = ShimProcess::spawned(command, "dev", socket).await;
    let mut pod = Pod::around(folder, vec![shim], &[]).await;
    // A program on it that was started to outlive it is asked by SIGTERM.
    let hung_up =
        format!("(trap '' HUP; {}) & {}", slow("TERM", "nohup", "exit 0"), slow("HUP", "terminal", "wait; exit 0"));
    let argv = words(&["sh", "-c", &hung_up]);
    pod.terminals().await.open(OpenTerminalRequest { argv, ..Default::default() }).await.unwrap();
    // What its shell started is asked as well, not only the leader.
    let line = format!("({}) & wait; wait", slow("TERM", "command", "exit 0"));
    let request = StartRequest { command: Some(shell(&line)), ..Default::default() };
    pod.commands().await.start(request.clone()).await.unwrap();
    for name in ["main", "terminal", "nohup", "command"] {
        pod.file(&format!("{name}.ready")).await;
    }
    let mut commands = pod.commands().await;
    let began = Instant::now();
    pod.shims[0].signal(Signal::TERM);
    for name in ["main", "terminal", "nohup", "command"] {
        pod.file(&format!("{name}.asked")).await;
    }
    let refused = commands.start(request).await.unwrap_err();
    assert_eq!(reason(&refused), Reason::ContainerUnavailable, "{refused:?}");
    assert!(refused.message().contains("being stopped"), "{refused:?}");
    fs::write(pod.workspace.join("go"), "").unwrap();
    assert_eq!(pod.shims[0].exited().await.code(), Some(5));
    assert!(began.elapsed() < Duration::from_secs(LONG), "nobody waits for time that nobody needs");
    for name in ["main", "terminal", "nohup", "command"] {
        assert_eq!(fs::read_to_string(pod.workspace.join(name)).unwrap(), "saved\n", "{name}");
    }
}

/// What stands still for a snapshot is let go on and ends its own way.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_frozen_container_ends_as_any_other() {
    let folder = tempfile::tempdir().unwrap();
    // Its child does the saving: a thawed leader alone would wait for it for ever.
    let line = "(trap 'echo saved > saved; exit' TERM; while :; do sleep 0.02; done) & child=$!; \
                trap 'kill $child; wait $child; exit 21' TERM; echo > ready; while :; do sleep 0.02; done";
    let (command, socket) = shim_with_grace(folder.path(), "dev", 10, &["sh", "-c", line]);
    let shim = ShimProcess::spawned(command, "dev", socket).await;
    ready(folder.path()).await;
    let mut pod = Pod::around(folder, vec![shim], &[]).await;
    let mut status = pod.status().await;
    status.freeze(FreezeContainersRequest { lease_ms: 120_000 }).await.unwrap();
    let began = Instant::now();
    pod.shims[0].signal(Signal::TERM);
    assert_eq!(pod.shims[0].exited().await.code(), Some(21));
    in_time("frozen", 0, began);
    assert_eq!(fs::read_to_string(pod.workspace.join("saved")).unwrap(), "saved\n");
}
