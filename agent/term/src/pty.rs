//! The PTY: opened and sized by portable-pty, read and written without blocking.

use std::{
    io::{self, ErrorKind},
    num::NonZeroU64,
    os::fd::OwnedFd,
    sync::{Arc, Mutex, PoisonError},
};

use portable_pty::{MasterPty, PtySize, native_pty_system};
use rustix::{
    fs::{Mode, OFlags},
    thread::Timespec,
};
use tokio::io::unix::AsyncFd;

use crate::{error::TermError, limits::SIZE_MAX};

/// Width and height in cells, always within 1 and 1,000.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Size {
    /// Width.
    pub columns: u16,
    /// Height.
    pub rows: u16,
}

impl Size {
    /// What a terminal has that nobody sized.
    pub const DEFAULT: Size = Size { columns: 80, rows: 24 };

    /// Brings any two numbers into the bounds.
    pub fn clamped(columns: u32, rows: u32) -> Size {
        let clamp = |cells: u32| u16::try_from(cells).unwrap_or(u16::MAX).clamp(1, SIZE_MAX);
        Size { columns: clamp(columns), rows: clamp(rows) }
    }

    fn pty(self) -> PtySize {
        PtySize { rows: self.rows, cols: self.columns, pixel_width: 0, pixel_height: 0 }
    }
}

/// Bytes that are read at once before more of the same is expected: what the kernel hands out in one
/// call. Whoever types sees less.
const FLOOD_BYTES: usize = 4_095;
/// Rest while output floods. The kernel fills its 4 KiB again within microseconds, and a reader that is
/// woken for each of them gets a third of the bytes, and takes twice the time of a CPU.
const LULL: Timespec = Timespec { tv_sec: 0, tv_nsec: 30_000 };
/// Nanoseconds that the kernel may add to a rest: without a word it is 50,000 (PR_SET_TIMERSLACK of
/// prctl(2)), more than the rest itself.
const SLACK: Option<NonZeroU64> = NonZeroU64::new(1);

pub(crate) struct Pty {
    fd: Arc<AsyncFd<OwnedFd>>,
    master: Mutex<Box<dyn MasterPty + Send>>,
}

impl Pty {
    /// A PTY and its other end.
    pub(crate) fn open(size: Size) -> Result<(Pty, OwnedFd), TermError> {
        let full = |problem: String| TermError::ProcessLimit { what: "terminal", problem };
        let pair = native_pty_system().openpty(size.pty()).map_err(|error| full(error.to_string()))?;
        let name = pair.master.tty_name().ok_or_else(|| full("the new PTY has no name".into()))?;
        let flags = OFlags::RDWR | OFlags::NOCTTY | OFlags::CLOEXEC;
        let slave = rustix::fs::open(&name, flags, Mode::empty()).map_err(|error| full(error.to_string()))?;
        let raw = pair.master.as_raw_fd().ok_or_else(|| full("the new PTY has no descriptor".into()))?;
        let fd = crate::sys::duplicate(raw, &pair.master)
            .and_then(crate::sys::watched)
            .map_err(|error| full(error.to_string()))?;
        Ok((Pty { fd: Arc::new(fd), master: Mutex::new(pair.master) }, slave))
    }

    /// Reads what there is, at most what fits into `buffer`; nothing when the other end is closed by
    /// everybody. Giving up loses what was read.
    pub(crate) async fn read(&self, mut buffer: Vec<u8>) -> io::Result<Burst> {
        loop {
            let mut ready = self.fd.readable().await?;
            let mut burst = Burst { buffer, filled: 0 };
            if burst.gather(self.fd.get_ref())? == Until::Empty {
                ready.clear_ready();
                drop(ready);
                if burst.filled >= FLOOD_BYTES {
                    let fd = Arc::clone(&self.fd);
                    let linger = move || burst.linger(fd.get_ref());
                    return tokio::task::spawn_blocking(linger).await.map_err(io::Error::other)?;
                }
                if burst.filled == 0 {
                    buffer = burst.buffer;
                    continue;
                }
            }
            return Ok(burst);
        }
    }

    /// Writes some of `data` as soon as there is room.
    pub(crate) async fn write(&self, data: &[u8]) -> io::Result<usize> {
        loop {
            let mut ready = self.fd.writable().await?;
            match ready.try_io(|fd| Ok(rustix::io::write(fd.get_ref(), data)?)) {
                Ok(Err(error)) if error.kind() == ErrorKind::Interrupted => {}
                Ok(result) => return result,
                Err(_would_block) => {}
            }
        }
    }

    pub(crate) fn resize(&self, size: Size) -> Result<(), TermError> {
        let master = self.master.lock().unwrap_or_else(PoisonError::into_inner);
        let failed = |error: &dyn std::fmt::Display| TermError::System {
            stage: "resize",
            source: io::Error::other(error.to_string()),
        };
        master.resize(size.pty()).map_err(|error| failed(&error))
    }

    /// The process group in the foreground.
    pub(crate) fn foreground(&self) -> Option<rustix::process::Pid> {
        rustix::termios::tcgetpgrp(self.fd.get_ref()).ok()
    }
}

/// What was read.
pub(crate) struct Burst {
    pub(crate) buffer: Vec<u8>,
    /// Bytes of `buffer` that were read.
    pub(crate) filled: usize,
}

#[derive(PartialEq, Eq)]
enum Until {
    /// There is no more now.
    Empty,
    /// The buffer is full, or nobody holds the other end: then the next read says so, too.
    Over,
}

impl Burst {
    /// Reads until there is no more. The kernel hands out at most 4 KiB a call.
    fn gather(&mut self, fd: &OwnedFd) -> io::Result<Until> {
        while self.filled < self.buffer.len() {
            match rustix::io::read(fd, &mut self.buffer[self.filled..]) {
                // EIO is how a PTY says that nobody holds the other end.
                Ok(0) | Err(rustix::io::Errno::IO) => break,
                Ok(count) => self.filled += count,
                Err(rustix::io::Errno::INTR) => {}
                Err(rustix::io::Errno::AGAIN) => return Ok(Until::Empty),
                Err(_) if self.filled > 0 => break,
                Err(error) => return Err(error.into()),
            }
        }
        Ok(Until::Over)
    }

    /// Reads on after short rests, until one brought nothing.
    fn linger(mut self, fd: &OwnedFd) -> io::Result<Burst> {
        // Of this thread, which others linger on as well. Where it is not allowed, rests are longer.
        _ = rustix::thread::set_current_timer_slack(SLACK);
        loop {
            let before = self.filled;
            _ = rustix::thread::nanosleep(&LULL);
            if self.gather(fd)? == Until::Over || self.filled == before {
                return Ok(self);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a052_sizes_are_brought_into_the_bounds() {
        assert_eq!(Size::clamped(0, 0), Size { columns: 1, rows: 1 });
        assert_eq!(Size::clamped(65_535, u32::MAX), Size { columns: 1_000, rows: 1_000 });
        assert_eq!(Size::clamped(120, 40), Size { columns: 120, rows: 40 });
    }
}
