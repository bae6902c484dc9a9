//! Several containers: databases beside who uses them, in one pod or in one each.

use serde_json::{Value, json};

use crate::{
    cluster::{get, kubectl, pod, pods},
    harness::Case,
    patience::{eventually, seen},
    project::{Project, phase},
    target::Target,
};

pub(super) fn cases() -> Vec<Case> {
    vec![
        Case::new("containers::what_waits_for_another_begins_after_it_and_is_reached_meanwhile", waits).on_cluster(),
        Case::new("containers::one_that_ignores_its_end_leaves_time_for_the_last_snapshot", stubborn).on_cluster(),
        Case::new("containers::one_is_added_changed_and_removed_through_a_snapshot", replaced).with_databases(),
        Case::new("containers::databases_are_there_before_who_needs_them_and_keep_what_they_hold", kept)
            .with_databases(),
        Case::new("containers::in_pods_of_their_own_what_did_not_change_goes_on", apart).with_databases(),
    ]
}

/// Asks both databases once, and writes what they answer.
const ASKS_BOTH: &str =
    r#"{ psql "$DATABASE_URL" -Atc "select 41 + 1"; redis-cli --no-auth-warning -u "$REDIS_URL" ping; } >>began 2>&1"#;

pub(super) fn image(target: &Target) -> Value {
    json!(target.image.as_ref().expect("a case for clusters"))
}

pub(super) fn databases(target: &Target) -> Value {
    json!(target.databases.as_ref().expect("a case with databases"))
}

/// A preset's server, by the image that the cluster can pull.
pub(super) fn preset(target: &Target, name: &str, preset: &str) -> Value {
    json!({
        "name": name, "kind": "Service", "preset": preset, "image": databases(target), "user": 999,
        "storage": {"size": "64Mi"},
    })
}

/// A web server over the workspace, once there is a file `go`.
pub(super) fn late_server(target: &Target, name: &str) -> Value {
    let line = "until [ -e go ]; do sleep 0.1; done; exec python3 -m http.server 8080";
    json!({
        "name": name, "image": image(target), "command": ["sh", "-c", line],
        "ports": [{"name": "http", "port": 8080}],
    })
}

/// Brings up the project `spec` from a file, as it is given to kubectl too.
pub(super) async fn up(project: &Project, spec: Value, more: &[&str]) {
    let file = project.cli.folder().join("project.json");
    let object = json!({
        "apiVersion": "remora.dev/v1alpha1", "kind": "Project", "metadata": {"name": project.name}, "spec": spec,
    });
    std::fs::write(&file, object.to_string()).expect("the folder takes files");
    let file = file.to_str().expect("the case's folders are text");
    project.cli.run(&[&["up", "-f", file], more].concat()).await.ok();
}

/// What a line of shell prints in one container.
pub(super) async fn shell_in(project: &Project, container: &str, line: &str) -> String {
    project.verb("exec", &["--container", container, "--", "sh", "-c", line]).await.ok()
}

/// `remora container VERB NAME ARGS`, and what it said of when it takes effect.
async fn change(project: &Project, verb: &str, args: &[&str]) -> String {
    let ran = project.cli.run(&[&["container", verb, &project.name], args].concat()).await;
    assert_eq!(ran.code, 0, "container {verb} {args:?}: {}", ran.stderr);
    ran.stderr
}

/// Of a refusal, what was said.
async fn refused(project: &Project, verb: &str, args: &[&str]) -> String {
    let ran = project.cli.run(&[&["container", verb, &project.name], args].concat()).await;
    assert_ne!(ran.code, 0, "container {verb} {args:?} was not refused: {ran:?}");
    ran.stderr
}

pub(super) async fn psql(project: &Project, url: &str, statement: &str) -> String {
    project.shell(&format!("psql \"{url}\" -v ON_ERROR_STOP=1 -Atqc \"{statement}\"")).await
}

async fn redis(project: &Project, command: &str) -> String {
    project.shell(&format!("redis-cli --no-auth-warning -u \"$REDIS_URL\" {command}")).await
}

/// Names of the claims in a namespace, in order.
pub(super) async fn claims(namespace: &str) -> Vec<String> {
    let listed = get(&["persistentvolumeclaims", "--namespace", namespace]).await;
    let items = listed["items"].as_array().cloned().unwrap_or_default();
    let mut names: Vec<String> =
        items.iter().map(|item| item["metadata"]["name"].as_str().unwrap_or_default().to_owned()).collect();
    names.sort();
    names
}

/// The uid of the pod of each container that has one of its own and does not end, in the order of names.
async fn pods_apart(namespace: &str) -> Vec<(String, String)> {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let mut all: Vec<(String, String)> = pods(namespace)
        .await
        .iter()
        .filter(|pod| pod["metadata"]["deletionTimestamp"].is_null())
        .map(|pod| (text(&pod["metadata"]["labels"]["remora.dev/container"]), text(&pod["metadata"]["uid"])))
        .collect();
    all.sort();
    all
}

fn state<'a>(status: &'a Value, container: &str) -> &'a Value {
    let all = status["status"]["containers"].as_array().into_iter().flatten();
    all.clone().find(|state| state["name"] == container).unwrap_or(&Value::Null)
}

async fn waits(target: Target) {
    let project = Project::named(&target, "gate");
    let web = json!({
        "name": "web", "image": image(&target), "command": ["sh", "-c", format!("date +%s%N >began; {}", super::IDLE)],
        "dependsOn": [{"name": "api", "condition": "Healthy"}],
    });
    // A server that nothing of ours runs in waits for the start of what has no port.
    let last = json!({
        "name": "last", "kind": "Service", "image": image(&target), "dependsOn": [{"name": "web"}],
        "command": ["python3", "-m", "http.server", "9090", "--directory", "/tmp"],
        "ports": [{"name": "http", "port": 9090}],
    });
    up(&project, json!({"containers": [web, late_server(&target, "api"), last]}), &["--no-wait"]).await;
    let waiting = |status: &Value| state(status, "web")["waiting"].as_str().is_some_and(|why| why.contains("api"));
    let status = project.becomes("a word of what is waited for", waiting).await;
    assert!(phase("Starting")(&status), "{status:#}");
    // Whoever wants to see why it waits can look around in it, and in the other one.
    assert_eq!(project.shell("ls began 2>/dev/null; echo looked").await, "looked\n");
    assert_eq!(shell_in(&project, "api", "echo $REMORA_SERVICE_API_PORT").await, "8080\n");

    let opened = shell_in(&project, "api", "date +%s%N | tee go").await;
    let status = project.becomes("the start of who waited", phase("Ready")).await;
    assert!(state(&status, "web")["ready"] == true && !waiting(&status), "{status:#}");
    assert!(state(&status, "last")["ready"] == true, "{status:#}");
    let began = project.prints("cat began 2>/dev/null || true", |printed| !printed.is_empty()).await;
    let when = |text: &str| text.trim().parse::<u128>().expect("it is a time");
    assert!(when(&began) > when(&opened), "it began at {began}, and what it waits for at {opened}");
    project.remove().await;
}

/// Of a Service container nobody of ours is asked when it ends: it has all of the pod's time.
async fn stubborn(target: Target) {
    let project = Project::named(&target, "stuck");
    let asked = "trap 'echo asked > asked; exit 0' TERM; while :; do sleep 0.1; done";
    let web = json!({"name": "web", "image": image(&target), "command": ["sh", "-c", asked]});
    let ignores = "trap '' TERM; while :; do sleep 1; done";
    let stuck = json!({"name": "stuck", "kind": "Service", "image": image(&target), "command": ["sh", "-c", ignores]});
    up(&project, json!({"containers": [web, stuck]}), &[]).await;
    let (namespace, generation) = (project.namespace().await, project.generation().await);
    let pod = pod(&namespace).await;
    kubectl(&["delete", "pod", &pod, "--namespace", &namespace, "--wait=false"], "").await.expect("it is deleted");
    let again = |status: &Value| status["status"]["generation"].as_u64() > Some(generation) && phase("Ready")(status);
    project.becomes("the next pod", again).await;
    // Written after the pod was asked to end, so no snapshot before the last one has it.
    assert_eq!(project.shell("cat asked").await, "asked\n");
    project.remove().await;
}

async fn kept(target: Target) {
    let project = Project::named(&target, "data");
    let web = json!({
        "name": "web", "image": databases(&target),
        "command": ["sh", "-c", format!("{ASKS_BOTH}; {}", super::IDLE)],
        "dependsOn": [{"name": "db", "condition": "Healthy"}, {"name": "cache", "condition": "Healthy"}],
    });
    let containers = [web, preset(&target, "db", "Postgres"), preset(&target, "cache", "Redis")];
    up(&project, json!({"containers": containers}), &[]).await;
    let namespace = project.namespace().await;
    assert_eq!(pods(&namespace).await.len(), 1, "one pod for all");
    let once = "42\nPONG\n";
    project.prints("cat began 2>/dev/null || true", |printed| printed.len() >= once.len()).await;
    assert_eq!(project.shell("cat began").await, once, "both answered the first time that they were asked");

    psql(&project, "$DATABASE_URL", "create table kept (v text); insert into kept values ('here')").await;
    assert_eq!(redis(&project, "set kept here").await, "OK\n");
    let password = project.shell("echo $REMORA_SERVICE_DB_PASSWORD").await;
    assert!(password.trim().len() >= 32, "a password that can be guessed: {password:?}");
    let stays = ["data-cache", "data-db"];
    assert_eq!(claims(&namespace).await, stays);

    project.verb("hibernate", &[]).await.ok();
    assert!(pods(&namespace).await.is_empty(), "what sleeps has no pod");
    assert_eq!(claims(&namespace).await, stays, "what databases hold stays where it is");
    project.verb("wake", &[]).await.ok();
    project.prints("cat began", |printed| printed.len() >= 2 * once.len()).await;
    assert_eq!(project.shell("cat began").await, once.repeat(2), "a wake waits for them as a start does");
    assert_eq!(psql(&project, "$DATABASE_URL", "select v from kept").await, "here\n");
    assert_eq!(redis(&project, "get kept").await, "here\n");
    assert_eq!(project.shell("echo $REMORA_SERVICE_DB_PASSWORD").await, password);

    // By the names that the cluster's DNS has for them, short and whole.
    for host in ["db".to_owned(), format!("db.{namespace}.svc.cluster.local")] {
        let url = format!("postgres://app:$REMORA_SERVICE_DB_PASSWORD@{host}:$REMORA_SERVICE_DB_PORT/app");
        assert_eq!(psql(&project, &url, "select v from kept").await, "here\n", "{host}");
    }
    project.remove().await;
}

async fn replaced(target: Target) {
    let project = Project::empty(&target, "crud", super::IDLE).await;
    let namespace = project.namespace().await;
    let database = target.databases.clone().expect("a case with databases");
    let image = target.image.clone().expect("a case for clusters");
    project.shell("echo here > kept").await;
    let first = project.generation().await;

    let cache = ["cache", "--preset", "redis", "--image", &database, "--user", "999", "--storage", "64Mi"];
    let said = change(&project, "add", &cache).await;
    assert!(said.contains("after a snapshot"), "{said}");
    assert_eq!(project.generation().await, first + 1);
    assert_eq!(project.shell("cat kept").await, "here\n");
    let ping = r#"exec 3<>"/dev/tcp/$REMORA_SERVICE_CACHE_HOST/$REMORA_SERVICE_CACHE_PORT" &&
        printf 'AUTH %s\r\nPING\r\n' "$REMORA_SERVICE_CACHE_PASSWORD" >&3 && head -n 2 <&3"#;
    assert_eq!(project.verb("exec", &["--", "bash", "-c", ping]).await.ok(), "+OK\r\n+PONG\r\n");

    let said = change(&project, "add", &cache).await;
    assert!(said.contains("nothing changed"), "{said}");
    let said = refused(&project, "add", &["cache", "--preset", "postgres"]).await;
    assert!(said.contains("there is a container cache with another spec"), "{said}");
    assert_eq!(project.generation().await, first + 1, "what changes nothing ends nothing");

    let worker = ["worker", "--image", &image, "--depends-on", "cache:healthy", "--cmd", super::IDLE];
    change(&project, "add", &worker).await;
    assert_eq!(shell_in(&project, "worker", "cat kept").await, "here\n", "both work in one workspace");
    let said = refused(&project, "rm", &["cache"]).await;
    assert!(said.contains("cache is what worker depends on"), "{said}");
    change(&project, "set", &["worker", "--env", "SET=by the command line"]).await;
    assert_eq!(shell_in(&project, "worker", "echo $SET").await, "by the command line\n");

    change(&project, "rm", &["worker"]).await;
    change(&project, "rm", &["cache"]).await;
    assert_eq!(claims(&namespace).await, ["data-cache"], "without a word about it data stays");
    change(&project, "add", &cache).await;
    change(&project, "rm", &["cache", "--delete-data"]).await;
    gone(&namespace, &["persistentvolumeclaim/data-cache", "secret/credentials-cache", "service/cache"]).await;
    assert_eq!(project.shell("cat kept; env | grep -c CACHE || true").await, "here\n0\n");
    assert_eq!(project.generation().await, first + 7, "each change is one generation");
    project.remove().await;
}

/// Waits until none of `objects` is in a namespace.
async fn gone(namespace: &str, objects: &[&str]) {
    for object in objects {
        eventually(|| async {
            let there = kubectl(&["get", object, "--namespace", namespace, "--output", "name"], "").await;
            seen(there.is_err(), || format!("{object} is still there"))
        })
        .await;
    }
}

async fn apart(target: Target) {
    let project = Project::named(&target, "apart");
    let web = json!({
        "name": "web", "image": databases(&target), "command": ["sh", "-c", super::IDLE],
        "dependsOn": [{"name": "api"}, {"name": "db", "condition": "Healthy"}],
    });
    let spec = json!({
        "layout": "PodPerContainer",
        "workspace": {"volume": {"size": "64Mi", "accessMode": "ReadWriteMany"}},
        "containers": [web, late_server(&target, "api"), preset(&target, "db", "Postgres")],
    });
    // Its readiness does not wait for the server, which has no probe.
    up(&project, spec, &[]).await;
    let namespace = project.namespace().await;
    let generation = project.generation().await;
    let before = pods_apart(&namespace).await;
    assert_eq!(before.iter().map(|(name, _)| name.as_str()).collect::<Vec<_>>(), ["api", "db", "web"]);
    let status = project.status().await;
    let own = status["status"]["pods"].as_array().into_iter().flatten();
    let own: Vec<&Value> = own.filter(|pod| pod["ownsSnapshots"] == true).collect();
    assert!(own.len() == 1 && own[0]["container"] == "web", "one owner: {status:#}");

    // A name leads into the pod of its container.
    assert_eq!(project.shell("hostname; echo page > index.html; touch go").await, "web\n");
    assert_eq!(shell_in(&project, "api", "hostname; cat index.html").await, "api\npage\n", "one workspace");
    let into_db = project.verb("exec", &["--container", "db", "--", "true"]).await;
    assert!(into_db.code != 0 && into_db.stderr.contains("db is a Service container"), "{into_db:?}");
    let by_name = "curl --silent --fail --max-time 5 http://api:8080/index.html || true";
    project.prints(by_name, |printed| printed == "page\n").await;
    psql(&project, "$DATABASE_URL", "create table kept (v text); insert into kept values ('here')").await;
    assert!(project.shell("echo $DATABASE_URL").await.contains("@db."), "by the Service's name");

    let said = change(&project, "set", &["api", "--env", "SET=now"]).await;
    assert!(said.contains("it takes effect at once"), "{said}");
    assert_eq!(shell_in(&project, "api", "echo $SET").await, "now\n");
    let after = pods_apart(&namespace).await;
    assert_eq!((&after[1..], after[0] != before[0]), (&before[1..], true), "{after:?}");
    assert_eq!(project.generation().await, generation);

    let database = target.databases.clone().expect("a case with databases");
    let cache = ["cache", "--preset", "redis", "--image", &database, "--user", "999", "--storage", "64Mi"];
    change(&project, "add", &cache).await;
    let with_cache = pods_apart(&namespace).await;
    assert_eq!(with_cache.len(), 4);
    assert!(after.iter().all(|pod| with_cache.contains(pod)), "{with_cache:?}");
    change(&project, "rm", &["cache", "--delete-data"]).await;
    gone(&namespace, &["deployment/cache", "persistentvolumeclaim/data-cache", "service/cache"]).await;

    project.verb("hibernate", &[]).await.ok();
    // The cluster itself removes what its ReplicaSets had.
    eventually(|| async {
        let left = pods(&namespace).await;
        seen(left.is_empty(), || format!("what sleeps has pods: {left:#?}"))
    })
    .await;
    assert_eq!(claims(&namespace).await, ["data-db"]);
    project.verb("wake", &[]).await.ok();
    assert_eq!(project.generation().await, generation + 1);
    project.prints(by_name, |printed| printed == "page\n").await;
    assert_eq!(psql(&project, "$DATABASE_URL", "select v from kept").await, "here\n");
    project.remove().await;
}
