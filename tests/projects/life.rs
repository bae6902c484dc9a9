//! A project's life where nothing fails but the agent.

use std::{
    fs,
    os::unix::fs::{PermissionsExt as _, symlink},
};

use remora_proto_model::{
    Generation, Reason,
    project::{Condition, ConditionType, Container, Desired, Phase, ProjectSpec},
};
use remora_tests::{
    seaweed::SECRET_KEY,
    tree::{assert_same, record},
};
use rustix::process::{Pid, Signal, kill_process};

use crate::rig::{Rig, counter, process_of, processes};

/// Files of the kinds that a workspace has.
fn fill(workspace: &std::path::Path) {
    fs::create_dir_all(workspace.join("src/deep")).unwrap();
    fs::write(workspace.join("src/deep/main.rs"), "fn main() {}\n").unwrap();
    fs::write(workspace.join("run"), "#!/bin/sh\n").unwrap();
    fs::set_permissions(workspace.join("run"), fs::Permissions::from_mode(0o755)).unwrap();
    fs::hard_link(workspace.join("run"), workspace.join("again")).unwrap();
    symlink("src/deep/main.rs", workspace.join("link")).unwrap();
    fs::write(workspace.join("large"), vec![7; 3_000_000]).unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn asleep_it_is_on_the_store_alone_and_awake_it_is_the_same() {
    let rig = Rig::new().await;
    let mut still = counter();
    still.command.clear();
    let spec = ProjectSpec { containers: vec![still], ..ProjectSpec::default() };
    let project = rig.projects.create("shop".parse().unwrap(), spec.clone()).await.unwrap();
    let project = rig.reaches(project.id, Phase::Ready).await;
    assert_eq!(project.status.generation, Generation(1));
    fill(&rig.workspace(project.id));
    let before = record(&rig.workspace(project.id)).unwrap();

    let asleep = rig.wants(project.id, Desired::Hibernated, Phase::Hibernated).await;
    assert_eq!(processes(&rig.data()), Vec::<i32>::new(), "something still runs");
    assert!(!rig.workspace(project.id).exists());
    let head = asleep.status.head.unwrap();
    let root = format!("projects/{}/roots/", project.id);
    assert!(rig.objects().await.iter().any(|key| key.starts_with(&root)), "{:?}", rig.objects().await);
    let fault = rig.projects.agent(project.id).await.unwrap_err();
    assert_eq!(fault.reason, Reason::ProjectNotReady);

    let awake = rig.wants(project.id, Desired::Running, Phase::Ready).await;
    assert_eq!(awake.status.generation, Generation(2));
    assert!(awake.status.timings.ready_ms >= awake.status.timings.hydrated_ms);
    assert!(awake.status.head.unwrap().sequence >= head.sequence);
    assert_same(&before, &record(&rig.workspace(project.id)).unwrap());
    assert_eq!(rig.projects.create("shop".parse().unwrap(), spec).await.unwrap().id, project.id);
}

/// A command that is a script starts and ends processes while the agent starts.
#[tokio::test(flavor = "multi_thread")]
async fn what_a_start_script_runs_is_no_part_of_the_pod() {
    let rig = Rig::new().await;
    let (_, mut changes) = rig.projects.watch();
    let script = "while :; do sleep 0.01; done";
    let busy = Container { command: ["sh", "-c", script].map(str::to_owned).to_vec(), ..counter() };
    let spec = ProjectSpec { containers: vec![busy], ..ProjectSpec::default() };
    let project = rig.projects.create("busy".parse().unwrap(), spec).await.unwrap();
    for _ in 0..4 {
        let ready = rig.wants(project.id, Desired::Running, Phase::Ready).await;
        rig.wants(project.id, Desired::Stopped, Phase::Stopped).await;
        while let Ok(change) = changes.try_recv() {
            let degraded = |condition: &Condition| condition.kind == ConditionType::Degraded && condition.status;
            let told = change.project.status.conditions.iter().find(|condition| degraded(condition));
            assert_eq!(told, None, "on the way to {:?}", ready.status.generation);
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn stopped_it_keeps_its_tree_and_starts_from_it() {
    let rig = Rig::new().await;
    let project = rig.counter().await;
    rig.wants(project.id, Desired::Stopped, Phase::Stopped).await;
    assert_eq!(processes(&rig.data()), Vec::<i32>::new());
    let count = rig.count(project.id);
    assert!(count > 0);
    // Whoever owns the disk may work in a tree that is stopped.
    fs::write(rig.workspace(project.id).join("by hand"), "kept").unwrap();
    rig.wants(project.id, Desired::Running, Phase::Ready).await;
    rig.wants(project.id, Desired::Hibernated, Phase::Hibernated).await;
    rig.wants(project.id, Desired::Running, Phase::Ready).await;
    assert!(rig.count(project.id) >= count);
    assert_eq!(fs::read_to_string(rig.workspace(project.id).join("by hand")).unwrap(), "kept");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_agent_is_back_and_the_container_did_not_notice() {
    let rig = Rig::new().await;
    let project = rig.counter().await;
    let shims = process_of(&rig.data(), "shim");
    let agents = process_of(&rig.data(), "serve");
    assert_eq!((shims.len(), agents.len()), (1, 1));
    kill_process(Pid::from_raw(agents[0]).unwrap(), Signal::KILL).unwrap();
    rig.becomes(project.id, |_| process_of(&rig.data(), "serve").first().is_some_and(|pid| *pid != agents[0])).await;
    let back = rig.reaches(project.id, Phase::Ready).await;
    assert_eq!(back.status.generation, project.status.generation);
    assert_eq!(process_of(&rig.data(), "shim"), shims);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_comes_back_finds_what_runs() {
    let mut rig = Rig::new().await;
    let project = rig.counter().await;
    let before = (process_of(&rig.data(), "shim"), process_of(&rig.data(), "serve"));
    rig.reopen().await;
    let found = rig.reaches(project.id, Phase::Ready).await;
    assert_eq!(found.status.generation, project.status.generation);
    assert!(found.resource_version > project.resource_version);
    assert_eq!((process_of(&rig.data(), "shim"), process_of(&rig.data(), "serve")), before);
}

#[tokio::test(flavor = "multi_thread")]
async fn credentials_reach_the_agent_alone() {
    let rig = Rig::new().await;
    rig.counter().await;
    let secret = SECRET_KEY.as_bytes();
    let agents = process_of(&rig.data(), "serve");
    for pid in processes(&rig.data()) {
        let read = |what: &str| fs::read(format!("/proc/{pid}/{what}")).unwrap_or_default();
        let holds = |bytes: &[u8]| bytes.windows(secret.len()).any(|window| window == secret);
        assert!(!holds(&read("cmdline")), "{pid} has it in its arguments");
        assert_eq!(holds(&read("environ")), agents.contains(&pid), "{pid}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn deleted_nothing_of_it_is_left() {
    let rig = Rig::new().await;
    let project = rig.counter().await;
    let (_, mut changes) = rig.projects.watch();
    rig.projects.delete(project.id, true).await.unwrap();
    let gone =
        async { while changes.recv().await.unwrap().kind != remora_control_plane_runtime::ChangeKind::Deleted {} };
    tokio::time::timeout(std::time::Duration::from_secs(60), gone).await.expect("it is deleted in time");
    assert_eq!(rig.projects.get(project.id).unwrap_err().reason, Reason::NotFound);
    assert_eq!(processes(&rig.data()), Vec::<i32>::new());
    assert!(!rig.dir(project.id).exists());
    assert_eq!(rig.objects().await, Vec::<String>::new());
    // The name is free again.
    rig.counter().await;
}
