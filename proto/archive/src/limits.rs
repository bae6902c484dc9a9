//! Bounds of an archive and of what is held of one entry, each with its unit and its reason.

/// Bytes of one extended header: names, a link's target and attributes; it is held in memory.
pub const MAX_HEADER_BYTES: u64 = 1024 * 1024;
/// Extended headers before one entry: each writer of archives needs at most four.
pub const MAX_HEADERS: usize = 16;
/// Bytes of the name of one extended attribute: the kernel's own bound (XATTR_NAME_MAX).
pub const MAX_XATTR_NAME_BYTES: usize = 255;
/// Bytes of the value of one, and of the list of all names: the kernel's own bounds
/// (XATTR_SIZE_MAX, XATTR_LIST_MAX).
pub const MAX_XATTR_VALUE_BYTES: usize = 64 * 1024;
/// Extended attributes of one entry: ext4 has room for some dozens.
pub const MAX_XATTRS: usize = 256;
/// Names and values of those together, in bytes: with them and the longest path an
/// extended header stays below its own bound.
pub const MAX_XATTRS_BYTES: usize = 512 * 1024;

/// Entries of one archive: some hundred times a large project.
pub const MAX_ARCHIVE_ENTRIES: u64 = 1_000_000;

/// Bytes that one archive holds, unpacked: as many as the workspace of a large
/// project, and little enough to stop an archive made to fill a disk.
pub const MAX_ARCHIVE_BYTES: u64 = 64 * 1024 * 1024 * 1024;

/// How many bytes one compressed byte may become: source code becomes 5, logs
/// 100, and archives made to do harm 30,000.
pub const MAX_ARCHIVE_RATIO: u64 = 1_000;

/// Unpacked bytes up to which the ratio does not matter: a small archive of
/// zeros harms nobody.
pub const ARCHIVE_RATIO_FREE_BYTES: u64 = 256 * 1024 * 1024;

/// The largest zstd window that is unpacked, as a power of two: 32 MiB, which is
/// the memory that one call may take and what levels up to 20 need.
pub const MAX_ARCHIVE_WINDOW_LOG: u32 = 25;

/// Bytes moved at a time into or out of an archive.
pub const ARCHIVE_BLOCK_BYTES: usize = 64 * 1024;

/// Bytes of paths and targets, with 64 for each, of the symbolic links of one archive
/// that is looked through: some 200,000.
pub const MAX_INSPECTED_LINK_BYTES: usize = 32 * 1024 * 1024;
