//! Bounds of the stored formats and of making and restoring snapshots. Those of
//! the formats are part of them: a decoder refuses what lies beyond, before it
//! allocates anything.

use std::time::Duration;

/// Longest file that is one blob, in bytes: most files of a workspace are
/// smaller, and cutting them would cost more than it can save.
pub const WHOLE_FILE_BYTES: u64 = 64 * 1024;
/// Shortest blob that a larger file is cut into, in bytes (its last may be shorter).
pub const MIN_BLOB_BYTES: usize = 16 * 1024;
/// Blob length that cutting aims at, in bytes.
pub const AVERAGE_BLOB_BYTES: usize = 64 * 1024;
/// Longest blob, in bytes.
pub const MAX_BLOB_BYTES: usize = 256 * 1024;
/// Longest file that is cut as above, in bytes; longer ones into longer blobs, since
/// the list of a file's blobs is held while it is read.
pub const LARGE_FILE_BYTES: u64 = 1024 * 1024 * 1024;
/// Shortest blob that such a file is cut into, in bytes.
pub const LARGE_FILE_MIN_BLOB_BYTES: usize = 128 * 1024;
/// Blob length that cutting such a file aims at, in bytes.
pub const LARGE_FILE_AVERAGE_BLOB_BYTES: usize = 192 * 1024;
/// Blobs of one file, at 56 bytes each while it is read. Twice as many as the largest
/// file is cut into: what goes beyond consists of specks between holes.
pub const MAX_FILE_BLOBS: usize = 262_144;

/// Longest content of one frame before compression, in bytes: what a reader of a
/// single small file has to fetch and unpack.
pub const MAX_FRAME_RAW: usize = 1024 * 1024;
/// Longest frame as stored, in bytes: zstd adds 3 bytes to each 128 KiB that do
/// not shrink, sealing adds 56.
pub const MAX_FRAME_STORED: usize = MAX_FRAME_RAW + 1024;
/// Stored length at which a pack is closed, in bytes: large enough that a gigabyte
/// takes few requests, small enough to hold some in memory.
pub const PACK_TARGET_BYTES: usize = 16 * 1024 * 1024;
/// Longest pack, in bytes: the target, a frame and the index.
pub const MAX_PACK_BYTES: u64 = 48 * 1024 * 1024;
/// Frames of one pack. Content that shrinks to nothing would otherwise put any
/// number of them into one.
pub const MAX_PACK_FRAMES: usize = 1_024;
/// Records of files in the index of one pack.
pub const MAX_PACK_ENTRIES: usize = 65_536;
/// Blobs in the index of one pack.
pub const MAX_PACK_BLOBS: usize = 131_072;
/// Length of an index at which its pack is closed, in bytes.
pub const PACK_INDEX_TARGET_BYTES: usize = 8 * 1024 * 1024;
/// Longest index of a pack before compression, in bytes.
pub const MAX_PACK_INDEX_RAW: usize = 24 * 1024 * 1024;

/// Entries of one manifest page.
pub const MAX_PAGE_ENTRIES: usize = 4_096;
/// Entries below which a page is not ended by the name of an entry.
pub const MIN_PAGE_ENTRIES: usize = 512;
/// Blobs that one page refers to: a gigabyte of a file that is cut.
pub const MAX_PAGE_CHUNKS: usize = 16_384;
/// Extended attributes on one page.
pub const MAX_PAGE_XATTRS: usize = 16_384;
/// Length of a page's restore data at which it is closed, in bytes.
pub const PAGE_TARGET_BYTES: usize = 1024 * 1024;
/// Longest restore data of a page before compression, in bytes: the target, one
/// entry with every attribute a file can have, and the frames.
pub const MAX_PAGE_RAW: usize = 8 * 1024 * 1024;
/// Longest dedup index of a page before compression, in bytes.
pub const MAX_DEDUP_RAW: usize = 2 * 1024 * 1024;

/// Longest page as stored, in bytes: both sections where nothing shrinks.
pub const MAX_PAGE_STORED: usize = MAX_PAGE_RAW + MAX_DEDUP_RAW + 128 * 1024;

/// Extended attributes of one entry.
pub const MAX_XATTRS: usize = 1_024;
/// Longest name of an extended attribute, in bytes: Linux's `XATTR_NAME_MAX`.
pub const MAX_XATTR_NAME_BYTES: usize = 255;
/// Longest value of an extended attribute, in bytes: Linux's `XATTR_SIZE_MAX`.
pub const MAX_XATTR_VALUE_BYTES: usize = 64 * 1024;
/// Names and values of one entry's extended attributes together, in bytes.
pub const MAX_XATTRS_BYTES: usize = 1024 * 1024;
/// Longest target of a symbolic link, in bytes: Linux's `PATH_MAX` without the NUL.
pub const MAX_TARGET_BYTES: usize = 4_095;

/// Longest body of a root before compression, in bytes: 100,000 pages.
pub const MAX_ROOT_RAW: usize = 16 * 1024 * 1024;
/// Pages of one root: with 4,096 entries each far more than a tree has.
pub const MAX_ROOT_PAGES: usize = 65_536;
/// Paths of files that kept changing that a root names; the rest is counted.
pub const MAX_FUZZY_PATHS: usize = 256;
/// Rules that a root reports about.
pub const MAX_RULE_REPORTS: usize = 1_024;
/// Longest pattern or name of a rule, in bytes.
pub const MAX_RULE_BYTES: usize = 1_024;
/// Labels of one snapshot.
pub const MAX_LABELS: usize = 16;
/// Longest key of a label, in bytes.
pub const MAX_LABEL_KEY_BYTES: usize = 63;
/// Longest value of a label, in bytes.
pub const MAX_LABEL_VALUE_BYTES: usize = 255;
/// Longest body of the lineage's header, in bytes.
pub const MAX_LINEAGE_RAW: usize = 4 * 1024;

/// How long before a scan a file must have been at rest to be taken as unchanged
/// by the next one: a second store to a page that is dirty already moves no
/// timestamp, and the kernel writes dirty pages back after 30 s at most.
pub const RACY_WINDOW: Duration = Duration::from_secs(35);

/// Age, by the store's clock, at which an object that nothing reaches may be
/// deleted, and a root that was marked as removed.
pub const COLLECT_AFTER: Duration = Duration::from_secs(24 * 60 * 60);
/// Time from reading the newest root to writing the next one. With as long again
/// for a request that is underway it stays below [`COLLECT_AFTER`], so nothing
/// that a writer builds on is deleted before it committed or gave up.
pub const COMMIT_WITHIN: Duration = Duration::from_secs(12 * 60 * 60);

/// Directories of the workspace that one walk keeps open: a small part of the
/// customary 1,024 descriptors of a process, and deeper than nearly every tree.
pub const MAX_HELD_DIRECTORIES: usize = 32;

/// Stored bytes of manifest pages that are kept for the next passes over them: those
/// of a quarter of a million entries. An agent that serves holds as much once more.
pub const MANIFEST_CACHE_BYTES: usize = 8 * 1024 * 1024;
/// Requests of one restore or verification that are underway at a time.
pub const MAX_FETCHES: usize = 4;
/// Bytes of a pack that one request asks for: with those underway and the one in
/// hand the part of the memory bound that contents get.
pub const FETCH_TARGET_BYTES: u64 = 2 * 1024 * 1024;
/// The same, unpacked: text of few words shrinks to a thousandth, and all that one
/// request brings is unpacked at once.
pub const FETCH_RAW_TARGET_BYTES: u64 = 8 * 1024 * 1024;
/// Unpacked frames that a restore holds for their next use, in bytes.
pub const FRAME_CACHE_BYTES: usize = 16 * 1024 * 1024;

/// The zstd level of an archive of a snapshot: its own default, faster than a network.
pub const EXPORT_LEVEL: i32 = 3;
/// Bytes of zeros written at once where a file has a hole.
pub const EXPORT_ZEROS_BYTES: usize = 64 * 1024;

/// Paths of files that need a damaged object, in a report: enough to see what is hit.
pub const MAX_DAMAGE_PATHS: usize = 100;

/// Entries of one workspace: nobody waits for a tree that is larger.
pub const MAX_TREE_ENTRIES: u64 = 5_000_000;
/// Records of one manifest that is restored, at a byte each: those of the largest
/// tree, and room for files whose blobs go over several.
pub const MAX_MANIFEST_RECORDS: u64 = 8_000_000;
/// Bytes of one workspace, holes not counted: each frame of it, of some 900 KiB, takes
/// 48 bytes of memory while it is new and 75 where it is taken over.
pub const MAX_TREE_BYTES: u64 = 192 * 1024 * 1024 * 1024;
/// Bytes of one file, holes not counted: some hundred thousand blobs.
pub const MAX_FILE_BYTES: u64 = 16 * 1024 * 1024 * 1024;
/// Bytes of names that a walk holds of the directories on its way, with 8 for each
/// name. What a directory has beyond its part of them is listed again when it is due.
pub const HELD_NAMES_BYTES: usize = 16 * 1024 * 1024;
/// The part that every directory gets, however deep: nearly all fit.
pub const MIN_HELD_NAMES_BYTES: usize = 4 * 1024;
/// Names of files with several names: 16 bytes of memory each while they are counted,
/// then 24 for each such file.
pub const MAX_LINKED_NAMES: usize = 1_000_000;

/// Tries to write a root before other writers of the same generation win for good.
pub const MAX_COMMIT_TRIES: u32 = 8;
/// Times a file is read that changes while it is read.
pub const MAX_READ_TRIES: u32 = 3;
/// Packs on their way to the store at a time. Each is held whole: two of them and
/// the one that is being filled are the larger part of the memory bound.
pub const MAX_UPLOADS: usize = 2;
/// Entries that wait for the names of the packs with their contents, at about 300
/// bytes each: beyond, the pack is closed early.
pub const MAX_WAITING_ENTRIES: usize = 16_384;
/// Bytes of memory for the places of frames of the snapshot before, while the next one
/// is made: those of the largest workspace in whole packs. What lies in others, as
/// after ten thousands of snapshots of one file, is read and stored again, in fewer.
pub const ADOPTED_FRAMES_BYTES: usize = 24 * 1024 * 1024;
/// Blobs whose place is known while a snapshot is made, at about 60 bytes each.
/// What is beyond is stored again rather than remembered.
pub const MAX_KNOWN_BLOBS: usize = 400_000;
/// Longest list of what is left out, in bytes.
pub const MAX_RULES_FILE_BYTES: u64 = 256 * 1024;
