//! A cluster of one API server, one kubelet and one bucket, and control planes that come and go.

use std::{
    net::SocketAddr,
    sync::{Arc, Mutex, MutexGuard, atomic::AtomicBool},
    time::Duration,
};

use futures_util::{
    FutureExt as _,
    future::{BoxFuture, Shared},
};
use remora_control_plane_kube::{Cluster, KubeRecords, KubeRuntime, image::Commands, manifests::Settings};
use remora_control_plane_runtime::{
    Parts, Projects, Settings as Bounds,
    identity::{CLIENT_SAN, Identity, Material},
    limits,
};
use remora_proto_model::{
    ProjectId, ProjectName,
    project::{AccessMode, Container, Phase, Project, ProjectSpec, Volume},
};
use serde_json::{Value, json};
use tokio::{
    runtime::{Builder, Runtime},
    task::JoinHandle,
    time::{sleep, timeout},
};

use crate::{
    bucket::Bucket,
    kubelet::{Kubelet, Seen},
    place::{Asked, Place},
    server::ApiServer,
};

/// Longest wait for anything of the control plane, on a busy machine.
pub(crate) const PATIENCE: Duration = Duration::from_secs(90);

/// Longest time between two looks.
const LOOK: Duration = Duration::from_millis(20);

/// See the module.
pub(crate) struct Site {
    pub(crate) api: ApiServer,
    pub(crate) bucket: Bucket,
    seen: Arc<Mutex<Seen>>,
    kubelet: JoinHandle<()>,
    identity: Material,
}

impl Drop for Site {
    fn drop(&mut self) {
        self.kubelet.abort();
    }
}

impl Site {
    pub(crate) async fn new() -> Site {
        let (api, bucket, seen) = (ApiServer::new().await, Bucket::new().await, Arc::default());
        let kubelet = Kubelet::start(api.shared(), bucket.shared(), Arc::clone(&seen));
        Site { api, bucket, seen, kubelet, identity: Material::fresh().unwrap() }
    }

    pub(crate) fn seen(&self) -> MutexGuard<'_, Seen> {
        self.seen.lock().unwrap()
    }

    /// The identity that every control plane here has.
    pub(crate) fn identity(&self) -> Identity {
        Identity::of(self.identity.clone()).unwrap()
    }

    /// Whether agents are of a release without snapshots.
    pub(crate) fn lacks_snapshots(&self) -> Arc<AtomicBool> {
        Arc::clone(&self.seen().lacks_snapshots)
    }

    fn settings(&self) -> Settings {
        Settings {
            agent_image: "registry.example/remora/agent:1".to_owned(),
            control_namespace: "remora-system".to_owned(),
            control_service_account: "remora".to_owned(),
            control_pod_labels: [("app.kubernetes.io/component".to_owned(), "control-plane".to_owned())].into(),
            project_cluster_role: "remora-project".to_owned(),
            shared_namespace: None,
            store: self.bucket.endpoint(),
            store_cidrs: Vec::new(),
            encryption_key: None,
            grace_seconds: 60,
            flush_seconds: 30,
            client_san: CLIENT_SAN.to_owned(),
            routing: None,
        }
    }

    /// A control plane that leads. What it does ends with it, wherever that is.
    pub(crate) async fn controller(&self) -> Controller {
        let starting = self.starting();
        let projects = starting.opened.clone().await;
        Controller { starting: Some(starting), projects }
    }

    /// What somebody does to a project's spec with kubectl.
    pub(crate) fn edits(&self, field: &str, value: &str) {
        let place = Place { resource: "projects".to_owned(), name: name().to_string(), ..Place::default() };
        self.changes(&place, |object| object["spec"][field] = value.into());
    }

    /// What somebody makes of an object.
    pub(crate) fn changes(&self, place: &Place, change: impl FnOnce(&mut Value)) {
        self.api.with(|state| {
            let mut object = state.objects.get(place).unwrap().clone();
            change(&mut object);
            state.objects.store(place, object);
        });
    }

    /// The same while it is on its way: of one that falls silent before it has begun.
    pub(crate) fn starting(&self) -> Starting {
        let runtime = Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let (settings, api) = (self.settings(), self.api.address());
        let identity = Arc::new(self.identity());
        let opened = runtime.spawn(open(settings, api, identity));
        let opened = async { opened.await.unwrap() }.boxed().shared();
        Starting { runtime, opened }
    }

    /// What somebody deletes with kubectl.
    pub(crate) fn deletes(&self, resource: &str, namespace: &str, name: &str) {
        let (resource, namespace, name) = (resource.to_owned(), namespace.to_owned(), name.to_owned());
        let asked = Asked::to_delete(Place { resource, namespace, name });
        self.api.with(|state| state.objects.write(&asked, &json!({})).unwrap());
    }

    /// Names of what is left of `resource`, in no namespace or in any.
    pub(crate) fn names(&self, resource: &str) -> Vec<String> {
        let places = self.api.state().objects.places();
        places.into_iter().filter(|place| place.resource == resource).map(|place| place.name).collect()
    }

    /// Everything that is there, the last calls, and what the project says, for who has waited in vain.
    pub(crate) fn tells(&self) -> String {
        let state = self.api.state();
        let calls = state
            .calls
            .iter()
            .rev()
            .take(20)
            .map(|call| (call.at.elapsed(), call.asked.verb, &call.asked.place, call.fault));
        let projects = state.objects.of("projects").into_iter().map(|project| project["status"].to_string());
        let pods = state.objects.of("pods").into_iter().map(ToString::to_string);
        format!(
            "{:#?}\n{:#?}\n{}\n{}",
            state.objects.places(),
            calls.collect::<Vec<_>>(),
            projects.collect::<String>(),
            pods.collect::<String>()
        )
    }

    /// Everything that is there.
    pub(crate) fn places(&self) -> Vec<Place> {
        self.api.state().objects.places()
    }
}

async fn open(settings: Settings, api: SocketAddr, identity: Arc<Identity>) -> Projects {
    let client = crate::server::client(api);
    let store = settings.store.clone();
    let cluster = Cluster::new(client.clone(), settings, Arc::clone(&identity), Commands::new(Vec::new()));
    let parts = Parts {
        records: Arc::new(KubeRecords::new(client)),
        runtime: Arc::new(KubeRuntime::new(cluster)),
        identity,
        settings: Bounds { prefix: String::new(), max_projects: 100, prune_interval: limits::PRUNE_INTERVAL },
        store,
    };
    let projects = Projects::over(parts).await.unwrap();
    projects.lead().await;
    projects
}

/// A control plane, maybe one that begins.
pub(crate) struct Starting {
    runtime: Runtime,
    opened: Shared<BoxFuture<'static, Projects>>,
}

impl Starting {
    /// What a caller does with it once it has begun. Ends with it.
    pub(crate) fn lives<F: Future<Output = ()> + Send + 'static>(
        &self,
        work: impl FnOnce(Projects) -> F + Send + 'static,
    ) -> JoinHandle<()> {
        let opened = self.opened.clone();
        self.runtime.spawn(async move { work(opened.await).await })
    }

    /// Ends it where it stands, as kill -9 does.
    pub(crate) fn kill(self) {
        self.runtime.shutdown_background();
    }
}

/// A control plane that leads.
pub(crate) struct Controller {
    starting: Option<Starting>,
    pub(crate) projects: Projects,
}

impl Drop for Controller {
    fn drop(&mut self) {
        if let Some(starting) = self.starting.take() {
            starting.kill();
        }
    }
}

/// A project of one container.
pub(crate) fn spec() -> ProjectSpec {
    let container = Container {
        image: "node".parse().ok(),
        command: vec!["node".to_owned()],
        ..Container::named("web".parse().unwrap())
    };
    ProjectSpec { containers: vec![container], ..ProjectSpec::default() }
}

/// The same with its workspace on a volume.
pub(crate) fn spec_on_a_volume() -> ProjectSpec {
    let volume = Volume { size: "1Gi".parse().unwrap(), class: "none".to_owned(), access_mode: AccessMode::default() };
    let mut spec = spec();
    spec.workspace.volume = Some(volume);
    spec
}

pub(crate) fn name() -> ProjectName {
    "shop".parse().unwrap()
}

/// Waits for what `what` names.
pub(crate) async fn until(what: &str, mut is_so: impl FnMut() -> bool) {
    let waiting = async {
        while !is_so() {
            sleep(LOOK).await;
        }
    };
    assert!(timeout(PATIENCE, waiting).await.is_ok(), "it never comes to this: {what}");
}

/// The project once it is as `wanted`.
pub(crate) async fn becomes(projects: &Projects, id: ProjectId, wanted: impl Fn(&Project) -> bool) -> Project {
    let (_, mut changes) = projects.watch();
    let waiting = async {
        loop {
            if let Ok(project) = projects.get(id)
                && wanted(&project)
            {
                return project;
            }
            _ = timeout(LOOK, changes.recv()).await;
        }
    };
    match timeout(PATIENCE, waiting).await {
        Ok(project) => project,
        Err(_) => panic!("the project stays {:#?}", projects.get(id)),
    }
}

pub(crate) async fn reaches(projects: &Projects, id: ProjectId, phase: Phase) -> Project {
    becomes(projects, id, |project| project.status.phase == phase).await
}

/// Waits until the project is gone.
pub(crate) async fn goes(projects: &Projects, id: ProjectId) {
    let (_, mut changes) = projects.watch();
    let waiting = async {
        while projects.get(id).is_ok() {
            _ = timeout(LOOK, changes.recv()).await;
        }
    };
    if timeout(PATIENCE, waiting).await.is_err() {
        panic!("the project stays {:#?}", projects.get(id));
    }
}

/// The namespace of a project's objects.
pub(crate) fn namespace(id: ProjectId) -> String {
    format!("proj-{id}")
}
