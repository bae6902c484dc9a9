//! A window on the newest bytes of a stream, with absolute offsets. In memory,
//! or for large output in a file without a name, which ends with the process.

use std::{fs::File, os::unix::fs::FileExt as _, path::PathBuf};

use bytes::Bytes;
use tracing::warn;

/// The offsets of the bytes that are held: `base..head`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Held {
    /// Offset of the oldest byte held.
    pub base: u64,
    /// Offset after the newest byte.
    pub head: u64,
}

/// The newest bytes of a stream. Appending never fails and never waits; what
/// does not fit pushes the oldest out.
#[derive(Debug)]
pub struct Ring {
    storage: Storage,
    base: u64,
    head: u64,
    spill: Option<Spill>,
}

#[derive(Debug)]
enum Storage {
    /// Byte `offset` is at `offset % len`.
    Memory(Box<[u8]>),
    /// Byte `offset` is at `offset % capacity`.
    File { file: File, capacity: usize },
}

#[derive(Debug)]
struct Spill {
    folder: PathBuf,
    capacity: usize,
}

impl Ring {
    /// A ring of `capacity` bytes in memory. The pages are the system's until they are written.
    pub fn in_memory(capacity: usize) -> Self {
        Ring { storage: Storage::Memory(vec![0; capacity.max(1)].into()), base: 0, head: 0, spill: None }
    }

    /// A ring of `memory` bytes that moves to a file of `disk` bytes in `folder`
    /// when they are full. Where the file cannot be made it stays in memory: the
    /// gap is then larger and told just the same.
    pub fn spilling(memory: usize, disk: usize, folder: PathBuf) -> Self {
        Ring { spill: Some(Spill { folder, capacity: disk }), ..Ring::in_memory(memory) }
    }

    /// The offsets of the bytes that are held.
    pub fn held(&self) -> Held {
        Held { base: self.base, head: self.head }
    }

    /// Appends.
    pub fn push(&mut self, data: &[u8]) {
        if self.head + data.len() as u64 > self.capacity() as u64 {
            self.move_to_file();
        }
        let capacity = self.capacity();
        // Of more than fits only the end is kept; its offsets are as if all had been written.
        let skipped = data.len().saturating_sub(capacity);
        let start = self.head + skipped as u64;
        if !self.store(start, &data[skipped..]) {
            // The file failed (no space): go on in memory with what comes now.
            self.storage = Storage::Memory(vec![0; crate::limits::COMMAND_MEMORY_BYTES].into());
            let kept = data.len().min(self.capacity());
            self.head += data.len() as u64;
            self.base = self.head - kept as u64;
            self.store(self.base, &data[data.len() - kept..]);
            return;
        }
        self.head += data.len() as u64;
        self.base = self.base.max(self.head.saturating_sub(capacity as u64));
    }

    /// At most `limit` bytes from `offset`, or from the oldest byte where that is
    /// gone; returns the offset of the first byte. Empty at and beyond the head.
    pub fn read(&self, offset: u64, limit: usize) -> (u64, Bytes) {
        let from = offset.clamp(self.base, self.head);
        let length = usize::try_from(self.head - from).unwrap_or(usize::MAX).min(limit);
        let mut data = vec![0; length];
        if self.load(from, &mut data) { (from, data.into()) } else { (self.head, Bytes::new()) }
    }

    fn capacity(&self) -> usize {
        match &self.storage {
            Storage::Memory(buffer) => buffer.len(),
            Storage::File { capacity, .. } => *capacity,
        }
    }

    fn store(&mut self, offset: u64, data: &[u8]) -> bool {
        let capacity = self.capacity();
        let at = (offset % capacity as u64) as usize;
        let (first, second) = data.split_at(data.len().min(capacity - at));
        match &mut self.storage {
            Storage::Memory(buffer) => {
                buffer[at..at + first.len()].copy_from_slice(first);
                buffer[..second.len()].copy_from_slice(second);
                true
            }
            Storage::File { file, .. } => {
                let written = file.write_all_at(first, at as u64).and_then(|()| file.write_all_at(second, 0));
                if let Err(error) = &written {
                    warn!(%error, "output no longer fits on disk; older output is dropped");
                }
                written.is_ok()
            }
        }
    }

    fn load(&self, offset: u64, data: &mut [u8]) -> bool {
        let capacity = self.capacity();
        let at = (offset % capacity as u64) as usize;
        let split = data.len().min(capacity - at);
        let (first, second) = data.split_at_mut(split);
        match &self.storage {
            Storage::Memory(buffer) => {
                first.copy_from_slice(&buffer[at..at + split]);
                second.copy_from_slice(&buffer[..second.len()]);
                true
            }
            Storage::File { file, .. } => {
                let read = file.read_exact_at(first, at as u64).and_then(|()| file.read_exact_at(second, 0));
                if let Err(error) = &read {
                    warn!(%error, "held output cannot be read from disk");
                }
                read.is_ok()
            }
        }
    }

    fn move_to_file(&mut self) {
        let Some(spill) = self.spill.take() else { return };
        let (base, held) = self.read(self.base, usize::MAX);
        let file = match nameless(&spill) {
            Ok(file) => file,
            Err(error) => {
                warn!(%error, folder = %spill.folder.display(), "no file for output; it stays in memory");
                return;
            }
        };
        let memory = std::mem::replace(&mut self.storage, Storage::File { file, capacity: spill.capacity });
        if !self.store(base, &held) {
            self.storage = memory;
        }
    }
}

fn nameless(spill: &Spill) -> std::io::Result<File> {
    use rustix::fs::{Mode, OFlags};
    std::fs::create_dir_all(&spill.folder)?;
    let flags = OFlags::TMPFILE | OFlags::RDWR | OFlags::CLOEXEC;
    if let Ok(file) = rustix::fs::open(&spill.folder, flags, Mode::RUSR | Mode::WUSR) {
        return Ok(file.into());
    }
    // Not every file system has nameless files (overlayfs before 6.3, NFS).
    let path = spill.folder.join(uuid::Uuid::new_v4().to_string());
    let flags = OFlags::CREATE | OFlags::EXCL | OFlags::RDWR | OFlags::CLOEXEC;
    let file = rustix::fs::open(&path, flags, Mode::RUSR | Mode::WUSR)?;
    std::fs::remove_file(&path)?;
    Ok(file.into())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// The ring against the whole stream kept in a vector.
    fn check(mut ring: Ring, capacity: usize, chunks: &[Vec<u8>], probes: &[(u64, usize)]) {
        let mut truth: Vec<u8> = Vec::new();
        for chunk in chunks {
            ring.push(chunk);
            truth.extend_from_slice(chunk);
            let held = ring.held();
            assert_eq!(held.head, truth.len() as u64);
            assert_eq!(held.base, (truth.len().saturating_sub(capacity)) as u64);
            for (offset, limit) in probes {
                let (from, data) = ring.read(*offset, *limit);
                assert_eq!(from, (*offset).clamp(held.base, held.head));
                let end = (from as usize + limit).min(truth.len());
                assert_eq!(&data[..], &truth[from as usize..end]);
            }
        }
    }

    proptest! {
        #[test]
        fn what_is_read_is_what_was_pushed(
            capacity in 1_usize..200,
            chunks in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..300), 0..20),
            probes in prop::collection::vec((0_u64..2_000, 0_usize..400), 0..8),
        ) {
            check(Ring::in_memory(capacity), capacity, &chunks, &probes);
        }

        #[test]
        fn moving_to_a_file_changes_no_byte(
            chunks in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..300), 1..20),
            probes in prop::collection::vec((0_u64..2_000, 0_usize..400), 0..8),
        ) {
            let folder = tempfile::tempdir().unwrap();
            // Larger than the stream can become, so that the file takes over and drops nothing.
            check(Ring::spilling(100, 10_000, folder.path().into()), 10_000, &chunks, &probes);
            prop_assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0, "the file has no name");
        }
    }

    #[test]
    fn a_file_that_cannot_be_made_leaves_the_ring_in_memory() {
        let folder = tempfile::NamedTempFile::new().unwrap();
        let mut ring = Ring::spilling(4, 100, folder.path().join("below-a-file"));
        ring.push(b"abcdef");
        assert_eq!(ring.held(), Held { base: 2, head: 6 });
        assert_eq!(ring.read(0, 10), (2, Bytes::from_static(b"cdef")));
    }
}
