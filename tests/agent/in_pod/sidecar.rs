//! The agent as a native sidecar: it starts before any shim and outlives each.

use remora_proto::{
    agent::v1::{GetTerminalRequest, ListTerminalsRequest, WatchStatusRequest, attach_start::From},
    fault::from_status,
    model::Reason,
};
use remora_tests::{eventually::eventually_told, pod::Pod};
use rustix::process::Signal;

use super::probe;
use crate::relay::{attach, open, run, viewer};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn it_waits_for_the_shims_and_finds_those_of_a_new_container() {
    let folder = tempfile::tempdir().unwrap();
    let socket = folder.path().join("run-dev/shim.sock");
    let mut pod = Pod::around(folder, Vec::new(), &[("dev".to_owned(), socket)]).await;
    // It lives, says so, and that it is not ready: the kubelet starts the containers now.
    for path in ["/livez", "/healthz"] {
        assert_eq!(probe(pod.agent.metrics, path).await, (200, "ok\n".to_owned()), "{path}");
    }
    assert_eq!(probe(pod.agent.metrics, "/readyz").await, (503, "a container's shim does not answer\n".to_owned()));
    let early = pod.terminals().await.list(ListTerminalsRequest::default()).await.unwrap_err();
    assert_eq!(from_status(&early).reason, Reason::ContainerUnavailable, "{early:?}");

    pod.start_shim("dev").await;
    ready(&pod, 200).await;
    let terminal = open(&pod, "exec cat", 0).await;
    let first = boot_id(&pod).await;

    // Killed, as by the memory's bound: the kubelet starts the container anew.
    pod.shims[0].signal(Signal::KILL);
    pod.shims[0].exited().await;
    ready(&pod, 503).await;
    pod.start_shim("dev").await;
    ready(&pod, 200).await;
    assert_ne!(boot_id(&pod).await, first);
    let request = GetTerminalRequest { id: terminal.id.clone(), ..Default::default() };
    let gone = from_status(&pod.terminals().await.get(request).await.unwrap_err());
    assert_eq!((gone.reason, gone.hint.contains("restart of their container")), (Reason::NotFound, true), "{gone:?}");
    let mut client = pod.terminals().await;
    let refused = attach(&mut client, viewer(&terminal.id, From::FromOffset(0))).await.err().unwrap();
    assert_eq!(from_status(&refused).reason, Reason::NotFound, "{refused:?}");
    assert_eq!(run(&pod, "echo new").await.stdout.unwrap().head, "new\n");
    open(&pod, "exec cat", 0).await;
}

async fn ready(pod: &Pod, wanted: u16) {
    eventually_told(async || (probe(pod.agent.metrics, "/readyz").await.0 == wanted).then_some(())).await;
}

async fn boot_id(pod: &Pod) -> String {
    let mut watch = pod.status().await.watch_status(WatchStatusRequest::default()).await.unwrap().into_inner();
    watch.message().await.unwrap().unwrap().containers[0].boot_id.clone()
}
