//! What others change of the records, taken over: another replica, or a person
//! with kubectl.

use std::{collections::HashSet, sync::Arc};

use futures_util::{StreamExt as _, stream::BoxStream};
use remora_proto_model::{
    Fault, ProjectId, ProjectName,
    project::{ConditionType, Phase},
};
use tokio::time::timeout;
use tracing::{debug, warn};

use super::{AgentHandle, Inner, entry::Entry};
use crate::{
    limits::CATCH_UP_PATIENCE,
    records::{Feed, Record},
};

/// Follows `feed` to its end.
pub(super) async fn follow(inner: Arc<Inner>, mut feed: BoxStream<'static, Feed>) {
    while let Some(event) = feed.next().await {
        match event {
            Feed::Listed(records) => {
                let there: HashSet<ProjectId> = records.iter().map(|record| record.project.id).collect();
                let known: Vec<ProjectId> = inner.read_table().by_id.keys().copied().collect();
                for id in known.iter().filter(|id| !there.contains(id)) {
                    // A list that was slow is older than what was made since: it says
                    // nothing of that, and the project itself is asked for.
                    if let Err(fault) = again(&inner, *id).await {
                        warn!(project = %id, %fault, "whether it is gone is not known");
                    }
                }
                for record in records {
                    take(&inner, record).await;
                }
            }
            Feed::Put(record) => take(&inner, *record).await,
            Feed::Gone(id) => inner.drop_entry(id),
        }
    }
}

/// Takes over the record that a name or an id means, if there is one.
pub(super) async fn look_up(inner: &Arc<Inner>, name_or_id: &str) -> Result<(), Fault> {
    let _one = inner.look_ups.lock().await;
    let found = match (name_or_id.parse::<ProjectId>(), name_or_id.parse::<ProjectName>()) {
        (Ok(id), _) => inner.records.read(id).await?,
        (_, Ok(name)) => inner.records.named(name).await?,
        _ => None,
    };
    if let Some(record) = found {
        take(inner, record).await;
    }
    Ok(())
}

/// Takes over what others made of a record.
pub(super) async fn catch_up(inner: &Arc<Inner>, entry: &Entry) -> Result<(), Fault> {
    let _one = entry.catching_up.lock().await;
    again(inner, entry.record().project.id).await
}

/// Reads a record again.
async fn again(inner: &Arc<Inner>, id: ProjectId) -> Result<(), Fault> {
    match inner.records.read(id).await? {
        Some(record) => take(inner, record).await,
        None => inner.drop_entry(id),
    }
    Ok(())
}

/// The same for who does not act, before it answers: what one server has said is done,
/// each other one says too. Where the records are away, it answers by what it knows.
pub(super) async fn catch_up_to_leader(inner: &Arc<Inner>, entry: &Entry) {
    if !inner.shared || inner.lead.leads() {
        return;
    }
    match timeout(CATCH_UP_PATIENCE, catch_up(inner, entry)).await {
        Ok(Ok(())) => {}
        Ok(Err(fault)) => debug!(%fault, "what others recorded is not known"),
        Err(_) => debug!("what others recorded is not known in time"),
    }
}

async fn take(inner: &Arc<Inner>, record: Record) {
    let id = record.project.id;
    let Ok(entry) = inner.entry(id) else {
        inner.put(record).await;
        if let Ok(entry) = inner.entry(id) {
            reach(inner, &entry);
        }
        return;
    };
    {
        let _writer = entry.writer().await;
        if record.project.resource_version > entry.record().project.resource_version {
            inner.publish(&entry, record);
        }
    }
    reach(inner, &entry);
}

/// The way to the agent, for who does not drive the project: by what the record says.
fn reach(inner: &Arc<Inner>, entry: &Entry) {
    if inner.lead.leads() {
        return;
    }
    let record = entry.record();
    let status = &record.project.status;
    let serves = match status.phase {
        Phase::Ready | Phase::Idle | Phase::Degraded | Phase::Quiescing | Phase::Snapshotting | Phase::Committed => {
            true
        }
        // Its agent serves while containers wait for one another.
        Phase::Starting => {
            status.conditions.iter().any(|condition| condition.kind == ConditionType::Ready && condition.status)
        }
        _ => false,
    };
    let handle = record.agent.filter(|_| serves).and_then(|address| {
        if let Some(known) = entry.agent_now()
            && known.address == address
            && known.generation == status.generation
        {
            return Some(known);
        }
        let names = record.project.spec.containers.iter().map(|container| container.name.clone()).collect();
        AgentHandle::dial(inner, record.project.id, status.generation, address, names).ok()
    });
    entry.set_agent(handle);
}
