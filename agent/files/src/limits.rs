//! Bounds of file operations.

use std::time::Duration;

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

/// Time to look for the shortest diff of one file; after it a longer one is told.
pub const DIFF_BUDGET: Duration = Duration::from_millis(500);

/// Places named in a hint: more do not help anybody to choose.
pub const MAX_HINT_PLACES: usize = 5;

/// Directories that one removal holds open at a time: deeper ones are brought up first.
pub const MAX_REMOVE_DEPTH: usize = 32;

/// Levels that one copy descends: each costs two descriptors of the agent's 1,024.
pub const MAX_COPY_DEPTH: usize = 128;

/// Bytes of the names of a file's extended attributes, and of one value: the
/// kernel's own bounds (XATTR_LIST_MAX, XATTR_SIZE_MAX).
pub const XATTR_BYTES: usize = 64 * 1024;

/// Bytes moved at a time in a copy.
pub const COPY_BLOCK_BYTES: usize = 256 * 1024;

/// Directories that one walk of a tree holds open at a time.
pub const MAX_WALK_DIRECTORIES: usize = 32;

/// Names that one walk of a tree holds at a time, of all directories on the way
/// to where it is: some 60 MB where they are as long as people make them.
pub const MAX_WALK_NAMES: usize = 1_000_000;

/// Patterns in one call.
pub const MAX_PATTERNS: usize = 64;

/// Bytes of one pattern: as long as the longest path.
pub const MAX_PATTERN_BYTES: usize = 4_096;

/// Bytes of paths, with 64 for each, that one archive holds until its end: of files with
/// several names when it is packed, of directories when it is unpacked. Some 200,000.
pub const MAX_ARCHIVE_HELD_BYTES: usize = 32 * 1024 * 1024;

/// The zstd level of archives: its own default, faster than a network.
pub const ARCHIVE_LEVEL: i32 = 3;

/// Entries in one page of a listing: they fit one message.
pub const MAX_LIST_PAGE: usize = 1_000;

/// Unreadable directories that one listing tells of.
pub const MAX_LIST_PROBLEMS: usize = 100;

/// Bytes of a file of ignore rules: thousands of rules, of which people write tens.
pub const MAX_IGNORE_FILE_BYTES: u64 = 1024 * 1024;

/// Bytes that a search holds of one file: a whole file where a match may span
/// lines, else the longest piece of a line with its context.
pub const GREP_HEAP_BYTES: usize = 8 * 1024 * 1024;

/// Bytes of a line that is searched in one piece: as many pieces as there may be
/// lines of context fit what a search holds of a file.
pub const GREP_PIECE_BYTES: usize = 128 * 1024;

/// Bytes that two pieces of a line have in common: a match up to this long is
/// found wherever it lies.
pub const GREP_OVERLAP_BYTES: usize = 4 * 1024;

/// Bytes of a compiled regular expression: what `\w{100}` needs several times.
pub const GREP_REGEX_BYTES: usize = 10 * 1024 * 1024;

/// Nesting of a regular expression: nobody reads deeper ones, and each level is a stack frame.
pub const GREP_REGEX_NESTING: u32 = 100;

/// Bytes of a pattern to search for.
pub const MAX_GREP_PATTERN_BYTES: usize = 64 * 1024;

/// Matches that are marked in one line.
pub const MAX_GREP_SPANS: usize = 100;

/// Results that one search gives at most.
pub const MAX_GREP_RESULTS: u64 = 10_000;

/// Results after which a batch is handed on.
pub const GREP_BATCH_RESULTS: usize = 100;

/// Bytes of text after which a batch is handed on: far below one message.
pub const GREP_BATCH_BYTES: usize = 128 * 1024;

/// Time after which what was found is handed on, so that a person sees it come.
pub const GREP_BATCH_TIME: Duration = Duration::from_millis(100);

/// Changes in one batch of a watch.
pub const MAX_BATCH_CHANGES: usize = 1_000;

/// Bytes of the paths in one batch of a watch: half a message.
pub const MAX_BATCH_BYTES: usize = 512 * 1024;

/// Changes that wait for their batch: as many as an installation of packages
/// makes; beyond, one look at the tree costs less than the list.
pub const MAX_PENDING_CHANGES: usize = 100_000;

/// Events that wait for one watch, some 10 MB: four times the kernel's own queue.
pub const MAX_WATCH_EVENTS: usize = 65_536;

/// Entries of a tree that is watched by looking at it again and again.
pub const MAX_POLLED_ENTRIES: usize = 200_000;

/// Time between two looks at a tree that is watched so.
pub const POLL_INTERVAL: std::time::Duration = std::time::Duration::from_secs(2);

/// How much longer than a look the time between two of them is at least: polling
/// takes at most a tenth of a processor.
pub const POLL_REST: u32 = 9;
