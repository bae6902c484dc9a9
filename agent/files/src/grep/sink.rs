//! What becomes of the lines that the searcher finds in one file.

use std::{cell::RefCell, io, rc::Rc};

use grep_matcher::Matcher as _;
use grep_searcher::{Searcher, Sink, SinkContext, SinkFinish, SinkMatch};
use remora_agent_root::RelPath;

use super::{
    Batches, Grep, GrepMode, GrepResult,
    long_lines::{Cuts, Place},
};
use crate::limits::{MAX_GREP_SPANS, MAX_LINE_CHARACTERS};

/// Bytes behind a match across lines that its end may look at (`\b`, `$`).
const LOOK_AHEAD: usize = 128;

/// What was found in one file.
#[derive(Debug, Default)]
pub(super) struct Found {
    pub(super) matches: u64,
    pub(super) binary: bool,
    /// There is at least one result more than is wanted.
    pub(super) more: bool,
    /// Nobody wants results any more.
    pub(super) gone: bool,
}

/// See the module.
pub(super) struct FileSink<'a, 'out> {
    path: &'a RelPath,
    grep: &'a Grep,
    cuts: &'a Rc<RefCell<Cuts>>,
    out: &'a mut Batches<'out>,
    found: Found,
    /// The line that matched last.
    last_match: u64,
}

impl<'a, 'out> FileSink<'a, 'out> {
    pub(super) fn new(
        path: &'a RelPath,
        grep: &'a Grep,
        cuts: &'a Rc<RefCell<Cuts>>,
        out: &'a mut Batches<'out>,
    ) -> Self {
        FileSink { path, grep, cuts, out, found: Found::default(), last_match: 0 }
    }

    /// The end of the file: its path or count is given.
    pub(super) fn end(mut self) -> Found {
        let count = match self.grep.how.mode {
            GrepMode::Content => return self.found,
            GrepMode::Files => 0,
            GrepMode::Count => self.found.matches,
        };
        if self.found.matches > 0 {
            self.give(GrepResult { path: self.path.clone(), count, ..GrepResult::default() });
        }
        self.found
    }

    /// Gives a result, unless there are enough; whether to go on.
    fn give(&mut self, result: GrepResult) -> bool {
        if self.out.given >= self.grep.max_results {
            self.found.more = true;
            return false;
        }
        self.found.gone |= !self.out.push(result);
        !self.found.gone
    }

    fn line(&mut self, place: Place, text: &[u8], spans: &[(usize, usize)], context: bool) -> bool {
        let shown = clip(text, spans.first().map_or(0, |span| span.0));
        let within = |(start, end): (usize, usize)| {
            let inside = start < shown.end && (end > shown.start || start >= shown.start);
            inside.then(|| (start.max(shown.start) - shown.start, end.min(shown.end) - shown.start))
        };
        let result = GrepResult {
            path: self.path.clone(),
            line: place.line,
            offset: place.line_start,
            text_offset: place.start + shown.start as u64,
            spans: spans.iter().copied().filter_map(within).collect(),
            context,
            clipped: place.continued || shown.len() < text.len(),
            text: text[shown].to_vec(),
            count: 0,
        };
        self.give(result)
    }
}

impl Sink for &mut FileSink<'_, '_> {
    type Error = io::Error;

    fn matched(&mut self, searcher: &Searcher, found: &SinkMatch<'_>) -> Result<bool, io::Error> {
        let (buffer, range) = (found.buffer(), found.bytes_range_in_buffer());
        let first = found.line_number().unwrap_or(0);
        let base = found.absolute_byte_offset();
        if self.grep.how.mode == GrepMode::Files {
            self.found.matches = 1;
            return Ok(false);
        }
        let end = if searcher.multi_line_with_matcher(&self.grep.matcher) {
            buffer.len().min(range.end + LOOK_AHEAD)
        } else {
            range.start + without_end(&buffer[range.clone()]).len()
        };
        let mut spans = Vec::new();
        if self.grep.how.mode == GrepMode::Content {
            self.grep
                .matcher
                .find_iter_at(&buffer[..end], range.start, |span| {
                    if span.start() >= range.end || spans.len() >= MAX_GREP_SPANS {
                        return false;
                    }
                    spans.push((span.start() - range.start, span.end() - range.start));
                    true
                })
                .map_err(io::Error::other)?;
        }
        let mut start = 0;
        for (number, line) in (first..).zip(buffer[range].split_inclusive(|byte| *byte == b'\n')) {
            let place = self.cuts.borrow().place(number, base + start as u64);
            let (from, text) = (start, without_end(line));
            start += line.len();
            if place.continued && place.line == self.last_match {
                // Another piece of a line that was given already.
                continue;
            }
            self.last_match = place.line;
            self.found.matches += 1;
            if self.grep.how.mode == GrepMode::Count {
                continue;
            }
            let here: Vec<_> = spans
                .iter()
                .filter(|span| span.0 <= from + text.len() && span.1 >= from && (span.0 < start || span.1 > from))
                .map(|span| (span.0.max(from) - from, span.1.min(from + text.len()) - from))
                .collect();
            self.out.take_back(self.path, place.line);
            if !self.line(place, text, &here, false) {
                self.found.matches -= u64::from(self.found.more);
                return Ok(false);
            }
        }
        Ok(true)
    }

    fn context(&mut self, _: &Searcher, context: &SinkContext<'_>) -> Result<bool, io::Error> {
        let number = context.line_number().unwrap_or(0);
        let place = self.cuts.borrow().place(number, context.absolute_byte_offset());
        if place.continued || place.line == self.last_match {
            return Ok(true);
        }
        Ok(self.line(place, without_end(context.bytes()), &[], true))
    }

    fn finish(&mut self, _: &Searcher, finish: &SinkFinish) -> Result<(), io::Error> {
        self.found.binary = finish.binary_byte_offset().is_some();
        Ok(())
    }
}

fn without_end(line: &[u8]) -> &[u8] {
    line.strip_suffix(b"\n").unwrap_or(line)
}

/// The part of `text` that is shown: all of it, or as many characters as are
/// shown of a line, a quarter of them before the byte `around`.
fn clip(text: &[u8], around: usize) -> std::ops::Range<usize> {
    // A continuation byte belongs to the character before it; no character has more
    // than four bytes, whatever bytes that are no UTF-8 look like.
    const MOST_BYTES: usize = MAX_LINE_CHARACTERS * 4;
    let begins = |at: &usize| text[*at] & 0xC0 != 0x80;
    if text.len() <= MOST_BYTES && (0..text.len()).filter(begins).nth(MAX_LINE_CHARACTERS).is_none() {
        return 0..text.len();
    }
    let start = (0..around.min(text.len())).rev().filter(begins).nth(MAX_LINE_CHARACTERS / 4 - 1).unwrap_or(0);
    let start = start.max(around.saturating_sub(MOST_BYTES / 4));
    let end = (start..text.len()).filter(begins).nth(MAX_LINE_CHARACTERS).unwrap_or(text.len());
    start..end.min(start + MOST_BYTES)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_line_is_clipped_around_its_match_on_characters() {
        assert_eq!(clip(b"short", 2), 0..5);
        let text = "é".repeat(5_000);
        assert_eq!(clip(text.as_bytes(), 0), 0..4_000);
        assert_eq!(clip(text.as_bytes(), 6_000), 5_000..9_000);
        assert_eq!(clip(text.as_bytes(), 10_000), 9_000..10_000);
        assert_eq!(clip(&[0x80; 50_000], 4_000), 2_000..10_000);
    }
}
