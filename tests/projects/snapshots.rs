//! A project's snapshots as its server makes them: by themselves, before and
//! after a restore, and after its end.

use std::fs;

use remora_control_plane_runtime::{AgentHandle, ChangeKind};
use remora_proto::agent::v1::{
    CommandSpec, CreateSnapshotRequest, ListSnapshotsRequest, RunRequest, SnapshotInfo, command_spec,
    exec_service_client::ExecServiceClient, snapshot_service_client::SnapshotServiceClient,
};
use remora_proto_model::{
    Verb,
    project::{Container, Desired, Phase, Project, ProjectSpec, SnapshotPolicy},
};
use remora_tests::tree::{assert_same, record};
use tonic::Request;

use crate::rig::{Rig, processes, shell};

/// A project that does nothing by itself, with a snapshot every ten seconds.
async fn still(rig: &Rig) -> Project {
    named(rig, "still").await
}

async fn named(rig: &Rig, name: &str) -> Project {
    let container = Container { command: Vec::new(), ..shell("") };
    let snapshots = SnapshotPolicy { interval_seconds: 10, keep_last: 1, ..SnapshotPolicy::default() };
    let spec = ProjectSpec { containers: vec![container], snapshots, ..ProjectSpec::default() };
    let project = rig.projects.create(name.parse().unwrap(), spec).await.unwrap();
    rig.reaches(project.id, Phase::Ready).await
}

fn authorised<T>(agent: &AgentHandle, verb: Verb, message: T) -> Request<T> {
    let token = agent.token("test", &[verb], None, None, std::time::Duration::from_secs(60)).unwrap().token;
    let mut request = Request::new(message);
    request.metadata_mut().insert("authorization", format!("Bearer {token}").parse().unwrap());
    request
}

/// What the agent lists, oldest first.
async fn listed(rig: &Rig, project: &Project) -> Vec<SnapshotInfo> {
    let agent = rig.projects.agent(project.id).await.unwrap();
    let mut client = SnapshotServiceClient::new(agent.channel.clone());
    let request = authorised(&agent, Verb::SnapshotRead, ListSnapshotsRequest::default());
    client.list(request).await.unwrap().into_inner().snapshots
}

fn sequence(project: &Project) -> u64 {
    project.status.head.as_ref().map_or(0, |head| head.sequence)
}

/// Snapshots come by themselves while something changes, old ones go, and a tree
/// that does not change makes none.
#[tokio::test(flavor = "multi_thread")]
async fn they_come_with_changes_and_old_ones_go() {
    let rig = Rig::with(|config| config.prune_interval = std::time::Duration::from_secs(1)).await;
    let project = still(&rig).await;
    let mut before = sequence(&project);
    for round in 0..3 {
        fs::write(rig.workspace(project.id).join("file"), format!("round {round}")).unwrap();
        let after = rig.becomes(project.id, |project| sequence(project) > before).await;
        before = sequence(&after);
    }
    let labels = listed(&rig, &project).await.pop().unwrap().labels;
    assert_eq!(labels.get("reason").map(String::as_str), Some("periodic"), "{labels:?}");
    let quiet = rig.projects.get(project.id).unwrap().status.head.unwrap().committed_ms + 25_000;
    // Two more times are over when the agent has measured this much later that nothing is unsaved.
    let after = rig.becomes(project.id, |project| project.status.durability.measured_ms > quiet).await;
    assert_eq!(after.status.durability.dirty_files, 0);
    assert_eq!(sequence(&after), before, "a snapshot of nothing new");
    let left = listed(&rig, &project).await;
    assert_eq!(left.len(), 1, "keep_last is 1: {left:#?}");
    // What is left is whole.
    let tree = record(&rig.workspace(project.id)).unwrap();
    fs::write(rig.workspace(project.id).join("file"), "another").unwrap();
    rig.projects.restore(project.id, &left[0].id).await.unwrap();
    assert_same(&tree, &record(&rig.workspace(project.id)).unwrap());
}

/// A restore waits for the snapshots that somebody else has the agent make, and
/// what it takes away is a snapshot too.
#[tokio::test(flavor = "multi_thread")]
async fn a_restore_waits_for_its_turn_and_loses_nothing() {
    let rig = Rig::new().await;
    let project = still(&rig).await;
    let workspace = rig.workspace(project.id);
    for number in 0..2_000 {
        fs::write(workspace.join(format!("f{number}")), format!("{number}").repeat(100)).unwrap();
    }
    let first = record(&workspace).unwrap();
    let agent = rig.projects.agent(project.id).await.unwrap();
    let create = async |agent: AgentHandle| {
        let mut client = SnapshotServiceClient::new(agent.channel.clone());
        // Every file is read: it takes its time.
        let request = CreateSnapshotRequest { full: true, ..CreateSnapshotRequest::default() };
        let mut events = client.create(authorised(&agent, Verb::SnapshotCreate, request)).await?.into_inner();
        while events.message().await?.is_some() {}
        Ok::<_, tonic::Status>(())
    };
    create(agent.clone()).await.unwrap();
    let wanted = listed(&rig, &project).await.pop().unwrap();
    fs::write(workspace.join("f1"), "changed").unwrap();
    fs::write(workspace.join("new"), "new").unwrap();
    fs::remove_file(workspace.join("f2")).unwrap();
    let second = record(&workspace).unwrap();

    let busy = tokio::spawn(async move {
        let mut made = 0;
        while made < 3 {
            made += u32::from(create(agent.clone()).await.is_ok());
        }
    });
    // It is at work once the newest snapshot is another one.
    loop {
        if listed(&rig, &project).await.pop().unwrap().sequence > wanted.sequence {
            break;
        }
        tokio::task::yield_now().await;
    }
    let restored = rig.projects.restore(project.id, &wanted.id).await.unwrap();
    busy.await.unwrap();
    assert_same(&first, &record(&workspace).unwrap());
    rig.projects.restore(project.id, &restored.before).await.unwrap();
    assert_same(&second, &record(&workspace).unwrap());
}

/// Deleted without a purge, a project is gone from here, and what it held is whole on the store.
#[tokio::test(flavor = "multi_thread")]
async fn a_deleted_project_leaves_its_snapshots() {
    let rig = Rig::new().await;
    let project = still(&rig).await;
    fs::write(rig.workspace(project.id).join("file"), "kept").unwrap();
    let last = deleted(&rig, &project, false).await;
    let objects = rig.objects().await;
    let of = |kind: &str| objects.iter().filter(|key| key.contains(&format!("{}/{kind}", project.id))).count();
    let roots = usize::try_from(sequence(&last)).unwrap();
    assert!(of("packs/") > 0 && of("roots/") >= roots.max(1) && of("tombstone") == 1, "{objects:#?}");
}

/// With a purge they go with it, of one that runs and of one that sleeps, and nobody else's.
#[tokio::test(flavor = "multi_thread")]
async fn a_purged_project_leaves_nothing() {
    let rig = Rig::new().await;
    let (runs, sleeps, stays) = (still(&rig).await, named(&rig, "sleeps").await, named(&rig, "stays").await);
    for project in [&runs, &sleeps, &stays] {
        fs::write(rig.workspace(project.id).join("file"), "here").unwrap();
        rig.wants(project.id, Desired::Hibernated, Phase::Hibernated).await;
    }
    rig.wants(runs.id, Desired::Running, Phase::Ready).await;
    let of = |objects: &[String], project: &Project| {
        objects.iter().filter(|key| key.contains(&project.id.to_string())).cloned().collect::<Vec<_>>()
    };
    let before = rig.objects().await;
    assert!([&runs, &sleeps, &stays].iter().all(|project| !of(&before, project).is_empty()), "{before:#?}");
    for project in [&runs, &sleeps] {
        deleted(&rig, project, true).await;
    }
    let after = rig.objects().await;
    assert_eq!(after, of(&before, &stays));
    rig.wants(stays.id, Desired::Running, Phase::Ready).await;
    assert_eq!(fs::read_to_string(rig.workspace(stays.id).join("file")).unwrap(), "here");
}

/// Deletes a project and waits until nothing of it is left here; what it was last.
async fn deleted(rig: &Rig, project: &Project, purge: bool) -> Project {
    let (_, mut changes) = rig.projects.watch();
    rig.projects.delete(project.id, purge).await.unwrap();
    let gone = async {
        loop {
            let change = changes.recv().await.unwrap();
            if change.kind == ChangeKind::Deleted {
                return change.project;
            }
        }
    };
    let last = tokio::time::timeout(std::time::Duration::from_secs(60), gone).await.expect("it is deleted in time");
    assert_eq!(processes(&rig.data()), Vec::<i32>::new());
    assert!(!rig.dir(project.id).exists());
    last
}

/// What a server that was killed had received of an archive does not stay.
#[tokio::test(flavor = "multi_thread")]
async fn halves_of_archives_go_with_the_next_server() {
    let mut rig = Rig::new().await;
    let project = still(&rig).await;
    let half = rig.dir(project.id).join("source-1f5f8f34-7c6c-4f43-8c4e-0a8b8d0b8f55.tar");
    let other = rig.dir(project.id).join("resource-1.tar");
    fs::write(&half, "half").unwrap();
    fs::write(&other, "other").unwrap();
    rig.reopen().await;
    assert!(!half.exists() && other.exists());
}

/// Commands that run show in when the project was last active.
#[tokio::test(flavor = "multi_thread")]
async fn a_command_is_activity() {
    let rig = Rig::new().await;
    let project = still(&rig).await;
    let before = rig.projects.get(project.id).unwrap().status.last_activity_ms;
    let agent = rig.projects.agent(project.id).await.unwrap();
    let words = ["echo", "hello"].map(str::to_owned).to_vec();
    let program = command_spec::Program::Argv(remora_proto::agent::v1::Argv { words });
    let command = CommandSpec { program: Some(program), ..CommandSpec::default() };
    let request = RunRequest { command: Some(command), ..RunRequest::default() };
    let mut client = ExecServiceClient::new(agent.channel.clone());
    let began = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_millis();
    client.run(authorised(&agent, Verb::ExecWrite, request)).await.unwrap();
    let after = rig.becomes(project.id, |project| project.status.last_activity_ms > before).await;
    // A second of slack: the agent rounds.
    assert!(u128::from(after.status.last_activity_ms) + 1_000 >= began, "{}", after.status.last_activity_ms);
}
