//! Several containers that need each other, on one machine.

use std::{collections::BTreeMap, fs, net::TcpListener};

use remora_proto_model::{
    ProjectId, Reason,
    project::{ConditionType, Container, Dependency, DependencyCondition, Desired, Phase, Port, ProjectSpec},
};
use remora_tests::eventually::eventually;

use crate::rig::{Rig, condition, shell};

fn named(name: &str, script: &str) -> Container {
    Container { name: name.parse().unwrap(), ..shell(script) }
}

fn waits_for(name: &str, condition: DependencyCondition) -> Vec<Dependency> {
    vec![Dependency { name: name.parse().unwrap(), condition }]
}

/// Leaves its name and when its process was made, in ticks of the kernel.
fn tells(name: &str) -> String {
    format!("echo {name} $(cut -d' ' -f22 /proc/$$/stat) >>order")
}

/// When each of the last `count` of the `all` that have begun by now was made: what runs may
/// not have come to its first line.
async fn began(rig: &Rig, project: ProjectId, all: usize, count: usize) -> BTreeMap<String, u64> {
    let file = rig.workspace(project).join("order");
    let told = eventually(|| {
        let told = fs::read_to_string(&file).ok()?;
        (told.ends_with('\n') && told.lines().count() == all).then_some(told)
    })
    .await;
    let of_line = |line: &str| {
        let (name, ticks) = line.split_once(' ').unwrap();
        (name.to_owned(), ticks.parse().unwrap())
    };
    told.lines().skip(all - count).map(of_line).collect()
}

/// `web` begins once the port of `api` takes connections, which begins once `setup` has
/// begun; until then it can be seen whom they wait for, and terminals would open.
#[tokio::test(flavor = "multi_thread")]
async fn containers_begin_in_the_order_of_their_dependencies() {
    let rig = Rig::new().await;
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let serve = format!("until [ -e go ]; do sleep 0.05; done; exec python3 -m http.server {port} --bind 127.0.0.1");
    let sleep = "exec sleep 100000";
    let web = Container {
        depends_on: waits_for("api", DependencyCondition::Healthy),
        ..named("web", &format!("{}; {sleep}", tells("web")))
    };
    let api = Container {
        ports: vec![Port::named("http", port)],
        depends_on: waits_for("setup", DependencyCondition::Started),
        ..named("api", &format!("{}; {serve}", tells("api")))
    };
    let setup = named("setup", &format!("{}; {sleep}", tells("setup")));
    let spec = ProjectSpec { containers: vec![web, api, setup], ..ProjectSpec::default() };
    let project = rig.projects.create("shop".parse().unwrap(), spec).await.unwrap();
    let waiting = rig
        .becomes(project.id, |project| {
            condition(project, ConditionType::Ready).is_some_and(|ready| ready.message.contains("refused"))
        })
        .await;
    rig.projects.agent(project.id).await.unwrap();
    assert_eq!(waiting.status.phase, Phase::Starting, "{waiting:#?}");
    assert!(condition(&waiting, ConditionType::Degraded).is_none(), "{waiting:#?}");
    let ready = condition(&waiting, ConditionType::Ready).unwrap();
    assert!(ready.message.starts_with("web waits for api: port"), "{ready:?}");
    let web = waiting.status.containers.iter().find(|it| it.name.as_str() == "web").unwrap();
    assert!(!web.running && !web.ready && web.ended.is_empty(), "{web:?}");

    fs::write(rig.workspace(project.id).join("go"), "").unwrap();
    let ready = rig.reaches(project.id, Phase::Ready).await;
    assert!(ready.status.containers.iter().all(|it| it.running && it.ready && it.waiting.is_empty()), "{ready:#?}");
    let at = began(&rig, project.id, 3, 3).await;
    assert!(at["setup"] <= at["api"] && at["api"] <= at["web"], "{at:?}");

    // Again after a sleep: what had begun in the start before has not in this one.
    rig.wants(project.id, Desired::Hibernated, Phase::Hibernated).await;
    rig.wants(project.id, Desired::Running, Phase::Ready).await;
    let at = began(&rig, project.id, 6, 3).await;
    assert!(at["setup"] <= at["api"] && at["api"] <= at["web"], "{at:?}");
}

/// A project whose container waits can be put to sleep: nothing waits for the wait.
#[tokio::test(flavor = "multi_thread")]
async fn one_that_waits_in_vain_can_still_be_put_to_sleep() {
    let rig = Rig::new().await;
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let web = Container {
        depends_on: waits_for("api", DependencyCondition::Healthy),
        ..named("web", "echo never >never; exec sleep 100000")
    };
    let api = Container { ports: vec![Port::named("http", port)], ..named("api", "exec sleep 100000") };
    let spec = ProjectSpec { containers: vec![web, api], ..ProjectSpec::default() };
    let project = rig.projects.create("shop".parse().unwrap(), spec).await.unwrap();
    rig.becomes(project.id, |project| project.status.containers.iter().any(|it| !it.waiting.is_empty())).await;
    rig.wants(project.id, Desired::Stopped, Phase::Stopped).await;
    assert!(!rig.workspace(project.id).join("never").exists());
}

/// What only a cluster can run is refused with words, and a cycle by its members.
#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_run_here_is_refused() {
    let rig = Rig::new().await;
    let refused = async |containers: serde_json::Value| {
        let spec = serde_json::from_value(serde_json::json!({ "containers": containers })).unwrap();
        let fault = rig.projects.create("shop".parse().unwrap(), spec).await.unwrap_err();
        assert_eq!(fault.reason, Reason::InvalidArgument, "{fault}");
        fault.message.into_owned()
    };
    let said =
        refused(serde_json::json!([{"name": "web"}, {"name": "db", "kind": "Service", "preset": "Postgres"}])).await;
    assert_eq!(said, "containers.kind: of db is Service, which needs its image");
    let said = refused(serde_json::json!([
        {"name": "a", "dependsOn": [{"name": "b"}]}, {"name": "b", "dependsOn": [{"name": "c"}]},
        {"name": "c", "dependsOn": [{"name": "b"}]},
    ]))
    .await;
    assert_eq!(said, "containers.dependsOn: is a cycle: b -> c -> b");
    let said = refused(serde_json::json!([{"name": "a", "image": "x", "args": ["y"]}])).await;
    assert_eq!(said, "containers.args: of a are for its image's entry point");
}
