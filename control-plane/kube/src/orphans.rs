//! What in the cluster carries Remora's labels and is of no project that is known.
//!
//! Only metadata is read. Secrets are listed where the control plane may do that at
//! all: in the namespaces of projects, by the rights that were bound there.

use std::{collections::HashSet, fmt::Debug, pin::pin};

use futures_util::{Stream, StreamExt as _};
use k8s_openapi::api::{
    apps::v1::Deployment,
    core::v1::{Namespace, PersistentVolume, PersistentVolumeClaim, Pod, Secret},
};
use kube::{
    Api, Client, ResourceExt as _,
    api::{ListParams, PartialObjectMeta},
};
use remora_proto_model::{
    Fault, ProjectId,
    project::{Orphan, OrphanKind, Orphans},
};
use serde::de::DeserializeOwned;

use crate::{
    api::{failed, is, pages},
    crd,
    limits::{LIST_PAGE, MAX_ORPHAN_NAMESPACES, MAX_ORPHAN_PAGES},
    manifests,
};

/// What is found by listing the cluster once. `shared` is the namespace of projects that
/// share one now.
pub(crate) async fn strangers(
    client: &Client,
    known: &HashSet<ProjectId>,
    shared: Option<&str>,
) -> Result<Orphans, Fault> {
    let mut search = Search { known, shared: Vec::new(), found: Orphans::default() };
    let namespaces: Api<Namespace> = Api::all(client.clone());
    let still_shared = search.still_shared(&namespaces).await?;
    search.shared = shared.map(str::to_owned).into_iter().chain(still_shared.iter().cloned()).collect();
    search.labelled(OrphanKind::Namespace, &namespaces, "namespaces").await?;
    search.labelled(OrphanKind::Deployment, &Api::<Deployment>::all(client.clone()), "Deployments").await?;
    search.labelled(OrphanKind::Pod, &Api::<Pod>::all(client.clone()), "pods").await?;
    search.volumes(&Api::all(client.clone())).await?;
    let inside: Vec<String> = search
        .found
        .orphans
        .iter()
        .filter(|orphan| orphan.kind == OrphanKind::Namespace)
        .map(|orphan| orphan.name.clone())
        .collect();
    for namespace in inside.iter().take(MAX_ORPHAN_NAMESPACES).chain(&still_shared) {
        let claims = Api::<PersistentVolumeClaim>::namespaced(client.clone(), namespace);
        search.labelled(OrphanKind::VolumeClaim, &claims, &format!("claims of volumes in {namespace}")).await?;
        let secrets = Api::<Secret>::namespaced(client.clone(), namespace);
        search.labelled(OrphanKind::Secret, &secrets, &format!("Secrets in {namespace}")).await?;
    }
    if inside.len() > MAX_ORPHAN_NAMESPACES {
        let left = inside.len() - MAX_ORPHAN_NAMESPACES;
        search.found.unseen.push(format!("claims of volumes and Secrets in {left} more such namespaces"));
    }
    // Read last: a project is there before anything of it. One whose spec cannot be read
    // is one too.
    let there = projects(client).await?;
    search.found.orphans.retain(|orphan| !there.contains(&orphan.project_id));
    Ok(search.found)
}

/// The ids of all projects, whatever is in them.
async fn projects(client: &Client) -> Result<HashSet<String>, Fault> {
    let api: Api<crd::Project> = Api::all(client.clone());
    let api = &api;
    let list = |params| async move { api.list_metadata(&params).await };
    let mut pages = pin!(pages(ListParams::default().limit(LIST_PAGE), list));
    let mut ids = HashSet::new();
    while let Some(page) = pages.next().await {
        let page = page.map_err(|error| failed("list the projects", error))?;
        ids.extend(page.iter().filter_map(|project| project.uid()));
    }
    Ok(ids)
}

struct Search<'a> {
    known: &'a HashSet<ProjectId>,
    /// Namespaces of projects that share one, now or by an earlier setting.
    shared: Vec<String>,
    found: Orphans,
}

impl Search<'_> {
    /// The namespaces there are that projects share: ours, and no project's own.
    async fn still_shared(&mut self, namespaces: &Api<Namespace>) -> Result<Vec<String>, Fault> {
        let selector = format!("{}={},!{}", manifests::MANAGED_BY, manifests::MANAGER, manifests::PROJECT_ID);
        let most = u32::try_from(MAX_ORPHAN_NAMESPACES).unwrap_or(u32::MAX);
        let page = namespaces.list_metadata(&ListParams::default().labels(&selector).limit(most)).await;
        let page = page.map_err(|error| failed("list the namespaces that projects share", error))?;
        if page.metadata.continue_.is_some_and(|token| !token.is_empty()) {
            self.found.unseen.push(format!("namespaces that projects share, beyond the first {most}"));
        }
        Ok(page.items.iter().map(|namespace| namespace.name_any()).collect())
    }

    /// Everything with Remora's label that names a project.
    async fn labelled<T>(&mut self, kind: OrphanKind, api: &Api<T>, what: &str) -> Result<(), Fault>
    where
        T: kube::Resource<DynamicType = ()> + Clone + DeserializeOwned + Debug,
    {
        let selector = format!("{}={},{}", manifests::MANAGED_BY, manifests::MANAGER, manifests::PROJECT_ID);
        let params = ListParams::default().labels(&selector).limit(LIST_PAGE);
        let pages = pages(params, |params| async move { api.list_metadata(&params).await });
        self.each(pages, what, |search, page| search.take(kind, &page)).await
    }

    /// Has every page taken, as far as there are any to be had.
    async fn each<T>(
        &mut self,
        pages: impl Stream<Item = kube::Result<Vec<T>>>,
        what: &str,
        mut take: impl FnMut(&mut Self, Vec<T>),
    ) -> Result<(), Fault> {
        let mut pages = pin!(pages);
        for _ in 0..MAX_ORPHAN_PAGES {
            match pages.next().await {
                Some(Ok(page)) => take(self, page),
                // An older chart, or a namespace whose rights were taken away.
                Some(Err(error)) if is(&error, 403) => {
                    self.found.unseen.push(format!("{what}: the API server does not let the control plane list them"));
                    return Ok(());
                }
                Some(Err(error)) => return Err(failed(&format!("list the {what}"), error)),
                None => return Ok(()),
            }
        }
        if pages.next().await.is_some() {
            self.found.unseen.push(format!("{what} beyond the first {}", LIST_PAGE * MAX_ORPHAN_PAGES));
        }
        Ok(())
    }

    fn take<T>(&mut self, kind: OrphanKind, page: &[PartialObjectMeta<T>])
    where
        T: kube::Resource<DynamicType = ()>,
    {
        let orphans = page.iter().filter_map(|object| {
            let label = object.labels().get(manifests::PROJECT_ID)?;
            self.is_strange(label).then(|| Orphan {
                kind,
                namespace: object.namespace().unwrap_or_default(),
                name: object.name_any(),
                project_id: label.clone(),
                created_ms: created_ms(&object.metadata),
                ending: object.metadata.deletion_timestamp.is_some(),
            })
        });
        let orphans: Vec<Orphan> = orphans.collect();
        self.found.orphans.extend(orphans);
    }

    fn is_strange(&self, id: &str) -> bool {
        id.parse().map_or(true, |id: ProjectId| !self.known.contains(&id))
    }

    /// Volumes whose claim was in the namespace of a project. They carry no labels of ours:
    /// the cluster makes them, and keeps them where their class says so.
    async fn volumes(&mut self, api: &Api<PersistentVolume>) -> Result<(), Fault> {
        let pages = pages(ListParams::default().limit(LIST_PAGE), |params| async move { api.list(&params).await });
        self.each(pages, "volumes", Self::take_volumes).await
    }

    fn take_volumes(&mut self, page: Vec<PersistentVolume>) {
        for volume in &page {
            let claim = volume.spec.as_ref().and_then(|spec| spec.claim_ref.as_ref());
            let claim = claim.and_then(|claim| claim.namespace.as_deref().zip(claim.name.as_deref()));
            let of = claim.and_then(|(namespace, name)| manifests::Place::project_of(namespace, name, &self.shared));
            let Some(project) = of.filter(|project| !self.known.contains(project)) else { continue };
            self.found.orphans.push(Orphan {
                kind: OrphanKind::Volume,
                namespace: String::new(),
                name: volume.name_any(),
                project_id: project.to_string(),
                created_ms: created_ms(&volume.metadata),
                ending: volume.metadata.deletion_timestamp.is_some(),
            });
        }
    }
}

fn created_ms(metadata: &kube::api::ObjectMeta) -> u64 {
    let created = metadata.creation_timestamp.as_ref();
    created.and_then(|time| u64::try_from(time.0.as_millisecond()).ok()).unwrap_or(0)
}
