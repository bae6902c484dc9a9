//! Bounds of path resolution.

/// Longest path, in bytes: Linux's `PATH_MAX` without the closing NUL.
pub const MAX_PATH_BYTES: usize = 4_095;

/// Longest name of one entry, in bytes: Linux's `NAME_MAX`.
pub const MAX_NAME_BYTES: usize = 255;

/// Symbolic links followed in one resolution: the kernel's own number, so that
/// both resolvers refuse the same chains.
pub const MAX_SYMLINKS: usize = 40;

/// Tries of one `openat2` that answers EAGAIN (a rename raced a `..`): after
/// them the descriptor walk takes over, which renames cannot send back.
pub const MAX_EAGAIN_TRIES: usize = 64;

/// Directories that one walk keeps open for `..`: a quarter of the customary
/// 1,024 descriptors of a process, deeper than any tree that people make.
pub const MAX_HELD_DIRECTORIES: usize = 256;

/// Tries of the last component of a walk, when it turns from file to link and
/// back between two looks at it.
pub const MAX_LAST_TRIES: usize = 64;
