//! Bounds of file operations.

/// Bytes in one page of a read: fits one message with room to spare.
pub const MAX_PAGE_BYTES: usize = 256 * 1024;

/// Lines in one page of a read: what a person or a model takes in at once.
pub const MAX_PAGE_LINES: u64 = 2_000;

/// Characters of one line before it is clipped: minified files have lines of megabytes.
pub const MAX_LINE_CHARACTERS: usize = 2_000;

/// Bytes looked through for the first line of a page; beyond, a byte range
/// reaches the place at once and a scan would take seconds.
pub const MAX_LINE_SCAN_BYTES: u64 = 64 * 1024 * 1024;

/// Bytes looked at to tell binary content from text: git's own number.
pub const BINARY_PROBE_BYTES: usize = 8_000;

/// Largest file that an edit changes, in bytes: it is held in memory twice.
pub const MAX_EDIT_BYTES: u64 = 8 * 1024 * 1024;

/// Files in one edit: all of them are held until the last one is checked.
pub const MAX_EDIT_FILES: usize = 64;

/// Bytes of all files of one edit, before it: the memory that one call may take.
pub const MAX_EDIT_TOTAL_BYTES: u64 = 16 * 1024 * 1024;

/// Bytes of one diff that is returned: a rewritten file needs no longer proof.
pub const MAX_DIFF_BYTES: usize = 64 * 1024;

/// Places named in a hint: more do not help anybody to choose.
pub const MAX_HINT_PLACES: usize = 5;

/// Directories that one removal holds open at a time: deeper ones are brought up first.
pub const MAX_REMOVE_DEPTH: usize = 32;

/// Levels that one copy descends: each costs two descriptors of the agent's 1,024.
pub const MAX_COPY_DEPTH: usize = 128;

/// Bytes moved at a time in a copy.
pub const COPY_BLOCK_BYTES: usize = 256 * 1024;
