//! Records as custom resources: the API server keeps them, and its resource
//! versions decide which of two writers was first.

use std::{
    collections::HashMap,
    fmt,
    pin::pin,
    sync::{Mutex, PoisonError},
    time::Instant,
};

use futures_util::{Stream, StreamExt as _, stream::BoxStream};
use kube::{
    Api, Client, ResourceExt as _,
    api::{DeleteParams, ListParams, Patch, PatchParams, PostParams, Preconditions},
    runtime::{
        WatchStreamExt as _,
        watcher::{self, Event},
    },
};
use remora_control_plane_runtime::records::{Boxed, Feed, Record, Records};
use remora_proto_model::{Fault, ProjectId, ProjectName, Reason, project::ProjectStatus};
use serde_json::json;
use tracing::warn;

use crate::{
    api::{MANAGER, failed, is, pages, watching},
    crd,
    limits::{LIST_PAGE, TOUCH_INTERVAL},
};

/// See the module.
pub struct KubeRecords {
    api: Api<crd::Project>,
    seen: Mutex<HashMap<ProjectId, Seen>>,
}

/// What is known of one beside its record.
#[derive(Clone, Default)]
struct Seen {
    /// Its name, by which alone the API server finds it.
    name: String,
    /// The metadata.generation of its spec, and the resource version with which it was first seen.
    spec: (i64, u64),
    /// When a status of it was last written for what is measured anew.
    touched: Option<Instant>,
}

impl fmt::Debug for KubeRecords {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("KubeRecords")
    }
}

impl KubeRecords {
    /// The projects of the cluster that `client` talks to.
    pub fn new(client: Client) -> KubeRecords {
        KubeRecords { api: Api::all(client), seen: Mutex::default() }
    }

    fn seen(&self) -> std::sync::MutexGuard<'_, HashMap<ProjectId, Seen>> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn record(&self, resource: &crd::Project) -> Result<Record, Fault> {
        let mut record = crd::record(resource)?;
        let version = record.project.resource_version;
        let generation = resource.metadata.generation.unwrap_or_default();
        let mut seen = self.seen();
        let seen = seen.entry(record.project.id).or_default();
        if seen.spec.0 != generation {
            seen.spec = (generation, version);
        }
        if seen.name.is_empty() {
            record.project.name.as_str().clone_into(&mut seen.name);
        }
        record.spec_version = seen.spec.1.min(version);
        Ok(record)
    }

    async fn post(&self, record: Record) -> Result<Record, Fault> {
        let mut resource = crd::Project::new(record.project.name.as_str(), crd::spec(&record.project.spec)?);
        // From the first moment on: nothing is made before it can be unmade.
        resource.metadata.finalizers = Some(vec![crd::FINALIZER.to_owned()]);
        let made = self.api.create(&PostParams::default(), &resource).await;
        let name = &record.project.name;
        self.record(&made.map_err(|error| {
            match failed(&format!("make project {name}"), error) {
                fault if fault.reason == Reason::AlreadyExists => {
                    Fault::new(Reason::AlreadyExists, format!("there is a project {name}"))
                        .hint("patch it, or delete it first, or choose another name")
                }
                fault => fault,
            }
        })?)
    }

    async fn put(&self, before: Record, after: Record) -> Result<Record, Fault> {
        let intends = (&before.replace, &before.discard, before.idled) != (&after.replace, &after.discard, after.idled);
        let stored = match (before.project.spec != after.project.spec, same_status(&before, &after)) {
            (true, false) if intends => self.put_intent_and_spec(&before, &after).await?,
            (true, same) => {
                let resource = self.current(&before).await?;
                let stored = self.put_spec(resource, &after, &PostParams::default()).await?;
                if same { stored } else { self.put_status(&after, stored.project.resource_version).await? }
            }
            (false, _) => self.put_status(&after, before.project.resource_version).await?,
        };
        if before.deletion.is_none() && after.deletion.is_some() {
            self.delete(&after).await?;
        }
        Ok(stored)
    }

    /// What is to become of what runs, and then the spec that it is to become. They are two
    /// writes to the API server. Whoever dies between them, or meets another writer there,
    /// leaves an intent with the old spec: at worst a start that changes nothing, and the
    /// same call again does all of it. The other way around the change would stay undone,
    /// and the same call again would find nothing to do.
    async fn put_intent_and_spec(&self, before: &Record, after: &Record) -> Result<Record, Fault> {
        let mut resource = self.current(before).await?;
        // Those of before the intent would take from us what it holds; without any the present ones stay.
        resource.metadata.managed_fields = None;
        // A spec that the API server refuses is to leave no intent behind.
        let attempt = PostParams { dry_run: true, ..PostParams::default() };
        self.put_spec(resource.clone(), after, &attempt).await?;
        let mut intent = after.clone();
        intent.project.spec.clone_from(&before.project.spec);
        let noted = self.put_status(&intent, before.project.resource_version).await?;
        resource.metadata.resource_version = Some(noted.project.resource_version.to_string());
        self.put_spec(resource, after, &PostParams::default()).await
    }

    async fn put_spec(&self, mut resource: crd::Project, after: &Record, how: &PostParams) -> Result<Record, Fault> {
        let name = &after.project.name;
        resource.spec = crd::spec(&after.project.spec)?;
        let replaced = self.api.replace(name.as_str(), how, &resource).await;
        let replaced = replaced.map_err(|error| failed(&format!("change project {name}"), error))?;
        if how.dry_run { crd::record(&replaced) } else { self.record(&replaced) }
    }

    async fn put_status(&self, after: &Record, version: u64) -> Result<Record, Fault> {
        let name = after.project.name.as_str();
        let mut status = crd::record_status(after)?;
        status.observed_generation = self.seen().get(&after.project.id).map(|seen| seen.spec.0);
        let applied = json!({
            "apiVersion": "remora.dev/v1alpha1",
            "kind": "Project",
            "metadata": { "name": name, "uid": after.project.id, "resourceVersion": version.to_string() },
            "status": status,
        });
        let params = PatchParams::apply(MANAGER).force();
        let applied = self.api.patch_status(name, &params, &Patch::Apply(applied)).await;
        self.record(&applied.map_err(|error| failed(&format!("note the status of project {name}"), error))?)
    }

    /// The object that `before` is the record of.
    async fn current(&self, before: &Record) -> Result<crd::Project, Fault> {
        let name = before.project.name.as_str();
        let resource = self.api.get(name).await.map_err(|error| failed(&format!("read project {name}"), error))?;
        let same = resource.uid().as_deref() == Some(before.project.id.to_string().as_str())
            && resource.resource_version().as_deref() == Some(before.project.resource_version.to_string().as_str());
        if same { Ok(resource) } else { Err(Fault::new(Reason::Conflict, format!("project {name} changed meanwhile"))) }
    }

    async fn delete(&self, record: &Record) -> Result<(), Fault> {
        let name = record.project.name.as_str();
        let params = DeleteParams {
            preconditions: Some(Preconditions { uid: Some(record.project.id.to_string()), resource_version: None }),
            ..DeleteParams::default()
        };
        match self.api.delete(name, &params).await {
            Err(error) if is(&error, 404) || is(&error, 409) => Ok(()),
            outcome => outcome.map(drop).map_err(|error| failed(&format!("delete project {name}"), error)),
        }
    }

    async fn get(&self, id: ProjectId) -> Result<Option<Record>, Fault> {
        let name = self.seen().get(&id).map(|seen| seen.name.clone()).filter(|name| !name.is_empty());
        let Some(name) = name else {
            // Of one that was never seen only the list tells.
            return Ok(self.list().await?.into_iter().find(|record| record.project.id == id));
        };
        let found = self.api.get_opt(&name).await.map_err(|error| failed(&format!("read project {name}"), error))?;
        // Another one may have its name by now.
        let found = found.filter(|resource| resource.uid().as_deref() == Some(id.to_string().as_str()));
        Ok(found.and_then(|resource| self.readable(&resource)))
    }

    async fn list(&self) -> Result<Vec<Record>, Fault> {
        let mut records = Vec::new();
        let list = |params| async move { self.api.list(&params).await };
        let mut pages = pin!(pages(ListParams::default().limit(LIST_PAGE), list));
        while let Some(page) = pages.next().await {
            let page = page.map_err(|error| failed("list the projects", error))?;
            records.extend(page.iter().filter_map(|resource| self.readable(resource)));
        }
        Ok(records)
    }

    /// The record, where there is one: a project whose spec never could be read has
    /// none, nothing is made for it, and its status says so.
    fn readable(&self, resource: &crd::Project) -> Option<Record> {
        let fault = match self.record(resource) {
            Ok(record) => return Some(record),
            Err(fault) => fault,
        };
        let name = resource.name_any();
        warn!(project = name, %fault, "a project cannot be read and stays as it is");
        if let Some(status) = crd::refusal(resource, &fault) {
            let api = self.api.clone();
            tokio::spawn(async move {
                let params = PatchParams::apply(MANAGER).force();
                if let Err(error) = api.patch_status(&name, &params, &Patch::Apply(status)).await {
                    warn!(project = name, %error, "that it cannot be read is not in its status");
                }
            });
        }
        None
    }

    async fn finish(&self, record: Record) -> Result<(), Fault> {
        self.delete(&record).await?;
        let name = record.project.name.as_str();
        let Some(resource) =
            self.api.get_opt(name).await.map_err(|error| failed(&format!("read project {name}"), error))?
        else {
            return Ok(());
        };
        if resource.uid().as_deref() != Some(record.project.id.to_string().as_str()) {
            return Ok(());
        }
        let left: Vec<&String> = resource.finalizers().iter().filter(|name| *name != crd::FINALIZER).collect();
        let patch = json!({ "metadata": { "finalizers": left, "resourceVersion": resource.resource_version() } });
        match self.api.patch(name, &PatchParams::default(), &Patch::Merge(patch)).await {
            Err(error) if is(&error, 404) => {}
            outcome => drop(outcome.map_err(|error| failed(&format!("let go of project {name}"), error))?),
        }
        self.seen().remove(&record.project.id);
        Ok(())
    }
}

/// Whether two records have one status, what callers do not see included.
fn same_status(a: &Record, b: &Record) -> bool {
    let bare = |record: &Record| Record {
        project: remora_proto_model::project::Project { spec: b.project.spec.clone(), ..record.project.clone() },
        ..record.clone()
    };
    bare(a) == bare(b)
}

/// What is measured anew all the time, left out.
fn lasting(status: &ProjectStatus) -> ProjectStatus {
    ProjectStatus { durability: Default::default(), last_activity_ms: 0, ..status.clone() }
}

impl Records for KubeRecords {
    fn all(&self) -> Boxed<'_, Result<Vec<Record>, Fault>> {
        Box::pin(self.list())
    }

    fn create(&self, record: Record) -> Boxed<'_, Result<Record, Fault>> {
        Box::pin(self.post(record))
    }

    fn update(&self, before: Record, after: Record) -> Boxed<'_, Result<Record, Fault>> {
        Box::pin(self.put(before, after))
    }

    fn touch(&self, before: Record, after: Record) -> Boxed<'_, Result<Record, Fault>> {
        Box::pin(async move {
            let id = after.project.id;
            if lasting(&before.project.status) == lasting(&after.project.status) {
                let touched = self.seen().get(&id).and_then(|seen| seen.touched);
                if touched.is_some_and(|at| at.elapsed() < TOUCH_INTERVAL) {
                    return Ok(after);
                }
            }
            let stored = match self.put_status(&after, before.project.resource_version).await {
                // Somebody else was first; what is measured is measured again, on what that left.
                Err(fault) if fault.reason == Reason::Conflict => return Ok(self.get(id).await?.unwrap_or(before)),
                stored => stored?,
            };
            self.seen().entry(id).or_default().touched = Some(Instant::now());
            Ok(stored)
        })
    }

    fn read(&self, id: ProjectId) -> Boxed<'_, Result<Option<Record>, Fault>> {
        Box::pin(self.get(id))
    }

    fn named(&self, name: ProjectName) -> Boxed<'_, Result<Option<Record>, Fault>> {
        Box::pin(async move {
            let there = self.api.get_opt(name.as_str()).await;
            let there = there.map_err(|error| failed(&format!("read project {name}"), error))?;
            Ok(there.and_then(|resource| self.readable(&resource)))
        })
    }

    fn remove(&self, record: Record) -> Boxed<'_, Result<(), Fault>> {
        Box::pin(self.finish(record))
    }

    fn feed(self: std::sync::Arc<Self>) -> Option<BoxStream<'static, Feed>> {
        let events = watcher::watcher(self.api.clone(), watching()).default_backoff();
        Some(feed(self, events).boxed())
    }
}

fn feed(
    records: std::sync::Arc<KubeRecords>,
    events: impl Stream<Item = Result<Event<crd::Project>, watcher::Error>> + Send + 'static,
) -> impl Stream<Item = Feed> + Send {
    let mut listed = Vec::new();
    events.filter_map(move |event| {
        let next = match event {
            Ok(Event::Init) => {
                listed.clear();
                None
            }
            Ok(Event::InitApply(resource)) => {
                listed.extend(records.readable(&resource));
                None
            }
            Ok(Event::InitDone) => Some(Feed::Listed(std::mem::take(&mut listed))),
            Ok(Event::Apply(resource)) => records.readable(&resource).map(|record| Feed::Put(Box::new(record))),
            Ok(Event::Delete(resource)) => resource.uid().and_then(|uid| uid.parse().ok()).map(|id| {
                records.seen().remove(&id);
                Feed::Gone(id)
            }),
            Err(error) => {
                warn!(%error, "the projects cannot be followed; another attempt is made");
                None
            }
        };
        std::future::ready(next)
    })
}
