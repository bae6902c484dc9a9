//! Read: a page of a regular file, by bytes or by lines.

use std::{
    fs::File,
    io::{BufRead as _, BufReader},
    os::{fd::OwnedFd, unix::fs::FileExt as _},
};

use remora_agent_root::{RelPath, Root};
use remora_proto_model::Reason;
use rustix::{fs::fstat, io::Errno};

use crate::{
    FileError, etag,
    limits::{BINARY_PROBE_BYTES, MAX_LINE_CHARACTERS, MAX_LINE_SCAN_BYTES, MAX_PAGE_BYTES, MAX_PAGE_LINES},
};

/// Which part of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Range {
    /// `length` bytes from `offset`, exact; 0 is a whole page.
    Bytes {
        /// The first byte, from 0.
        offset: u64,
        /// At most this many.
        length: u64,
    },
    /// `count` lines from `first`; 0 is a whole page.
    Lines {
        /// The first line, from 1.
        first: u64,
        /// At most this many.
        count: u64,
        /// How the lines are shown.
        format: LineFormat,
    },
}

/// How lines are shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LineFormat {
    /// As they are.
    Plain,
    /// Each with its number and a tab before it.
    Numbered,
}

/// A part of a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Page {
    /// The bytes, or the lines with their ends.
    pub data: Vec<u8>,
    /// The file's version when it was opened.
    pub etag: String,
    /// The file's length in bytes when it was opened.
    pub size: u64,
    /// Whether it starts like a binary file (it has a NUL byte near its start).
    pub binary: bool,
    /// The offset or line with which the next page starts; `None` where this is the last.
    pub next: Option<u64>,
    /// How many lines were clipped.
    pub clipped_lines: u64,
}

/// Reads `range` of the regular file at `path`, which must be the version
/// `if_match` before and after, where one is given.
pub fn read(root: &Root, path: &RelPath, range: Range, if_match: Option<&str>) -> Result<Page, FileError> {
    let fd: OwnedFd = root.open_read(path)?;
    let stat = fstat(&fd).map_err(|errno| FileError::system("look at", path, errno))?;
    if_match.map_or(Ok(()), |wanted| etag::check(path, wanted, &stat))?;
    let file = File::from(fd);
    let mut page = Page {
        data: Vec::new(),
        etag: etag::of(&stat),
        size: u64::try_from(stat.st_size).unwrap_or(0),
        binary: false,
        next: None,
        clipped_lines: 0,
    };
    let mut probe = vec![0; BINARY_PROBE_BYTES];
    let probed = fill(&file, &mut probe, 0).map_err(|errno| FileError::system("read", path, errno))?;
    page.binary = probe[..probed].contains(&0);
    match range {
        Range::Bytes { offset, length } => bytes(&file, path, offset, length, &mut page)?,
        Range::Lines { first, count, format } => {
            let count = if count == 0 { MAX_PAGE_LINES } else { count.min(MAX_PAGE_LINES) };
            lines(&file, path, first.max(1), count, format, &mut page)?;
        }
    }
    if let Some(wanted) = if_match {
        // Somebody who writes in place may have done so while it was read.
        let after = fstat(&file).map_err(|errno| FileError::system("look at", path, errno))?;
        etag::check(path, wanted, &after)?;
    }
    Ok(page)
}

fn bytes(file: &File, path: &RelPath, offset: u64, length: u64, page: &mut Page) -> Result<(), FileError> {
    if offset > page.size {
        return Err(FileError::refused(
            Reason::OutOfRange,
            format!("offset {offset} lies behind the end of \"{path}\""),
            format!("the file has {} bytes; ask for an offset up to that", page.size),
        ));
    }
    let length = if length == 0 { MAX_PAGE_BYTES as u64 } else { length.min(MAX_PAGE_BYTES as u64) };
    page.data.resize(usize::try_from(length.min(page.size - offset)).unwrap_or(MAX_PAGE_BYTES), 0);
    let got = fill(file, &mut page.data, offset).map_err(|errno| FileError::system("read", path, errno))?;
    page.data.truncate(got);
    let end = offset + got as u64;
    page.next = (got > 0 && end < page.size).then_some(end);
    Ok(())
}

/// Reads until `buffer` is full or the file ends.
fn fill(file: &File, buffer: &mut [u8], offset: u64) -> Result<usize, Errno> {
    let mut got = 0;
    while got < buffer.len() {
        match file.read_at(&mut buffer[got..], offset + got as u64) {
            Ok(0) => break,
            Ok(more) => got += more,
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
            Err(error) => return Err(Errno::from_io_error(&error).unwrap_or(Errno::IO)),
        }
    }
    Ok(got)
}

fn lines(
    file: &File,
    path: &RelPath,
    first: u64,
    count: u64,
    format: LineFormat,
    page: &mut Page,
) -> Result<(), FileError> {
    let mut reader = BufReader::with_capacity(64 * 1024, file);
    let (mut number, mut scanned) = (1_u64, 0_u64);
    let mut line = Vec::new();
    loop {
        let keep = number >= first;
        line.clear();
        let end = next_line(&mut reader, &mut line, keep, &mut scanned)
            .map_err(|errno| FileError::system("read", path, errno))?;
        match end {
            LineEnd::Nothing if number <= first && first > 1 => {
                return Err(FileError::refused(
                    Reason::OutOfRange,
                    format!("line {first} lies behind the end of \"{path}\""),
                    format!("the file has {} lines", number - 1),
                ));
            }
            LineEnd::Nothing => return Ok(()),
            LineEnd::TooFar => {
                return Err(FileError::refused(
                    Reason::TooLarge,
                    format!("line {number} of \"{path}\" was not found within {MAX_LINE_SCAN_BYTES} bytes"),
                    "ask for a byte range instead, or use Grep",
                ));
            }
            LineEnd::Found { clipped } => {
                if keep {
                    let shown = if format == LineFormat::Numbered { format!("{number:>6}\t") } else { String::new() };
                    if number >= first + count || page.data.len() + shown.len() + line.len() > MAX_PAGE_BYTES {
                        page.next = Some(number);
                        return Ok(());
                    }
                    page.data.extend_from_slice(shown.as_bytes());
                    page.data.extend_from_slice(&line);
                    page.clipped_lines += u64::from(clipped);
                }
                number += 1;
            }
        }
    }
}

enum LineEnd {
    Found { clipped: bool },
    Nothing,
    TooFar,
}

/// Takes the next line, keeping no more of it than is shown.
fn next_line(
    reader: &mut BufReader<&File>,
    line: &mut Vec<u8>,
    keep: bool,
    scanned: &mut u64,
) -> Result<LineEnd, Errno> {
    // No character is longer than four bytes in UTF-8.
    const HELD: usize = MAX_LINE_CHARACTERS * 4 + 4;
    let (mut length, mut ended) = (0_usize, false);
    while !ended {
        let chunk = reader.fill_buf().map_err(|error| Errno::from_io_error(&error).unwrap_or(Errno::IO))?;
        if chunk.is_empty() {
            break;
        }
        let take = chunk.iter().position(|byte| *byte == b'\n').map_or(chunk.len(), |at| at + 1);
        ended = chunk[take - 1] == b'\n';
        if keep {
            line.extend_from_slice(&chunk[..take.min(HELD.saturating_sub(line.len()))]);
        }
        length += take;
        *scanned += take as u64;
        reader.consume(take);
        if *scanned > MAX_LINE_SCAN_BYTES {
            return Ok(LineEnd::TooFar);
        }
    }
    if length == 0 {
        return Ok(LineEnd::Nothing);
    }
    Ok(LineEnd::Found { clipped: keep && clip(line, length, ended) })
}

/// Cuts `line`, of `length` bytes in the file, to the longest that is shown.
fn clip(line: &mut Vec<u8>, length: usize, ended: bool) -> bool {
    let text = line.strip_suffix(b"\n").unwrap_or(line);
    let mut characters = 0;
    let cut = text.iter().position(|byte| {
        // A continuation byte belongs to the character before it.
        characters += usize::from(*byte & 0xC0 != 0x80);
        characters > MAX_LINE_CHARACTERS
    });
    let Some(cut) = cut else { return false };
    line.truncate(cut);
    line.extend_from_slice(format!("… [clipped; {length} bytes in all]").as_bytes());
    if ended {
        line.push(b'\n');
    }
    true
}
