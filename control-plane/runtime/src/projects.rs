//! [`Projects`]: what this server knows and does about its projects.
//!
//! ```text
//!  call ─► record (durable) ─► wake the driver ─► plan ─► one step ─► record ─► plan ...
//!                └──► watchers
//! ```
//!
//! A call changes a record and returns; the project's driver does the work. A
//! record has one writer at a time, and what a caller was told is on the disk.

mod agent_handle;
mod beside;
mod change;
mod containers;
mod driver;
mod entry;
mod follow;
mod inspected;
mod lead;
mod names;
mod open;
mod ports;
mod restore;
mod source;
mod transfers;

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    ops::Bound,
    sync::{Arc, PoisonError, RwLock},
    time::{Duration, SystemTime},
};

use bytes::Bytes;
use futures_util::Stream;
use remora_control_plane_project::Wish;
use remora_proto_model::{
    Fault, ProjectId, ProjectName, Reason,
    project::{Condition, ConditionType, Desired, Phase, Project, ProjectPatch, ProjectSpec, ProjectStatus},
};
use tokio::sync::{Mutex, broadcast};
use tokio_util::task::AbortOnDropHandle;

pub use self::{
    agent_handle::{AgentHandle, Minted},
    change::{Change, ChangeKind, Restored},
    open::Parts,
    transfers::{SnapshotExport, SourceUpload},
};
use self::{entry::Entry, lead::Lead, names::unknown};
use crate::{
    identity::Identity,
    limits::{CHANGE_ATTEMPTS, CHANGE_REST, CHANGE_REST_MOST, NOT_READY_RETRY},
    pods::Runtime,
    records::{Deletion, Record, Records},
    store::{Store, lineage_prefix},
};

/// The projects of one server. Cheap to clone.
#[derive(Clone)]
pub struct Projects {
    inner: Arc<Inner>,
    /// Hears what others change; ends with the last clone.
    _follower: Option<Arc<AbortOnDropHandle<()>>>,
}

pub(crate) struct Inner {
    pub(crate) settings: Settings,
    pub(crate) records: Arc<dyn Records>,
    pub(crate) runtime: Arc<dyn Runtime>,
    pub(crate) identity: Arc<Identity>,
    table: RwLock<Table>,
    changes: broadcast::Sender<Change>,
    /// Held by whoever claims a name or ports, so that two cannot both be the first.
    claims: Mutex<()>,
    /// Held by whoever asks for a record that is not known here: one such question at
    /// a time, however many projects callers invent.
    look_ups: Mutex<()>,
    pub(crate) store: Store,
    lead: Lead,
    /// Whether others keep the same records.
    shared: bool,
}

/// What does not depend on where pods are.
#[derive(Clone, Debug)]
pub struct Settings {
    /// What the keys of all lineages begin with, without a slash at either end; empty is none.
    pub prefix: String,
    /// Most projects at a time.
    pub max_projects: usize,
    /// Time between two prunes of a lineage that gets snapshots all the time.
    pub prune_interval: Duration,
}

#[derive(Default)]
struct Table {
    by_id: HashMap<ProjectId, Arc<Entry>>,
    by_name: BTreeMap<ProjectName, ProjectId>,
}

impl Projects {
    /// A word for where pods are.
    pub fn runtime(&self) -> &'static str {
        self.inner.runtime.name()
    }

    /// The 32 bytes that verify this server's capabilities.
    pub fn token_key(&self) -> &[u8] {
        self.inner.identity.token_key()
    }

    /// Makes a project. With the spec that a project of this name has already
    /// (whatever is wanted of it now), it returns that one.
    pub async fn create(&self, name: ProjectName, spec: ProjectSpec) -> Result<Project, Fault> {
        spec.validate()?;
        let _claim = self.inner.claims.lock().await;
        if let Some(entry) = self.inner.by_name(&name) {
            let there = entry.record();
            let same = is_the_same(&there.project.spec, &spec);
            return match there.deletion {
                Some(_) => Err(Fault::new(Reason::Conflict, format!("a project {name} is being deleted"))
                    .hint("try again when it is gone, or choose another name")
                    .retry_after(NOT_READY_RETRY)),
                None if same => Ok(there.project),
                None => Err(Fault::new(Reason::AlreadyExists, format!("there is a project {name} with another spec"))
                    .hint("patch it, or delete it first, or choose another name")),
            };
        }
        let max = self.inner.settings.max_projects;
        if self.inner.read_table().by_id.len() >= max {
            return Err(Fault::new(
                Reason::LimitReached,
                format!("there are {max} projects; this server takes no more"),
            )
            .hint("delete one that is not needed"));
        }
        if spec.desired == Desired::Running {
            ports::unclaimed(&self.inner, None, &spec.containers)?;
        }
        let record = Record::new(Project {
            id: ProjectId::new(),
            name,
            resource_version: 0,
            created_ms: now_ms(),
            spec,
            status: ProjectStatus::default(),
        });
        self.inner.runtime.accepts(&record)?;
        let record = match self.inner.records.create(record.clone()).await {
            // Another replica made it a moment ago, and its word is still on the way here.
            Err(fault) if fault.reason == Reason::AlreadyExists => {
                let made = |there: &Record| {
                    there.project.name == record.project.name && is_the_same(&there.project.spec, &record.project.spec)
                };
                self.inner.records.all().await?.into_iter().find(made).ok_or(fault)?
            }
            made => made?,
        };
        let project = record.project.clone();
        self.inner.put(record).await;
        Ok(project)
    }

    /// The project that a name or an id means. One that is not known here is looked
    /// for where the records are: another replica may have made it a moment ago.
    pub async fn resolve(&self, name_or_id: &str) -> Result<ProjectId, Fault> {
        match self.known(name_or_id) {
            Err(_) if self.inner.shared => {
                follow::look_up(&self.inner, name_or_id).await?;
                self.known(name_or_id)
            }
            known => known,
        }
    }

    fn known(&self, name_or_id: &str) -> Result<ProjectId, Fault> {
        let table = self.inner.read_table();
        let by_name = name_or_id.parse::<ProjectName>().ok().and_then(|name| table.by_name.get(&name).copied());
        let by_id = || name_or_id.parse::<ProjectId>().ok().filter(|id| table.by_id.contains_key(id));
        by_name.or_else(by_id).ok_or_else(|| unknown(name_or_id, table.by_name.keys()))
    }

    /// One project as it is now, whichever replica acts on it.
    pub async fn current(&self, id: ProjectId) -> Result<Project, Fault> {
        follow::catch_up_to_leader(&self.inner, &*self.inner.entry(id)?).await;
        self.get(id)
    }

    /// The secret of all replicas with which sessions of browsers are signed.
    pub fn session_key(&self) -> [u8; 32] {
        self.inner.identity.session_key()
    }

    /// The project of a name, by what is known here.
    pub fn named(&self, name: &ProjectName) -> Option<Project> {
        self.inner.by_name(name).map(|entry| entry.project())
    }

    /// One project, by what is known here.
    pub fn get(&self, id: ProjectId) -> Result<Project, Fault> {
        Ok(self.inner.entry(id)?.project())
    }

    /// At most `limit` projects, by name, those after `after`.
    pub fn list(&self, after: Option<&ProjectName>, limit: usize) -> Vec<Project> {
        let table = self.inner.read_table();
        let from = after.map_or(Bound::Unbounded, Bound::Excluded);
        let ids = table.by_name.range::<ProjectName, _>((from, Bound::Unbounded)).map(|(_, id)| id);
        ids.filter_map(|id| table.by_id.get(id)).map(|entry| entry.project()).take(limit).collect()
    }

    /// Changes what `patch` names. With the version that the caller read, a spec
    /// that somebody changed since is [`Reason::Conflict`]; that the status moved on is none.
    pub async fn patch(&self, id: ProjectId, patch: ProjectPatch) -> Result<Project, Fault> {
        let entry = self.inner.entry(id)?;
        let _claim = self.inner.claims.lock().await;
        // Who comes from another replica may know more than is known here.
        if self.inner.shared && patch.resource_version > entry.record().project.resource_version {
            follow::catch_up(&self.inner, &entry).await?;
        }
        self.inner
            .change(&entry, |record| {
                alive(record)?;
                is_version(record, patch.resource_version)?;
                record.forget_half_changes();
                let spec = record.project.spec.patched(patch.clone())?;
                self.inner.take_spec(record, spec)
            })
            .await
    }

    /// Wants it to run, to stop or to hibernate. Repeatable: what failed on the way
    /// there is tried again at once.
    pub async fn set_desired(&self, id: ProjectId, desired: Desired) -> Result<Project, Fault> {
        self.patch(id, ProjectPatch { desired: Some(desired), ..ProjectPatch::default() }).await?;
        self.inner.attempt_again(id).await
    }

    /// Ends it. Repeatable while it goes on; `purge` may be added later and not be taken back.
    pub async fn delete(&self, id: ProjectId, purge: bool) -> Result<Project, Fault> {
        let entry = self.inner.entry(id)?;
        let change = self.inner.change(&entry, |record| {
            let deletion = record.deletion.get_or_insert(Deletion { purge, tombstone: false });
            deletion.purge |= purge;
            record.project.status.phase = Phase::Deleting;
            Ok(())
        });
        let deleting = change.await?;
        // It may be gone by now.
        Ok(self.inner.attempt_again(id).await.unwrap_or(deleting))
    }

    /// Every project as it is now, and every change after that. A receiver that
    /// is [`broadcast::error::RecvError::Lagged`] calls this again. A change may
    /// tell of what the list holds already.
    pub fn watch(&self) -> (Vec<Project>, broadcast::Receiver<Change>) {
        let table = self.inner.read_table();
        let receiver = self.inner.changes.subscribe();
        let ids = table.by_name.values();
        (ids.filter_map(|id| table.by_id.get(id)).map(|entry| entry.project()).collect(), receiver)
    }

    /// Brings the archive that a project starts from: a tar, or a tar in a zstd
    /// stream. Until it is here whole nothing of it counts.
    pub async fn put_source(
        &self,
        id: ProjectId,
        zstd: bool,
        chunks: impl Stream<Item = Result<Bytes, Fault>> + Send,
    ) -> Result<Project, Fault> {
        source::put(&self.inner, id, zstd, chunks).await
    }

    /// Packs a snapshot (empty is the newest) of a running project as an archive on the
    /// store, and signs a URL for it that lives `ttl_seconds` (0 is the default).
    pub async fn export(&self, id: ProjectId, snapshot: &str, ttl_seconds: u32) -> Result<SnapshotExport, Fault> {
        transfers::export(&self.inner, &self.agent(id).await?, snapshot, ttl_seconds).await
    }

    /// Signs a URL for the archive that a project starts from, of `bytes` bytes.
    pub async fn begin_upload(
        &self,
        id: ProjectId,
        bytes: u64,
        zstd: bool,
        ttl_seconds: u32,
    ) -> Result<SourceUpload, Fault> {
        transfers::begin_upload(&self.inner, id, bytes, zstd, ttl_seconds).await
    }

    /// Gives a project the archive that was brought to such a URL.
    pub async fn complete_upload(&self, id: ProjectId, upload: &str) -> Result<Project, Fault> {
        transfers::complete_upload(&self.inner, id, upload).await
    }

    /// Makes the workspace of a running project equal to one of its snapshots and
    /// commits that, after a snapshot of what was there.
    pub async fn restore(&self, id: ProjectId, snapshot: &str) -> Result<Restored, Fault> {
        restore::restore(&self.inner, id, snapshot).await
    }

    /// What all clones of this share.
    pub(crate) fn inner(&self) -> &Arc<Inner> {
        &self.inner
    }

    /// Whether this server acts on the projects.
    pub fn leads(&self) -> bool {
        self.inner.lead.leads()
    }

    /// The version of the agent that a start would use.
    pub async fn agent_version(&self) -> Result<String, Fault> {
        self.inner.runtime.agent_version().await
    }

    /// A way to the project's agent, where it is ready for calls.
    pub async fn agent(&self, id: ProjectId) -> Result<AgentHandle, Fault> {
        let entry = self.inner.entry(id)?;
        if let Ok(agent) = entry.agent() {
            return Ok(agent);
        }
        // It may have become ready a moment ago.
        follow::catch_up_to_leader(&self.inner, &entry).await;
        self.inner.entry(id)?.agent()
    }
}

impl Inner {
    /// The projects that are known here.
    pub(crate) fn known_ids(&self) -> HashSet<ProjectId> {
        self.read_table().by_id.keys().copied().collect()
    }

    fn read_table(&self) -> std::sync::RwLockReadGuard<'_, Table> {
        self.table.read().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn entry(&self, id: ProjectId) -> Result<Arc<Entry>, Fault> {
        let table = self.read_table();
        table.by_id.get(&id).cloned().ok_or_else(|| unknown(&id.to_string(), table.by_name.keys()))
    }

    fn by_name(&self, name: &ProjectName) -> Option<Arc<Entry>> {
        let table = self.read_table();
        table.by_name.get(name).and_then(|id| table.by_id.get(id)).cloned()
    }

    fn announce(&self, kind: ChangeKind, project: Project) {
        // An error says that nobody watches.
        let _ = self.changes.send(Change { kind, project });
    }

    /// Changes a record: durably, then for everybody, then for its driver. What
    /// another replica changed meanwhile is taken over and `change` made on top of it.
    pub(crate) async fn change(
        &self,
        entry: &Entry,
        mut change: impl FnMut(&mut Record) -> Result<(), Fault>,
    ) -> Result<Project, Fault> {
        let _writer = entry.writer().await;
        let mut before = entry.record();
        let mut rest = None;
        for _ in 0..CHANGE_ATTEMPTS {
            let mut after = before.clone();
            change(&mut after)?;
            if after == before {
                return Ok(before.project);
            }
            match self.records.update(before.clone(), after).await {
                Ok(stored) => return Ok(self.publish(entry, stored)),
                Err(fault) if fault.reason == Reason::Conflict => {
                    if let Some(rest) = rest {
                        tokio::time::sleep(rest).await;
                    }
                    rest = Some(rest.map_or(CHANGE_REST, |rest| (rest * 2).min(CHANGE_REST_MOST)));
                    let id = before.project.id;
                    let there = self.records.read(id).await?;
                    before = there.ok_or_else(|| unknown(&id.to_string(), std::iter::empty()))?;
                    self.publish(entry, before.clone());
                }
                Err(fault) => return Err(fault),
            }
        }
        Err(Fault::new(Reason::Conflict, "the project changes all the time").hint("try again"))
    }

    /// Changes what may be lost with the server: a status that is measured anew.
    pub(crate) async fn touch(&self, entry: &Entry, change: impl FnOnce(&mut ProjectStatus)) -> Result<(), Fault> {
        let _writer = entry.writer().await;
        let before = entry.record();
        let mut after = before.clone();
        change(&mut after.project.status);
        if after != before {
            let touched = self.records.touch(before.clone(), after).await?;
            // Nobody is woken by what was refused: whoever reports would report again at once.
            if touched != before {
                self.publish(entry, touched);
            }
        }
        Ok(())
    }

    /// Gives a record another spec, where its runtime takes that.
    fn take_spec(&self, record: &mut Record, spec: ProjectSpec) -> Result<(), Fault> {
        let before = &record.project.spec;
        let claims = spec.desired == Desired::Running
            && (before.desired != Desired::Running || before.containers != spec.containers);
        let after = Record { project: Project { spec, ..record.project.clone() }, ..record.clone() };
        self.runtime.accepts(&after)?;
        if claims {
            ports::unclaimed(self, Some(after.project.id), &after.project.spec.containers)?;
        }
        *record = after;
        Ok(())
    }

    /// Ends the wait between two attempts. Of what the last one met no more is told
    /// until the next one has met it too, so that whoever asks does not take the old
    /// answer for the new one.
    async fn attempt_again(&self, id: ProjectId) -> Result<Project, Fault> {
        const MET: [ConditionType; 2] = [ConditionType::HibernateBlocked, ConditionType::Degraded];
        let met = |condition: &&mut Condition| MET.contains(&condition.kind) && condition.status;
        self.change(&*self.entry(id)?, |record| {
            record.asked += 1;
            // What somebody wants is no matter of idleness any more.
            record.idled = None;
            for condition in record.project.status.conditions.iter_mut().filter(met) {
                condition.status = false;
                condition.since_ms = now_ms();
            }
            Ok(())
        })
        .await
    }

    fn publish(&self, entry: &Entry, record: Record) -> Project {
        let project = record.project.clone();
        entry.set(record);
        self.announce(ChangeKind::Modified, project.clone());
        project
    }

    /// Forgets a project whose every part is gone.
    pub(crate) async fn forget(&self, entry: &Entry) -> Result<(), Fault> {
        let _writer = entry.writer().await;
        let record = entry.record();
        let id = record.project.id;
        self.records.remove(record).await?;
        self.drop_entry(id);
        Ok(())
    }

    /// Takes a project out of the table.
    fn drop_entry(&self, id: ProjectId) {
        let mut table = self.table.write().unwrap_or_else(PoisonError::into_inner);
        let Some(entry) = table.by_id.remove(&id) else { return };
        let project = entry.project();
        if table.by_name.get(&project.name) == Some(&id) {
            table.by_name.remove(&project.name);
        }
        entry.close();
        self.announce(ChangeKind::Deleted, project);
    }

    /// Puts a project into the table, and has it driven.
    async fn put(self: &Arc<Self>, record: Record) {
        let project = record.project.clone();
        let entry = Arc::new(Entry::new(record));
        {
            let mut table = self.table.write().unwrap_or_else(PoisonError::into_inner);
            // Whoever follows the records may have been told of it earlier.
            if table.by_id.contains_key(&project.id) {
                return;
            }
            table.by_name.insert(project.name.clone(), project.id);
            table.by_id.insert(project.id, Arc::clone(&entry));
            self.announce(ChangeKind::Added, project);
        }
        self.lead.drive(self, entry).await;
    }

    /// What the keys of a project's lineage begin with.
    pub(crate) fn prefix(&self, project: ProjectId) -> String {
        lineage_prefix(&self.settings.prefix, project)
    }
}

/// Whether who asks for `asked` may be given the project of `there`, whatever is wanted of that now.
fn is_the_same(there: &ProjectSpec, asked: &ProjectSpec) -> bool {
    *there == ProjectSpec { desired: there.desired, ..asked.clone() }
}

/// Checks that the spec is still that of the version which a caller read; 0 takes any.
fn is_version(record: &Record, version: u64) -> Result<(), Fault> {
    let there = record.project.resource_version;
    if version == 0 || (record.spec_version..=there).contains(&version) {
        return Ok(());
    }
    Err(Fault::new(
        Reason::Conflict,
        format!(
            "project {} is at version {there} and its spec changed at {}; version {version} was given",
            record.project.name, record.spec_version
        ),
    )
    .hint("read it again and repeat the change"))
}

/// Refuses to change what is being deleted.
fn alive(record: &Record) -> Result<(), Fault> {
    match record.deletion {
        None => Ok(()),
        Some(_) => {
            Err(Fault::new(Reason::FailedPrecondition, format!("project {} is being deleted", record.project.name)))
        }
    }
}

/// What is to become of the project of `record`.
pub(crate) fn wish(record: &Record) -> Wish {
    match record.deletion {
        Some(deletion) => Wish::Delete { purge: deletion.purge },
        // It is to run again once this generation has ended, with all of it on the store.
        None if record.is_being_replaced() => Wish::Stop,
        None => record.project.spec.desired.into(),
    }
}

/// Milliseconds since the epoch.
pub(crate) fn now_ms() -> u64 {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or(Duration::ZERO);
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}
