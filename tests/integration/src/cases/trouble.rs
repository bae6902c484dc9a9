//! What goes wrong with one of several containers, and with the volume that they share.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::containers::{databases, image, late_server, preset, psql, shell_in, up};
use crate::{
    cluster::{evict, kubectl, pods},
    harness::Case,
    patience::{LOOK, eventually},
    project::{Project, phase, told},
    target::Target,
};

pub(super) fn cases() -> Vec<Case> {
    vec![
        Case::new("trouble::a_dependency_that_is_never_healthy_is_given_up_and_said", unhealthy).on_full_profile(),
        Case::new("trouble::a_class_that_is_not_there_is_said_and_nothing_runs", without_a_class).on_full_profile(),
        Case::new("trouble::a_database_without_memory_keeps_what_it_holds", without_memory)
            .with_databases()
            .on_full_profile(),
        Case::new("trouble::a_drained_node_takes_no_file_of_a_shared_volume_along", drained).on_full_profile().alone(),
    ]
}

/// How long a container waits for another one, and then some for the status to say so.
const GATE: Duration = Duration::from_secs(300 + 60);

/// Who waited is given up, with the reason, and begins when it is started anew.
async fn unhealthy(target: Target) {
    let project = Project::named(&target, "sick");
    let web = json!({
        "name": "web", "image": image(&target), "command": ["sh", "-c", format!("echo began >>began; {}", super::IDLE)],
        "dependsOn": [{"name": "api", "condition": "Healthy"}],
    });
    let spec = json!({"containers": [web, late_server(&target, "api")]});
    up(&project, spec.clone(), &["--no-wait"]).await;
    let gave_up =
        |status: &Value| told(status, &["DEPENDENCY_NOT_READY"]) && told(status, &["gave up waiting for api"]);
    let deadline = Instant::now() + GATE;
    let status = loop {
        let status = project.status().await;
        if gave_up(&status) {
            break status;
        }
        assert!(Instant::now() < deadline, "it is waited for, and nothing said: {status:#}");
        tokio::time::sleep(LOOK).await;
    };
    assert_eq!(status["status"]["phase"], "Degraded", "{status:#}");
    let began = "cat began 2>/dev/null || echo never";
    assert_eq!(shell_in(&project, "api", &format!("touch go; {began}")).await, "never\n");
    up(&project, spec, &["--restart"]).await;
    project.becomes("the start of who waited", phase("Ready")).await;
    assert_eq!(project.shell(began).await, "began\n");
    project.remove().await;
}

async fn without_a_class(target: Target) {
    let web = json!({"name": "web", "image": image(&target), "command": ["sh", "-c", super::IDLE]});
    let volume = json!({"size": "64Mi", "class": "no-such-class", "accessMode": "ReadWriteMany"});
    let spec = json!({"layout": "PodPerContainer", "workspace": {"volume": volume}, "containers": [web]});
    let waiting = async |name: &str| {
        let project = Project::named(&target, name);
        up(&project, spec.clone(), &["--no-wait"]).await;
        let status = project.becomes("the name of the class", |status| told(status, &["no-such-class"])).await;
        assert_ne!(status["status"]["phase"], "Ready", "{status:#}");
        let run = |pod: &Value| pod["status"]["phase"] == "Running";
        assert!(!pods(&project.namespace().await).await.iter().any(run), "there is no workspace to run in");
        project
    };
    let asleep = waiting("classless").await;
    asleep.verb("hibernate", &[]).await.ok();
    assert_eq!(pods(&asleep.namespace().await).await, Vec::<Value>::new());
    asleep.remove().await;
    waiting("unwanted").await.remove().await;
}

async fn without_memory(target: Target) {
    let project = Project::named(&target, "greedy");
    let mut db = preset(&target, "db", "Postgres");
    db["resources"] = json!({"limits": {"memory": "192Mi"}});
    let web = json!({
        "name": "web", "image": databases(&target), "command": ["sh", "-c", super::IDLE],
        "dependsOn": [{"name": "db", "condition": "Healthy"}],
    });
    up(&project, json!({"containers": [web, db]}), &[]).await;
    psql(&project, "$DATABASE_URL", "create table kept (v text); insert into kept values ('here')").await;
    // Each row is held until all of them are sorted by what no index has.
    let greedy = "set work_mem='2GB'; select count(*) from (select repeat('x', 100000) || n as v \
                  from generate_series(1, 20000) n order by v offset 1) as all_of_it";
    let line = format!("psql \"$DATABASE_URL\" -v ON_ERROR_STOP=1 -Atqc \"{greedy}\" 2>&1; echo code $?");
    let asked = project.shell(&line).await;
    assert!(asked.contains("server closed the connection") || asked.contains("terminat"), "it has enough: {asked}");
    // It mends what it holds by its log, before it answers again.
    project.prints("psql \"$DATABASE_URL\" -Atqc 'select v from kept' 2>&1 || true", |said| said == "here\n").await;
    project.becomes("that all is well again", phase("Ready")).await;
    project.remove().await;
}

/// The pod of `container`, and the node that it is on.
async fn placed(namespace: &str, container: &str) -> Option<(String, String)> {
    let all = pods(namespace).await;
    let found = all.iter().find(|pod| {
        pod["metadata"]["labels"]["remora.dev/container"] == container
            && pod["metadata"]["deletionTimestamp"].is_null()
            && pod["status"]["phase"] == "Running"
    })?;
    let text = |value: &Value| value.as_str().map(str::to_owned);
    Some((text(&found["metadata"]["name"])?, text(&found["spec"]["nodeName"])?))
}

async fn drained(target: Target) {
    let project = Project::named(&target, "moved");
    let container = |name: &str| json!({"name": name, "image": image(&target), "command": ["sh", "-c", super::IDLE]});
    // Of a class whose volumes every node mounts (docs/rig.md).
    let volume = json!({"size": "64Mi", "class": "shared", "accessMode": "ReadWriteMany"});
    let containers = json!([container("web"), container("worker")]);
    let spec = json!({"layout": "PodPerContainer", "workspace": {"volume": volume}, "containers": containers});
    up(&project, spec, &[]).await;
    let namespace = project.namespace().await;
    project.shell("echo before the drain > file").await;
    let (owner, node) = placed(&namespace, "web").await.expect("the owner of the workspace runs");
    kubectl(&["cordon", &node], "").await.expect("no pod comes to it any more");
    evict(&namespace, &owner).await;
    let moved = eventually(|| async {
        let now = placed(&namespace, "web").await.filter(|(name, _)| *name != owner);
        now.ok_or_else(|| format!("{owner} is followed by no other pod"))
    })
    .await;
    assert_ne!(moved.1, node, "it is on another node");
    project.becomes("the start there", phase("Ready")).await;
    kubectl(&["uncordon", &node], "").await.expect("it takes pods again");
    assert_eq!(project.shell("cat file; echo after it >> file").await, "before the drain\n");
    assert_eq!(shell_in(&project, "worker", "cat file").await, "before the drain\nafter it\n", "one workspace");
    let status = project.status().await;
    let own = status["status"]["pods"].as_array().into_iter().flatten().filter(|pod| pod["ownsSnapshots"] == true);
    assert_eq!(own.count(), 1, "one owner: {status:#}");
    project.verb("hibernate", &[]).await.ok();
    project.verb("wake", &[]).await.ok();
    assert_eq!(project.shell("cat file").await, "before the drain\nafter it\n");
    project.remove().await;
}
