//! Which container a call reaches, and what is said where there is none.

use remora_proto::{
    agent::v1::{
        FreezeContainersRequest, GetInfoRequest, ListTerminalsRequest, ThawContainersRequest, WatchStatusRequest,
        attach_start::From, exec_service_client::ExecServiceClient, terminal_service_client::TerminalServiceClient,
    },
    fault::from_status,
    model::{Capability, Reason, Verb},
};
use remora_tests::{agent::PATIENCE, eventually::eventually, pod::Pod};
use rustix::process::Signal;
use tokio::time::timeout;

use super::{attach, open, reason, run, shell, start, viewer, writer};

fn list(container: &str) -> ListTerminalsRequest {
    ListTerminalsRequest { container: container.to_owned() }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_call_reaches_the_container_that_it_names_and_may_reach() {
    let pod = Pod::with_containers(&["dev", "db"]).await;
    let info = pod.status().await.get_info(GetInfoRequest {}).await.unwrap().into_inner();
    assert_eq!(info.containers, ["dev", "db"]);
    assert_eq!(run(&pod, "echo hi").await.command.unwrap().container, "dev", "the first is the default");
    let mut spec = shell("echo hi");
    spec.container = "db".to_owned();
    start(&pod, spec).await;

    let mut all = pod.terminals().await;
    let unknown = all.list(list("web")).await.unwrap_err();
    assert_eq!(reason(&unknown), Reason::NotFound);
    assert!(from_status(&unknown).hint.contains("dev, db"), "{unknown:?}");
    assert_eq!(reason(&all.list(list("../x")).await.unwrap_err()), Reason::InvalidArgument);

    let only =
        |name: &str| Capability { containers: Some(vec![name.parse().unwrap()]), ..pod.pki.capability(Verb::ALL) };
    let mut db = TerminalServiceClient::new(pod.channel_as(&pod.pki.token(&only("db"))).await);
    db.list(list("db")).await.unwrap();
    for name in ["", "dev", "web"] {
        assert_eq!(reason(&db.list(list(name)).await.unwrap_err()), Reason::ContainerNotGranted, "{name:?}");
    }
    let request = remora_proto::agent::v1::RunRequest { command: Some(shell("touch made")), ..Default::default() };
    let mut commands = ExecServiceClient::new(pod.channel_as(&pod.pki.token(&only("db"))).await);
    assert_eq!(reason(&commands.run(request).await.unwrap_err()), Reason::ContainerNotGranted);
    assert!(!pod.workspace.join("made").exists());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_may_only_read_watches_and_does_not_type() {
    let pod = Pod::start().await;
    let terminal = open(&pod, "exec cat", 0).await;
    let reader = pod.pki.token(&pod.pki.capability(&[Verb::TerminalRead]));
    let mut client = TerminalServiceClient::new(pod.channel_as(&reader).await);
    let refused = attach(&mut client, writer(&terminal.id, "me", From::Live(true))).await.err().unwrap();
    assert_eq!(reason(&refused), Reason::VerbNotGranted);
    let (mut watching, _) = attach(&mut client, viewer(&terminal.id, From::Live(true))).await.unwrap();
    watching.input(1, b"no\n").await;
    assert_eq!(reason(&watching.next().await.unwrap_err()), Reason::InvalidArgument);
    let mut all = pod.terminals().await;
    let (mut typing, _) = attach(&mut all, writer(&terminal.id, "me", From::Scrollback(true))).await.unwrap();
    typing.input(1, b"yes\n").await;
    assert!(typing.output().await.data.starts_with(b"yes"), "nothing was typed before");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_shim_that_is_gone_is_said_and_found_again() {
    let mut pod = Pod::start().await;
    let mut watch = pod.status().await.watch_status(WatchStatusRequest::default()).await.unwrap().into_inner();
    let mut seen = async |reachable: bool| loop {
        let status = timeout(PATIENCE, watch.message()).await.unwrap().unwrap().unwrap();
        if status.containers[0].reachable == reachable {
            assert_eq!(status.ready, reachable);
            return status.containers[0].boot_id.clone();
        }
    };
    let first = seen(true).await;
    pod.shims[0].signal(Signal::TERM);
    pod.shims[0].exited().await;
    seen(false).await;
    let gone = pod.terminals().await.list(list("")).await.unwrap_err();
    let fault = from_status(&gone);
    assert_eq!(fault.reason, Reason::ContainerUnavailable, "{fault}");
    assert!(fault.retry_after.is_some());
    pod.start_shim("dev").await;
    assert_ne!(seen(true).await, first);
    assert_eq!(run(&pod, "echo back").await.stdout.unwrap().head, "back\n");
}

/// What is frozen stands still when the call has returned, not soon after it:
/// a snapshot is made then. One of the processes even lets the others go on.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_written_from_the_answer_to_freeze_until_thaw() {
    let pod = Pod::start().await;
    let line = "for n in 1 2 3; do sh -c \"while :; do echo x >> busy-$n; done\" & pids=\"$pids $!\"; done; \
                echo $pids > pids; while :; do kill -CONT $pids; echo x >> busy-0; /bin/true; done";
    start(&pod, shell(line)).await;
    pod.file("pids").await;
    let sizes = || {
        [0, 1, 2, 3].map(|n| std::fs::metadata(pod.workspace.join(format!("busy-{n}"))).map_or(0, |file| file.len()))
    };
    let mut agent = pod.status().await;
    let mut before = sizes();
    for round in 0..20 {
        eventually(|| sizes().iter().zip(before).all(|(now, then)| *now > then).then_some(())).await;
        agent.freeze(FreezeContainersRequest { lease_ms: 60_000 }).await.unwrap();
        before = sizes();
        agent.get_info(GetInfoRequest {}).await.unwrap();
        assert_eq!(sizes(), before, "round {round}");
        assert!(agent.thaw(ThawContainersRequest {}).await.unwrap().into_inner().was_frozen);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn freeze_stops_everything_or_nothing_and_thaw_lets_it_go_on() {
    let mut pod = Pod::with_containers(&["dev", "db"]).await;
    let state = |pid: &str| {
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
        stat.rsplit(") ").next().unwrap().chars().next().unwrap()
    };
    start(&pod, shell("echo $$ > pid; while :; do :; done")).await;
    let pid = pod.file("pid").await.trim().to_owned();
    let mut agent = pod.status().await;
    let frozen = agent.freeze(FreezeContainersRequest { lease_ms: 60_000 }).await.unwrap().into_inner();
    assert!(frozen.processes >= 3, "{frozen:?}");
    assert_eq!(state(&pid), 'T');
    assert!(agent.thaw(ThawContainersRequest {}).await.unwrap().into_inner().was_frozen);
    assert_ne!(state(&pid), 'T');
    assert!(!agent.thaw(ThawContainersRequest {}).await.unwrap().into_inner().was_frozen);
    // The second container cannot be stopped: the first one goes on.
    pod.shims[1].signal(Signal::TERM);
    pod.shims[1].exited().await;
    let failed = agent.freeze(FreezeContainersRequest { lease_ms: 60_000 }).await.unwrap_err();
    assert_eq!(reason(&failed), Reason::ContainerUnavailable, "{failed:?}");
    assert_ne!(state(&pid), 'T');
    // What a lease of no length or an endless one would be.
    for lease_ms in [1, 999, 300_001] {
        let refused = agent.freeze(FreezeContainersRequest { lease_ms }).await.unwrap_err();
        assert_eq!(reason(&refused), Reason::InvalidArgument, "{lease_ms}");
    }
    let part = Capability { containers: Some(vec!["dev".parse().unwrap()]), ..pod.pki.capability(Verb::ALL) };
    let channel = pod.channel_as(&pod.pki.token(&part)).await;
    let mut agent = remora_proto::agent::v1::agent_service_client::AgentServiceClient::new(channel);
    let refused = agent.freeze(FreezeContainersRequest::default()).await.unwrap_err();
    assert_eq!(reason(&refused), Reason::ContainerNotGranted);
}
