//! Which entries are left out by `.gitignore`, `.ignore`, `.git/info/exclude` and
//! for a name that begins with a dot: as ripgrep decides it, except that a
//! `.gitignore` counts also where there is no repository yet.
//!
//! The `ignore` crate's own walk opens paths, which is not confined; only its
//! matcher is used here, on files that were read below the root.

use std::{
    ffi::OsStr,
    fs::File,
    io::Read as _,
    os::{fd::BorrowedFd, unix::ffi::OsStrExt as _},
    path::Path,
};

use ignore::{
    Match,
    gitignore::{Gitignore, GitignoreBuilder},
};
use remora_agent_root::{EntryKind, RelPath, Root};
use rustix::fs::{AtFlags, Mode, OFlags, fstat, openat, statat};

use crate::{FileError, limits::MAX_IGNORE_FILE_BYTES};

/// The rules of the directories on the way to where a walk is.
#[derive(Debug, Default)]
pub(crate) struct IgnoreRules {
    levels: Vec<Level>,
}

#[derive(Debug)]
struct Level {
    /// The directory's path, from where the walk began; `None` for those above that.
    dir: Option<Vec<u8>>,
    /// Bytes of an entry's whole path that come before its path in this directory.
    strip: usize,
    ignore: Gitignore,
    gitignore: Gitignore,
    exclude: Gitignore,
    /// Whether a repository begins here: the `.gitignore` of what is above is not its own.
    repository: bool,
}

impl IgnoreRules {
    /// The rules that hold at `base`, of the root and each directory above `base`.
    pub(crate) fn above(root: &Root, base: &RelPath) -> Result<Self, FileError> {
        let mut rules = IgnoreRules::default();
        let mut above = Vec::new();
        let mut place = base.parent();
        while let Some(path) = place {
            place = path.parent();
            above.push(path);
        }
        for path in above.into_iter().rev() {
            use std::os::fd::AsFd as _;
            let dir = root.open_dir(&path)?;
            let strip = if path.is_root() { 0 } else { path.as_bytes().len() + 1 };
            rules.levels.push(Level::read(dir.as_fd(), None, strip));
        }
        Ok(rules)
    }

    /// Goes to the directory that `dir` is open on, at `path` from where the walk
    /// began. `base_bytes` is what comes before that in a whole path.
    pub(crate) fn enter(&mut self, dir: BorrowedFd<'_>, path: &[u8], base_bytes: usize) {
        while let Some(Level { dir: Some(held), .. }) = self.levels.last() {
            if held == path {
                return;
            }
            if held.is_empty() || path.strip_prefix(&held[..]).is_some_and(|rest| rest.starts_with(b"/")) {
                break;
            }
            self.levels.pop();
        }
        let strip = base_bytes + if path.is_empty() { 0 } else { path.len() + 1 };
        self.levels.push(Level::read(dir, Some(path.to_vec()), strip));
    }

    /// Whether the entry at the whole path `path` is left out. It is taken for
    /// granted that the directories on the way to it are not.
    pub(crate) fn leave_out(&self, path: &[u8], directory: bool) -> bool {
        let below = |level: &Level| Path::new(OsStr::from_bytes(&path[level.strip..]));
        let ask = |matcher: &Gitignore, level: &Level| match matcher.matched(below(level), directory) {
            Match::Ignore(_) => Some(true),
            Match::Whitelist(_) => Some(false),
            Match::None => None,
        };
        let own = self.levels.iter().rev().find_map(|level| ask(&level.ignore, level));
        let git = || {
            let mut foreign = false;
            self.levels.iter().rev().find_map(|level| {
                let own = !foreign;
                foreign |= level.repository;
                if !own {
                    return None;
                }
                ask(&level.gitignore, level).or_else(|| ask(&level.exclude, level))
            })
        };
        own.or_else(git)
            .unwrap_or_else(|| path.rsplit(|byte| *byte == b'/').next().is_some_and(|n| n.starts_with(b".")))
    }
}

impl Level {
    fn read(at: BorrowedFd<'_>, dir: Option<Vec<u8>>, strip: usize) -> Self {
        let git = statat(at, ".git", AtFlags::SYMLINK_NOFOLLOW).ok().map(|stat| EntryKind::of_mode(stat.st_mode));
        let exclude = if git == Some(EntryKind::Directory) { exclude(at) } else { None };
        Level {
            dir,
            strip,
            ignore: matcher(text(at, ".ignore")),
            gitignore: matcher(text(at, ".gitignore")),
            exclude: matcher(exclude),
            repository: git.is_some(),
        }
    }
}

/// `.git/info/exclude`, reached by single names so that no link is followed.
fn exclude(at: BorrowedFd<'_>) -> Option<String> {
    use std::os::fd::AsFd as _;
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let git = openat(at, ".git", flags, Mode::empty()).ok()?;
    let info = openat(&git, "info", flags, Mode::empty()).ok()?;
    text(info.as_fd(), "exclude")
}

/// A file of rules. One that is no regular file, cannot be read or is larger
/// than its bound has no rules: entries are shown rather than hidden.
fn text(at: BorrowedFd<'_>, name: &str) -> Option<String> {
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
    let file = openat(at, name, flags, Mode::empty()).ok()?;
    let stat = fstat(&file).ok()?;
    if EntryKind::of_mode(stat.st_mode) != EntryKind::File {
        return None;
    }
    let mut bytes = Vec::new();
    File::from(file).take(MAX_IGNORE_FILE_BYTES + 1).read_to_end(&mut bytes).ok()?;
    (bytes.len() as u64 <= MAX_IGNORE_FILE_BYTES).then(|| String::from_utf8_lossy(&bytes).into_owned())
}

/// A line that is no pattern is passed over, as git does.
fn matcher(text: Option<String>) -> Gitignore {
    let Some(text) = text else { return Gitignore::empty() };
    let mut builder = GitignoreBuilder::new(".");
    for line in text.trim_start_matches('\u{feff}').lines() {
        let _ = builder.add_line(None, line);
    }
    builder.build().unwrap_or_else(|_| Gitignore::empty())
}
