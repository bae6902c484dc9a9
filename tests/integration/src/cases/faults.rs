//! What a cluster does to a project and its server, and what is seen of it.

use serde_json::{Value, json};

use crate::{
    cluster::{create, evict, get, kubectl, pod, pods},
    control_plane,
    harness::Case,
    project::{Project, condition, phase, told},
    store::Store,
    target::Target,
};

pub(super) fn cases() -> Vec<Case> {
    vec![
        Case::new("faults::a_command_that_does_not_exist_is_said", no_command).on_cluster(),
        Case::new("faults::what_no_node_has_room_for_is_said", no_room).on_cluster(),
        Case::new("faults::a_quota_without_room_is_said_and_an_edit_of_it_lets_the_project_start", quota).on_cluster(),
        Case::new("faults::a_spec_that_kubectl_applies_is_refused_with_its_field", applied).on_cluster(),
        Case::new("faults::a_namespace_that_does_not_end_is_said_and_ends_once_it_can", stuck).on_cluster(),
        Case::new("faults::an_image_that_does_not_exist_is_mended_by_an_edit_and_a_restart", mended).on_cluster(),
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

/// Its own quota, from the spec; and one that somebody else puts into its namespace.
async fn quota(target: Target) {
    let project = Project::empty(&target, "quota", super::IDLE).await;
    project.shell("echo kept > file").await;
    project.verb("hibernate", &[]).await.ok();
    let namespace = project.namespace().await;
    let own = async |quota: Value| {
        let patch = json!({"spec": {"quota": quota}}).to_string();
        let args = ["patch", "projects.remora.dev", &project.name, "--type=merge", "--patch", &patch];
        kubectl(&args, "").await.expect("the spec is edited");
    };
    let refused = |name: &str| {
        let words = format!("exceeded quota: {name}");
        move |status: &Value| told(status, &["LIMIT_REACHED"]) && told(status, &[&words])
    };
    own(json!({"cpu": "100m"})).await;
    assert_eq!(project.verb("wake", &["--no-wait"]).await.code, 0);
    let status = project.becomes("the quota's name", refused("project")).await;
    assert!(condition(&status, "Ready").is_none() && pods(&namespace).await.is_empty(), "{status:#}");
    own(json!({"cpu": "1", "pods": 2})).await;
    project.becomes("the start after the edit", phase("Ready")).await;
    assert_eq!(project.shell("cat file").await, "kept\n");
    project.verb("hibernate", &[]).await.ok();

    own(Value::Null).await;
    create(&json!({
        "apiVersion": "v1", "kind": "ResourceQuota", "metadata": {"name": "foreign", "namespace": namespace},
        "spec": {"hard": {"pods": "0"}}
    }))
    .await;
    assert_eq!(project.verb("wake", &["--no-wait"]).await.code, 0);
    project.becomes("the foreign quota's name", refused("foreign")).await;
    // What the spec no longer has is no longer there.
    let quotas = get(&["resourcequotas", "--namespace", &namespace]).await;
    assert_eq!(quotas["items"].as_array().map(Vec::len), Some(1), "{quotas:#}");
    let edit = [
        "patch",
        "resourcequota",
        "foreign",
        "--namespace",
        &namespace,
        "--patch",
        "{\"spec\":{\"hard\":{\"pods\":\"5\"}}}",
    ];
    kubectl(&edit, "").await.expect("it is edited");
    project.becomes("the start after the edit", phase("Ready")).await;
    assert_eq!(project.shell("cat file").await, "kept\n");
    project.remove().await;
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
    create(&foreign).await;
    let removed = project.verb("rm", &["--yes", "--no-wait"]).await;
    assert_eq!(removed.code, 0, "{removed:?}");
    // Who holds it up, of what kind that is, and where.
    for word in ["example.com/somebody-elses", "configmaps", &namespace] {
        project.becomes("what holds it up", |status| told(status, &[word])).await;
    }
    let change = ["--type=merge", "--patch", "{\"metadata\":{\"finalizers\":null}}"];
    kubectl(&[&["patch", "configmap", "foreign", "--namespace", &namespace], &change[..]].concat(), "")
        .await
        .expect("it lets go");
    project.is_gone(&namespace).await;
}

async fn mended(target: Target) {
    let project = Project::named(&target, "mended");
    let image = target.image.clone().expect("a cluster has an image");
    let absent = image.replace("/devserver", "/no-such-server");
    let up = project.up(None, super::IDLE, &["--image", &absent, "--no-wait"]).await;
    assert_eq!(up.code, 0, "{up:?}");
    project.becomes("the image's absence", |status| told(status, &["no-such-server"])).await;
    project.up(None, super::IDLE, &["--restart"]).await.ok();
    assert_eq!(project.shell("echo it runs").await, "it runs\n");
    project.remove().await;
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
    let away = Store::away(&target.namespace).await;
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
    let (before, away) = (pod(&namespace).await, Store::away(&target.namespace).await);
    let blocked = project.verb("hibernate", &["--timeout", "60"]).await;
    assert!(blocked.code != 0, "{blocked:?}");
    let status = project.becomes("HibernateBlocked", |status| condition(status, "HibernateBlocked").is_some()).await;
    assert_ne!(status["status"]["phase"], "Hibernated", "{status:#}");
    assert_eq!(pod(&namespace).await, before, "its pod is another one");
    assert_eq!(project.shell("cat file").await, "precious\n");
    away.back().await;
    // Whichever replica is asked, the one that acts tries again.
    let follower = control_plane::by_a_follower(&target).await;
    follower.run(&["hibernate", &project.name]).await.ok();
    project.verb("wake", &[]).await.ok();
    assert_eq!(project.shell("cat file").await, "precious\n");
    project.remove().await;
}

async fn leader(target: Target) {
    let project = Project::empty(&target, "leader", super::IDLE).await;
    project.shell("head -c 20m /dev/urandom > file; sha256sum file > sum").await;
    let holder = control_plane::leader(&target.namespace).await;
    let sleeping = project.verb("hibernate", &[]);
    let kill = ["delete", "pod", &holder, "--namespace", &target.namespace, "--grace-period=1"];
    let killing = kubectl(&kill, "");
    let (_, killed) = tokio::join!(sleeping, killing);
    killed.expect("the leader is a pod");
    // The connection may have been cut; what was wanted is done all the same.
    project.becomes("sleep", phase("Hibernated")).await;
    assert_ne!(control_plane::leader(&target.namespace).await, holder, "another one leads");
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
