//! The stream of an operation: how far it is, at least every second, what it
//! finds, and its end.

use std::sync::{Arc, Mutex, PoisonError};

use remora_agent_snapshot::{Counts, Progress, Stage};
use remora_proto::{
    agent::v1::{SnapshotProgress, snapshot_progress},
    fault::to_status,
    model::Fault,
};
use tokio::{
    sync::{Notify, mpsc},
    time::{MissedTickBehavior, interval},
};
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::sync::CancellationToken;
use tonic::Status;

use crate::limits::{MAX_QUEUED_EVENTS, PROGRESS_INTERVAL};

/// What an operation reports to.
pub(crate) struct Reporter<E> {
    latest: Mutex<Counts>,
    /// What was found and not sent yet: at most one for each object of a snapshot.
    findings: Mutex<Vec<E>>,
    news: Notify,
}

impl<E: Send> Progress for Reporter<E> {
    fn report(&self, counts: Counts) {
        *self.latest.lock().unwrap_or_else(PoisonError::into_inner) = counts;
    }
}

impl<E> Reporter<E> {
    /// Passes on something that happens once or is found.
    pub(crate) fn send(&self, event: E) {
        self.findings.lock().unwrap_or_else(PoisonError::into_inner).push(event);
        self.news.notify_one();
    }

    fn found(&self) -> Vec<E> {
        std::mem::take(&mut *self.findings.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// The stream to be of an operation.
pub(crate) struct Events<E> {
    sender: mpsc::Sender<Result<E, Status>>,
    cancel: CancellationToken,
    stop: CancellationToken,
    progress: fn(SnapshotProgress) -> E,
}

impl<E: Send + 'static> Events<E> {
    /// A stream whose caller ends the operation by leaving. After `stop` it does not: then
    /// the agent cuts the connection, and what is done so far shall not be lost.
    pub(crate) fn open(
        cancel: CancellationToken,
        stop: CancellationToken,
        progress: fn(SnapshotProgress) -> E,
    ) -> (Self, ReceiverStream<Result<E, Status>>) {
        let (sender, receiver) = mpsc::channel(MAX_QUEUED_EVENTS);
        (Events { sender, cancel, stop, progress }, ReceiverStream::new(receiver))
    }

    /// Runs `work`, whose result is the last message.
    pub(crate) fn run<F>(self, work: impl FnOnce(Arc<Reporter<E>>) -> F + Send + 'static)
    where
        F: Future<Output = Result<E, Fault>> + Send + 'static,
    {
        let reporter = Arc::new(Reporter {
            latest: Mutex::new(Counts::default()),
            findings: Mutex::default(),
            news: Notify::new(),
        });
        let working = Arc::clone(&reporter);
        tokio::spawn(async move {
            let work = work(working);
            tokio::pin!(work);
            let mut ticks = interval(PROGRESS_INTERVAL);
            ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
            let result = loop {
                tokio::select! {
                    biased;
                    result = &mut work => break result,
                    () = self.sender.closed(), if !self.cancel.is_cancelled() && !self.stop.is_cancelled() => {
                        // Asked again: the wait began before the agent was told to stop.
                        if !self.stop.is_cancelled() {
                            self.cancel.cancel();
                        }
                    }
                    () = reporter.news.notified() => self.pass_on(reporter.found()).await,
                    _ = ticks.tick() => {
                        let counts = *reporter.latest.lock().unwrap_or_else(PoisonError::into_inner);
                        // A reader that is slow misses progress, and nothing else.
                        let _ = self.sender.try_send(Ok((self.progress)(wire(counts))));
                    }
                }
            };
            self.pass_on(reporter.found()).await;
            let _ = self.sender.send(result.map_err(|fault| to_status(&fault))).await;
        });
    }

    async fn pass_on(&self, found: Vec<E>) {
        for event in found {
            // Where nobody reads any more, the operation is being cancelled.
            let _ = self.sender.send(Ok(event)).await;
        }
    }
}

fn wire(counts: Counts) -> SnapshotProgress {
    let stage = match counts.stage {
        Stage::Scan => snapshot_progress::Stage::Scan,
        Stage::Upload => snapshot_progress::Stage::Upload,
        Stage::Commit => snapshot_progress::Stage::Commit,
        Stage::Plan => snapshot_progress::Stage::Plan,
        Stage::Fetch => snapshot_progress::Stage::Fetch,
        Stage::Finish => snapshot_progress::Stage::Finish,
    };
    SnapshotProgress {
        stage: stage.into(),
        files_done: counts.files_done,
        files_total: counts.files_total,
        bytes_done: counts.bytes_done,
        bytes_total: counts.bytes_total,
    }
}
