//! Logs on stderr, filtered by `REMORA_LOG`: JSON, or text for a person.
//!
//! Whoever reads stderr may stall, and a full pipe would then stop every task
//! that logs. So lines pass through a bounded queue to a thread of their own;
//! what does not fit is dropped, counted, and the count is logged.

use std::{
    io::{self, Write},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
        mpsc::{Receiver, SyncSender, TrySendError, sync_channel},
    },
    thread,
    time::Duration,
};

use tracing_subscriber::{EnvFilter, fmt::MakeWriter};

/// Lines that wait for stderr: at some 300 bytes each, a few MiB at the very most.
const QUEUE_LINES: usize = 8_192;
/// Time that the last lines have at the end of the process.
const LAST_LINES: Duration = Duration::from_secs(1);

/// Writes the lines that still wait when it is dropped.
#[must_use = "the last lines are written when this is dropped"]
pub struct Logging {
    sender: SyncSender<Entry>,
}

/// For whom the log is.
#[derive(Clone, Copy, Debug)]
pub enum Style {
    /// Programs: one JSON object a line.
    Json,
    /// Whoever sits before the terminal: only what asks for attention.
    Person,
}

enum Entry {
    Line(Vec<u8>),
    /// Answered once everything before it is written.
    Flush(SyncSender<()>),
}

#[derive(Clone)]
struct Queue {
    sender: SyncSender<Entry>,
    dropped: Arc<AtomicU64>,
}

/// Starts logging. Done once, before anything else, by the role.
pub fn start(style: Style) -> io::Result<Logging> {
    let default = match style {
        Style::Json => "info",
        Style::Person => "warn",
    };
    let filter = EnvFilter::try_from_env("REMORA_LOG").unwrap_or_else(|_| EnvFilter::new(default));
    let (sender, entries) = sync_channel(QUEUE_LINES);
    let dropped = Arc::new(AtomicU64::new(0));
    let lost = Arc::clone(&dropped);
    thread::Builder::new().name("log".into()).spawn(move || write_all(&entries, &lost, io::stderr()))?;
    let queue = Queue { sender: sender.clone(), dropped };
    let log = tracing_subscriber::fmt().with_env_filter(filter).with_writer(queue);
    match style {
        Style::Json => log.json().init(),
        Style::Person => log.compact().with_ansi(false).with_target(false).init(),
    }
    Ok(Logging { sender })
}

impl Drop for Logging {
    fn drop(&mut self) {
        let (written, wait) = sync_channel(1);
        // A stderr that nobody reads keeps the process no longer than this.
        if self.sender.try_send(Entry::Flush(written)).is_ok() {
            _ = wait.recv_timeout(LAST_LINES);
        }
    }
}

fn write_all(entries: &Receiver<Entry>, dropped: &AtomicU64, mut out: impl Write) {
    for entry in entries {
        // Where stderr is closed there is nobody to tell.
        match entry {
            Entry::Line(line) => _ = out.write_all(&line),
            Entry::Flush(written) => _ = written.try_send(()),
        }
        let lost = dropped.swap(0, Ordering::Relaxed);
        if lost > 0 {
            tracing::warn!(lines = lost, "log lines were dropped: stderr was not read");
        }
    }
}

impl<'a> MakeWriter<'a> for Queue {
    type Writer = Queue;

    fn make_writer(&'a self) -> Queue {
        self.clone()
    }
}

impl Write for Queue {
    /// The formatter hands over one whole line a call.
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        if let Err(TrySendError::Full(_)) = self.sender.try_send(Entry::Line(line.to_vec())) {
            self.dropped.fetch_add(1, Ordering::Relaxed);
        }
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
