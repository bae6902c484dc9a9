//! Steps as they are done here. What the record must say before an effect is
//! recorded before it; each is safe to repeat.

use remora_control_plane_project::{Proof, Step, Tree};
use remora_proto_model::{Fault, Generation, Reason, project::StartTimings};
use tokio::sync::watch;
use tracing::warn;

use super::Driver;
use crate::{
    agents::{Making, create_snapshot},
    pods::{Ending, Hydrated, Hydration},
    projects::now_ms,
    records::Record,
};

impl Driver {
    pub(super) async fn perform(
        &mut self,
        step: Step,
        record: &Record,
        changed: &mut watch::Receiver<u64>,
    ) -> Result<(), Fault> {
        match step {
            Step::Sweep => self.sweep(record).await,
            Step::RaiseGeneration(generation) => self.raise(record, generation).await,
            Step::Hydrate(generation) => self.hydrate(record, generation, changed).await,
            Step::Dehydrate(generation) => self.dehydrate(record, generation, changed).await,
            Step::StartPod(generation) => self.start_pod(record, generation).await,
            Step::Follow(generation) => self.follow(record, generation).await,
            Step::Save => self.save(changed).await,
            Step::ReadBack => self.read_back(record).await,
            Step::Condemn => {
                let condemned = record.project.status.generation;
                self.change(move |record| record.condemned = Some(condemned)).await
            }
            Step::Stop => self.end(record, true).await,
            Step::Kill => self.end(record, false).await,
            Step::RemoveTree => self.remove_tree(record).await,
            Step::Tombstone => self.tombstone(record).await,
            Step::PurgeSnapshots => {
                self.inner.store.remove_transfers(&self.inner.settings.prefix, record.project.id).await?;
                self.inner.store.purge(&self.prefix(record)).await?;
                self.memory.purged = true;
                Ok(())
            }
            Step::Forget => self.forget(record).await,
            // The loop waits by itself.
            Step::AwaitReady | Step::WaitUntil(_) => Ok(()),
        }
    }

    async fn change(&self, mut change: impl FnMut(&mut Record)) -> Result<(), Fault> {
        let change = |record: &mut Record| {
            change(record);
            Ok(())
        };
        self.inner.change(&self.entry, change).await.map(drop)
    }

    fn prefix(&self, record: &Record) -> String {
        self.inner.prefix(record.project.id)
    }

    async fn sweep(&mut self, record: &Record) -> Result<(), Fault> {
        let ending = self.pods.sweep(record).await;
        self.seen = self.pods.look_anew(record).await?;
        self.ended(record, ending?, false).await
    }

    async fn raise(&mut self, record: &Record, generation: Generation) -> Result<(), Fault> {
        // The look of the loop is of what was known; this one is of all.
        self.seen = self.pods.look_anew(record).await?;
        if self.runs() {
            return Err(Fault::new(
                Reason::FailedPrecondition,
                format!("something of an earlier start still runs, so generation {generation} does not start"),
            ));
        }
        let before = record.project.status.generation;
        self.inner
            .change(&self.entry, |record| {
                if record.project.status.generation != before {
                    return Err(Fault::new(Reason::FailedPrecondition, "the generation was raised by somebody else"));
                }
                record.project.status.generation = generation;
                // Those of an earlier start would say that this one's workspace was noted as whole.
                record.project.status.timings = StartTimings::default();
                record.replace = None;
                record.idled = None;
                if record.tree == Tree::Stored {
                    record.tree = Tree::Kept;
                }
                Ok(())
            })
            .await?;
        self.memory.raised = Some(generation);
        self.memory.proof = None;
        self.timed(|timings, elapsed| timings.scheduled_ms = elapsed).await
    }

    async fn hydrate(
        &mut self,
        record: &Record,
        generation: Generation,
        changed: &mut watch::Receiver<u64>,
    ) -> Result<(), Fault> {
        if !self.pods.tree_ends_with_pod(record) {
            self.record_tree(Tree::Partial).await?;
        }
        let watched = self.other_wish(changed);
        let outcome = tokio::select! {
            outcome = self.pods.hydrate(record, generation) => Some(outcome?),
            () = watched => None,
        };
        match outcome {
            None => self.sweep(record).await,
            Some(Hydration::InPod) => {
                self.memory.raised = None;
                Ok(())
            }
            Some(Hydration::Whole(hydrated)) => self.hydrated(record, hydrated, Tree::Stored).await,
        }
    }

    /// Records that the workspace is whole, and which snapshot it is.
    async fn hydrated(&mut self, record: &Record, hydrated: Hydrated, tree: Tree) -> Result<(), Fault> {
        let Hydrated { snapshot } = hydrated;
        self.change(|record| {
            record.tree = tree;
            if let Some(snapshot) = &snapshot {
                record.project.status.head = Some(snapshot.head());
            }
        })
        .await?;
        if record.source.is_some()
            && let Some(committed) = snapshot
        {
            match self.inner.store.read_back(&self.prefix(record), &committed).await {
                Ok(()) => self.drop_seed(record).await?,
                // It is needed no more once a later snapshot was read back.
                Err(fault) => warn!(%fault, "the first snapshot is not read back, so its archive stays"),
            }
        }
        self.timed(|timings, elapsed| timings.hydrated_ms = elapsed).await
    }

    /// A restore that went on in the pod itself has ended.
    pub(super) async fn note_hydrated(&mut self, record: &Record) -> Result<(), Fault> {
        let Some(hydrated) = self.seen.hydrated.clone() else { return Ok(()) };
        if record.project.status.timings.hydrated_ms != 0 {
            return Ok(());
        }
        let tree = if self.pods.tree_ends_with_pod(record) { Tree::Absent } else { Tree::Kept };
        self.hydrated(record, hydrated, tree).await
    }

    /// Removes the archive that the project began with: a snapshot that was read back holds it.
    async fn drop_seed(&self, record: &Record) -> Result<(), Fault> {
        self.change(|record| record.source = None).await?;
        if let Err(fault) = self.inner.runtime.sweep_sources(record, None).await {
            warn!(%fault, "the archive that nothing needs any more stays");
        }
        Ok(())
    }

    async fn dehydrate(
        &mut self,
        record: &Record,
        generation: Generation,
        changed: &mut watch::Receiver<u64>,
    ) -> Result<(), Fault> {
        let watched = self.other_wish(changed);
        let outcome = tokio::select! {
            outcome = self.pods.dehydrate(record, generation) => Some(outcome?),
            () = watched => None,
        };
        let Some(committed) = outcome else { return self.sweep(record).await };
        self.committed = committed;
        self.memory.proof = Some(Proof::Committed);
        Ok(())
    }

    /// Returns once another thing is wanted.
    fn other_wish<'a>(&self, changed: &'a mut watch::Receiver<u64>) -> impl Future<Output = ()> + Send + use<'a> {
        let wanted = self.wished;
        let mut mode = self.mode.clone();
        let entry = std::sync::Arc::clone(&self.entry);
        async move {
            loop {
                tokio::select! {
                    _ = changed.changed() => {
                        if entry.is_closed() || Some(super::wish(&entry.record())) != wanted {
                            return;
                        }
                    }
                    _ = mode.changed() => return,
                }
            }
        }
    }

    /// `work`, unless what is wanted becomes another thing first; then `None`.
    pub(super) async fn unless_unwanted<T>(
        &self,
        work: impl Future<Output = Result<T, Fault>>,
        changed: &mut watch::Receiver<u64>,
    ) -> Result<Option<T>, Fault> {
        let other = self.other_wish(changed);
        tokio::select! {
            outcome = work => outcome.map(Some),
            () = other => Ok(None),
        }
    }

    async fn start_pod(&mut self, record: &Record, generation: Generation) -> Result<(), Fault> {
        if !self.pods.tree_ends_with_pod(record) {
            self.record_tree(Tree::Kept).await?;
        }
        self.memory.proof = None;
        if self.memory.raised.take().is_some() && self.entry.project().status.timings.hydrated_ms == 0 {
            self.timed(|timings, elapsed| timings.hydrated_ms = elapsed).await?;
        }
        let started = self.pods.start(record, generation).await;
        self.seen = self.pods.look_anew(record).await?;
        started
    }

    /// Brings the parts of a pod that runs to what the spec says.
    async fn follow(&mut self, record: &Record, generation: Generation) -> Result<(), Fault> {
        let followed = self.pods.start(record, generation).await;
        self.seen = self.pods.look_anew(record).await?;
        followed
    }

    /// A snapshot of the pod while it serves on.
    async fn save(&mut self, changed: &mut watch::Receiver<u64>) -> Result<(), Fault> {
        let Some((_, agent)) = self.agent.clone() else {
            return Err(Fault::new(Reason::ProjectNotReady, "the agent does not answer").stage("save"));
        };
        let (entry, held) = (std::sync::Arc::clone(&self.entry), self.pods.hold());
        let work = async {
            let _one = entry.snapshots.lock().await;
            create_snapshot(&agent, Making { held, why: "end", only_changes: false }, |_| {}).await
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
        let at_rest = !self.runs();
        self.change(|record| {
            record.project.status.head = Some(committed.head());
            if at_rest {
                record.tree = Tree::Stored;
            }
        })
        .await?;
        self.memory.proof = (!at_rest).then_some(Proof::ReadBack);
        if record.source.is_some() {
            self.drop_seed(record).await?;
        }
        Ok(())
    }

    async fn end(&mut self, record: &Record, gently: bool) -> Result<(), Fault> {
        self.memory.proof = None;
        self.lose_agent();
        let ending = self.pods.end(record, gently).await;
        self.seen = self.pods.look_anew(record).await?;
        self.ended(record, ending?, true).await
    }

    /// Records how a pod ended. Its last word is read back first: until that holds,
    /// the pod's remains stay, so that whoever comes next finds the word again.
    async fn ended(&mut self, record: &Record, ending: Ending, ours: bool) -> Result<(), Fault> {
        let Ending { committed, lost, tree } = ending;
        if let Some(committed) = &committed {
            self.inner.store.read_back(&self.prefix(record), committed).await?;
        }
        let stored = committed.is_some() && !self.pods.tree_ends_with_pod(record);
        let tree = what_is_left(tree, stored, self.seen.running > 0);
        self.change(|record| {
            if let Some(committed) = &committed {
                record.project.status.head = Some(committed.head());
            }
            record.tree = tree;
            if ours {
                record.condemned = None;
            }
            record.lost.clone_from(&lost);
            record.agent = None;
            record.project.status.containers.clear();
        })
        .await?;
        self.pods.bury(record).await?;
        self.seen = self.pods.look_anew(record).await?;
        Ok(())
    }

    async fn remove_tree(&mut self, record: &Record) -> Result<(), Fault> {
        // A half of a tree must never pass for a whole one.
        self.record_tree(Tree::Partial).await?;
        self.pods.remove_tree(record).await?;
        self.record_tree(Tree::Absent).await
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

    async fn forget(&mut self, record: &Record) -> Result<(), Fault> {
        self.pods.forget(record).await?;
        self.inner.forget(&self.entry).await?;
        self.fault = None;
        Ok(())
    }

    /// Notes how long it took from the wish to here.
    async fn timed(&self, note: impl FnOnce(&mut StartTimings, u64)) -> Result<(), Fault> {
        let elapsed = u64::try_from(self.wished_at.elapsed().as_millis()).unwrap_or(u64::MAX).max(1);
        self.inner.touch(&self.entry, |status| note(&mut status.timings, elapsed)).await
    }
}

/// What the working tree is by what an ended pod `left`, and by whether a snapshot has all of
/// that. One that was made anew beside its predecessor's remains and goes on writes to the
/// same volume, so neither is a word about what is there by now.
fn what_is_left(left: Tree, stored: bool, goes_on: bool) -> Tree {
    match (left, goes_on) {
        (Tree::Partial, true) => Tree::Kept,
        (left, true) => left,
        (_, false) if stored => Tree::Stored,
        (left, false) => left,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_predecessor_left_is_no_word_about_its_successor() {
        for stored in [false, true] {
            assert_eq!(what_is_left(Tree::Partial, stored, true), Tree::Kept);
            assert_eq!(what_is_left(Tree::Kept, stored, true), Tree::Kept);
            assert_eq!(what_is_left(Tree::Absent, stored, true), Tree::Absent);
        }
        for left in [Tree::Absent, Tree::Partial, Tree::Kept] {
            assert_eq!(what_is_left(left, false, false), left);
        }
        assert_eq!(what_is_left(Tree::Kept, true, false), Tree::Stored);
    }
}
