//! Calls to agents as the control plane itself makes them.

use std::{collections::HashMap, time::Duration};

use remora_proto::{
    agent::v1::{
        CreateSnapshotRequest, RestoreSnapshotRequest, SnapshotConsistency, SnapshotInfo, SnapshotProgress,
        create_snapshot_event::Event as Created, restore_snapshot_event::Event as Restored,
        snapshot_service_client::SnapshotServiceClient,
    },
    fault::from_status,
};
use remora_proto_model::{Fault, Reason, Verb};
use tonic::{Request, metadata::MetadataValue};

use crate::projects::AgentHandle;

/// Who the control plane is in an agent's audit record.
const SUBJECT: &str = "control-plane";
/// Life of a token for a call that ends soon; it is looked at when a call begins.
const TOKEN_LIFE: Duration = Duration::from_secs(300);

/// `message` with a token of the control plane's own for `verb`.
pub(crate) fn authorised<T>(agent: &AgentHandle, verb: Verb, message: T) -> Result<Request<T>, Fault> {
    let token = agent.token(SUBJECT, &[verb], None, None, TOKEN_LIFE)?.token;
    let mut request = Request::new(message);
    let bearer = MetadataValue::try_from(format!("Bearer {token}"))
        .map_err(|_| Fault::new(Reason::Internal, "a minted token is no header value"))?;
    request.metadata_mut().insert("authorization", bearer);
    Ok(request)
}

/// How a snapshot is made.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Making {
    /// Whether the writers are held, and how long after the commit.
    pub(crate) held: Option<Duration>,
    /// Why it is made: the value of its label `reason`.
    pub(crate) why: &'static str,
}

/// Makes a snapshot; `progress` is told how far it is.
pub(crate) async fn create_snapshot(
    agent: &AgentHandle,
    making: Making,
    mut progress: impl FnMut(&SnapshotProgress),
) -> Result<SnapshotInfo, Fault> {
    let consistency = match making.held {
        Some(_) => SnapshotConsistency::Quiesced,
        None => SnapshotConsistency::Online,
    };
    let request = CreateSnapshotRequest {
        full: false,
        consistency: consistency.into(),
        hold_ms: making.held.map_or(0, |held| u32::try_from(held.as_millis()).unwrap_or(u32::MAX)),
        labels: HashMap::from([("reason".to_owned(), making.why.to_owned())]),
    };
    let request = authorised(agent, Verb::SnapshotCreate, request)?;
    let mut client = SnapshotServiceClient::new(agent.channel.clone());
    let mut events = client.create(request).await.map_err(|status| from_status(&status))?.into_inner();
    let mut committed = None;
    while let Some(event) = events.message().await.map_err(|status| from_status(&status))? {
        match event.event {
            Some(Created::Progress(step)) => progress(&step),
            Some(Created::Committed(info)) => committed = Some(info),
            None => {}
        }
    }
    committed.ok_or_else(|| cut_short("the snapshot"))
}

/// Makes the workspace equal to `snapshot`, with its writers held meanwhile.
pub(crate) async fn restore_snapshot(agent: &AgentHandle, snapshot: &str) -> Result<SnapshotInfo, Fault> {
    let request =
        RestoreSnapshotRequest { snapshot: snapshot.to_owned(), consistency: SnapshotConsistency::Quiesced.into() };
    let request = authorised(agent, Verb::SnapshotAdmin, request)?;
    let mut client = SnapshotServiceClient::new(agent.channel.clone());
    let mut events = client.restore(request).await.map_err(|status| from_status(&status))?.into_inner();
    let mut done = None;
    while let Some(event) = events.message().await.map_err(|status| from_status(&status))? {
        if let Some(Restored::Done(end)) = event.event {
            done = end.snapshot;
        }
    }
    done.ok_or_else(|| cut_short("the restore"))
}

fn cut_short(what: &str) -> Fault {
    Fault::new(Reason::ProtocolViolation, format!("the agent ended {what} without saying how"))
}
