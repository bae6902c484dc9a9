//! The requests of `FileService`, validated. Paths stay bytes here: what a path
//! may be is decided by the agent's confined root alone.

use std::time::Duration;

use bytes::Bytes;
use remora_proto_model::{Fault, Reason};

use crate::agent::v1::{
    ArchiveFormat, ArchiveGetRequest, ArchivePutHead, EditRequest, FileEdit, FileTime, GlobRequest, GrepRequest,
    ListRequest, MkdirRequest, ReadRequest, SetAttrRequest, StatRequest, TextChange, WatchRequest, WriteHead,
    grep_request::Mode, read_request, text_change, write_head,
};

/// Most paths of one Stat: their answers fit one message.
pub const MAX_STAT_PATHS: usize = 1_000;
/// Most bytes of one Read.
pub const MAX_READ_BYTES: u32 = 262_144;
/// Most lines of one Read.
pub const MAX_READ_LINES: u64 = 2_000;
/// Most bytes of content in one message of a stream.
pub const MAX_CHUNK_BYTES: usize = 1_048_576;
/// Permission bits, set-id bits and the sticky bit.
pub const MAX_MODE: u32 = 0o7777;
/// Longest version that can have come from an agent, in bytes.
pub const MAX_ETAG_BYTES: usize = 128;
/// Shortest time within which changes become one batch.
pub const MIN_COALESCE: Duration = Duration::from_millis(10);
/// Longest time within which changes become one batch.
pub const MAX_COALESCE: Duration = Duration::from_millis(5_000);
/// The time where the caller does not say: an editor's save is one batch.
pub const DEFAULT_COALESCE: Duration = Duration::from_millis(50);
/// Most patterns of one ArchiveGet.
pub const MAX_EXCLUDES: usize = 64;
/// Most files in one Edit.
pub const MAX_EDITS: usize = 64;
/// Most changes to one file in one Edit: each is applied to the whole content.
pub const MAX_CHANGES: usize = 1_000;

/// Most levels of one List.
pub const MAX_LIST_DEPTH: u32 = 64;
/// Most entries on a page of List or Glob.
pub const MAX_LIST_PAGE: u32 = 1_000;
/// Longest page token: a path in hexadecimal with its mark.
pub const MAX_PAGE_TOKEN_BYTES: usize = 8_400;
/// Most patterns of one call.
pub const MAX_GLOBS: usize = 64;
/// Longest pattern, in bytes.
pub const MAX_GLOB_BYTES: usize = 4_096;
/// Longest expression to search for, in bytes.
pub const MAX_GREP_PATTERN_BYTES: usize = 65_536;
/// Most lines of context on either side of a match.
pub const MAX_GREP_CONTEXT: u32 = 20;
/// Most results of one search.
pub const MAX_GREP_RESULTS: u32 = 10_000;
/// Results where the caller does not say.
pub const DEFAULT_GREP_RESULTS: u32 = 250;
/// Longest time of one search, in milliseconds.
pub const MAX_GREP_MS: u32 = 60_000;
/// Milliseconds where the caller does not say.
pub const DEFAULT_GREP_MS: u32 = 15_000;

/// A checked [`StatRequest`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stat {
    /// What to look at.
    pub paths: Vec<Bytes>,
    /// Whether a link in the last place is followed.
    pub follow: bool,
}

impl TryFrom<StatRequest> for Stat {
    type Error = Fault;
    fn try_from(request: StatRequest) -> Result<Self, Fault> {
        if request.paths.is_empty() || request.paths.len() > MAX_STAT_PATHS {
            return Err(Fault::invalid("paths", format!("{} given", request.paths.len()))
                .hint(format!("send 1 to {MAX_STAT_PATHS}")));
        }
        Ok(Stat { paths: request.paths, follow: request.follow })
    }
}

/// Which part of a file is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReadRange {
    /// `length` bytes from `offset`.
    Bytes {
        /// The first byte, from 0.
        offset: u64,
        /// How many at most.
        length: u32,
    },
    /// `count` lines from `first`.
    Lines {
        /// The first line, from 1.
        first: u64,
        /// How many at most.
        count: u64,
        /// Whether each has its number before it.
        numbered: bool,
    },
}

/// A checked [`ReadRequest`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Read {
    /// The file.
    pub path: Bytes,
    /// Which part.
    pub range: ReadRange,
    /// The version it must be.
    pub if_match: Option<String>,
}

impl TryFrom<ReadRequest> for Read {
    type Error = Fault;
    fn try_from(request: ReadRequest) -> Result<Self, Fault> {
        let range = match request.range {
            None => ReadRange::Bytes { offset: 0, length: MAX_READ_BYTES },
            Some(read_request::Range::Bytes(range)) => {
                at_most("bytes.length", range.length.into(), MAX_READ_BYTES.into())?;
                let length = if range.length == 0 { MAX_READ_BYTES } else { range.length };
                ReadRange::Bytes { offset: range.offset, length }
            }
            Some(read_request::Range::Lines(range)) => {
                at_most("lines.count", range.count, MAX_READ_LINES)?;
                let count = if range.count == 0 { MAX_READ_LINES } else { range.count };
                ReadRange::Lines { first: range.first.max(1), count, numbered: range.numbered }
            }
        };
        Ok(Read { path: request.path, range, if_match: etag(request.if_match)? })
    }
}

/// What must be true of the file that a Write meets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum WriteCondition {
    /// Nothing.
    Overwrite,
    /// It must not exist.
    Create,
    /// It must be this version.
    IfMatch(String),
}

/// A checked [`WriteHead`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WriteStart {
    /// The file.
    pub path: Bytes,
    /// What must be true of it.
    pub condition: WriteCondition,
    /// Whether missing directories are made.
    pub parents: bool,
    /// Permission bits.
    pub mode: Option<u32>,
    /// The length to come.
    pub length: Option<u64>,
}

impl TryFrom<WriteHead> for WriteStart {
    type Error = Fault;
    fn try_from(head: WriteHead) -> Result<Self, Fault> {
        let condition = match head.condition {
            None | Some(write_head::Condition::Overwrite(true)) => WriteCondition::Overwrite,
            Some(write_head::Condition::Create(true)) => WriteCondition::Create,
            Some(write_head::Condition::IfMatch(version)) => WriteCondition::IfMatch(
                etag(version)?.ok_or_else(|| Fault::invalid("if_match", "is empty").hint("send the etag of a Read"))?,
            ),
            Some(write_head::Condition::Overwrite(false) | write_head::Condition::Create(false)) => {
                return Err(Fault::invalid("condition", "is set to false")
                    .hint("set exactly one of overwrite, create and if_match, or none to overwrite"));
            }
        };
        let WriteHead { path, parents, mode, length, .. } = head;
        mode.map_or(Ok(()), check_mode)?;
        Ok(WriteStart { path, condition, parents, mode, length })
    }
}

/// One change to a text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// Exactly `expected` places of `old` become `new`.
    Replace {
        /// What is there.
        old: Bytes,
        /// What is to be there.
        new: Bytes,
        /// In how many places, at least 1.
        expected: u64,
    },
    /// The lines `first` to `last` become `new`.
    Lines {
        /// From 1.
        first: u64,
        /// The last one; one less than `first` puts in.
        last: u64,
        /// What is to be there.
        new: Bytes,
    },
}

/// The changes to one file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FileChanges {
    /// The file.
    pub path: Bytes,
    /// The version it must be.
    pub if_match: Option<String>,
    /// In order.
    pub changes: Vec<Change>,
}

/// A checked [`EditRequest`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Edit {
    /// One entry a file.
    pub files: Vec<FileChanges>,
    /// Whether nothing is written.
    pub dry_run: bool,
}

impl TryFrom<EditRequest> for Edit {
    type Error = Fault;
    fn try_from(request: EditRequest) -> Result<Self, Fault> {
        if request.edits.is_empty() || request.edits.len() > MAX_EDITS {
            return Err(Fault::invalid("edits", format!("{} given", request.edits.len()))
                .hint(format!("send 1 to {MAX_EDITS} files")));
        }
        let files = request.edits.into_iter().map(FileChanges::try_from).collect::<Result<_, _>>()?;
        Ok(Edit { files, dry_run: request.dry_run })
    }
}

impl TryFrom<FileEdit> for FileChanges {
    type Error = Fault;
    fn try_from(edit: FileEdit) -> Result<Self, Fault> {
        if edit.changes.is_empty() || edit.changes.len() > MAX_CHANGES {
            return Err(Fault::invalid("edits.changes", format!("{} given for one file", edit.changes.len()))
                .hint(format!("send 1 to {MAX_CHANGES}")));
        }
        let changes = edit.changes.into_iter().map(Change::try_from).collect::<Result<_, _>>()?;
        Ok(FileChanges { path: edit.path, if_match: etag(edit.if_match)?, changes })
    }
}

impl TryFrom<TextChange> for Change {
    type Error = Fault;
    fn try_from(change: TextChange) -> Result<Self, Fault> {
        match change.change {
            Some(text_change::Change::Replace(replace)) if replace.old.is_empty() => {
                Err(Fault::invalid("replace.old", "is empty")
                    .hint("use `lines` to put text in at a line, or Write for a new file"))
            }
            Some(text_change::Change::Replace(replace)) => {
                Ok(Change::Replace { old: replace.old, new: replace.new, expected: replace.expected.max(1) })
            }
            Some(text_change::Change::Lines(lines)) if lines.first == 0 => {
                Err(Fault::invalid("lines.first", "is 0").hint("lines count from 1"))
            }
            Some(text_change::Change::Lines(lines)) => {
                Ok(Change::Lines { first: lines.first, last: lines.last, new: lines.new })
            }
            None => Err(Fault::invalid("edits.changes", "a change is empty").hint("set `replace` or `lines`")),
        }
    }
}

/// A checked [`MkdirRequest`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mkdir {
    /// The directory.
    pub path: Bytes,
    /// Whether those above it are made too.
    pub parents: bool,
    /// Permission bits.
    pub mode: u32,
}

impl TryFrom<MkdirRequest> for Mkdir {
    type Error = Fault;
    fn try_from(request: MkdirRequest) -> Result<Self, Fault> {
        let mode = request.mode.unwrap_or(0o755);
        check_mode(mode)?;
        Ok(Mkdir { path: request.path, parents: request.parents, mode })
    }
}

/// A checked [`SetAttrRequest`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SetAttr {
    /// The file or directory.
    pub path: Bytes,
    /// Permission bits.
    pub mode: Option<u32>,
    /// Modification time.
    pub modified: Option<FileTime>,
}

impl TryFrom<SetAttrRequest> for SetAttr {
    type Error = Fault;
    fn try_from(request: SetAttrRequest) -> Result<Self, Fault> {
        let SetAttrRequest { path, mode, modified } = request;
        if mode.is_none() && modified.is_none() {
            return Err(Fault::invalid("mode, modified", "neither is given").hint("set at least one of them"));
        }
        mode.map_or(Ok(()), check_mode)?;
        if let Some(time) = modified.filter(|time| time.nanos > 999_999_999) {
            return Err(Fault::invalid("modified.nanos", format!("{} is more than 999999999", time.nanos)));
        }
        Ok(SetAttr { path, mode, modified })
    }
}

/// How an archive is packed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Packing {
    /// A plain tar.
    Tar,
    /// A tar in a zstd stream.
    TarZstd,
}

impl Packing {
    fn of(format: i32) -> Result<Self, Fault> {
        match ArchiveFormat::try_from(format) {
            Ok(ArchiveFormat::Unspecified | ArchiveFormat::Tar) => Ok(Packing::Tar),
            Ok(ArchiveFormat::TarZstd) => Ok(Packing::TarZstd),
            Err(_) => Err(Fault::invalid("format", format!("{format} is neither TAR (1) nor TAR_ZSTD (2)"))
                .hint("the agent may be older than the caller; TAR is known to all")),
        }
    }
}

/// A checked [`ArchiveGetRequest`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ArchiveGet {
    /// What is packed.
    pub path: Bytes,
    /// How.
    pub packing: Packing,
    /// What is left out.
    pub exclude: Vec<String>,
}

impl TryFrom<ArchiveGetRequest> for ArchiveGet {
    type Error = Fault;
    fn try_from(request: ArchiveGetRequest) -> Result<Self, Fault> {
        let ArchiveGetRequest { path, format, exclude } = request;
        if exclude.len() > MAX_EXCLUDES {
            return Err(Fault::invalid("exclude", format!("{} patterns given", exclude.len()))
                .hint(format!("send at most {MAX_EXCLUDES}")));
        }
        Ok(ArchiveGet { path, packing: Packing::of(format)?, exclude })
    }
}

/// A checked [`ArchivePutHead`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ArchivePut {
    /// The directory that is unpacked into.
    pub path: Bytes,
    /// How the archive is packed.
    pub packing: Packing,
}

impl TryFrom<ArchivePutHead> for ArchivePut {
    type Error = Fault;
    fn try_from(head: ArchivePutHead) -> Result<Self, Fault> {
        Ok(ArchivePut { path: head.path, packing: Packing::of(head.format)? })
    }
}

/// A checked [`ListRequest`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct List {
    /// The directory.
    pub path: Bytes,
    /// How many levels, at least 1.
    pub depth: u32,
    /// Whether ignore rules leave out.
    pub ignore_rules: bool,
    /// How many entries at most.
    pub page_size: u32,
    /// Where the page before ended.
    pub page_token: String,
}

impl TryFrom<ListRequest> for List {
    type Error = Fault;
    fn try_from(request: ListRequest) -> Result<Self, Fault> {
        at_most("depth", request.depth.into(), MAX_LIST_DEPTH.into())?;
        Ok(List {
            path: request.path,
            depth: request.depth.max(1),
            ignore_rules: request.ignore_rules,
            page_size: page_size(request.page_size)?,
            page_token: page_token(request.page_token)?,
        })
    }
}

/// A checked [`GlobRequest`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Glob {
    /// Where to look.
    pub path: Bytes,
    /// At least one.
    pub patterns: Vec<String>,
    /// Whether ignore rules leave out.
    pub ignore_rules: bool,
    /// How many entries at most.
    pub page_size: u32,
    /// Where the page before ended.
    pub page_token: String,
}

impl TryFrom<GlobRequest> for Glob {
    type Error = Fault;
    fn try_from(request: GlobRequest) -> Result<Self, Fault> {
        if request.patterns.is_empty() {
            return Err(
                Fault::invalid("patterns", "is empty").hint(format!("send 1 to {MAX_GLOBS}, for example **/*.rs"))
            );
        }
        globs("patterns", &request.patterns)?;
        Ok(Glob {
            path: request.path,
            patterns: request.patterns,
            ignore_rules: request.ignore_rules,
            page_size: page_size(request.page_size)?,
            page_token: page_token(request.page_token)?,
        })
    }
}

/// What a search gives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GrepOutput {
    /// Lines.
    Content,
    /// Paths.
    Files,
    /// Counts.
    Count,
}

/// A checked [`GrepRequest`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GrepSearch {
    /// Where to look.
    pub path: Bytes,
    /// What for.
    pub pattern: String,
    /// Whether it is no regular expression.
    pub literal: bool,
    /// Whether case counts.
    pub ignore_case: bool,
    /// Whether only whole words match.
    pub whole_words: bool,
    /// Whether a match may span lines.
    pub multiline: bool,
    /// Which files.
    pub globs: Vec<String>,
    /// Whether ignore rules leave out.
    pub ignore_rules: bool,
    /// What is given.
    pub output: GrepOutput,
    /// Lines before a match.
    pub before: u32,
    /// Lines after a match.
    pub after: u32,
    /// How many results at most.
    pub max_results: u32,
    /// How long it may take.
    pub budget: Duration,
}

impl TryFrom<GrepRequest> for GrepSearch {
    type Error = Fault;
    fn try_from(request: GrepRequest) -> Result<Self, Fault> {
        if request.pattern.is_empty() || request.pattern.len() > MAX_GREP_PATTERN_BYTES {
            return Err(Fault::invalid("pattern", format!("has {} bytes", request.pattern.len()))
                .hint(format!("send 1 to {MAX_GREP_PATTERN_BYTES}")));
        }
        globs("globs", &request.globs)?;
        at_most("before_context", request.before_context.into(), MAX_GREP_CONTEXT.into())?;
        at_most("after_context", request.after_context.into(), MAX_GREP_CONTEXT.into())?;
        at_most("max_results", request.max_results.into(), MAX_GREP_RESULTS.into())?;
        at_most("time_budget_ms", request.time_budget_ms.into(), MAX_GREP_MS.into())?;
        let output = match Mode::try_from(request.mode) {
            Ok(Mode::Unspecified | Mode::Content) => GrepOutput::Content,
            Ok(Mode::Files) => GrepOutput::Files,
            Ok(Mode::Count) => GrepOutput::Count,
            Err(_) => {
                return Err(Fault::invalid("mode", format!("{} is none", request.mode))
                    .hint("send CONTENT (1), FILES (2) or COUNT (3)"));
            }
        };
        let or = |value: u32, default| if value == 0 { default } else { value };
        Ok(GrepSearch {
            path: request.path,
            pattern: request.pattern,
            literal: request.literal,
            ignore_case: request.ignore_case,
            whole_words: request.whole_words,
            multiline: request.multiline,
            globs: request.globs,
            ignore_rules: !request.no_ignore_rules,
            output,
            before: request.before_context,
            after: request.after_context,
            max_results: or(request.max_results, DEFAULT_GREP_RESULTS),
            budget: Duration::from_millis(or(request.time_budget_ms, DEFAULT_GREP_MS).into()),
        })
    }
}

fn globs(field: &str, patterns: &[String]) -> Result<(), Fault> {
    if patterns.len() > MAX_GLOBS {
        return Err(
            Fault::invalid(field, format!("{} given", patterns.len())).hint(format!("send at most {MAX_GLOBS}"))
        );
    }
    match patterns.iter().find(|pattern| pattern.is_empty() || pattern.len() > MAX_GLOB_BYTES) {
        Some(bad) => Err(Fault::invalid(field, format!("a pattern has {} bytes", bad.len()))
            .hint(format!("each has 1 to {MAX_GLOB_BYTES}"))),
        None => Ok(()),
    }
}

fn page_size(size: u32) -> Result<u32, Fault> {
    at_most("page_size", size.into(), MAX_LIST_PAGE.into())?;
    Ok(if size == 0 { MAX_LIST_PAGE } else { size })
}

fn page_token(token: String) -> Result<String, Fault> {
    if token.len() > MAX_PAGE_TOKEN_BYTES {
        return Err(Fault::invalid("page_token", "is longer than any that an agent gave")
            .hint("send `next_page_token` of the page before as it is"));
    }
    Ok(token)
}

/// A checked [`WatchRequest`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Watch {
    /// The directory.
    pub path: Bytes,
    /// What of it is told of.
    pub globs: Vec<String>,
    /// Whether ignore rules leave out.
    pub ignore_rules: bool,
    /// Time within which changes become one batch.
    pub coalesce: Duration,
}

impl TryFrom<WatchRequest> for Watch {
    type Error = Fault;
    fn try_from(request: WatchRequest) -> Result<Self, Fault> {
        let WatchRequest { path, globs, ignore_rules, coalesce_ms } = request;
        self::globs("globs", &globs)?;
        let coalesce = match coalesce_ms {
            0 => DEFAULT_COALESCE,
            millis => Duration::from_millis(millis.into()),
        };
        if !(MIN_COALESCE..=MAX_COALESCE).contains(&coalesce) {
            return Err(Fault::invalid("coalesce_ms", format!("{coalesce_ms} is too short or too long"))
                .hint("send 10 to 5000, or 0 for 50"));
        }
        Ok(Watch { path, globs, ignore_rules, coalesce })
    }
}

/// Checks the size of one message's content in a stream.
pub fn check_chunk(data: &Bytes) -> Result<(), Fault> {
    if data.len() <= MAX_CHUNK_BYTES {
        return Ok(());
    }
    Err(Fault::new(Reason::TooLarge, format!("data: {} bytes in one message", data.len()))
        .hint(format!("send at most {MAX_CHUNK_BYTES} bytes a message")))
}

fn check_mode(mode: u32) -> Result<(), Fault> {
    if mode <= MAX_MODE {
        return Ok(());
    }
    Err(Fault::invalid("mode", format!("{mode:#o} is more than permission bits")).hint("send 0 to 07777"))
}

fn etag(text: String) -> Result<Option<String>, Fault> {
    if text.len() > MAX_ETAG_BYTES {
        return Err(Fault::invalid("if_match", format!("{} bytes are no etag", text.len()))
            .hint("send the etag of a Read, Stat or Write as it is"));
    }
    Ok(Some(text).filter(|text| !text.is_empty()))
}

fn at_most(field: &str, value: u64, most: u64) -> Result<(), Fault> {
    if value <= most {
        return Ok(());
    }
    Err(Fault::invalid(field, format!("{value} is more than {most}")).hint("ask for less, more than once"))
}
