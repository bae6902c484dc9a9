//! Contents: from the store into files.

use std::{
    ffi::OsStr,
    os::{
        fd::{AsFd as _, BorrowedFd, OwnedFd},
        unix::ffi::OsStrExt as _,
    },
};

use rustix::{
    fs::{Mode, OFlags, ftruncate, openat},
    io::{Errno, pwrite},
};

use super::{
    Restorer,
    frames::Frames,
    plan::{Action, Plan, stored_bytes},
    remove::Staging,
};
use crate::{
    Counts, SnapshotError, Stage,
    format::{Class, Content, Entry, Node},
    shown,
    tree::apply,
};

/// A file that is being written.
struct Open {
    fd: OwnedFd,
    /// Where the next chunk's hole begins.
    position: u64,
}

impl Restorer {
    /// Fetches and writes the files of `class` at their places, or with `None` all
    /// of them into the staging folder.
    pub(super) fn fetch(
        &mut self,
        plan: &Plan,
        staging: &mut Staging,
        class: Option<Class>,
        counts: &mut Counts,
    ) -> Result<(), SnapshotError> {
        let mut open: Option<Open> = None;
        for at in 0..self.manifest.len() {
            if !plan.writes(at) {
                continue;
            }
            let page = self.page(at)?;
            let wanted = |record: usize, entry: &Entry| {
                plan.action(at, record) == Action::Write && class.is_none_or(|class| class == entry.class)
            };
            let jobs: Vec<(usize, &Entry)> =
                page.entries.iter().enumerate().filter(|(record, entry)| wanted(*record, entry)).collect();
            let uses: Vec<u32> = jobs.iter().flat_map(|(_, entry)| entry.chunks()).map(|chunk| chunk.frame).collect();
            let (runtime, lineage, cancel) = (self.runtime.clone(), self.lineage.clone(), self.cancel.clone());
            let mut frames = Frames::new(&runtime, &lineage, &cancel, &page.frames, &uses);
            for (record, entry) in jobs {
                self.check_cancelled()?;
                let Node::File(content) = &entry.node else { continue };
                let mut file = match open.take() {
                    Some(file) if content.start > 0 => file,
                    _ => Open { fd: self.create(plan, staging, class, (at, record), entry)?, position: 0 },
                };
                write(&mut file, entry, content, &mut frames)?;
                counts.bytes_done += stored_bytes(content);
                self.done.bytes_written += stored_bytes(content);
                if content.more {
                    open = Some(file);
                } else {
                    ftruncate(&file.fd, content.size)
                        .map_err(|errno| SnapshotError::file("set the length of", &entry.path, errno))?;
                    apply(&file.fd, entry, &mut self.done.refused)?;
                    counts.files_done += 1;
                    self.done.files_written += 1;
                }
                self.report(Stage::Fetch, *counts);
            }
        }
        Ok(())
    }

    fn create(
        &mut self,
        plan: &Plan,
        staging: &mut Staging,
        class: Option<Class>,
        (at, record): (usize, usize),
        entry: &Entry,
    ) -> Result<OwnedFd, SnapshotError> {
        debug_assert_eq!(plan.action(at, record), Action::Write);
        let failed = |errno| SnapshotError::file("create", &entry.path, errno);
        if class.is_none() {
            return create(staging.directory(), OsStr::from_bytes(&staged_name(at, record)), true).map_err(failed);
        }
        match self.cursor.parent(&entry.path).map(|(directory, name)| create(directory, name, false))? {
            Ok(fd) => Ok(fd),
            Err(Errno::EXIST) => {
                // Somebody puts entries into a workspace that is being filled.
                self.move_aside(staging, &entry.path)?;
                let (directory, name) = self.cursor.parent(&entry.path)?;
                create(directory, name, false).map_err(failed)
            }
            Err(errno) => Err(failed(errno)),
        }
    }
}

/// The name in the staging folder of the file whose first record is at this place.
pub(super) fn staged_name(at: usize, record: usize) -> Vec<u8> {
    format!("{at:x}-{record:x}").into_bytes()
}

fn create(directory: BorrowedFd<'_>, name: &OsStr, again: bool) -> Result<OwnedFd, Errno> {
    let once = if again { OFlags::TRUNC } else { OFlags::EXCL };
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::NOFOLLOW | OFlags::CLOEXEC | once;
    openat(directory, name, flags, Mode::from_raw_mode(0o600))
}

fn write(file: &mut Open, entry: &Entry, content: &Content, frames: &mut Frames<'_>) -> Result<(), SnapshotError> {
    for chunk in &content.chunks {
        let start = file.position + chunk.hole;
        let (from, length) = (chunk.offset as usize, chunk.length as usize);
        let put = |bytes: &[u8]| {
            write_all(file.fd.as_fd(), &bytes[from..from + length], start)
                .map_err(|errno| SnapshotError::file("write", &entry.path, errno))
        };
        frames.take(chunk.frame, put).map_err(|error| match error {
            SnapshotError::Damaged { object, problem } => {
                SnapshotError::Damaged { object, problem: format!("{problem}; \"{}\" needs it", shown(&entry.path)) }
            }
            error => error,
        })?;
        file.position = start + u64::from(chunk.length);
    }
    Ok(())
}

fn write_all(fd: BorrowedFd<'_>, mut bytes: &[u8], mut at: u64) -> Result<(), Errno> {
    while !bytes.is_empty() {
        match pwrite(fd, bytes, at) {
            Ok(written) => {
                bytes = &bytes[written..];
                at += written as u64;
            }
            Err(Errno::INTR) => {}
            Err(errno) => return Err(errno),
        }
    }
    Ok(())
}
