//! Projects that share a namespace: each lives, finds its own and ends as if it were alone.

use serde_json::{Value, json};

use crate::{
    cluster::{get, has_namespace, kubectl_as},
    harness::Case,
    patience::{eventually, seen},
    project::Project,
    target::Target,
};

pub(super) fn cases() -> Vec<Case> {
    vec![
        Case::new("shared::projects_of_one_namespace_live_sleep_and_end_each_for_itself", beside).on_cluster(),
        Case::new("shared::containers_of_one_name_are_found_by_their_own_project", named).on_full_profile(),
        Case::new("shared::the_control_plane_may_not_remove_the_namespace_that_projects_share", guarded).on_cluster(),
    ]
}

/// Everything that a project may have in its namespace, and what the cluster makes of it.
const KINDS: &str = "pods,deployments,replicasets,services,endpointslices,secrets,serviceaccounts,\
                     networkpolicies,persistentvolumeclaims,resourcequotas,limitranges";

/// Digits at the end of each name of a project there.
const DIGITS: usize = 26;

async fn up(target: &Target, word: &str, spec: &Value) -> Project {
    let project = Project::named(target, word);
    let file = project.cli.folder().join("project.json");
    let object = json!({
        "apiVersion": "remora.dev/v1alpha1", "kind": "Project", "metadata": {"name": project.name}, "spec": spec,
    });
    std::fs::write(&file, object.to_string()).expect("the folder takes files");
    project.cli.run(&["up", "-f", file.to_str().expect("the case's folders are text")]).await.ok();
    project
}

/// Kinds and names of what a namespace holds of a project.
async fn objects(namespace: &str, id: &str) -> Vec<(String, String)> {
    let label = format!("remora.dev/project-id={id}");
    let listed = get(&[KINDS, "--namespace", namespace, "--selector", &label]).await;
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let items = listed["items"].as_array().cloned().unwrap_or_default();
    items.iter().map(|item| (text(&item["kind"]), text(&item["metadata"]["name"]))).collect()
}

async fn nothing_is_left(namespace: &str, id: &str) {
    eventually(|| async {
        let left = objects(namespace, id).await;
        seen(left.is_empty(), || format!("of {id} there is still {left:?}"))
    })
    .await;
    assert!(has_namespace(namespace).await, "the namespace is not one project's");
}

async fn beside(target: Target) {
    let image = target.image.as_ref().expect("a case for clusters");
    let spec = json!({
        "isolation": "Shared",
        "workspace": {"volume": {"size": "64Mi"}},
        "containers": [{
            "name": "dev", "image": image, "command": ["sh", "-c", super::IDLE],
            "ports": [{"name": "http", "port": 8080}],
        }],
    });
    let (one, other) = tokio::join!(up(&target, "one", &spec), up(&target, "other", &spec));
    let ((namespace, id), (same, other_id)) = (one.place().await, other.place().await);
    assert_eq!(namespace, same);
    assert!(namespace.starts_with("proj-") && !namespace.contains(&id), "{namespace}");
    let object = get(&["namespace", &namespace]).await;
    let labels = &object["metadata"]["labels"];
    assert_eq!(labels["pod-security.kubernetes.io/enforce"], "restricted", "{labels:#}");
    assert!(labels["remora.dev/project-id"].is_null(), "it is not one project's: {labels:#}");

    // What each has is called after it, and is there twice.
    let (ours, theirs) = (objects(&namespace, &id).await, objects(&namespace, &other_id).await);
    // The cluster makes slices in its own time, and puts something of its own behind the name.
    let own = |objects: Vec<(String, String)>| -> Vec<(String, String)> {
        objects.into_iter().filter(|(kind, _)| kind != "EndpointSlice").collect()
    };
    let (ours, theirs) = (own(ours), own(theirs));
    assert_eq!(ours.len(), theirs.len(), "{ours:#?} {theirs:#?}");
    for kind in ["Pod", "Service", "Secret", "ServiceAccount", "NetworkPolicy", "PersistentVolumeClaim"] {
        assert!(ours.iter().any(|(of, _)| of == kind), "no {kind}: {ours:#?}");
    }
    for kind in ["ResourceQuota", "LimitRange"] {
        assert!(!ours.iter().any(|(of, _)| of == kind), "{kind} is for all: {ours:#?}");
    }
    let suffix = |objects: &[(String, String)]| {
        let ends: Vec<String> = objects.iter().map(|(_, name)| name[name.len() - DIGITS..].to_owned()).collect();
        assert!(ends.iter().all(|end| *end == ends[0]), "{objects:#?}");
        ends[0].clone()
    };
    let (suffix, other_suffix) = (suffix(&ours), suffix(&theirs));
    assert_ne!(suffix, other_suffix);

    // Files, processes and names are its own.
    assert_eq!(one.shell("echo one > file; hostname").await, format!("dev-g1-{suffix}\n"));
    assert_eq!(other.shell("cat file 2>/dev/null || echo none; echo other > file").await, "none\n");
    let host = format!("dev-{suffix}.{namespace}.svc.cluster.local");
    let status = one.status().await;
    assert_eq!(status["status"]["endpoints"][0]["url"], format!("http://{host}:8080"), "{status:#}");
    let service = get(&["service", &format!("dev-{suffix}"), "--namespace", &namespace]).await;
    let address = service["spec"]["clusterIP"].as_str().expect("it has an address").to_owned();
    one.prints(&format!("getent hosts {host} || true"), |told| told.starts_with(&address)).await;

    // One sleeps and wakes, and the other one does not notice.
    let generation = other.generation().await;
    one.verb("hibernate", &[]).await.ok();
    let asleep = objects(&namespace, &id).await;
    let rests = |kind: &str| !asleep.iter().any(|(of, _)| of == kind);
    assert!(rests("Pod") && rests("PersistentVolumeClaim"), "what sleeps is in the store alone: {asleep:#?}");
    assert_eq!(other.shell("cat file").await, "other\n");
    one.verb("wake", &[]).await.ok();
    assert_eq!(one.shell("cat file").await, "one\n");

    one.remove().await;
    nothing_is_left(&namespace, &id).await;
    assert_eq!((other.shell("cat file").await, other.generation().await), ("other\n".to_owned(), generation));
    let still = objects(&namespace, &other_id).await;
    assert!(theirs.iter().all(|object| still.contains(object)), "{theirs:#?} became {still:#?}");
    other.remove().await;
    nothing_is_left(&namespace, &other_id).await;
}

async fn named(target: Target) {
    let image = target.image.as_ref().expect("a case for clusters");
    let spec = |word: &str| {
        let serves =
            format!("mkdir -p /tmp/served; cd /tmp/served; echo {word} > who; exec python3 -m http.server 8080");
        json!({
            "isolation": "Shared", "layout": "PodPerContainer",
            "containers": [
                {"name": "web", "image": image, "command": ["sh", "-c", super::IDLE],
                 "dependsOn": [{"name": "api", "condition": "Healthy"}]},
                {"name": "api", "kind": "Service", "image": image, "command": ["sh", "-c", serves],
                 "ports": [{"name": "http", "port": 8080}]},
            ],
        })
    };
    let (first, second) = (spec("first"), spec("second"));
    let (one, other) = tokio::join!(up(&target, "first", &first), up(&target, "second", &second));
    let asks = "curl --silent --max-time 5 http://$REMORA_SERVICE_API_HOST:$REMORA_SERVICE_API_PORT/who || true";
    one.prints(asks, |who| who == "first\n").await;
    other.prints(asks, |who| who == "second\n").await;
    let ((namespace, id), (_, other_id)) = (one.place().await, other.place().await);
    let deployments = |objects: &[(String, String)]| objects.iter().filter(|(kind, _)| kind == "Deployment").count();
    assert_eq!(deployments(&objects(&namespace, &id).await), 2);

    // One is changed, and then ends: the other one's are untouched.
    let changed = one.cli.run(&["container", "set", &one.name, "web", "--env", "SET=now"]).await;
    assert_eq!(changed.code, 0, "{changed:?}");
    one.prints("echo $SET", |told| told == "now\n").await;
    one.remove().await;
    nothing_is_left(&namespace, &id).await;
    assert_eq!(other.shell(asks).await, "second\n");
    other.remove().await;
    nothing_is_left(&namespace, &other_id).await;
}

/// Asked as the control plane would, whose rights reach it otherwise.
async fn guarded(target: Target) {
    let image = target.image.as_ref().expect("a case for clusters");
    let container = json!({"name": "dev", "image": image, "command": ["sh", "-c", super::IDLE]});
    let project = up(&target, "guarded", &json!({"isolation": "Shared", "containers": [container]})).await;
    let (namespace, id) = project.place().await;
    let remove = ["delete", "namespace", &namespace, "--dry-run=server"];
    let removed = kubectl_as(&target.namespace, "remora", &remove).await;
    let said = removed.expect_err("it would be removed with all projects in it");
    assert!(said.contains("projects share the namespace"), "{said}");
    project.remove().await;
    nothing_is_left(&namespace, &id).await;
}
