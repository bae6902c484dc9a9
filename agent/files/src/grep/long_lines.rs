//! [`LongLines`]: a file as the searcher reads it, with lines of megabytes cut into
//! pieces, so that neither memory nor the search of such a line is unbounded.
//!
//! A cut puts in a line end and repeats the last bytes before it, so that a short
//! match is found wherever it lies. [`Cuts`] remembers where, and tells real
//! numbers and offsets from those of the cut text.

use std::{
    cell::RefCell,
    fs::File,
    io::{self, Read},
    rc::Rc,
};

use crate::{
    limits::{GREP_OVERLAP_BYTES, GREP_PIECE_BYTES},
    stop::{Stop, Stopped},
};

/// Bytes read at a time: a first line end within them is the only one that can
/// end a line that is too long.
const CHUNK: usize = 32 * 1024;

/// Where lines were cut.
#[derive(Debug, Default)]
pub(super) struct Cuts {
    cuts: Vec<Cut>,
    lines: u64,
    stopped: Option<Stopped>,
    failed: bool,
}

#[derive(Debug)]
struct Cut {
    /// Where the piece begins in the cut text.
    at: u64,
    /// By how much offsets in the cut text are larger from there on.
    shift: u64,
    /// Where the line begins in the file.
    line_start: u64,
}

/// A line of the cut text, in terms of the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Place {
    /// The line's number.
    pub(super) line: u64,
    /// Where the line begins.
    pub(super) line_start: u64,
    /// Where this piece of it begins.
    pub(super) start: u64,
    /// Whether this is a piece that is not the line's first.
    pub(super) continued: bool,
}

impl Cuts {
    /// What the line `number` that begins at `offset` of the cut text is in the file.
    pub(super) fn place(&self, number: u64, offset: u64) -> Place {
        let before = self.cuts.partition_point(|cut| cut.at <= offset);
        match before.checked_sub(1).map(|last| &self.cuts[last]) {
            None => Place { line: number, line_start: offset, start: offset, continued: false },
            Some(cut) => {
                let (start, continued) = (offset - cut.shift, cut.at == offset);
                let line_start = if continued { cut.line_start } else { start };
                Place { line: number - before as u64, line_start, start, continued }
            }
        }
    }

    /// How many lines were cut.
    pub(super) fn lines(&self) -> u64 {
        self.lines
    }

    /// Why reading was given up.
    pub(super) fn stopped(&self) -> Option<Stopped> {
        self.stopped
    }

    /// Whether the system failed to read.
    pub(super) fn failed(&self) -> bool {
        self.failed
    }
}

/// See the module.
pub(super) struct LongLines<'a> {
    file: File,
    stop: &'a Stop,
    cuts: Rc<RefCell<Cuts>>,
    /// Bytes of the present piece so far.
    piece: usize,
    /// Its last bytes.
    tail: Vec<u8>,
    /// Where the present line begins in the file.
    line_start: u64,
    /// Whether the present line was cut before.
    cut: bool,
    /// Bytes read from the file, and handed on.
    read: u64,
    given: u64,
    /// A cut that is to be handed on, and how much of it was.
    ahead: Vec<u8>,
    ahead_given: usize,
}

impl<'a> LongLines<'a> {
    pub(super) fn new(file: File, stop: &'a Stop) -> Self {
        LongLines {
            file,
            stop,
            cuts: Rc::default(),
            piece: 0,
            tail: Vec::new(),
            line_start: 0,
            cut: false,
            read: 0,
            given: 0,
            ahead: Vec::new(),
            ahead_given: 0,
        }
    }

    pub(super) fn cuts(&self) -> Rc<RefCell<Cuts>> {
        Rc::clone(&self.cuts)
    }

    fn cut(&mut self) {
        self.ahead.clear();
        self.ahead_given = 0;
        self.ahead.push(b'\n');
        self.ahead.extend_from_slice(&self.tail);
        self.piece = self.tail.len();
        let mut cuts = self.cuts.borrow_mut();
        cuts.lines += u64::from(!std::mem::replace(&mut self.cut, true));
        let at = self.given + 1;
        cuts.cuts.push(Cut { at, shift: at + self.tail.len() as u64 - self.read, line_start: self.line_start });
    }

    fn notice(&mut self, chunk: &[u8]) {
        let last = match memchr::memrchr(b'\n', chunk) {
            None => chunk,
            Some(end) => {
                self.tail.clear();
                self.piece = 0;
                self.cut = false;
                self.line_start = self.read + end as u64 + 1;
                &chunk[end + 1..]
            }
        };
        self.piece += last.len();
        let kept = &last[last.len().saturating_sub(GREP_OVERLAP_BYTES)..];
        let surplus = (self.tail.len() + kept.len()).saturating_sub(GREP_OVERLAP_BYTES);
        self.tail.drain(..surplus);
        self.tail.extend_from_slice(kept);
        self.read += chunk.len() as u64;
    }
}

impl Read for LongLines<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if let Some(stopped) = self.stop.reached() {
            self.cuts.borrow_mut().stopped = Some(stopped);
            return Err(io::Error::other("the search is over"));
        }
        if self.ahead_given == self.ahead.len() && self.piece >= GREP_PIECE_BYTES {
            self.cut();
        }
        if self.ahead_given < self.ahead.len() {
            let got = buffer.len().min(self.ahead.len() - self.ahead_given);
            buffer[..got].copy_from_slice(&self.ahead[self.ahead_given..self.ahead_given + got]);
            self.ahead_given += got;
            self.given += got as u64;
            return Ok(got);
        }
        let room = buffer.len().min(CHUNK);
        let got = loop {
            match self.file.read(&mut buffer[..room]) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => {
                    self.cuts.borrow_mut().failed = true;
                    return Err(error);
                }
                Ok(got) => break got,
            }
        };
        self.notice(&buffer[..got]);
        self.given += got as u64;
        Ok(got)
    }
}

#[cfg(test)]
mod tests {
    use std::{io::Write as _, time::Duration};

    use super::*;

    #[test]
    fn pieces_overlap_and_are_told_in_terms_of_the_file() {
        let mut file = tempfile::tempfile().unwrap();
        let long: Vec<u8> = (0..3 * GREP_PIECE_BYTES).map(|at| b'a' + (at % 23) as u8).collect();
        file.write_all(b"first\n").unwrap();
        file.write_all(&long).unwrap();
        file.write_all(b"\nlast\n").unwrap();
        io::Seek::rewind(&mut file).unwrap();
        let stop = Stop::after(Duration::from_secs(60));
        let mut lines = LongLines::new(file, &stop);
        let cuts = lines.cuts();
        let mut text = Vec::new();
        lines.read_to_end(&mut text).unwrap();
        let cuts = cuts.borrow();
        let (mut offset, mut seen) = (0, Vec::new());
        for (number, line) in text.split(|byte| *byte == b'\n').enumerate() {
            let place = cuts.place(number as u64 + 1, offset);
            seen.push((place, line.to_vec()));
            offset += line.len() as u64 + 1;
        }
        assert_eq!(cuts.lines(), 1);
        assert!(seen.iter().all(|(_, line)| line.len() <= GREP_PIECE_BYTES + CHUNK));
        let (last, rest) = seen[..seen.len() - 1].split_last().unwrap();
        assert_eq!((last.0.line, last.0.start, &last.1[..]), (3, 7 + long.len() as u64, &b"last"[..]));
        for (place, line) in &rest[1..] {
            assert_eq!((place.line, place.line_start), (2, 6));
            let at = (place.start - 6) as usize;
            assert_eq!(&long[at..at + line.len()], &line[..]);
        }
        assert_eq!(rest.iter().filter(|(place, _)| place.continued).count(), rest.len() - 2);
    }
}
