//! Who acts: a driver task a project, on the one server that leads. The others
//! know the projects and pass calls on. That two lead for a moment is harmless:
//! generations and versions decide, and not who leads.

use std::sync::{
    Arc, Mutex, PoisonError,
    atomic::{AtomicU64, Ordering},
};

use tokio::{sync::watch, task::JoinSet, time::timeout};
use tokio_util::task::AbortOnDropHandle;
use tracing::{info, warn};

use super::{
    Inner, Projects,
    driver::{Driver, Mode},
    entry::Entry,
    transfers,
};
use crate::{config::Shutdown, limits::LEAVE_WITHIN};

/// The drivers of one term.
struct Term {
    /// Which term of this server it is, counted from one.
    number: u64,
    mode: watch::Sender<Mode>,
    drivers: JoinSet<()>,
    /// Removes what is over from the store.
    _sweeper: AbortOnDropHandle<()>,
}

/// See the module.
#[derive(Default)]
pub(crate) struct Lead {
    term: Mutex<Option<Term>>,
    /// How many terms there were.
    terms: AtomicU64,
}

impl Lead {
    fn lock(&self) -> std::sync::MutexGuard<'_, Option<Term>> {
        self.term.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether this server acts.
    pub(super) fn leads(&self) -> bool {
        self.lock().is_some()
    }

    /// Has a project driven, if this server acts.
    pub(super) async fn drive(&self, inner: &Arc<Inner>, entry: Arc<Entry>) {
        if let Some(term) = self.lock().as_mut() {
            drive(inner, term, entry);
        }
    }
}

/// Has `entry` driven in `term`. Whoever put it into the table asks for that, and whoever
/// begins a term asks for all that the table holds: of the two the second is not needed.
fn drive(inner: &Arc<Inner>, term: &mut Term, entry: Arc<Entry>) {
    if !entry.begins_in(term.number) {
        return;
    }
    // Those whose project is gone.
    while term.drivers.try_join_next().is_some() {}
    term.drivers.spawn(Driver::run(Arc::clone(inner), entry, term.mode.subscribe()));
}

impl Projects {
    /// Acts on the projects from now on.
    pub async fn lead(&self) {
        let mut term = self.inner.lead.lock();
        if term.is_some() {
            return;
        }
        // Read while nobody else can ask for a driver: what comes into the table later finds
        // the term, and what came earlier is in the table.
        let entries: Vec<Arc<Entry>> = self.inner.read_table().by_id.values().cloned().collect();
        let number = self.inner.lead.terms.fetch_add(1, Ordering::Relaxed) + 1;
        let inner = Arc::clone(&self.inner);
        let sweeper = AbortOnDropHandle::new(tokio::spawn(async move { transfers::sweep(&inner).await }));
        let mode = watch::Sender::new(Mode::Drive);
        let term = term.insert(Term { number, mode, drivers: JoinSet::new(), _sweeper: sweeper });
        for entry in entries {
            drive(&self.inner, term, entry);
        }
        info!(runtime = self.runtime(), "this server acts on the projects");
    }

    /// Acts no more: another one leads.
    pub async fn yield_lead(&self) {
        self.end_term(Shutdown::LeaveRunning).await;
        info!("this server acts on the projects no more");
    }

    /// Ends the drivers, after which nothing of this server acts on a project.
    pub async fn shutdown(&self, how: Shutdown) {
        self.end_term(how).await;
    }

    async fn end_term(&self, how: Shutdown) {
        let Some(mut term) = self.inner.lead.lock().take() else { return };
        if let Shutdown::StopWithin(time) = how {
            term.mode.send_replace(Mode::StopPods);
            let all = async { while term.drivers.join_next().await.is_some() {} };
            if timeout(time, all).await.is_err() {
                warn!(left = term.drivers.len(), "projects did not stop in time; they run on until the next server");
            }
        }
        term.mode.send_replace(Mode::Leave);
        // A driver that is in the middle of a step is ended there: it could be killed there too.
        if timeout(LEAVE_WITHIN, async { while term.drivers.join_next().await.is_some() {} }).await.is_err() {
            term.drivers.shutdown().await;
        }
    }
}
