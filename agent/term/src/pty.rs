//! The PTY: opened and sized by portable-pty, read and written without blocking.

use std::{
    io::{self, ErrorKind},
    os::fd::OwnedFd,
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

use portable_pty::{MasterPty, PtySize, native_pty_system};
use rustix::{
    fs::{Mode, OFlags},
    thread::Timespec,
};
use tokio::io::{Interest, unix::AsyncFd};

use crate::{
    error::TermError,
    limits::SIZE_MAX,
    sys::{duplicate, watched_for},
};

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
/// Time without output after which a flood is over, and the PTY is watched again.
const LULL: Duration = Duration::from_micros(100);
/// Time between two looks for more of a flood: the kernel fills its 4 KiB again in about as long, and a
/// look takes the lock under which it does.
const GLANCE: Duration = Duration::from_micros(5);
/// Time that something of a flood is kept before it is handed on, where the buffer does not fill before:
/// less than a frame of a screen, so that what follows a flood slowly is seen as it comes.
const HOLD: Duration = Duration::from_millis(5);
/// Rest of a reader that others have to come after, nanoseconds for each byte that it handed on: with the
/// reading itself that leaves a program some 50 MB/s.
const REST_NANOSECONDS: i64 = 10;
/// Time that a flood is read at a stretch: whoever reads it is handed the rest then, and may have enough.
const TURN: Duration = Duration::from_millis(50);

pub(crate) struct Pty {
    /// Watched for room alone.
    fd: AsyncFd<OwnedFd>,
    master: Mutex<Box<dyn MasterPty + Send>>,
}

impl Pty {
    /// A PTY, what is read of it, and its other end.
    pub(crate) fn open(size: Size) -> Result<(Pty, Output, OwnedFd), TermError> {
        let full = |problem: String| TermError::ProcessLimit { what: "terminal", problem };
        let pair = native_pty_system().openpty(size.pty()).map_err(|error| full(error.to_string()))?;
        let name = pair.master.tty_name().ok_or_else(|| full("the new PTY has no name".into()))?;
        let flags = OFlags::RDWR | OFlags::NOCTTY | OFlags::CLOEXEC;
        let slave = rustix::fs::open(&name, flags, Mode::empty()).map_err(|error| full(error.to_string()))?;
        let raw = pair.master.as_raw_fd().ok_or_else(|| full("the new PTY has no descriptor".into()))?;
        let watch = |interest| {
            let fd = duplicate(raw, &pair.master).and_then(|fd| watched_for(fd, interest));
            fd.map_err(|error| full(error.to_string()))
        };
        let (fd, output) = (watch(Interest::WRITABLE)?, Output(watch(Interest::READABLE)?));
        Ok((Pty { fd, master: Mutex::new(pair.master) }, output, slave))
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

/// The output of a PTY, which one reads.
pub(crate) struct Output(AsyncFd<OwnedFd>);

impl Output {
    /// Reads what there is, at most what fits into `buffer`; nothing when the other end is closed by
    /// everybody. Giving up loses what was read.
    ///
    /// While output floods, `flood` is given one buffer after the other, on another thread, and says
    /// whether more is wanted; what is returned came after those.
    pub(crate) async fn read(
        mut self,
        mut buffer: Vec<u8>,
        mut flood: impl FnMut(&[u8]) -> Wanted + Send + 'static,
    ) -> io::Result<(Output, Burst)> {
        loop {
            let mut ready = self.0.readable().await?;
            let mut burst = Burst { buffer, filled: 0 };
            if burst.gather(self.0.get_ref())? == Until::Empty {
                ready.clear_ready();
                drop(ready);
                if burst.filled >= FLOOD_BYTES {
                    // Watched, each 4 KiB would wake a thread that has nothing to do with them.
                    let fd = self.0.into_inner();
                    let linger = move || burst.linger(&fd, &mut flood).map(|burst| (fd, burst, flood));
                    let lingered = tokio::task::spawn_blocking(linger).await.map_err(io::Error::other)??;
                    let fd;
                    (fd, burst, flood) = lingered;
                    self.0 = watched_for(fd, Interest::READABLE)?;
                }
                // A lull that began with an empty buffer is no end.
                if burst.filled == 0 {
                    buffer = burst.buffer;
                    continue;
                }
            }
            return Ok((self, burst));
        }
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
    /// Reads until there is no more. The kernel hands out at most 4 KiB a call, and has a call that finds
    /// nothing wait until its worker has looked for more, so it is asked first from the second call on.
    fn gather(&mut self, fd: &OwnedFd) -> io::Result<Until> {
        loop {
            match rustix::io::read(fd, &mut self.buffer[self.filled..]) {
                // EIO is how a PTY says that nobody holds the other end.
                Ok(0) | Err(rustix::io::Errno::IO) => return Ok(Until::Over),
                Ok(count) => self.filled += count,
                Err(rustix::io::Errno::INTR) => {}
                Err(rustix::io::Errno::AGAIN) => return Ok(Until::Empty),
                Err(_) if self.filled > 0 => return Ok(Until::Over),
                Err(error) => return Err(error.into()),
            }
            if self.filled == self.buffer.len() {
                return Ok(Until::Over);
            }
            if !has_more(fd) {
                return Ok(Until::Empty);
            }
        }
    }

    /// Reads on, until a lull or until this was long enough.
    fn linger(mut self, fd: &OwnedFd, flood: &mut impl FnMut(&[u8]) -> Wanted) -> io::Result<Burst> {
        let begun = Instant::now();
        let mut handed = begun;
        while comes(fd) {
            let until = self.gather(fd)?;
            let full = self.filled == self.buffer.len();
            if until == Until::Over && !full {
                break;
            }
            let now = Instant::now();
            match next(full, now - handed, now - begun) {
                Next::ReadOn => continue,
                Next::Stop => break,
                Next::HandOn => {}
            }
            match flood(&self.buffer[..self.filled]) {
                Wanted::More => {}
                Wanted::MoreAfterRest => rest(self.filled),
                Wanted::Nothing => break,
            }
            (self.filled, handed) = (0, now);
        }
        Ok(self)
    }
}

/// What is wanted after some of a flood.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Wanted {
    More,
    /// More, but somebody has to come after first.
    MoreAfterRest,
    /// It has ended.
    Nothing,
}

/// What to do with what was read of a flood.
#[derive(Debug, PartialEq, Eq)]
enum Next {
    ReadOn,
    HandOn,
    /// Return it: whoever reads may have had enough.
    Stop,
}

/// Decides so by whether the buffer is full, the time since something was handed on, and the time since the
/// flood began to be read.
fn next(full: bool, held: Duration, reading: Duration) -> Next {
    match full || held >= HOLD {
        _ if reading >= TURN => Next::Stop,
        true => Next::HandOn,
        false => Next::ReadOn,
    }
}

fn rest(bytes: usize) {
    let nanoseconds = REST_NANOSECONDS * i64::try_from(bytes).unwrap_or(0);
    // A signal that ends it early does no harm.
    _ = rustix::thread::nanosleep(&Timespec { tv_sec: 0, tv_nsec: nanoseconds });
}

/// Whether something can be read without waiting; true, too, where only a read tells.
fn has_more(fd: &OwnedFd) -> bool {
    rustix::io::ioctl_fionread(fd).map_or(true, |count| count > 0)
}

/// Looks for output until there is some or a lull has passed. This does not sleep: the kernel has its 4 KiB
/// again before a CPU that went to sleep is awake, and a reader that sleeps for each of them gets about
/// half of the bytes, at no less of a CPU. Whoever else wants the CPU has it in between.
fn comes(fd: &OwnedFd) -> bool {
    let lull = Instant::now() + LULL;
    loop {
        if has_more(fd) {
            return true;
        }
        let look = Instant::now() + GLANCE;
        if look >= lull {
            return false;
        }
        while Instant::now() < look {
            rustix::thread::sched_yield();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    };

    use rustix::termios::{OptionalActions, tcgetattr, tcsetattr};
    use tokio::sync::Notify;

    use super::*;

    #[test]
    fn a052_sizes_are_brought_into_the_bounds() {
        assert_eq!(Size::clamped(0, 0), Size { columns: 1, rows: 1 });
        assert_eq!(Size::clamped(65_535, u32::MAX), Size { columns: 1_000, rows: 1_000 });
        assert_eq!(Size::clamped(120, 40), Size { columns: 120, rows: 40 });
    }

    fn raw() -> (Pty, Output, OwnedFd) {
        let (pty, output, slave) = Pty::open(Size::DEFAULT).unwrap();
        let mut modes = tcgetattr(&slave).unwrap();
        modes.make_raw();
        tcsetattr(&slave, OptionalActions::Now, &modes).unwrap();
        (pty, output, slave)
    }

    #[test]
    fn what_follows_a_flood_slowly_is_not_kept_until_the_buffer_is_full() {
        let moment = Duration::from_micros(1);
        assert_eq!(next(false, HOLD - moment, TURN - moment), Next::ReadOn);
        assert_eq!(next(false, HOLD, TURN - moment), Next::HandOn);
        assert_eq!(next(true, moment, TURN - moment), Next::HandOn);
        assert_eq!(next(true, moment, TURN), Next::Stop);
        assert_eq!(next(false, moment, TURN), Next::Stop);
    }

    /// A flood that is followed by some bytes every 20 µs, which is no lull as long as the machine keeps up.
    #[tokio::test]
    async fn a_flood_and_what_follows_it_slowly_come_whole() {
        let (_pty, mut output, slave) = raw();
        let printed: Vec<u8> = (0..12 * FLOOD_BYTES).map(|at| (at * 31 / 7) as u8).collect();
        let written = tokio::task::spawn_blocking({
            let printed = printed.clone();
            move || {
                let (flood, slow) = printed.split_at(8 * FLOOD_BYTES);
                let mut count = rustix::io::write(&slave, flood).unwrap();
                for some in slow.chunks(16) {
                    let due = Instant::now() + Duration::from_micros(20);
                    while Instant::now() < due {
                        std::hint::spin_loop();
                    }
                    count += rustix::io::write(&slave, some).unwrap();
                }
                count
            }
        });
        let taken = Arc::new(Mutex::new(Vec::new()));
        let flood = {
            let taken = Arc::clone(&taken);
            move |data: &[u8]| {
                taken.lock().unwrap().extend_from_slice(data);
                Wanted::More
            }
        };
        let mut buffer = vec![0; 2 * FLOOD_BYTES];
        loop {
            let burst;
            (output, burst) = output.read(buffer, flood.clone()).await.unwrap();
            if burst.filled == 0 {
                break;
            }
            taken.lock().unwrap().extend_from_slice(&burst.buffer[..burst.filled]);
            buffer = burst.buffer;
        }
        assert_eq!(written.await.unwrap(), printed.len());
        assert!(*taken.lock().unwrap() == printed, "what is printed is not what comes");
    }

    /// Output that fills a buffer to its last byte, and then none, many times.
    #[tokio::test]
    async fn a_lull_after_a_full_buffer_is_no_end() {
        let full = 8 * FLOOD_BYTES;
        let (_pty, output, slave) = raw();
        let (taken, came) = (Arc::new(AtomicUsize::new(0)), Arc::new(Notify::new()));
        let flood = {
            let (taken, came) = (Arc::clone(&taken), Arc::clone(&came));
            move |data: &[u8]| {
                taken.fetch_add(data.len(), Ordering::SeqCst);
                came.notify_one();
                Wanted::More
            }
        };
        let reading = output.read(vec![0; full], flood.clone());
        tokio::pin!(reading);
        for round in 1..=200 {
            // It waits for room, which only a reader makes.
            let end = slave.try_clone().unwrap();
            let written = tokio::task::spawn_blocking(move || rustix::io::write(end, &vec![b'x'; full]));
            while taken.load(Ordering::SeqCst) < round * full {
                tokio::select! {
                    () = came.notified() => {}
                    read = &mut reading => {
                        let (output, burst) = read.unwrap();
                        assert!(burst.filled > 0, "in round {round} it is called closed");
                        taken.fetch_add(burst.filled, Ordering::SeqCst);
                        reading.set(output.read(burst.buffer, flood.clone()));
                    }
                }
            }
            assert_eq!((written.await.unwrap().unwrap(), taken.load(Ordering::SeqCst)), (full, round * full));
        }
        drop(slave);
        assert_eq!(reading.await.unwrap().1.filled, 0);
    }
}
