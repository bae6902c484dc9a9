//! `serve --final-snapshot`: what is there when the agent is told to stop is in the
//! store, or it is said why not. And SIGUSR1, which gets it there before.

use std::{
    fs,
    time::{Duration, Instant},
};

use remora_proto::agent::v1::CreateSnapshotRequest;
use remora_tests::{
    agent::{AgentProcess, role_command, serve_command, serve_flags},
    eventually::eventually,
    pod::ShimProcess,
    seaweed::seaweed,
    store_way::Way,
    tree::{assert_same, record},
};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use crate::{snapshot_hydrate::create, snapshot_project::Project};

/// `serve` as the sidecar runs it, over the store at `endpoint`.
fn flags(project: &Project, endpoint: &str, budget: u64) -> Vec<(String, String)> {
    let mut flags = [serve_flags(&project.pki), project.flags()].concat();
    flags.iter_mut().find(|(flag, _)| flag == "--s3-endpoint").unwrap().1 = endpoint.to_owned();
    let message = project.folder.path().join("last-word").display().to_string();
    for (flag, value) in [
        ("--final-snapshot", String::new()),
        ("--flush-budget", budget.to_string()),
        ("--termination-message", message),
    ] {
        flags.push((flag.to_owned(), value));
    }
    flags
}

fn message(project: &Project) -> Value {
    serde_json::from_slice(&fs::read(project.folder.path().join("last-word")).unwrap()).unwrap()
}

async fn serving(project: &Project) -> AgentProcess {
    project.store().await;
    AgentProcess::with_flags(&flags(project, &seaweed().endpoint, 20)).await
}

/// Ends it; the exit code and the last word.
async fn ended(project: &Project, agent: &mut AgentProcess) -> (Option<i32>, Value) {
    agent.terminate();
    let code = agent.exited().await.code();
    (code, message(project))
}

#[tokio::test]
async fn what_was_written_last_is_committed_and_nothing_twice() {
    let project = Project::new();
    fs::create_dir_all(project.workspace().join("src")).unwrap();
    fs::write(project.workspace().join("src/main.ts"), "1").unwrap();
    let mut agent = serving(&project).await;
    fs::write(project.workspace().join("src/last.ts"), "written before the end").unwrap();
    let (code, first) = ended(&project, &mut agent).await;
    assert_eq!((code, first["outcome"].as_str()), (Some(0), Some("committed")), "{first}");
    let id = first["snapshot"]["id"].as_str().unwrap().to_owned();
    assert!(!id.is_empty() && first["snapshot"]["files"] == 2 && first["snapshot"]["generation"] == 3, "{first}");

    let mut agent = serving(&project).await;
    let (code, second) = ended(&project, &mut agent).await;
    assert_eq!((code, second["outcome"].as_str()), (Some(0), Some("unchanged")), "{second}");
    assert_eq!(second["snapshot"]["id"].as_str(), Some(id.as_str()));

    let other = Project::at(project.prefix(), None);
    let woken = other.run("hydrate", 4, &[]).await;
    assert_eq!(woken.message["snapshot"]["id"].as_str(), Some(id.as_str()), "{}", woken.log);
    assert_same(&record(&project.workspace()).unwrap(), &record(&other.workspace()).unwrap());
}

#[tokio::test]
async fn a_store_that_comes_back_within_the_budget_gets_it() {
    let project = Project::new();
    project.store().await;
    let way = Way::new(&seaweed().endpoint).await;
    let mut agent = AgentProcess::with_flags(&flags(&project, &way.url, 25)).await;
    fs::write(project.workspace().join("file"), "x").unwrap();
    way.open(false);
    agent.terminate();
    agent.log_line(|line| line["fields"]["message"].as_str().unwrap_or_default().contains("trying again")).await;
    way.open(true);
    let code = agent.exited().await.code();
    assert_eq!((code, message(&project)["outcome"].as_str()), (Some(0), Some("committed")), "{}", message(&project));
}

#[tokio::test]
async fn a_store_that_stays_away_is_told_when_the_budget_is_over() {
    let project = Project::new();
    project.store().await;
    let way = Way::new(&seaweed().endpoint).await;
    way.open(false);
    let mut agent = AgentProcess::with_flags(&flags(&project, &way.url, 12)).await;
    fs::write(project.workspace().join("file"), "x").unwrap();
    let began = Instant::now();
    let (code, told) = ended(&project, &mut agent).await;
    let took = began.elapsed();
    assert_eq!((code, told["outcome"].as_str()), (Some(69), Some("failed")), "{told}");
    assert_eq!(told["reason"].as_str(), Some("STORE_UNAVAILABLE"), "{told}");
    // It tried until then, and not longer: the machine may be slow, and the pod's end is not far.
    assert!(took >= Duration::from_secs(12) && took < Duration::from_secs(17), "{took:?}");
}

#[tokio::test]
async fn a_newer_owner_is_told_at_once_and_keeps_its_head() {
    let project = Project::new();
    fs::write(project.workspace().join("file"), "old").unwrap();
    let mut agent = serving(&project).await;
    let mut client = project.client(&agent).await;
    create(&mut client).await.unwrap();
    let newer = Project::at(project.prefix(), None);
    assert_eq!(newer.run("hydrate", 4, &[]).await.code, Some(0));
    fs::write(project.workspace().join("file"), "written by the old one").unwrap();
    let began = Instant::now();
    let (code, told) = ended(&project, &mut agent).await;
    assert_eq!((code, told["reason"].as_str()), (Some(75), Some("LINEAGE_FENCED")), "{told}");
    assert!(began.elapsed() < Duration::from_secs(15), "it is final");
    let woken = Project::at(project.prefix(), None);
    assert_eq!(woken.run("hydrate", 5, &[]).await.code, Some(0));
    assert_eq!(fs::read(woken.workspace().join("file")).unwrap(), b"old");
}

/// A hydrate that did not end, a workspace that vanished, and one that comes from nothing.
#[tokio::test]
async fn what_is_not_whole_never_becomes_a_snapshot() {
    let project = Project::new();
    fs::write(project.workspace().join("file"), "whole").unwrap();
    let mut agent = serving(&project).await;
    let (_, first) = ended(&project, &mut agent).await;
    let head = first["snapshot"]["id"].as_str().unwrap().to_owned();

    let half: [fn(&Project); 3] = [
        |project| fs::write(project.state().join("restoring"), "1-3-00").unwrap(),
        |project| fs::remove_dir_all(project.workspace()).unwrap(),
        |project| fs::remove_file(project.state().join("origin.json")).unwrap(),
    ];
    for (case, spoil) in half.into_iter().enumerate() {
        spoil(&project);
        if project.workspace().exists() {
            fs::write(project.workspace().join("half"), "of something").unwrap();
        }
        let mut agent = serving(&project).await;
        let (code, told) = ended(&project, &mut agent).await;
        assert_eq!((code, told["reason"].as_str()), (Some(69), Some("FAILED_PRECONDITION")), "{case}: {told}");
        let woken = project.run("hydrate", 3, &[]).await;
        assert_eq!(woken.message["outcome"].as_str(), Some("restored"), "{case}: {}", woken.log);
        assert_eq!(woken.message["snapshot"]["id"].as_str(), Some(head.as_str()), "{case}");
        assert_eq!(fs::read(project.workspace().join("file")).unwrap(), b"whole");
        assert!(!project.workspace().join("half").exists(), "{case}");
    }
}

/// A caller's snapshot that runs when the agent is told to stop is finished, although the
/// caller is gone by then.
#[tokio::test]
async fn a_snapshot_that_runs_meanwhile_is_finished_first() {
    let project = Project::new();
    let mut agent = serving(&project).await;
    let mut client = project.client(&agent).await;
    for number in 0..3_000 {
        let folder = project.workspace().join(format!("d{}", number / 100));
        fs::create_dir_all(&folder).unwrap();
        fs::write(folder.join(format!("f{number}")), format!("content {number}")).unwrap();
    }
    let request =
        CreateSnapshotRequest { labels: [("by".to_owned(), "caller".to_owned())].into(), ..Default::default() };
    let mut events = client.create(request).await.unwrap().into_inner();
    events.message().await.unwrap().expect("it says how far it is");
    agent.terminate();
    agent.log_line(|line| line["fields"]["message"] == "told to stop; draining").await;
    drop((events, client));
    let code = agent.exited().await.code();
    let told = message(&project);
    assert_eq!((code, told["outcome"].as_str()), (Some(0), Some("unchanged")), "{told}");
    assert_eq!(told["snapshot"]["sequence"], 1, "the caller's is the head: {told}");
}

fn precopy(pid: u32) -> tokio::process::Command {
    role_command("precopy", &[("--pid".to_owned(), pid.to_string())])
}

#[tokio::test]
async fn precopy_gets_it_to_the_store_while_the_agent_serves() {
    let project = Project::new();
    let mut agent = serving(&project).await;
    for round in 1..=2 {
        fs::write(project.workspace().join("file"), format!("round {round}")).unwrap();
        assert!(precopy(agent.pid()).output().await.unwrap().status.success());
        let line = agent.log_line(|line| line["fields"]["message"] == "precopy: the workspace is in the store").await;
        assert!(line["fields"]["id"].as_str().unwrap().starts_with(&format!("{round}-3-")), "{line}");
    }
    let (code, told) = ended(&project, &mut agent).await;
    assert_eq!((code, told["outcome"].as_str()), (Some(0), Some("unchanged")), "{told}");
    assert_eq!(told["snapshot"]["sequence"], 2, "{told}");
}

/// The kubelet runs the hook, then stops the container: the two snapshots do not meet.
#[tokio::test]
async fn precopy_and_the_end_right_after_it_are_no_conflict() {
    let project = Project::new();
    let mut agent = serving(&project).await;
    for number in 0..200 {
        fs::write(project.workspace().join(format!("file-{number}")), format!("content {number}")).unwrap();
    }
    let pid = Pid::from_raw(i32::try_from(agent.pid()).unwrap()).unwrap();
    kill_process(pid, Signal::USR1).unwrap();
    kill_process(pid, Signal::USR1).unwrap();
    let (code, told) = ended(&project, &mut agent).await;
    assert_eq!((code, told["reason"].as_str()), (Some(0), None), "{told}");
    let woken = Project::at(project.prefix(), None);
    assert_eq!(woken.run("hydrate", 4, &[]).await.code, Some(0));
    assert_same(&record(&project.workspace()).unwrap(), &record(&woken.workspace()).unwrap());
}

/// Where a container without a shim takes all of the pod's time, the agent's own would be
/// over before it is asked: it ends with the shims.
#[tokio::test]
async fn in_a_pod_that_ends_it_stops_when_the_shims_have_ended() {
    let project = Project::new();
    project.store().await;
    let folder = project.folder.path();
    let script = format!(
        "cd {}; trap 'echo bye > last; rm up; exit 0' TERM; echo up > up; while :; do sleep 0.02; done",
        project.workspace().display()
    );
    let up = || project.workspace().join("up").exists().then_some(());
    let mut shim = ShimProcess::start(folder, "dev", &["sh", "-c", &script]).await;
    eventually(up).await;
    let mut flags = flags(&project, &seaweed().endpoint, 20);
    for (flag, value) in [
        ("--shim-secret-file", folder.join("shim.secret").display().to_string()),
        ("--shim", format!("dev={}", shim.socket.display())),
        ("--stop-with-shims", String::new()),
    ] {
        flags.push((flag.to_owned(), value));
    }
    let mut agent = AgentProcess::with_flags(&flags).await;
    // A container that ends in a pod that does not is started anew, and the agent goes on.
    shim.signal(Signal::TERM);
    assert_eq!(shim.exited().await.code(), Some(0));
    let shim = ShimProcess::start(folder, "dev", &["sh", "-c", &script]).await;
    eventually(up).await;
    fs::remove_file(project.workspace().join("last")).unwrap();

    assert!(precopy(agent.pid()).output().await.unwrap().status.success());
    agent.log_line(|line| line["fields"]["message"] == "precopy: the workspace is in the store").await;
    shim.signal(Signal::TERM);
    assert_eq!(agent.exited().await.code(), Some(0), "nobody else asked it to");
    let told = message(&project);
    assert_eq!(told["outcome"].as_str(), Some("committed"), "{told}");
    let woken = Project::at(project.prefix(), None);
    assert_eq!(woken.run("hydrate", 4, &[]).await.code, Some(0));
    assert_eq!(fs::read_to_string(woken.workspace().join("last")).unwrap(), "bye\n");
}

#[tokio::test]
async fn precopy_ends_no_process_that_is_no_agent() {
    let mut sleeper = tokio::process::Command::new("sleep").arg("1000").kill_on_drop(true).spawn().unwrap();
    let refused = precopy(sleeper.id().unwrap()).output().await.unwrap();
    let log = String::from_utf8(refused.stderr).unwrap();
    assert_eq!(refused.status.code(), Some(69), "{log}");
    assert!(log.contains("FAILED_PRECONDITION") && log.contains("--pid"), "{log}");
    assert!(sleeper.try_wait().unwrap().is_none(), "it lives on");
    // An agent without a store takes note and serves on.
    let folder = tempfile::tempdir().unwrap();
    let pki = remora_tests::pki::Pki::new(folder.path());
    let mut agent = AgentProcess::start(&pki).await;
    assert!(precopy(agent.pid()).output().await.unwrap().status.success());
    agent.log_line(|line| line["level"] == "WARN").await;
    agent.terminate();
    assert_eq!(agent.exited().await.code(), Some(0));
}

#[tokio::test]
async fn a_last_snapshot_without_a_store_is_refused_at_the_start() {
    let project = Project::new();
    let mut told = serve_flags(&project.pki);
    told.push(("--final-snapshot".to_owned(), String::new()));
    let output = serve_command(&told).output().await.unwrap();
    let log = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(78), "{log}");
    for flag in ["--s3-bucket", "--workspace", "--state-dir"] {
        assert!(log.contains(flag), "{log}");
    }
}
