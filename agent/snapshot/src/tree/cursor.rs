//! [`Cursor`]: directories of the workspace, opened by their paths.

use std::{
    collections::VecDeque,
    ffi::OsStr,
    os::{
        fd::{AsFd as _, BorrowedFd, OwnedFd},
        unix::ffi::OsStrExt as _,
    },
};

use remora_agent_root::{RelPath, Root, RootError};
use rustix::fs::{Mode, OFlags, openat};

use crate::limits::MAX_HELD_DIRECTORIES;

/// Directories on the way to the last one that was asked for stay open, up to a
/// bound: paths that come in the order of a manifest cost one `openat` each.
#[derive(Debug)]
pub(crate) struct Cursor {
    root: Root,
    path: Vec<u8>,
    /// The deepest open ones, each with the length of its path.
    held: VecDeque<(usize, OwnedFd)>,
}

impl Cursor {
    pub(crate) fn new(root: Root) -> Self {
        Cursor { root, path: Vec::new(), held: VecDeque::new() }
    }

    /// The directory at `path`, reached through no link.
    pub(crate) fn directory(&mut self, path: &[u8]) -> Result<BorrowedFd<'_>, RootError> {
        let common = common_prefix(&self.path, path);
        while self.held.back().is_some_and(|(length, _)| *length > common) {
            self.held.pop_back();
        }
        let reached = self.held.back().map_or(0, |(length, _)| *length);
        self.path.clear();
        self.path.extend_from_slice(path);
        if reached == 0 && common > 0 {
            // What was on the way was let go, and only the root is left to start from.
            let above = RelPath::new(&path[..common])?;
            let fd = self.root.open_dir_without_links(&above).inspect_err(|_| self.path.clear())?;
            self.hold(common, fd);
        }
        loop {
            let at = self.held.back().map_or(0, |(length, _)| *length);
            if at == path.len() {
                break;
            }
            let start = if at == 0 { 0 } else { at + 1 };
            let end = path[start..].iter().position(|byte| *byte == b'/').map_or(path.len(), |slash| start + slash);
            let above = self.held.back().map_or(self.root.as_fd(), |(_, fd)| fd.as_fd());
            let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
            match openat(above, OsStr::from_bytes(&path[start..end]), flags, Mode::empty()) {
                Ok(fd) => self.hold(end, fd),
                Err(errno) => {
                    self.path.truncate(at);
                    return Err(RootError::system("open the directory", &RelPath::new(&path[..end])?, errno));
                }
            }
        }
        Ok(self.held.back().map_or(self.root.as_fd(), |(_, fd)| fd.as_fd()))
    }

    /// The directory that holds `path`, and the last name of it.
    pub(crate) fn parent<'path>(&mut self, path: &'path [u8]) -> Result<(BorrowedFd<'_>, &'path OsStr), RootError> {
        let (above, name) = split(path);
        Ok((self.directory(above)?, OsStr::from_bytes(name)))
    }

    /// Closes everything: the next path is looked up from the root again.
    pub(crate) fn forget(&mut self) {
        self.held.clear();
        self.path.clear();
    }

    fn hold(&mut self, length: usize, fd: OwnedFd) {
        if self.held.len() == MAX_HELD_DIRECTORIES {
            self.held.pop_front();
        }
        self.held.push_back((length, fd));
    }
}

/// The path of the directory that holds `path`, and the last name of it.
pub(crate) fn split(path: &[u8]) -> (&[u8], &[u8]) {
    match path.iter().rposition(|byte| *byte == b'/') {
        Some(slash) => (&path[..slash], &path[slash + 1..]),
        None => (&[], path),
    }
}

/// Length of the longest path that is `a` and `b` or above both.
fn common_prefix(a: &[u8], b: &[u8]) -> usize {
    let same = a.iter().zip(b).take_while(|(a, b)| a == b).count();
    let ends = |path: &[u8]| same == path.len() || path[same] == b'/';
    if ends(a) && ends(b) {
        return same;
    }
    a[..same].iter().rposition(|byte| *byte == b'/').unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{MetadataExt as _, symlink};

    use rustix::fs::fstat;

    use super::*;

    #[test]
    fn what_paths_have_in_common_ends_at_a_component() {
        for (a, b, expected) in [
            ("", "a", ""),
            ("a", "a", "a"),
            ("a/b", "a/b/c", "a/b"),
            ("a/b", "a/bc", "a"),
            ("a/bd/x", "a/bc", "a"),
            ("ab", "ac", ""),
            ("a/b/c", "a", "a"),
        ] {
            assert_eq!(common_prefix(a.as_bytes(), b.as_bytes()), expected.len(), "{a} {b}");
            assert_eq!(common_prefix(b.as_bytes(), a.as_bytes()), expected.len(), "{b} {a}");
        }
    }

    #[test]
    fn each_path_leads_to_its_directory_however_deep() {
        let folder = tempfile::tempdir().unwrap();
        let deep = vec!["d"; MAX_HELD_DIRECTORIES * 3].join("/");
        let other = format!("{}/e/f", &deep[..deep.len() / 2]);
        for path in [&deep, &other] {
            std::fs::create_dir_all(folder.path().join(path)).unwrap();
        }
        let mut cursor = Cursor::new(Root::open(folder.path()).unwrap());
        for path in ["", &deep, &deep[..3], &other, &deep, "d/d", &other, ""] {
            let fd = cursor.directory(path.as_bytes()).unwrap();
            let expected = std::fs::metadata(folder.path().join(path)).unwrap().ino();
            assert_eq!(fstat(fd).unwrap().st_ino, expected, "{}", path.len());
            assert!(cursor.held.len() <= MAX_HELD_DIRECTORIES);
        }
    }

    #[test]
    fn a_link_on_the_way_is_refused_and_hinders_nothing_after_it() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir_all(folder.path().join("a/b/c")).unwrap();
        symlink("b", folder.path().join("a/link")).unwrap();
        let mut cursor = Cursor::new(Root::open(folder.path()).unwrap());
        cursor.directory(b"a/b/c").unwrap();
        cursor.directory(b"a/link/c").unwrap_err();
        cursor.directory(b"a/gone/c").unwrap_err();
        let inode = std::fs::metadata(folder.path().join("a/b/c")).unwrap().ino();
        assert_eq!(fstat(cursor.directory(b"a/b/c").unwrap()).unwrap().st_ino, inode);
        let (parent, name) = cursor.parent(b"a/b/c").unwrap();
        let expected = std::fs::metadata(folder.path().join("a/b")).unwrap().ino();
        assert_eq!((fstat(parent).unwrap().st_ino, name), (expected, OsStr::new("c")));
    }
}
