//! The end of a project in a namespace that others share: what carries its label is
//! removed one by one, and the namespace stays.

use std::collections::BTreeMap;

use k8s_openapi::{
    api::{
        apps::v1::Deployment,
        core::v1::{Namespace, PersistentVolumeClaim, Pod, Secret, Service, ServiceAccount},
        networking::v1::NetworkPolicy,
    },
    apimachinery::pkg::apis::meta::v1::ObjectMeta,
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
    limits::{END_LOOK, LIST_PAGE, NAMESPACE_WITHIN},
    manifests,
};

/// How many of the objects that do not go are named.
const SHOWN: usize = 5;

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
                let (some, more) = left.split_at(left.len().min(SHOWN));
                let more = if more.is_empty() { String::new() } else { format!(" and {} more", more.len()) };
                return Err(Fault::new(
                    Reason::Unavailable,
                    format!("of the project there is still {}{more} in {}", some.join(", "), self.place.namespace()),
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
        // Nobody is led to what ends.
        let mut left = self.remove_routes().await?;
        // A Deployment is gone once its ReplicaSets are.
        left.extend(self.remove_all::<Deployment>(Some(PropagationPolicy::Foreground)).await?);
        left.extend(self.remove_all::<Pod>(None).await?);
        left.extend(self.remove_all::<Service>(None).await?);
        if left.is_empty() {
            left.extend(self.remove_all::<PersistentVolumeClaim>(None).await?);
            left.extend(self.remove_all::<Secret>(None).await?);
            left.extend(self.remove_secrets_of_others().await?);
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

    /// What others keep under names that the project gave: cert-manager leaves the
    /// certificate of a route in a Secret without an owner and without our labels.
    async fn remove_secrets_of_others(&self) -> Result<Vec<String>, Fault> {
        let api: Api<Secret> = Api::namespaced(self.cluster.client.clone(), self.place.namespace());
        let mut params = ListParams::default().limit(LIST_PAGE);
        let mut left = Vec::new();
        loop {
            let page = api.list_metadata(&params).await.map_err(|error| failed("list the Secrets", error))?;
            for secret in page.items.iter().filter(|secret| self.place.tells(&secret.name_any())) {
                left.push(format!("Secret {}", secret.name_any()));
                self.remove_seen::<Secret>(&secret.metadata, None).await?;
            }
            match page.metadata.continue_.filter(|token| !token.is_empty()) {
                Some(token) => params = params.continue_token(&token),
                None => return Ok(left),
            }
        }
    }

    async fn remove_all<T>(&self, propagation_policy: Option<PropagationPolicy>) -> Result<Vec<String>, Fault>
    where
        T: kube::Resource<DynamicType = (), Scope = kube::core::NamespaceResourceScope>
            + Clone
            + serde::de::DeserializeOwned
            + std::fmt::Debug,
    {
        let mut left = Vec::new();
        for object in self.of_project::<T>().await? {
            left.push(format!("{} {}", T::kind(&()), object.name_any()));
            self.remove_seen::<T>(object.meta(), propagation_policy.clone()).await?;
        }
        Ok(left)
    }

    /// Removes an object that was seen: one of its name that somebody made meanwhile is not it.
    async fn remove_seen<T>(
        &self,
        seen: &ObjectMeta,
        propagation_policy: Option<PropagationPolicy>,
    ) -> Result<(), Fault>
    where
        T: kube::Resource<DynamicType = (), Scope = kube::core::NamespaceResourceScope>
            + Clone
            + serde::de::DeserializeOwned
            + std::fmt::Debug,
    {
        if seen.deletion_timestamp.is_some() {
            return Ok(());
        }
        let name = seen.name.as_deref().unwrap_or_default();
        let api: Api<T> = Api::namespaced(self.cluster.client.clone(), self.place.namespace());
        let params = DeleteParams {
            preconditions: Some(Preconditions { uid: seen.uid.clone(), resource_version: None }),
            propagation_policy,
            ..DeleteParams::default()
        };
        match api.delete(name, &params).await {
            Err(error) if is(&error, 404) || is(&error, 409) => Ok(()),
            done => done.map(drop).map_err(|error| failed(&format!("remove {} {name}", T::kind(&())), error)),
        }
    }
}
