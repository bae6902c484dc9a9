//! What goes: entries that the snapshot lacks, and the staging folder.

use std::{
    cmp::Ordering,
    ffi::{OsStr, OsString},
    os::{
        fd::{AsFd as _, BorrowedFd},
        unix::ffi::OsStrExt as _,
    },
    sync::Arc,
};

use remora_agent_root::{EntryKind, RelPath, Root};
use rustix::{
    fs::{AtFlags, Mode, fchmod, fstat, mkdirat, unlinkat},
    io::Errno,
};

use super::{Living, Restorer, is_ours_or_the_systems, until};
use crate::{
    SnapshotError,
    format::path_order,
    manifest::continues,
    tree::{Cursor, Ignored, Step, Walk},
};

/// How the names of staging folders begin. No snapshot holds such names.
const STAGING_PREFIX: &[u8] = b".remora-tmp-restore-";

/// Whether the entry `name` of a workspace's root is a staging folder.
pub(super) fn is_staging(name: &[u8]) -> bool {
    name.starts_with(STAGING_PREFIX)
}

/// A folder at the top of the workspace, on its file system, for what has no
/// place yet and what has none any more.
#[derive(Debug)]
pub(super) struct Staging {
    top: Root,
    name: OsString,
    folder: Root,
    old: u64,
}

impl Staging {
    pub(super) fn new(top: &Root) -> Result<Self, SnapshotError> {
        let unique = uuid::Uuid::new_v4().simple().to_string();
        let name = [STAGING_PREFIX, unique.as_bytes()].concat();
        mkdirat(top, OsStr::from_bytes(&name), Mode::RWXU)
            .map_err(|errno| SnapshotError::file("make the directory", &name, errno))?;
        let folder = top.sub(&RelPath::new(&name)?)?;
        Ok(Staging { top: top.clone(), name: OsStr::from_bytes(&name).to_owned(), folder, old: 0 })
    }

    pub(super) fn directory(&self) -> BorrowedFd<'_> {
        self.folder.as_fd()
    }

    /// A name for something that is moved out of the way.
    pub(super) fn name_of_old(&mut self) -> OsString {
        self.old += 1;
        OsString::from(format!("old-{:x}", self.old))
    }

    /// Removes the folder and all in it.
    pub(super) fn clear(self) -> Result<(), SnapshotError> {
        clear(&self.folder, &|_, _| false)?;
        remove(self.top.as_fd(), &self.name, true)
            .map_err(|errno| SnapshotError::file("remove", self.name.as_bytes(), errno))
    }
}

/// Removes the staging folders that killed restores left.
pub(super) fn sweep(top: &Root) -> Result<(), SnapshotError> {
    let names: Vec<OsString> = top
        .read_dir(&RelPath::root())?
        .filter_map(|entry| entry.ok().map(|entry| entry.name))
        .filter(|name| is_staging(name.as_bytes()))
        .collect();
    for name in names {
        match top.open_dir_without_links(&RelPath::new(name.as_bytes())?) {
            Ok(_) => {
                let folder = top.sub(&RelPath::new(name.as_bytes())?)?;
                Staging { top: top.clone(), name, folder, old: 0 }.clear()?;
            }
            Err(_) => remove(top.as_fd(), &name, false)
                .map_err(|errno| SnapshotError::file("remove", name.as_bytes(), errno))?,
        }
    }
    Ok(())
}

/// Removes all that is below `root` and not `ignored`; how many entries that were.
pub(super) fn clear(root: &Root, ignored: Ignored<'_>) -> Result<u64, SnapshotError> {
    let mut extras = Extras::new(root);
    let mut walk = Walk::new(root.clone(), ignored)?;
    while let Some(step) = walk.step()? {
        match step {
            Step::Entry(found) => extras.add(&found.path, found.kind())?,
            Step::Leave(path) => extras.leave(&path)?,
        }
    }
    Ok(extras.removed)
}

impl Restorer {
    /// Removes what the snapshot lacks. It looks again at what is there, so what
    /// came meanwhile goes too.
    pub(super) fn remove_extras(&mut self) -> Result<(), SnapshotError> {
        let keep_out = Arc::clone(&self.keep_out);
        let ignored = move |path: &[u8], kind: EntryKind| is_ours_or_the_systems(path) || keep_out(path, kind);
        let mut living = Living::new(Walk::new(self.root.clone(), &ignored)?)?;
        let mut extras = Extras::new(&self.root);
        for at in 0..self.manifest.len() {
            let page = until(&self.runtime, &self.cancel, self.manifest.page(at))?;
            for entry in page.entries.iter().filter(|entry| !continues(entry)) {
                self.check_cancelled()?;
                extras.up_to(&mut living, Some(&entry.path))?;
            }
        }
        extras.up_to(&mut living, None)?;
        self.done.entries_removed += extras.removed;
        Ok(())
    }
}

/// Entries on their way out: directories wait until they are empty.
struct Extras {
    cursor: Cursor,
    /// Directories that go, in the order they were met.
    waiting: Vec<Vec<u8>>,
    removed: u64,
}

impl Extras {
    fn new(root: &Root) -> Self {
        Extras { cursor: Cursor::new(root.clone()), waiting: Vec::new(), removed: 0 }
    }

    /// Takes all steps before `kept`, or all there are, and that one itself.
    fn up_to(&mut self, living: &mut Living<'_>, kept: Option<&[u8]>) -> Result<(), SnapshotError> {
        loop {
            match living.peek() {
                None => return Ok(()),
                Some(Step::Leave(path)) => self.leave(path)?,
                Some(Step::Entry(found)) => match kept.map_or(Ordering::Less, |kept| path_order(&found.path, kept)) {
                    Ordering::Less => self.add(&found.path, found.kind())?,
                    Ordering::Equal => return living.take().map(drop),
                    Ordering::Greater => return Ok(()),
                },
            }
            living.take()?;
        }
    }

    fn add(&mut self, path: &[u8], kind: EntryKind) -> Result<(), SnapshotError> {
        if kind == EntryKind::Directory {
            self.waiting.push(path.to_vec());
            return Ok(());
        }
        self.remove(path, false)
    }

    fn leave(&mut self, path: &[u8]) -> Result<(), SnapshotError> {
        if self.waiting.last().is_some_and(|last| last == path) {
            self.waiting.pop();
            self.remove(path, true)?;
        }
        Ok(())
    }

    fn remove(&mut self, path: &[u8], directory: bool) -> Result<(), SnapshotError> {
        let (above, name) = self.cursor.parent(path)?;
        match remove(above, name, directory) {
            Ok(()) => self.removed += 1,
            // It holds something that the rules keep out of all this.
            Err(Errno::NOTEMPTY | Errno::EXIST) if directory => {}
            Err(errno) => return Err(SnapshotError::file("remove", path, errno)),
        }
        Ok(())
    }
}

/// Removes one entry, which may be gone already. A directory that its owner closed
/// is opened for that.
fn remove(above: BorrowedFd<'_>, name: &OsStr, directory: bool) -> Result<(), Errno> {
    let flags = if directory { AtFlags::REMOVEDIR } else { AtFlags::empty() };
    let mut result = unlinkat(above, name, flags);
    if result == Err(Errno::ACCESS) {
        let mode = fstat(above)?.st_mode & 0o777;
        fchmod(above, Mode::from_raw_mode(mode | 0o700))?;
        result = unlinkat(above, name, flags);
    }
    match result {
        Err(Errno::NOENT) => Ok(()),
        result => result,
    }
}
