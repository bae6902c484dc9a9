//! QUIESCED: while a snapshot is made nothing writes, and afterwards all goes on.

use remora_proto::{
    agent::v1::{
        CreateSnapshotRequest, RestoreSnapshotRequest, SnapshotConsistency, ThawContainersRequest,
        agent_service_client::AgentServiceClient, create_snapshot_event::Event,
    },
    model::{Reason, Verb},
};
use remora_tests::{
    agent::{AgentProcess, serve_flags},
    eventually::eventually,
    pod::{Bearer, SECRET, ShimProcess},
};

use crate::{snapshot_project::Project, snapshot_service::all};

fn state(pid: u32) -> char {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    stat.rsplit(") ").next().unwrap().chars().next().unwrap()
}

#[tokio::test]
async fn a_quiesced_snapshot_stops_the_containers_and_lets_them_go_on() {
    let project = Project::new();
    project.store().await;
    let shim =
        ShimProcess::start(project.folder.path(), "dev", &["sh", "-c", "echo $$ > pid; while :; do sleep 0.01; done"])
            .await;
    let pid = project.folder.path().join("workspace/pid");
    let pid: u32 = eventually(|| std::fs::read_to_string(&pid).ok()?.trim().parse().ok()).await;
    assert_eq!(std::fs::read_to_string(project.folder.path().join("shim.secret")).unwrap(), SECRET);
    let mut flags = [serve_flags(&project.pki), project.flags()].concat();
    flags.push(("--shim-secret-file".to_owned(), project.folder.path().join("shim.secret").display().to_string()));
    flags.push(("--shim".to_owned(), format!("dev={}", shim.socket.display())));
    let agent = AgentProcess::with_flags(&flags).await;
    let mut client = project.client(&agent).await;
    std::fs::write(project.workspace().join("file"), "x").unwrap();

    let quiesced = |hold_ms| CreateSnapshotRequest {
        consistency: SnapshotConsistency::Quiesced.into(),
        hold_ms,
        ..CreateSnapshotRequest::default()
    };
    let create = async |client: &mut crate::snapshot_project::Client, hold_ms| {
        let events = all(client.create(quiesced(hold_ms)).await.unwrap().into_inner()).await.unwrap();
        assert!(matches!(events.last().unwrap().event, Some(Event::Committed(_))), "{events:?}");
    };
    create(&mut client, 0).await;
    assert_ne!(state(pid), 'T');
    create(&mut client, 60_000).await;
    assert_eq!(state(pid), 'T', "held after the commit");
    let token = project.pki.token(&project.pki.capability(Verb::ALL));
    let mut status = AgentServiceClient::with_interceptor(agent.channel(&project.pki).await, Bearer::new(&token));
    assert!(status.thaw(ThawContainersRequest {}).await.unwrap().into_inner().was_frozen);
    assert_ne!(state(pid), 'T');

    // A failure lets them go on.
    std::fs::write(project.workspace().join(".remoraignore"), "[z-a]\n").unwrap();
    let fault = all(client.create(quiesced(60_000)).await.unwrap().into_inner()).await.unwrap_err();
    assert_eq!(fault.reason, Reason::PatternInvalid, "{fault}");
    eventually(|| (state(pid) != 'T').then_some(())).await;
    std::fs::remove_file(project.workspace().join(".remoraignore")).unwrap();
    let restore = RestoreSnapshotRequest { snapshot: String::new(), consistency: SnapshotConsistency::Quiesced.into() };
    all(client.restore(restore).await.unwrap().into_inner()).await.unwrap();
    assert_ne!(state(pid), 'T');

    // Where no container can be stopped, that is said.
    let alone = AgentProcess::with_flags(&[serve_flags(&project.pki), project.flags()].concat()).await;
    let mut client = project.client(&alone).await;
    let fault = all(client.create(quiesced(0)).await.unwrap().into_inner()).await.unwrap_err();
    assert_eq!(fault.reason, Reason::FailedPrecondition, "{fault}");
}
