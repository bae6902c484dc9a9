//! What is refused, with the field that is wrong.

use remora_proto::{
    control::v1::{Container, CreateProjectRequest, GetProjectRequest, ProjectSpec},
    model::Reason,
};

use crate::{
    harness::Case,
    project::Project,
    remote::{projects, refused},
    target::Target,
};

pub(super) fn cases() -> Vec<Case> {
    vec![
        Case::new("input::a_spec_that_cannot_be_is_refused_and_makes_nothing", specs),
        Case::new("input::a_key_that_is_none_opens_nothing", keys),
        Case::new("input::what_is_not_there_is_said", missing),
    ]
}

async fn specs(target: Target) {
    let dev = || Container { name: "dev".to_owned(), command: vec!["true".to_owned()], ..Container::default() };
    let spec = |container: Container| ProjectSpec { containers: vec![container], ..ProjectSpec::default() };
    let name = Project::named(&target, "bad").name;
    let long = "x".repeat(64);
    let rows = [
        (long.as_str(), spec(dev()), "name"),
        ("Upper_Case", spec(dev()), "name"),
        ("", spec(dev()), "name"),
        (&name, ProjectSpec { containers: vec![dev(), dev()], ..ProjectSpec::default() }, "container"),
        (&name, spec(Container { name: "../x".to_owned(), ..dev() }), "name"),
        (&name, spec(Container { workdir: "../../etc".to_owned(), ..dev() }), "workdir"),
        (&name, spec(Container { image: "not an image".to_owned(), ..dev() }), "image"),
        (&name, spec(Container { env: [("A=B".to_owned(), String::new())].into(), ..dev() }), "env"),
    ];
    let mut client = projects(&target).await;
    for (name, spec, field) in rows {
        let request = CreateProjectRequest { name: name.to_owned(), spec: Some(spec.clone()) };
        let fault = refused(client.create(request).await);
        assert_eq!(fault.reason, Reason::InvalidArgument, "{name:?} {spec:?}: {fault}");
        assert!(fault.message.contains(field), "no {field} in {fault}");
    }
    let fault = refused(client.get(GetProjectRequest { name }).await);
    assert_eq!(fault.reason, Reason::NotFound, "{fault}");
}

async fn keys(target: Target) {
    for key in ["", "wrong", &format!("{}x", target.key)] {
        let stranger = Target { key: key.to_owned(), ..target.clone() };
        let fault = refused(projects(&stranger).await.get(GetProjectRequest { name: "any".to_owned() }).await);
        let unknown = [Reason::CredentialsInvalid, Reason::CredentialsMissing];
        assert!(unknown.contains(&fault.reason), "{fault}");
    }
}

async fn missing(target: Target) {
    let project = Project::named(&target, "none");
    for verb in [&["status"][..], &["hibernate"], &["wake"], &["stop"], &["exec", "--", "true"]] {
        let ran = project.verb(verb[0], &verb[1..]).await;
        assert!(ran.code != 0 && ran.stderr.contains(&project.name), "{verb:?}: {ran:?}");
    }
}
