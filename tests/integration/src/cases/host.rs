//! Daemons of the cluster's host that stop and come back. What runs in a pod, and whoever
//! is connected to it through the server, needs none of them.

use std::time::{Duration, Instant};

use serde_json::Value;
use tokio::task::JoinHandle;

use super::{
    accounts::account,
    terminal::{Attached, client, open},
};
use crate::{
    cli::{Cli, Ran},
    cluster::{pods, restarts},
    harness::Case,
    host::Pause,
    patience::{LOOK, LOOK_PATIENCE},
    project::{Project, phase},
    target::Target,
};

/// How long the API server is away: id 98 of the attacks says ten minutes, of it or of its
/// etcd, and this is one. Everything that waits for it and could give up has done so by then
/// (a call after 30 s, a watch 5 s after its 30 s, the Lease after 15 s, a token's review after
/// 60 s), so that the other nine are the same as the end of this one; and an API server
/// without its etcd answers nothing but errors, which the control plane takes alike.
const API_SERVER_AWAY: Duration = Duration::from_secs(60);
/// How long the kubelet is: less than the 40 s after which its node counts as lost, and
/// every Service of a cluster of one node leads nowhere.
const KUBELET_AWAY: Duration = Duration::from_secs(25);
/// How long before it is back new calls are made no more: they need the Service of the
/// server, and that is what a daemon that comes back takes away for a moment.
const BEFORE_THE_END: Duration = Duration::from_secs(5);
/// How long every new call has to get through until that is believed to last. A kubelet
/// that starts holds no pod for ready before it has probed it, and an API server that comes
/// back may find the lease of a node too old: the server's pods are behind no Service then.
const CALM: Duration = Duration::from_secs(15);
/// Until when after the API server is back the rest of the cluster may act on what it saw
/// before: who watches it rests up to 30 s between two attempts, and as much again by
/// chance (client-go's reflector), looks every 5 s, and is answered by a kubelet within 10 s.
const STALE: Duration = Duration::from_secs(75);
/// Longest time from a key to what it prints, on a busy machine.
const ECHO: Duration = Duration::from_secs(5);

pub(super) fn cases() -> Vec<Case> {
    vec![
        Case::new("host::terminals_and_commands_do_not_need_the_kubelet", kubelet).on_host(),
        Case::new("host::a098_terminals_and_commands_do_not_need_the_api_server", api_server).on_host(),
    ]
}

/// A project with somebody at a terminal and a command that runs.
struct Busy {
    project: Project,
    terminal: Attached,
    command: JoinHandle<Ran>,
    pod: Value,
    keys: u32,
}

impl Busy {
    async fn new(target: &Target) -> Busy {
        let project = Project::empty(target, "busy", "echo $$ >> starts; while :; do sleep 1; done").await;
        let pod = pods(&project.namespace().await).await.remove(0);
        let mut terminals = client(&project).await;
        let id = open(&mut terminals, &["sh"]).await;
        let mut terminal = Attached::to(&mut terminals, &id, 0, 0).await;
        terminal.type_keys("stty -echo; V=kept; echo up-$((1+1))\n").await;
        terminal.expect("up-2").await;
        let (cli, name) = (Cli::new(&target.server, &target.key), project.name.clone());
        let line = "i=0; while [ ! -e enough ]; do echo tick-$i; i=$((i+1)); sleep 0.5; done; echo end-$i";
        let command = tokio::spawn(async move { cli.run(&["exec", &name, "--", "sh", "-c", line]).await });
        Busy { project, terminal, command, pod, keys: 0 }
    }

    /// Types, is answered, and runs another command.
    async fn goes_on(&mut self) {
        self.keys += 1;
        let began = Instant::now();
        self.terminal.type_keys(&format!("echo $V-$(({} * 1))-\n", self.keys)).await;
        self.terminal.expect(&format!("kept-{}-", self.keys)).await;
        assert!(began.elapsed() < ECHO, "an echo took {:?}", began.elapsed());
        assert_eq!(self.project.shell("echo another").await, "another\n");
        let status = self.project.status().await;
        assert!(phase("Ready")(&status), "it serves, and its status says: {status:#}");
    }

    /// Waits until new calls get through again, of a cluster that is `stale` for a while.
    async fn is_reached(&self, stale: Duration) {
        let back = Instant::now();
        let deadline = back + stale + LOOK_PATIENCE;
        let mut since = back;
        while since.elapsed() < CALM || back.elapsed() < stale {
            let asked = self.project.verb("status", &[]).await;
            if asked.code != 0 {
                since = Instant::now();
            }
            assert!(Instant::now() < deadline, "{asked:?}");
            tokio::time::sleep(LOOK).await;
        }
    }

    /// The command has run through, and nothing was started anew.
    async fn was_never_cut(self) {
        self.project.shell("touch enough").await;
        let printed = self.command.await.expect("it ends").ok();
        let ticks = printed.lines().count() - 1;
        let whole: String = (0..ticks).map(|tick| format!("tick-{tick}\n")).collect();
        assert_eq!(printed, format!("{whole}end-{ticks}\n"));
        let pod = pods(&self.project.namespace().await).await.remove(0);
        assert_eq!(pod["metadata"]["uid"], self.pod["metadata"]["uid"], "its pod is another one");
        for container in ["dev", "agent"] {
            assert_eq!(restarts(&pod, container), restarts(&self.pod, container), "{container} was started anew");
        }
        assert_eq!(self.project.shell("wc -l < starts").await.trim(), "1");
        self.project.becomes("ready", phase("Ready")).await;
        self.project.verb("hibernate", &[]).await.ok();
        self.project.verb("wake", &[]).await.ok();
        assert_eq!(self.project.shell("wc -l < starts").await.trim(), "2");
        self.project.remove().await;
    }
}

async fn kubelet(target: Target) {
    let (mut busy, sleeps) = tokio::join!(Busy::new(&target), Project::empty(&target, "sleeps", super::IDLE));
    sleeps.shell("echo kept > file").await;
    let node = busy.pod["spec"]["nodeName"].as_str().expect("it runs on a node").to_owned();

    let pause = Pause::of_kubelet(&target.namespace, &node, KUBELET_AWAY).await;
    let starts = Project::named(&target, "starts");
    let (slept, started) =
        tokio::join!(sleeps.verb("hibernate", &["--no-wait"]), starts.up(None, super::IDLE, &["--no-wait"]),);
    assert!(slept.code == 0 && started.code == 0, "{slept:?} {started:?}");
    while pause.elapsed() < KUBELET_AWAY - BEFORE_THE_END {
        busy.goes_on().await;
        let (asleep, awake) = tokio::join!(sleeps.status(), starts.status());
        // Nobody can have ended the one, or begun the other.
        assert!(!phase("Hibernated")(&asleep), "its pod runs: {asleep:#}");
        assert!(!phase("Ready")(&awake), "its pod does not run: {awake:#}");
        tokio::time::sleep(LOOK).await;
    }
    assert!(!pause.answers().await, "it was away all the time");
    pause.ends().await;
    busy.is_reached(Duration::ZERO).await;

    starts.becomes("the start", phase("Ready")).await;
    sleeps.becomes("sleep", phase("Hibernated")).await;
    sleeps.verb("wake", &[]).await.ok();
    assert_eq!(sleeps.shell("cat file").await, "kept\n");
    tokio::join!(sleeps.remove(), starts.remove());
    busy.goes_on().await;
    busy.was_never_cut().await;
}

async fn api_server(target: Target) {
    let mut busy = Busy::new(&target).await;
    // With a token that nobody has asked about yet.
    let unknown = account(&target, "it-editor", "remora").await;

    let pause = Pause::of_api_server(&target.namespace, API_SERVER_AWAY).await;
    let asked = unknown.run(&["ls"]).await;
    assert!(asked.code != 0 && asked.stderr.contains("the Kubernetes API cannot be asked"), "{asked:?}");
    let asked = busy.project.verb("hibernate", &["--no-wait"]).await;
    assert!(asked.code != 0 && asked.stderr.contains("the cluster cannot be asked"), "{asked:?}");
    while pause.elapsed() < API_SERVER_AWAY - BEFORE_THE_END {
        busy.goes_on().await;
        tokio::time::sleep(LOOK).await;
    }
    assert!(!pause.answers().await, "it was away all the time");
    pause.ends().await;
    busy.is_reached(STALE).await;

    assert!(unknown.run(&["ls"]).await.ok().contains(&busy.project.name));
    busy.goes_on().await;
    busy.was_never_cut().await;
}
