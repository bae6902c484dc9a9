//! WebSockets that stand. They outlive the request they began with, so they are
//! counted and waited for here.

use std::sync::Arc;

use remora_proto_model::{Fault, Reason};
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore},
    time::timeout,
};
use tokio_util::task::TaskTracker;

use crate::limits::{DRAIN_TIMEOUT, MAX_SOCKETS};

/// Cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct Sockets {
    tasks: TaskTracker,
    room: Arc<Semaphore>,
}

impl Default for Sockets {
    fn default() -> Self {
        Sockets { tasks: TaskTracker::new(), room: Arc::new(Semaphore::new(MAX_SOCKETS)) }
    }
}

impl Sockets {
    /// Room for one more, until it is dropped.
    pub(super) fn enter(&self) -> Result<OwnedSemaphorePermit, Fault> {
        Arc::clone(&self.room).try_acquire_owned().map_err(|_| {
            Fault::new(Reason::LimitReached, format!("{MAX_SOCKETS} WebSockets stand"))
                .hint("close those that are no longer needed, or try again")
        })
    }

    pub(super) fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        self.tasks.spawn(task);
    }

    /// Waits until all have ended, which they do when the server drains.
    pub(crate) async fn ended(&self) {
        self.tasks.close();
        if timeout(DRAIN_TIMEOUT, self.tasks.wait()).await.is_err() {
            tracing::info!(sockets = self.tasks.len(), "drain budget is over; these WebSockets are cut");
        }
    }
}
