//! Calls to agents as the control plane itself makes them.

pub(crate) mod status;

use std::{collections::HashMap, time::Duration};

use bytes::Bytes;
use futures_util::stream::{self, BoxStream};
use remora_proto::{
    agent::v1::{
        ArchiveChunk, ArchiveFormat, CreateSnapshotRequest, ExportSnapshotRequest, GetInfoRequest, GetSnapshotRequest,
        PruneSnapshotsRequest, RestoreSnapshotRequest, SnapshotConsistency, SnapshotInfo, SnapshotProgress,
        ThawContainersRequest, agent_service_client::AgentServiceClient, archive_chunk,
        create_snapshot_event::Event as Created, restore_snapshot_event::Event as Restored,
        snapshot_service_client::SnapshotServiceClient,
    },
    fault::from_status,
};
use remora_proto_model::{Fault, Reason, Verb, project::SnapshotPolicy};
use tokio::time::{Instant, sleep, timeout};
use tonic::{Request, metadata::MetadataValue};

use crate::{
    limits::{ASK_TIMEOUT, TURN_LOOK, TURN_WITHIN},
    projects::AgentHandle,
    store::Committed,
};

/// Who the control plane is in an agent's audit record.
const SUBJECT: &str = "control-plane";
/// Life of a token for a call that ends soon; it is looked at when a call begins.
const TOKEN_LIFE: Duration = Duration::from_secs(300);

/// `message` with a token of the control plane's own for `verb`.
pub(crate) fn authorised<T>(agent: &AgentHandle, verb: Verb, message: T) -> Result<Request<T>, Fault> {
    authorised_for(agent, &[verb], message)
}

fn authorised_for<T>(agent: &AgentHandle, verbs: &[Verb], message: T) -> Result<Request<T>, Fault> {
    let token = agent.token(SUBJECT, verbs, None, None, TOKEN_LIFE)?.token;
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
    /// Whether a tree that the newest snapshot holds makes no other one.
    pub(crate) only_changes: bool,
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
        only_changes: making.only_changes,
    };
    let client = SnapshotServiceClient::new(agent.channel.clone());
    let begin = || {
        // Each try with a token of its own: the wait may be longer than the life of one.
        let (request, mut client) = (authorised(agent, Verb::SnapshotCreate, request.clone()), client.clone());
        async move { client.create(request?).await.map_err(|status| from_status(&status)) }
    };
    let mut events = in_turn(TURN_WITHIN, begin).await?.into_inner();
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

/// The snapshot `id`.
pub(crate) async fn find_snapshot(agent: &AgentHandle, id: &str) -> Result<SnapshotInfo, Fault> {
    let request = authorised(agent, Verb::SnapshotRead, GetSnapshotRequest { snapshot: id.to_owned() })?;
    let mut client = SnapshotServiceClient::new(agent.channel.clone());
    client.get(request).await.map(tonic::Response::into_inner).map_err(|status| from_status(&status))
}

/// The archive of the snapshot `id`, as the agent packs it.
pub(crate) async fn export_snapshot(
    agent: &AgentHandle,
    id: &str,
) -> Result<BoxStream<'static, Result<Bytes, Fault>>, Fault> {
    let request = ExportSnapshotRequest { snapshot: id.to_owned(), format: ArchiveFormat::TarZstd.into() };
    let request = authorised_for(agent, &[Verb::SnapshotRead, Verb::FileRead], request)?;
    let mut client = SnapshotServiceClient::new(agent.channel.clone());
    let chunks = client.export(request).await.map_err(|status| from_status(&status))?.into_inner();
    Ok(Box::pin(stream::unfold(Some(chunks), |chunks| async {
        let mut chunks = chunks?;
        match chunks.message().await {
            Ok(Some(ArchiveChunk { part: Some(archive_chunk::Part::Data(data)) })) => Some((Ok(data), Some(chunks))),
            Ok(Some(ArchiveChunk { part: Some(archive_chunk::Part::Done(_)) })) => None,
            Ok(Some(ArchiveChunk { part: None })) | Ok(None) => Some((Err(cut_short("the archive")), None)),
            Err(status) => Some((Err(from_status(&status)), None)),
        }
    })))
}

/// Makes the workspace equal to `snapshot`, with its writers held meanwhile.
pub(crate) async fn restore_snapshot(agent: &AgentHandle, snapshot: &str) -> Result<SnapshotInfo, Fault> {
    let request =
        RestoreSnapshotRequest { snapshot: snapshot.to_owned(), consistency: SnapshotConsistency::Quiesced.into() };
    let client = SnapshotServiceClient::new(agent.channel.clone());
    let begin = || {
        // Each try with a token of its own: the wait may be longer than the life of one.
        let (request, mut client) = (authorised(agent, Verb::SnapshotAdmin, request.clone()), client.clone());
        async move { client.restore(request?).await.map_err(|status| from_status(&status)) }
    };
    let mut events = in_turn(TURN_WITHIN, begin).await?.into_inner();
    let mut done = None;
    while let Some(event) = events.message().await.map_err(|status| from_status(&status))? {
        if let Some(Restored::Done(end)) = event.event {
            done = end.snapshot;
        }
    }
    done.ok_or_else(|| cut_short("the restore"))
}

/// Begins an operation. While the agent is at one that somebody else asked it
/// for, waits for its turn, at most `within`.
async fn in_turn<T, F: Future<Output = Result<T, Fault>>>(within: Duration, begin: impl Fn() -> F) -> Result<T, Fault> {
    let deadline = Instant::now() + within;
    loop {
        match begin().await {
            Err(fault) if fault.reason == Reason::OperationInProgress && Instant::now() < deadline => {
                sleep(TURN_LOOK).await;
            }
            outcome => return outcome,
        }
    }
}

/// Whether the agent answers, and is the one that it should be.
pub(crate) async fn answers(agent: &AgentHandle) -> bool {
    let Ok(request) = authorised(agent, Verb::StatusRead, GetInfoRequest {}) else { return false };
    let mut client = AgentServiceClient::new(agent.channel.clone());
    let asked = timeout(ASK_TIMEOUT, client.get_info(request));
    matches!(asked.await, Ok(Ok(info)) if info.get_ref().generation == agent.generation.0)
}

/// Lets processes go on that a snapshot holds still.
pub(crate) async fn thaw(agent: &AgentHandle) -> Result<(), Fault> {
    let request = authorised(agent, Verb::Lifecycle, ThawContainersRequest {})?;
    let mut client = AgentServiceClient::new(agent.channel.clone());
    let thawed = timeout(ASK_TIMEOUT, client.thaw(request)).await;
    let thawed = thawed.map_err(|_| Fault::new(Reason::DeadlineExceeded, "the agent does not answer"))?;
    thawed.map(drop).map_err(|status| from_status(&status))
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

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU32, Ordering};

    use super::*;

    fn busy() -> Fault {
        Fault::new(Reason::OperationInProgress, "a snapshot is being made")
    }

    #[tokio::test]
    async fn a_turn_is_waited_for_and_not_for_ever() {
        let asked = AtomicU32::new(0);
        let third = || async {
            match asked.fetch_add(1, Ordering::Relaxed) {
                0 | 1 => Err(busy()),
                _ => Ok("begun"),
            }
        };
        assert_eq!(in_turn(TURN_WITHIN, third).await.unwrap(), "begun");

        let never = in_turn(TURN_LOOK * 2, || async { Err::<(), _>(busy()) }).await.unwrap_err();
        assert_eq!(never.reason, Reason::OperationInProgress);
    }

    #[tokio::test]
    async fn another_refusal_is_final() {
        let asked = AtomicU32::new(0);
        let full = || async {
            asked.fetch_add(1, Ordering::Relaxed);
            Err::<(), _>(Fault::new(Reason::NoSpace, "full"))
        };
        assert_eq!(in_turn(TURN_WITHIN, full).await.unwrap_err().reason, Reason::NoSpace);
        assert_eq!(asked.into_inner(), 1);
    }
}
