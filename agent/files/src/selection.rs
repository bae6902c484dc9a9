//! The walk that List, Glob and Grep share: a tree in the order of its names,
//! without what ignore rules and unwanted patterns leave out, continued behind a
//! place where an earlier page ended.

use std::{cmp::Ordering, ffi::OsStr, os::fd::BorrowedFd};

use remora_agent_root::{EntryKind, RelPath, Root};
use remora_proto_model::Reason;
use rustix::{
    fs::{AtFlags, Stat, readlinkat, statat},
    io::Errno,
};

use crate::{
    FileError, Metadata,
    ignore_rules::IgnoreRules,
    patterns::Patterns,
    stop::{Stop, Stopped},
    tree_walk::TreeWalk,
    unfinished::HIDDEN_PREFIX,
};

/// What of a tree is selected.
pub(crate) struct Selection<'a> {
    /// Where the walk begins; paths are told with it in front.
    pub(crate) base: &'a RelPath,
    /// How many levels.
    pub(crate) depth: usize,
    /// Whether ignore rules leave out.
    pub(crate) ignore_rules: bool,
    /// Whether what the patterns do not want is not even entered.
    pub(crate) patterns: Option<&'a Patterns>,
    /// Directories that lie wholly before this place are not entered.
    pub(crate) after: Option<&'a [u8]>,
}

/// An entry that was selected.
pub(crate) struct Selected<'walk> {
    /// Its whole path.
    pub(crate) path: RelPath,
    /// Its path below the base.
    pub(crate) below: &'walk [u8],
    /// The directory that holds it.
    pub(crate) dir: BorrowedFd<'walk>,
    /// Its name there.
    pub(crate) name: &'walk OsStr,
    /// What it is.
    pub(crate) kind: EntryKind,
}

/// Whether the walk goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Go {
    On,
    Home,
}

/// A directory that could not be read.
pub(crate) type Problem = (RelPath, FileError);

impl Selection<'_> {
    /// Shows every selected entry to `take` and every unreadable directory to
    /// `problem`, until one of them has enough, the tree ends or `stop` says so.
    pub(crate) fn walk(
        &self,
        root: &Root,
        stop: &Stop,
        mut take: impl FnMut(Selected<'_>) -> Result<Go, FileError>,
        mut problem: impl FnMut(Problem),
    ) -> Result<Option<Stopped>, FileError> {
        let top = root.open_dir(self.base)?;
        let mut rules = if self.ignore_rules { Some(IgnoreRules::above(root, self.base)?) } else { None };
        let mut walk = TreeWalk::new(top).map_err(|errno| unreadable(self.base, errno))?;
        let base_bytes = if self.base.is_root() { 0 } else { self.base.as_bytes().len() + 1 };
        loop {
            if let Some(stopped) = stop.reached() {
                return Ok(Some(stopped));
            }
            let found = match walk.step() {
                None => return Ok(None),
                Some(Ok(found)) => found,
                Some(Err(failed)) => {
                    // A path too long to be named belongs to the deepest directory that can be.
                    let path = self.base.join(&failed.path).unwrap_or_else(|_| self.base.clone());
                    let error = unreadable(&path, failed.errno);
                    problem((path, error));
                    continue;
                }
            };
            let directory = found.kind == EntryKind::Directory;
            let parent = found.path.len().saturating_sub(found.name.len() + 1);
            let Ok(path) = self.base.join(found.path) else {
                // Deeper than any call could name it.
                let above = self.base.join(&found.path[..parent]).unwrap_or_else(|_| self.base.clone());
                let error = unreadable(&above, Errno::NAMETOOLONG);
                problem((above, error));
                walk.skip_below();
                continue;
            };
            let out = found.name.as_encoded_bytes().starts_with(HIDDEN_PREFIX.as_bytes())
                || self.patterns.is_some_and(|patterns| patterns.unwants(found.path))
                || rules.as_mut().is_some_and(|rules| {
                    rules.enter(found.dir, &found.path[..parent], base_bytes);
                    rules.leave_out(path.as_bytes(), directory)
                });
            if out {
                walk.skip_below();
                continue;
            }
            let depth = found.path.iter().filter(|byte| **byte == b'/').count() + 1;
            let behind = self.after.is_none_or(|after| order(path.as_bytes(), after) == Ordering::Greater);
            let on_the_way = self.after.is_some_and(|after| {
                after.strip_prefix(path.as_bytes()).is_some_and(|rest| rest.is_empty() || rest.starts_with(b"/"))
            });
            if behind {
                let selected = Selected { path, below: found.path, dir: found.dir, name: found.name, kind: found.kind };
                if take(selected)? == Go::Home {
                    return Ok(None);
                }
            }
            if depth >= self.depth || !(behind || on_the_way) {
                walk.skip_below();
            }
        }
    }
}

impl Selected<'_> {
    /// What is known of it, or `None` where it went meanwhile.
    pub(crate) fn look(&self) -> Result<Option<(Metadata, Stat)>, FileError> {
        let stat = match statat(self.dir, self.name, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(stat) => stat,
            Err(Errno::NOENT) => return Ok(None),
            Err(errno) => return Err(FileError::system("look at", &self.path, errno)),
        };
        let mut metadata = Metadata::of(&stat);
        if metadata.kind == EntryKind::Symlink {
            match readlinkat(self.dir, self.name, Vec::new()) {
                Ok(target) => metadata.link_target = Some(target.into_bytes()),
                // It went or became something else.
                Err(Errno::NOENT | Errno::INVAL) => return Ok(None),
                Err(errno) => return Err(FileError::system("read the link", &self.path, errno)),
            }
        }
        Ok(Some((metadata, stat)))
    }
}

/// The order of a walk: by the names' bytes, a directory before what it holds.
pub(crate) fn order(one: &[u8], other: &[u8]) -> Ordering {
    // No name has a NUL, so it can stand for the end of one.
    let key = |byte: &u8| if *byte == b'/' { 0 } else { *byte };
    one.iter().map(key).cmp(other.iter().map(key))
}

fn unreadable(path: &RelPath, errno: Errno) -> FileError {
    match errno {
        Errno::NOBUFS => FileError::refused(
            Reason::LimitReached,
            format!("\"{path}\" has too many entries to put in order"),
            "look into smaller directories, each by itself",
        ),
        errno => FileError::system("list", path, errno),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_directory_comes_before_what_it_holds_and_what_it_holds_before_its_next() {
        let mut paths = ["a.txt", "a", "a/b", "a/b/c", "a-b", "b", "a/b.c", "\u{ff}"];
        paths.sort_by(|one, other| order(one.as_bytes(), other.as_bytes()));
        assert_eq!(paths, ["a", "a/b", "a/b/c", "a/b.c", "a-b", "a.txt", "b", "\u{ff}"]);
    }
}
