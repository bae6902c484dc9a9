//! kill -9 of the server before and after every step of a start and of a
//! hibernation: the next server brings it to its end, and what was written is there.

use std::{
    env,
    os::unix::process::ExitStatusExt as _,
    path::PathBuf,
    process::{Command, Stdio},
};

use remora_proto_model::project::{Desired, Phase, ProjectSpec};

use crate::rig::{Rig, counter, endpoint, open, processes};

/// Names the data folder in the child process, which serves it until it is killed.
const DATA: &str = "REMORA_TEST_SERVER_DATA";
/// URL and prefix of its store.
const STORE: &str = "REMORA_TEST_SERVER_STORE";
/// What it is to want of every project.
const WANT: &str = "REMORA_TEST_SERVER_WANT";

/// Not a test of its own: the server that is killed.
#[tokio::test(flavor = "multi_thread")]
async fn the_server_that_is_killed() {
    let Some(data) = env::var_os(DATA) else { return };
    let store = env::var(STORE).unwrap();
    let (url, prefix) = store.split_once(' ').unwrap();
    let projects = open(&PathBuf::from(data), &endpoint(url, prefix)).await;
    let desired = match env::var(WANT).unwrap().as_str() {
        "run" => Desired::Running,
        _ => Desired::Hibernated,
    };
    for project in projects.list(None, 10) {
        projects.set_desired(project.id, desired).await.unwrap();
    }
    std::future::pending::<()>().await;
}

/// Runs that server until it is killed at `failpoint`.
fn serve_until_killed(rig: &Rig, want: &str, failpoint: &str) {
    let url = rig.store.endpoint.as_deref().unwrap();
    let status = Command::new(env::current_exe().unwrap())
        .args(["--exact", "killed::the_server_that_is_killed"])
        .env(DATA, rig.data())
        .env(STORE, format!("{url} {}", rig.store.prefix))
        .env(WANT, want)
        .env("REMORA_FAILPOINT", failpoint)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .unwrap();
    assert_eq!(status.signal(), Some(9), "{failpoint} was not reached: {status}");
}

async fn away_and_back(rig: &mut Rig, want: &'static str, failpoint: String) {
    rig.reopen_after(|rig| serve_until_killed(rig, want, &failpoint)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a063_a_hibernation_that_is_cut_anywhere_ends_and_loses_nothing() {
    let mut rig = Rig::new().await;
    let project = rig.counter().await;
    for step in ["Save", "ReadBack", "Condemn", "Stop", "Dehydrate", "RemoveTree"] {
        for when in ["before", "after"] {
            let generation = rig.reaches(project.id, Phase::Ready).await.status.generation;
            let count = rig.count(project.id);
            away_and_back(&mut rig, "hibernate", format!("{step}:{when}")).await;
            rig.reaches(project.id, Phase::Hibernated).await;
            assert_eq!(processes(&rig.data()), Vec::<i32>::new(), "{step}:{when}");
            assert!(!rig.workspace(project.id).exists(), "{step}:{when}");
            let awake = rig.wants(project.id, Desired::Running, Phase::Ready).await;
            assert!(awake.status.generation > generation);
            assert!(rig.count(project.id) >= count, "{step}:{when}: {} after {count}", rig.count(project.id));
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a063_a_start_that_is_cut_anywhere_ends_with_one_pod() {
    let mut rig = Rig::new().await;
    let spec = ProjectSpec { containers: vec![counter()], ..ProjectSpec::default() };
    let project = rig.projects.create("counter".parse().unwrap(), spec).await.unwrap();
    rig.reaches(project.id, Phase::Ready).await;
    for step in ["RaiseGeneration", "Hydrate", "StartPod"] {
        for when in ["before", "after"] {
            let asleep = rig.wants(project.id, Desired::Hibernated, Phase::Hibernated).await;
            away_and_back(&mut rig, "run", format!("{step}:{when}")).await;
            let awake = rig.reaches(project.id, Phase::Ready).await;
            assert!(awake.status.generation > asleep.status.generation, "{step}:{when}");
            assert_eq!(crate::rig::process_of(&rig.data(), "serve").len(), 1, "{step}:{when}");
            assert_eq!(crate::rig::process_of(&rig.data(), "shim").len(), 1, "{step}:{when}");
            assert_eq!(crate::rig::process_of(&rig.data(), "hydrate").len(), 0, "{step}:{when}");
        }
    }
}
