//! The end of a project in a namespace that others share: what carries its label is
//! removed one by one, and the namespace stays.

use std::collections::BTreeMap;

use k8s_openapi::api::{
    apps::v1::Deployment,
    core::v1::{Namespace, PersistentVolumeClaim, Pod, Secret, Service, ServiceAccount},
    networking::v1::NetworkPolicy,
};
use kube::{
    Api, ResourceExt as _,
    api::{DeleteParams, ListParams, Preconditions, PropagationPolicy},
};
use remora_control_plane_runtime::records::Record;
use remora_proto_model::{Fault, Reason};
use tokio::time::Instant;

use super::{KubePods, in_force};
use crate::{
    api::{failed, is},
    apply::apply_in,
    limits::{END_LOOK, NAMESPACE_WITHIN},
    manifests,
};

impl KubePods {
    /// Removes all of the project, and sees it gone: what runs first, and what keeps it
    /// from its neighbours once nothing of it runs.
    pub(super) async fn remove_from_shared(&self, record: &Record) -> Result<(), Fault> {
        let deadline = Instant::now() + NAMESPACE_WITHIN;
        let mut has_rights = false;
        loop {
            let left = match self.shared_namespace().await? {
                None => return Ok(()),
                // Somebody ends all of it, and nothing can be bound there any more.
                Some(namespace) if namespace.metadata.deletion_timestamp.is_some() => {
                    vec![format!("namespace {}", namespace.name_any())]
                }
                Some(_) => {
                    if !has_rights {
                        self.get_rights(record).await?;
                        has_rights = true;
                    }
                    self.remove_what_is_left().await?
                }
            };
            if left.is_empty() {
                return Ok(());
            }
            if Instant::now() > deadline {
                return Err(Fault::new(
                    Reason::Unavailable,
                    format!("of the project there is still {} in {}", left.join(", "), self.place.namespace()),
                )
                .hint("something of it has a finalizer whose owner does not act"));
            }
            self.heard(END_LOOK).await;
        }
    }

    async fn shared_namespace(&self) -> Result<Option<Namespace>, Fault> {
        let api: Api<Namespace> = Api::all(self.cluster.client.clone());
        let name = self.place.namespace();
        api.get_opt(name).await.map_err(|error| failed(&format!("read namespace {name}"), error))
    }

    /// The rights that a start binds, for a project that never had one, or from which they were taken.
    async fn get_rights(&self, record: &Record) -> Result<(), Fault> {
        let commands = BTreeMap::new();
        let context = self.context(record, record.project.status.generation, &commands);
        let binding = manifests::role_binding(&context);
        apply_in(&self.cluster.client, self.place.namespace(), &binding).await?;
        in_force(|| self.of_project::<Secret>()).await.map(drop)
    }

    /// Asks for the end of everything that is there; what is not gone yet, in words.
    async fn remove_what_is_left(&self) -> Result<Vec<String>, Fault> {
        // A Deployment is gone once its ReplicaSets are.
        let mut left = self.remove_all::<Deployment>(Some(PropagationPolicy::Foreground)).await?;
        left.extend(self.remove_all::<Pod>(None).await?);
        left.extend(self.remove_all::<Service>(None).await?);
        if left.is_empty() {
            left.extend(self.remove_all::<PersistentVolumeClaim>(None).await?);
            left.extend(self.remove_all::<Secret>(None).await?);
            left.extend(self.remove_all::<ServiceAccount>(None).await?);
            left.extend(self.remove_all::<NetworkPolicy>(None).await?);
        }
        Ok(left)
    }

    /// What there is of a kind with the project's label.
    async fn of_project<T>(&self) -> Result<Vec<T>, Fault>
    where
        T: kube::Resource<DynamicType = (), Scope = kube::core::NamespaceResourceScope>
            + Clone
            + serde::de::DeserializeOwned
            + std::fmt::Debug,
    {
        let api: Api<T> = Api::namespaced(self.cluster.client.clone(), self.place.namespace());
        let ours =
            format!("{}={},{}={}", manifests::PROJECT_ID, self.project, manifests::MANAGED_BY, manifests::MANAGER);
        let listed = api.list(&ListParams::default().labels(&ours)).await;
        Ok(listed.map_err(|error| failed(&format!("list the {} of the project", T::plural(&())), error))?.items)
    }

    async fn remove_all<T>(&self, propagation_policy: Option<PropagationPolicy>) -> Result<Vec<String>, Fault>
    where
        T: kube::Resource<DynamicType = (), Scope = kube::core::NamespaceResourceScope>
            + Clone
            + serde::de::DeserializeOwned
            + std::fmt::Debug,
    {
        let api: Api<T> = Api::namespaced(self.cluster.client.clone(), self.place.namespace());
        let mut left = Vec::new();
        for object in self.of_project::<T>().await? {
            let what = format!("{} {}", T::kind(&()), object.name_any());
            let params = DeleteParams {
                // One of that name that somebody made meanwhile is not the one that was seen.
                preconditions: Some(Preconditions { uid: object.uid(), resource_version: None }),
                propagation_policy: propagation_policy.clone(),
                ..DeleteParams::default()
            };
            if object.meta().deletion_timestamp.is_none() {
                match api.delete(&object.name_any(), &params).await {
                    Err(error) if is(&error, 404) || is(&error, 409) => {}
                    done => drop(done.map_err(|error| failed(&format!("remove {what}"), error))?),
                }
            }
            left.push(what);
        }
        Ok(left)
    }
}
