//! A file is read: holes skipped, contents cut, and all of it again where it
//! changed meanwhile.

use std::os::fd::OwnedFd;

use rustix::{
    fs::{FileType, SeekFrom, Stat, fstat, seek},
    io::{Errno, pread},
};
use tokio_util::sync::CancellationToken;

use super::{
    cut::Cut,
    packs::Packs,
    pages::{Pages, Placed},
};
use crate::{
    SnapshotError,
    limits::{MAX_BLOB_BYTES, MAX_FILE_BLOBS, MAX_READ_TRIES},
    shown,
};

/// A file as it was read.
pub(super) struct Read {
    pub(super) stat: Stat,
    pub(super) size: u64,
    pub(super) places: Vec<Placed>,
    /// Whether it changed each time.
    pub(super) fuzzy: bool,
}

/// Reads the file; `None` where it is no regular one any more.
pub(super) fn read(
    fd: &OwnedFd,
    path: &[u8],
    packs: &mut Packs,
    pages: &mut Pages,
    cancel: &CancellationToken,
) -> Result<Option<Read>, SnapshotError> {
    let failed = |errno| SnapshotError::file("read", path, errno);
    let mut tries = 0;
    loop {
        tries += 1;
        let before = fstat(fd).map_err(failed)?;
        if FileType::from_raw_mode(before.st_mode) != FileType::RegularFile {
            return Ok(None);
        }
        let mut reader = Reader { fd, path, packs, pages, cancel, places: Vec::new(), end: 0, buffer: Vec::new() };
        let whole = reader.content(before.st_size as u64)?;
        let (places, end) = (reader.places, reader.end);
        let after = fstat(fd).map_err(failed)?;
        let fuzzy = !whole || !unchanged(&before, &after);
        if !fuzzy || tries >= MAX_READ_TRIES {
            // The snapshot holds what was read last, whatever came after.
            let size = if whole { before.st_size as u64 } else { end };
            return Ok(Some(Read { stat: after, size, places, fuzzy }));
        }
    }
}

fn unchanged(a: &Stat, b: &Stat) -> bool {
    (a.st_size, a.st_mtime, a.st_mtime_nsec, a.st_ctime, a.st_ctime_nsec)
        == (b.st_size, b.st_mtime, b.st_mtime_nsec, b.st_ctime, b.st_ctime_nsec)
}

struct Reader<'a> {
    fd: &'a OwnedFd,
    path: &'a [u8],
    packs: &'a mut Packs,
    pages: &'a mut Pages,
    cancel: &'a CancellationToken,
    places: Vec<Placed>,
    /// Where the last blob ends.
    end: u64,
    /// Bytes that were read and are in no blob yet.
    buffer: Vec<u8>,
}

impl Reader<'_> {
    /// Reads up to `size`; whether all of it was there.
    fn content(&mut self, size: u64) -> Result<bool, SnapshotError> {
        let mut at = 0;
        while at < size {
            let (start, end) = self.extent(at, size)?;
            if start >= size {
                break;
            }
            let end = end.min(size);
            if !self.run(start, end, Cut::of(size))? {
                return Ok(false);
            }
            at = end;
        }
        Ok(true)
    }

    /// The next run of bytes from `at` on that is no hole.
    fn extent(&self, at: u64, size: u64) -> Result<(u64, u64), SnapshotError> {
        let failed = |errno| SnapshotError::file("find the holes of", self.path, errno);
        let start = match seek(self.fd, SeekFrom::Data(at)) {
            Ok(start) => start,
            Err(Errno::NXIO) => return Ok((size, size)),
            // A file system without a word for holes has none.
            Err(Errno::INVAL | Errno::NOTSUP) => return Ok((at, size)),
            Err(errno) => return Err(failed(errno)),
        };
        match seek(self.fd, SeekFrom::Hole(start)) {
            Ok(end) => Ok((start, end)),
            Err(Errno::NXIO) => Ok((start, size)),
            Err(errno) => Err(failed(errno)),
        }
    }

    /// Reads and cuts the bytes from `start` to `end`; whether they were there.
    fn run(&mut self, start: u64, end: u64, cut: Cut) -> Result<bool, SnapshotError> {
        let (mut next, mut position, mut there) = (start, start, true);
        loop {
            if self.cancel.is_cancelled() {
                return Err(SnapshotError::Cancelled);
            }
            there = there && self.fill(&mut next, end)?;
            if self.buffer.is_empty() {
                return Ok(there);
            }
            let length = cut.first_blob(&self.buffer);
            let (id, place) = self.packs.add(&self.buffer[..length], self.pages, (self.path, &self.places))?;
            if self.places.len() >= MAX_FILE_BLOBS {
                return Err(SnapshotError::TooLarge {
                    what: "the number of pieces of a file, with holes between them,",
                    found: self.places.len() as u64 + 1,
                    limit: MAX_FILE_BLOBS as u64,
                    path: shown(self.path),
                });
            }
            self.places.push(((position - self.end, id), place));
            position += length as u64;
            self.end = position;
            self.buffer.drain(..length);
        }
    }

    /// Fills the buffer up to the longest blob; whether all that was asked for was there.
    fn fill(&mut self, next: &mut u64, end: u64) -> Result<bool, SnapshotError> {
        while self.buffer.len() < MAX_BLOB_BYTES && *next < end {
            let had = self.buffer.len();
            let wanted = ((MAX_BLOB_BYTES - had) as u64).min(end - *next) as usize;
            self.buffer.resize(had + wanted, 0);
            let read = match pread(self.fd, &mut self.buffer[had..], *next) {
                Ok(read) => read,
                Err(Errno::INTR) => {
                    self.buffer.truncate(had);
                    continue;
                }
                Err(errno) => return Err(SnapshotError::file("read", self.path, errno)),
            };
            self.buffer.truncate(had + read);
            *next += read as u64;
            if read == 0 {
                return Ok(false);
            }
        }
        Ok(true)
    }
}
