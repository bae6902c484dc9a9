//! What packing and unpacking share: the formats and the summary.

/// Bytes that are held of a path besides its own.
pub(crate) const HELD_BYTES: usize = 64;

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
    /// Extended attributes that the file system did not take.
    pub xattrs_refused: u64,
}
