//! Grep: lines of files that match, in batches, in the order of a walk.
//!
//! ```text
//!  Selection::walk ─► open one file ─► LongLines (cuts lines of megabytes)
//!        │                                  │
//!   rules, globs                    Searcher (grep-searcher)
//!                                           │ a line that matches, with context
//!                                       FileSink ─► batch ─► emit
//! ```

use std::{
    fs::File,
    os::fd::{AsFd, BorrowedFd, OwnedFd},
    time::Instant,
};

use grep_regex::{RegexMatcher, RegexMatcherBuilder};
use grep_searcher::{BinaryDetection, Searcher, SearcherBuilder};
use remora_agent_root::{EntryKind, RelPath, Root};
use remora_proto_model::Reason;
use rustix::{
    fs::{Mode, OFlags, fstat, openat},
    io::Errno,
};

use crate::{
    FileError,
    limits::{
        GREP_BATCH_BYTES, GREP_BATCH_RESULTS, GREP_BATCH_TIME, GREP_HEAP_BYTES, GREP_REGEX_BYTES, GREP_REGEX_NESTING,
        MAX_GREP_PATTERN_BYTES, MAX_GREP_RESULTS,
    },
    patterns::Patterns,
    selection::{Go, Selected, Selection},
    stop::{Stop, Stopped, nobody_waits},
};

mod long_lines;
mod sink;

use long_lines::LongLines;
use sink::FileSink;

/// What a search gives of a file that matches.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GrepMode {
    /// Its lines.
    Content,
    /// Its path.
    Files,
    /// How many of its lines match.
    Count,
}

/// What is searched for, and how.
#[derive(Clone, Debug)]
pub struct GrepHow {
    /// A regular expression, or the text itself where `literal`.
    pub pattern: String,
    /// Whether the pattern is taken as it is.
    pub literal: bool,
    /// Whether upper and lower case are the same.
    pub ignore_case: bool,
    /// Whether only whole words match.
    pub whole_words: bool,
    /// Whether a match may span lines.
    pub multiline: bool,
    /// Which files, by patterns relative to where the search begins.
    pub globs: Vec<String>,
    /// Whether ignore rules leave out.
    pub ignore_rules: bool,
    /// What is given.
    pub mode: GrepMode,
    /// Lines before a match.
    pub before: usize,
    /// Lines after a match.
    pub after: usize,
    /// How many results at most.
    pub max_results: u64,
}

/// One line, path or count.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct GrepResult {
    /// The file's whole path.
    pub path: RelPath,
    /// The line's number, from 1.
    pub line: u64,
    /// Where the line begins in the file.
    pub offset: u64,
    /// Where `text` begins in the file: behind `offset` where the line was clipped.
    pub text_offset: u64,
    /// The line without its end, clipped around its first match where it is long.
    pub text: Vec<u8>,
    /// The matches within `text`: first byte and the one after the last.
    pub spans: Vec<(usize, usize)>,
    /// Whether this is a line near a match and none itself.
    pub context: bool,
    /// Whether `text` is not the whole line.
    pub clipped: bool,
    /// How many lines of the file match.
    pub count: u64,
}

/// What was searched and what was left out.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct GrepSummary {
    /// Files that were searched.
    pub files: u64,
    /// Files with a NUL byte, which are searched up to it.
    pub binary: u64,
    /// Lines that match, as far as was searched.
    pub matches: u64,
    /// Files and directories that could not be read.
    pub unreadable: u64,
    /// Files too large for a search across lines.
    pub too_large: u64,
    /// Lines so long that they were searched in pieces.
    pub pieced_lines: u64,
    /// Whether there were more results than wanted.
    pub more: bool,
    /// Whether time ran out.
    pub out_of_time: bool,
}

/// A search that is ready to run: its expression and patterns compile.
#[derive(Debug)]
pub struct Grep {
    how: GrepHow,
    matcher: RegexMatcher,
    globs: Option<Patterns>,
    max_results: u64,
}

impl Grep {
    /// Compiles the search.
    pub fn new(how: GrepHow) -> Result<Self, FileError> {
        if how.pattern.is_empty() || how.pattern.len() > MAX_GREP_PATTERN_BYTES {
            return Err(FileError::refused(
                Reason::PatternInvalid,
                format!("pattern: {} bytes", how.pattern.len()),
                format!("send 1 to {MAX_GREP_PATTERN_BYTES} bytes"),
            ));
        }
        let mut builder = RegexMatcherBuilder::new();
        builder
            .multi_line(true)
            .case_insensitive(how.ignore_case)
            .word(how.whole_words)
            .fixed_strings(how.literal)
            .size_limit(GREP_REGEX_BYTES)
            .dfa_size_limit(GREP_REGEX_BYTES)
            .nest_limit(GREP_REGEX_NESTING);
        if !how.multiline {
            builder.line_terminator(Some(b'\n'));
        }
        let matcher = builder.build(&how.pattern).map_err(|error| not_a_pattern(&error))?;
        let globs = if how.globs.is_empty() { None } else { Some(Patterns::new("globs", &how.globs)?) };
        let max_results = how.max_results.clamp(1, MAX_GREP_RESULTS);
        Ok(Grep { how, matcher, globs, max_results })
    }

    /// Searches the directory or file at `path`. Batches of results go to `emit`,
    /// which says whether anybody still wants them.
    pub fn run(
        &self,
        root: &Root,
        path: &RelPath,
        stop: &Stop,
        emit: &mut dyn FnMut(Vec<GrepResult>) -> bool,
    ) -> Result<GrepSummary, FileError> {
        let mut run = Run {
            grep: self,
            searcher: self.searcher(),
            stop,
            out: Batches::new(emit),
            summary: GrepSummary::default(),
        };
        let kind = EntryKind::of_mode(root.stat(path, true)?.st_mode);
        let stopped = if kind == EntryKind::Directory { run.tree(root, path)? } else { run.single(root, path)? };
        match stopped {
            Some(Stopped::Asked) => return Err(nobody_waits()),
            Some(Stopped::Time) => run.summary.out_of_time = true,
            None => {}
        }
        if !run.out.flush() {
            return Err(nobody_waits());
        }
        Ok(run.summary)
    }

    fn searcher(&self) -> Searcher {
        let context = |lines| if self.how.mode == GrepMode::Content { lines } else { 0 };
        SearcherBuilder::new()
            .line_number(true)
            .multi_line(self.how.multiline)
            .before_context(context(self.how.before))
            .after_context(context(self.how.after))
            .heap_limit(Some(GREP_HEAP_BYTES))
            .binary_detection(BinaryDetection::quit(0))
            // Bytes are what a file has; a transcoded one would have other offsets.
            .bom_sniffing(false)
            .build()
    }
}

fn not_a_pattern(error: &grep_regex::Error) -> FileError {
    let (said, hint) = (error.to_string(), error.kind());
    let hint = match hint {
        grep_regex::ErrorKind::NotAllowed(_) => "set multiline to match across lines",
        _ if said.contains("size limit") || said.contains("nest") => "make it smaller: repeat and nest less",
        _ => "the syntax is that of Rust's regex, without look-around and back-references; or set literal",
    };
    // The parser draws the whole pattern and points into it; the last line says what is wrong.
    let problem: String = said.lines().next_back().unwrap_or(&said).chars().take(300).collect();
    FileError::refused(Reason::PatternInvalid, format!("pattern: {problem}"), hint)
}

struct Run<'a> {
    grep: &'a Grep,
    searcher: Searcher,
    stop: &'a Stop,
    out: Batches<'a>,
    summary: GrepSummary,
}

impl Run<'_> {
    fn tree(&mut self, root: &Root, path: &RelPath) -> Result<Option<Stopped>, FileError> {
        let grep = self.grep;
        let selection = Selection {
            base: path,
            depth: usize::MAX,
            ignore_rules: grep.how.ignore_rules,
            patterns: grep.globs.as_ref(),
            after: None,
        };
        let (mut ended, mut unreadable) = (None, 0);
        let stopped = selection.walk(
            root,
            self.stop,
            |found| {
                if found.kind != EntryKind::File || grep.globs.as_ref().is_some_and(|globs| !globs.wants(found.below)) {
                    return Ok(Go::On);
                }
                match self.entry(&found)? {
                    Searched::Whole => Ok(Go::On),
                    Searched::Enough => Ok(Go::Home),
                    Searched::Stopped(stopped) => {
                        ended = Some(stopped);
                        Ok(Go::Home)
                    }
                }
            },
            |_| unreadable += 1,
        )?;
        self.summary.unreadable += unreadable;
        Ok(ended.or(stopped))
    }

    fn entry(&mut self, found: &Selected<'_>) -> Result<Searched, FileError> {
        match open_entry(found.dir, found) {
            Ok(Some(file)) => self.file(&found.path, file),
            // It went or turned into something else: there is no such file now.
            Ok(None) | Err(Errno::NOENT | Errno::LOOP | Errno::NXIO) => Ok(Searched::Whole),
            Err(_) => {
                self.summary.unreadable += 1;
                Ok(Searched::Whole)
            }
        }
    }

    fn single(&mut self, root: &Root, path: &RelPath) -> Result<Option<Stopped>, FileError> {
        let file = root.open_read(path)?;
        Ok(match self.file(path, file)? {
            Searched::Stopped(stopped) => Some(stopped),
            Searched::Whole | Searched::Enough => None,
        })
    }

    fn file(&mut self, path: &RelPath, file: OwnedFd) -> Result<Searched, FileError> {
        self.summary.files += 1;
        if self.out.flushed.elapsed() >= GREP_BATCH_TIME && !self.out.flush() {
            return Err(nobody_waits());
        }
        let lines = LongLines::new(File::from(file), self.stop);
        let cuts = lines.cuts();
        let mut sink = FileSink::new(path, self.grep, &cuts, &mut self.out);
        let searched = self.searcher.search_reader(&self.grep.matcher, lines, &mut sink);
        let found = sink.end();
        self.summary.matches += found.matches;
        self.summary.binary += u64::from(found.binary);
        self.summary.pieced_lines += cuts.borrow().lines();
        self.summary.more |= found.more;
        if found.gone {
            return Err(nobody_waits());
        }
        if let Some(stopped) = cuts.borrow().stopped() {
            return Ok(Searched::Stopped(stopped));
        }
        match searched {
            Ok(()) => {}
            // All that is read into memory is bounded; a search across lines needs the whole file.
            Err(_) if self.grep.how.multiline && !cuts.borrow().failed() => self.summary.too_large += 1,
            Err(_) => self.summary.unreadable += 1,
        }
        Ok(if found.more { Searched::Enough } else { Searched::Whole })
    }
}

enum Searched {
    Whole,
    Enough,
    Stopped(Stopped),
}

fn open_entry(dir: BorrowedFd<'_>, found: &Selected<'_>) -> Result<Option<OwnedFd>, Errno> {
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
    let file = openat(dir.as_fd(), found.name, flags, Mode::empty())?;
    let regular = EntryKind::of_mode(fstat(&file)?.st_mode) == EntryKind::File;
    Ok(regular.then_some(file))
}

/// Results on their way out.
struct Batches<'a> {
    emit: &'a mut dyn FnMut(Vec<GrepResult>) -> bool,
    ahead: Vec<GrepResult>,
    bytes: usize,
    given: u64,
    flushed: Instant,
}

impl<'a> Batches<'a> {
    fn new(emit: &'a mut dyn FnMut(Vec<GrepResult>) -> bool) -> Self {
        Batches { emit, ahead: Vec::new(), bytes: 0, given: 0, flushed: Instant::now() }
    }

    /// Takes a result; `false` where nobody wants any.
    fn push(&mut self, result: GrepResult) -> bool {
        let full = self.ahead.len() >= GREP_BATCH_RESULTS || self.bytes >= GREP_BATCH_BYTES;
        // What was pushed last stays until the next one comes: it may be taken back.
        if (full || self.flushed.elapsed() >= GREP_BATCH_TIME) && !self.flush() {
            return false;
        }
        self.bytes += result.text.len() + result.path.as_bytes().len();
        self.given += 1;
        self.ahead.push(result);
        true
    }

    /// Takes back a line of context that turns out to match.
    fn take_back(&mut self, path: &RelPath, line: u64) {
        if self.ahead.last().is_some_and(|last| last.context && last.line == line && last.path == *path) {
            self.ahead.pop();
            self.given -= 1;
        }
    }

    fn flush(&mut self) -> bool {
        self.flushed = Instant::now();
        self.bytes = 0;
        self.ahead.is_empty() || (self.emit)(std::mem::take(&mut self.ahead))
    }
}
