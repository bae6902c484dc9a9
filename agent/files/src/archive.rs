//! What packing and unpacking share: the formats, the summary, and how the
//! fields of a tar are written and read.

mod header;
mod members;
mod source;

pub(crate) use header::{PaxTime, Written, write_header};
pub(crate) use members::{Broken, Kind, Member, Members, shown};
pub(crate) use source::{Source, SourceFault};

/// How an archive is packed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ArchiveFormat {
    /// ustar, with pax extensions (POSIX.1-2001) where ustar has no room.
    Tar,
    /// The same in zstd frames (RFC 8878).
    TarZstd,
}

/// What an archive held.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ArchiveSummary {
    /// Files, directories and links.
    pub entries: u64,
    /// Bytes of the files' contents.
    pub content_bytes: u64,
    /// Sockets, pipes and devices, which were left out.
    pub skipped: u64,
}

/// Bytes of a block: headers and contents begin at multiples of it.
pub(crate) const BLOCK: usize = 512;

/// Zeros from the end of `size` bytes to the next block.
pub(crate) const fn padding(size: u64) -> usize {
    (BLOCK - (size % BLOCK as u64) as usize) % BLOCK
}
