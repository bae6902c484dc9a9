//! What becomes of a project that nobody uses.

use serde_json::json;

use super::containers::{claims, databases, image, preset, psql, shell_in, up};
use crate::{
    cluster::{get, pods},
    harness::Case,
    patience::{eventually, seen},
    project::{Project, condition, phase},
    rest,
    target::Target,
};

pub(super) fn cases() -> Vec<Case> {
    vec![
        Case::new("idle::a_project_that_nobody_uses_sleeps_and_wakes_whole", sleeps),
        Case::new("idle::what_runs_is_use_and_an_open_terminal_alone_is_not", runs),
        Case::new("idle::containers_in_pods_of_their_own_sleep_and_wake_together", several)
            .with_databases()
            .on_full_profile(),
    ]
}

/// Seconds without use: the least that is taken.
const AFTER: &str = "5";

async fn sleeps(target: Target) {
    let project = Project::named(&target, "idle");
    project.up(None, super::IDLE, &["--idle-after", "3600"]).await.ok();
    project.shell("mkdir made && echo here > made/it && chmod 640 made/it").await;
    let before = project.tree().await;
    let set = project.verb("idle", &["--after", AFTER, "--action", "hibernate"]).await.ok();
    assert!(set.contains("hibernates after 5 s without use, used "), "{set}");
    let asleep = project.becomes("the sleep", phase("Hibernated")).await;
    let said = condition(&asleep, "Idle").unwrap_or_else(|| panic!("it does not say why it sleeps: {asleep:#}"));
    assert_eq!(said["message"], "nobody used it for 5 s, so it hibernates");
    assert_eq!(asleep["spec"]["desired"], "Hibernated");
    assert!(asleep["status"]["lastActivityMs"].as_u64().is_some_and(|at| at > 0), "{asleep:#}");
    if target.image.is_some() {
        assert!(pods(&project.namespace().await).await.is_empty(), "what sleeps has no pod");
    }
    project.verb("idle", &["--action", "none"]).await.ok();
    assert!(project.verb("wake", &[]).await.ok().contains(": Ready"));
    assert_eq!(project.tree().await, before, "the tree is another one");
    // Told of, and left alone.
    let idle = project.becomes("idleness", phase("Idle")).await;
    assert_eq!(idle["spec"]["desired"], "Running");
    assert!(project.verb("status", &[]).await.ok().contains("is told of after 5 s without use, idle, used "));
    assert_eq!(project.shell("cat made/it").await, "here\n");
    project.becomes("use", phase("Ready")).await;
    project.remove().await;
}

async fn runs(target: Target) {
    let project = Project::named(&target, "used");
    project.up(None, super::IDLE, &["--idle-after", "3600"]).await.ok();
    // A terminal that nobody types into, and that prints by itself.
    let prints = json!({ "argv": ["sh", "-c", "while sleep 1; do echo tick; done"] });
    let path = format!("/api/v1/projects/{}/terminals", project.name);
    let opened = rest::request_as(&target.server, &target.key, "POST", &path, Some(&prints)).await;
    assert_eq!(opened.status, 201, "{opened:?}");
    // A command that says nothing, for longer than that. Ended early, it would fail.
    let work = project.shell("sleep 30; echo done | tee done");
    let (done, set) = tokio::join!(work, project.verb("idle", &["--after", AFTER]));
    set.ok();
    assert_eq!(done, "done\n");
    project.becomes("the sleep", phase("Hibernated")).await;
    project.verb("idle", &["--action", "none"]).await.ok();
    project.verb("wake", &[]).await.ok();
    assert_eq!(project.shell("cat done").await, "done\n");
    project.remove().await;
}

/// A frontend, a backend and a database in pods of their own: use of one keeps all awake,
/// they sleep together, and find one another again.
async fn several(target: Target) {
    let project = Project::named(&target, "idles");
    let web = json!({
        "name": "web", "image": databases(&target), "command": ["sh", "-c", super::IDLE],
        "dependsOn": [{"name": "api", "condition": "Healthy"}, {"name": "db", "condition": "Healthy"}],
    });
    let api = json!({
        "name": "api", "image": image(&target), "command": ["python3", "-m", "http.server", "8080"],
        "ports": [{"name": "http", "port": 8080}], "probe": {"tcpSocket": {"port": 8080}},
    });
    let spec = json!({
        "layout": "PodPerContainer",
        "workspace": {"volume": {"size": "64Mi", "accessMode": "ReadWriteMany"}},
        "containers": [web, api, preset(&target, "db", "Postgres")],
        "idle": {"afterSeconds": 3600, "action": "Hibernate"},
    });
    up(&project, spec, &[]).await;
    let (namespace, generation) = (project.namespace().await, project.generation().await);
    project.shell("echo page > index.html").await;
    psql(&project, "$DATABASE_URL", "create table kept (v text); insert into kept values ('here')").await;

    // Not in the pod whose agent owns the snapshots, so that others have to be asked.
    let work = shell_in(&project, "api", "sleep 30; echo done | tee done");
    let (done, set) = tokio::join!(work, project.verb("idle", &["--after", AFTER]));
    set.ok();
    assert_eq!(done, "done\n");
    let asleep = project.becomes("the sleep", phase("Hibernated")).await;
    let said = condition(&asleep, "Idle").unwrap_or_else(|| panic!("it does not say why it sleeps: {asleep:#}"));
    assert_eq!(said["message"], "nobody used it for 5 s, so it hibernates");
    // The cluster itself removes what its ReplicaSets had.
    eventually(|| async {
        let left = pods(&namespace).await;
        seen(left.is_empty(), || format!("what sleeps has pods: {left:#?}"))
    })
    .await;
    let deployments = get(&["deployments", "--namespace", &namespace]).await;
    let wanted = deployments["items"].as_array().into_iter().flatten().map(|one| one["spec"]["replicas"].clone());
    assert!(wanted.clone().all(|replicas| replicas == 0), "{deployments:#}");
    assert_eq!(claims(&namespace).await, ["data-db"]);

    project.verb("idle", &["--action", "none"]).await.ok();
    assert!(project.verb("wake", &[]).await.ok().contains(": Ready"));
    assert_eq!(project.generation().await, generation + 1);
    assert_eq!(project.shell("cat done").await, "done\n");
    for domain in [String::new(), format!(".{namespace}.svc.cluster.local")] {
        let page = format!("curl --silent --fail --max-time 5 http://api{domain}:8080/index.html");
        assert_eq!(project.shell(&page).await, "page\n", "{domain}");
        let url = format!("postgres://app:$REMORA_SERVICE_DB_PASSWORD@db{domain}:$REMORA_SERVICE_DB_PORT/app");
        assert_eq!(psql(&project, &url, "select v from kept").await, "here\n", "{domain}");
    }
    project.remove().await;
}
