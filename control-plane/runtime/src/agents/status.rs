//! What an agent says of itself and its containers, as it changes.

use remora_proto::agent::v1::{
    AgentStatus, ContainerStatus, ExitStatus, WatchStatusRequest, agent_service_client::AgentServiceClient,
    exit_status::Cause,
};
use remora_proto_model::{
    Verb,
    project::{ContainerState, Durability},
};
use tokio::sync::watch;
use tokio_util::task::AbortOnDropHandle;

use super::authorised;
use crate::{
    limits::{STATUS_INTERVAL, STATUS_REST},
    projects::{AgentHandle, now_ms},
};

/// Follows one agent until this is dropped.
pub(crate) struct Follower {
    status: watch::Receiver<Option<AgentStatus>>,
    _task: AbortOnDropHandle<()>,
}

impl Follower {
    pub(crate) fn start(agent: AgentHandle) -> Follower {
        let (sender, status) = watch::channel(None);
        let task = tokio::spawn(async move {
            loop {
                // A stream that breaks off says no more than that; the process table says the rest.
                let _ = follow(&agent, &sender).await;
                sender.send_replace(None);
                tokio::time::sleep(STATUS_REST).await;
            }
        });
        Follower { status, _task: AbortOnDropHandle::new(task) }
    }

    /// What it said last; `None` while it says nothing.
    pub(crate) fn status(&self) -> Option<AgentStatus> {
        self.status.borrow().clone()
    }

    /// The next change.
    pub(crate) async fn changed(&mut self) {
        if self.status.changed().await.is_err() {
            std::future::pending::<()>().await;
        }
    }
}

async fn follow(agent: &AgentHandle, sender: &watch::Sender<Option<AgentStatus>>) -> Result<(), tonic::Status> {
    let interval_ms = u32::try_from(STATUS_INTERVAL.as_millis()).unwrap_or(u32::MAX);
    let request = authorised(agent, Verb::StatusRead, WatchStatusRequest { interval_ms })
        .map_err(|fault| remora_proto::fault::to_status(&fault))?;
    let mut stream = AgentServiceClient::new(agent.channel.clone()).watch_status(request).await?.into_inner();
    while let Some(status) = stream.message().await? {
        sender.send_replace(Some(status));
    }
    Ok(())
}

/// The recovery point, as of now.
pub(crate) fn durability(status: &AgentStatus) -> Option<Durability> {
    let said = status.durability.as_ref()?;
    let dirty = said.dirty_files > 0 || said.dirty_bytes > 0;
    let age = said.measured_ms.max(now_ms()).saturating_sub(said.committed_ms) / 1_000;
    Some(Durability {
        dirty_files: said.dirty_files,
        dirty_bytes: said.dirty_bytes,
        rpo_seconds: if dirty && said.committed_ms > 0 { age } else { 0 },
        measured_ms: said.measured_ms,
    })
}

/// How a container is; `starts` is what the one that starts it knows.
pub(crate) fn container(state: &mut ContainerState, said: &ContainerStatus) {
    state.running = said.reachable && said.main_running;
    state.ready &= state.running;
    state.waiting = if said.gave_up { String::new() } else { said.waiting.clone() };
    state.ended = match said {
        _ if !said.reachable => "it does not answer".to_owned(),
        _ if said.main_running || waits(said) => String::new(),
        ended => end(ended),
    };
}

/// Whether a container's command has not begun because of another container.
pub(crate) fn waits(said: &ContainerStatus) -> bool {
    said.reachable && !said.waiting.is_empty() && !said.gave_up
}

/// How the command of a container ended.
pub(crate) fn end(said: &ContainerStatus) -> String {
    if said.gave_up {
        return format!("never began: gave up waiting for {}", said.waiting);
    }
    said.main_exit.as_ref().map_or_else(|| "unknown".to_owned(), words)
}

/// Whether a container's command ended in a way that nobody wants.
pub(crate) fn ended_badly(said: &ContainerStatus) -> bool {
    said.reachable
        && !said.main_running
        && !waits(said)
        && said.main_exit.as_ref().is_none_or(|exit| exit.code != Some(0))
}

fn words(exit: &ExitStatus) -> String {
    match (exit.code, exit.signal) {
        (Some(code), _) => format!("exit {code}"),
        (None, Some(signal)) => format!("signal {signal}"),
        _ if exit.cause() == Cause::OutOfMemory => "out of memory".to_owned(),
        _ => "unknown".to_owned(),
    }
}
