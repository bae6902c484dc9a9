//! The objects that a project's routes are, in the cluster: brought to what is wanted in
//! the order in which nobody gets in who should not.

use kube::{
    Api, Client, ResourceExt as _,
    api::{DeleteParams, ListParams, Patch, PatchParams, Preconditions, PropagationPolicy},
    core::{ApiResource, DynamicObject, TypeMeta},
};
use remora_proto_model::{Fault, ProjectId, Reason};
use tracing::info;

use crate::{
    api::{MANAGER, failed, is},
    manifests::{COMPONENT, PROJECT_ID, ROUTE, ROUTES},
};

#[cfg(test)]
mod tests;

/// Those of one project.
pub(super) struct Objects<'a> {
    pub(super) client: &'a Client,
    pub(super) namespace: &'a str,
    pub(super) project: ProjectId,
    /// What they can be, in the order in which they are made.
    pub(super) kinds: Vec<ApiResource>,
}

/// An object that is there.
struct There {
    kind: ApiResource,
    name: String,
    uid: Option<String>,
    /// What it was made of.
    of: Option<String>,
}

/// What came of it.
#[derive(Debug, Default)]
pub(in crate::pods) struct Brought {
    /// Why a part of it is not as it should be.
    pub(in crate::pods) fault: Option<Fault>,
    /// Whether something is left that is to be removed a little later.
    pub(in crate::pods) lingers: bool,
}

impl Objects<'_> {
    /// Makes and changes what should be there, and removes what should not, but for those of the kind `kept`. What
    /// cannot be changed is removed, so that nothing lets in whom it should not any more; the first refusal is the
    /// fault. An error is that even this could not be done.
    ///
    /// What leads to a port goes first, and the rest with the next call: the controller hears of it later than the
    /// kernel hears of a policy, and a request that it sends meanwhile would wait for an answer for ever.
    pub(super) async fn bring(&self, wanted: &[DynamicObject], kept: Option<&str>) -> Result<Brought, Fault> {
        let there = self.there().await?;
        let mut brought = Brought::default();
        for object in wanted {
            let Err(refused) = self.apply(object).await else { continue };
            let made_of = object.annotations().get(ROUTE);
            if let Some(stale) = there.iter().find(|one| one.is(object) && one.of.as_ref() != made_of) {
                self.remove(stale, None).await?;
            }
            brought.fault.get_or_insert(refused);
        }
        let unwanted = |one: &&There| kept != Some(&*one.kind.kind) && !wanted.iter().any(|object| one.is(object));
        let leads = |one: &There| self.kinds.last().is_some_and(|last| last.kind == one.kind.kind);
        let (routes, guards): (Vec<&There>, Vec<&There>) =
            there.iter().rev().filter(unwanted).partition(|one| leads(one));
        brought.lingers = !routes.is_empty() && !guards.is_empty();
        for one in if routes.is_empty() { guards } else { routes } {
            info!(kind = one.kind.kind, name = one.name, namespace = self.namespace, "a route is removed");
            self.remove(one, None).await?;
        }
        Ok(brought)
    }

    /// Asks for the end of all of them; what was there still, in words. An Ingress is there until the Certificate
    /// is gone that cert-manager made for it: as long as there is one, a Secret that is removed is written again.
    pub(super) async fn remove_all(&self) -> Result<Vec<String>, Fault> {
        let there = self.there().await?;
        for one in there.iter().rev() {
            let waits = one.kind.kind == "Ingress";
            self.remove(one, waits.then_some(PropagationPolicy::Foreground)).await?;
        }
        Ok(there.iter().map(|one| format!("{} {}", one.kind.kind, one.name)).collect())
    }

    fn api(&self, kind: &ApiResource) -> Api<DynamicObject> {
        Api::namespaced_with(self.client.clone(), self.namespace, kind)
    }

    async fn there(&self) -> Result<Vec<There>, Fault> {
        let params = ListParams::default().labels(&format!("{PROJECT_ID}={},{COMPONENT}={ROUTES}", self.project));
        let mut there = Vec::new();
        for kind in &self.kinds {
            let listed = match self.api(kind).list(&params).await {
                Ok(listed) => listed.items,
                // A cluster that does not know the kind has none of it.
                Err(error) if is(&error, 404) => Vec::new(),
                Err(error) => return Err(failed(&format!("list the {} of the project", kind.plural), error)),
            };
            there.extend(listed.into_iter().map(|object| There {
                kind: kind.clone(),
                name: object.name_any(),
                uid: object.uid(),
                of: object.annotations().get(ROUTE).cloned(),
            }));
        }
        Ok(there)
    }

    async fn apply(&self, object: &DynamicObject) -> Result<(), Fault> {
        let Some(kind) = self.kinds.iter().find(|kind| is_of(object, kind)) else {
            return Err(Fault::new(Reason::Internal, format!("a route is of a kind that none is: {:?}", object.types)));
        };
        let name = object.name_any();
        let applied = self.api(kind).patch(&name, &PatchParams::apply(MANAGER).force(), &Patch::Apply(object)).await;
        match applied {
            Err(error) if is_unknown_kind(&error) => Err(Fault::new(
                Reason::FailedPrecondition,
                format!("the cluster does not know {} of {}, which routes need here", kind.kind, kind.group),
            )
            .hint("install the definitions that the ingress controller brings, or choose another way of routing")
            .stage("kubernetes")),
            applied => applied.map(drop).map_err(|error| failed(&format!("apply {} {name}", kind.kind), error)),
        }
    }

    async fn remove(&self, there: &There, propagation_policy: Option<PropagationPolicy>) -> Result<(), Fault> {
        let params = DeleteParams {
            preconditions: Some(Preconditions { uid: there.uid.clone(), resource_version: None }),
            propagation_policy,
            ..DeleteParams::default()
        };
        match self.api(&there.kind).delete(&there.name, &params).await {
            // Gone, or another one by now, which the next look finds.
            Err(error) if is(&error, 404) || is(&error, 409) => Ok(()),
            done => {
                done.map(drop).map_err(|error| failed(&format!("remove {} {}", there.kind.kind, there.name), error))
            }
        }
    }
}

impl There {
    fn is(&self, object: &DynamicObject) -> bool {
        is_of(object, &self.kind) && object.metadata.name.as_ref() == Some(&self.name)
    }
}

/// Not to be had for want of the kind, and not for want of the namespace.
fn is_unknown_kind(error: &kube::Error) -> bool {
    is(error, 404) && !error.to_string().contains("namespaces ")
}

fn is_of(object: &DynamicObject, kind: &ApiResource) -> bool {
    let is = |types: &TypeMeta| types.kind == kind.kind && types.api_version == kind.api_version;
    object.types.as_ref().is_some_and(is)
}
