//! Restore: back to a snapshot, with nothing lost on the way.

use remora_proto::convert::snapshot::SnapshotId;
use remora_proto_model::{Effect, Fault, ProjectId};

use super::{Inner, Restored, alive};
use crate::agents::{Making, committed, create_snapshot, find_snapshot, restore_snapshot};

pub(super) async fn restore(inner: &Inner, id: ProjectId, snapshot: &str) -> Result<Restored, Fault> {
    let snapshot: SnapshotId = snapshot.parse()?;
    let entry = inner.entry(id)?;
    alive(&entry.record())?;
    let _one = entry.snapshots.lock().await;
    let agent = entry.agent()?;
    // What does not exist is told before anything is made for its sake.
    find_snapshot(&agent, &snapshot.to_string()).await?;
    let make = async |why| create_snapshot(&agent, Making { held: None, why, only_changes: false }, |_| {}).await;
    let before = make("before-restore").await.map_err(|fault| fault.stage("before-restore"))?;
    restore_snapshot(&agent, &snapshot.to_string()).await.map_err(|fault| {
        let hint = format!("what was there is snapshot {}; restore that to go back", before.id);
        fault.stage("restore").hint(hint)
    })?;
    // The workspace is what was asked for; that it is the newest snapshot too is what may be missing.
    let head = make("restored").await.map_err(|fault| fault.stage("commit").effect(Effect::Applied))?;
    let project = inner
        .change(&entry, |record| {
            record.project.status.head = Some(committed(&head)?.head());
            Ok(())
        })
        .await?;
    Ok(Restored { project, before: before.id, head: head.id })
}
