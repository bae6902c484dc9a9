//! A project with a pod for each container: its Deployments are applied one by one,
//! scaled to nothing in an order, and what has not changed is left alone.

use std::time::Duration;

use k8s_openapi::api::{apps::v1::Deployment, core::v1::Pod};
use kube::{
    Api, ResourceExt as _,
    api::{DeleteParams, ListParams, Patch, PatchParams},
};
use remora_control_plane_runtime::{
    pods::{Ending, Look},
    records::Record,
};
use remora_proto_model::{Fault, Reason, project::ContainerKind};
use serde_json::json;
use tokio::time::Instant;
use tracing::info;

use super::{KubePods, NO_GRACE_SECONDS};
use crate::{
    api::{failed, is},
    apply::apply_in,
    limits::{END_LOOK, END_WITHIN},
    manifests::{self, Context},
    seen::{self, apart},
};

impl KubePods {
    fn deployments(&self) -> Api<Deployment> {
        Api::namespaced(self.cluster.client.clone(), self.place.namespace())
    }

    async fn list_deployments(&self) -> Result<Vec<Deployment>, Fault> {
        let params = ListParams::default().labels(&format!("{}={}", manifests::PROJECT_ID, self.project));
        let listed = self.deployments().list(&params).await;
        Ok(listed.map_err(|error| failed("list the Deployments of the project", error))?.items)
    }

    /// What is there.
    pub(super) async fn see_apart(&self, record: &Record) -> Result<Look, Fault> {
        let pods = self.list().await?;
        let deployments = self.list_deployments().await?;
        Ok(apart::look(record, &deployments, &pods))
    }

    /// Brings each container's Deployment to what it should be, and removes those of none.
    pub(super) async fn make_apart(&self, context: &Context<'_>) -> Result<(), Fault> {
        let there = self.list_deployments().await?;
        let spec = &context.project.spec;
        for deployment in manifests::deployments(context) {
            let name = deployment.name_any();
            let present = there.iter().find(|one| one.name_any() == name);
            let made = deployment.annotations().get(manifests::MADE).cloned().unwrap_or_default();
            // What has not changed goes on as it was started, whatever else would be different now.
            if !apart::is_current(present, &made) {
                apply_in(&self.cluster.client, self.place.namespace(), &deployment).await?;
            }
        }
        let of_nobody = |one: &&Deployment| {
            let of = apart::container(one.labels());
            !spec.containers.iter().any(|container| of == Some(container.name.as_str()))
        };
        for gone in there.iter().filter(of_nobody) {
            let name = gone.name_any();
            info!(
                deployment = name,
                namespace = self.place.namespace(),
                "the container is no part of the project any more"
            );
            match self.deployments().delete(&name, &DeleteParams::background()).await {
                Err(error) if is(&error, 404) => {}
                done => drop(done.map_err(|error| failed(&format!("remove Deployment {name}"), error))?),
            }
        }
        Ok(())
    }

    /// Ends all pods: those that write to the workspace before the one whose agent makes
    /// its last snapshot, and the servers that they use after that.
    pub(super) async fn end_apart(&self, record: &Record, gently: bool) -> Result<Ending, Fault> {
        let spec = &record.project.spec;
        let owner = apart::owner(spec).unwrap_or_default().to_owned();
        let is_service = |name: &str| {
            let found = spec.containers.iter().find(|container| container.name.as_str() == name);
            found.is_some_and(|container| container.kind == ContainerKind::Service)
        };
        self.put_to_rest(gently, |name| name != owner && !is_service(name)).await?;
        let remains = self.put_to_rest(gently, |name| name == owner).await?;
        self.put_to_rest(gently, |_| true).await?;
        Ok(self.ending(record, &remains))
    }

    /// Ends what is of another generation, and what has ended and was not heard.
    pub(super) async fn sweep_apart(&self, record: &Record) -> Result<Ending, Fault> {
        let present = record.project.status.generation;
        let old = |deployment: &Deployment| {
            let labels = deployment.spec.as_ref().and_then(|spec| spec.template.metadata.as_ref()?.labels.as_ref());
            let of = labels.and_then(|labels| labels.get(manifests::GENERATION));
            of.is_some_and(|of| *of != present.to_string())
        };
        for deployment in self.list_deployments().await?.iter().filter(|one| old(one)) {
            self.scale_to_nothing(deployment).await?;
        }
        let stray = |pod: &Pod| apart::is_stray(pod, present);
        let remains = self.see_ended(true, &stray).await?;
        Ok(self.ending(record, &remains))
    }

    fn ending(&self, record: &Record, remains: &[Pod]) -> Ending {
        let tree = self.tree_after(record, remains);
        let held = |pod: &&Pod| pod.finalizers().iter().any(|name| name == manifests::FINAL_SNAPSHOT);
        let last = remains.iter().filter(held).max_by_key(|pod| seen::generation(pod));
        last.map_or(Ending { tree, ..Ending::default() }, |pod| seen::last_word(pod, tree))
    }

    /// Scales the Deployments that `which` names to nothing, and sees their pods ended.
    async fn put_to_rest(&self, gently: bool, which: impl Fn(&str) -> bool + Send + Sync) -> Result<Vec<Pod>, Fault> {
        let of = |labels: &std::collections::BTreeMap<String, String>| apart::container(labels).is_some_and(&which);
        for deployment in self.list_deployments().await?.iter().filter(|one| of(one.labels())) {
            self.scale_to_nothing(deployment).await?;
        }
        self.see_ended(gently, &|pod: &Pod| of(pod.labels())).await
    }

    async fn scale_to_nothing(&self, deployment: &Deployment) -> Result<(), Fault> {
        if !apart::is_up(deployment) {
            return Ok(());
        }
        let name = deployment.name_any();
        info!(deployment = name, namespace = self.place.namespace(), "its pod is to end");
        let patch = json!({ "spec": { "replicas": 0 } });
        match self.deployments().patch(&name, &PatchParams::default(), &Patch::Merge(patch)).await {
            Err(error) if is(&error, 404) => Ok(()),
            done => done.map(drop).map_err(|error| failed(&format!("scale Deployment {name} to nothing"), error)),
        }
    }

    /// Waits until the pods that `which` names have ended, and returns what is left of them.
    /// Their ReplicaSet deletes them; one that nobody deletes is ours to end.
    async fn see_ended(&self, gently: bool, which: &(dyn Fn(&Pod) -> bool + Sync)) -> Result<Vec<Pod>, Fault> {
        let begun = Instant::now();
        loop {
            let mut pods = self.list().await?;
            pods.retain(|pod| which(pod));
            let running: Vec<&Pod> = pods.iter().filter(|pod| !seen::ended(pod)).collect();
            if running.is_empty() {
                self.told().extend(pods.iter().filter_map(Pod::uid));
                return Ok(pods);
            }
            let graces = running.iter().filter_map(|pod| pod.spec.as_ref()?.termination_grace_period_seconds);
            let grace = Duration::from_secs(graces.max().and_then(|grace| u64::try_from(grace).ok()).unwrap_or(0));
            for pod in &running {
                let deleted = pod.metadata.deletion_timestamp.is_some();
                let left_alone = !deleted && begun.elapsed() > END_LOOK * 4;
                if (deleted && !gently) || left_alone {
                    self.delete(pod, (!gently).then_some(NO_GRACE_SECONDS)).await?;
                }
            }
            if begun.elapsed() > END_WITHIN + grace {
                let names: Vec<String> = running.iter().map(|pod| pod.name_any()).collect();
                return Err(Fault::new(
                    Reason::Unavailable,
                    format!("pod {} does not end within its grace period", names.join(", ")),
                )
                .hint("its node may be gone; once that is certain, delete the node's object or the pod by force"));
            }
            self.heard(END_LOOK).await;
        }
    }
}
