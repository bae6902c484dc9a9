//! [`Root`]: a directory that nothing resolved through it leaves.

use std::{
    ffi::{OsStr, OsString},
    os::{
        fd::{AsFd, BorrowedFd, OwnedFd},
        unix::ffi::OsStrExt as _,
    },
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use rustix::{
    fs::{Mode, OFlags, Stat, fstat, mkdirat, open, openat, readlinkat},
    io::Errno,
};

use crate::{EntryKind, ReadDir, RelPath, RootError, kernel, limits::MAX_SYMLINKS, read_dir, rel_path::shown, walk};

/// Who resolves. Both give the same guarantee.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Resolver {
    /// `openat2`, Linux 5.6 and later.
    Kernel,
    /// A descriptor for each component, anywhere.
    Walk,
}

/// An open directory through which a client's paths are resolved. Cloning
/// shares the descriptor.
#[derive(Clone, Debug)]
pub struct Root {
    dir: Arc<OwnedFd>,
    /// Set once the kernel turned out to have no `openat2`.
    walks: Arc<AtomicBool>,
}

const DIRECTORY: OFlags = OFlags::DIRECTORY.union(OFlags::CLOEXEC);

impl Root {
    /// Opens the directory at `path`, an operator's own path that may pass links.
    pub fn open(path: impl AsRef<Path>) -> Result<Root, RootError> {
        let root = Root::open_with(path, Resolver::Kernel)?;
        root.walks.store(!kernel::available(root.as_fd()), Ordering::Relaxed);
        Ok(root)
    }

    /// Like [`Root::open`], with the resolver that the caller names.
    pub fn open_with(path: impl AsRef<Path>, resolver: Resolver) -> Result<Root, RootError> {
        let path = path.as_ref();
        let dir = open(path, OFlags::RDONLY | DIRECTORY, Mode::empty()).map_err(|errno| RootError::System {
            action: "open the root",
            path: shown(path.as_os_str().as_bytes()),
            errno,
        })?;
        Ok(Root { dir: Arc::new(dir), walks: Arc::new(AtomicBool::new(resolver == Resolver::Walk)) })
    }

    /// Who resolves for this root now.
    pub fn resolver(&self) -> Resolver {
        if self.walks.load(Ordering::Relaxed) { Resolver::Walk } else { Resolver::Kernel }
    }

    /// The directory `prefix` below this root as a root of its own.
    pub fn sub(&self, prefix: &RelPath) -> Result<Root, RootError> {
        let dir = self.open_dir(prefix)?;
        Ok(Root { dir: Arc::new(dir), walks: Arc::clone(&self.walks) })
    }

    /// Opens `path` with `flags`, below this root or not at all. `action` is the
    /// verb of the message where it fails.
    pub fn open_flags(
        &self,
        action: &'static str,
        path: &RelPath,
        flags: OFlags,
        mode: Mode,
    ) -> Result<OwnedFd, RootError> {
        self.resolve(path, flags | OFlags::CLOEXEC, mode).map_err(|errno| RootError::system(action, path, errno))
    }

    fn resolve(&self, path: &RelPath, flags: OFlags, mode: Mode) -> Result<OwnedFd, Errno> {
        let bytes = if path.is_root() { b"." } else { path.as_bytes() };
        if self.resolver() == Resolver::Kernel {
            match kernel::open(self.as_fd(), bytes, flags, mode) {
                kernel::Answer::Final(result) => return result,
                kernel::Answer::Missing => self.walks.store(true, Ordering::Relaxed),
                kernel::Answer::Raced => {}
            }
        }
        walk::open(self.as_fd(), bytes, flags, mode)
    }

    /// Opens a regular file for reading. Never blocks and never takes anything
    /// else: not a FIFO without a writer, not a device, not a terminal.
    pub fn open_read(&self, path: &RelPath) -> Result<OwnedFd, RootError> {
        // A look without opening first: merely opening some devices acts.
        self.regular(path, &fstat_of(&self.open_path(path, true)?, path)?)?;
        let fd = self.open_flags("open", path, OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY, Mode::empty())?;
        self.regular(path, &fstat_of(&fd, path)?)?;
        Ok(fd)
    }

    fn regular(&self, path: &RelPath, stat: &Stat) -> Result<(), RootError> {
        match EntryKind::of_mode(stat.st_mode) {
            EntryKind::File => Ok(()),
            EntryKind::Directory => Err(RootError::IsDirectory { path: path.to_string() }),
            kind => Err(RootError::NotRegular { path: path.to_string(), kind: kind.as_str() }),
        }
    }

    /// Opens a directory for reading its entries and as a base for names.
    pub fn open_dir(&self, path: &RelPath) -> Result<OwnedFd, RootError> {
        self.open_flags("open the directory", path, OFlags::RDONLY | DIRECTORY, Mode::empty())
    }

    /// Like [`Root::open_dir`], but no component may be a link: for paths that say
    /// where something lies and not how a client reaches it.
    pub fn open_dir_without_links(&self, path: &RelPath) -> Result<OwnedFd, RootError> {
        const NO_LINK: OFlags = DIRECTORY.union(OFlags::NOFOLLOW);
        let refused = |errno| RootError::system("open the directory", path, errno);
        if path.climbs() {
            return Err(RootError::PathInvalid { path: path.to_string(), problem: "it contains '..'" });
        }
        let mut names = path.components();
        let Some(last) = names.next_back() else {
            return openat(self, ".", OFlags::RDONLY | NO_LINK, Mode::empty()).map_err(refused);
        };
        let mut here: Option<OwnedFd> = None;
        for name in names {
            let above = here.as_ref().map_or(self.as_fd(), |fd| fd.as_fd());
            here = Some(openat(above, name, OFlags::PATH | NO_LINK, Mode::empty()).map_err(refused)?);
        }
        let above = here.as_ref().map_or(self.as_fd(), |fd| fd.as_fd());
        openat(above, last, OFlags::RDONLY | NO_LINK, Mode::empty()).map_err(refused)
    }

    /// Opens the directory that holds `path` and returns it with the last name,
    /// which is not looked at and may not exist.
    pub fn open_parent(&self, path: &RelPath) -> Result<(OwnedFd, OsString), RootError> {
        let (Some(name), Some(parent)) = (path.file_name(), path.parent()) else {
            return Err(RootError::PathInvalid {
                path: path.to_string(),
                problem: "it must name an entry below the root, not the root itself or '..'",
            });
        };
        // The message names the whole path: it is the one the caller knows.
        let dir = self
            .resolve(&parent, OFlags::RDONLY | DIRECTORY, Mode::empty())
            .map_err(|errno| RootError::system("open the directory of", path, errno))?;
        Ok((dir, name.to_owned()))
    }

    /// Like [`Root::open_parent`], but where the last name is a link, it goes on
    /// to what the link names: the place where a write through the link lands.
    pub fn open_parent_following(&self, path: &RelPath) -> Result<(OwnedFd, OsString), RootError> {
        let mut place = path.clone();
        for _ in 0..=MAX_SYMLINKS {
            let (dir, name) = self.open_parent(&place)?;
            let target = match readlinkat(&dir, &name, Vec::new()) {
                Ok(target) => target.into_bytes(),
                Err(Errno::INVAL | Errno::NOENT) => return Ok((dir, name)),
                Err(errno) => return Err(RootError::system("read the link", path, errno)),
            };
            if target.first() == Some(&b'/') {
                return Err(RootError::Escapes { path: path.to_string() });
            }
            // Links of procfs are refused by the resolver as soon as one is followed.
            self.open_path(&place, true)
                .map(drop)
                .or_else(|error| if error.is_not_found() { Ok(()) } else { Err(error) })?;
            place = RelPath::of_link(&place.parent().unwrap_or_default(), &target);
        }
        Err(RootError::Loop { path: path.to_string() })
    }

    /// A descriptor that only names `path` (`O_PATH`): for a look at anything,
    /// also what may not be read. With `follow` a last link is followed.
    pub fn open_path(&self, path: &RelPath, follow: bool) -> Result<OwnedFd, RootError> {
        let flags = if follow { OFlags::PATH } else { OFlags::PATH | OFlags::NOFOLLOW };
        self.open_flags("find", path, flags, Mode::empty())
    }

    /// What is at `path`.
    pub fn stat(&self, path: &RelPath, follow: bool) -> Result<Stat, RootError> {
        fstat_of(&self.open_path(path, follow)?, path)
    }

    /// The entries of the directory at `path`.
    pub fn read_dir(&self, path: &RelPath) -> Result<ReadDir, RootError> {
        read_dir(self.open_dir(path)?).map_err(|errno| RootError::system("list", path, errno))
    }

    /// The target of the link at `path`, as its bytes.
    pub fn read_link(&self, path: &RelPath) -> Result<Vec<u8>, RootError> {
        let link = self.open_path(path, false)?;
        match readlinkat(&link, "", Vec::new()) {
            Ok(target) => Ok(target.into_bytes()),
            // ENOENT is how the system says that the descriptor is of no link.
            Err(Errno::NOENT | Errno::INVAL) => Err(RootError::System {
                action: "read the link",
                path: format!("{path}, which is no symbolic link"),
                errno: Errno::INVAL,
            }),
            Err(errno) => Err(RootError::system("read the link", path, errno)),
        }
    }

    /// Makes the directory at `path` and those above it that do not exist, with
    /// `mode` before the umask, and opens it. Existing ones are left as they are.
    pub fn mkdir_all(&self, path: &RelPath, mode: Mode) -> Result<OwnedFd, RootError> {
        let (mut here, missing) = self.deepest(path)?;
        for name in missing {
            match mkdirat(&here, name, mode) {
                Ok(()) | Err(Errno::EXIST) => {}
                Err(errno) => return Err(RootError::system("make the directory", path, errno)),
            }
            // What is there now is this directory or another's, never a link's target.
            here = openat(&here, name, OFlags::RDONLY | OFlags::NOFOLLOW | DIRECTORY, Mode::empty())
                .map_err(|errno| RootError::system("open the directory", path, errno))?;
        }
        Ok(here)
    }

    /// The deepest directory on the way to `path` that exists, and the names below it.
    fn deepest<'path>(&self, path: &'path RelPath) -> Result<(OwnedFd, Vec<&'path OsStr>), RootError> {
        let names: Vec<&OsStr> = path.components().collect();
        let mut prefix = path.clone();
        loop {
            match self.resolve(&prefix, OFlags::RDONLY | DIRECTORY, Mode::empty()) {
                Ok(dir) => {
                    let missing = names[prefix.components().count()..].to_vec();
                    if missing.iter().any(|name| *name == "..") {
                        return Err(RootError::PathInvalid {
                            path: path.to_string(),
                            problem: "its '..' follows a directory that does not exist",
                        });
                    }
                    return Ok((dir, missing));
                }
                Err(Errno::NOENT) => match prefix.parent() {
                    Some(parent) => prefix = parent,
                    None => return Err(RootError::system("open the directory", path, Errno::NOENT)),
                },
                Err(errno) => return Err(RootError::system("open the directory", path, errno)),
            }
        }
    }
}

impl AsFd for Root {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.dir.as_fd()
    }
}

fn fstat_of(fd: &OwnedFd, path: &RelPath) -> Result<Stat, RootError> {
    fstat(fd).map_err(|errno| RootError::system("look at", path, errno))
}

#[cfg(test)]
mod tests {
    use std::{
        fs,
        os::unix::{fs::symlink, net::UnixListener},
    };

    use remora_proto_model::Reason;

    use super::*;

    const BOTH: [Resolver; 2] = [Resolver::Kernel, Resolver::Walk];

    fn path(text: &str) -> RelPath {
        RelPath::new(text).unwrap()
    }

    /// A workspace `in` with a file, next to a secret.
    fn fixture() -> tempfile::TempDir {
        let temp = tempfile::tempdir().unwrap();
        fs::create_dir_all(temp.path().join("in/dir/deep")).unwrap();
        fs::write(temp.path().join("in/dir/file"), "inside").unwrap();
        fs::write(temp.path().join("secret"), "outside").unwrap();
        temp
    }

    #[test]
    fn a002_links_out_around_and_in_circles_are_refused_by_both() {
        let temp = fixture();
        let base = temp.path().join("in");
        symlink("/etc/passwd", base.join("absolute")).unwrap();
        symlink("../secret", base.join("relative")).unwrap();
        symlink("dir/../../secret", base.join("through")).unwrap();
        symlink("relative", base.join("chained")).unwrap();
        symlink("self", base.join("self")).unwrap();
        symlink("..", base.join("up")).unwrap();
        symlink("dir/file", base.join("link0")).unwrap();
        for number in 1..=41 {
            symlink(format!("link{}", number - 1), base.join(format!("link{number}"))).unwrap();
        }
        symlink("../dir/deep/../file", base.join("dir/fine")).unwrap();
        for resolver in BOTH {
            let root = Root::open_with(&base, resolver).unwrap();
            let reason = |name: &str| root.open_read(&path(name)).unwrap_err().reason();
            for name in ["absolute", "relative", "through", "chained", "up/secret"] {
                assert_eq!(reason(name), Reason::PathEscapesRoot, "{name} by {resolver:?}");
            }
            assert_eq!(reason("self"), Reason::SymlinkLoop, "{resolver:?}");
            assert_eq!(reason("link40"), Reason::SymlinkLoop, "{resolver:?}");
            assert!(root.open_read(&path("link39")).is_ok(), "{resolver:?}");
            assert!(root.open_read(&path("dir/fine")).is_ok(), "{resolver:?}");
            assert_eq!(root.read_link(&path("absolute")).unwrap(), b"/etc/passwd", "{resolver:?}");
        }
    }

    #[test]
    fn a007_links_of_procfs_are_refused_by_both() {
        for resolver in BOTH {
            let root = Root::open_with("/proc", resolver).unwrap();
            let own = std::process::id();
            for name in ["root", "cwd", "exe", "fd/0"] {
                let error = root.open_path(&path(&format!("{own}/{name}")), true).unwrap_err();
                assert_eq!(error.reason(), Reason::SymlinkLoop, "{name} by {resolver:?}");
            }
            let error = root.open_path(&path(&format!("{own}/root/etc/passwd")), true).unwrap_err();
            assert_eq!(error.reason(), Reason::SymlinkLoop, "{resolver:?}");
        }
    }

    #[test]
    fn a008_a009_only_regular_files_are_opened() {
        let temp = fixture();
        let base = temp.path().join("in");
        rustix::fs::mknodat(rustix::fs::CWD, base.join("fifo"), rustix::fs::FileType::Fifo, Mode::RWXU, 0).unwrap();
        let _listener = UnixListener::bind(base.join("socket")).unwrap();
        for resolver in BOTH {
            let root = Root::open_with(&base, resolver).unwrap();
            for name in ["fifo", "socket"] {
                assert_eq!(root.open_read(&path(name)).unwrap_err().reason(), Reason::NotARegularFile, "{name}");
                assert!(root.stat(&path(name), true).is_ok());
            }
            assert_eq!(root.open_read(&path("dir")).unwrap_err().reason(), Reason::IsADirectory);
            let dev = Root::open_with("/dev", resolver).unwrap();
            assert_eq!(dev.open_read(&path("zero")).unwrap_err().reason(), Reason::NotARegularFile);
        }
    }

    #[test]
    fn names_of_every_byte_round_trip() {
        let temp = fixture();
        let odd: Vec<u8> = (1..=255).filter(|byte| *byte != b'/').collect();
        for resolver in BOTH {
            let root = Root::open_with(temp.path().join("in"), resolver).unwrap();
            let odd = RelPath::new(&odd[..]).unwrap();
            root.mkdir_all(&odd, Mode::RWXU).unwrap();
            let found: Vec<_> = root.read_dir(&RelPath::root()).unwrap().map(|entry| entry.unwrap().name).collect();
            assert!(found.iter().any(|name| name.as_bytes() == odd.as_bytes()), "{resolver:?}");
            rustix::fs::unlinkat(&root, odd.as_path(), rustix::fs::AtFlags::REMOVEDIR).unwrap();
        }
    }

    #[test]
    fn mkdir_all_makes_what_is_missing_and_stays_inside() {
        let temp = fixture();
        let base = temp.path().join("in");
        symlink("dir", base.join("link")).unwrap();
        symlink("../gone", base.join("out")).unwrap();
        for resolver in BOTH {
            let root = Root::open_with(&base, resolver).unwrap();
            root.mkdir_all(&path("link/x/y/z"), Mode::RWXU).unwrap();
            assert!(base.join("dir/x/y/z").is_dir());
            fs::remove_dir_all(base.join("dir/x")).unwrap();
            assert!(root.mkdir_all(&path("out/x"), Mode::RWXU).is_err());
            assert!(!temp.path().join("gone").exists());
            assert_eq!(root.mkdir_all(&path("dir/file/x"), Mode::RWXU).unwrap_err().reason(), Reason::NotADirectory);
            assert_eq!(root.mkdir_all(&path("no/../x"), Mode::RWXU).unwrap_err().reason(), Reason::PathInvalid);
        }
    }

    #[test]
    fn the_parent_of_a_link_is_where_a_write_through_it_lands() {
        let temp = fixture();
        let base = temp.path().join("in");
        symlink("../file", base.join("dir/deep/link")).unwrap();
        symlink("../../secret", base.join("dir/out")).unwrap();
        symlink("not-yet", base.join("dangling")).unwrap();
        for resolver in BOTH {
            let root = Root::open_with(&base, resolver).unwrap();
            let (dir, name) = root.open_parent_following(&path("dir/deep/link")).unwrap();
            assert_eq!(name, "file");
            assert_eq!(fstat(&dir).unwrap().st_ino, root.stat(&path("dir"), true).unwrap().st_ino);
            assert_eq!(root.open_parent_following(&path("dir/out")).unwrap_err().reason(), Reason::PathEscapesRoot);
            assert_eq!(root.open_parent_following(&path("dangling")).unwrap().1, "not-yet");
            assert_eq!(root.open_parent(&RelPath::root()).unwrap_err().reason(), Reason::PathInvalid);
        }
    }

    #[test]
    fn a_place_is_reached_through_no_link_at_all() {
        let temp = fixture();
        let base = temp.path().join("in");
        symlink("dir", base.join("inside")).unwrap();
        symlink("..", base.join("dir/up")).unwrap();
        let root = Root::open(&base).unwrap();
        let open = |text: &str| root.open_dir_without_links(&path(text));
        for good in ["", "dir", "dir/deep"] {
            let fd = open(good).unwrap();
            assert_eq!(fstat(&fd).unwrap().st_ino, root.stat(&path(good), true).unwrap().st_ino, "{good}");
        }
        for link in ["inside", "inside/deep", "dir/up", "dir/up/dir", "dir/file"] {
            assert!(open(link).is_err(), "{link}");
        }
        assert_eq!(open("dir/../dir").unwrap_err().reason(), Reason::PathInvalid);
        assert!(open("gone").unwrap_err().is_not_found());
    }

    #[test]
    fn a_sub_root_is_as_tight() {
        let temp = fixture();
        let base = temp.path().join("in");
        symlink("../file", base.join("dir/deep/link")).unwrap();
        for resolver in BOTH {
            let sub = Root::open_with(&base, resolver).unwrap().sub(&path("dir/deep")).unwrap();
            assert_eq!(sub.open_read(&path("link")).unwrap_err().reason(), Reason::PathEscapesRoot, "{resolver:?}");
            assert_eq!(sub.resolver(), resolver);
        }
    }

    #[test]
    fn the_walk_goes_back_by_the_way_it_came_and_no_deeper_than_its_bound() {
        let temp = fixture();
        let root = Root::open_with(temp.path().join("in"), Resolver::Walk).unwrap();
        let deep = "d/".repeat(300);
        root.mkdir_all(&path(&deep), Mode::RWXU).unwrap();
        assert!(root.open_dir(&path(&format!("{deep}{}", "../".repeat(200)))).is_ok());
        assert_eq!(
            root.open_dir(&path(&format!("{deep}{}", "../".repeat(299)))).unwrap_err().reason(),
            Reason::PathInvalid
        );
        assert!(root.open_dir(&path("dir/deep/../..")).is_ok());
    }
}
