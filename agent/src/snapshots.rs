//! The snapshots of one workspace, as the RPCs and the roles `hydrate` and
//! `dehydrate` use them: which store, which generation, what the workspace comes
//! from, and that one operation runs at a time.

mod create;
mod hydrate;
mod operation;
mod restoring;
mod seed;

use std::{
    path::Path,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::{SystemTime, UNIX_EPOCH},
};

use remora_agent_root::Root;
use remora_agent_snapshot::{
    Baseline, KeepOut, Lineage, Origin, Rules, SnapshotError, StoredRoot, WorkspaceState, content_of,
    format::SnapshotId,
};
use remora_proto::model::{Fault, Generation, Reason};
use tokio::sync::{OnceCell, watch};
use tokio_util::sync::CancellationToken;

use crate::{folders, limits::MEASURE_INTERVAL, snapshot_args::SnapshotArgs};

pub(crate) use hydrate::{Awakened, Hydration};
pub(crate) use operation::Operation;
pub(crate) use restoring::Watcher;
pub(crate) use seed::Seed;

/// What the flag says of a workspace that vanished, in place of a snapshot's id.
const GONE: &str = "gone";

/// What would be lost if the workspace vanished.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Durability {
    /// The newest snapshot that this agent made, restored or found; empty is none.
    pub(crate) head: String,
    /// Files that differ from it.
    pub(crate) dirty_files: u64,
    /// Their bytes.
    pub(crate) dirty_bytes: u64,
    /// When that was measured, in milliseconds since the epoch.
    pub(crate) measured_ms: u64,
    /// When the scan of that snapshot began, in milliseconds since the epoch.
    pub(crate) committed_ms: u64,
}

/// See the module. Cloning shares it.
#[derive(Clone)]
pub(crate) struct Snapshots(Arc<Inner>);

struct Inner {
    args: SnapshotArgs,
    key: Option<[u8; 32]>,
    generation: Generation,
    workspace: Root,
    state: WorkspaceState,
    restoring: AtomicBool,
    lineage: OnceCell<Lineage>,
    running: Mutex<Option<operation::Running>>,
    durability: watch::Sender<Option<Durability>>,
}

impl Snapshots {
    /// Of the workspace at `workspace`, with its state at `state`. The store is not
    /// asked yet: a terminal works without it.
    pub(crate) fn new(
        args: SnapshotArgs,
        generation: Generation,
        workspace: &Path,
        state: &Path,
    ) -> Result<Self, Fault> {
        let root = Root::open(workspace)?;
        let unusable = |error: std::io::Error| {
            Fault::new(Reason::IoError, format!("--state-dir {}: {error}", state.display()))
                .hint("name a folder outside the workspace that the agent may write to")
        };
        let key = args.encryption_key()?;
        let folder = WorkspaceState::open(state).map_err(unusable)?;
        let restoring = AtomicBool::new(folder.is_restoring().map_err(unusable)?);
        if lies_in(state, workspace).map_err(unusable)? {
            return Err(Fault::invalid("--state-dir", format!("{} lies in the workspace", state.display()))
                .hint("name a folder outside of it: a snapshot would hold it, and a restore replace it"));
        }
        Ok(Snapshots(Arc::new(Inner {
            args,
            key,
            generation,
            workspace: root,
            state: folder,
            restoring,
            lineage: OnceCell::new(),
            running: Mutex::default(),
            durability: watch::Sender::new(None),
        })))
    }

    /// The same, with both folders made where they are missing.
    pub(crate) fn with_folders(
        args: SnapshotArgs,
        generation: Generation,
        workspace: &Path,
        state: &Path,
    ) -> Result<Self, Fault> {
        folders::make(state, folders::STATE_MODE)?;
        let missing = folders::make(workspace, folders::WORKSPACE_MODE)?;
        if missing {
            let unusable = |error: std::io::Error| {
                Fault::new(Reason::IoError, format!("--state-dir {}: {error}", state.display()))
                    .hint("name a folder outside the workspace that the agent may write to")
            };
            let known = WorkspaceState::open(state).map_err(unusable)?;
            if known.origin().map_err(unusable)?.is_some() {
                // What it came from is known and it is gone: an empty one in its place must not be
                // taken for it, nor become a snapshot.
                tracing::warn!(workspace = %workspace.display(), "the workspace was gone; it has to be restored");
                known.begin_restore(GONE).map_err(unusable)?;
            }
        }
        Self::new(args, generation, workspace, state)
    }

    /// Whether the workspace is half way to a snapshot.
    pub(crate) fn is_restoring(&self) -> bool {
        self.0.restoring.load(Ordering::Acquire)
    }

    /// How far the workspace is from the store, as of the last look.
    pub(crate) fn durability(&self) -> watch::Receiver<Option<Durability>> {
        self.0.durability.subscribe()
    }

    /// The workspace.
    pub(crate) fn workspace(&self) -> &Root {
        &self.0.workspace
    }

    /// The lineage. The store is opened and probed at the first call that reaches it.
    pub(crate) async fn lineage(&self) -> Result<&Lineage, Fault> {
        let open = async || {
            let store = self.0.args.open().await?.ok_or_else(no_bucket)?;
            let lineage = Lineage::open(store, self.0.key.as_ref(), self.0.generation.0).await?;
            Ok::<_, Fault>(lineage)
        };
        self.0.lineage.get_or_try_init(open).await
    }

    /// What the rules keep out of snapshots, and a restore alone.
    pub(crate) fn keep_out(&self) -> Result<KeepOut, Fault> {
        Ok(Rules::load(&self.0.workspace, &self.0.args.exclude)?.keep_out())
    }

    /// The snapshot `id`, or the newest one. Of a claim the one it was made over,
    /// where that is still there.
    pub(crate) async fn find(&self, id: Option<&str>) -> Result<StoredRoot, Fault> {
        let lineage = self.lineage().await?;
        let Some(id) = id else {
            let newest = lineage.newest_snapshot().await?.ok_or(SnapshotError::Empty)?;
            return match newest.root.origin.filter(|_| newest.root.claim) {
                Some(origin) => match lineage.get(&origin).await {
                    Err(SnapshotError::NotFound { .. }) => Ok(newest),
                    found => Ok(found?),
                },
                None => Ok(newest),
            };
        };
        Ok(lineage.get(&id.parse::<SnapshotId>()?).await?)
    }

    fn state<T>(&self, action: &'static str, result: std::io::Result<T>) -> Result<T, Fault> {
        result.map_err(|error| SnapshotError::State { action, detail: error.to_string() }.into())
    }

    fn origin_of(&self, snapshot: &StoredRoot) -> Origin {
        let content = content_of(snapshot).unwrap_or(snapshot.root.id);
        Origin { snapshot: content.to_string(), generation: self.0.generation.0 }
    }

    /// Refuses to take the workspace for something it is not.
    fn check_whole(&self) -> Result<(), Fault> {
        if self.is_restoring() {
            return Err(Fault::new(Reason::FailedPrecondition, "the workspace is half way to a snapshot")
                .hint("restore a snapshot first; what is there now is none and must not become one"));
        }
        Ok(())
    }

    /// Measures from time to time how far the workspace is from the newest
    /// snapshot, until `stop`. While an operation runs, it waits.
    pub(crate) async fn measure(self, stop: CancellationToken) {
        let mut baseline: Option<(String, u64, Baseline)> = None;
        loop {
            tokio::select! {
                () = stop.cancelled() => return,
                () = tokio::time::sleep(MEASURE_INTERVAL) => {}
            }
            if self.is_restoring() || self.running().is_some() {
                continue;
            }
            match self.look(&mut baseline, &stop).await {
                Ok(durability) => {
                    self.0.durability.send_replace(Some(durability));
                }
                Err(fault) => tracing::warn!(reason = %fault.reason, "cannot measure the workspace: {fault}"),
            }
        }
    }

    async fn look(
        &self,
        baseline: &mut Option<(String, u64, Baseline)>,
        stop: &CancellationToken,
    ) -> Result<Durability, Fault> {
        let lineage = self.lineage().await?;
        let Some(origin) = self.state("read the state", self.0.state.origin())? else {
            return Ok(Durability { measured_ms: now_ms(), ..Durability::default() });
        };
        if baseline.as_ref().is_none_or(|(id, ..)| *id != origin.snapshot) {
            let snapshot = match self.find(Some(&origin.snapshot)).await {
                // It was pruned, and the one that is there is as good.
                Err(fault) if fault.reason == Reason::NotFound => self.find(None).await?,
                found => found?,
            };
            let open = Baseline::open(lineage, &snapshot).await?;
            *baseline = Some((origin.snapshot.clone(), snapshot.root.created_ms, open));
        }
        let Some((head, committed_ms, from)) = baseline else { return Ok(Durability::default()) };
        let dirty = from.measure(&self.0.workspace, self.keep_out()?, stop).await?;
        Ok(Durability {
            head: head.clone(),
            dirty_files: dirty.files,
            dirty_bytes: dirty.bytes,
            measured_ms: now_ms(),
            committed_ms: *committed_ms,
        })
    }
}

#[expect(clippy::disallowed_methods, reason = "the operator's own paths, compared once and never opened by the result")]
fn lies_in(path: &Path, folder: &Path) -> std::io::Result<bool> {
    Ok(std::fs::canonicalize(path)?.starts_with(std::fs::canonicalize(folder)?))
}

/// What `serve`, `hydrate` and `dehydrate` need for snapshots, all of it or none.
pub(crate) fn no_bucket() -> Fault {
    missing(&["--s3-bucket"])
}

/// The refusal that names the settings `flags`.
pub(crate) fn missing(flags: &[&str]) -> Fault {
    Fault::new(Reason::FailedPrecondition, format!("this agent has no snapshots: missing {}", flags.join(", ")))
        .hint("start it with a bucket, a workspace and a state folder outside the workspace")
}

/// The settings without which there are no snapshots, of those that are not there.
pub(crate) fn missing_settings(
    args: &SnapshotArgs,
    workspace: Option<&Path>,
    state: Option<&Path>,
) -> Vec<&'static str> {
    let settings = [
        (args.s3_bucket.is_none(), "--s3-bucket"),
        (workspace.is_none(), "--workspace"),
        (state.is_none(), "--state-dir"),
    ];
    settings.into_iter().filter(|(missing, _)| *missing).map(|(_, flag)| flag).collect()
}

fn now_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
