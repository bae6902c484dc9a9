//! What of the container stands still, for how long, and that nothing does once the
//! container ends: a stopped process acts on no request to end.

use std::{
    sync::{
        Arc, Mutex, MutexGuard, PoisonError, TryLockError,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use remora_agent_term::{Frozen, freeze, thaw};
use remora_proto::model::{Fault, Reason};
use tokio_util::task::AbortOnDropHandle;

/// See the module. Cloning shares it.
#[derive(Clone, Default)]
pub(super) struct Freezer(Arc<Inner>);

#[derive(Default)]
struct Inner {
    /// Set once the container ends.
    ending: AtomicBool,
    held: Mutex<Held>,
}

/// What is stopped, and the task that lets it go on when the lease ends.
#[derive(Default)]
struct Held {
    frozen: Frozen,
    lease: Option<AbortOnDropHandle<()>>,
}

impl Freezer {
    /// Stops every process below this one until [`Freezer::thaw`] or the end of the lease
    /// that [`Freezer::lease`] sets; returns how many. Blocks.
    pub(super) fn freeze(&self) -> Result<usize, Fault> {
        let mut held = self.lock();
        let moving = freeze(&mut held.frozen, || self.0.ending.load(Ordering::Acquire));
        if self.0.ending.load(Ordering::Acquire) {
            thaw(&mut held.frozen);
            return Err(Fault::new(Reason::ContainerUnavailable, "the container is being stopped"));
        }
        if let Some(first) = moving.first() {
            thaw(&mut held.frozen);
            held.lease = None;
            let problem = format!("process {} ({}) does not stop", first.pid, first.command);
            return Err(Fault::new(Reason::IoError, problem).hint(
                "it waits for a device or a network file system; try again, or take a snapshot without stopping",
            ));
        }
        Ok(held.frozen.len())
    }

    /// Lets everything go on after `time`, unless it is set again before. Blocks.
    pub(super) fn lease(&self, time: Duration) {
        let this = self.clone();
        let lease = tokio::spawn(async move {
            tokio::time::sleep(time).await;
            // Off the runtime's threads: a freeze holds the lock for seconds.
            tokio::task::spawn_blocking(move || thaw(&mut this.lock().frozen));
        });
        self.lock().lease = Some(AbortOnDropHandle::new(lease));
    }

    /// Lets everything go on; whether anything stood still. Blocks.
    pub(super) fn thaw(&self) -> bool {
        let mut held = self.lock();
        let was_frozen = !held.frozen.is_empty();
        thaw(&mut held.frozen);
        held.lease = None;
        was_frozen
    }

    /// Lets everything go on for good: a freeze that is under way gives up, and none
    /// begins any more. Blocks.
    pub(super) fn end(&self) {
        self.0.ending.store(true, Ordering::Release);
        self.thaw();
    }

    /// Whether anything stands still or is about to. Never blocks.
    pub(super) fn is_frozen(&self) -> bool {
        match self.0.held.try_lock() {
            Ok(held) => !held.frozen.is_empty(),
            Err(TryLockError::Poisoned(held)) => !held.into_inner().frozen.is_empty(),
            Err(TryLockError::WouldBlock) => true,
        }
    }

    fn lock(&self) -> MutexGuard<'_, Held> {
        // What is noted as stopped stays so whatever panics in between.
        self.0.held.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
