//! Several at once.

use futures_util::future::join_all;
use remora_proto::control::v1::{Container, CreateProjectRequest, Desired, GetProjectRequest, ProjectSpec};

use crate::{harness::Case, project::Project, remote::projects, target::Target};

/// Projects beside one another: more than a small node holds is no test of the server.
const PROJECTS: usize = 3;

pub(super) fn cases() -> Vec<Case> {
    vec![
        Case::new("many::of_several_who_make_one_name_all_get_the_same_project", one_name),
        Case::new("many::whoever_is_asked_knows_a_project_that_another_one_made", known),
        Case::new("many::projects_live_and_sleep_beside_one_another", beside),
    ]
}

async fn one_name(target: Target) {
    let project = Project::named(&target, "race");
    let container = Container { name: "dev".to_owned(), command: vec!["true".to_owned()], ..Container::default() };
    let image = target.image.clone().unwrap_or_default();
    let spec = ProjectSpec { containers: vec![Container { image, ..container }], ..ProjectSpec::default() };
    let request = || CreateProjectRequest { name: project.name.clone(), spec: Some(spec.clone()) };
    let makers = (0..8).map(async |_| projects(&target).await.create(request()).await);
    let made = join_all(makers).await;
    let ids: Vec<String> = made.into_iter().map(|made| made.expect("creation is repeatable").into_inner().id).collect();
    assert!(ids.iter().all(|id| *id == ids[0]), "{ids:?}");
    // The same name for something else is refused.
    let other = ProjectSpec { display_name: "another".to_owned(), ..spec.clone() };
    let taken =
        projects(&target).await.create(CreateProjectRequest { name: project.name.clone(), spec: Some(other) }).await;
    let fault = crate::remote::refused(taken);
    assert_eq!(fault.reason, remora_proto::model::Reason::AlreadyExists, "{fault}");
    let removed = project.verb("rm", &["--yes"]).await;
    assert_eq!(removed.code, 0, "{removed:?}");
}

/// Connections, more than there are replicas: they are spread over them.
const CONNECTIONS: usize = 8;

async fn known(target: Target) {
    let connections = join_all((0..CONNECTIONS).map(|_| projects(&target))).await;
    for round in 0..5 {
        let project = Project::named(&target, "known");
        let image = target.image.clone().unwrap_or_default();
        let container =
            Container { name: "dev".to_owned(), image, command: vec!["true".to_owned()], ..Container::default() };
        let spec =
            ProjectSpec { containers: vec![container], desired: Desired::Stopped.into(), ..ProjectSpec::default() };
        let request = CreateProjectRequest { name: project.name.clone(), spec: Some(spec) };
        let made = connections[round].clone().create(request).await.expect("it is made").into_inner();
        let asked = connections.iter().cloned().zip([&made.name, &made.id].into_iter().cycle());
        let asked = asked.map(async |(mut server, name)| server.get(GetProjectRequest { name: name.clone() }).await);
        for answer in join_all(asked).await {
            assert_eq!(answer.expect("it is known").into_inner().id, made.id);
        }
        project.verb("rm", &["--yes"]).await.ok();
    }
}

async fn beside(target: Target) {
    let projects = join_all((0..PROJECTS).map(|_| Project::empty(&target, "many", super::IDLE))).await;
    let write = projects.iter().enumerate().map(|(number, project)| async move {
        let lines = (0..4)
            .map(async |line| project.shell(&format!("echo {number}-{line} > file-{line}; cat file-{line}")).await);
        for (line, printed) in join_all(lines).await.into_iter().enumerate() {
            assert_eq!(printed, format!("{number}-{line}\n"));
        }
    });
    join_all(write).await;
    for slept in join_all(projects.iter().map(|project| project.verb("hibernate", &[]))).await {
        slept.ok();
    }
    for woken in join_all(projects.iter().map(|project| project.verb("wake", &[]))).await {
        woken.ok();
    }
    for (number, project) in projects.iter().enumerate() {
        assert_eq!(
            project.shell("cat file-*").await,
            (0..4).map(|line| format!("{number}-{line}\n")).collect::<String>()
        );
    }
    join_all(projects.into_iter().map(Project::remove)).await;
}
