//! Restore: a workspace made equal to a snapshot.
//!
//! An empty workspace is filled in place: directories, then what cannot be
//! derived again, then the rest. In a living one everything that will be needed
//! is fetched and verified into a folder of its own on the same file system
//! first; only then entries are replaced, one rename each, and what the snapshot
//! lacks is removed last. So damage, a full disk and a lost store are met while
//! the workspace is as it was.

mod compare;
mod fetch;
mod frames;
mod groups;
mod place;
mod plan;
mod remove;

use std::{io, sync::Arc};

use remora_agent_root::{EntryKind, Root};
use rustix::fs::{fstat, syncfs};
use tokio::runtime::Handle;
use tokio_util::sync::CancellationToken;

use crate::{
    Counts, Lineage, Progress, Refused, SnapshotError, Stage, StoredRoot,
    format::Class,
    limits::MAX_MANIFEST_RECORDS,
    manifest::Manifest,
    tree::{Cursor, Step, Walk, set_mtime},
};
use plan::Plan;
use remove::Staging;

pub(crate) use compare::Comparison;
pub(crate) use frames::{Frames, unpack};
pub(crate) use groups::{Gathered, Groups};
pub(crate) use plan::Action;

/// Takes what a restore reports.
pub trait RestoreObserver: Progress {
    /// The first entry of the workspace is about to change: from here on it is
    /// neither what it was nor the snapshot. An error keeps it as it is.
    fn before_change(&self) -> io::Result<()>;

    /// All that cannot be derived again is there; this much follows.
    fn usable(&self, files_left: u64, bytes_left: u64);
}

impl RestoreObserver for crate::Silent {
    fn before_change(&self) -> io::Result<()> {
        Ok(())
    }

    fn usable(&self, _files_left: u64, _bytes_left: u64) {}
}

/// What of the workspace a restore neither looks at nor removes: what the rules
/// keep out of snapshots. Path and kind of an entry.
pub type KeepOut = Arc<dyn Fn(&[u8], EntryKind) -> bool + Send + Sync>;

/// What a restore did.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Restored {
    /// Files that were written.
    pub files_written: u64,
    /// Their bytes.
    pub bytes_written: u64,
    /// Entries that were there and are not in the snapshot.
    pub entries_removed: u64,
    /// What the system did not let this process set.
    pub refused: Refused,
}

/// Makes what is below `workspace` equal to `snapshot`. After an error some
/// entries may be old; repeating goes on from what is there. Where the snapshot
/// is damaged, the workspace is what it was.
pub async fn restore(
    lineage: &Lineage,
    snapshot: &StoredRoot,
    workspace: &Root,
    keep_out: KeepOut,
    observer: Arc<dyn RestoreObserver>,
    cancel: &CancellationToken,
) -> Result<Restored, SnapshotError> {
    // Whoever drops this future ends the work at its next step, too.
    let cancel = cancel.child_token();
    let _stop = cancel.clone().drop_guard();
    let runtime = Handle::current();
    let (lineage, snapshot, root) = (lineage.clone(), snapshot.clone(), workspace.clone());
    let records: u64 = snapshot.root.pages.iter().map(|page| u64::from(page.entries)).sum();
    if records > MAX_MANIFEST_RECORDS {
        let what = "the number of entries of the snapshot";
        return Err(SnapshotError::TooLarge { what, found: records, limit: MAX_MANIFEST_RECORDS, path: String::new() });
    }
    let work = move || {
        let empty = is_empty(&root, &keep_out)?;
        let manifest = until(&runtime, &cancel, Manifest::open(&lineage, &snapshot, !empty))?;
        let cursor = Cursor::new(root.clone());
        let done = Restored::default();
        let restorer = Restorer {
            runtime,
            lineage,
            snapshot,
            manifest,
            root,
            cursor,
            keep_out,
            observer,
            cancel,
            done,
            placing: false,
        };
        restorer.run(empty)
    };
    tokio::task::spawn_blocking(work)
        .await
        .unwrap_or(Err(SnapshotError::Defect { what: "the thread of a restore ended early" }))
}

fn is_empty(root: &Root, keep_out: &KeepOut) -> Result<bool, SnapshotError> {
    let ignored = |path: &[u8], kind| is_ours_or_the_systems(path) || keep_out(path, kind);
    Ok(Walk::new(root.clone(), &ignored)?.step()?.is_none())
}

/// What no snapshot holds: what this or a killed restore put there for a moment,
/// and the folder that ext4 keeps for itself at the top of a volume.
pub(crate) fn is_ours_or_the_systems(path: &[u8]) -> bool {
    path == b"lost+found" || (remove::is_staging(path) && !path.contains(&b'/'))
}

/// The answer of `future`, unless it is cancelled before.
pub(crate) fn until<T>(
    runtime: &Handle,
    cancel: &CancellationToken,
    future: impl Future<Output = Result<T, SnapshotError>>,
) -> Result<T, SnapshotError> {
    runtime.block_on(async {
        tokio::select! {
            biased;
            () = cancel.cancelled() => Err(SnapshotError::Cancelled),
            answer = future => answer,
        }
    })
}

/// A restore on its blocking thread.
struct Restorer {
    runtime: Handle,
    lineage: Lineage,
    snapshot: StoredRoot,
    manifest: Manifest,
    root: Root,
    cursor: Cursor,
    keep_out: KeepOut,
    observer: Arc<dyn RestoreObserver>,
    cancel: CancellationToken,
    done: Restored,
    /// Whether entries of the workspace have begun to change.
    placing: bool,
}

impl Restorer {
    fn run(mut self, empty: bool) -> Result<Restored, SnapshotError> {
        self.report(Stage::Plan, Counts::default());
        remove::sweep(&self.root)?;
        let before = fstat(&self.root).map_err(|errno| SnapshotError::file("look at", b"", errno))?;
        let result = self.make_equal(empty);
        if let Err(error) = &result {
            if empty && matches!(error, SnapshotError::Damaged { .. }) {
                // What was made in an empty workspace before the damage was met goes.
                self.empty_again()?;
                self.placing = false;
            }
            if !self.placing {
                // Nothing changed but that a folder came and went.
                set_mtime(&self.root, &before).map_err(|errno| SnapshotError::file("set the time of", b"", errno))?;
            }
        }
        result.map(|()| self.done)
    }

    fn make_equal(&mut self, empty: bool) -> Result<(), SnapshotError> {
        let plan = if empty { self.plan_empty()? } else { self.plan_living()? };
        let mut staging = Staging::new(&self.root)?;
        let placed = self.place_all(&plan, &mut staging, empty);
        let cleared = staging.clear();
        placed?;
        cleared?;
        self.finish()
    }

    fn place_all(&mut self, plan: &Plan, staging: &mut Staging, empty: bool) -> Result<(), SnapshotError> {
        let mut counts = plan.counts();
        if !empty {
            self.fetch(plan, staging, None, &mut counts)?;
        }
        self.observer.before_change().map_err(|error| SnapshotError::State {
            action: "note that the workspace changes",
            detail: error.to_string(),
        })?;
        self.placing = true;
        self.make_directories(plan, staging)?;
        for class in [Class::Keep, Class::Derived] {
            if empty {
                self.fetch(plan, staging, Some(class), &mut counts)?;
            }
            self.place(plan, staging, class, empty)?;
            if class == Class::Keep {
                let left = plan.wanted(Class::Derived);
                self.observer.usable(left.files, left.bytes);
            }
        }
        if !empty {
            self.report(Stage::Finish, counts);
            self.remove_extras()?;
        }
        Ok(())
    }

    /// What changes again as long as entries come and go: modes and times of
    /// directories. Then all of it is made durable.
    fn finish(&mut self) -> Result<(), SnapshotError> {
        self.settle_directories()?;
        syncfs(&self.root).map_err(|errno| SnapshotError::file("sync", b"", errno))
    }

    fn report(&self, stage: Stage, counts: Counts) {
        self.observer.report(Counts { stage, ..counts });
    }

    fn check_cancelled(&self) -> Result<(), SnapshotError> {
        if self.cancel.is_cancelled() { Err(SnapshotError::Cancelled) } else { Ok(()) }
    }

    fn page(&self, at: usize) -> Result<crate::format::Page, SnapshotError> {
        until(&self.runtime, &self.cancel, self.manifest.page(at))
    }

    /// The damage that `problem` of the manifest is.
    fn misshapen(&self, problem: &str) -> SnapshotError {
        SnapshotError::damaged(&self.snapshot.root.key(), format!("its manifest is none: {problem}"))
    }

    fn empty_again(&mut self) -> Result<(), SnapshotError> {
        self.cursor.forget();
        let keep_out = Arc::clone(&self.keep_out);
        let ignored = move |path: &[u8], kind| is_ours_or_the_systems(path) || keep_out(path, kind);
        remove::clear(&self.root, &ignored).map(drop)
    }
}

/// All that is in `walk`, in order, for a merge with a manifest.
struct Living<'a> {
    walk: Walk<'a>,
    next: Option<Step>,
}

impl<'a> Living<'a> {
    fn new(mut walk: Walk<'a>) -> Result<Self, SnapshotError> {
        let next = walk.step()?;
        Ok(Living { walk, next })
    }

    fn peek(&self) -> Option<&Step> {
        self.next.as_ref()
    }

    fn take(&mut self) -> Result<Option<Step>, SnapshotError> {
        let next = self.walk.step()?;
        Ok(std::mem::replace(&mut self.next, next))
    }
}
