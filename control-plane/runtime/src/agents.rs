//! Calls to agents as the control plane itself makes them.

pub(crate) mod status;

use std::{collections::HashMap, time::Duration};

use remora_proto::{
    agent::v1::{
        CreateSnapshotRequest, GetInfoRequest, PruneSnapshotsRequest, RestoreSnapshotRequest, SnapshotConsistency,
        SnapshotInfo, SnapshotProgress, agent_service_client::AgentServiceClient,
        create_snapshot_event::Event as Created, restore_snapshot_event::Event as Restored,
        snapshot_service_client::SnapshotServiceClient,
    },
    fault::from_status,
};
use remora_proto_model::{Fault, Reason, Verb, project::SnapshotPolicy};
use tokio::time::timeout;
use tonic::{Request, metadata::MetadataValue};

use crate::{limits::ASK_TIMEOUT, projects::AgentHandle, store::Committed};

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

/// Whether the agent answers, and is the one that it should be.
pub(crate) async fn answers(agent: &AgentHandle) -> bool {
    let Ok(request) = authorised(agent, Verb::StatusRead, GetInfoRequest {}) else { return false };
    let mut client = AgentServiceClient::new(agent.channel.clone());
    let asked = timeout(ASK_TIMEOUT, client.get_info(request));
    matches!(asked.await, Ok(Ok(info)) if info.get_ref().generation == agent.generation.0)
}

/// Removes the snapshots that `policy` does not keep.
pub(crate) async fn prune(agent: &AgentHandle, policy: &SnapshotPolicy) -> Result<(), Fault> {
    let request = PruneSnapshotsRequest {
        keep_last: policy.keep_last,
        keep_hourly: policy.keep_hourly,
        keep_daily: policy.keep_daily,
        keep_labels: Vec::new(),
        dry_run: false,
    };
    let request = authorised(agent, Verb::SnapshotAdmin, request)?;
    let mut client = SnapshotServiceClient::new(agent.channel.clone());
    client.prune(request).await.map(drop).map_err(|status| from_status(&status))
}

/// What an agent says of a snapshot, as far as it is compared with the store.
pub(crate) fn committed(info: &SnapshotInfo) -> Result<Committed, Fault> {
    let root = <[u8; 32]>::try_from(&info.root_blake3[..])
        .map_err(|_| Fault::new(Reason::ProtocolViolation, "the agent names a root by something that is no hash"))?;
    Ok(Committed {
        id: info.id.clone(),
        root_key: info.root_key.clone(),
        root: root.into(),
        sequence: info.sequence,
        created_ms: info.created_ms,
    })
}

fn cut_short(what: &str) -> Fault {
    Fault::new(Reason::ProtocolViolation, format!("the agent ended {what} without saying how"))
}
