//! Resolution by the kernel: `openat2` with `RESOLVE_BENEATH`.

use std::os::fd::{BorrowedFd, OwnedFd};

use rustix::{
    fs::{Mode, OFlags, ResolveFlags, openat2},
    io::Errno,
};

use crate::limits::MAX_EAGAIN_TRIES;

/// What came of it.
pub(crate) enum Answer {
    /// The kernel resolved the path or refused it.
    Final(Result<OwnedFd, Errno>),
    /// The system has no `openat2`: it is older than 5.6, or a seccomp filter forbids the call.
    Missing,
    /// Renames kept racing a `..`: the call is to be walked.
    Raced,
}

pub(crate) fn open(root: BorrowedFd<'_>, path: &[u8], flags: OFlags, mode: Mode) -> Answer {
    for _ in 0..MAX_EAGAIN_TRIES {
        match openat2(root, path, flags, mode, ResolveFlags::BENEATH | ResolveFlags::NO_MAGICLINKS) {
            Err(Errno::AGAIN | Errno::INTR) => {}
            Err(Errno::NOSYS) => return Answer::Missing,
            // A filter's refusal and a file's look alike; a call that nothing
            // but a filter refuses tells them apart.
            Err(Errno::PERM) if !available(root) => return Answer::Missing,
            result => return Answer::Final(result),
        }
    }
    Answer::Raced
}

/// Whether `openat2` can be called at all.
pub(crate) fn available(root: BorrowedFd<'_>) -> bool {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_MAGICLINKS;
    !matches!(openat2(root, ".", flags, Mode::empty(), resolve), Err(Errno::NOSYS | Errno::PERM))
}
