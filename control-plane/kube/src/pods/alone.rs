//! One pod at a time, where several take themselves for the one that makes it.

use k8s_openapi::{
    api::core::v1::{Pod, Secret},
    jiff::Timestamp,
};
use kube::{Api, ResourceExt as _, api::ListParams};
use remora_proto_model::{Fault, Generation, Reason};

use super::KubePods;
use crate::{api::failed, crd, manifests, seen};

impl KubePods {
    /// Sees to it that no pod of another generation runs beside the one that is made next,
    /// whoever else takes itself for the one that leads, and wherever that was held up.
    ///
    /// Whoever makes a pod has made its identity before this. A control plane that was
    /// overtaken after that finds another generation in the record, or its pod finds no
    /// identity to mount and does not start, or it is among the pods that are looked at here.
    pub(super) async fn be_the_only_one(&self, generation: Generation) -> Result<(), Fault> {
        let api: Api<Secret> = Api::namespaced(self.cluster.client.clone(), self.place.namespace());
        let params = ListParams::default().labels(&format!("{}={}", manifests::PROJECT_ID, self.project));
        let secrets = api.list(&params).await.map_err(|error| failed("list the Secrets of the project", error))?;
        let of = |secret: &Secret| secret.labels().get(manifests::GENERATION)?.parse().ok().map(Generation);
        for older in secrets.items.iter().filter_map(of).filter(|of| *of < generation) {
            self.remove::<Secret>(&manifests::agent_secret_name(older)).await?;
        }
        let api: Api<crd::Project> = Api::all(self.cluster.client.clone());
        let what = format!("read project {}", self.name);
        let there = api.get(&self.name).await.map_err(|error| failed(&what, error))?;
        let now = crd::record(&there)?.project.status.generation;
        let other =
            |pod: &&Pod| seen::generation(pod).is_some_and(|of| of != generation) && !seen::over(pod, Timestamp::now());
        let beside = self.list().await?.iter().find(other).map(|pod| pod.name_any());
        match beside {
            _ if now != generation => Err(Fault::new(
                Reason::FailedPrecondition,
                format!("generation {generation} does not start: another control plane has begun generation {now}"),
            )),
            Some(pod) => Err(Fault::new(
                Reason::FailedPrecondition,
                format!("generation {generation} does not start beside pod {pod}, which has not ended"),
            )),
            None => Ok(()),
        }
    }
}
