//! One terminal: the state that viewers read, and the driver that alone reads the PTY.
//!
//! ```text
//! running ──leader ends──► draining ──nobody holds the PTY, or 2 s──► ended
//! ```
//! The driver keeps the PTY's other end open while the leader lives, so that
//! only the leader's end can end the reading.

use std::{
    collections::BTreeMap,
    os::fd::OwnedFd,
    process::Stdio,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use remora_proto_model::SessionId;
use rustix::process::Signal;
use tokio::{
    sync::{Mutex as AsyncMutex, watch},
    time::{Instant, sleep_until},
};

use crate::{
    Children, Confinement, Environment, Moment, Spawned,
    confine::OwnTemporary,
    environment,
    error::TermError,
    exit::{Deeds, ExitStatus},
    limits::{BURST_BYTES, FRAME_BYTES, KILL_GRACE_MAX, PIPE_DRAIN, RING_BYTES, RING_BYTES_MAX, RING_BYTES_MIN},
    pty::{Burst, Output, Pty, Size, Wanted},
    registry::check_labels,
    ring::{Held, Ring},
    screen::{QUIET, Screen, ScreenText},
    session::{Session, Verdict, ViewerId},
    sys::signal_number,
    tree::{self, Process, Target},
};

/// What to open.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct TerminalSpec {
    /// Program and arguments; empty is the login shell.
    pub argv: Vec<String>,
    /// Added to the environment.
    pub env: BTreeMap<String, String>,
    /// Working directory, from the workspace.
    pub cwd: String,
    /// Width and height; `None` is 80 by 24.
    pub size: Option<(u32, u32)>,
    /// Bytes held; 0 is the default.
    pub ring_bytes: usize,
    /// Time without anything after which it is closed; zero is never.
    pub idle: Duration,
    /// The caller's words.
    pub labels: BTreeMap<String, String>,
    /// The folder that it is kept in; empty is none.
    pub confine: String,
}

impl TerminalSpec {
    /// Checks what can be checked without opening anything.
    pub fn check(&self) -> Result<(), TermError> {
        check_labels(&self.labels)?;
        ring_bytes(self.ring_bytes)?;
        if !self.confine.is_empty() {
            environment::stays_within(&self.cwd)?;
        }
        environment::check(&self.argv, &self.env, &self.cwd)
    }
}

/// A terminal as it is shown.
#[derive(Clone, Debug)]
#[expect(missing_docs, reason = "each field is documented in terminal.proto")]
pub struct TerminalView {
    pub id: SessionId,
    pub argv: Vec<String>,
    pub cwd: String,
    pub size: Size,
    pub labels: BTreeMap<String, String>,
    pub confine: String,
    pub output: Held,
    pub exit: Option<ExitStatus>,
    pub viewers: usize,
    pub writer: String,
    pub title: String,
    pub opened_ms: u64,
    pub last_activity_ms: u64,
    pub pid: i32,
}

/// A program on a PTY.
pub struct Terminal {
    pub(crate) id: SessionId,
    argv: Vec<String>,
    cwd: String,
    labels: BTreeMap<String, String>,
    confine: String,
    opened_ms: u64,
    pid: i32,
    idle: Duration,
    pty: Pty,
    children: Arc<Children>,
    shared: Mutex<Shared>,
    /// Counts changes; viewers wait on it.
    pub(crate) changed: watch::Sender<u64>,
    /// Held while typing, so that frames of two clients do not mix.
    typing: AsyncMutex<()>,
}

pub(crate) struct Shared {
    pub(crate) ring: Ring,
    pub(crate) screen: Screen,
    pub(crate) session: Session,
    pub(crate) size: Size,
    pub(crate) exit: Option<ExitStatus>,
    deeds: Deeds,
    last_activity_ms: u64,
    /// When it was opened, or somebody typed last.
    used: Moment,
}

/// What only the driver has.
pub(crate) struct Driver {
    terminal: Arc<Terminal>,
    output: Output,
    slave: OwnedFd,
    spawned: Spawned,
    temporary: Option<OwnTemporary>,
    /// Bytes that are read at once.
    burst: usize,
}

impl Terminal {
    /// Starts the program on a new PTY.
    pub(crate) async fn open(
        spec: TerminalSpec,
        environment: &Environment,
        children: &Arc<Children>,
        confinement: Option<Confinement>,
    ) -> Result<(Arc<Terminal>, Driver), TermError> {
        let (id, clean) = (SessionId::new(), confinement.is_some());
        let own = confinement.as_ref().map(|confinement| environment.within(confinement.path().to_owned()));
        let environment = own.as_ref().unwrap_or(environment);
        let size = spec.size.map_or(Size::DEFAULT, |(columns, rows)| Size::clamped(columns, rows));
        let ring_size = ring_bytes(spec.ring_bytes)?;
        let argv = if spec.argv.is_empty() { vec![environment.shell(), "-l".into()] } else { spec.argv };
        let mut env = spec.env;
        env.entry("TERM".into()).or_insert_with(|| "xterm-256color".into());
        let mut prepared = environment.command(&argv, &env, clean, &spec.cwd, &id.to_string())?;
        let apply = |confinement: Confinement| confinement.apply(&mut prepared.command, &id.to_string());
        let temporary = confinement.map(apply).transpose()?;
        let cwd = prepared.folder.to_string_lossy().into_owned();
        let (pty, output, slave) = Pty::open(size)?;
        let end = || Ok(Stdio::from(slave.try_clone()?));
        let failed = |source| TermError::System { stage: "open the terminal", source };
        prepared.command.stdin(end().map_err(failed)?);
        prepared.command.stdout(end().map_err(failed)?).stderr(end().map_err(failed)?);
        let (command, explanation) = prepared.split();
        let spawned = children.spawn(command, true).await.map_err(|error| explanation.of(&error))?;
        let now = now_ms();
        let terminal = Arc::new(Terminal {
            id,
            argv,
            cwd,
            labels: spec.labels,
            confine: spec.confine,
            opened_ms: now,
            pid: spawned.pid,
            idle: spec.idle,
            pty,
            children: Arc::clone(children),
            shared: Mutex::new(Shared {
                ring: Ring::in_memory(ring_size),
                screen: Screen::new(size),
                session: Session::default(),
                size,
                exit: None,
                deeds: Deeds::default(),
                last_activity_ms: now,
                used: Moment::now(),
            }),
            changed: watch::Sender::new(0),
            typing: AsyncMutex::new(()),
        });
        Ok((
            Arc::clone(&terminal),
            Driver { terminal, output, slave, spawned, temporary, burst: BURST_BYTES.min(ring_size / 4) },
        ))
    }

    /// When somebody used it last; what it says by itself is no use of it.
    pub(crate) fn used(&self) -> Moment {
        self.lock().used
    }

    /// Its state.
    pub fn view(&self) -> TerminalView {
        let shared = self.lock();
        TerminalView {
            id: self.id,
            argv: environment::shown(&self.argv),
            cwd: self.cwd.clone(),
            size: shared.size,
            labels: self.labels.clone(),
            confine: self.confine.clone(),
            output: shared.ring.held(),
            exit: shared.exit,
            viewers: shared.session.viewers(),
            writer: shared.session.writer().unwrap_or_default().to_owned(),
            title: shared.screen.title().to_owned(),
            opened_ms: self.opened_ms,
            last_activity_ms: shared.last_activity_ms,
            pid: self.pid,
        }
    }

    /// The screen as text, as fresh as what is held.
    pub fn screen(&self) -> ScreenText {
        let mut shared = self.lock();
        let Shared { screen, ring, .. } = &mut *shared;
        screen.catch_up(ring);
        screen.text()
    }

    /// Types a frame once, however often it comes; returns its number. Waits
    /// while the program does not read. Giving up in the middle loses nothing:
    /// the same frame sent again goes on where this one stopped.
    pub async fn write(&self, client: &str, sequence: u64, data: &[u8]) -> Result<u64, TermError> {
        self.type_as(client, sequence, data, |session| session.may_write(client)).await
    }

    pub(crate) async fn write_attached(
        &self,
        viewer: ViewerId,
        client: &str,
        sequence: u64,
        data: &[u8],
    ) -> Result<u64, TermError> {
        self.type_as(client, sequence, data, |session| session.is_writer(viewer)).await
    }

    async fn type_as(
        &self,
        client: &str,
        sequence: u64,
        data: &[u8],
        allowed: impl Fn(&Session) -> Result<(), TermError>,
    ) -> Result<u64, TermError> {
        if data.len() > FRAME_BYTES {
            let problem = format!("has {} bytes, at most {FRAME_BYTES} are taken", data.len());
            return Err(crate::error::invalid("data", problem));
        }
        let _typing = self.typing.lock().await;
        let verdict = {
            let shared = self.lock();
            if let Some(exit) = shared.exit {
                return Err(TermError::Ended { what: "terminal", how: exit.to_string() });
            }
            allowed(&shared.session)?;
            shared.session.judge(client, sequence)?
        };
        let Verdict::Type { sequence, from } = verdict else { return Ok(sequence) };
        let mut written = from.min(data.len());
        let mut changes = self.changed.subscribe();
        while written < data.len() {
            let count = tokio::select! {
                count = self.pty.write(&data[written..]) => count,
                how = ended(&mut changes, self) => {
                    return Err(TermError::Ended { what: "terminal", how: how.to_string() });
                }
            };
            written += count.map_err(|source| TermError::System { stage: "type", source })?;
            let mut shared = self.lock();
            shared.session.typed(client, sequence, written, false);
            shared.last_activity_ms = now_ms();
            shared.used = Moment::now();
        }
        self.lock().session.typed(client, sequence, written, true);
        Ok(sequence)
    }

    /// Sets the size; what was set is returned.
    pub fn resize(&self, columns: u32, rows: u32) -> Result<Size, TermError> {
        let size = Size::clamped(columns, rows);
        self.pty.resize(size)?;
        {
            let mut shared = self.lock();
            if shared.size == size {
                return Ok(size);
            }
            shared.size = size;
            shared.screen.resize(size);
        }
        self.bump();
        Ok(size)
    }

    /// Sends a signal; returns how many got it. Blocks while it looks for a tree.
    pub fn signal(&self, number: i32, target: Target) -> Result<usize, TermError> {
        let signal = checked_signal(number)?;
        let tree = if target == Target::Tree { tree::members(self.pid, &self.id.to_string()) } else { Vec::new() };
        // Looked up once, so that what is noted is what is done.
        let foreground = if target == Target::Group { self.pty.foreground() } else { None };
        let hits_leader = match target {
            Target::Leader => true,
            Target::Group => foreground.is_none_or(|group| group.as_raw_nonzero().get() == self.pid),
            Target::Tree => tree.iter().any(|member| member.pid == self.pid),
        };
        {
            let mut shared = self.lock();
            if let Some(exit) = shared.exit {
                return Err(TermError::Ended { what: "terminal", how: exit.to_string() });
            }
            if hits_leader {
                shared.deeds.sending(signal);
            }
        }
        Ok(match (target, foreground) {
            (Target::Leader, _) => usize::from(self.children.signal(self.pid, signal, false)),
            (Target::Group, Some(group)) => usize::from(rustix::process::kill_process_group(group, signal).is_ok()),
            (Target::Group, None) => usize::from(self.children.signal(self.pid, signal, true)),
            (Target::Tree, _) => tree::send(&tree, signal),
        })
    }

    /// Hangs up: asks the tree to end and does not wait. Blocks while it looks.
    pub(crate) fn hang_up(&self) {
        self.lock().deeds.sending(Signal::HUP);
        tree::hang_up(&tree::members(self.pid, &self.id.to_string()));
    }

    /// Ends the tree; returns what lives on nevertheless. Blocks.
    pub(crate) fn end(&self, grace: Duration) -> Vec<Process> {
        {
            let deeds = &mut self.lock().deeds;
            deeds.sending(Signal::HUP);
            deeds.sending(Signal::KILL);
        }
        let mark = self.id.to_string();
        tree::end(|| tree::members(self.pid, &mark), Signal::HUP, grace.min(KILL_GRACE_MAX))
    }

    pub(crate) fn is_idle(&self, now_ms: u64) -> bool {
        let shared = self.lock();
        let quiet = Duration::from_millis(now_ms.saturating_sub(shared.last_activity_ms));
        !self.idle.is_zero() && shared.exit.is_none() && shared.session.viewers() == 0 && quiet >= self.idle
    }

    /// Waits until it has ended.
    pub async fn ended(&self) -> ExitStatus {
        ended(&mut self.changed.subscribe(), self).await
    }

    pub(crate) fn lock(&self) -> MutexGuard<'_, Shared> {
        // Each critical section leaves the state whole; a panic in one spoils nothing for others.
        self.shared.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn bump(&self) {
        self.changed.send_modify(|count| *count += 1);
    }
}

async fn ended(changes: &mut watch::Receiver<u64>, terminal: &Terminal) -> ExitStatus {
    loop {
        changes.borrow_and_update();
        if let Some(exit) = terminal.lock().exit {
            return exit;
        }
        if changes.changed().await.is_err() {
            return ExitStatus::observed(None, Deeds::default());
        }
    }
}

impl Driver {
    /// Reads until the program has ended and its output is read, then says how it ended.
    pub(crate) async fn run(self) {
        let Driver { terminal, output, slave, spawned, temporary: _held, burst } = self;
        let mut slave = Some(slave);
        let mut exit = spawned.exit;
        let mut status = None;
        let mut deadline: Option<Instant> = None;
        let mut behind = false;
        // Outside the loop: what it has read is not lost when something else comes first.
        let flood = {
            let terminal = Arc::clone(&terminal);
            move |data: &[u8]| terminal.take_flood(data)
        };
        let reading = output.read(vec![0; burst], flood.clone());
        tokio::pin!(reading);
        loop {
            let drained = deadline.unwrap_or_else(Instant::now);
            tokio::select! {
                read = &mut reading => match read {
                    Ok((_, Burst { filled: 0, .. })) | Err(_) => break,
                    Ok((output, Burst { buffer, filled })) => {
                        behind = !terminal.take(&buffer[..filled]);
                        reading.set(output.read(buffer, flood.clone()));
                        // A flood must not keep this thread from everybody else's work.
                        tokio::task::yield_now().await;
                    }
                },
                how = &mut exit, if status.is_none() => {
                    status = Some(how.ok().flatten());
                    deadline = Some(Instant::now() + PIPE_DRAIN);
                    slave = None;
                }
                () = sleep_until(drained), if deadline.is_some() => break,
                () = tokio::time::sleep(QUIET), if behind => behind = !terminal.take(&[]),
            }
        }
        drop(slave);
        let status = match status {
            Some(status) => status,
            None => exit.await.ok().flatten(),
        };
        {
            let mut shared = terminal.lock();
            let deeds = shared.deeds;
            shared.exit = Some(ExitStatus::observed(status, deeds));
        }
        terminal.bump();
    }
}

impl Terminal {
    /// Takes output in the middle of a flood, without a thought for the screen.
    fn take_flood(&self, data: &[u8]) -> Wanted {
        let wanted = {
            let mut shared = self.lock();
            if shared.exit.is_some() {
                return Wanted::Nothing;
            }
            shared.ring.push(data);
            shared.last_activity_ms = now_ms();
            let (held, oldest) = (shared.ring.held(), shared.session.oldest_wanted());
            more_of_a_flood(held.head, oldest, shared.ring.in_memory_at_most())
        };
        self.bump();
        wanted
    }

    /// Takes output; false where the screen is behind.
    fn take(&self, data: &[u8]) -> bool {
        let fresh = {
            let mut shared = self.lock();
            let Shared { screen, ring, last_activity_ms, .. } = &mut *shared;
            if !data.is_empty() {
                ring.push(data);
                *last_activity_ms = now_ms();
            }
            screen.feed(ring, Instant::now().into_std())
        };
        self.bump();
        fresh
    }
}

/// Decides whether a flood is read on at once: not where what a viewer wants next is about to be overwritten
/// in a ring of `ring` bytes. Whoever brings it there gets time of the CPU, and the program does not wait for
/// the viewer: the rests of a flood leave it tens of megabytes a second.
fn more_of_a_flood(head: u64, oldest_wanted: Option<u64>, ring: usize) -> Wanted {
    match oldest_wanted {
        Some(wanted) if head.saturating_sub(wanted) > ring as u64 / 2 => Wanted::MoreAfterRest,
        _ => Wanted::More,
    }
}

fn ring_bytes(asked: usize) -> Result<usize, TermError> {
    match asked {
        0 => Ok(RING_BYTES),
        RING_BYTES_MIN..=RING_BYTES_MAX => Ok(asked),
        _ => {
            let problem = format!("is {asked}; from {RING_BYTES_MIN} to {RING_BYTES_MAX} can be held");
            Err(crate::error::invalid("ring_bytes", problem))
        }
    }
}

pub(crate) fn checked_signal(number: i32) -> Result<Signal, TermError> {
    signal_number(number).ok_or_else(|| {
        crate::error::invalid("signal", format!("{number} is no signal; 1 to 31 and 35 to 64 are (signal(7))"))
    })
}

pub(crate) fn now_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flood_rests_where_half_of_the_ring_is_still_wanted() {
        assert_eq!(more_of_a_flood(1_000, None, 100), Wanted::More);
        assert_eq!(more_of_a_flood(1_000, Some(950), 100), Wanted::More);
        assert_eq!(more_of_a_flood(1_000, Some(949), 100), Wanted::MoreAfterRest);
        // A viewer that begins with what comes next may be noted before it.
        assert_eq!(more_of_a_flood(1_000, Some(1_001), 100), Wanted::More);
    }
}
