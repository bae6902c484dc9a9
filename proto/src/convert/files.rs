//! The requests of `FileService`, validated. Paths stay bytes here: what a path
//! may be is decided by the agent's confined root alone.

mod search;

use bytes::Bytes;
use remora_proto_model::{Fault, Reason};

use crate::agent::v1::{
    ArchiveFormat, ArchiveGetRequest, ArchivePutHead, EditRequest, FileEdit, FileTime, MkdirRequest, ReadRequest,
    SetAttrRequest, StatRequest, TextChange, WriteHead, read_request, text_change, write_head,
};

pub use self::search::{
    DEFAULT_COALESCE, DEFAULT_GREP_MS, DEFAULT_GREP_RESULTS, Glob, GrepOutput, GrepSearch, List, MAX_COALESCE,
    MAX_GLOB_BYTES, MAX_GLOBS, MAX_GREP_CONTEXT, MAX_GREP_MS, MAX_GREP_PATTERN_BYTES, MAX_GREP_RESULTS, MAX_LIST_DEPTH,
    MAX_LIST_PAGE, MAX_PAGE_TOKEN_BYTES, MIN_COALESCE, Watch,
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
/// Most patterns of one ArchiveGet.
pub const MAX_EXCLUDES: usize = 64;
/// Most files in one Edit.
pub const MAX_EDITS: usize = 64;
/// Most changes to one file in one Edit: each is applied to the whole content.
pub const MAX_CHANGES: usize = 1_000;

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
    pub(super) fn of(format: i32) -> Result<Self, Fault> {
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
