//! Prune: snapshots that nobody wants to keep, and then their objects.
//!
//! A snapshot is first marked as removed, in its root. The root and what only it
//! reaches stay for [`COLLECT_AFTER`] from then on, by the store's clock: a writer
//! that read it as the newest one before may still build on it.

use std::{
    collections::{BTreeMap, BTreeSet, HashSet},
    time::SystemTime,
};

use bytes::Bytes;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::{
    Lineage, SnapshotError,
    format::{ObjectId, ROOTS_PREFIX, Root, sequence_of_key},
    limits::COLLECT_AFTER,
    store::{ObjectInfo, PutCondition, Store},
};

/// Which snapshots stay. The newest always does.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Retention {
    /// This many of the newest.
    pub keep_last: usize,
    /// The newest of each of this many last hours that have one.
    pub keep_hourly: usize,
    /// The newest of each of this many last days (UTC) that have one.
    pub keep_daily: usize,
    /// Those with a label of one of these keys.
    pub keep_labels: Vec<String>,
}

/// What a retention rule asks about a snapshot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Candidate {
    /// Its place in the lineage.
    pub sequence: u64,
    /// When it was made, in milliseconds since the epoch.
    pub created_ms: u64,
    /// Its labels.
    pub labels: BTreeMap<String, String>,
}

/// What was removed, or would be.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Pruned {
    /// Ids of snapshots, oldest first.
    pub removed: Vec<String>,
    /// How many snapshots remain.
    pub kept: u64,
    /// Objects that are gone for good, roots included.
    pub objects_removed: u64,
    /// Their bytes.
    pub bytes_removed: u64,
}

const HOUR_MS: u64 = 60 * 60 * 1_000;
const DAY_MS: u64 = 24 * HOUR_MS;

/// Sequences of the snapshots that stay. Pure: the time that counts is the
/// snapshots' own, so a wrong clock of today removes nothing.
pub fn retain(snapshots: &[Candidate], retention: &Retention) -> BTreeSet<u64> {
    let mut newest_first: Vec<&Candidate> = snapshots.iter().collect();
    newest_first.sort_unstable_by_key(|snapshot| std::cmp::Reverse(snapshot.sequence));
    let mut kept: BTreeSet<u64> =
        newest_first.iter().take(retention.keep_last.max(1)).map(|snapshot| snapshot.sequence).collect();
    for (count, span) in [(retention.keep_hourly, HOUR_MS), (retention.keep_daily, DAY_MS)] {
        // By time and not by sequence: the clock may have been set back in between.
        let mut newest: BTreeMap<u64, (u64, u64)> = BTreeMap::new();
        for snapshot in &newest_first {
            let found = newest.entry(snapshot.created_ms / span).or_default();
            *found = (*found).max((snapshot.created_ms, snapshot.sequence));
        }
        kept.extend(newest.values().rev().take(count).map(|(_, sequence)| sequence));
    }
    let labelled = |snapshot: &&&Candidate| retention.keep_labels.iter().any(|key| snapshot.labels.contains_key(key));
    kept.extend(newest_first.iter().filter(labelled).map(|snapshot| snapshot.sequence));
    kept
}

/// Removes the snapshots that `retention` does not keep, oldest first, and what no
/// root reaches any more. With `dry_run` it only says what would go.
pub async fn prune(
    lineage: &Lineage,
    retention: &Retention,
    dry_run: bool,
    cancel: &CancellationToken,
) -> Result<Pruned, SnapshotError> {
    tokio::select! {
        biased;
        () = cancel.cancelled() => Err(SnapshotError::Cancelled),
        pruned = run(lineage, retention, dry_run) => pruned,
    }
}

async fn run(lineage: &Lineage, retention: &Retention, dry_run: bool) -> Result<Pruned, SnapshotError> {
    let store = &**lineage.store();
    // By the store's clock all ages are told: the agent's may be anywhere.
    let now = store_time(store).await?;
    let Some(head) = lineage.head().await? else { return Ok(Pruned::default()) };
    lineage.see_generation(head.root.id.generation)?;

    let mut roots = Roots::read(lineage, head.root.id.sequence).await?;
    let kept = retain(&roots.snapshots, retention);
    let mut pruned = Pruned { kept: kept.len() as u64, ..Pruned::default() };
    let unwanted: Vec<u64> = roots
        .standing
        .keys()
        .copied()
        .filter(|sequence| !kept.contains(sequence) && *sequence != head.root.id.sequence)
        .collect();
    for sequence in unwanted {
        let Some(stored) = lineage.root_at(sequence).await? else { continue };
        if !stored.root.claim {
            pruned.removed.push(stored.root.id.to_string());
        }
        if !dry_run {
            mark(lineage, stored.root).await?;
        }
    }

    let due = |object: &ObjectInfo| now.duration_since(object.modified).is_ok_and(|age| age >= COLLECT_AFTER);
    let collected: BTreeSet<u64> =
        roots.removed.iter().filter(|(_, object)| due(object)).map(|(sequence, _)| *sequence).collect();
    for sequence in &collected {
        let object = &roots.removed[sequence];
        remove(store, object, dry_run, &mut pruned).await?;
    }
    roots.removed.retain(|sequence, _| !collected.contains(sequence));

    let live = reachable(lineage, roots.standing.keys().chain(roots.removed.keys())).await?;
    for prefix in ["packs/", "pages/"] {
        let mut after = None;
        loop {
            let page = store.list(prefix, after.as_deref()).await?;
            for object in page.objects.iter().filter(|object| due(object)) {
                let id = ObjectId::of_pack_key(&object.key).or_else(|| ObjectId::of_page_key(&object.key));
                // What has no name of ours is not ours to delete.
                if id.is_some_and(|id| !live.contains(&id)) {
                    remove(store, object, dry_run, &mut pruned).await?;
                }
            }
            after = page.objects.last().map(|object| object.key.clone());
            if !page.more || after.is_none() {
                break;
            }
        }
    }
    Ok(pruned)
}

/// All roots there are.
#[derive(Debug, Default)]
struct Roots {
    /// Neither removed nor waiting to be, by sequence; claims too.
    standing: BTreeMap<u64, ObjectInfo>,
    /// Marked as removed.
    removed: BTreeMap<u64, ObjectInfo>,
    /// The snapshots among those that stand.
    snapshots: Vec<Candidate>,
}

impl Roots {
    async fn read(lineage: &Lineage, newest: u64) -> Result<Self, SnapshotError> {
        let mut roots = Roots::default();
        let mut after = None;
        loop {
            let page = lineage.store().list(ROOTS_PREFIX, after.as_deref()).await?;
            after = page.objects.last().map(|object| object.key.clone());
            for object in page.objects {
                let Some(sequence) = sequence_of_key(&object.key) else { continue };
                let Some(stored) = lineage.root_at(sequence).await? else { continue };
                let root = stored.root;
                if root.removed && sequence != newest {
                    roots.removed.insert(sequence, object);
                    continue;
                }
                roots.standing.insert(sequence, object);
                if !root.claim {
                    let Root { created_ms, labels, .. } = root;
                    roots.snapshots.push(Candidate { sequence, created_ms, labels });
                }
            }
            if !page.more || after.is_none() {
                return Ok(roots);
            }
        }
    }
}

async fn mark(lineage: &Lineage, mut root: Root) -> Result<(), SnapshotError> {
    root.removed = true;
    let bytes = Bytes::from(root.encode(lineage.crypt())?);
    lineage.store().put(&root.key(), bytes, PutCondition::Always).await?;
    Ok(())
}

/// What the roots at `sequences` reach. Fails where any of it cannot be read: what
/// is not known to be dead is not deleted.
async fn reachable(
    lineage: &Lineage,
    sequences: impl Iterator<Item = &u64>,
) -> Result<HashSet<ObjectId>, SnapshotError> {
    let mut live = HashSet::new();
    for sequence in sequences {
        let Some(stored) = lineage.root_at(*sequence).await? else { continue };
        for page in &stored.root.pages {
            if live.insert(page.id) {
                live.extend(lineage.restore_page(page).await?.frames.iter().map(|frame| frame.pack));
            }
        }
    }
    Ok(live)
}

async fn remove(
    store: &dyn Store,
    object: &ObjectInfo,
    dry_run: bool,
    pruned: &mut Pruned,
) -> Result<(), SnapshotError> {
    if !dry_run {
        store.delete(&object.key).await?;
    }
    pruned.objects_removed += 1;
    pruned.bytes_removed += object.size;
    Ok(())
}

/// What time it is, for the store.
async fn store_time(store: &dyn Store) -> Result<SystemTime, SnapshotError> {
    let key = format!("probe/clock-{}", Uuid::new_v4().simple());
    store.put(&key, Bytes::from_static(b"what time is it"), PutCondition::Always).await?;
    let found = store.head(&key).await;
    store.delete(&key).await?;
    let object = found?.ok_or_else(|| SnapshotError::damaged(&key, "it was stored and is not there"))?;
    Ok(object.modified)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn at(sequence: u64, hour: u64) -> Candidate {
        Candidate { sequence, created_ms: hour * HOUR_MS, labels: BTreeMap::new() }
    }

    #[test]
    fn each_rule_keeps_what_it_says() {
        let mut snapshots: Vec<Candidate> = (1..=60).map(|sequence| at(sequence, 24 * 100 + sequence)).collect();
        // Two in the last hour.
        snapshots.push(Candidate { sequence: 61, created_ms: snapshots[59].created_ms + 1, labels: BTreeMap::new() });
        let kept = |retention: Retention| retain(&snapshots, &retention).into_iter().collect::<Vec<_>>();
        assert_eq!(kept(Retention { keep_last: 3, ..Retention::default() }), [59, 60, 61]);
        assert_eq!(kept(Retention { keep_last: 1, keep_hourly: 3, ..Retention::default() }), [58, 59, 61]);
        assert_eq!(kept(Retention { keep_last: 1, keep_daily: 9, ..Retention::default() }), [23, 47, 61]);
        assert_eq!(kept(Retention::default()), [61], "the newest always stays");
        let mut labelled = snapshots.clone();
        labelled[4].labels.insert("release".to_owned(), String::new());
        let retention = Retention { keep_last: 1, keep_labels: vec!["release".to_owned()], ..Retention::default() };
        assert_eq!(retain(&labelled, &retention).into_iter().collect::<Vec<_>>(), [5, 61]);
        assert!(retain(&[], &retention).is_empty());
    }

    proptest! {
        #[test]
        fn the_newest_stays_and_more_rules_keep_more(
            hours in prop::collection::vec(0_u64..200, 1..40),
            last in 0_usize..5, hourly in 0_usize..5, daily in 0_usize..5,
        ) {
            let snapshots: Vec<_> = hours.iter().enumerate().map(|(index, hour)| at(index as u64 + 1, *hour)).collect();
            let retention = Retention { keep_last: last, keep_hourly: hourly, keep_daily: daily, keep_labels: Vec::new() };
            let kept = retain(&snapshots, &retention);
            prop_assert!(kept.contains(&(snapshots.len() as u64)));
            prop_assert!(kept.len() <= last.max(1) + hourly + daily);
            let more = Retention { keep_last: last + 1, keep_hourly: hourly + 1, keep_daily: daily + 1, ..retention };
            prop_assert!(retain(&snapshots, &more).is_superset(&kept));
        }
    }
}
