//! The one task that acts on a project: look, plan, perform the first step, again.
//!
//! It may be killed between any two lines. What it must not forget is in the
//! record before the effect that needs it; the rest is in [`Memory`] and is
//! found out anew.

mod failpoint;
mod idle;
mod report;
mod steps;
mod tend;

use std::{sync::Arc, time::Duration};

use remora_control_plane_project::{
    Failure, Memory, Observed, Pod as PodState, REPAIR_ATTEMPTS, Recorded, Seen, Step, Tree, Wish, observe, plan,
};
use remora_proto::agent::v1::AgentStatus;
use remora_proto_model::{Fault, Generation, project::Source};
use tokio::{
    sync::watch,
    time::{Instant, sleep},
};
use tracing::{info, warn};

use self::failpoint::{When, failpoint};
pub(super) use self::report::changed_words;
use super::{AgentHandle, Inner, entry::Entry, now_ms, ports::ports, wish};
use crate::{
    agents::status::Follower,
    limits::{ANSWER_LOOK, BLIND_REST, HALF_CHANGED, NOT_READY_RETRY},
    pods::{Look, Pods},
    records::Record,
    store::Committed,
};

/// How the server wants its drivers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mode {
    /// At work.
    Drive,
    /// To stop their pods, whatever is wished, and end.
    StopPods,
    /// To end and leave everything as it is.
    Leave,
}

/// See the module.
pub(crate) struct Driver {
    inner: Arc<Inner>,
    entry: Arc<Entry>,
    pods: Box<dyn Pods>,
    mode: watch::Receiver<Mode>,
    memory: Memory,
    /// The last wish that was seen, and when.
    wished: Option<Wish>,
    wished_at: Instant,
    /// What [`Entry::asked`] said last.
    asked: u64,
    /// The version of the spec that was seen last.
    spec_version: u64,
    /// A pod that could not start is not waited for once more: somebody asked again.
    anew: bool,
    /// Why the last step failed.
    fault: Option<Fault>,
    /// Why a port is not reached from outside as its spec says.
    unrouted: Option<Fault>,
    /// The snapshot that [`Memory::proof`] is about.
    committed: Option<Committed>,
    /// What is there, as last seen.
    seen: Look,
    /// The agent that answers, and the incarnation that it is.
    agent: Option<(String, AgentHandle)>,
    /// What that agent says.
    follower: Option<Follower>,
    tending: tend::Tending,
    /// Since when data is to go of a container that is still in the spec.
    half_changed: Option<Instant>,
    idling: idle::Idling,
}

impl Driver {
    /// Drives the project of `entry` until it is gone or the server's mode says so.
    pub(crate) async fn run(inner: Arc<Inner>, entry: Arc<Entry>, mode: watch::Receiver<Mode>) {
        let pods = inner.runtime.pods(&entry.record());
        let driver = Driver {
            inner,
            entry,
            pods,
            mode,
            memory: Memory::default(),
            wished: None,
            wished_at: Instant::now(),
            asked: 0,
            spec_version: 0,
            anew: false,
            fault: None,
            unrouted: None,
            committed: None,
            seen: Look::default(),
            agent: None,
            follower: None,
            tending: tend::Tending::default(),
            half_changed: None,
            idling: idle::Idling::default(),
        };
        driver.drive().await;
    }

    async fn drive(mut self) {
        let mut changed = self.entry.changes();
        while !self.entry.is_closed() {
            changed.borrow_and_update();
            let mode = *self.mode.borrow_and_update();
            let record = self.entry.record();
            let wish = self.wish(&record, mode);
            // Whoever asks again, or wants another thing of it, need not wait for the next attempt.
            if record.asked != self.asked || record.spec_version != self.spec_version {
                // At first nobody has asked: a server that begins meets what is there.
                self.anew = self.spec_version != 0;
                if self.anew && record.idled.is_none() {
                    self.idling.asked = Some(Instant::now());
                }
                (self.asked, self.spec_version) = (record.asked, record.spec_version);
                (self.memory.failure, self.fault) = (None, None);
            }
            if let Err(fault) = self.look(&record).await {
                // Where nothing can be seen nothing is done: what is there may be anything.
                warn!(project = %record.project.id, %fault, "the project cannot be looked at");
                if mode == Mode::Leave {
                    return;
                }
                self.wait(&mut changed, BLIND_REST).await;
                continue;
            }
            let observed = self.observe(&record);
            if matches!(observed.pod, PodState::Ready) && !self.entry.has_agent() {
                self.entry.set_agent(self.agent.as_ref().map(|(_, handle)| handle.clone()));
                if let Err(fault) = self.tell_where().await {
                    warn!(project = %record.project.id, %fault, "where the agent serves cannot be recorded");
                }
            }
            let step = plan(wish, &observed, now_ms()).first().copied();
            if mode == Mode::Drive && self.heed_use(&record, &observed, wish, step).await {
                continue;
            }
            if step.is_none() && record.is_being_replaced() && !self.runs() {
                // What was to end has ended: what follows it is a start like any other.
                if let Err(fault) = self.replaced().await {
                    warn!(project = %record.project.id, %fault, "that a generation has ended cannot be recorded");
                    self.wait(&mut changed, BLIND_REST).await;
                }
                continue;
            }
            if step.is_none() {
                // It is as it is wanted, so what failed on the way is over and told no more.
                self.memory.failure = None;
                self.fault = None;
            }
            // Whatever becomes of the pod: a port that was closed is closed now.
            let routed = self.runs() && record.deletion.is_none();
            self.unrouted = if routed { self.pods.route(&record).await.err() } else { None };
            if let Err(fault) = self.report(wish, &observed, step).await {
                warn!(project = %record.project.id, %fault, "the status cannot be recorded");
            }
            if mode == Mode::Leave || (mode == Mode::StopPods && !self.runs()) {
                return;
            }
            if let Err(fault) = self.discard(&record).await {
                warn!(project = %record.project.id, %fault, "data that nobody wants stays");
            }
            if let Err(fault) = self.note_hydrated(&record).await {
                warn!(project = %record.project.id, %fault, "that the workspace is whole cannot be recorded");
            }
            match step {
                None => self.tend(wish, &observed, &mut changed).await,
                Some(Step::WaitUntil(at)) => {
                    self.wait(&mut changed, Duration::from_millis(at.saturating_sub(now_ms()))).await;
                }
                Some(Step::AwaitReady) => self.await_ready(&record, &mut changed).await,
                Some(step) => {
                    info!(project = %record.project.id, ?step, "next");
                    let name = &record.project.name;
                    failpoint(name, step, When::Before).await;
                    match self.perform(step, &record, &mut changed).await {
                        Ok(()) => failpoint(name, step, When::After).await,
                        Err(fault) => self.failed(step, fault),
                    }
                    if step == Step::Forget && self.fault.is_none() {
                        return;
                    }
                }
            }
        }
    }

    fn wish(&mut self, record: &Record, mode: Mode) -> Wish {
        let wish = match (wish(record), mode) {
            (Wish::Run, Mode::StopPods) => Wish::Stop,
            (wish, _) => wish,
        };
        if self.wished != Some(wish) {
            self.wished = Some(wish);
            self.wished_at = Instant::now();
            self.memory.failure = None;
            self.memory.proof = None;
            self.fault = None;
        }
        wish
    }

    /// Looks at what is there, and whether its agent answers.
    async fn look(&mut self, record: &Record) -> Result<(), Fault> {
        self.seen = self.pods.look(record).await?;
        let made = self.seen.made.as_ref();
        self.entry.set_pod_ports(made.map_or_else(Vec::new, |made| ports(&made.containers).collect()));
        let Some(serving) = self.seen.serving.clone() else {
            self.lose_agent();
            return Ok(());
        };
        if self.agent.as_ref().is_some_and(|(known, _)| *known == serving.incarnation) {
            return Ok(());
        }
        let names = made.iter().flat_map(|made| &made.containers).map(|container| container.name.clone()).collect();
        let generation = record.project.status.generation;
        let handle = AgentHandle::dial(&self.inner, record.project.id, generation, serving.address, names);
        self.agent = match handle {
            Ok(handle) if crate::agents::answers(&handle).await => Some((serving.incarnation, handle)),
            _ => None,
        };
        self.follower = self.agent.as_ref().map(|(_, handle)| Follower::start(handle.clone()));
        Ok(())
    }

    /// Records where the agent serves, for those who do not drive the project.
    async fn tell_where(&self) -> Result<(), Fault> {
        let address = self.agent.as_ref().map(|(_, handle)| handle.address);
        if !self.inner.shared || self.entry.record().agent == address {
            return Ok(());
        }
        let change = |record: &mut Record| {
            record.agent = address;
            Ok(())
        };
        self.inner.change(&self.entry, change).await.map(drop)
    }

    fn lose_agent(&mut self) {
        self.agent = None;
        self.follower = None;
        self.entry.set_agent(None);
    }

    /// What the agent said last.
    fn said(&self) -> Option<AgentStatus> {
        self.follower.as_ref().and_then(Follower::status)
    }

    fn observe(&self, record: &Record) -> Observed {
        let status = &record.project.status;
        let seen = Seen {
            strays: self.seen.strays,
            running: self.seen.running,
            missing: self.seen.missing,
            behind: self.seen.behind,
            // A container that does not answer later on is told of, and the pod is none the less there.
            ready: self.agent.is_some() && (self.entry.has_agent() || self.said().is_some_and(|said| said.ready)),
        };
        let recorded = Recorded {
            generation: status.generation,
            tree: record.tree,
            condemned: record.condemned.is_some(),
            tombstone: record.deletion.is_some_and(|deletion| deletion.tombstone),
            source: record.project.spec.source == Source::Empty
                || record.source.is_some()
                || status.generation > Generation(0),
        };
        observe(&recorded, &self.memory, &seen)
    }

    fn runs(&self) -> bool {
        !self.seen.is_empty()
    }

    fn failed(&mut self, step: Step, fault: Fault) {
        let attempts = self.memory.failure.map_or(0, |failure| failure.attempts) + 1;
        warn!(project = %self.entry.project().id, ?step, attempts, %fault, "a step failed");
        self.memory.failure = Some(Failure { attempts, at_ms: now_ms() });
        self.fault = Some(fault);
    }

    /// Waits for a change of the record, of the mode or of a pod, at most `time`.
    async fn wait(&mut self, changed: &mut watch::Receiver<u64>, time: Duration) {
        let time = if self.runs() { time.min(self.pods.look_interval()) } else { time };
        let told = async {
            match &mut self.follower {
                Some(follower) => follower.changed().await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            () = told => {}
            _ = changed.changed() => {}
            _ = self.mode.changed() => {}
            () = self.pods.changed() => {}
            () = sleep(time) => {}
        }
    }

    /// Waits until the agent answers. What keeps it from that, and a part that ends
    /// meanwhile, is a failure.
    async fn await_ready(&mut self, record: &Record, changed: &mut watch::Receiver<u64>) {
        let anew = std::mem::take(&mut self.anew);
        if let Some(trouble) = self.seen.trouble.clone() {
            if self.never_ran() && self.wished != Some(Wish::Run) {
                // What keeps it from starting keeps nobody from ending it.
                self.memory.failure = Some(Failure { attempts: REPAIR_ATTEMPTS, at_ms: 0 });
                self.fault = None;
                return;
            }
            if self.never_ran() && anew {
                // What it met may be mended, and what it is made of may be another thing
                // by now. Left alone it would rest between two attempts, at last for minutes.
                info!(project = %record.project.id, %trouble, "a pod that cannot start is replaced");
                let end = if self.seen.hydrated.is_some() { Step::Stop } else { Step::Kill };
                if let Err(fault) = self.perform(end, record, changed).await {
                    self.failed(end, fault);
                }
                return;
            }
            return self.failed(Step::AwaitReady, trouble);
        }
        let parts = self.seen.running;
        // An agent that runs says nothing by itself until it is asked.
        let asks = self.seen.serving.is_some() && self.agent.is_none();
        let interval = self.pods.start_interval();
        self.wait(changed, if asks { interval.min(ANSWER_LOOK) } else { interval }).await;
        let record = self.entry.record();
        // What cannot be seen is looked at again by the loop.
        let Ok(seen) = self.pods.look(&record).await else { return };
        self.seen = seen;
        if self.seen.running < parts {
            let fault = Fault::new(
                remora_proto_model::Reason::ContainerUnavailable,
                "a process of the pod ended before it was ready",
            );
            self.failed(Step::AwaitReady, fault.retry_after(NOT_READY_RETRY));
        }
    }

    /// Whether nothing of the user's ever ran in the pod, and the tree comes and goes
    /// with it: what an agent wrote meanwhile is in its last snapshot. So it is with a
    /// volume that nothing was restored into yet.
    fn never_ran(&self) -> bool {
        let record = self.entry.record();
        let bare = record.tree == Tree::Partial && self.seen.hydrated.is_none();
        let ends = self.pods.tree_ends_with_pod(&record) || bare;
        ends && self.seen.starts.iter().all(|(_, starts)| *starts == 0)
    }

    /// Records that the generation which was to be replaced has ended.
    async fn replaced(&self) -> Result<(), Fault> {
        let change = |record: &mut Record| {
            record.replace = None;
            Ok(())
        };
        self.inner.change(&self.entry, change).await.map(drop)
    }

    /// Removes the data of containers that were removed with it, and forgets what was to go
    /// with a change that did not come.
    async fn discard(&mut self, record: &Record) -> Result<(), Fault> {
        let gone = record.to_discard();
        if !gone.is_empty() {
            self.pods.discard(record, &gone).await?;
            let change = |now: &mut Record| {
                now.discard.retain(|name| !gone.contains(name));
                Ok(())
            };
            self.inner.change(&self.entry, change).await?;
        }
        if !record.is_half_changed() {
            self.half_changed = None;
            return Ok(());
        }
        if self.half_changed.get_or_insert_with(Instant::now).elapsed() < HALF_CHANGED {
            return Ok(());
        }
        // What is complete by now is left: this looks at the record as it is then.
        let forget = |now: &mut Record| {
            now.forget_half_changes();
            Ok(())
        };
        self.inner.change(&self.entry, forget).await.map(drop)
    }

    /// Records what the tree is from now on.
    async fn record_tree(&self, tree: Tree) -> Result<(), Fault> {
        let change = |record: &mut Record| {
            record.tree = tree;
            Ok(())
        };
        self.inner.change(&self.entry, change).await.map(drop)
    }
}
