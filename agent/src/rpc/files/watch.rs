//! Watch: a thread a watch hands its batches to a short queue. A client that is
//! slow makes batches larger, and one that does not read at all ends its watch.

use std::sync::Arc;

use remora_agent_files::{ChangeKind, WatchBatch as Batch, WatchOptions, Watcher};
use remora_agent_root::RelPath;
use remora_proto::{
    agent::v1::{WatchBatch, WatchChange, WatchRequest, watch_change::Kind},
    convert::files::Watch,
    fault::to_status,
    model::{Fault, Reason},
};
use tokio::{
    runtime::Handle,
    sync::{Semaphore, mpsc},
    time::timeout,
};
use tokio_util::sync::CancellationToken;
use tonic::Status;

use super::View;
use crate::limits::{DOWNLOAD_STALL, MAX_WATCHES, WATCH_BATCHES_AHEAD, WATCH_LOOK};

/// What goes out, with the error that may end it.
type Batches = mpsc::Receiver<Result<WatchBatch, Status>>;

/// The agent's watches.
pub(super) struct Watches {
    watcher: Arc<Watcher>,
    places: Arc<Semaphore>,
    stop: CancellationToken,
}

impl Watches {
    pub(super) fn new(stop: CancellationToken) -> Self {
        Watches { watcher: Arc::new(Watcher::new()), places: Arc::new(Semaphore::new(MAX_WATCHES)), stop }
    }

    pub(super) fn start(&self, view: View, request: WatchRequest) -> Result<Batches, Fault> {
        let request = Watch::try_from(request)?;
        let place = Arc::clone(&self.places).try_acquire_owned().map_err(|_| {
            Fault::new(Reason::LimitReached, format!("{MAX_WATCHES} watches stand already"))
                .hint("end one of them; one watch of a directory tells of all below it")
        })?;
        let (sender, batches) = mpsc::channel(WATCH_BATCHES_AHEAD);
        let watching = Watching {
            watcher: Arc::clone(&self.watcher),
            sender,
            stop: self.stop.clone(),
            runtime: Handle::current(),
        };
        // The thread ends soon after the receiver or the agent; nothing waits for it.
        tokio::task::spawn_blocking(move || {
            let _place = place;
            if let Err(fault) = watching.run(&view, request) {
                // Whoever is gone by now needs no last word.
                let _ = watching.send(Err(to_status(&fault)));
            }
        });
        Ok(batches)
    }
}

struct Watching {
    watcher: Arc<Watcher>,
    sender: mpsc::Sender<Result<WatchBatch, Status>>,
    stop: CancellationToken,
    runtime: Handle,
}

impl Watching {
    fn run(&self, view: &View, request: Watch) -> Result<(), Fault> {
        let Watch { path, globs, ignore_rules, coalesce } = request;
        let options = WatchOptions { globs, ignore_rules, coalesce };
        let mut watch = self.watcher.watch(&view.root()?, &RelPath::new(&path)?, options)?;
        let mut cursor = 0;
        while !self.sender.is_closed() {
            if self.stop.is_cancelled() {
                return Err(Fault::new(Reason::Unavailable, "the agent is stopping")
                    .hint("watch again when it serves again, and look at the tree anew"));
            }
            if let Some(batch) = watch.next(WATCH_LOOK)? {
                cursor += 1;
                self.send(Ok(message(cursor, batch)))?;
            }
        }
        Ok(())
    }

    fn send(&self, batch: Result<WatchBatch, Status>) -> Result<(), Fault> {
        match self.runtime.block_on(timeout(DOWNLOAD_STALL, self.sender.send(batch))) {
            Ok(Ok(())) => Ok(()),
            Ok(Err(_)) => Err(Fault::new(Reason::Cancelled, "nobody listens to the watch")),
            Err(_) => Err(Fault::new(
                Reason::DeadlineExceeded,
                format!("no batch of the watch was taken for {} s", DOWNLOAD_STALL.as_secs()),
            )
            .hint("watch again, read on, and look at the tree anew")),
        }
    }
}

fn message(cursor: u64, batch: Batch) -> WatchBatch {
    let change = |change: remora_agent_files::WatchChange| {
        let kind = match change.kind {
            ChangeKind::Created => Kind::Created,
            ChangeKind::Modified => Kind::Modified,
            ChangeKind::Removed => Kind::Removed,
        };
        WatchChange { path: change.path.into(), kind: kind.into() }
    };
    WatchBatch {
        cursor,
        changes: batch.changes.into_iter().map(change).collect(),
        resync: batch.resync,
        polling: batch.polling,
    }
}
