//! Steps as they are done here. What the record must say before an effect is
//! recorded before it; each is safe to repeat.

use remora_control_plane_project::{Proof, Step, Tree};
use remora_proto_model::{Fault, Generation, Reason};
use tokio::sync::watch;
use tracing::warn;

use super::Driver;
use crate::{
    agents::{Making, create_snapshot},
    limits::{KEPT_GENERATIONS, KILL_WITHIN},
    local::{
        layout::{make_private, remove_all},
        once::{self, Job, Role},
        pod::Made,
        process::{self, kill_all},
    },
    projects::{now_ms, source},
    state::record::Record,
    store::{Committed, lineage_prefix},
};

impl Driver {
    pub(super) async fn perform(
        &mut self,
        step: Step,
        record: &Record,
        changed: &mut watch::Receiver<u64>,
    ) -> Result<(), Fault> {
        match step {
            Step::Sweep => self.sweep().await,
            Step::RaiseGeneration(generation) => self.raise(record, generation).await,
            Step::Hydrate(generation) => self.hydrate(record, generation, changed).await,
            Step::Dehydrate(generation) => self.dehydrate(record, generation, changed).await,
            Step::StartPod(generation) => self.start_pod(record, generation).await,
            Step::Save => self.save(changed).await,
            Step::ReadBack => self.read_back(record).await,
            Step::Condemn => {
                let condemned = record.project.status.generation;
                self.change(move |record| record.condemned = Some(condemned)).await
            }
            Step::Stop => self.end(record, true).await,
            Step::Kill => self.end(record, false).await,
            Step::RemoveTree => self.remove_tree().await,
            Step::Tombstone => self.tombstone(record).await,
            Step::PurgeSnapshots => {
                self.inner.store.purge(&self.prefix(record)).await?;
                self.memory.purged = true;
                Ok(())
            }
            Step::Forget => self.forget().await,
            // The loop waits by itself.
            Step::AwaitReady | Step::WaitUntil(_) => Ok(()),
        }
    }

    async fn change(&self, change: impl FnOnce(&mut Record)) -> Result<(), Fault> {
        let change = |record: &mut Record| {
            change(record);
            Ok(())
        };
        self.inner.change(&self.entry, change).await.map(drop)
    }

    fn prefix(&self, record: &Record) -> String {
        lineage_prefix(&self.inner.config.store, record.project.id)
    }

    async fn sweep(&mut self) -> Result<(), Fault> {
        let folder = self.dir.path().to_owned();
        kill_all(|| process::of_project(&folder), KILL_WITHIN).await?;
        self.found = process::of_project(self.dir.path());
        Ok(())
    }

    async fn raise(&mut self, record: &Record, generation: Generation) -> Result<(), Fault> {
        // The look of the loop is of processes that it knew; this one is of all.
        self.found = process::of_project(self.dir.path());
        if let Some(found) = self.found.first() {
            return Err(Fault::new(
                Reason::FailedPrecondition,
                format!(
                    "process {} of generation {} still runs, so generation {generation} does not start",
                    found.identity.pid, found.generation
                ),
            ));
        }
        let before = record.project.status.generation;
        self.inner
            .change(&self.entry, |record| {
                if record.project.status.generation != before {
                    return Err(Fault::new(Reason::Conflict, "the generation was raised by somebody else"));
                }
                record.project.status.generation = generation;
                if record.tree == Tree::Stored {
                    record.tree = Tree::Kept;
                }
                Ok(())
            })
            .await?;
        self.memory.raised = Some(generation);
        self.memory.proof = None;
        self.made = None;
        self.starts.clear();
        self.timed(|timings, elapsed| {
            *timings = remora_proto_model::project::StartTimings { scheduled_ms: elapsed, ..Default::default() };
        })
        .await
    }

    async fn hydrate(
        &mut self,
        record: &Record,
        generation: Generation,
        changed: &mut watch::Receiver<u64>,
    ) -> Result<(), Fault> {
        self.record_tree(Tree::Partial).await?;
        let seed = self.seed(record);
        let job = Job {
            config: &self.inner.config,
            project: record.project.id,
            generation,
            exclude: &record.project.spec.snapshots.exclude,
            seed: seed.as_deref(),
        };
        let Some(committed) = self.unless_unwanted(once::run(&job, Role::Hydrate), changed).await? else {
            return self.sweep().await;
        };
        let head = committed.as_ref().map(Committed::head);
        self.change(move |record| {
            record.tree = Tree::Stored;
            if head.is_some() {
                record.project.status.head = head;
            }
        })
        .await?;
        if seed.is_some()
            && let Some(committed) = committed
        {
            match self.inner.store.read_back(&self.prefix(record), &committed).await {
                Ok(()) => self.drop_seed().await?,
                // It is needed no more once a later snapshot was read back.
                Err(fault) => warn!(%fault, "the first snapshot is not read back, so its archive stays"),
            }
        }
        self.hydrated().await
    }

    /// Removes the archive that the project began with: a snapshot that was read back holds it.
    async fn drop_seed(&self) -> Result<(), Fault> {
        self.change(|record| record.source = None).await?;
        if let Err(error) = source::sweep(&self.dir, None) {
            warn!(%error, "the archive that nothing needs any more stays");
        }
        Ok(())
    }

    async fn dehydrate(
        &mut self,
        record: &Record,
        generation: Generation,
        changed: &mut watch::Receiver<u64>,
    ) -> Result<(), Fault> {
        let job = Job {
            config: &self.inner.config,
            project: record.project.id,
            generation,
            exclude: &record.project.spec.snapshots.exclude,
            seed: None,
        };
        let Some(committed) = self.unless_unwanted(once::run(&job, Role::Dehydrate), changed).await? else {
            return self.sweep().await;
        };
        self.committed = committed;
        self.memory.proof = Some(Proof::Committed);
        Ok(())
    }

    async fn hydrated(&mut self) -> Result<(), Fault> {
        self.timed(|timings, elapsed| timings.hydrated_ms = elapsed).await
    }

    /// `work`, unless what is wanted becomes another thing first; then `None`.
    pub(super) async fn unless_unwanted<T>(
        &self,
        work: impl Future<Output = Result<T, Fault>>,
        changed: &mut watch::Receiver<u64>,
    ) -> Result<Option<T>, Fault> {
        let wanted = self.wished;
        let mut mode = self.mode.clone();
        let entry = &self.entry;
        let other = async {
            loop {
                tokio::select! {
                    _ = changed.changed() => {
                        if Some(super::wish(&entry.record())) != wanted {
                            return;
                        }
                    }
                    _ = mode.changed() => return,
                }
            }
        };
        tokio::select! {
            outcome = work => outcome.map(Some),
            () = other => Ok(None),
        }
    }

    async fn start_pod(&mut self, record: &Record, generation: Generation) -> Result<(), Fault> {
        self.record_tree(Tree::Kept).await?;
        self.memory.proof = None;
        let fresh = self.memory.raised.take().is_some();
        if fresh {
            self.hydrated().await?;
        }
        let made = match self.made.take() {
            Some(made) => made,
            None => {
                let made = Made {
                    containers: record.project.spec.containers.clone(),
                    exclude: record.project.spec.snapshots.exclude.clone(),
                };
                make_private(&self.dir.workspace()).map_err(|error| on_disk("make the workspace", &error))?;
                self.pod(generation).make(&made, &self.inner.identity)?;
                made
            }
        };
        let started = self.pod(generation).start(&made, &self.found).await;
        self.made = Some(made);
        for (part, mut child) in started? {
            match self.starts.iter_mut().find(|(known, _)| *known == part) {
                Some((_, count)) => *count += 1,
                None => self.starts.push((part, 1)),
            }
            let ended = self.ended.0.clone();
            // Only reaps it and wakes the driver; ends with the process.
            tokio::spawn(async move {
                let _ = child.wait().await;
                let _ = ended.try_send(());
            });
        }
        self.found = process::of_project(self.dir.path());
        if fresh && let Err(error) = self.dir.sweep(generation, KEPT_GENERATIONS) {
            warn!(%error, "folders of past generations stay");
        }
        Ok(())
    }

    /// A snapshot of the pod while it serves on.
    async fn save(&mut self, changed: &mut watch::Receiver<u64>) -> Result<(), Fault> {
        let Some((_, agent)) = self.agent.clone() else {
            return Err(Fault::new(Reason::ProjectNotReady, "the agent does not answer").stage("save"));
        };
        let entry = std::sync::Arc::clone(&self.entry);
        let work = async {
            let _one = entry.snapshots.lock().await;
            create_snapshot(&agent, Making { held: None, why: "end", only_changes: false }, |_| {}).await
        };
        if let Some(info) = self.unless_unwanted(work, changed).await? {
            self.committed = Some(crate::agents::committed(&info)?);
            self.memory.proof = Some(Proof::Committed);
        }
        Ok(())
    }

    async fn read_back(&mut self, record: &Record) -> Result<(), Fault> {
        // None: the workspace of a lineage without content is empty, and so is what it would be restored to.
        let read = match self.committed.clone() {
            Some(committed) => self.inner.store.read_back(&self.prefix(record), &committed).await.map(|()| committed),
            None => Err(Fault::new(Reason::ProtocolViolation, "the agent committed a snapshot and did not name it")),
        };
        let committed = match read {
            Ok(committed) => committed,
            Err(fault) => {
                self.memory.proof = None;
                return Err(fault);
            }
        };
        let at_rest = self.found.is_empty();
        self.change(move |record| {
            record.project.status.head = Some(committed.head());
            if at_rest {
                record.tree = Tree::Stored;
            }
        })
        .await?;
        self.memory.proof = (!at_rest).then_some(Proof::ReadBack);
        if record.source.is_some() {
            self.drop_seed().await?;
        }
        Ok(())
    }

    async fn end(&mut self, record: &Record, gently: bool) -> Result<(), Fault> {
        self.memory.proof = None;
        self.lose_agent();
        let generation = record.project.status.generation;
        let ended = self.pod(generation).stop(gently).await;
        self.found = process::of_project(self.dir.path());
        ended?;
        // Its sockets are nobody's now.
        let _ = remove_all(&self.dir.sockets(generation));
        self.made = None;
        self.change(|record| {
            record.condemned = None;
            record.project.status.containers.clear();
        })
        .await
    }

    async fn remove_tree(&mut self) -> Result<(), Fault> {
        // A half of a tree must never pass for a whole one.
        self.record_tree(Tree::Partial).await?;
        let (workspace, state) = (self.dir.workspace(), self.dir.state());
        let removed = tokio::task::spawn_blocking(move || {
            remove_all(&workspace)?;
            remove_all(&state)
        });
        match removed.await {
            Ok(Ok(())) => self.record_tree(Tree::Absent).await,
            Ok(Err(error)) => Err(on_disk("remove the working tree", &error)),
            Err(error) => Err(on_disk("remove the working tree", &std::io::Error::other(error))),
        }
    }

    async fn tombstone(&mut self, record: &Record) -> Result<(), Fault> {
        let text = serde_json::json!({
            "project": record.project.id,
            "name": record.project.name,
            "generation": record.project.status.generation,
            "head": record.project.status.head.as_ref().map(|head| &head.snapshot),
            "deletedMs": now_ms(),
        });
        self.inner.store.put_tombstone(&self.prefix(record), text.to_string()).await?;
        self.change(|record| {
            if let Some(deletion) = &mut record.deletion {
                deletion.tombstone = true;
            }
        })
        .await
    }

    async fn forget(&mut self) -> Result<(), Fault> {
        let folder = self.dir.path().to_owned();
        let removed = tokio::task::spawn_blocking(move || remove_all(&folder)).await;
        removed
            .unwrap_or_else(|error| Err(std::io::Error::other(error)))
            .map_err(|error| on_disk("remove the project's folder", &error))?;
        self.inner.forget(&self.entry).await?;
        self.fault = None;
        Ok(())
    }

    /// Notes how long it took from the wish to here.
    async fn timed(&self, note: impl FnOnce(&mut remora_proto_model::project::StartTimings, u64)) -> Result<(), Fault> {
        let elapsed = u64::try_from(self.wished_at.elapsed().as_millis()).unwrap_or(u64::MAX).max(1);
        self.inner.touch(&self.entry, |status| note(&mut status.timings, elapsed)).await
    }
}

fn on_disk(what: &str, error: &std::io::Error) -> Fault {
    let reason = error.raw_os_error().map_or(Reason::IoError, remora_proto_model::errno_reason);
    Fault::new(reason, format!("cannot {what}: {error}")).stage("disk")
}
