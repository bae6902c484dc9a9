//! Projects that run: made, waited for, and looked at from outside.

use std::path::PathBuf;

use remora_proto::{
    control::v1::{
        Container, CreateProjectRequest, GetProjectRequest, Phase, Project, ProjectSpec, WatchProjectsRequest,
    },
    model::Generation,
};
use remora_tests::{agent::PATIENCE, server::ServerProcess};
use rustix::process::Pid;
use tokio::time::timeout;

/// Makes a project with one idle container and waits until it serves.
pub(crate) async fn run(server: &ServerProcess, name: &str) -> Project {
    let container = Container { name: "dev".to_owned(), ..Container::default() };
    let spec = ProjectSpec { containers: vec![container], ..ProjectSpec::default() };
    let request = CreateProjectRequest { name: name.to_owned(), spec: Some(spec) };
    server.projects().await.create(request).await.unwrap();
    reach(server, name, Phase::Ready).await
}

/// Waits until the project is in `phase`.
pub(crate) async fn reach(server: &ServerProcess, name: &str, phase: Phase) -> Project {
    reach_where(server, name, |project| project.status.as_ref().unwrap().phase() == phase).await
}

/// Waits until `wanted` holds for the project.
pub(crate) async fn reach_where(server: &ServerProcess, name: &str, wanted: impl Fn(&Project) -> bool) -> Project {
    let request = WatchProjectsRequest { name: name.to_owned() };
    let mut events = server.projects().await.watch(request).await.unwrap().into_inner();
    let mut last = None;
    let search = async {
        loop {
            let event = events.message().await.unwrap().expect("a watch goes on");
            if let Some(project) = event.project {
                if wanted(&project) {
                    return project;
                }
                last = Some(project);
            }
        }
    };
    match timeout(PATIENCE, search).await {
        Ok(project) => project,
        Err(_) => panic!("{name} did not get there: {last:#?}\n{:#?}", server.log()),
    }
}

pub(crate) async fn get(server: &ServerProcess, name: &str) -> Project {
    server.projects().await.get(GetProjectRequest { name: name.to_owned() }).await.unwrap().into_inner()
}

pub(crate) fn generation(project: &Project) -> Generation {
    Generation(project.status.as_ref().unwrap().generation)
}

/// The working tree, as the machine sees it.
pub(crate) fn workspace(server: &ServerProcess, project: &Project) -> PathBuf {
    server.folder().join("data/projects").join(&project.id).join("workspace")
}

/// The process of the project's agent.
pub(crate) fn agent_of(server: &ServerProcess, project: &Project) -> Pid {
    let folder = server.folder().join("data/projects").join(&project.id);
    let serves = |pid: &Pid| {
        let line = std::fs::read(format!("/proc/{}/cmdline", pid.as_raw_nonzero())).unwrap_or_default();
        let words: Vec<_> = line.split(|byte| *byte == 0).collect();
        words.first().is_some_and(|word| word.ends_with(b"remora-agent")) && words.get(1) == Some(&&b"serve"[..])
    };
    let found: Vec<Pid> = remora_tests::server::processes_of(&folder).into_iter().filter(serves).collect();
    assert_eq!(found.len(), 1, "one agent: {found:?}");
    found[0]
}
