//! A viewer: pulls from the ring as far as its credit goes, and is told what it missed.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

use bytes::Bytes;
use tokio::time::{Instant, timeout_at};

use crate::{
    error::TermError,
    exit::ExitStatus,
    limits::{HEARTBEAT, OUTPUT_FRAME_BYTES, VIEWER_QUEUE_BYTES},
    pty::Size,
    ring::Held,
    session::{Mode, ViewerId},
    terminal::{Shared, Terminal},
};

/// Where a viewer starts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Start {
    /// At this offset.
    From(u64),
    /// With a picture of the screen.
    Screen,
    /// With everything that is held.
    Scrollback,
    /// With at most so many of the newest bytes.
    Tail(u64),
    /// With what comes next.
    Live,
}

/// What happens to a viewer that does not keep up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LagPolicy {
    /// Its output waits in the ring.
    Backpressure,
    /// It skips to recent output.
    Drop,
}

/// What a viewer is told, in order.
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "each is documented in terminal.proto")]
pub enum Event {
    Attached { output: Held, gap: Option<(u64, u64)>, size: Size, writer: String, input_sequence: u64 },
    Paint { at_offset: u64, data: Bytes },
    Output { offset: u64, data: Bytes },
    Resized(Size),
    WriterChanged(String),
    Title(String),
    Lagged { from: u64, to: u64 },
    Heartbeat { head: u64 },
    Exit { status: ExitStatus, final_offset: u64 },
}

/// One attachment of one client. Dropping it detaches.
pub struct Attachment {
    input: Arc<Typist>,
    next: u64,
    lag: LagPolicy,
    first: Vec<Event>,
    size: Size,
    writer: String,
    title: String,
    ended: bool,
}

/// The client's side of an attachment: input and credit. Ends with it.
pub struct Typist {
    terminal: Arc<Terminal>,
    viewer: ViewerId,
    client: String,
    credit: AtomicU64,
}

impl Attachment {
    /// Attaches `client`; `credit` bytes may be sent before more is allowed.
    pub fn new(
        terminal: Arc<Terminal>,
        client: &str,
        mode: Mode,
        start: Start,
        credit: u64,
        lag: LagPolicy,
    ) -> Result<Self, TermError> {
        let attachment = {
            let mut shared = terminal.lock();
            let held = shared.ring.held();
            if let Start::From(given) = start
                && given > held.head
            {
                let problem = format!("only {} bytes were ever printed", held.head);
                return Err(TermError::OutOfRange { what: "from_offset", given, problem });
            }
            let viewer = shared.session.attach(client, mode)?;
            let (next, gap) = match start {
                Start::From(offset) => (offset.max(held.base), (offset < held.base).then_some((offset, held.base))),
                Start::Scrollback => (held.base, None),
                Start::Tail(bytes) => (held.head.saturating_sub(bytes).max(held.base), None),
                Start::Live | Start::Screen => (held.head, None),
            };
            let mut first = vec![Event::Attached {
                output: held,
                gap,
                size: shared.size,
                writer: writer(&shared),
                input_sequence: shared.session.sequence(client),
            }];
            let mut next = next;
            if start == Start::Screen {
                let Shared { screen, ring, .. } = &mut *shared;
                screen.catch_up(ring);
                let (at_offset, data) = screen.paint();
                first.insert(0, Event::Paint { at_offset, data });
                next = at_offset;
            }
            let credit = AtomicU64::new(if credit == 0 { VIEWER_QUEUE_BYTES } else { credit });
            Attachment {
                input: Arc::new(Typist { terminal: Arc::clone(&terminal), viewer, client: client.into(), credit }),
                next,
                lag,
                first,
                size: shared.size,
                writer: writer(&shared),
                title: shared.screen.title().into(),
                ended: false,
            }
        };
        terminal.bump();
        Ok(attachment)
    }

    /// The client's side, for whoever reads what the client sends.
    pub fn typist(&self) -> Arc<Typist> {
        Arc::clone(&self.input)
    }

    /// The next event; `None` after Exit. Giving up loses nothing.
    pub async fn next(&mut self) -> Option<Event> {
        if let Some(event) = self.first.pop() {
            return Some(event);
        }
        if self.ended {
            return None;
        }
        let mut changes = self.input.terminal.changed.subscribe();
        // Changes that are nothing to this viewer (output without credit) are no reason to stay silent.
        let beat = Instant::now() + HEARTBEAT;
        loop {
            changes.borrow_and_update();
            if let Some(event) = self.ready() {
                return Some(event);
            }
            if timeout_at(beat, changes.changed()).await.is_err() {
                let head = self.input.terminal.lock().ring.held().head;
                return Some(Event::Heartbeat { head });
            }
        }
    }

    fn ready(&mut self) -> Option<Event> {
        let terminal = Arc::clone(&self.input.terminal);
        let mut shared = terminal.lock();
        let credit = self.input.credit.load(Ordering::Acquire);
        let waits = credit > 0 && self.lag == LagPolicy::Backpressure;
        shared.session.wants(self.input.viewer, waits.then_some(self.next));
        if shared.size != self.size {
            self.size = shared.size;
            return Some(Event::Resized(self.size));
        }
        if writer(&shared) != self.writer {
            self.writer = writer(&shared);
            return Some(Event::WriterChanged(self.writer.clone()));
        }
        if shared.screen.title() != self.title {
            self.title = shared.screen.title().to_owned();
            return Some(Event::Title(self.title.clone()));
        }
        let held = shared.ring.held();
        let oldest = match self.lag {
            LagPolicy::Backpressure => held.base,
            LagPolicy::Drop => held.base.max(held.head.saturating_sub(VIEWER_QUEUE_BYTES)),
        };
        if self.next < oldest && credit > 0 {
            // Told once it can go on, so that one gap stands for a long stall.
            let from = std::mem::replace(&mut self.next, oldest);
            return Some(Event::Lagged { from, to: oldest });
        }
        if self.next < held.head {
            let limit = OUTPUT_FRAME_BYTES.min(usize::try_from(credit).unwrap_or(OUTPUT_FRAME_BYTES));
            if limit == 0 {
                return None;
            }
            let (offset, data) = shared.ring.read(self.next, limit);
            self.next = offset + data.len() as u64;
            self.input.credit.fetch_sub(data.len() as u64, Ordering::AcqRel);
            return Some(Event::Output { offset, data });
        }
        let status = shared.exit?;
        self.ended = true;
        Some(Event::Exit { status, final_offset: held.head })
    }
}

fn writer(shared: &Shared) -> String {
    shared.session.writer().unwrap_or_default().to_owned()
}

impl Drop for Attachment {
    fn drop(&mut self) {
        self.input.terminal.lock().session.detach(self.input.viewer);
        self.input.terminal.bump();
    }
}

impl Typist {
    /// Types a frame; see [`Terminal::write`].
    pub async fn write(&self, sequence: u64, data: &[u8]) -> Result<u64, TermError> {
        self.terminal.write_attached(self.viewer, &self.client, sequence, data).await
    }

    /// Allows `bytes` more of output.
    pub fn credit(&self, bytes: u64) {
        let add = |credit: u64| Some(credit.saturating_add(bytes));
        let _ = self.credit.fetch_update(Ordering::AcqRel, Ordering::Acquire, add);
        self.terminal.bump();
    }

    /// Sets the size; only as writer.
    pub fn resize(&self, columns: u32, rows: u32) -> Result<Size, TermError> {
        self.terminal.lock().session.is_writer(self.viewer)?;
        self.terminal.resize(columns, rows)
    }
}
