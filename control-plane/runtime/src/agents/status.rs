//! What an agent says of itself and its containers, as it changes.

use std::net::IpAddr;

use remora_proto::agent::v1::{
    AgentStatus, ContainerStatus, ExitStatus, WatchStatusRequest, agent_service_client::AgentServiceClient,
    exit_status::Cause,
};
use remora_proto_model::{
    Verb,
    project::{ContainerState, Durability},
};
use tokio::{
    sync::watch,
    time::{Instant, timeout},
};
use tokio_util::task::AbortOnDropHandle;
use tonic::Streaming;

use super::authorised;
use crate::{
    limits::{ASK_TIMEOUT, STATUS_INTERVAL, STATUS_REST},
    projects::{AgentHandle, now_ms},
};

/// What was said, and when that was heard.
type Heard = (Instant, AgentStatus);

/// Follows one agent until this is dropped.
pub(crate) struct Follower {
    status: watch::Receiver<Option<Heard>>,
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
        self.status.borrow().as_ref().map(|(_, said)| said.clone())
    }

    /// The same, unless that is too long ago to be so still: an agent that stands still
    /// says nothing, and its connection lives for a while.
    pub(crate) fn fresh(&self) -> Option<AgentStatus> {
        let heard = self.status.borrow();
        heard.as_ref().filter(|(at, _)| at.elapsed() < STATUS_INTERVAL * 3).map(|(_, said)| said.clone())
    }

    /// The next change.
    pub(crate) async fn changed(&mut self) {
        if self.status.changed().await.is_err() {
            std::future::pending::<()>().await;
        }
    }
}

async fn follow(agent: &AgentHandle, sender: &watch::Sender<Option<Heard>>) -> Result<(), tonic::Status> {
    let mut stream = begin(agent).await?;
    while let Some(status) = stream.message().await? {
        sender.send_replace(Some((Instant::now(), status)));
    }
    Ok(())
}

async fn begin(agent: &AgentHandle) -> Result<Streaming<AgentStatus>, tonic::Status> {
    let interval_ms = u32::try_from(STATUS_INTERVAL.as_millis()).unwrap_or(u32::MAX);
    let request = authorised(agent, Verb::StatusRead, WatchStatusRequest { interval_ms })
        .map_err(|fault| remora_proto::fault::to_status(&fault))?;
    Ok(AgentServiceClient::new(agent.channel.clone()).watch_status(request).await?.into_inner())
}

/// What an agent says now; `None` where it does not answer.
pub(crate) async fn ask(agent: &AgentHandle) -> Option<AgentStatus> {
    let first = async { begin(agent).await.ok()?.message().await.ok()? };
    timeout(ASK_TIMEOUT, first).await.ok()?
}

/// Milliseconds since anything of an agent's containers was used, or somebody was
/// connected to them; `None` where it does not know. `own` are the project's own
/// addresses: its containers may be connected to one another for as long as they run.
pub(crate) fn quiet(said: &AgentStatus, own: &[IpAddr]) -> Option<u64> {
    let is_own = |address: &str| address.parse::<IpAddr>().is_ok_and(|address| own.contains(&address));
    let visits = said.visitors.iter().filter(|visitor| !is_own(&visitor.address)).map(|visitor| visitor.quiet_ms);
    said.quiet_ms.map(|quiet| visits.fold(quiet, u64::min))
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

#[cfg(test)]
mod tests {
    use remora_proto::agent::v1::Visitor;

    use super::*;

    #[test]
    fn who_is_connected_uses_it_unless_it_is_the_project_itself() {
        let own = ["10.0.0.1".parse().unwrap(), "10.0.0.2".parse().unwrap()];
        let visitor = |address: &str, quiet_ms| Visitor { address: address.to_owned(), quiet_ms };
        for (case, quiet_ms, visitors, wanted) in [
            ("nobody", Some(9), vec![], Some(9)),
            ("somebody now", Some(9), vec![visitor("10.9.9.9", 0)], Some(0)),
            ("somebody a while ago", Some(9), vec![visitor("10.9.9.9", 5), visitor("10.9.9.8", 7)], Some(5)),
            ("before somebody typed", Some(9), vec![visitor("10.9.9.9", 50)], Some(9)),
            ("a container of the project", Some(9), vec![visitor("10.0.0.2", 0)], Some(9)),
            ("no address at all", Some(9), vec![visitor("x", 1)], Some(1)),
            ("a container that does not answer", None, vec![visitor("10.9.9.9", 5)], None),
        ] {
            let said = AgentStatus { quiet_ms, visitors, ..AgentStatus::default() };
            assert_eq!(quiet(&said, &own), wanted, "{case}");
        }
    }
}
