//! A window on the newest bytes of a stream, with absolute offsets. In memory, and
//! for large output in a file without a name, which ends with the process.
//!
//! ```text
//! base ──────── file ────────► spilled ── memory only ──► head
//!                   └── the newest bytes are in memory, too ──┘
//! ```
//! Whoever keeps up reads from memory, and the file is written in large pieces.

use std::{
    fs::File,
    os::{fd::AsFd, unix::fs::FileExt as _},
    path::{Path, PathBuf},
};

use bytes::Bytes;
use rustix::{
    buffer::spare_capacity,
    io::{Errno, read},
};
use tracing::warn;

/// Bytes of memory for the first output that is read: most is short.
const FIRST_BYTES: usize = 4 << 10;

/// Bytes of memory up to which it is doubled where it is full.
const DOUBLED_BYTES: usize = 1 << 20;

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
    /// Byte `offset` is at `offset % limit`. Grows with the stream, since most are short.
    memory: Vec<u8>,
    limit: usize,
    spill: Spill,
    base: u64,
    head: u64,
}

#[derive(Debug)]
enum Spill {
    Never,
    /// Once the memory is full.
    Later {
        folder: PathBuf,
        capacity: usize,
    },
    /// Byte `offset` is at `offset % capacity`, those before `spilled`.
    Now {
        file: File,
        capacity: usize,
        spilled: u64,
    },
}

impl Ring {
    /// A ring of `capacity` bytes in memory.
    pub fn in_memory(capacity: usize) -> Self {
        Ring { memory: Vec::new(), limit: capacity.max(1), spill: Spill::Never, base: 0, head: 0 }
    }

    /// A ring of `memory` bytes that moves to a file of `disk` bytes in `folder`
    /// when they are full. Where the file cannot be made it stays in memory: the
    /// gap is then larger and told just the same.
    pub fn spilling(memory: usize, disk: usize, folder: PathBuf) -> Self {
        Ring { spill: Spill::Later { folder, capacity: disk.max(memory) }, ..Ring::in_memory(memory) }
    }

    /// The offsets of the bytes that are held.
    pub fn held(&self) -> Held {
        Held { base: self.base, head: self.head }
    }

    /// Bytes that are held in memory at most.
    pub fn in_memory_at_most(&self) -> usize {
        self.limit
    }

    /// Appends.
    pub fn push(&mut self, data: &[u8]) {
        for data in data.chunks(self.piece()) {
            if self.head + data.len() as u64 > self.limit as u64 {
                self.begin_file();
            }
            self.store(data);
            self.advance(data.len());
        }
    }

    /// Appends what one read(2) of `source` gives, with no copy on the way into memory: at most `most` bytes,
    /// or as many as there are, while memory still grows. Returns their number, and zero at the end.
    pub fn read_from(&mut self, source: impl AsFd, most: usize) -> Result<usize, Errno> {
        let most = most.min(self.piece());
        let count = if self.memory.len() < self.limit {
            if self.memory.len() == self.memory.capacity() {
                self.reserve(most.min(FIRST_BYTES));
            }
            read(source, spare_capacity(&mut self.memory))?
        } else {
            self.begin_file();
            let at = self.at(self.head);
            let end = self.limit.min(at + most);
            read(source, &mut self.memory[at..end])?
        };
        self.advance(count);
        Ok(count)
    }

    /// At most `limit` bytes from `offset`, or from the oldest byte where that is
    /// gone; returns the offset of the first byte. Empty at and beyond the head.
    pub fn read(&self, offset: u64, limit: usize) -> (u64, Bytes) {
        let from = offset.clamp(self.base, self.head);
        let length = usize::try_from(self.head - from).unwrap_or(usize::MAX).min(limit);
        let mut data = Vec::with_capacity(length);
        let in_memory = self.head.saturating_sub(self.memory.len() as u64);
        if let Spill::Now { file, capacity, .. } = &self.spill
            && from < in_memory
        {
            data.resize(length.min(usize::try_from(in_memory - from).unwrap_or(usize::MAX)), 0);
            let (at, rest) = place(from, *capacity);
            let length = data.len();
            let (first, second) = data.split_at_mut(rest.min(length));
            if let Err(error) = file.read_exact_at(first, at).and_then(|()| file.read_exact_at(second, 0)) {
                warn!(%error, "held output cannot be read from disk");
                return (self.head, Bytes::new());
            }
        }
        let [first, second] = self.slices(from + data.len() as u64, length - data.len());
        data.extend_from_slice(first);
        data.extend_from_slice(second);
        (from, data.into())
    }

    /// Gives the memory back that nothing is in, and all where a file can hold everything: nothing more comes.
    pub fn settle(&mut self) {
        self.write_out();
        if let Spill::Now { .. } = self.spill {
            let (_, last) = self.read(self.head.saturating_sub(1), 1);
            (self.memory, self.limit) = (last.to_vec(), 1);
        }
        self.memory.shrink_to_fit();
    }

    /// Bytes of the file.
    pub fn on_disk(&self) -> u64 {
        if let Spill::Now { .. } = self.spill { self.head - self.base } else { 0 }
    }

    /// Takes out all that is held, the file with it. To drop that may wait for the disk.
    pub fn take(&mut self) -> Ring {
        let empty = Ring { base: self.head, head: self.head, ..Ring::in_memory(1) };
        std::mem::replace(self, empty)
    }

    /// Bytes that are in memory alone at most, once it is full, so that nothing that comes overwrites any of them.
    fn piece(&self) -> usize {
        (self.limit / 4).max(1)
    }

    /// Counts bytes that were put after the newest one.
    fn advance(&mut self, count: usize) {
        self.head += count as u64;
        self.drop_oldest();
        if let Spill::Now { spilled, .. } = self.spill
            && self.head - spilled >= self.piece() as u64
        {
            self.write_out();
        }
    }

    /// Doubles the memory below the limit, or makes room for `least` bytes where that is more. What is large
    /// gets all that it may have: what nothing was put in yet takes no memory, and nothing is moved again.
    fn reserve(&mut self, least: usize) {
        let held = self.memory.len();
        let more = if held < DOUBLED_BYTES { held.max(least) } else { self.limit };
        self.memory.reserve_exact(more.min(self.limit - held));
    }

    fn at(&self, offset: u64) -> usize {
        (offset % self.limit as u64) as usize
    }

    /// Puts `data` after the newest byte.
    fn store(&mut self, data: &[u8]) {
        let (fresh, over) = data.split_at(data.len().min(self.limit - self.memory.len()));
        if self.memory.capacity() - self.memory.len() < fresh.len() {
            self.reserve(fresh.len());
        }
        self.memory.extend_from_slice(fresh);
        let at = self.at(self.head + fresh.len() as u64);
        let (first, second) = over.split_at(over.len().min(self.limit - at));
        self.memory[at..at + first.len()].copy_from_slice(first);
        self.memory[..second.len()].copy_from_slice(second);
    }

    /// `length` bytes from `offset`, all of them in memory.
    fn slices(&self, offset: u64, length: usize) -> [&[u8]; 2] {
        let at = self.at(offset);
        let first = length.min(self.limit - at);
        [&self.memory[at..at + first], &self.memory[..length - first]]
    }

    fn drop_oldest(&mut self) {
        let capacity = match self.spill {
            Spill::Now { capacity, .. } => capacity,
            _ => self.limit,
        };
        self.base = self.base.max(self.head.saturating_sub(capacity as u64));
    }

    fn begin_file(&mut self) {
        let Spill::Later { folder, capacity } = &self.spill else { return };
        match nameless(folder) {
            Ok(file) => {
                self.spill = Spill::Now { file, capacity: *capacity, spilled: self.base };
                self.write_out();
            }
            Err(error) => {
                warn!(%error, folder = %folder.display(), "no file for output; it stays in memory");
                self.spill = Spill::Never;
            }
        }
    }

    /// Brings the file up to date. Where it takes no more (no space), only the memory is left.
    fn write_out(&mut self) {
        let Spill::Now { file, capacity, spilled } = &self.spill else { return };
        let mut next = *spilled;
        let unwritten = self.slices(next, (self.head - next) as usize);
        let written = unwritten.into_iter().try_for_each(|slice| {
            let (at, rest) = place(next, *capacity);
            let (first, second) = slice.split_at(slice.len().min(rest));
            next += slice.len() as u64;
            file.write_all_at(first, at).and_then(|()| file.write_all_at(second, 0))
        });
        match (&mut self.spill, written) {
            (Spill::Now { spilled, .. }, Ok(())) => *spilled = self.head,
            (_, Err(error)) => {
                warn!(%error, "output no longer fits on disk; older output is dropped");
                self.spill = Spill::Never;
                self.drop_oldest();
            }
            _ => {}
        }
    }
}

/// Where byte `offset` is in a file of `capacity` bytes, and how many fit from there on.
fn place(offset: u64, capacity: usize) -> (u64, usize) {
    let at = offset % capacity as u64;
    (at, capacity - at as usize)
}

fn nameless(folder: &Path) -> std::io::Result<File> {
    use rustix::fs::{Mode, OFlags};
    std::fs::create_dir_all(folder)?;
    let flags = OFlags::TMPFILE | OFlags::RDWR | OFlags::CLOEXEC;
    if let Ok(file) = rustix::fs::open(folder, flags, Mode::RUSR | Mode::WUSR) {
        return Ok(file.into());
    }
    // Not every file system has nameless files (overlayfs before 6.3, NFS).
    let path = folder.join(uuid::Uuid::new_v4().to_string());
    let flags = OFlags::CREATE | OFlags::EXCL | OFlags::RDWR | OFlags::CLOEXEC;
    let file = rustix::fs::open(&path, flags, Mode::RUSR | Mode::WUSR)?;
    std::fs::remove_file(&path)?;
    Ok(file.into())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use rustix::{
        io::write,
        pipe::{PipeFlags, pipe_with},
    };

    use super::*;

    /// The ring against the whole stream kept in a vector. What comes is pushed, or read from a pipe, so
    /// much at a time.
    fn check(mut ring: Ring, capacity: usize, chunks: &[Vec<u8>], probes: &[(u64, usize)], most: Option<usize>) {
        let (reader, writer) = pipe_with(PipeFlags::NONBLOCK).unwrap();
        let mut truth: Vec<u8> = Vec::new();
        for chunk in chunks {
            match most {
                None => ring.push(chunk),
                Some(most) => {
                    assert!(chunk.is_empty() || write(&writer, chunk) == Ok(chunk.len()));
                    let mut head = ring.held().head;
                    while let Ok(count) = ring.read_from(&reader, most) {
                        assert!((1..=most.max(head as usize)).contains(&count));
                        head += count as u64;
                    }
                }
            }
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
            most in prop::option::of(1_usize..300),
        ) {
            check(Ring::in_memory(capacity), capacity, &chunks, &probes, most);
        }

        #[test]
        fn moving_to_a_file_changes_no_byte(
            chunks in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..300), 1..20),
            probes in prop::collection::vec((0_u64..2_000, 0_usize..400), 0..8),
            most in prop::option::of(1_usize..300),
        ) {
            let folder = tempfile::tempdir().unwrap();
            // Larger than the stream can become, so that the file takes over and drops nothing.
            check(Ring::spilling(100, 10_000, folder.path().into()), 10_000, &chunks, &probes, most);
            // And one that goes round in the file.
            check(Ring::spilling(100, 1_000, folder.path().into()), 1_000, &chunks, &probes, most);
            prop_assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0, "the file has no name");
        }
    }

    #[test]
    fn what_is_large_is_not_moved_again_and_what_is_small_stays_small() {
        let text: Vec<u8> = (0..4 * DOUBLED_BYTES).map(|number| number as u8).collect();
        let mut ring = Ring::in_memory(4 * DOUBLED_BYTES);
        let mut places = std::collections::HashSet::new();
        for piece in text.chunks(10_000) {
            let before = ring.memory.len();
            ring.push(piece);
            assert!(before >= DOUBLED_BYTES || ring.memory.capacity() <= 2 * ring.memory.len());
            if before >= 2 * DOUBLED_BYTES {
                places.insert(ring.memory.as_ptr());
            }
        }
        assert_eq!((places.len(), ring.read(0, usize::MAX)), (1, (0, text.into())));
    }

    #[test]
    fn what_gives_nothing_changes_nothing_and_an_end_is_told() {
        let (reader, writer) = pipe_with(PipeFlags::NONBLOCK).unwrap();
        let mut ring = Ring::in_memory(4);
        ring.push(b"abcdef");
        assert_eq!(ring.read_from(&reader, 4), Err(Errno::AGAIN));
        drop(writer);
        assert_eq!(ring.read_from(&reader, 4), Ok(0));
        assert_eq!(ring.read(0, 10), (2, Bytes::from_static(b"cdef")));
    }

    #[test]
    fn a_settled_ring_holds_what_it_held() {
        let folder = tempfile::tempdir().unwrap();
        let text: Vec<u8> = (0..250).collect();
        for (mut ring, memory) in [(Ring::spilling(100, 200, folder.path().into()), 1), (Ring::in_memory(300), 250)] {
            text.chunks(7).for_each(|chunk| ring.push(chunk));
            let before = ring.read(0, 1_000);
            ring.settle();
            assert_eq!((ring.memory.len(), ring.read(0, 1_000)), (memory, before));
            ring.push(b"more");
            assert_eq!(ring.read(248, 1_000).1, b"\xf8\xf9more"[..]);
            assert_eq!(ring.on_disk(), if memory == 1 { 200 } else { 0 });
            drop(ring.take());
            assert_eq!((ring.on_disk(), ring.held()), (0, Held { base: 254, head: 254 }));
            assert_eq!(ring.read(0, 1_000), (254, Bytes::new()));
        }
    }

    #[test]
    fn a_file_that_takes_no_more_leaves_the_newest_in_memory() {
        let mut ring = Ring::in_memory(100);
        let full = std::fs::OpenOptions::new().read(true).write(true).open("/dev/full").unwrap();
        ring.spill = Spill::Now { file: full, capacity: 1_000, spilled: 0 };
        let text: Vec<u8> = (0..250).collect();
        text.chunks(7).for_each(|chunk| ring.push(chunk));
        assert_eq!(ring.held(), Held { base: 150, head: 250 });
        assert_eq!(ring.read(0, 1_000), (150, Bytes::copy_from_slice(&text[150..])));
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
