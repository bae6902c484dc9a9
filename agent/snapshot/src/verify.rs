//! Verify: whether all that a snapshot reaches is there and is what was stored.

use std::collections::{BTreeMap, HashMap, HashSet};

use tokio_util::sync::CancellationToken;

use crate::{
    Counts, Lineage, Progress, SnapshotError, Stage, StoredRoot,
    format::{FrameRef, ObjectId, PACK_TRAILER_BYTES, PackIndex},
    limits::MAX_DAMAGE_PATHS,
    manifest::Order,
    restore::unpack,
    store::StoreError,
};

/// An object that is missing or not what was stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Damage {
    /// Its key.
    pub object_key: String,
    /// What is wrong with it.
    pub problem: String,
    /// Files that need it, the first ones. Of a damaged page its first entry.
    pub paths: Vec<Vec<u8>>,
}

/// Takes what a verification finds.
pub trait VerifyObserver: Progress {
    /// Something is damaged.
    fn damage(&self, damage: Damage);
}

/// What was checked.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Verified {
    /// Objects.
    pub objects: u64,
    /// Their bytes.
    pub bytes: u64,
    /// How many of them are damaged.
    pub damages: u64,
}

/// The frames of one pack that a snapshot needs, by where they begin.
type Needed = BTreeMap<u64, FrameRef>;

/// Checks every object that `snapshot` reaches: that it is there, as long as it
/// was, and its index whole; with `contents` every byte. Only what keeps it from
/// looking is an error.
pub async fn verify(
    lineage: &Lineage,
    snapshot: &StoredRoot,
    contents: bool,
    observer: &dyn VerifyObserver,
    cancel: &CancellationToken,
) -> Result<Verified, SnapshotError> {
    let work =
        Verification { lineage, snapshot, contents, observer, done: Verified { objects: 1, ..Verified::default() } };
    tokio::select! {
        biased;
        () = cancel.cancelled() => Err(SnapshotError::Cancelled),
        done = work.run() => done,
    }
}

struct Verification<'a> {
    lineage: &'a Lineage,
    snapshot: &'a StoredRoot,
    contents: bool,
    observer: &'a dyn VerifyObserver,
    done: Verified,
}

impl Verification<'_> {
    async fn run(mut self) -> Result<Verified, SnapshotError> {
        let packs = self.pages().await?;
        let total = packs.len() as u64;
        let mut damaged = Vec::new();
        for (done, (pack, needed)) in packs.iter().enumerate() {
            self.report(Stage::Fetch, done as u64, total);
            self.done.objects += 1;
            if let Some(problem) = damage_of(self.pack(pack, needed).await)? {
                damaged.push((*pack, problem));
            }
        }
        self.name(damaged).await?;
        Ok(self.done)
    }

    fn report(&self, stage: Stage, done: u64, total: u64) {
        let counts =
            Counts { stage, files_done: done, files_total: total, bytes_done: self.done.bytes, bytes_total: 0 };
        self.observer.report(counts);
    }

    fn found(&mut self, damage: Damage) {
        self.done.damages += 1;
        self.observer.damage(damage);
    }

    /// Reads all pages, and says which frames of which packs they need.
    async fn pages(&mut self) -> Result<HashMap<ObjectId, Needed>, SnapshotError> {
        let mut packs: HashMap<ObjectId, Needed> = HashMap::new();
        let mut order = Some(Order::default());
        let pages = &self.snapshot.root.pages;
        for (done, named) in pages.iter().enumerate() {
            self.report(Stage::Plan, done as u64, pages.len() as u64);
            self.done.objects += 1;
            self.done.bytes += u64::from(named.stored);
            let page = match self.lineage.whole_page(named).await {
                Ok((page, _)) => page,
                Err(error) => {
                    let problem = damage_of(Err(error))?.unwrap_or_default();
                    self.found(Damage { object_key: named.id.page_key(), problem, paths: vec![named.first.clone()] });
                    // Whether the order goes on behind the gap cannot be told.
                    order = None;
                    continue;
                }
            };
            if let Some(running) = &mut order
                && let Some((entry, problem)) =
                    page.entries.iter().find_map(|entry| Some((entry, running.next(entry).err()?)))
            {
                let paths = vec![entry.path.clone()];
                self.found(Damage { object_key: named.id.page_key(), problem: problem.to_owned(), paths });
                order = None;
            }
            for frame in &page.frames {
                packs.entry(frame.pack).or_default().insert(frame.offset, *frame);
            }
        }
        if let Some(problem) = order.and_then(|order| order.end().err()) {
            self.found(Damage { object_key: self.snapshot.root.key(), problem: problem.to_owned(), paths: Vec::new() });
        }
        Ok(packs)
    }

    async fn pack(&mut self, pack: &ObjectId, needed: &Needed) -> Result<(), SnapshotError> {
        let key = pack.pack_key();
        let damaged = |problem: &str| SnapshotError::damaged(&key, problem);
        let size = self.lineage.store().head(&key).await?.ok_or_else(|| damaged("it does not exist"))?.size;
        self.done.bytes += size;
        let end = needed.values().map(|frame| frame.offset + u64::from(frame.stored)).max().unwrap_or(0);
        if size < end + PACK_TRAILER_BYTES as u64 {
            return Err(damaged("it is shorter than it was"));
        }
        let trailer = self.lineage.pack_bytes(pack, Some(size - PACK_TRAILER_BYTES as u64..size)).await?;
        let length = PackIndex::stored_length(&key, self.lineage.crypt(), &trailer)? as u64;
        let start = size.checked_sub(length).ok_or_else(|| damaged("its index is longer than it is"))?;
        let tail = self.lineage.pack_bytes(pack, Some(start..size)).await?;
        PackIndex::decode(&key, self.lineage.crypt(), size, &tail)?;
        if !self.contents {
            return Ok(());
        }
        let bytes = self.lineage.pack_bytes(pack, None).await?;
        if ObjectId::of(&bytes) != *pack {
            return Err(damaged("its bytes are not what was stored"));
        }
        needed.values().try_for_each(|frame| unpack(self.lineage, &key, frame, &bytes, 0).map(drop))
    }

    /// Reports damaged packs with the files that need them.
    async fn name(&mut self, damaged: Vec<(ObjectId, String)>) -> Result<(), SnapshotError> {
        if damaged.is_empty() {
            return Ok(());
        }
        let mut paths: HashMap<ObjectId, Vec<Vec<u8>>> = damaged.iter().map(|(pack, _)| (*pack, Vec::new())).collect();
        for named in &self.snapshot.root.pages {
            // A damaged page was reported.
            let Ok(page) = self.lineage.restore_page(named).await else { continue };
            for entry in &page.entries {
                let packs: HashSet<ObjectId> =
                    entry.chunks().iter().map(|chunk| page.frames[chunk.frame as usize].pack).collect();
                for pack in packs {
                    if let Some(paths) = paths.get_mut(&pack)
                        && paths.len() < MAX_DAMAGE_PATHS
                        && paths.last() != Some(&entry.path)
                    {
                        paths.push(entry.path.clone());
                    }
                }
            }
        }
        for (pack, problem) in damaged {
            let paths = paths.remove(&pack).unwrap_or_default();
            self.found(Damage { object_key: pack.pack_key(), problem, paths });
        }
        Ok(())
    }
}

/// What is damaged, where that is what an attempt met; other failures are errors.
fn damage_of(result: Result<(), SnapshotError>) -> Result<Option<String>, SnapshotError> {
    match result {
        Ok(()) => Ok(None),
        Err(SnapshotError::Damaged { problem, .. }) => Ok(Some(problem)),
        Err(error @ (SnapshotError::Unsupported { .. } | SnapshotError::Store(StoreError::NotFound { .. }))) => {
            Ok(Some(error.to_string()))
        }
        Err(error) => Err(error),
    }
}
