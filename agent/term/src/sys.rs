//! The one place that needs `unsafe`: what the system offers no safe call for.
#![expect(
    unsafe_code,
    reason = "a child needs its session and terminal set between fork and exec, portable-pty lends raw descriptors only, tokio trusts descriptors unseen, and rustix names no real-time signals"
)]

use std::{
    io,
    os::{
        fd::{BorrowedFd, OwnedFd, RawFd},
        unix::process::CommandExt as _,
    },
    process::Command,
};

use rustix::{
    fs::{Mode, OFlags},
    process::Signal,
};
use tokio::io::{Interest, unix::AsyncFd};

use crate::oom_score::OomScore;

/// Gives the command a session of its own; `controlling` makes its stdin the
/// session's terminal. The child dies with the thread that forks it, so that a
/// killed shim leaves no programs behind.
pub(crate) fn own_session(command: &mut Command, controlling: bool) {
    let parent = rustix::process::getpid();
    let prepare = move || -> io::Result<()> {
        rustix::process::set_parent_process_death_signal(Some(Signal::KILL))?;
        if rustix::process::getppid() != Some(parent) {
            // The parent died before the line above could tie the child to it.
            return Err(io::Error::from_raw_os_error(rustix::io::Errno::SRCH.raw_os_error()));
        }
        rustix::process::setsid()?;
        if controlling {
            // SAFETY: std has put the PTY's slave on descriptor 0 before it calls this.
            let stdin = unsafe { BorrowedFd::borrow_raw(0) };
            rustix::process::ioctl_tiocsctty(stdin)?;
        }
        Ok(())
    };
    // SAFETY: the closure only makes system calls and allocates nothing, as the
    // child of a process with threads may do.
    unsafe {
        command.pre_exec(prepare);
    }
}

/// Gives the child of `command` its points before anything else is done to it: a
/// confinement takes the file away.
pub(crate) fn scored(command: &mut Command, score: OomScore) {
    let (text, length) = score.text();
    let prepare = move || -> io::Result<()> {
        // Without /proc the kernel chooses among all alike, as it would without this.
        if let Ok(file) = rustix::fs::open(c"/proc/self/oom_score_adj", OFlags::WRONLY | OFlags::CLOEXEC, Mode::empty())
        {
            let _ = rustix::io::write(&file, &text[..length]);
        }
        Ok(())
    };
    // SAFETY: the closure only makes system calls and allocates nothing, as the
    // child of a process with threads may do.
    unsafe {
        command.pre_exec(prepare);
    }
}

/// A descriptor of our own for the file behind `raw`, which `_lender` keeps open.
pub(crate) fn duplicate<T: ?Sized>(raw: RawFd, _lender: &T) -> io::Result<OwnedFd> {
    // SAFETY: the lender is borrowed for the time of this call and owns `raw`.
    let borrowed = unsafe { BorrowedFd::borrow_raw(raw) };
    Ok(rustix::io::fcntl_dupfd_cloexec(borrowed, 3)?)
}

/// Watches a descriptor for readiness, and makes it one that does not block.
pub(crate) fn watched(fd: OwnedFd) -> io::Result<AsyncFd<OwnedFd>> {
    watched_for(fd, Interest::READABLE | Interest::WRITABLE)
}

/// The same for one kind of readiness: nobody is woken for the other.
pub(crate) fn watched_for(fd: OwnedFd, interest: Interest) -> io::Result<AsyncFd<OwnedFd>> {
    rustix::io::ioctl_fionbio(&fd, true)?;
    // SAFETY: an OwnedFd is one and the same open descriptor until it is dropped,
    // and the AsyncFd that owns it deregisters it first.
    Ok(unsafe { AsyncFd::register_with_interest(fd, interest) }?)
}

/// Marks every open descriptor from `first` on so that no child inherits it:
/// whoever started this process may have left some open.
pub fn close_on_exec_from(first: RawFd) -> io::Result<()> {
    for entry in std::fs::read_dir("/proc/self/fd")? {
        let Some(raw) = entry?.file_name().to_str().and_then(|name| name.parse::<RawFd>().ok()) else { continue };
        if raw >= first {
            // SAFETY: only a flag is set, and a number that is closed meanwhile gives EBADF.
            let fd = unsafe { BorrowedFd::borrow_raw(raw) };
            let _ = rustix::io::fcntl_setfd(fd, rustix::io::FdFlags::CLOEXEC);
        }
    }
    Ok(())
}

/// The signal of that number, as in signal(7): 1 to 64 without the two that the
/// C library keeps for itself.
pub fn signal_number(number: i32) -> Option<Signal> {
    match number {
        1..=31 => Signal::from_named_raw(number),
        // SAFETY: not among the C library's own (32 to 34 cover glibc's and musl's).
        35..=64 => Some(unsafe { Signal::from_raw_unchecked(number) }),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a052_only_signals_that_exist_have_a_number() {
        for number in [i32::MIN, -1, 0, 32, 33, 34, 65, i32::MAX] {
            assert!(signal_number(number).is_none(), "{number}");
        }
        assert_eq!(signal_number(9), Some(Signal::KILL));
        assert_eq!(signal_number(64).map(Signal::as_raw), Some(64));
    }
}
