//! What runs of a project: brought back, swept, ended.

use std::{fs, os::unix::fs::symlink};

use remora_proto_model::{
    Generation, Reason,
    project::{ConditionType, Desired, Phase},
};
use remora_tests::{binaries::binary, eventually::eventually};

use crate::rig::{Rig, condition, kill, process_of, processes};

/// A shim that was killed comes back with its container's command, once.
#[tokio::test(flavor = "multi_thread")]
async fn a_killed_shim_is_back_and_its_command_runs_once() {
    let rig = Rig::new().await;
    let project = rig.runs("echo $$ >>pids; exec sleep 100000").await;
    let pids = || -> Vec<i32> {
        let text = fs::read_to_string(rig.workspace(project.id).join("pids")).unwrap_or_default();
        text.lines().map(|line| line.parse().unwrap()).collect()
    };
    eventually(|| (pids().len() == 1).then_some(())).await;
    let (shim, agent) = (process_of(&rig.data(), "shim")[0], process_of(&rig.data(), "serve"));
    kill(shim);
    eventually(|| (pids().len() == 2).then_some(())).await;
    let back = rig.becomes(project.id, |project| project.status.containers.iter().any(|it| it.starts == 2)).await;
    let back = rig.becomes(back.id, |project| project.status.phase == Phase::Ready).await;
    assert_eq!(back.status.generation, project.status.generation);
    let (first, second) = (pids()[0], pids()[1]);
    let running = processes(&rig.data());
    assert!(!running.contains(&first), "what the first shim left runs on: {running:?}");
    assert!(running.contains(&second) && process_of(&rig.data(), "shim") != [shim], "{running:?}");
    assert_eq!(process_of(&rig.data(), "serve"), agent, "the agent had no part in it");
}

/// An agent that cannot be started is said with its reason, and the container runs
/// on; the next attempt that can, does.
#[tokio::test(flavor = "multi_thread")]
async fn an_agent_that_cannot_start_is_said_and_started_once_it_can() {
    // The data folder comes with its parent.
    let rig = Rig::with(|config| {
        config.agent_binary = config.data_dir.with_file_name("remora-agent");
        symlink(binary("remora-agent"), &config.agent_binary).unwrap();
    })
    .await;
    assert_eq!(rig.projects.agent_version().await.unwrap(), env!("CARGO_PKG_VERSION"));
    let project = rig.counter().await;
    let shims = process_of(&rig.data(), "shim");
    fs::remove_file(rig.folder.path().join("remora-agent")).unwrap();
    kill(process_of(&rig.data(), "serve")[0]);
    let degraded = |project: &remora_proto_model::project::Project| {
        condition(project, ConditionType::Degraded).is_some_and(|it| it.message.contains("No such file"))
    };
    let down = rig.becomes(project.id, degraded).await;
    assert_eq!(condition(&down, ConditionType::Degraded).unwrap().reason, Reason::NotFound.as_str());
    assert!(condition(&down, ConditionType::Ready).is_none(), "{down:#?}");
    assert!(rig.projects.agent(project.id).await.unwrap_err().message.contains("No such file"));
    assert_eq!(rig.projects.agent_version().await.unwrap_err().reason, Reason::NotFound);
    let count = rig.count(project.id);
    rig.becomes(project.id, |_| rig.count(project.id) > count).await;

    symlink(binary("remora-agent"), rig.folder.path().join("remora-agent")).unwrap();
    let up = rig.becomes(project.id, |project| project.status.phase == Phase::Ready).await;
    assert!(condition(&up, ConditionType::Degraded).is_none(), "{up:#?}");
    assert_eq!(process_of(&rig.data(), "shim"), shims);
}

/// Server, agent and shim are killed; what the container's command started runs on
/// unwatched. The next server ends it before it starts anything.
#[tokio::test(flavor = "multi_thread")]
async fn what_a_killed_pod_left_is_swept_before_the_next_start() {
    let mut rig = Rig::new().await;
    let project = rig.runs("setsid sleep 100000 & echo $! >daemon; exec sleep 100000").await;
    let daemon = || fs::read_to_string(rig.workspace(project.id).join("daemon")).ok()?.trim().parse::<i32>().ok();
    let daemon = eventually(daemon).await;
    rig.reopen_after(|rig| {
        for role in ["serve", "shim"] {
            process_of(&rig.data(), role).into_iter().for_each(kill);
        }
        assert!(processes(&rig.data()).contains(&daemon), "it should outlive its pod");
    })
    .await;
    let next = rig.becomes(project.id, |project| project.status.generation == Generation(2)).await;
    assert!(!processes(&rig.data()).contains(&daemon), "a generation began beside another one's process");
    rig.reaches(next.id, Phase::Ready).await;
    assert_eq!(process_of(&rig.data(), "shim").len(), 1);
}

/// A command that does not end at SIGTERM is told so, has its time, and is killed;
/// what it wrote until then is kept.
#[tokio::test(flavor = "multi_thread")]
async fn a_command_that_ignores_sigterm_is_ended_and_its_last_bytes_are_kept() {
    let rig = Rig::new().await;
    let script = "trap 'echo told >told' TERM; echo up >up; while :; do echo x >>after; sleep 0.1; done";
    let project = rig.runs(script).await;
    eventually(|| rig.workspace(project.id).join("up").exists().then_some(())).await;
    rig.wants(project.id, Desired::Stopped, Phase::Stopped).await;
    assert_eq!(processes(&rig.data()), Vec::<i32>::new());
    let (told, after) = (rig.workspace(project.id).join("told"), rig.workspace(project.id).join("after"));
    assert_eq!(fs::read_to_string(told).unwrap(), "told\n", "it was never asked to end");
    let lines = fs::read_to_string(&after).unwrap().len();
    rig.wants(project.id, Desired::Hibernated, Phase::Hibernated).await;
    rig.wants(project.id, Desired::Running, Phase::Ready).await;
    assert!(fs::read_to_string(&after).unwrap().len() >= lines);
}
