//! The PTY: opened and sized by portable-pty, read and written without blocking.

use std::{
    io::{self, ErrorKind},
    os::fd::OwnedFd,
    sync::{Mutex, PoisonError},
};

use portable_pty::{MasterPty, PtySize, native_pty_system};
use rustix::fs::{Mode, OFlags};
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

pub(crate) struct Pty {
    fd: AsyncFd<OwnedFd>,
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
        Ok((Pty { fd, master: Mutex::new(pair.master) }, slave))
    }

    /// Reads what there is, at most `buffer`; 0 when the other end is closed by everybody.
    pub(crate) async fn read(&self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            let mut ready = self.fd.readable().await?;
            let mut filled = 0;
            // The kernel hands out at most 4 KiB a call: gather before waking anybody.
            let more = loop {
                match rustix::io::read(self.fd.get_ref(), &mut buffer[filled..]) {
                    // EIO is how a PTY says that nobody holds the other end.
                    Ok(0) | Err(rustix::io::Errno::IO) => return Ok(filled),
                    Ok(count) => filled += count,
                    Err(rustix::io::Errno::INTR) => {}
                    Err(rustix::io::Errno::AGAIN) => break false,
                    Err(_) if filled > 0 => break true,
                    Err(error) => return Err(error.into()),
                }
                if filled == buffer.len() {
                    break true;
                }
            };
            if !more {
                ready.clear_ready();
            }
            if filled > 0 {
                return Ok(filled);
            }
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
