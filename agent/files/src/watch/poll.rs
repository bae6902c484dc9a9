//! Watching without inotify: one look at the whole tree after another.

use std::{
    collections::{BTreeMap, BTreeSet},
    os::{
        fd::{AsFd as _, OwnedFd},
        unix::ffi::OsStrExt as _,
    },
    thread,
    time::{Duration, Instant},
};

use remora_agent_root::{EntryKind, RelPath};
use remora_proto_model::Reason;
use rustix::{
    fs::{AtFlags, Mode, OFlags, Stat, openat, statat},
    io::Errno,
};

use super::{ChangeKind, Place, changes::Changes};
use crate::{
    FileError,
    limits::{MAX_POLLED_ENTRIES, POLL_INTERVAL, POLL_REST},
    tree_walk::TreeWalk,
    unfinished::HIDDEN_PREFIX,
};

/// By what a change of an entry is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Mark {
    inode: (u64, u64),
    mode: u32,
    /// Size and times; of a directory none, as they change with its entries.
    content: Option<[i64; 5]>,
}

impl Mark {
    fn of(stat: &Stat) -> Self {
        let directory = EntryKind::of_mode(stat.st_mode) == EntryKind::Directory;
        let nanos = |nanos| i64::try_from(nanos).unwrap_or(0);
        let content =
            [stat.st_size, stat.st_mtime, nanos(stat.st_mtime_nsec), stat.st_ctime, nanos(stat.st_ctime_nsec)];
        Mark { inode: (stat.st_dev, stat.st_ino), mode: stat.st_mode, content: (!directory).then_some(content) }
    }
}

type Marks = BTreeMap<Vec<u8>, Mark>;

/// See the module.
pub(super) struct Poller {
    marks: Marks,
    next: Instant,
}

impl Poller {
    /// Takes the first look, from which changes count.
    pub(super) fn new(place: &Place, top: &OwnedFd) -> Result<Self, FileError> {
        let begun = Instant::now();
        let marks = scan(place, top)?;
        Ok(Poller { marks, next: after(begun) })
    }

    /// Looks again when it is time, and waits for that for `patience` at most.
    pub(super) fn look(
        &mut self,
        place: &Place,
        top: &OwnedFd,
        patience: Duration,
        changes: &mut Changes,
    ) -> Result<(), FileError> {
        let left = self.next.saturating_duration_since(Instant::now());
        #[expect(
            clippy::disallowed_methods,
            reason = "a watch has a thread of its own, and nothing announces what is looked for"
        )]
        thread::sleep(left.min(patience));
        if left > patience {
            return Ok(());
        }
        let begun = Instant::now();
        let marks = scan(place, top)?;
        compare(&self.marks, &marks, |path, kind| {
            if place.globs.wants(path) {
                changes.note(place.whole(path), kind);
            }
        });
        self.marks = marks;
        self.next = after(begun);
        Ok(())
    }
}

/// When to look again after a look that began at `begun`.
fn after(begun: Instant) -> Instant {
    let now = Instant::now();
    now + POLL_INTERVAL.max((now - begun) * POLL_REST)
}

fn scan(place: &Place, top: &OwnedFd) -> Result<Marks, FileError> {
    let failed = |below: &[u8], errno| {
        let path = RelPath::new(place.whole(below)).unwrap_or_else(|_| place.base.clone());
        FileError::system("look at", &path, errno)
    };
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let dir = openat(top, ".", flags, Mode::empty()).map_err(|errno| failed(b"", errno))?;
    let mut rules = place.rules()?;
    if let Some(rules) = &mut rules {
        rules.enter(dir.as_fd(), b"", place.base_bytes());
    }
    let mut walk = TreeWalk::new(dir).map_err(|errno| failed(b"", errno))?;
    let mut marks = Marks::new();
    loop {
        let found = match walk.step() {
            None => return Ok(marks),
            Some(Ok(found)) => found,
            Some(Err(unreachable)) => match unreachable.errno {
                // The walk is over before its end: what it did not see is not gone.
                Errno::STALE | Errno::NOBUFS | Errno::MFILE | Errno::NFILE => {
                    return Err(failed(&unreachable.path, unreachable.errno));
                }
                _ => continue,
            },
        };
        let directory = found.kind == EntryKind::Directory;
        if let Some(rules) = &mut rules {
            let above = found.path.len().saturating_sub(found.name.len() + 1);
            rules.enter(found.dir, &found.path[..above], place.base_bytes());
        }
        let hidden = found.name.as_bytes().starts_with(HIDDEN_PREFIX.as_bytes());
        let left_out =
            hidden || rules.as_ref().is_some_and(|rules| rules.leave_out(&place.whole(found.path), directory));
        if !left_out && let Ok(stat) = statat(found.dir, found.name, AtFlags::SYMLINK_NOFOLLOW) {
            marks.insert(found.path.to_vec(), Mark::of(&stat));
        }
        if left_out && directory {
            walk.skip_below();
        }
        if marks.len() > MAX_POLLED_ENTRIES {
            return Err(FileError::refused(
                Reason::LimitReached,
                format!(
                    "\"{}\" has more than {MAX_POLLED_ENTRIES} entries, and the system's budget for watches is used up",
                    place.base
                ),
                "watch a smaller directory, ask for ignore rules, or raise fs.inotify.max_user_watches",
            ));
        }
    }
}

fn compare(old: &Marks, new: &Marks, mut tell: impl FnMut(&[u8], ChangeKind)) {
    for path in old.keys().filter(|path| !new.contains_key(*path)) {
        tell(path, ChangeKind::Removed);
    }
    // A directory in the place of another: what is below is told anew.
    let mut replaced = BTreeSet::new();
    for (path, mark) in new {
        let slashes = path.iter().enumerate().filter(|(_, byte)| **byte == b'/');
        let anew = !replaced.is_empty() && slashes.map(|(at, _)| &path[..at]).any(|above| replaced.contains(above));
        match old.get(path) {
            Some(before) if before == mark && !anew => {}
            Some(before) if before.inode == mark.inode && !anew => tell(path, ChangeKind::Modified),
            before => {
                tell(path, ChangeKind::Created);
                if before.is_some() && mark.content.is_none() {
                    replaced.insert(path.as_slice());
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{ChangeKind::*, *};

    #[test]
    fn looks_are_compared_by_what_stands_under_a_name() {
        let directory = |inode| Mark { inode: (1, inode), mode: 0o40755, content: None };
        let file = |inode, size| Mark { inode: (1, inode), mode: 0o100644, content: Some([size, 0, 0, 0, 0]) };
        let marks = |list: &[(&str, Mark)]| list.iter().map(|(path, mark)| (path.as_bytes().to_vec(), *mark)).collect();
        let old = marks(&[
            ("d", directory(1)),
            ("d-x", file(2, 0)),
            ("d/kept", file(3, 0)),
            ("e", directory(4)),
            ("e/f", file(5, 0)),
            ("gone", file(6, 0)),
            ("other", file(7, 0)),
            ("same", file(8, 0)),
        ]);
        let new = marks(&[
            ("d", directory(9)),
            ("d-x", file(2, 0)),
            ("d/kept", file(3, 0)),
            ("e", directory(4)),
            ("e/f", file(5, 1)),
            ("new", file(10, 0)),
            ("other", file(11, 0)),
            ("same", file(8, 0)),
        ]);
        let mut told = Vec::new();
        compare(&old, &new, |path, kind| told.push((String::from_utf8(path.to_vec()).unwrap(), kind)));
        let expected = [
            ("gone", Removed),
            ("d", Created),
            ("d/kept", Created),
            ("e/f", Modified),
            ("new", Created),
            ("other", Created),
        ];
        assert_eq!(told, expected.map(|(path, kind)| (path.to_owned(), kind)));
    }
}
