//! One project's pod in a cluster, as its driver sees it.

mod alone;
mod apart;
mod end;
mod routes;
mod shared;

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use k8s_openapi::{
    api::core::v1::{Namespace, PersistentVolumeClaim, Pod, ResourceQuota, Secret, Service},
    jiff::Timestamp,
};
use kube::{
    Api, ResourceExt as _,
    api::{DeleteParams, ListParams, Patch, PatchParams, PostParams},
};
use remora_control_plane_project::exposed;
use remora_control_plane_runtime::{
    Committed,
    pods::{Ending, Hydration, Look, Made, Pods},
    records::{Boxed, Record},
};
use remora_proto_model::{
    ContainerName, Fault, Generation, ProjectId, Reason,
    project::{Container, Endpoint, Layout, Preset},
};
use serde_json::json;
use tokio::{sync::Notify, time::Instant};
use tracing::{info, warn};
use uuid::Uuid;

use crate::{
    api::{failed, is, is_there_already},
    apply::{apply, apply_in},
    cluster::Cluster,
    crd,
    limits::{DEHYDRATE_WITHIN, END_LOOK, HOLD, LOOK_INTERVAL, NAMESPACE_WITHIN, RIGHTS_LOOK, RIGHTS_WITHIN},
    manifests::{self, Context, Place},
    seen,
};

/// Grace of a pod whose content nobody wants, in seconds: 0 would leave the
/// kubelet no time to say that it has ended.
const NO_GRACE_SECONDS: u32 = 1;

/// See the module.
pub(crate) struct KubePods {
    cluster: Arc<Cluster>,
    project: ProjectId,
    name: String,
    place: Place,
    events: Arc<Notify>,
    routed: Option<routes::Routed>,
    /// Pods that have ended and whose last word was heard, by uid: they alone are let go of.
    /// Any other one that has ended may have done so a moment ago.
    told: Mutex<BTreeSet<String>>,
}

impl KubePods {
    pub(crate) fn new(cluster: Arc<Cluster>, events: Arc<Notify>, record: &Record) -> KubePods {
        let project = record.project.id;
        let (name, place) = (record.project.name.to_string(), Place::of(&record.project, &cluster.settings));
        KubePods { cluster, project, name, place, events, routed: None, told: Mutex::default() }
    }

    fn told(&self) -> std::sync::MutexGuard<'_, BTreeSet<String>> {
        self.told.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn pods(&self) -> Api<Pod> {
        Api::namespaced(self.cluster.client.clone(), self.place.namespace())
    }

    async fn list(&self) -> Result<Vec<Pod>, Fault> {
        let params = ListParams::default().labels(&format!("{}={}", manifests::PROJECT_ID, self.project));
        let listed = self.pods().list(&params).await;
        Ok(listed.map_err(|error| failed("list the pods of the project", error))?.items)
    }

    async fn see(&self, record: &Record) -> Result<Look, Fault> {
        if is_apart(record) {
            return self.see_apart(record).await;
        }
        let generation = record.project.status.generation;
        let pods = self.list().await?;
        let ours = |pod: &&Pod| seen::generation(pod) == Some(generation) && !seen::ending(pod);
        let mut look = Look {
            strays: pods.iter().any(|pod| !ours(&pod)),
            pods: pods.iter().map(seen::state).collect(),
            ..Look::default()
        };
        if let Some(pod) = pods.iter().find(ours) {
            look.running = 1;
            // The plan starts what is missing.
            look.missing = usize::from(self.replaces(record, pod));
            look.serving = seen::serving(pod);
            look.made = seen::made(pod);
            (look.containers, look.starts, look.unready) = seen::containers(pod);
            look.trouble = seen::trouble(pod, &record.project.spec);
            look.hydrated = seen::hydrated(pod);
        }
        Ok(look)
    }

    fn context<'a>(
        &'a self,
        record: &'a Record,
        generation: Generation,
        commands: &'a BTreeMap<ContainerName, Vec<String>>,
    ) -> Context<'a> {
        Context {
            project: &record.project,
            generation,
            settings: &self.cluster.settings,
            commands,
            source: record.source.as_ref().map(|source| source.file.as_str()),
        }
    }

    /// Everything that the pod needs, and then the pod. What is there stays as it is.
    async fn make(&self, record: &Record, generation: Generation) -> Result<(), Fault> {
        let cluster = &self.cluster;
        let client = &cluster.client;
        let namespace = self.place.namespace();
        self.hold_the_record().await?;
        manifests::has_a_place(&record.project, &cluster.settings)?;
        let commands = cluster.commands_of(record).await?;
        let context = self.context(record, generation, &commands);
        apply(&Api::all(client.clone()), &manifests::namespace(&context)).await?;
        // Before all else in it: this is what lets the control plane make the rest.
        apply_in(client, namespace, &manifests::role_binding(&context)).await?;
        let account = manifests::service_account(&context);
        in_force(|| apply_in(client, namespace, &account)).await?;
        match manifests::resource_quota(&context) {
            Some(quota) => drop(apply_in(client, namespace, &quota).await?),
            None if self.place.is_shared() => {}
            // One of an earlier spec would bound this one.
            None => self.remove::<ResourceQuota>(manifests::QUOTA).await?,
        }
        if let Some(limits) = manifests::limit_range(&context) {
            apply_in(client, namespace, &limits).await?;
        }
        for policy in manifests::network_policies(&context) {
            apply_in(client, namespace, &policy).await?;
        }
        // One that is in the way of nothing but callers from outside is told once the pod runs.
        if let Some(fault) = self.bring_routes(&context).await?.fault {
            warn!(namespace, %fault, "a port is not reached from outside yet");
        }
        self.store_secret(&context).await?;
        self.agent_secret(&context).await?;
        for service in manifests::services(&context) {
            apply_in(client, namespace, &service).await?;
        }
        self.remove_services_of_nobody(&context).await?;
        if let Some(claim) = manifests::volume_claim(&context) {
            self.once(&claim).await?;
        }
        for claim in manifests::data_claims(&context) {
            self.once(&claim).await?;
        }
        for secret in manifests::credentials(&context, password) {
            self.once(&secret).await?;
        }
        self.be_the_only_one(generation).await?;
        if is_apart(record) {
            return self.make_apart(&context).await;
        }
        self.once(&manifests::pod(&context)).await
    }

    /// Removes the names of containers that are no part of the project any more.
    async fn remove_services_of_nobody(&self, context: &Context<'_>) -> Result<(), Fault> {
        let wanted: Vec<Option<String>> =
            manifests::services(context).into_iter().map(|service| service.metadata.name).collect();
        let api: Api<Service> = Api::namespaced(self.cluster.client.clone(), self.place.namespace());
        let params = ListParams::default().labels(&format!("{}={}", manifests::PROJECT_ID, self.project));
        let there = api.list(&params).await.map_err(|error| failed("list the Services of the project", error))?;
        for service in there.items.iter().filter(|service| !wanted.contains(&service.metadata.name)) {
            self.remove_named::<Service>(&service.name_any()).await?;
        }
        Ok(())
    }

    /// Whether the pod is to make room for another one of its generation: its restore
    /// failed, so it has run nothing. Half a tree on a volume stays with its pod.
    fn replaces(&self, record: &Record, pod: &Pod) -> bool {
        self.tree_ends_with_pod(record) && !seen::ending(pod) && seen::restore_rests(pod, Timestamp::now())
    }

    /// Makes a snapshot of the volume, in which nothing runs, by a pod of its own.
    async fn commit_at_rest(&self, record: &Record, generation: Generation) -> Result<Option<Committed>, Fault> {
        let commands = BTreeMap::new();
        let context = self.context(record, generation, &commands);
        let pod = manifests::at_rest(&context);
        // The store may have other credentials than when the project started.
        self.store_secret(&context).await?;
        // It may have its key from there.
        self.agent_secret(&context).await?;
        self.once(&pod).await?;
        let deadline = Instant::now() + DEHYDRATE_WITHIN;
        let outcome = loop {
            let there = self.pods().get_opt(&pod.name_any()).await;
            let Some(there) = there.map_err(|error| failed("look at the snapshot of the volume", error))? else {
                break Err(Fault::new(
                    Reason::Unavailable,
                    "the pod that makes the snapshot of the volume was removed",
                ));
            };
            if let Some(ended) = seen::dehydrated(&there) {
                break ended;
            }
            if let Some(trouble) = seen::trouble(&there, &record.project.spec) {
                break Err(trouble.stage("dehydrate"));
            }
            if Instant::now() > deadline {
                break Err(Fault::new(Reason::Unavailable, "the snapshot of the volume does not come to an end"));
            }
            self.heard(END_LOOK).await;
        };
        // Nothing else may find it beside itself.
        self.end_those(record, true, |_| true).await?;
        self.let_go(record).await?;
        self.remove::<Secret>(&manifests::agent_secret_name(generation)).await?;
        outcome
    }

    /// The keys of the store as the settings have them now.
    async fn store_secret(&self, context: &Context<'_>) -> Result<(), Fault> {
        match manifests::store_secret(context) {
            Some(secret) => apply_in(&self.cluster.client, self.place.namespace(), &secret).await.map(drop),
            // Those of earlier settings may still open the store, and nobody needs them.
            None => self.remove::<Secret>(manifests::STORE_SECRET).await,
        }
    }

    /// The identity of the agent of one generation, made once: a pod that runs reads it again.
    async fn agent_secret(&self, context: &Context<'_>) -> Result<(), Fault> {
        let identity = &self.cluster.identity;
        let pair = identity.agent(self.project, context.generation)?;
        let material = manifests::AgentMaterial {
            certificate: pair.certificate,
            key: pair.key,
            ca_certificate: identity.ca_certificate().to_owned(),
            token_key: STANDARD.encode(identity.token_key()),
        };
        self.once(&manifests::agent_secret(context, &material)).await
    }

    /// Makes an object, unless it is there.
    async fn once<T>(&self, object: &T) -> Result<(), Fault>
    where
        T: kube::Resource<DynamicType = (), Scope = kube::core::NamespaceResourceScope>
            + Clone
            + serde::Serialize
            + serde::de::DeserializeOwned
            + std::fmt::Debug,
    {
        let api: Api<T> = Api::namespaced(self.cluster.client.clone(), self.place.namespace());
        match api.create(&PostParams::default(), object).await {
            Err(error) if is_there_already(&error) => Ok(()),
            made => {
                let name = object.meta().name.clone().unwrap_or_default();
                made.map(drop).map_err(|error| failed(&format!("make {} {name}", T::kind(&())), error))
            }
        }
    }

    /// The custom resource is ours to let go of, before anything hangs on it: one
    /// that kubectl made has no finalizer yet.
    async fn hold_the_record(&self) -> Result<(), Fault> {
        let api: Api<crd::Project> = Api::all(self.cluster.client.clone());
        let what = format!("hold project {}", self.name);
        let resource = api.get(&self.name).await.map_err(|error| failed(&what, error))?;
        if resource.finalizers().iter().any(|name| name == crd::FINALIZER) {
            return Ok(());
        }
        let mut finalizers = resource.finalizers().to_vec();
        finalizers.push(crd::FINALIZER.to_owned());
        let patch = json!({ "metadata": { "finalizers": finalizers, "resourceVersion": resource.resource_version() } });
        let patched = api.patch(&self.name, &PatchParams::default(), &Patch::Merge(patch)).await;
        patched.map(drop).map_err(|error| failed(&what, error))
    }

    /// Returns at the next event of the pods, or after `time`.
    async fn heard(&self, time: Duration) {
        let _ = tokio::time::timeout(time, self.events.notified()).await;
    }

    /// Removes the object that is `base` to the project.
    async fn remove<T>(&self, base: &str) -> Result<(), Fault>
    where
        T: kube::Resource<DynamicType = (), Scope = kube::core::NamespaceResourceScope>
            + Clone
            + serde::de::DeserializeOwned
            + std::fmt::Debug,
    {
        self.remove_named::<T>(&self.place.name(base)).await
    }

    async fn remove_named<T>(&self, name: &str) -> Result<(), Fault>
    where
        T: kube::Resource<DynamicType = (), Scope = kube::core::NamespaceResourceScope>
            + Clone
            + serde::de::DeserializeOwned
            + std::fmt::Debug,
    {
        let api: Api<T> = Api::namespaced(self.cluster.client.clone(), self.place.namespace());
        match api.delete(name, &DeleteParams::default()).await {
            Err(error) if is(&error, 404) => Ok(()),
            done => done.map(drop).map_err(|error| failed(&format!("remove {} {name}", T::kind(&())), error)),
        }
    }

    async fn remove_namespace(&self) -> Result<(), Fault> {
        let api: Api<Namespace> = Api::all(self.cluster.client.clone());
        let namespace = self.place.namespace();
        let deadline = Instant::now() + NAMESPACE_WITHIN;
        loop {
            let what = format!("remove namespace {namespace}");
            let Some(there) = api.get_opt(namespace).await.map_err(|error| failed(&what, error))? else {
                return Ok(());
            };
            if there.metadata.deletion_timestamp.is_none() {
                match api.delete(namespace, &DeleteParams::default()).await {
                    Err(error) if is(&error, 404) || is(&error, 409) => {}
                    done => drop(done.map_err(|error| failed(&what, error))?),
                }
            }
            if Instant::now() > deadline {
                let conditions = there.status.and_then(|status| status.conditions).unwrap_or_default();
                let left: Vec<String> = conditions
                    .into_iter()
                    .filter(|condition| condition.status == "True")
                    .filter_map(|condition| condition.message)
                    .collect();
                return Err(Fault::new(
                    Reason::Unavailable,
                    format!("namespace {namespace} is not gone yet: {}", left.join("; ")),
                )
                .hint("something in it has a finalizer whose owner does not act"));
            }
            tokio::time::sleep(END_LOOK).await;
        }
    }
}

/// Whether each container has a pod of its own.
fn is_apart(record: &Record) -> bool {
    record.project.spec.layout == Layout::PodPerContainer
}

/// What a container's port speaks, as far as it is known.
fn scheme(container: &Container) -> &'static str {
    match container.preset {
        Some(Preset::Postgres) => "postgres",
        Some(Preset::Redis) => "redis",
        None => "http",
    }
}

/// A password that nobody guesses: 244 random bits, in characters that a URL needs not escape.
fn password() -> String {
    format!("{}{}", Uuid::new_v4().simple(), Uuid::new_v4().simple())
}

/// Makes a call that rights were just given for: the API server takes a moment to know of them.
async fn in_force<T, F: Future<Output = Result<T, Fault>>>(call: impl Fn() -> F) -> Result<T, Fault> {
    let deadline = Instant::now() + RIGHTS_WITHIN;
    let mut rest = RIGHTS_LOOK;
    loop {
        match call().await {
            Err(fault) if fault.reason == Reason::FailedPrecondition && Instant::now() < deadline => {
                tokio::time::sleep(rest).await;
                rest *= 2;
            }
            outcome => return outcome,
        }
    }
}

impl Pods for KubePods {
    fn look<'a>(&'a mut self, record: &'a Record) -> Boxed<'a, Result<Look, Fault>> {
        Box::pin(self.see(record))
    }

    fn look_anew<'a>(&'a mut self, record: &'a Record) -> Boxed<'a, Result<Look, Fault>> {
        Box::pin(self.see(record))
    }

    fn changed(&mut self) -> Boxed<'_, ()> {
        Box::pin(self.events.notified())
    }

    fn look_interval(&self) -> Duration {
        LOOK_INTERVAL
    }

    fn start_interval(&self) -> Duration {
        LOOK_INTERVAL
    }

    fn hold(&self) -> Option<Duration> {
        Some(HOLD)
    }

    fn tree_ends_with_pod(&self, record: &Record) -> bool {
        record.project.spec.workspace.volume.is_none()
    }

    fn hydrate<'a>(&'a mut self, record: &'a Record, generation: Generation) -> Boxed<'a, Result<Hydration, Fault>> {
        Box::pin(async move {
            self.make(record, generation).await?;
            Ok(Hydration::InPod)
        })
    }

    fn dehydrate<'a>(
        &'a mut self,
        record: &'a Record,
        generation: Generation,
    ) -> Boxed<'a, Result<Option<Committed>, Fault>> {
        Box::pin(self.commit_at_rest(record, generation))
    }

    fn start<'a>(&'a mut self, record: &'a Record, generation: Generation) -> Boxed<'a, Result<(), Fault>> {
        Box::pin(async move {
            let replaced = self.list().await?.into_iter().find(|pod| self.replaces(record, pod));
            if let Some(replaced) = replaced {
                self.end_those(record, false, |pod| pod.uid() == replaced.uid()).await?;
                self.let_go(record).await?;
            }
            self.make(record, generation).await
        })
    }

    fn sweep<'a>(&'a mut self, record: &'a Record) -> Boxed<'a, Result<Ending, Fault>> {
        Box::pin(async move {
            if is_apart(record) {
                return self.sweep_apart(record).await;
            }
            let generation = record.project.status.generation;
            let stray = |pod: &Pod| seen::generation(pod) != Some(generation) || seen::ending(pod);
            self.end_those(record, true, stray).await
        })
    }

    fn end<'a>(&'a mut self, record: &'a Record, gently: bool) -> Boxed<'a, Result<Ending, Fault>> {
        Box::pin(async move {
            if is_apart(record) {
                return self.end_apart(record, gently).await;
            }
            self.end_those(record, gently, |_| true).await
        })
    }

    fn bury<'a>(&'a mut self, record: &'a Record) -> Boxed<'a, Result<(), Fault>> {
        Box::pin(self.let_go(record))
    }

    fn remove_tree<'a>(&'a mut self, _: &'a Record) -> Boxed<'a, Result<(), Fault>> {
        Box::pin(self.remove::<PersistentVolumeClaim>(manifests::WORKSPACE))
    }

    fn forget<'a>(&'a mut self, record: &'a Record) -> Boxed<'a, Result<(), Fault>> {
        Box::pin(async move {
            if self.place.is_shared() {
                self.remove_from_shared(record).await?;
            } else {
                self.remove_namespace().await?;
            }
            self.cluster.events.forget(self.project);
            Ok(())
        })
    }

    fn discard<'a>(&'a mut self, record: &'a Record, containers: &'a [ContainerName]) -> Boxed<'a, Result<(), Fault>> {
        Box::pin(async move {
            // Before its first start it has not even a namespace.
            if record.project.status.generation == Generation(0) {
                return Ok(());
            }
            let there =
                |name: &ContainerName| record.project.spec.containers.iter().any(|container| container.name == *name);
            for name in containers.iter().filter(|name| !there(name)) {
                info!(container = %name, namespace = self.place.namespace(), "its data is removed");
                // One that a pod still has goes with that pod: the cluster protects it until then.
                self.remove::<PersistentVolumeClaim>(&manifests::data_name(name)).await?;
                self.remove::<Secret>(&manifests::credentials_name(name)).await?;
            }
            Ok(())
        })
    }

    fn tidy<'a>(&'a mut self, _: &'a Record) -> Boxed<'a, ()> {
        Box::pin(async {})
    }

    fn route<'a>(&'a mut self, record: &'a Record) -> Boxed<'a, Result<(), Fault>> {
        Box::pin(self.keep_routes(record))
    }

    fn last_words(&self, _: Generation, _: &str) -> String {
        String::new()
    }

    fn namespace(&self) -> &str {
        self.place.namespace()
    }

    fn endpoints(&self, record: &Record, made: &Made) -> Vec<Endpoint> {
        let all = made
            .containers
            .iter()
            .flat_map(|container| container.listens().into_iter().map(move |port| (container, port)));
        let inside = all.map(|(container, port)| Endpoint {
            container: container.name.clone(),
            port_name: port.name,
            url: format!(
                "{}://{}.cluster.local:{}",
                scheme(container),
                self.place.service_host(&container.name),
                port.port
            ),
        });
        let routing = self.cluster.settings.routing.as_ref();
        let outside = exposed(&record.project).filter_map(|(container, port)| {
            let url = manifests::address(routing, &record.project, container, port)?;
            Some(Endpoint { container: container.name.clone(), port_name: port.name.clone(), url })
        });
        outside.chain(inside).collect()
    }
}
