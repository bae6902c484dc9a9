//! What a cluster does to a project and its server, and what is seen of it.

use std::time::Instant;

use serde_json::{Value, json};

use crate::{
    cluster::{StoreAway, evict, has_namespace, kubectl, pod, pods},
    harness::Case,
    patience::{LOOK, LOOK_PATIENCE},
    project::{Project, condition, phase},
    target::Target,
};

pub(super) fn cases() -> Vec<Case> {
    vec![
        Case::new("faults::a_command_that_does_not_exist_is_said", no_command).on_cluster(),
        Case::new("faults::what_no_node_has_room_for_is_said", no_room).on_cluster(),
        Case::new("faults::a_spec_that_kubectl_applies_is_refused_with_its_field", applied).on_cluster(),
        Case::new("faults::a_namespace_that_does_not_end_is_said_and_ends_once_it_can", stuck).on_cluster(),
        Case::new("faults::a_project_that_is_changed_while_it_falls_asleep_wakes_changed", changed).on_cluster(),
        Case::new("faults::a_store_that_is_away_at_the_start_lets_nothing_run_on_an_empty_tree", no_store_at_start)
            .on_cluster()
            .alone(),
        Case::new("faults::a_hibernation_without_the_store_is_blocked_and_ends_nothing", no_store_asleep)
            .on_cluster()
            .alone(),
        Case::new("faults::a_leader_that_dies_leaves_no_hibernation_half_done", leader).on_cluster().alone(),
        Case::new("faults::a_drained_node_loses_nothing", drained).on_cluster().alone(),
    ]
}

/// Whether any condition but Ready speaks of one of `words`.
fn told(status: &Value, words: &[&str]) -> bool {
    let conditions = status["status"]["conditions"].as_array().into_iter().flatten();
    let mut texts = conditions.map(|condition| format!("{} {}", condition["reason"], condition["message"]));
    texts.any(|text| words.iter().any(|word| text.contains(word)))
}

async fn no_command(target: Target) {
    let project = Project::named(&target, "nocmd");
    let image = target.image.clone().expect("a cluster has an image");
    let args = ["up", "--empty", "--name", &project.name, "--image", &image, "--no-wait", "--", "/no/such/program"];
    assert_eq!(project.cli.run(&args).await.code, 0);
    let status = project.becomes("what is wrong", |status| told(status, &["PROGRAM_NOT_FOUND"])).await;
    assert_ne!(status["status"]["phase"], "Ready", "{status:#}");
    project.give_up().await;
}

async fn no_room(target: Target) {
    let project = Project::named(&target, "room");
    let up = project.up(None, super::IDLE, &["--cpu", "900", "--no-wait"]).await;
    assert_eq!(up.code, 0, "{up:?}");
    project
        .becomes("what is missing", |status| told(status, &["Insufficient cpu", "exceeded quota", "must be less"]))
        .await;
    project.give_up().await;
}

async fn applied(target: Target) {
    let name = Project::named(&target, "cel").name;
    let spec = |change: Value| {
        let mut spec = json!({"containers": [{"name": "dev", "image": target.image, "command": ["true"]}]});
        for (field, value) in change.as_object().into_iter().flatten() {
            spec[field] = value.clone();
        }
        json!({"apiVersion": "remora.dev/v1alpha1", "kind": "Project", "metadata": {"name": name}, "spec": spec})
    };
    for (change, field) in [
        (json!({"containers": []}), "containers"),
        (json!({"containers": [{"name": "Not_A_Name", "image": target.image}]}), "name"),
        (json!({"containers": [{"name": "dev", "image": target.image, "workdir": "../outside"}]}), "workdir"),
        (
            json!({"containers": [{"name": "dev", "image": target.image}, {"name": "dev", "image": target.image}]}),
            "containers",
        ),
        (json!({"desired": "Sometimes"}), "desired"),
    ] {
        let said = kubectl(&["apply", "--filename", "-"], &spec(change.clone()).to_string()).await;
        let said = said.expect_err(&format!("{change} was taken"));
        assert!(said.contains(field), "no {field} in {said}");
    }
}

async fn stuck(target: Target) {
    let project = Project::empty(&target, "stuck", super::IDLE).await;
    let namespace = project.namespace().await;
    let foreign = json!({
        "apiVersion": "v1", "kind": "ConfigMap",
        "metadata": {"name": "foreign", "namespace": namespace, "finalizers": ["example.com/somebody-elses"]}
    });
    kubectl(&["apply", "--filename", "-"], &foreign.to_string()).await.expect("it is made");
    let removed = project.verb("rm", &["--yes", "--no-wait"]).await;
    assert_eq!(removed.code, 0, "{removed:?}");
    project
        .becomes("what holds it up", |status| told(status, &["example.com/somebody-elses", "foreign", "Terminating"]))
        .await;
    let change = ["--type=merge", "--patch", "{\"metadata\":{\"finalizers\":null}}"];
    kubectl(&[&["patch", "configmap", "foreign", "--namespace", &namespace], &change[..]].concat(), "")
        .await
        .expect("it lets go");
    let deadline = Instant::now() + LOOK_PATIENCE;
    while has_namespace(&namespace).await || project.verb("status", &[]).await.code == 0 {
        assert!(Instant::now() < deadline, "it is still there");
        tokio::time::sleep(LOOK).await;
    }
}

async fn changed(target: Target) {
    let project = Project::empty(&target, "edit", super::IDLE).await;
    project.shell("echo kept > file").await;
    let (slept, edited) = tokio::join!(
        project.verb("hibernate", &[]),
        project.up(None, super::IDLE, &["--env", "COLOUR=blue", "--no-wait"]),
    );
    // Whoever came second decides whether it sleeps; what it is then holds for both.
    assert!(edited.code == 0 || slept.code == 0, "{slept:?} {edited:?}");
    let again = project.up(None, super::IDLE, &["--env", "COLOUR=blue"]).await;
    assert_eq!(again.code, 0, "{again:?}");
    project.verb("hibernate", &[]).await.ok();
    project.verb("wake", &[]).await.ok();
    assert_eq!(project.shell("cat file; echo $COLOUR").await, "kept\nblue\n");
    project.remove().await;
}

async fn no_store_at_start(target: Target) {
    let project = Project::empty(&target, "nostore", super::IDLE).await;
    project.shell("echo kept > file").await;
    project.verb("hibernate", &[]).await.ok();
    let away = StoreAway::now(&target.namespace).await;
    let woken = project.verb("wake", &["--no-wait"]).await;
    let status =
        project.becomes("the store's absence", |status| told(status, &["STORE_UNAVAILABLE", "object store"])).await;
    assert!(condition(&status, "Ready").is_none(), "{woken:?} {status:#}");
    for pod in pods(&project.namespace().await).await {
        let started = pod["status"]["containerStatuses"][0]["state"]["running"].is_object();
        assert!(!started, "the dev container runs on an empty tree: {pod:#}");
    }
    away.back().await;
    // Its kubelet tries again by itself, and rests longer each time: longer than a verb waits.
    project.becomes("it with the store back", phase("Ready")).await;
    assert_eq!(project.shell("cat file").await, "kept\n");
    project.remove().await;
}

async fn no_store_asleep(target: Target) {
    let project = Project::empty(&target, "blocked", super::IDLE).await;
    let namespace = project.namespace().await;
    project.shell("echo precious > file").await;
    let (before, away) = (pod(&namespace).await, StoreAway::now(&target.namespace).await);
    let blocked = project.verb("hibernate", &["--timeout", "60"]).await;
    assert!(blocked.code != 0, "{blocked:?}");
    let status = project.becomes("HibernateBlocked", |status| condition(status, "HibernateBlocked").is_some()).await;
    assert_ne!(status["status"]["phase"], "Hibernated", "{status:#}");
    assert_eq!(pod(&namespace).await, before, "its pod is another one");
    assert_eq!(project.shell("cat file").await, "precious\n");
    away.back().await;
    project.verb("hibernate", &[]).await.ok();
    project.verb("wake", &[]).await.ok();
    assert_eq!(project.shell("cat file").await, "precious\n");
    project.remove().await;
}

async fn leader(target: Target) {
    let project = Project::empty(&target, "leader", super::IDLE).await;
    project.shell("head -c 20m /dev/urandom > file; sha256sum file > sum").await;
    let args =
        ["get", "lease", "remora", "--namespace", &target.namespace, "--output", "jsonpath={.spec.holderIdentity}"];
    let holder = kubectl(&args, "").await.expect("there is a Lease");
    let sleeping = project.verb("hibernate", &[]);
    let kill = ["delete", "pod", &holder, "--namespace", &target.namespace, "--grace-period=1"];
    let killing = kubectl(&kill, "");
    let (_, killed) = tokio::join!(sleeping, killing);
    killed.expect("the leader is a pod");
    // The connection may have been cut; what was wanted is done all the same.
    project.becomes("sleep", phase("Hibernated")).await;
    assert_ne!(kubectl(&args, "").await.expect("there is a Lease"), holder, "another one leads");
    project.verb("wake", &[]).await.ok();
    assert_eq!(project.shell("sha256sum -c sum").await, "file: OK\n");
    project.remove().await;
}

async fn drained(target: Target) {
    let project = Project::empty(&target, "drain", super::IDLE).await;
    let (namespace, generation) = (project.namespace().await, project.generation().await);
    project.shell("echo before the drain > file").await;
    let pods = pods(&namespace).await;
    let node = pods[0]["spec"]["nodeName"].as_str().expect("it runs on a node").to_owned();
    kubectl(&["cordon", &node], "").await.expect("no pod comes to it any more");
    evict(&namespace, &pod(&namespace).await).await;
    let nodes = kubectl(&["get", "nodes", "--output", "name"], "").await.expect("nodes are listed");
    if nodes.lines().count() == 1 {
        project.becomes("that no node takes it", |status| told(status, &["unschedulable", "available"])).await;
    }
    kubectl(&["uncordon", &node], "").await.expect("it takes pods again");
    let again = |status: &Value| status["status"]["generation"].as_u64() > Some(generation) && phase("Ready")(status);
    project.becomes("the next pod", again).await;
    assert_eq!(project.shell("cat file").await, "before the drain\n");
    project.remove().await;
}
