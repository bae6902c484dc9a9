//! Whom a project's containers reach, and who reaches them: with packets, on a cluster
//! that enforces NetworkPolicies and has hosts outside (the rig's full profile, docs/rig.md).

use serde_json::{Value, json};

use crate::{
    cluster::{create, get, kubectl, pods},
    harness::Case,
    patience::{eventually, seen},
    project::Project,
    rest,
    target::Target,
};

pub(super) fn cases() -> Vec<Case> {
    vec![
        Case::new("isolation::a_project_reaches_its_own_and_the_internet_and_is_reached_by_its_own", reached)
            .on_full_profile(),
        Case::new("isolation::a_project_reaches_no_sibling_node_or_metadata_and_is_reached_by_none", silent)
            .on_full_profile(),
        Case::new("isolation::projects_of_one_namespace_reach_their_own_pods_and_no_siblings", siblings)
            .on_full_profile(),
        Case::new("isolation::each_claim_falls_with_its_policy", missed).on_full_profile(),
        Case::new("isolation::a_pod_gets_no_packet_through_before_its_policies_hold", young).on_full_profile(),
        Case::new("isolation::the_ingress_controller_reaches_exposed_ports_and_no_other", exposed)
            .on_full_profile()
            .through_ingress(),
    ]
}

/// Where clouds tell a machine its secrets.
const METADATA: &str = "169.254.169.254:80";
/// A host of the internet there.
const INTERNET: &str = "203.0.113.80:80";
/// Where agents listen.
const AGENT: u16 = 7070;
/// Where the servers of these cases listen.
const SERVER: u16 = 8080;

/// Opens a connection to each address, all at once; prints it with what came of it.
/// What a policy stops is never answered, and every other failure is one at once.
const PROBE: &str = r#"for target in "$@"; do (
    timeout 3 bash -c 'exec 3<>"/dev/tcp/$0/$1"' "${target%:*}" "${target##*:}" 2>/dev/null
    case $? in 0) echo "$target open" ;; 124) echo "$target silent" ;; *) echo "$target refused" ;; esac
) & done; wait"#;

/// A container that serves.
fn serves(target: &Target, name: &str) -> Value {
    let image = target.image.as_ref().expect("a case for clusters");
    let command = json!(["python3", "-m", "http.server", SERVER.to_string()]);
    json!({"name": name, "image": image, "command": command, "ports": [{"name": "http", "port": SERVER}]})
}

/// A project of two pods: `web`, and `api`, which serves.
async fn pair(target: &Target, word: &str) -> Project {
    let web = json!({"name": "web", "image": target.image, "command": ["sh", "-c", super::IDLE]});
    in_pods_of_their_own(target, word, json!([web, serves(target, "api")])).await
}

async fn in_pods_of_their_own(target: &Target, word: &str, containers: Value) -> Project {
    brought_up(target, word, apart("Dedicated", containers)).await
}

/// The spec of a project with a pod for each of `containers`.
fn apart(isolation: &str, containers: Value) -> Value {
    json!({
        "isolation": isolation,
        "layout": "PodPerContainer",
        "workspace": {"volume": {"size": "64Mi", "accessMode": "ReadWriteMany"}},
        "containers": containers,
    })
}

async fn brought_up(target: &Target, word: &str, spec: Value) -> Project {
    let project = Project::named(target, word);
    let file = project.cli.folder().join("project.json");
    let object = json!({
        "apiVersion": "remora.dev/v1alpha1", "kind": "Project", "metadata": {"name": project.name}, "spec": spec,
    });
    std::fs::write(&file, object.to_string()).expect("the folder takes files");
    project.cli.run(&["up", "-f", file.to_str().expect("the case's folders are text")]).await.ok();
    policies_hold(&project.place().await.0).await;
    project
}

/// Waits until every node enforces each policy of a namespace, as it is now.
async fn policies_hold(namespace: &str) {
    let listed = get(&["networkpolicies", "--namespace", namespace]).await;
    let wanted: Vec<(String, String)> = listed["items"].as_array().into_iter().flatten().map(held).collect();
    assert!(!wanted.is_empty(), "no policy in {namespace}");
    let nodes = get(&["nodes"]).await;
    for node in names(&nodes) {
        let published = format!("configmap/policies-on-{node}");
        eventually(|| async {
            let there = get(&[&published, "--namespace", "kube-system"]).await;
            let missing: Vec<_> = wanted.iter().filter(|(key, version)| there["data"][key] != **version).collect();
            seen(missing.is_empty(), || format!("{node} does not enforce {missing:?}"))
        })
        .await;
    }
}

/// As enforcers publish that a policy holds.
fn held(policy: &Value) -> (String, String) {
    let text = |value: &Value| value.as_str().expect("objects have it").to_owned();
    let metadata = &policy["metadata"];
    let key = format!("{}.{}", text(&metadata["namespace"]), text(&metadata["name"]));
    (key, format!("{} {}", text(&metadata["uid"]), metadata["generation"]))
}

fn names(list: &Value) -> Vec<String> {
    let items = list["items"].as_array().into_iter().flatten();
    items.map(|item| item["metadata"]["name"].as_str().expect("objects have names").to_owned()).collect()
}

/// The address of the pod of a container.
async fn address(namespace: &str, container: &str) -> String {
    let all = pods(namespace).await;
    let pod = all.iter().find(|pod| pod["metadata"]["labels"]["remora.dev/container"] == container);
    let pod = pod.unwrap_or_else(|| panic!("no pod of {container}: {all:#?}"));
    pod["status"]["podIP"].as_str().expect("it has an address").to_owned()
}

/// What comes of connections to `targets` from a container of a project.
async fn probe(project: &Project, targets: &[String]) -> Vec<String> {
    let targets: Vec<&str> = targets.iter().map(String::as_str).collect();
    let told = project.verb("exec", &[&["--", "bash", "-c", PROBE, "probe"], &targets[..]].concat()).await.ok();
    sorted(&told)
}

/// The same from a pod that is nobody's.
async fn probe_from(namespace: &str, pod: &str, targets: &[String]) -> Vec<String> {
    let targets: Vec<&str> = targets.iter().map(String::as_str).collect();
    let run = ["exec", "--namespace", namespace, pod, "--", "bash", "-c", PROBE, "probe"];
    sorted(&kubectl(&[&run[..], &targets[..]].concat(), "").await.expect("the pod runs it"))
}

fn sorted(told: &str) -> Vec<String> {
    let mut lines: Vec<String> = told.lines().map(str::to_owned).collect();
    lines.sort();
    lines
}

fn all(targets: &[String], outcome: &str) -> Vec<String> {
    sorted(&targets.iter().map(|target| format!("{target} {outcome}\n")).collect::<String>())
}

/// A pod that serves and asks, in a namespace without any policy.
struct Stranger {
    namespace: String,
    pod: String,
    /// Whether the namespace is there for it.
    own: bool,
    address: String,
}

impl Stranger {
    /// One in a namespace of nobody's.
    async fn new(target: &Target) -> Stranger {
        let id = uuid::Uuid::new_v4().simple().to_string();
        let namespace = format!("it-stranger-{}", &id[..8]);
        create(&json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": namespace}})).await;
        Stranger { own: true, ..Stranger::of(target, &namespace).await }
    }

    /// One beside the pods of a namespace that is there.
    async fn of(target: &Target, namespace: &str) -> Stranger {
        let id = uuid::Uuid::new_v4().simple().to_string();
        let (namespace, pod) = (namespace.to_owned(), format!("it-stranger-{}", &id[..8]));
        create(&json!({
            "apiVersion": "v1", "kind": "Pod", "metadata": {"name": pod, "namespace": namespace},
            "spec": {
                "automountServiceAccountToken": false, "terminationGracePeriodSeconds": 0,
                "containers": [{
                    "name": "main", "image": target.image, "workingDir": "/tmp",
                    "command": ["python3", "-m", "http.server", SERVER.to_string()],
                    "readinessProbe": {"tcpSocket": {"port": SERVER}, "periodSeconds": 1},
                }],
            },
        }))
        .await;
        let named = format!("pod/{pod}");
        let ready = ["wait", "--namespace", &namespace, "--for", "condition=Ready", "--timeout", "120s", &named];
        kubectl(&ready, "").await.expect("the pod starts");
        let there = get(&[&named, "--namespace", &namespace]).await;
        let address = there["status"]["podIP"].as_str().expect("it has an address").to_owned();
        Stranger { namespace, pod, own: false, address }
    }

    async fn probe(&self, targets: &[String]) -> Vec<String> {
        probe_from(&self.namespace, &self.pod, targets).await
    }

    async fn remove(self) {
        if self.own {
            kubectl(&["delete", "namespace", &self.namespace], "").await.expect("it goes");
        } else {
            kubectl(&["delete", "pod", &self.pod, "--namespace", &self.namespace], "").await.expect("it goes");
        }
    }
}

/// Both addresses of the API server, the kubelet of each node, and what clouds have at 169.254.169.254.
async fn inner() -> Vec<String> {
    let service = get(&["service", "kubernetes", "--namespace", "default"]).await;
    let mut found =
        vec![METADATA.to_owned(), format!("{}:443", service["spec"]["clusterIP"].as_str().expect("it has an address"))];
    let slices =
        get(&["endpointslices", "--namespace", "default", "-l", "kubernetes.io/service-name=kubernetes"]).await;
    for slice in slices["items"].as_array().into_iter().flatten() {
        let port = &slice["ports"][0]["port"];
        let addresses = slice["endpoints"].as_array().into_iter().flatten();
        found.extend(addresses.filter_map(|one| Some(format!("{}:{port}", one["addresses"][0].as_str()?))));
    }
    assert!(found.len() > 2, "no address of the API server: {slices:#}");
    let nodes = get(&["nodes"]).await;
    for node in nodes["items"].as_array().into_iter().flatten() {
        let addresses = node["status"]["addresses"].as_array().into_iter().flatten();
        let internal = addresses.filter(|one| one["type"] == "InternalIP");
        found.extend(internal.filter_map(|one| Some(format!("{}:10250", one["address"].as_str()?))));
    }
    found
}

async fn reached(target: Target) {
    let project = pair(&target, "own").await;
    let namespace = project.namespace().await;
    let service = get(&["service", "api", "--namespace", &namespace]).await;
    let service = service["spec"]["clusterIP"].as_str().expect("it has an address").to_owned();
    let api = address(&namespace, "api").await;
    let own = [
        INTERNET.to_owned(),
        format!("{api}:{SERVER}"),
        format!("{service}:{SERVER}"),
        // By the names that the cluster's DNS has for it, short and whole.
        format!("api:{SERVER}"),
        format!("api.{namespace}.svc.cluster.local:{SERVER}"),
    ];
    // Its server listens once its pod is there.
    eventually(|| async {
        let came = probe(&project, &own).await;
        seen(came == all(&own, "open"), || format!("{came:?}"))
    })
    .await;
    project.remove().await;
}

async fn silent(target: Target) {
    let stranger = Stranger::new(&target).await;
    let inner = inner().await;
    // Who has no policy reaches all of it: what is silent below is so by a policy.
    let free = [inner.clone(), vec![INTERNET.to_owned()]].concat();
    assert_eq!(stranger.probe(&free).await, all(&free, "open"));

    let (one, other) = (pair(&target, "one").await, pair(&target, "other").await);
    for (from, to) in [(&one, &other), (&other, &one)] {
        let namespace = to.namespace().await;
        let (web, api) = (address(&namespace, "web").await, address(&namespace, "api").await);
        let service = get(&["service", "api", "--namespace", &namespace]).await;
        let service = service["spec"]["clusterIP"].as_str().expect("it has an address").to_owned();
        let server = vec![format!("{api}:{SERVER}"), format!("{service}:{SERVER}")];
        eventually(|| async {
            let came = probe(to, &server).await;
            seen(came == all(&server, "open"), || format!("its own do not reach it: {came:?}"))
        })
        .await;
        let agents = vec![format!("{web}:{AGENT}"), format!("{api}:{AGENT}")];
        let foreign = [server, agents].concat();
        assert_eq!(stranger.probe(&foreign).await, all(&foreign, "silent"), "from a pod that is nobody's");
        let stranger = vec![format!("{}:{SERVER}", stranger.address)];
        let mut closed = [foreign, stranger, inner.clone()].concat();
        closed.sort();
        assert_eq!(probe(from, &closed).await, all(&closed, "silent"), "from {}", from.name);
    }
    one.remove().await;
    other.remove().await;
    stranger.remove().await;
}

/// That the cases above can fail: without a policy, what it is there for is not so.
async fn missed(target: Target) {
    let (stranger, inner) = (Stranger::new(&target).await, inner().await);
    let project = pair(&target, "missed").await;
    let namespace = project.namespace().await;
    let all_pods = pods(&namespace).await;
    let web = all_pods.iter().find(|pod| pod["metadata"]["labels"]["remora.dev/container"] == "web");
    let web = web.and_then(|pod| pod["metadata"]["name"].as_str()).expect("it has a pod").to_owned();
    let api = format!("{}:{SERVER}", address(&namespace, "api").await);
    let named = format!("api:{SERVER}");
    let own = [INTERNET.to_owned(), api.clone(), named.clone()];
    // Not through the agent, to which a policy leads as well.
    let opened = async |targets: &[String], open: &[String]| {
        eventually(|| async {
            let came = probe_from(&namespace, &web, targets).await;
            let passed: Vec<_> = came.iter().filter_map(|line| line.strip_suffix(" open")).collect();
            seen(passed.len() == open.len() && open.iter().all(|one| passed.contains(&one.as_str())), || {
                format!("{came:?}, and {open:?} alone should be open")
            })
        })
        .await;
    };
    opened(&own, &own).await;
    for (policy, left) in [
        ("internet", vec![api.clone(), named.clone()]),
        ("project", vec![INTERNET.to_owned()]),
        ("dns", vec![INTERNET.to_owned(), api.clone()]),
    ] {
        let mut object = get(&["networkpolicy", policy, "--namespace", &namespace]).await;
        for field in ["uid", "resourceVersion", "generation", "creationTimestamp", "managedFields"] {
            object["metadata"].as_object_mut().expect("objects have it").remove(field);
        }
        kubectl(&["delete", "networkpolicy", policy, "--namespace", &namespace], "").await.expect("it goes");
        opened(&own, &left).await;
        create(&object).await;
        opened(&own, &own).await;
    }
    // What is closed is so by all of them: one that allows something closes the rest, too.
    let closed = [inner, vec![format!("{}:{SERVER}", stranger.address)]].concat();
    opened(&closed, &[]).await;
    let server = [api];
    assert_eq!(stranger.probe(&server).await, all(&server, "silent"), "from a pod that is nobody's");
    kubectl(&["delete", "networkpolicies", "--all", "--namespace", &namespace], "").await.expect("they go");
    opened(&closed, &closed).await;
    assert_eq!(stranger.probe(&server).await, all(&server, "open"), "from a pod that is nobody's");
    project.remove().await;
    stranger.remove().await;
}

/// The way in that a port has while it is exposed, for the pods that the release names (tests/cluster/install.sh).
async fn exposed(target: Target) {
    const CONTROLLER: &str = "traefik";
    let (stranger, controller) = (Stranger::new(&target).await, Stranger::of(&target, CONTROLLER).await);
    let mut web = serves(&target, "web");
    web["ports"][0]["expose"] = json!("Private");
    let project = in_pods_of_their_own(&target, "exposed", json!([web, serves(&target, "api")])).await;
    let namespace = project.namespace().await;
    let (web, api) = (address(&namespace, "web").await, address(&namespace, "api").await);
    let own = [format!("{web}:{SERVER}"), format!("{api}:{SERVER}")];
    eventually(|| async {
        let came = probe(&project, &own).await;
        seen(came == all(&own, "open"), || format!("its own do not reach it: {came:?}"))
    })
    .await;
    let way_in = &own[..1];
    let mut closed = vec![own[1].clone(), format!("{web}:{AGENT}"), format!("{api}:{AGENT}")];
    eventually(|| async {
        let came = controller.probe(way_in).await;
        seen(came == all(way_in, "open"), || format!("the controller does not reach it: {came:?}"))
    })
    .await;
    assert_eq!(controller.probe(&closed).await, all(&closed, "silent"), "from the controller's namespace");
    assert_eq!(stranger.probe(&own).await, all(&own, "silent"), "from a pod that is nobody's");

    // Closed again, it is as if it had never been open.
    let path = format!("/api/v1/projects/{}/containers/web", project.name);
    let body = json!({"ports": [{"name": "http", "port": SERVER}]});
    rest::request_as(&target.server, &target.key, "PATCH", &path, Some(&body)).await.ok(200);
    eventually(|| async {
        let came = controller.probe(way_in).await;
        seen(came == all(way_in, "silent"), || format!("the controller reaches it still: {came:?}"))
    })
    .await;
    closed.extend_from_slice(way_in);
    assert_eq!(controller.probe(&closed).await, all(&closed, "silent"));
    project.remove().await;
    controller.remove().await;
    stranger.remove().await;
}

/// Two projects in the namespace that they share: what one reaches of itself, the other one
/// does not, though both are called alike.
async fn siblings(target: Target) {
    let stranger = Stranger::new(&target).await;
    let inner = inner().await;
    let web = json!({"name": "web", "image": target.image, "command": ["sh", "-c", super::IDLE]});
    let spec = apart("Shared", json!([web, serves(&target, "api")]));
    let (one, other) =
        tokio::join!(brought_up(&target, "sister", spec.clone()), brought_up(&target, "brother", spec.clone()));
    for (from, to) in [(&one, &other), (&other, &one)] {
        let (namespace, id) = to.place().await;
        assert_eq!(namespace, from.place().await.0, "they share it");
        let of_it = format!("remora.dev/project-id={id}");
        let listed = get(&["pods,services", "--namespace", &namespace, "--selector", &of_it]).await;
        let items = listed["items"].as_array().cloned().unwrap_or_default();
        let address = |is: &dyn Fn(&Value) -> bool, field: &str| {
            let found = items.iter().find(|item| is(item)).and_then(|item| item.pointer(field)?.as_str());
            found.unwrap_or_else(|| panic!("no {field}: {items:#?}")).to_owned()
        };
        let pod =
            |name: &str| address(&|item| item["metadata"]["labels"]["remora.dev/container"] == name, "/status/podIP");
        let is_service = |item: &Value| {
            let name = item["metadata"]["name"].as_str().unwrap_or_default();
            item["kind"] == "Service" && name.starts_with("api-")
        };
        let service = address(&is_service, "/spec/clusterIP");
        let (web, api) = (pod("web"), pod("api"));
        let server = vec![format!("{api}:{SERVER}"), format!("{service}:{SERVER}")];
        let own = [server.clone(), vec![INTERNET.to_owned()]].concat();
        eventually(|| async {
            let came = probe(to, &own).await;
            seen(came == all(&own, "open"), || format!("its own do not reach it: {came:?}"))
        })
        .await;
        let agents = vec![format!("{web}:{AGENT}"), format!("{api}:{AGENT}")];
        let foreign = [server, agents].concat();
        assert_eq!(stranger.probe(&foreign).await, all(&foreign, "silent"), "from a pod that is nobody's");
        let closed = [foreign, vec![format!("{}:{SERVER}", stranger.address)], inner.clone()].concat();
        assert_eq!(probe(from, &closed).await, all(&closed, "silent"), "from {}", from.name);
    }
    one.remove().await;
    other.remove().await;
    stranger.remove().await;
}

/// Its command asks before anything else, over and over, for as long as rules may be late.
async fn young(target: Target) {
    let asks = format!(
        "for try in $(seq 20); do timeout 2 bash -c 'exec 3<>/dev/tcp/{}' 2>/dev/null && echo leaked >>leaks & \
         sleep 0.05; done; wait; echo over >>leaks; {}",
        METADATA.replace(':', "/"),
        super::IDLE
    );
    let project = Project::empty(&target, "young", &asks).await;
    project.prints("cat leaks 2>/dev/null || true", |leaks| leaks.ends_with("over\n")).await;
    assert_eq!(project.shell("cat leaks").await, "over\n");
    project.remove().await;
}
