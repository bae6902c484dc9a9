//! One project in memory: its record, who may write it, and how to reach its agent.

use std::{
    collections::BTreeMap,
    sync::{
        PoisonError, RwLock,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use remora_proto_model::{
    ContainerName, Fault, Reason,
    project::{ConditionType, Layout, Project},
};
use tokio::sync::{Mutex, MutexGuard, watch};

use super::AgentHandle;
use crate::{limits::NOT_READY_RETRY, records::Record};

/// Why a project does not start whose archive is not here.
pub(super) const WAITS_FOR_SOURCE: &str = "it waits for the archive that it starts from";

pub(crate) struct Entry {
    record: RwLock<Record>,
    writer: Mutex<()>,
    /// Held while its record is read again: however many ask, one reads at a time.
    pub(super) catching_up: Mutex<()>,
    /// Held by whoever drives the agent's snapshots: one operation at a time.
    pub(crate) snapshots: Mutex<()>,
    /// The agent while it answers; set by the driver alone.
    agent: watch::Sender<Option<AgentHandle>>,
    /// The agents of other pods of it that were called, by container.
    beside: std::sync::Mutex<BTreeMap<ContainerName, AgentHandle>>,
    /// Counts changes of the record, for the driver.
    changed: watch::Sender<u64>,
    /// Whether the project is gone.
    closed: AtomicBool,
    /// The last term of this server in which a driver began.
    driven: AtomicU64,
    /// Ports of the pod whose processes run, as the driver saw them last.
    pod_ports: RwLock<Vec<u16>>,
}

impl Entry {
    pub(super) fn new(record: Record) -> Entry {
        Entry {
            record: RwLock::new(record),
            writer: Mutex::new(()),
            catching_up: Mutex::new(()),
            snapshots: Mutex::new(()),
            agent: watch::Sender::new(None),
            beside: std::sync::Mutex::default(),
            changed: watch::Sender::new(0),
            closed: AtomicBool::new(false),
            driven: AtomicU64::new(0),
            pod_ports: RwLock::default(),
        }
    }

    pub(crate) fn record(&self) -> Record {
        self.record.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(crate) fn project(&self) -> Project {
        self.record.read().unwrap_or_else(PoisonError::into_inner).project.clone()
    }

    pub(super) fn set(&self, record: Record) {
        *self.record.write().unwrap_or_else(PoisonError::into_inner) = record;
        self.changed.send_modify(|count| *count += 1);
    }

    pub(super) async fn writer(&self) -> MutexGuard<'_, ()> {
        self.writer.lock().await
    }

    /// Counts up with each change of the record.
    pub(super) fn changes(&self) -> watch::Receiver<u64> {
        self.changed.subscribe()
    }

    pub(super) fn layout(&self) -> Layout {
        self.record.read().unwrap_or_else(PoisonError::into_inner).project.spec.layout
    }

    /// The agent of another pod of it, as it was called last.
    pub(super) fn beside(&self, container: &ContainerName) -> Option<AgentHandle> {
        self.beside.lock().unwrap_or_else(PoisonError::into_inner).get(container).cloned()
    }

    /// Keeps such an agent; as many as the project has containers.
    pub(super) fn set_beside(&self, container: ContainerName, agent: AgentHandle) {
        let there = |name: &ContainerName| agent.containers.contains(name);
        let mut beside = self.beside.lock().unwrap_or_else(PoisonError::into_inner);
        beside.retain(|name, _| there(name));
        beside.insert(container, agent);
    }

    pub(super) fn set_agent(&self, agent: Option<AgentHandle>) {
        self.agent.send_replace(agent);
    }

    /// Ports on which a process of the project may listen.
    pub(super) fn pod_ports(&self) -> Vec<u16> {
        self.pod_ports.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(super) fn set_pod_ports(&self, ports: Vec<u16>) {
        *self.pod_ports.write().unwrap_or_else(PoisonError::into_inner) = ports;
    }

    pub(super) fn has_agent(&self) -> bool {
        self.agent.borrow().is_some()
    }

    pub(super) fn agent_now(&self) -> Option<AgentHandle> {
        self.agent.borrow().clone()
    }

    /// Whether this is the first time that it is to be driven in this term.
    pub(super) fn begins_in(&self, term: u64) -> bool {
        self.driven.swap(term, Ordering::AcqRel) != term
    }

    /// The project is gone: its driver ends.
    pub(super) fn close(&self) {
        self.closed.store(true, Ordering::Release);
        self.set_agent(None);
        self.changed.send_modify(|count| *count += 1);
    }

    pub(super) fn is_closed(&self) -> bool {
        self.closed.load(Ordering::Acquire)
    }

    /// The way to the agent, or why there is none.
    pub(super) fn agent(&self) -> Result<AgentHandle, Fault> {
        if let Some(agent) = self.agent.borrow().as_ref() {
            return Ok(agent.clone());
        }
        let project = self.project();
        let said = project.status.conditions.iter().find(|condition| condition.kind == ConditionType::Ready);
        let why = match said {
            Some(said) => said.message.clone(),
            // Its driver has not spoken yet.
            None if self.record().waits_for_its_source() => WAITS_FOR_SOURCE.to_owned(),
            None => format!("it is {}", project.status.phase),
        };
        let fault = Fault::new(Reason::ProjectNotReady, format!("project {} is not ready: {why}", project.name));
        Err(match project.spec.desired {
            remora_proto_model::project::Desired::Running => fault.retry_after(retry_after(&project)),
            _ => fault.hint(format!("start it first, for example with: remora start {}", project.name)),
        })
    }
}

/// The last start tells how long the next one takes.
fn retry_after(project: &Project) -> Duration {
    NOT_READY_RETRY.max(Duration::from_millis(project.status.timings.ready_ms / 2)).min(Duration::from_secs(10))
}
