//! The end of pods: asked for, seen, and let go of once their last word was read.

use std::time::Duration;

use k8s_openapi::{
    api::core::v1::{Pod, Secret},
    jiff::Timestamp,
};
use kube::{
    ResourceExt as _,
    api::{DeleteParams, Patch, PatchParams, Preconditions},
};
use remora_control_plane_project::Tree;
use remora_control_plane_runtime::{
    pods::{Ending, Pods as _},
    records::Record,
};
use remora_proto_model::{Fault, Reason};
use serde_json::json;
use tokio::time::Instant;
use tracing::info;

use super::{KubePods, NO_GRACE_SECONDS, is_apart};
use crate::{
    api::{failed, is},
    limits::{END_LOOK, END_WITHIN},
    manifests, seen,
};

impl KubePods {
    pub(super) async fn delete(&self, pod: &Pod, grace: Option<u32>) -> Result<(), Fault> {
        let params = DeleteParams {
            grace_period_seconds: grace,
            preconditions: Some(Preconditions { uid: pod.uid(), resource_version: None }),
            ..DeleteParams::default()
        };
        match self.pods().delete(&pod.name_any(), &params).await {
            Err(error) if is(&error, 404) || is(&error, 409) => Ok(()),
            outcome => outcome.map(drop).map_err(|error| failed(&format!("end pod {}", pod.name_any()), error)),
        }
    }

    /// Ends the pods that `which` names, and sees their containers ended. The
    /// objects stay until [`bury`](remora_control_plane_runtime::pods::Pods::bury): they hold the agent's last word.
    pub(super) async fn end_those(
        &self,
        record: &Record,
        gently: bool,
        which: impl Fn(&Pod) -> bool,
    ) -> Result<Ending, Fault> {
        let mut deadline = Instant::now() + END_WITHIN;
        let mut asked = false;
        loop {
            let mut pods = self.list().await?;
            pods.retain(|pod| which(pod));
            if !asked {
                let grace = pods.iter().filter_map(|pod| pod.spec.as_ref()?.termination_grace_period_seconds).max();
                deadline += Duration::from_secs(grace.and_then(|grace| u64::try_from(grace).ok()).unwrap_or(0));
                asked = true;
            }
            for pod in pods.iter().filter(|pod| pod.metadata.deletion_timestamp.is_none()) {
                info!(pod = pod.name_any(), namespace = self.place.namespace(), gently, "the pod is to end");
                self.delete(pod, (!gently).then_some(NO_GRACE_SECONDS)).await?;
            }
            let running: Vec<String> =
                pods.iter().filter(|pod| !seen::over(pod, Timestamp::now())).map(|pod| pod.name_any()).collect();
            if running.is_empty() {
                self.told().extend(pods.iter().filter_map(Pod::uid));
                // The newest start of them had the tree.
                let starts = pods.iter().filter(|pod| seen::generation(pod).is_some());
                let last = starts.max_by_key(|pod| seen::generation(pod));
                let tree = self.tree_after(record, &pods);
                return Ok(last.map_or(Ending { tree, ..Ending::default() }, |pod| seen::last_word(pod, tree)));
            }
            if Instant::now() > deadline {
                return Err(Fault::new(
                    Reason::Unavailable,
                    format!("pod {} does not end within its grace period", running.join(", ")),
                )
                .hint("its node may be gone; once that is certain, delete the node's object or the pod by force"));
            }
            self.heard(END_LOOK).await;
        }
    }

    /// What the working tree is once `pods` have ended, unless a snapshot has all of it.
    pub(super) fn tree_after(&self, record: &Record, pods: &[Pod]) -> Tree {
        if self.tree_ends_with_pod(record) { Tree::Absent } else { seen::left_on_volume(record.tree, pods) }
    }

    /// Lets go of the pods whose last word was heard, and sees them gone.
    pub(super) async fn let_go(&self, record: &Record) -> Result<(), Fault> {
        let deadline = Instant::now() + END_WITHIN;
        loop {
            let pods = self.list().await?;
            // Nothing is to be heard of one that no agent makes a snapshot in.
            let heard = |pod: &&Pod| {
                pod.uid().is_some_and(|uid| self.told().contains(&uid))
                    && (seen::generation(pod).is_some() || seen::apart::container(pod.labels()).is_none())
            };
            let ended: Vec<&Pod> = pods.iter().filter(heard).collect();
            if ended.is_empty() {
                self.told().clear();
                return Ok(());
            }
            for pod in ended {
                let left: Vec<&String> =
                    pod.finalizers().iter().filter(|name| *name != manifests::FINAL_SNAPSHOT).collect();
                if left.len() < pod.finalizers().len() {
                    let patch = json!({ "metadata": { "finalizers": left, "uid": pod.uid() } });
                    match self.pods().patch(&pod.name_any(), &PatchParams::default(), &Patch::Merge(patch)).await {
                        Err(error) if is(&error, 404) || is(&error, 409) => {}
                        done => {
                            drop(done.map_err(|error| failed(&format!("let go of pod {}", pod.name_any()), error))?);
                        }
                    }
                }
                // No kubelet will say of a lost one that it may go. One that comes back ends what it finds of it.
                self.delete(pod, seen::lost(pod, Timestamp::now()).then_some(0)).await?;
                let others_have_it = is_apart(record)
                    && record.condemned.is_none()
                    && seen::generation(pod) == Some(record.project.status.generation);
                if let Some(generation) = seen::generation(pod).filter(|_| !others_have_it) {
                    self.remove::<Secret>(&manifests::agent_secret_name(generation)).await?;
                }
            }
            if Instant::now() > deadline {
                return Err(Fault::new(Reason::Unavailable, "a pod that has ended is not removed by the cluster"));
            }
            self.heard(END_LOOK).await;
        }
    }
}
