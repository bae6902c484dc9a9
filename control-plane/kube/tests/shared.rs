//! Two projects in the namespace that they share, made and ended against an API server.

#[path = "shared/api.rs"]
mod api;
#[path = "http/server.rs"]
mod http_server;
#[path = "manifests/project.rs"]
#[expect(dead_code, reason = "of its projects only some can share a namespace")]
mod project;

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use remora_control_plane_kube::{
    Cluster, KubeRuntime,
    image::Commands,
    manifests::{Routing, Tls},
};
use remora_control_plane_runtime::{
    identity::{Identity, Material},
    pods::Runtime as _,
    records::Record,
};
use remora_proto_model::{Generation, Reason, project::Exposure};
use serde_json::{Value, json};

use crate::{api::ApiServer, project::Made};

const NAMESPACE: &str = "/api/v1/namespaces/proj-shared";
const PODS: &str = "/api/v1/namespaces/proj-shared/pods";
const POLICIES: &str = "/apis/networking.k8s.io/v1/namespaces/proj-shared/networkpolicies";

struct Rig {
    server: ApiServer,
    runtime: KubeRuntime,
}

impl Rig {
    async fn new(made: &Made) -> Rig {
        let server = ApiServer::start().await;
        let identity = Arc::new(Identity::of(Material::fresh().unwrap()).unwrap());
        let cluster = Cluster::new(server.client(), made.settings.clone(), identity, Commands::new(Vec::new()));
        Rig { server, runtime: KubeRuntime::new(cluster) }
    }

    /// Brings a project up as its driver does, as far as objects go.
    async fn up(&self, made: &Made, name: &str) -> Record {
        let mut project = made.project.clone();
        project.name = name.parse().unwrap();
        project.status.generation = Generation(3);
        let resource = json!({
            "apiVersion": "remora.dev/v1alpha1", "kind": "Project", "metadata": {"name": name},
            "spec": {"containers": [{"name": "web", "image": "node"}]},
            "status": {"generation": 3},
        });
        self.server.put(&format!("/apis/remora.dev/v1alpha1/projects/{name}"), resource);
        let record = Record::new(project);
        self.runtime.pods(&record).hydrate(&record, Generation(3)).await.unwrap();
        record
    }

    /// The paths of what carries a project's label.
    fn of(&self, record: &Record) -> BTreeSet<String> {
        let id = record.project.id.to_string();
        let objects = self.server.objects().into_iter();
        objects
            .filter(|(_, object)| object["metadata"]["labels"]["remora.dev/project-id"] == *id)
            .map(|it| it.0)
            .collect()
    }
}

fn shop() -> Made {
    let mut made = project::shared(project::shop("PodPerContainer"));
    // No registry is asked what an image would run.
    for container in made.project.spec.containers.iter_mut().filter(|one| !one.depends_on.is_empty()) {
        container.command = vec!["serve".to_owned()];
    }
    made.project.spec.containers[0].ports[0].expose = Some(Exposure::Public);
    let tls = Tls::Issuer("letsencrypt".to_owned());
    made.settings.routing = Some(Routing { tls, ..project::routing() });
    made
}

fn without(mut all: BTreeMap<String, Value>, paths: &BTreeSet<String>) -> BTreeMap<String, Value> {
    all.retain(|path, _| !paths.contains(path));
    all
}

#[tokio::test]
async fn of_two_projects_one_ends_and_the_other_has_everything_still() {
    let (one, other) = (shop(), project::sibling(shop()));
    let rig = Rig::new(&one).await;
    let ends = rig.up(&one, "ends").await;
    let lives = rig.up(&other, "lives").await;
    // Kept by cert-manager under a name that the project gave, and under somebody else's.
    let kept = |name: &str| format!("{NAMESPACE}/secrets/{name}");
    let certificate = format!("web-tls-{}", project::SUFFIX);
    for name in [certificate.as_str(), "web-tls"] {
        rig.server.put(&kept(name), json!({"metadata": {"name": name}}));
    }
    let before = rig.server.objects();
    let (mut ours, theirs) = (rig.of(&ends), rig.of(&lives));
    assert!(ours.len() > 25 && ours.len() == theirs.len(), "{ours:#?}");
    let routes = ours.iter().filter(|path| path.contains("/ingresses/") || path.contains("/middlewares/")).count();
    assert!(routes > 1, "{ours:#?}");
    ours.insert(kept(&certificate));

    rig.runtime.pods(&ends).forget(&ends).await.unwrap();
    let mut after = without(before, &ours);
    let binding = "/apis/rbac.authorization.k8s.io/v1/namespaces/proj-shared/rolebindings/control-plane";
    after.insert(binding.to_owned(), rig.server.objects()[binding].clone());
    assert_eq!(rig.server.objects(), after, "the namespace, what is its own, and the other one");
    for (path, uid) in rig.server.removals() {
        assert!(ours.contains(&path) && uid.is_some(), "{path} {uid:?}");
    }
    // Again, as after a cut, and of the last one: the namespace stays.
    rig.runtime.pods(&ends).forget(&ends).await.unwrap();
    rig.runtime.pods(&lives).forget(&lives).await.unwrap();
    assert_eq!((rig.of(&lives).len(), rig.server.objects().contains_key(NAMESPACE)), (0, true));
}

/// While anything of it may run, nobody new reaches it and it reaches nobody new.
#[tokio::test]
async fn what_keeps_a_project_apart_goes_after_its_last_pod() {
    let one = shop();
    let rig = Rig::new(&one).await;
    let ends = rig.up(&one, "ends").await;
    let labels = json!({"remora.dev/project-id": project::ID, "app.kubernetes.io/managed-by": "remora"});
    let pod = json!({"metadata": {"name": "web-x", "labels": labels, "finalizers": ["example.com/held"]}});
    rig.server.put(&format!("{PODS}/web-x"), pod);
    // Those that open its ports go with the routes.
    let policies = |rig: &Rig| {
        let (objects, of) = (rig.server.objects(), rig.of(&ends));
        let opens = |path: &str| objects[path]["metadata"]["labels"]["app.kubernetes.io/component"] == "routes";
        of.iter().filter(|path| path.starts_with(POLICIES) && !opens(path)).count()
    };
    let there = policies(&rig);
    assert!(there > 4, "{there}");

    let mut pods = rig.runtime.pods(&ends);
    let (ended, ()) = tokio::join!(pods.forget(&ends), async {
        rig.server.listed(PODS, 3).await;
        assert_eq!(policies(&rig), there);
        assert!(!rig.of(&ends).iter().any(|path| path.contains("/deployments/")));
        rig.server.take(&format!("{PODS}/web-x"));
    });
    ended.unwrap();
    assert_eq!(rig.of(&ends).len(), 0);
}

/// As long as there is a Certificate, cert-manager writes its Secret anew where that is gone.
#[tokio::test]
async fn a_certificate_goes_before_its_secret() {
    let one = shop();
    let rig = Rig::new(&one).await;
    let ends = rig.up(&one, "ends").await;
    let ingress = rig.of(&ends).into_iter().find(|path| path.contains("/ingresses/")).unwrap();
    let uid = rig.server.objects()[&ingress]["metadata"]["uid"].clone();
    let name = format!("web-tls-{}", project::SUFFIX);
    let certificate = format!("/apis/cert-manager.io/v1/namespaces/proj-shared/certificates/{name}");
    let owners = json!([{"kind": "Ingress", "uid": uid, "controller": true, "blockOwnerDeletion": true}]);
    rig.server.put(&certificate, json!({"metadata": {"name": name, "ownerReferences": owners}}));
    let secret = format!("{NAMESPACE}/secrets/{name}");
    rig.server.put(&secret, json!({"metadata": {"name": name}}));

    let mut pods = rig.runtime.pods(&ends);
    let (ended, ()) = tokio::join!(pods.forget(&ends), async {
        rig.server.listed(PODS, 3).await;
        assert!(rig.of(&ends).contains(&ingress), "nobody waits for what was made for it");
        assert!(rig.server.objects().contains_key(&secret), "it is written again");
        // As the cluster collects them.
        rig.server.take(&certificate);
        rig.server.take(&ingress);
    });
    ended.unwrap();
    assert_eq!((rig.of(&ends).len(), rig.server.objects().contains_key(&secret)), (0, false));
}

/// Somebody's object of the same name, made between the look and the removal, stays.
#[tokio::test]
async fn what_was_not_seen_is_not_removed() {
    let one = shop();
    let rig = Rig::new(&one).await;
    let ends = rig.up(&one, "ends").await;
    let claim = format!("/api/v1/namespaces/proj-shared/persistentvolumeclaims/data-db-{}", project::SUFFIX);
    assert!(rig.of(&ends).contains(&claim));
    rig.server.swap_once_listed(&claim, json!({"metadata": {"name": "somebody's"}}));
    rig.runtime.pods(&ends).forget(&ends).await.unwrap();
    assert_eq!(rig.of(&ends).len(), 0);
    assert_eq!(rig.server.objects()[&claim]["metadata"]["name"], "somebody's");
}

#[tokio::test]
async fn one_that_never_began_is_gone_without_a_namespace_and_without_rights_in_one() {
    let one = shop();
    let rig = Rig::new(&one).await;
    let record = Record::new(one.project.clone());
    rig.runtime.pods(&record).forget(&record).await.unwrap();
    assert_eq!(rig.server.objects().len(), 0);
    // Of a namespace that is there, whose rights somebody took away, it gets them first.
    rig.server.put(NAMESPACE, json!({"metadata": {"name": "proj-shared"}}));
    rig.runtime.pods(&record).forget(&record).await.unwrap();
    assert_eq!(rig.server.removals().len(), 0);
}

#[tokio::test]
async fn where_projects_share_nothing_one_is_refused_and_makes_nothing() {
    let mut one = shop();
    one.settings.shared_namespace = None;
    let rig = Rig::new(&one).await;
    let mut record = Record::new(one.project.clone());
    let fault = rig.runtime.accepts(&record).unwrap_err();
    assert!(fault.reason == Reason::FailedPrecondition && fault.message.contains("isolation"), "{fault:?}");
    // One that began before that was so can be changed, which is how it is stopped.
    record.project.status.generation = Generation(2);
    rig.runtime.accepts(&record).unwrap();
    let name = record.project.name.to_string();
    rig.server.put(
        &format!("/apis/remora.dev/v1alpha1/projects/{name}"),
        json!({"metadata": {"name": name}, "spec": {"containers": []}}),
    );
    let fault = rig.runtime.pods(&record).hydrate(&record, Generation(3)).await.unwrap_err();
    assert!(fault.hint.contains("projects.sharedNamespace"), "{fault:?}");
    assert_eq!(rig.of(&record).len(), 0);
}
