//! [`Comparison`]: whether a living file holds what a manifest says. By what was
//! seen of it when the snapshot was made where that is proof, else by its bytes.

use std::os::fd::OwnedFd;

use remora_agent_root::EntryKind;
use rustix::{
    fs::{Mode, OFlags, SeekFrom, Stat, fstat, openat, seek},
    io::{Errno, pread},
};
use tokio_util::sync::CancellationToken;

use super::plan::Action;
use crate::{
    SnapshotError,
    format::{BlobId, ClockReading, Content, Crypt, Entry, Node, Observed, Timestamp},
    limits::MAX_BLOB_BYTES,
    tree::{Cursor, Found, differs},
};

/// See the module.
pub(crate) struct Comparison {
    /// The file, as long as nothing differs.
    file: Option<(OwnedFd, Stat)>,
    /// Whether its bytes need not be read.
    proven: bool,
    /// Where the next chunk's hole begins.
    position: u64,
    buffer: Vec<u8>,
}

impl Comparison {
    /// Of the file `entry`, first record, with what is at its path. `names` is how
    /// many names its inode is to have.
    pub(crate) fn begin(
        cursor: &mut Cursor,
        entry: &Entry,
        found: Option<&Found>,
        names: u64,
        seen: (&Observed, &ClockReading),
    ) -> Result<Self, SnapshotError> {
        let mut comparison = Comparison { file: None, proven: false, position: 0, buffer: Vec::new() };
        let Node::File(content) = &entry.node else { return Ok(comparison) };
        let Some(found) = found.filter(|found| found.kind() == EntryKind::File) else { return Ok(comparison) };
        if found.stat.st_nlink != names || found.stat.st_size as u64 != content.size {
            return Ok(comparison);
        }
        let (directory, name) = cursor.parent(&entry.path)?;
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
        // What cannot be opened, for want of rights or because it changed, is written anew.
        let Ok(fd) = openat(directory, name, flags, Mode::empty()) else { return Ok(comparison) };
        let Ok(stat) = fstat(&fd) else { return Ok(comparison) };
        if (stat.st_dev, stat.st_ino, stat.st_size) == (found.stat.st_dev, found.stat.st_ino, found.stat.st_size) {
            comparison.proven = is_proven(&stat, entry.mtime, seen);
            comparison.file = Some((fd, stat));
        }
        Ok(comparison)
    }

    /// Compares the next record of the file; `blobs` are the ids of its chunks.
    pub(crate) fn add(
        &mut self,
        crypt: &Crypt,
        content: &Content,
        blobs: &[BlobId],
        cancel: &CancellationToken,
    ) -> Result<(), SnapshotError> {
        let Some((fd, _)) = &self.file else { return Ok(()) };
        if self.proven {
            return Ok(());
        }
        let mut same = true;
        for (chunk, blob) in content.chunks.iter().zip(blobs) {
            if cancel.is_cancelled() {
                return Err(SnapshotError::Cancelled);
            }
            let start = self.position + chunk.hole;
            self.buffer.resize(chunk.length as usize, 0);
            same = is_zero(fd, self.position, start)
                && read(fd, &mut self.buffer, start)
                && crypt.blob_id(&self.buffer) == *blob;
            if !same {
                break;
            }
            self.position = start + u64::from(chunk.length);
        }
        if same && !content.more {
            same = is_zero(fd, self.position, content.size);
        }
        if !same {
            self.file = None;
        }
        Ok(())
    }

    /// Device and inode of the file, where nothing differs.
    pub(crate) fn identity(&self) -> Option<(u64, u64)> {
        self.file.as_ref().map(|(_, stat)| (stat.st_dev, stat.st_ino))
    }

    /// What is to be done about the file.
    pub(crate) fn conclude(&self, entry: &Entry) -> Result<Action, SnapshotError> {
        let Some((fd, stat)) = &self.file else { return Ok(Action::Write) };
        match differs(fd, stat, entry) {
            Ok(true) => Ok(Action::Adjust),
            Ok(false) => Ok(Action::Keep),
            Err(errno) => Err(SnapshotError::file("read the attributes of", &entry.path, errno)),
        }
    }
}

/// Whether inode and times say that nothing was stored to the file since the scan
/// of the snapshot.
fn is_proven(stat: &Stat, mtime: Timestamp, (observed, clock): (&Observed, &ClockReading)) -> bool {
    let ctime = Timestamp { seconds: stat.st_ctime, nanos: stat.st_ctime_nsec as u32 };
    let changed = Timestamp { seconds: stat.st_mtime, nanos: stat.st_mtime_nsec as u32 };
    stat.st_ino == observed.inode
        && ctime == observed.ctime
        && changed == mtime
        && ctime < clock.racy_since
        && changed < clock.racy_since
}

/// Whether the file holds zeros only from `start` to `end`.
fn is_zero(fd: &OwnedFd, start: u64, end: u64) -> bool {
    let mut buffer = [0; 16 * 1024];
    let mut at = start;
    while at < end {
        match seek(fd, SeekFrom::Data(at)) {
            Ok(data) => at = data,
            Err(Errno::NXIO) => return true,
            // No word about holes on this file system: they are read.
            Err(_) => {}
        }
        if at >= end {
            break;
        }
        let length = (end - at).min(buffer.len() as u64) as usize;
        if !read(fd, &mut buffer[..length], at) || buffer[..length].iter().any(|byte| *byte != 0) {
            return false;
        }
        at += length as u64;
    }
    true
}

fn read(fd: &OwnedFd, buffer: &mut [u8], at: u64) -> bool {
    debug_assert!(buffer.len() <= MAX_BLOB_BYTES);
    let mut filled = 0;
    while filled < buffer.len() {
        match pread(fd, &mut buffer[filled..], at + filled as u64) {
            Ok(0) => return false,
            Ok(length) => filled += length,
            Err(Errno::INTR) => {}
            Err(_) => return false,
        }
    }
    true
}
