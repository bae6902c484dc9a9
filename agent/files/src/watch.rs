//! Watch: what changes below a directory, in batches.
//!
//! Every directory of the tree is told of by inotify, one instance for all
//! watches ([`hub`]). Where the budget for that is used up, a watch looks at the
//! whole tree again and again instead, and says so. Where something was missed,
//! the watch is put up anew and then says so: whoever looks at the tree after
//! that batch has seen everything.

use std::{
    collections::VecDeque,
    os::{
        fd::{AsFd as _, OwnedFd},
        unix::ffi::OsStrExt as _,
    },
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use remora_agent_root::{EntryKind, RelPath, Root, limits::MAX_PATH_BYTES, read_dir};
use remora_proto_model::Reason;
use rustix::{
    fs::{AtFlags, Mode, OFlags, fstat, inotify::ReadFlags, openat, statat},
    io::Errno,
};

use crate::{FileError, ignore_rules::IgnoreRules, patterns::Patterns, unfinished::HIDDEN_PREFIX};

mod changes;
mod hub;
mod poll;
mod watched;

use changes::Changes;
pub use changes::{Change, ChangeKind};
use hub::{Event, Hub, Queue};
use poll::Poller;
use watched::Watched;

/// What is watched, and how.
#[derive(Clone, Debug, Default)]
pub struct WatchOptions {
    /// Only paths below the directory that match; none is all.
    pub globs: Vec<String>,
    /// Leave out what ignore rules leave out.
    pub ignore_rules: bool,
    /// Time within which changes become one batch.
    pub coalesce: Duration,
}

/// Changes that belong together.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Batch {
    /// In the order of the paths' bytes.
    pub changes: Vec<Change>,
    /// Something was missed: look at the watched tree anew.
    pub resync: bool,
    /// Changes are looked for every few seconds.
    pub polling: bool,
}

/// Puts up watches. One an agent: its watches share one inotify instance.
#[derive(Default)]
pub struct Watcher {
    hub: Mutex<Option<Arc<Hub>>>,
    budget: Option<usize>,
}

impl Watcher {
    /// One that takes half of the user's budget at most.
    pub fn new() -> Self {
        Watcher::default()
    }

    /// One that watches at most `directories`.
    pub fn with_budget(directories: usize) -> Self {
        Watcher { hub: Mutex::default(), budget: Some(directories) }
    }

    /// Watches the directory at `path`. What happens after it returns is told; the
    /// first batch is there at once and empty.
    pub fn watch(&self, root: &Root, path: &RelPath, options: WatchOptions) -> Result<Watch, FileError> {
        let globs = Patterns::new("globs", &options.globs)?;
        let top = root.open_dir(path)?;
        let place = Place { root: root.clone(), base: path.clone(), globs, ignore_rules: options.ignore_rules };
        let mut watch = Watch {
            place,
            coalesce: options.coalesce,
            changes: Changes::default(),
            ready: VecDeque::new(),
            how: How::Nothing,
            rules: None,
            top,
        };
        watch.how = match self.hub() {
            Ok(hub) => watch.told(hub)?,
            Err(error) => watch.polled(error)?,
        };
        watch.ready.push_back(Batch { polling: watch.polling(), ..Batch::default() });
        Ok(watch)
    }

    fn hub(&self) -> Result<Arc<Hub>, Errno> {
        let mut held = self.hub.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(hub) = &*held {
            return Ok(Arc::clone(hub));
        }
        let hub = Arc::new(Hub::start(self.budget)?);
        *held = Some(Arc::clone(&hub));
        Ok(hub)
    }
}

/// Which entries are told of.
struct Place {
    root: Root,
    base: RelPath,
    globs: Patterns,
    ignore_rules: bool,
}

impl Place {
    /// Where the whole path of an entry goes on below the base.
    fn base_bytes(&self) -> usize {
        if self.base.is_root() { 0 } else { self.base.as_bytes().len() + 1 }
    }

    /// The whole path of what is at `below`.
    fn whole(&self, below: &[u8]) -> Vec<u8> {
        let mut whole = self.base.as_bytes().to_vec();
        if !whole.is_empty() && !below.is_empty() {
            whole.push(b'/');
        }
        whole.extend_from_slice(below);
        whole
    }

    fn rules(&self) -> Result<Option<IgnoreRules>, FileError> {
        self.ignore_rules.then(|| IgnoreRules::above(&self.root, &self.base)).transpose()
    }
}

/// How a watch learns of changes.
enum How {
    Told(Told),
    Polled(Poller),
    /// Between two ways.
    Nothing,
}

/// The directories that inotify tells of.
struct Told {
    hub: Arc<Hub>,
    id: u64,
    queue: Arc<Queue>,
    watched: Watched,
}

impl Told {
    /// Has the directory that `fd` is open on told of as the one at `below`.
    fn add(&mut self, below: &[u8], fd: &OwnedFd) -> Result<(), Errno> {
        let id = self.watched.next();
        let wd = self.hub.add(self.id, id, fd)?;
        match self.watched.at(below) {
            // It is the one that is known, whose events may be on their way.
            Some((_, known)) if known == wd => self.hub.remove(self.id, id, wd),
            known => {
                if let Some((id, wd)) = known {
                    self.watched.forget(id);
                    self.hub.remove(self.id, id, wd);
                }
                self.watched.insert(id, below.to_vec(), wd);
            }
        }
        Ok(())
    }
}

impl Drop for Told {
    fn drop(&mut self) {
        self.hub.leave(self.id);
        for (dir, wd) in self.watched.clear() {
            self.hub.remove(self.id, dir, wd);
        }
    }
}

/// One watch. Blocks its thread while it waits.
pub struct Watch {
    place: Place,
    coalesce: Duration,
    changes: Changes,
    ready: VecDeque<Batch>,
    how: How,
    /// Rules at the directory of the last event, as they were when its batch began.
    rules: Option<(RelPath, IgnoreRules)>,
    /// The watched directory itself.
    top: OwnedFd,
}

impl Watch {
    /// The next batch; none where nothing changed within `patience`. An error ends
    /// the watch: its directory is gone, or too large to be watched.
    pub fn next(&mut self, patience: Duration) -> Result<Option<Batch>, FileError> {
        if let Some(batch) = self.ready.pop_front() {
            return Ok(Some(batch));
        }
        match &mut self.how {
            How::Told(told) => {
                if !told.queue.wait(patience) {
                    // The kernel does not tell of the end of a directory that we hold open.
                    return self.still_there().map(|()| None);
                }
                told.queue.gather(self.coalesce);
                self.hear()?;
            }
            How::Polled(poller) => {
                let looked = poller.look(&self.place, &self.top, patience, &mut self.changes);
                looked.and_then(|()| self.still_there())?;
            }
            How::Nothing => return Err(self.gone()),
        }
        let polling = self.polling();
        let (batches, mut resync) = self.changes.take();
        for changes in batches {
            self.ready.push_back(Batch { changes, resync: std::mem::take(&mut resync), polling });
        }
        Ok(self.ready.pop_front())
    }

    fn polling(&self) -> bool {
        matches!(self.how, How::Polled(_))
    }

    /// Has every directory told of, from now on.
    fn told(&mut self, hub: Arc<Hub>) -> Result<How, FileError> {
        let (id, queue) = hub.enter();
        let mut told = Told { hub, id, queue, watched: Watched::default() };
        match self.add(&mut told, Vec::new(), false) {
            Ok(()) => Ok(How::Told(told)),
            Err(Added::Full(errno)) => self.polled(errno),
            Err(Added::Failed(error)) => Err(error),
        }
    }

    /// Looks at the tree again and again, from now on.
    fn polled(&mut self, cause: Errno) -> Result<How, FileError> {
        tracing::info!(%cause, path = %self.place.base, "inotify has no room; the watch polls");
        Ok(How::Polled(Poller::new(&self.place, &self.top)?))
    }

    /// Makes changes of the events that came.
    fn hear(&mut self) -> Result<(), FileError> {
        let How::Told(mut told) = std::mem::replace(&mut self.how, How::Nothing) else { return Ok(()) };
        let (events, missed) = told.queue.take();
        self.rules = None;
        let mut anew = missed;
        for event in events {
            match self.event(&mut told, event) {
                Ok(Heard::Noted) => {}
                Ok(Heard::Anew) => anew = true,
                Err(Added::Full(errno)) => {
                    drop(told);
                    self.how = self.polled(errno)?;
                    // Between the last event and the first look.
                    self.changes.miss();
                    return Ok(());
                }
                Err(Added::Failed(error)) => return Err(error),
            }
        }
        self.still_there()?;
        if anew {
            let hub = Arc::clone(&told.hub);
            drop(told);
            self.how = self.told(hub)?;
            self.changes.miss();
        } else {
            self.how = How::Told(told);
        }
        Ok(())
    }

    fn event(&mut self, told: &mut Told, event: Event) -> Result<Heard, Added> {
        let Event { dir, what, name } = event;
        // The directory was let go since.
        let Some(above) = told.watched.path(dir) else { return Ok(Heard::Noted) };
        let Some(name) = name else {
            if what.contains(ReadFlags::IGNORED) {
                told.watched.forget(dir);
            }
            return Ok(Heard::Noted);
        };
        if name.starts_with(HIDDEN_PREFIX.as_bytes()) {
            return Ok(Heard::Noted);
        }
        let rules_changed = self.place.ignore_rules && matches!(name.as_slice(), b".gitignore" | b".ignore");
        let mut below = above.to_vec();
        if !below.is_empty() {
            below.push(b'/');
        }
        below.extend_from_slice(&name);
        let directory = what.contains(ReadFlags::ISDIR);
        if what.intersects(ReadFlags::DELETE | ReadFlags::MOVED_FROM) {
            if directory {
                for (dir, wd) in told.watched.remove(&below) {
                    told.hub.remove(told.id, dir, wd);
                }
            }
            self.note(&below, directory, ChangeKind::Removed);
            if directory && what.contains(ReadFlags::MOVED_FROM) {
                // Of what goes with it nothing else is told, wanted or not.
                self.changes.note(self.place.whole(&below), ChangeKind::Removed);
            }
        } else if what.intersects(ReadFlags::CREATE | ReadFlags::MOVED_TO) {
            let taken = self.note(&below, directory, ChangeKind::Created);
            if directory && taken {
                self.add(told, below, true)?;
            }
        } else if what.intersects(ReadFlags::MODIFY | ReadFlags::ATTRIB) {
            self.note(&below, directory, ChangeKind::Modified);
        }
        Ok(if rules_changed { Heard::Anew } else { Heard::Noted })
    }

    /// Notes a change of the entry at `below`, and says whether it is one that
    /// ignore rules let be seen.
    fn note(&mut self, below: &[u8], directory: bool, kind: ChangeKind) -> bool {
        let whole = self.place.whole(below);
        // What is too deep to be named by a client is not told of.
        let Ok(path) = RelPath::new(&whole) else { return false };
        if self.place.ignore_rules {
            let above = path.parent().unwrap_or_default();
            if self.rules.as_ref().is_none_or(|(held, _)| *held != above) {
                self.rules = IgnoreRules::above(&self.place.root, &path).ok().map(|rules| (above, rules));
            }
            // Where there are none, its directory went meanwhile, which its own event tells.
            if self.rules.as_ref().is_some_and(|(_, rules)| rules.leave_out(&whole, directory)) {
                return false;
            }
        }
        if self.place.globs.wants(below) {
            self.changes.note(whole, kind);
        }
        true
    }

    /// Has the directory at `below` and all below it told of. With `tell`, what is
    /// found there is noted as new: it may have come before the kernel told of it.
    fn add(&mut self, told: &mut Told, below: Vec<u8>, tell: bool) -> Result<(), Added> {
        let Ok(start) = RelPath::new(self.place.whole(&below)) else { return Ok(()) };
        let mut rules = match self.place.ignore_rules.then(|| IgnoreRules::above(&self.place.root, &start)) {
            Some(Ok(rules)) => Some(rules),
            // It went again.
            Some(Err(_)) if tell => return Ok(()),
            Some(Err(error)) => return Err(error.into()),
            None => None,
        };
        let mut ahead = vec![below];
        while let Some(below) = ahead.pop() {
            let fd = match open_below(&self.top, &below) {
                Ok(fd) => fd,
                Err(Errno::MFILE | Errno::NFILE) => return Err(self.failed(&below, Errno::MFILE).into()),
                // Gone, turned into something else, or not for our eyes.
                Err(_) => continue,
            };
            match told.add(&below, &fd) {
                Ok(()) => {}
                Err(errno @ (Errno::NOSPC | Errno::NOMEM)) => return Err(Added::Full(errno)),
                Err(_) => continue,
            }
            if let Some(rules) = &mut rules {
                rules.enter(fd.as_fd(), &below, self.place.base_bytes());
            }
            let entries = read_dir(&fd).map_err(|errno| self.failed(&below, errno))?;
            let first = ahead.len();
            for entry in entries {
                let Ok(entry) = entry else { break };
                if entry.name.as_bytes().starts_with(HIDDEN_PREFIX.as_bytes()) {
                    continue;
                }
                let kind = entry.kind.or_else(|| {
                    let stat = statat(&fd, &entry.name, AtFlags::SYMLINK_NOFOLLOW).ok()?;
                    Some(EntryKind::of_mode(stat.st_mode))
                });
                let directory = kind == Some(EntryKind::Directory);
                let mut path = below.clone();
                if !path.is_empty() {
                    path.push(b'/');
                }
                path.extend_from_slice(entry.name.as_bytes());
                let whole = self.place.whole(&path);
                if whole.len() > MAX_PATH_BYTES {
                    continue;
                }
                if rules.as_ref().is_some_and(|rules| rules.leave_out(&whole, directory)) {
                    continue;
                }
                if tell && self.place.globs.wants(&path) {
                    self.changes.note(whole, ChangeKind::Created);
                }
                if directory {
                    ahead.push(path);
                }
            }
            // The rules are those of the way here, so what is below comes next.
            ahead[first..].sort_unstable_by(|one, other| other.cmp(one));
        }
        Ok(())
    }

    /// Fails where the watched directory is no longer what its path leads to.
    fn still_there(&self) -> Result<(), FileError> {
        let now = self.place.root.stat(&self.place.base, true);
        let own = fstat(&self.top).map_err(|errno| self.failed(b"", errno))?;
        match now {
            Ok(now) if (now.st_dev, now.st_ino) == (own.st_dev, own.st_ino) && own.st_nlink > 0 => Ok(()),
            _ => Err(self.gone()),
        }
    }

    fn gone(&self) -> FileError {
        FileError::refused(
            Reason::NotFound,
            format!("\"{}\", which is watched, was removed or moved away", self.place.base),
            "watch again where the directory is now",
        )
    }

    fn failed(&self, below: &[u8], errno: Errno) -> FileError {
        let path = RelPath::new(self.place.whole(below)).unwrap_or_else(|_| self.place.base.clone());
        FileError::system("watch", &path, errno)
    }
}

enum Heard {
    Noted,
    /// The watch is to be put up anew.
    Anew,
}

/// Why a directory cannot be told of.
enum Added {
    /// There is no room for it.
    Full(Errno),
    Failed(FileError),
}

impl From<FileError> for Added {
    fn from(error: FileError) -> Self {
        Added::Failed(error)
    }
}

/// Opens the directory at `below`, one name after the other and never through a link.
fn open_below(top: &OwnedFd, below: &[u8]) -> Result<OwnedFd, Errno> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let mut here = openat(top, ".", flags, Mode::empty())?;
    for name in below.split(|byte| *byte == b'/').filter(|name| !name.is_empty()) {
        here = openat(&here, name, flags, Mode::empty())?;
    }
    Ok(here)
}
