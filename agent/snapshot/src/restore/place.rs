//! Entries get their names: directories, renames of what was staged, links,
//! FIFOs, and in the end what directories say of themselves.

use std::{ffi::OsStr, os::unix::ffi::OsStrExt as _};

use remora_agent_root::EntryKind;
use rustix::{
    fs::{
        AtFlags, FileType, Mode, OFlags, fchmod, fstat, linkat, mkdirat, mknodat, openat, renameat, statat, symlinkat,
    },
    io::Errno,
};

use super::{
    Restorer,
    fetch::staged_name,
    plan::{Action, Plan},
    remove::Staging,
};
use crate::{
    SnapshotError,
    format::{Class, Entry, Node},
    manifest::continues,
    tree::{Cursor, apply, apply_to_link, differs},
};

/// What an owner needs to put entries into a directory and take them out.
const OWNERS_RIGHTS: u32 = 0o700;

impl Restorer {
    /// Makes the directories that are missing; in all of them entries can be made
    /// from now on.
    pub(super) fn make_directories(&mut self, plan: &Plan, staging: &mut Staging) -> Result<(), SnapshotError> {
        for at in 0..self.manifest.len() {
            self.check_cancelled()?;
            let page = self.page(at)?;
            for (record, entry) in page.entries.iter().enumerate().filter(|(_, entry)| entry.node == Node::Directory) {
                if plan.action(at, record) == Action::Make {
                    self.make_directory(staging, entry)?;
                } else {
                    let fd = self.cursor.directory(&entry.path)?;
                    let stat = fstat(fd).map_err(|errno| SnapshotError::file("look at", &entry.path, errno))?;
                    if stat.st_mode & OWNERS_RIGHTS != OWNERS_RIGHTS {
                        fchmod(fd, Mode::from_raw_mode(stat.st_mode & 0o777 | OWNERS_RIGHTS))
                            .map_err(|errno| SnapshotError::file("change the mode of", &entry.path, errno))?;
                    }
                }
            }
        }
        Ok(())
    }

    fn make_directory(&mut self, staging: &mut Staging, entry: &Entry) -> Result<(), SnapshotError> {
        let failed = |errno| SnapshotError::file("make the directory", &entry.path, errno);
        let mode = Mode::from_raw_mode(OWNERS_RIGHTS);
        let (directory, name) = self.cursor.parent(&entry.path)?;
        match mkdirat(directory, name, mode) {
            Ok(()) => return Ok(()),
            Err(Errno::EXIST) => {}
            Err(errno) => return Err(failed(errno)),
        }
        let there = statat(directory, name, AtFlags::SYMLINK_NOFOLLOW).map_err(failed)?;
        if EntryKind::of_mode(there.st_mode) == EntryKind::Directory {
            return Ok(());
        }
        self.move_aside(staging, &entry.path)?;
        let (directory, name) = self.cursor.parent(&entry.path)?;
        mkdirat(directory, name, mode).map_err(failed)
    }

    /// Puts everything of `class` but directories into its place. With `in_place`
    /// files are there already.
    pub(super) fn place(
        &mut self,
        plan: &Plan,
        staging: &mut Staging,
        class: Class,
        in_place: bool,
    ) -> Result<(), SnapshotError> {
        let mut firsts = Cursor::new(self.root.clone());
        for at in 0..self.manifest.len() {
            let page = self.page(at)?;
            for (record, entry) in page.entries.iter().enumerate() {
                let action = plan.action(at, record);
                if action == Action::Keep || continues(entry) {
                    continue;
                }
                let due = match &entry.node {
                    Node::Hardlink { first } => plan.class_of_name(entry, first),
                    _ => entry.class,
                };
                if due != class {
                    continue;
                }
                self.check_cancelled()?;
                match (&entry.node, action) {
                    (Node::Directory, _) => {}
                    (Node::File(_), Action::Write) if in_place => {}
                    (Node::File(_), Action::Write) => self.install(staging, &staged_name(at, record), entry)?,
                    (Node::File(_), _) => self.adjust(entry)?,
                    (Node::Symlink { .. } | Node::Fifo | Node::Hardlink { .. }, _) => {
                        let name = staged_name(at, record);
                        self.stage(staging, &mut firsts, &name, entry)?;
                        self.install(staging, &name, entry)?;
                    }
                }
            }
        }
        Ok(())
    }

    /// Makes a link, FIFO or further name in the staging folder.
    fn stage(
        &mut self,
        staging: &Staging,
        firsts: &mut Cursor,
        name: &[u8],
        entry: &Entry,
    ) -> Result<(), SnapshotError> {
        let failed = |errno| SnapshotError::file("make", &entry.path, errno);
        let (into, name) = (staging.directory(), OsStr::from_bytes(name));
        match &entry.node {
            Node::Symlink { target } => {
                symlinkat(OsStr::from_bytes(target), into, name).map_err(failed)?;
                apply_to_link(into, name, entry, &mut self.done.refused)
            }
            Node::Fifo => {
                mknodat(into, name, FileType::Fifo, Mode::from_raw_mode(0o600), 0).map_err(failed)?;
                // For both directions, so that opening it waits for nobody.
                let flags = OFlags::RDWR | OFlags::NONBLOCK | OFlags::NOFOLLOW | OFlags::CLOEXEC;
                let fd = openat(into, name, flags, Mode::empty()).map_err(failed)?;
                apply(&fd, entry, &mut self.done.refused)
            }
            Node::Hardlink { first } => {
                let (directory, first) = firsts.parent(first)?;
                linkat(directory, first, into, name, AtFlags::empty()).map_err(failed)
            }
            Node::Directory | Node::File(_) => Ok(()),
        }
    }

    /// Gives what is staged as `name` the path of `entry`, in place of whatever has it.
    fn install(&mut self, staging: &mut Staging, name: &[u8], entry: &Entry) -> Result<(), SnapshotError> {
        let name = OsStr::from_bytes(name);
        let (directory, last) = self.cursor.parent(&entry.path)?;
        let mut result = renameat(staging.directory(), name, directory, last);
        if matches!(result, Err(Errno::ISDIR | Errno::NOTEMPTY | Errno::EXIST)) {
            self.move_aside(staging, &entry.path)?;
            let (directory, last) = self.cursor.parent(&entry.path)?;
            result = renameat(staging.directory(), name, directory, last);
        }
        result.map_err(|errno| SnapshotError::file("replace", &entry.path, errno))
    }

    /// Takes what is at `path` out of the way, whole and at once; it goes with the
    /// staging folder.
    pub(super) fn move_aside(&mut self, staging: &mut Staging, path: &[u8]) -> Result<(), SnapshotError> {
        let name = staging.name_of_old();
        let (directory, last) = self.cursor.parent(path)?;
        match renameat(directory, last, staging.directory(), name) {
            Ok(()) => self.done.entries_removed += 1,
            Err(Errno::NOENT) => {}
            Err(errno) => return Err(SnapshotError::file("move aside", path, errno)),
        }
        // What was below it may be open here.
        self.cursor.forget();
        Ok(())
    }

    /// Sets owner, mode, time and attributes of a file whose content is right.
    fn adjust(&mut self, entry: &Entry) -> Result<(), SnapshotError> {
        let (directory, name) = self.cursor.parent(&entry.path)?;
        let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let fd = openat(directory, name, flags, Mode::empty())
            .map_err(|errno| SnapshotError::file("open", &entry.path, errno))?;
        apply(&fd, entry, &mut self.done.refused)
    }

    /// Gives every directory its owner, mode, time and attributes, what lies below
    /// before what is above: a directory may end up closed to its owner.
    pub(super) fn settle_directories(&mut self) -> Result<(), SnapshotError> {
        self.cursor.forget();
        for at in (0..self.manifest.len()).rev() {
            self.check_cancelled()?;
            let page = self.page(at)?;
            for entry in page.entries.iter().rev().filter(|entry| entry.node == Node::Directory) {
                let failed = |errno| SnapshotError::file("look at", &entry.path, errno);
                let fd = self.cursor.directory(&entry.path)?;
                if differs(fd, &fstat(fd).map_err(failed)?, entry).map_err(failed)? {
                    apply(fd, entry, &mut self.done.refused)?;
                }
            }
        }
        Ok(())
    }
}
