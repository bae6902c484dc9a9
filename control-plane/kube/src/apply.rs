//! Server-side apply, with one field manager for all.

use kube::{
    Api, Resource,
    api::{Patch, PatchParams},
    core::NamespaceResourceScope,
};
use remora_proto_model::Fault;
use serde::{Serialize, de::DeserializeOwned};

use crate::api::{MANAGER, failed};

/// Applies an object: made where it is missing, brought to what it should be where it differs.
pub(crate) async fn apply<T>(api: &Api<T>, object: &T) -> Result<T, Fault>
where
    T: Resource<DynamicType = ()> + Clone + Serialize + DeserializeOwned + std::fmt::Debug,
{
    let name = object.meta().name.clone().unwrap_or_default();
    let params = PatchParams::apply(MANAGER).force();
    let applied = api.patch(&name, &params, &Patch::Apply(object)).await;
    applied.map_err(|error| failed(&format!("apply {} {name}", T::kind(&())), error))
}

/// As [`apply`], in a namespace.
pub(crate) async fn apply_in<T>(client: &kube::Client, namespace: &str, object: &T) -> Result<T, Fault>
where
    T: Resource<DynamicType = (), Scope = NamespaceResourceScope>
        + Clone
        + Serialize
        + DeserializeOwned
        + std::fmt::Debug,
{
    apply(&Api::namespaced(client.clone(), namespace), object).await
}
