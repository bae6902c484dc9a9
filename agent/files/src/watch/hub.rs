//! The one inotify instance: a thread reads its events and gives each to the
//! watches that asked for its directory.
//!
//! The crate `notify` has a fine instance too, but it is told paths, looks them
//! up itself and tells its watches apart by them; here a directory is a
//! descriptor that was resolved below the root, and never a path again.

use std::{
    collections::{HashMap, VecDeque},
    fs,
    mem::MaybeUninit,
    os::fd::{AsFd, AsRawFd as _, OwnedFd},
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    thread,
    time::{Duration, Instant},
};

use rustix::{
    event::{EventfdFlags, PollFd, PollFlags, eventfd, poll},
    fs::inotify::{self, CreateFlags, ReadFlags, WatchFlags},
    io::{Errno, write},
};

use crate::limits::MAX_WATCH_EVENTS;

/// What a directory tells: everything about its entries, and its own end.
const TOLD: WatchFlags = WatchFlags::CREATE
    .union(WatchFlags::MODIFY)
    .union(WatchFlags::ATTRIB)
    .union(WatchFlags::DELETE)
    .union(WatchFlags::MOVED_FROM)
    .union(WatchFlags::MOVED_TO)
    .union(WatchFlags::DELETE_SELF)
    .union(WatchFlags::MOVE_SELF)
    .union(WatchFlags::ONLYDIR)
    .union(WatchFlags::EXCL_UNLINK);

/// A directory of one watch, by the number that the watch gave it.
pub(super) type DirId = u64;
/// The kernel's number of a watched directory.
pub(super) type Wd = i32;

/// One event of a directory.
#[derive(Debug)]
pub(super) struct Event {
    pub(super) dir: DirId,
    pub(super) what: ReadFlags,
    /// The entry; none where the directory speaks of itself.
    pub(super) name: Option<Vec<u8>>,
}

/// What waits for one watch.
#[derive(Debug, Default)]
struct Waiting {
    events: VecDeque<Event>,
    missed: bool,
}

/// The events of one watch. Bounded: what does not fit is missed, and said so.
#[derive(Debug, Default)]
pub(super) struct Queue {
    waiting: Mutex<Waiting>,
    came: Condvar,
}

impl Queue {
    fn push(&self, event: Event) {
        let mut waiting = lock(&self.waiting);
        if waiting.missed {
            return;
        }
        waiting.events.push_back(event);
        if waiting.events.len() > MAX_WATCH_EVENTS {
            waiting.events.clear();
            waiting.missed = true;
        }
        self.came.notify_one();
    }

    fn miss(&self) {
        let mut waiting = lock(&self.waiting);
        waiting.events.clear();
        waiting.missed = true;
        self.came.notify_one();
    }

    /// Waits until something came, at most for `patience`.
    pub(super) fn wait(&self, patience: Duration) -> bool {
        let deadline = Instant::now() + patience;
        let mut waiting = lock(&self.waiting);
        while waiting.events.is_empty() && !waiting.missed {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return false;
            }
            waiting = self.came.wait_timeout(waiting, left).unwrap_or_else(PoisonError::into_inner).0;
        }
        true
    }

    /// Waits for what belongs to the events that came, for `time` or until nothing more fits.
    pub(super) fn gather(&self, time: Duration) {
        let waiting = lock(&self.waiting);
        drop(self.came.wait_timeout_while(waiting, time, |waiting| !waiting.missed));
    }

    /// Everything that came, and whether something did not fit.
    pub(super) fn take(&self) -> (VecDeque<Event>, bool) {
        let mut waiting = lock(&self.waiting);
        (std::mem::take(&mut waiting.events), std::mem::take(&mut waiting.missed))
    }
}

type WatchId = u64;

#[derive(Default)]
struct State {
    by_wd: HashMap<Wd, Vec<(WatchId, DirId)>>,
    queues: HashMap<WatchId, Arc<Queue>>,
    last: WatchId,
}

struct Shared {
    inotify: OwnedFd,
    /// Written to when the instance is to end.
    end: OwnedFd,
    state: Mutex<State>,
}

/// See the module. Ends with its last watch and its owner.
pub(super) struct Hub {
    shared: Arc<Shared>,
    budget: usize,
}

impl Hub {
    /// Starts an instance that watches at most `budget` directories, or else half
    /// of what the system allows the user.
    pub(super) fn start(budget: Option<usize>) -> Result<Self, Errno> {
        let shared = Arc::new(Shared {
            inotify: inotify::init(CreateFlags::NONBLOCK | CreateFlags::CLOEXEC)?,
            end: eventfd(0, EventfdFlags::CLOEXEC)?,
            state: Mutex::default(),
        });
        let reader = Arc::clone(&shared);
        thread::Builder::new()
            .name("inotify".to_owned())
            .spawn(move || reader.read())
            .map_err(|error| Errno::from_io_error(&error).unwrap_or(Errno::AGAIN))?;
        let half = || {
            let most = fs::read_to_string("/proc/sys/fs/inotify/max_user_watches");
            most.ok().and_then(|text| text.trim().parse::<usize>().ok()).unwrap_or(8_192) / 2
        };
        Ok(Hub { shared, budget: budget.unwrap_or_else(half) })
    }

    /// A new watch, and where its events will come.
    pub(super) fn enter(&self) -> (WatchId, Arc<Queue>) {
        let mut state = lock(&self.shared.state);
        state.last += 1;
        let (id, queue) = (state.last, Arc::new(Queue::default()));
        state.queues.insert(id, Arc::clone(&queue));
        (id, queue)
    }

    /// Tells the watch of what happens in the directory from now on. ENOSPC is a
    /// budget that is used up, ours or the system's.
    pub(super) fn add(&self, watch: WatchId, dir: DirId, fd: &OwnedFd) -> Result<Wd, Errno> {
        // Held over the call: its first events must find the entry.
        let mut state = lock(&self.shared.state);
        if state.by_wd.len() >= self.budget {
            return Err(Errno::NOSPC);
        }
        // The name of the descriptor leads to the very directory, wherever it is by now.
        let wd = inotify::add_watch(&self.shared.inotify, format!("/proc/self/fd/{}", fd.as_raw_fd()), TOLD)?;
        let asked = state.by_wd.entry(wd).or_default();
        if !asked.contains(&(watch, dir)) {
            asked.push((watch, dir));
        }
        Ok(wd)
    }

    /// Tells the watch no more of the directory.
    pub(super) fn remove(&self, watch: WatchId, dir: DirId, wd: Wd) {
        let mut state = lock(&self.shared.state);
        let Some(asked) = state.by_wd.get_mut(&wd) else { return };
        asked.retain(|entry| *entry != (watch, dir));
        if asked.is_empty() {
            state.by_wd.remove(&wd);
            // The directory may have gone, and its number with it.
            let _ = inotify::remove_watch(&self.shared.inotify, wd);
        }
    }

    pub(super) fn leave(&self, watch: WatchId) {
        lock(&self.shared.state).queues.remove(&watch);
    }
}

impl Drop for Hub {
    fn drop(&mut self) {
        // The thread is the only other owner; a counter takes eight bytes at once.
        let _ = write(&self.shared.end, &1_u64.to_ne_bytes());
    }
}

impl Shared {
    fn read(&self) {
        let mut buffer = [MaybeUninit::uninit(); 64 * 1024];
        let mut reader = inotify::Reader::new(self.inotify.as_fd(), &mut buffer);
        loop {
            match reader.next() {
                Ok(event) => {
                    let name = event.file_name().map(|name| name.to_bytes().to_vec());
                    self.give(event.wd(), event.events(), name.filter(|name| !name.is_empty()));
                }
                Err(Errno::INTR) => {}
                Err(Errno::AGAIN) => {
                    let mut both = [PollFd::new(&self.inotify, PollFlags::IN), PollFd::new(&self.end, PollFlags::IN)];
                    if !matches!(poll(&mut both, None), Ok(_) | Err(Errno::INTR)) || !both[1].revents().is_empty() {
                        return;
                    }
                }
                Err(error) => {
                    tracing::error!(%error, "inotify cannot be read; watches hear nothing more");
                    lock(&self.state).queues.values().for_each(|queue| queue.miss());
                    return;
                }
            }
        }
    }

    fn give(&self, wd: Wd, what: ReadFlags, name: Option<Vec<u8>>) {
        let mut state = lock(&self.state);
        if what.contains(ReadFlags::QUEUE_OVERFLOW) {
            state.queues.values().for_each(|queue| queue.miss());
            return;
        }
        let State { by_wd, queues, .. } = &mut *state;
        let send = |asked: &[(WatchId, DirId)]| {
            for (watch, dir) in asked {
                if let Some(queue) = queues.get(watch) {
                    queue.push(Event { dir: *dir, what, name: name.clone() });
                }
            }
        };
        if what.contains(ReadFlags::IGNORED) {
            by_wd.remove(&wd).iter().for_each(|asked| send(asked));
        } else if let Some(asked) = by_wd.get(&wd) {
            send(asked);
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
