//! [`Cluster`]: Kubernetes, as a place for pods.

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    fmt,
    sync::{Arc, Mutex, PoisonError},
};

use bytes::Bytes;
use futures_util::{StreamExt as _, stream::BoxStream};
use k8s_openapi::api::core::v1::Pod;
use kube::{
    Api, Client, Config, ResourceExt as _,
    runtime::{WatchStreamExt as _, watcher},
};
use remora_control_plane_runtime::{
    Store,
    identity::Identity,
    lineage_prefix,
    pods::{Pods, Runtime},
    records::{Boxed, Record, SOURCE_PREFIX},
};
use remora_proto_model::{
    ContainerName, Fault, Generation, ProjectId, Reason,
    project::{ContainerKind, Layout, Orphans},
};
use tokio::sync::Notify;
use tokio_util::task::AbortOnDropHandle;
use tracing::warn;

use crate::{api::watching, connection::client_of, image::Commands, manifests, orphans, pods::KubePods};

/// See the module.
pub struct Cluster {
    pub(crate) client: Client,
    pub(crate) settings: manifests::Settings,
    pub(crate) identity: Arc<Identity>,
    commands: Commands,
    store: Store,
    prefix: String,
    pub(crate) events: Arc<Events>,
    _watch: AbortOnDropHandle<()>,
}

impl fmt::Debug for Cluster {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Cluster").field("settings", &self.settings).finish_non_exhaustive()
    }
}

impl Cluster {
    /// The cluster that `client` talks to; follows the pods in it.
    pub fn new(client: Client, settings: manifests::Settings, identity: Arc<Identity>, commands: Commands) -> Cluster {
        let store = &settings.store;
        let events = Arc::new(Events::default());
        let watch = tokio::spawn(follow(client.clone(), Arc::clone(&events)));
        Cluster {
            store: Store::new(store),
            prefix: store.prefix.clone(),
            client,
            settings,
            identity,
            commands,
            events,
            _watch: AbortOnDropHandle::new(watch),
        }
    }

    /// What each container of a project runs: by its spec, else by its image.
    pub(crate) async fn commands_of(&self, record: &Record) -> Result<BTreeMap<ContainerName, Vec<String>>, Fault> {
        let mut commands = BTreeMap::new();
        for container in &record.project.spec.containers {
            // What runs without a program of ours in front of it need not be spelled out.
            if container.kind == ContainerKind::Service && container.depends_on.is_empty() {
                continue;
            }
            let image = match manifests::image(container).map(|text| text.parse()) {
                Some(Ok(image)) if container.command.is_empty() => Some(image),
                _ => None,
            };
            let command = match image {
                Some(image) => self.commands.of(&image, &container.args).await?,
                None => container.command.iter().chain(&container.args).cloned().collect(),
            };
            commands.insert(container.name.clone(), command);
        }
        Ok(commands)
    }
}

/// The API server of the cluster that this process runs in, or that KUBECONFIG names.
pub async fn client() -> Result<Client, Fault> {
    // Of two providers in one process rustls would choose none; ours is ring everywhere.
    let unusable = |problem: String| {
        Fault::new(Reason::FailedPrecondition, format!("no cluster can be reached: {problem}"))
            .hint("run the server in a cluster with a ServiceAccount, or set KUBECONFIG")
    };
    let config = Config::infer().await.map_err(|error| unusable(error.to_string()))?;
    client_of(config).map_err(|error| unusable(error.to_string()))
}

/// Who waits for something new of the pods of a project.
#[derive(Default)]
pub(crate) struct Events {
    waiting: Mutex<HashMap<ProjectId, Arc<Notify>>>,
}

impl Events {
    pub(crate) fn of(&self, project: ProjectId) -> Arc<Notify> {
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(waiting.entry(project).or_default())
    }

    pub(crate) fn forget(&self, project: ProjectId) {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner).remove(&project);
    }

    fn tell(&self, pod: &Pod) {
        let label = pod.labels().get(manifests::PROJECT_ID);
        let Some(project) = label.and_then(|id| id.parse::<ProjectId>().ok()) else { return };
        if let Some(waiting) = self.waiting.lock().unwrap_or_else(PoisonError::into_inner).get(&project) {
            waiting.notify_one();
        }
    }
}

async fn follow(client: Client, events: Arc<Events>) {
    let config = watching().labels(&format!("{}={}", manifests::MANAGED_BY, manifests::MANAGER));
    let mut pods = watcher::watcher(Api::<Pod>::all(client), config).default_backoff().boxed();
    while let Some(event) = pods.next().await {
        match event {
            Ok(watcher::Event::Apply(pod) | watcher::Event::InitApply(pod) | watcher::Event::Delete(pod)) => {
                events.tell(&pod);
            }
            Ok(_) => {}
            Err(error) => warn!(%error, "pods cannot be followed; another attempt is made"),
        }
    }
}

/// A handle to the cluster.
#[derive(Clone, Debug)]
pub struct KubeRuntime(Arc<Cluster>);

impl KubeRuntime {
    /// A runtime over `cluster`.
    pub fn new(cluster: Cluster) -> KubeRuntime {
        KubeRuntime(Arc::new(cluster))
    }

    fn lineage(&self, record: &Record) -> String {
        lineage_prefix(&self.0.prefix, record.project.id)
    }
}

impl Runtime for KubeRuntime {
    fn name(&self) -> &'static str {
        "kube"
    }

    fn pods(&self, record: &Record) -> Box<dyn Pods> {
        let events = self.0.events.of(record.project.id);
        Box::new(KubePods::new(Arc::clone(&self.0), events, record))
    }

    fn accepts(&self, record: &Record) -> Result<(), Fault> {
        manifests::accepts(&record.project.spec)?;
        // One that has begun may be stopped, and ended.
        if record.project.status.generation == Generation(0) {
            manifests::has_a_place(&record.project, &self.0.settings)?;
        }
        Ok(())
    }

    fn changes_in_place(&self, record: &Record) -> bool {
        record.project.spec.layout == Layout::PodPerContainer
    }

    fn shares_ports(&self) -> bool {
        false
    }

    fn strangers<'a>(&'a self, known: &'a HashSet<ProjectId>) -> Boxed<'a, Result<Orphans, Fault>> {
        Box::pin(orphans::strangers(&self.0.client, known, self.0.settings.shared_namespace.as_deref()))
    }

    fn agent_version(&self) -> Boxed<'_, Result<String, Fault>> {
        // A chart that names the image by its digest is of this release.
        let image = self.0.settings.agent_image.split('@').next().unwrap_or_default();
        let tag = image.rsplit('/').next().and_then(|name| name.split_once(':')).map(|(_, tag)| tag.to_owned());
        Box::pin(async { Ok(tag.unwrap_or_else(|| env!("CARGO_PKG_VERSION").to_owned())) })
    }

    fn put_source<'a>(
        &'a self,
        record: &'a Record,
        file: &'a str,
        chunks: BoxStream<'a, Result<Bytes, Fault>>,
    ) -> Boxed<'a, Result<u64, Fault>> {
        Box::pin(async move { self.0.store.put_archive(&format!("{}/{file}", self.lineage(record)), chunks).await })
    }

    fn sweep_sources<'a>(&'a self, record: &'a Record, kept: Option<&'a str>) -> Boxed<'a, Result<(), Fault>> {
        Box::pin(async move {
            let lineage = self.lineage(record);
            let kept = kept.map(|file| format!("{lineage}/{file}"));
            self.0.store.remove_all(&format!("{lineage}/{SOURCE_PREFIX}"), kept.as_deref()).await
        })
    }
}
