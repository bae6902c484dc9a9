//! Bounds of what is held of one entry of an archive, each with its unit and its reason.

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
