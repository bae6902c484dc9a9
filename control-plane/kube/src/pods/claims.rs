//! The claims of a project's volumes, which outlive its pods.

use k8s_openapi::api::core::v1::PersistentVolumeClaim;
use kube::{Api, ResourceExt as _, api::ListParams};
use remora_proto_model::{Fault, Reason};
use tokio::time::Instant;
use tracing::info;

use super::KubePods;
use crate::{
    api::failed,
    limits::{END_LOOK, END_WITHIN},
    manifests::{self, Context},
    seen,
};

impl KubePods {
    /// Makes the claims that are not there.
    ///
    /// Where `nothing_is_kept`, those go before that which no volume was ever bound to:
    /// nothing is in them, and what they ask for cannot be changed in them, while the spec
    /// may say another class by now. No pod may have them then: it would keep them.
    pub(super) async fn make_claims(&self, context: &Context<'_>, nothing_is_kept: bool) -> Result<(), Fault> {
        if nothing_is_kept {
            self.remove_unbound().await?;
        }
        for claim in manifests::volume_claim(context).iter().chain(&manifests::data_claims(context)) {
            self.once(claim).await?;
        }
        Ok(())
    }

    async fn remove_unbound(&self) -> Result<(), Fault> {
        let api: Api<PersistentVolumeClaim> = Api::namespaced(self.cluster.client.clone(), self.place.namespace());
        let params = ListParams::default().labels(&format!("{}={}", manifests::PROJECT_ID, self.project));
        let deadline = Instant::now() + END_WITHIN;
        loop {
            let there = api.list(&params).await.map_err(|error| failed("list the claims of the project", error))?;
            let unbound: Vec<_> = there.items.iter().filter(|claim| seen::is_unbound(claim)).collect();
            if unbound.is_empty() {
                return Ok(());
            }
            for claim in unbound.iter().filter(|claim| claim.metadata.deletion_timestamp.is_none()) {
                let name = claim.name_any();
                info!(claim = name, namespace = self.place.namespace(), "a claim without a volume is made anew");
                self.remove_named::<PersistentVolumeClaim>(&name).await?;
            }
            if Instant::now() > deadline {
                let names: Vec<String> = unbound.iter().map(|claim| claim.name_any()).collect();
                let problem = format!("claim {} is not removed by the cluster", names.join(", "));
                return Err(Fault::new(Reason::Unavailable, problem).hint("something else may use it"));
            }
            self.heard(END_LOOK).await;
        }
    }
}
