//! The agent's end in the middle of work: a crash of the sidecar, an update of it.

use remora_proto::agent::v1::{DrainRequest, GetTerminalRequest, agent_service_client::AgentServiceClient};

use super::terminal::{Attached, client, open};
use crate::{harness::Case, patience::eventually, project::Project, remote::channel, target::Target};

pub(super) fn cases() -> Vec<Case> {
    vec![Case::new("agent::terminals_and_commands_outlive_it", outlive)]
}

async fn outlive(target: Target) {
    let project = Project::empty(&target, "agent", super::IDLE).await;
    let mut terminals = client(&project).await;
    let id = open(&mut terminals, &["sh"]).await;
    let mut attached = Attached::to(&mut terminals, &id, 0, 0).await;
    attached.type_keys("stty -echo; V=before; echo up-$((1+1))\n").await;
    attached.expect("up-2").await;
    let next = attached.next;

    let mut agent = AgentServiceClient::new(channel(&target, Some(&project.name)).await);
    agent.drain(DrainRequest {}).await.expect("it is told to end");
    // Until the next one serves there is nobody; then the terminal is where it was.
    let (mut terminals, found) = eventually(|| async {
        let mut terminals = client(&project).await;
        let request = GetTerminalRequest { id: id.clone(), ..GetTerminalRequest::default() };
        let found = terminals.get(request).await.map_err(|status| format!("{status:?}"))?;
        Ok((terminals, found.into_inner()))
    })
    .await;
    assert!(found.exit.is_none(), "it runs on");
    let mut attached = Attached::to(&mut terminals, &id, next, 1).await;
    attached.type_keys("echo $V-$((2+2))\n").await;
    attached.expect("before-4").await;
    project.becomes("ready again", crate::project::phase("Ready")).await;
    project.remove().await;
}
