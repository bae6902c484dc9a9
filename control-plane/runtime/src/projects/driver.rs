//! The one task that acts on a project: look, plan, perform the first step, again.
//!
//! It may be killed between any two lines. What it must not forget is in the
//! record before the effect that needs it; the rest is in [`Memory`] and is
//! found out anew.

mod report;
mod steps;
mod tend;

use std::{path::PathBuf, sync::Arc, time::Duration};

use remora_control_plane_project::{
    Failure, Memory, Observed, Pod as PodState, Recorded, Seen, Step, Tree, Wish, observe, plan,
};
use remora_proto::agent::v1::AgentStatus;
use remora_proto_model::{Fault, Generation, project::Source};
use tokio::{
    sync::{mpsc, watch},
    time::{Instant, sleep},
};
use tracing::{info, warn};

use super::{AgentHandle, Inner, entry::Entry, now_ms, ports::ports, wish};
use crate::{
    agents::status::Follower,
    limits::{LOOK_INTERVAL, NOT_READY_RETRY},
    local::{
        layout::ProjectDir,
        pod::{Made, Pod},
        process::{self, Found},
    },
    state::record::Record,
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
    dir: ProjectDir,
    mode: watch::Receiver<Mode>,
    memory: Memory,
    /// The last wish that was seen, and when.
    wished: Option<Wish>,
    wished_at: Instant,
    /// What [`Entry::asked`] said last.
    asked: u64,
    /// Why the last step failed.
    fault: Option<Fault>,
    /// The snapshot that [`Memory::proof`] is about.
    committed: Option<Committed>,
    /// What runs, as last seen.
    found: Vec<Found>,
    made: Option<Made>,
    /// The agent that answers, and the process that it is.
    agent: Option<(process::Identity, AgentHandle)>,
    /// What that agent says.
    follower: Option<Follower>,
    /// How often each part was started in this generation.
    starts: Vec<(String, u32)>,
    ended: (mpsc::Sender<()>, mpsc::Receiver<()>),
    tending: tend::Tending,
}

impl Driver {
    /// Drives the project of `entry` until it is gone or the server's mode says so.
    pub(crate) async fn run(inner: Arc<Inner>, entry: Arc<Entry>, mode: watch::Receiver<Mode>) {
        let dir = ProjectDir::of(&inner.config.data_dir, entry.project().id);
        let found = process::of_project(dir.path());
        let driver = Driver {
            inner,
            entry,
            dir,
            mode,
            memory: Memory::default(),
            wished: None,
            wished_at: Instant::now(),
            asked: 0,
            fault: None,
            committed: None,
            found,
            made: None,
            agent: None,
            follower: None,
            starts: Vec::new(),
            ended: mpsc::channel(1),
            tending: tend::Tending::default(),
        };
        driver.drive().await;
    }

    async fn drive(mut self) {
        let mut changed = self.entry.changes();
        loop {
            changed.borrow_and_update();
            let mode = *self.mode.borrow_and_update();
            let record = self.entry.record();
            let wish = self.wish(&record, mode);
            let asked = self.entry.asked();
            if asked != self.asked {
                (self.asked, self.memory.failure, self.fault) = (asked, None, None);
            }
            self.look(&record).await;
            let observed = self.observe(&record);
            if matches!(observed.pod, PodState::Ready) && !self.entry.has_agent() {
                self.entry.set_agent(self.agent.as_ref().map(|(_, handle)| handle.clone()));
            }
            let step = plan(wish, &observed, now_ms()).first().copied();
            if step.is_none() {
                // It is as it is wanted, so what failed on the way is over and told no more.
                self.memory.failure = None;
                self.fault = None;
            }
            if let Err(fault) = self.report(wish, &observed, step).await {
                warn!(project = %record.project.id, %fault, "the status cannot be recorded");
            }
            if mode == Mode::Leave || (mode == Mode::StopPods && !self.runs()) {
                return;
            }
            match step {
                None => self.tend(wish, &observed, &mut changed).await,
                Some(Step::WaitUntil(at)) => {
                    self.wait(&mut changed, Duration::from_millis(at.saturating_sub(now_ms()))).await;
                }
                Some(Step::AwaitReady) => self.await_ready(&mut changed).await,
                Some(step) => {
                    info!(project = %record.project.id, ?step, "next");
                    failpoint(step, "before");
                    match self.perform(step, &record, &mut changed).await {
                        Ok(()) => failpoint(step, "after"),
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

    /// Looks at what runs, and whether its agent answers.
    async fn look(&mut self, record: &Record) {
        let generation = record.project.status.generation;
        self.found.retain(|found| found.identity.lives());
        if self.made.is_none() {
            self.made = self.pod(generation).made();
        }
        let made = self.made.as_ref().filter(|_| !self.found.is_empty());
        self.entry.set_pod_ports(made.map_or_else(Vec::new, |made| ports(&made.containers).collect()));
        let pod = Pod { config: &self.inner.config, project: record.project.id, generation };
        let serving = pod.serving(&self.found);
        let agent = self.found.iter().find(|found| pod.is_part(found, crate::local::pod::AGENT));
        match (serving, agent) {
            (Some(serving), Some(process)) => {
                if self.agent.as_ref().is_some_and(|(known, _)| *known == process.identity) {
                    return;
                }
                let containers = self.made.iter().flat_map(|made| &made.containers);
                let names = containers.map(|container| container.name.clone()).collect();
                let handle = AgentHandle::dial(&self.inner, record.project.id, generation, serving.grpc, names);
                self.agent = match handle {
                    Ok(handle) if crate::agents::answers(&handle).await => Some((process.identity, handle)),
                    _ => None,
                };
                self.follower = self.agent.as_ref().map(|(_, handle)| Follower::start(handle.clone()));
            }
            _ => self.lose_agent(),
        }
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
        let pod = self.pod(status.generation);
        let parts = self.made.as_ref().map(Pod::parts).unwrap_or_default();
        let running = parts.iter().filter(|part| self.found.iter().any(|found| pod.is_part(found, part))).count();
        let stray = |found: &Found| {
            found.generation != status.generation
                || (found.ours && !parts.iter().any(|part| pod.is_part(found, part)))
                || (!found.ours && running == 0)
        };
        let seen = Seen {
            strays: self.found.iter().any(stray),
            running,
            missing: if running == 0 { 0 } else { parts.len() - running },
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

    fn pod(&self, generation: Generation) -> Pod<'_> {
        Pod { config: &self.inner.config, project: self.entry.project().id, generation }
    }

    fn runs(&self) -> bool {
        !self.found.is_empty()
    }

    fn failed(&mut self, step: Step, fault: Fault) {
        let attempts = self.memory.failure.map_or(0, |failure| failure.attempts) + 1;
        warn!(project = %self.dir.path().display(), ?step, attempts, %fault, "a step failed");
        self.memory.failure = Some(Failure { attempts, at_ms: now_ms() });
        self.fault = Some(fault);
        self.found = process::of_project(self.dir.path());
    }

    /// Waits for a change of the record, of the mode or of a process, at most `time`.
    async fn wait(&mut self, changed: &mut watch::Receiver<u64>, time: Duration) {
        let time = if self.runs() { time.min(LOOK_INTERVAL) } else { time };
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
            _ = self.ended.1.recv() => {}
            () = sleep(time) => {}
        }
    }

    /// Waits until the agent answers; a process that ends meanwhile is a failure.
    async fn await_ready(&mut self, changed: &mut watch::Receiver<u64>) {
        // What the user's commands start and end says nothing about the pod.
        let ours = |found: &[Found]| found.iter().filter(|found| found.ours).count();
        let parts = ours(&self.found);
        self.wait(changed, LOOK_INTERVAL.min(Duration::from_millis(50))).await;
        self.found.retain(|found| found.identity.lives());
        if ours(&self.found) < parts {
            let fault = Fault::new(
                remora_proto_model::Reason::ContainerUnavailable,
                "a process of the pod ended before it was ready",
            );
            self.failed(Step::AwaitReady, fault.retry_after(NOT_READY_RETRY));
        }
    }

    /// The archive that the project starts from, while no snapshot holds it.
    fn seed(&self, record: &Record) -> Option<PathBuf> {
        record.source.as_ref().map(|source| self.dir.path().join(&source.file))
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

/// Ends the process where REMORA_FAILPOINT names this step (`Condemn:after`), as
/// kill -9 there would. Only for tests; without the variable it is nothing.
fn failpoint(step: Step, when: &str) {
    let Ok(wanted) = std::env::var("REMORA_FAILPOINT") else { return };
    let name = format!("{step:?}");
    let name = name.split('(').next().unwrap_or_default();
    if wanted == format!("{name}:{when}") {
        let _ = rustix::process::kill_process(rustix::process::getpid(), rustix::process::Signal::KILL);
    }
}
