//! A program that eats all memory.

use std::{fs, path::PathBuf};

use remora_proto::agent::v1::{
    Argv, CommandSpec, RunRequest, WaitRequest, attach_start::From, command_spec::Program, exit_status::Cause,
};
use remora_tests::pod::{Pod, ShimProcess, shim_command};
use rustix::process::{Pid, Signal, kill_process};
use tokio::process::Command;

use super::{attach, open, run, start, viewer, words};

/// What the shim and everything below it may have: the shim needs some 20 MiB.
const LIMIT: &str = "67108864";

/// A memory group of our own. Removed when dropped, after what ran in it.
struct Group(PathBuf);

impl Group {
    /// `None` where this machine lets us make none: neither version 1 nor a
    /// delegated part of version 2 is mounted for us.
    fn new() -> Option<Group> {
        let name = format!("remora-test-{}", uuid::Uuid::new_v4());
        for (mount, limit) in [("/sys/fs/cgroup/memory", "memory.limit_in_bytes"), ("/sys/fs/cgroup", "memory.max")] {
            let group = Group(PathBuf::from(mount).join(&name));
            if fs::create_dir(&group.0).is_ok() && fs::write(group.0.join(limit), LIMIT).is_ok() {
                // Without swap the limit is met at once. Not every kernel counts swap.
                _ = fs::write(group.0.join("memory.memsw.limit_in_bytes"), LIMIT);
                _ = fs::write(group.0.join("memory.swap.max"), "0");
                return Some(group);
            }
        }
        None
    }

    /// `command`, within the group.
    fn wrap(&self, command: &Command) -> Command {
        let command = command.as_std();
        let mut wrapped = Command::new("sh");
        wrapped.args(["-c", "echo $$ > \"$0\" && exec \"$@\""]).arg(self.0.join("cgroup.procs"));
        wrapped.arg(command.get_program()).args(command.get_args());
        wrapped.env_clear().envs(command.get_envs().filter_map(|(name, value)| Some((name, value?))));
        wrapped.stdin(std::process::Stdio::null()).stdout(std::process::Stdio::null());
        wrapped.stderr(std::process::Stdio::piped()).kill_on_drop(true);
        wrapped
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        _ = fs::remove_dir(&self.0);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a057_a_program_that_eats_all_memory_dies_of_that_and_its_container_lives() {
    let Some(group) = Group::new() else {
        eprintln!("this machine gives us no memory group; the unit tests of term/oom.rs stand alone for the decision");
        return;
    };
    let folder = tempfile::tempdir().unwrap();
    let (command, socket) = shim_command(folder.path(), "dev", &["sleep", "infinity"]);
    let shim = ShimProcess::spawned(group.wrap(&command), "dev", socket).await;
    let pod = Pod::around(folder, vec![shim], &[]).await;

    // Here the shim may take all there is, so what it starts gets all points there are.
    assert_eq!(run(&pod, "cat /proc/self/oom_score_adj").await.stdout.unwrap().head, "1000\n");

    // A line without an end is kept in memory.
    let eater = || CommandSpec {
        program: Some(Program::Argv(Argv { words: words(&["tail", "/dev/zero"]) })),
        ..CommandSpec::default()
    };
    let request = RunRequest { command: Some(eater()), ..RunRequest::default() };
    let eaten = pod.commands().await.run(request).await.unwrap().into_inner().command.unwrap().exit.unwrap();
    assert_eq!((eaten.cause(), eaten.code, eaten.signal), (Cause::OutOfMemory, None, Some(9)));

    let terminal = open(&pod, "exec tail /dev/zero", 0).await;
    let mut client = pod.terminals().await;
    let (mut attached, _) = attach(&mut client, viewer(&terminal.id, From::Scrollback(true))).await.unwrap();
    let (_, _, exit) = attached.rest(0).await;
    assert_eq!(exit.status.unwrap().cause(), Cause::OutOfMemory);

    // What only looks like it: the same signal, from somebody else.
    let id = start(&pod, super::shell("echo $$ > pid; exec sleep 1000")).await;
    let pid = pod.file("pid").await.trim().parse().unwrap();
    kill_process(Pid::from_raw(pid).unwrap(), Signal::KILL).unwrap();
    let request = WaitRequest { id, timeout_ms: 30_000, ..WaitRequest::default() };
    let killed = pod.commands().await.wait(request).await.unwrap().into_inner().exit.unwrap();
    assert_eq!((killed.cause(), killed.signal), (Cause::Signaled, Some(9)));
    assert_eq!(run(&pod, "echo alive").await.stdout.unwrap().head, "alive\n");
}
