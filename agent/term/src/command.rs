//! One command: pipes instead of a PTY, stdout and stderr apart.
//!
//! ```text
//! running ──leader ends──► draining ──both pipes closed, or 2 s──► ended
//!    └─time over, or ended by request: the tree is ended─┘
//! ```

use std::{
    collections::BTreeMap,
    io,
    os::fd::OwnedFd,
    path::Path,
    process::Stdio,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use bytes::Bytes;
use remora_proto_model::SessionId;
use rustix::{pipe::fcntl_setpipe_size, process::Signal};
use tokio::{
    io::unix::AsyncFd,
    sync::{Mutex as AsyncMutex, Notify, watch},
    time::{Instant, sleep_until, timeout},
};

use crate::{
    Children, Confinement, Environment, Moment, Spawned,
    confine::OwnTemporary,
    environment,
    error::{TermError, invalid},
    exit::{Deeds, ExitStatus},
    limits::{
        COMMAND_DISK_BYTES, COMMAND_MEMORY_BYTES, KILL_GRACE, OUTPUT_FRAME_BYTES, PIPE_BURST_BYTES, PIPE_BYTES,
        PIPE_DRAIN,
    },
    registry::check_labels,
    ring::{Held, Ring},
    sys::watched,
    terminal::{checked_signal, now_ms},
    tree::{self, Process, Target},
};

/// What to run.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct CommandSpec {
    /// Program and arguments.
    pub argv: Vec<String>,
    /// Added to the environment.
    pub env: BTreeMap<String, String>,
    /// Starts from PATH and HOME only.
    pub clean_env: bool,
    /// Working directory, from the workspace.
    pub cwd: String,
    /// Opens stdin.
    pub stdin: bool,
    /// Digest of what its starter writes to stdin, where that is part of the request.
    pub input: Option<[u8; 32]>,
    /// Time it has; zero is no bound.
    pub timeout: Duration,
    /// The caller's words.
    pub labels: BTreeMap<String, String>,
    /// The folder that it is kept in; empty is none.
    pub confine: String,
}

impl CommandSpec {
    /// Checks what can be checked without starting anything.
    pub fn check(&self) -> Result<(), TermError> {
        check_labels(&self.labels)?;
        if self.argv.is_empty() {
            return Err(invalid("argv", "is empty; the first word names the program"));
        }
        if !self.confine.is_empty() {
            environment::stays_within(&self.cwd)?;
        }
        environment::check(&self.argv, &self.env, &self.cwd)
    }
}

/// One of the two.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stream {
    /// stdout.
    Stdout,
    /// stderr.
    Stderr,
}

/// A command as it is shown.
#[derive(Clone, Debug)]
#[expect(missing_docs, reason = "each field is documented in exec.proto")]
pub struct CommandView {
    pub id: SessionId,
    pub argv: Vec<String>,
    pub cwd: String,
    pub labels: BTreeMap<String, String>,
    pub confine: String,
    pub stdout: Held,
    pub stderr: Held,
    pub stdin_offset: u64,
    pub exit: Option<ExitStatus>,
    pub pipe_holders: Vec<Process>,
    pub survivors: Vec<Process>,
    pub started_ms: u64,
    pub ended_ms: u64,
    pub pid: i32,
}

/// A program on pipes.
pub struct Command {
    pub(crate) id: SessionId,
    argv: Vec<String>,
    cwd: String,
    labels: BTreeMap<String, String>,
    confine: String,
    started_ms: u64,
    pid: i32,
    children: Arc<Children>,
    shared: Mutex<Shared>,
    changed: watch::Sender<u64>,
    stdin: AsyncMutex<Option<AsyncFd<OwnedFd>>>,
    kill: Notify,
}

struct Shared {
    stdout: Ring,
    stderr: Ring,
    stdin_offset: u64,
    exit: Option<ExitStatus>,
    deeds: Deeds,
    ended_ms: u64,
    last_activity_ms: u64,
    /// When it was started or fed last.
    used: Moment,
    pipe_holders: Vec<Process>,
    survivors: Vec<Process>,
}

/// What only the driver has.
pub(crate) struct Driver {
    command: Arc<Command>,
    stdout: AsyncFd<OwnedFd>,
    stderr: AsyncFd<OwnedFd>,
    spawned: Spawned,
    timeout: Duration,
    temporary: Option<OwnTemporary>,
}

impl Command {
    pub(crate) async fn start(
        spec: CommandSpec,
        environment: &Environment,
        children: &Arc<Children>,
        spill: &Path,
        confinement: Option<Confinement>,
    ) -> Result<(Arc<Command>, Driver), TermError> {
        let (id, clean) = (SessionId::new(), spec.clean_env || confinement.is_some());
        let own = confinement.as_ref().map(|confinement| environment.within(confinement.path().to_owned()));
        let environment = own.as_ref().unwrap_or(environment);
        let mut prepared = environment.command(&spec.argv, &spec.env, clean, &spec.cwd, &id.to_string())?;
        let apply = |confinement: Confinement| confinement.apply(&mut prepared.command, &id.to_string());
        let temporary = confinement.map(apply).transpose()?;
        let cwd = prepared.folder.to_string_lossy().into_owned();
        prepared.command.stdin(if spec.stdin { Stdio::piped() } else { Stdio::null() });
        prepared.command.stdout(Stdio::piped()).stderr(Stdio::piped());
        let (command, explanation) = prepared.split();
        let mut spawned = children.spawn(command, false).await.map_err(|error| explanation.of(&error))?;
        let failed = |source| TermError::System { stage: "open the pipes", source };
        let missing = || failed(io::Error::other("a pipe is missing"));
        let stdin = spawned.child.stdin.take().map(|pipe| watched(pipe.into())).transpose().map_err(failed)?;
        let stdout = spawned.child.stdout.take().ok_or_else(missing)?;
        let stderr = spawned.child.stderr.take().ok_or_else(missing)?;
        let ring = || Ring::spilling(COMMAND_MEMORY_BYTES, COMMAND_DISK_BYTES, spill.into());
        let now = now_ms();
        let command = Arc::new(Command {
            id,
            argv: spec.argv,
            cwd,
            labels: spec.labels,
            confine: spec.confine,
            started_ms: now,
            pid: spawned.pid,
            children: Arc::clone(children),
            shared: Mutex::new(Shared {
                stdout: ring(),
                stderr: ring(),
                stdin_offset: 0,
                exit: None,
                deeds: Deeds::default(),
                ended_ms: 0,
                last_activity_ms: now,
                used: Moment::now(),
                pipe_holders: Vec::new(),
                survivors: Vec::new(),
            }),
            changed: watch::Sender::new(0),
            stdin: AsyncMutex::new(stdin),
            kill: Notify::new(),
        });
        let driver = Driver {
            command: Arc::clone(&command),
            stdout: watched(stdout.into()).map_err(failed)?,
            stderr: watched(stderr.into()).map_err(failed)?,
            spawned,
            timeout: spec.timeout,
            temporary,
        };
        Ok((command, driver))
    }

    /// Its state.
    pub fn view(&self) -> CommandView {
        let shared = self.lock();
        CommandView {
            id: self.id,
            argv: environment::shown(&self.argv),
            cwd: self.cwd.clone(),
            labels: self.labels.clone(),
            confine: self.confine.clone(),
            stdout: shared.stdout.held(),
            stderr: shared.stderr.held(),
            stdin_offset: shared.stdin_offset,
            exit: shared.exit,
            pipe_holders: shared.pipe_holders.clone(),
            survivors: shared.survivors.clone(),
            started_ms: self.started_ms,
            ended_ms: shared.ended_ms,
            pid: self.pid,
        }
    }

    /// At most `limit` bytes of a stream from `offset`; the offset of the first one.
    pub fn read(&self, stream: Stream, offset: u64, limit: usize) -> Result<(u64, Bytes), TermError> {
        let shared = self.lock();
        let ring = match stream {
            Stream::Stdout => &shared.stdout,
            Stream::Stderr => &shared.stderr,
        };
        let head = ring.held().head;
        if offset > head {
            let problem = format!("only {head} bytes were printed so far");
            return Err(TermError::OutOfRange { what: "the offset", given: offset, problem });
        }
        Ok(ring.read(offset, limit))
    }

    /// Bytes of its output that are on disk.
    pub(crate) fn on_disk(&self) -> u64 {
        let shared = self.lock();
        shared.stdout.on_disk() + shared.stderr.on_disk()
    }

    /// Takes its output out; whoever asks for it is told of a gap. It has ended.
    pub(crate) fn take_output(&self) -> [Ring; 2] {
        let mut shared = self.lock();
        [shared.stdout.take(), shared.stderr.take()]
    }

    /// Told of each change.
    pub fn changes(&self) -> watch::Receiver<u64> {
        self.changed.subscribe()
    }

    /// Whether it has ended and its output is read.
    pub fn has_ended(&self) -> bool {
        self.lock().exit.is_some()
    }

    /// Waits until it has ended and its output is read.
    pub async fn ended(&self) -> ExitStatus {
        let mut changes = self.changed.subscribe();
        loop {
            changes.borrow_and_update();
            if let Some(exit) = self.lock().exit {
                return exit;
            }
            if changes.changed().await.is_err() {
                return ExitStatus::observed(None, Deeds::default());
            }
        }
    }

    /// Writes to stdin what lies beyond the bytes written before; returns their
    /// number. Waits while the command does not read; giving up loses nothing.
    pub async fn write_stdin(&self, offset: u64, data: &[u8], eof: bool) -> Result<u64, TermError> {
        let mut stdin = self.stdin.lock().await;
        loop {
            let (done, exit) = {
                let shared = self.lock();
                (shared.stdin_offset, shared.exit)
            };
            if offset > done {
                let problem = format!("{done} bytes were written so far");
                return Err(TermError::OutOfRange { what: "the stdin offset", given: offset, problem });
            }
            let rest = usize::try_from(done - offset).ok().and_then(|skip| data.get(skip..)).unwrap_or_default();
            if rest.is_empty() {
                if eof {
                    *stdin = None;
                }
                return Ok(done);
            }
            if let Some(exit) = exit {
                return Err(TermError::Ended { what: "command", how: exit.to_string() });
            }
            let Some(pipe) = stdin.as_ref() else {
                return Err(invalid("data", "stdin is closed: it was not asked for, or eof was sent"));
            };
            let written = tokio::select! {
                written = write_some(pipe, rest) => written,
                exit = self.ended() => {
                    return Err(TermError::Ended { what: "command", how: exit.to_string() });
                }
            };
            match written {
                Ok(count) => {
                    let mut shared = self.lock();
                    shared.stdin_offset += count as u64;
                    shared.last_activity_ms = now_ms();
                    shared.used = Moment::now();
                }
                Err(error) => {
                    *stdin = None;
                    return Err(TermError::Ended { what: "command's stdin", how: error.to_string() });
                }
            }
        }
    }

    /// Sends a signal; returns how many got it. Blocks while it looks for a tree.
    pub fn signal(&self, number: i32, target: Target) -> Result<usize, TermError> {
        let signal = checked_signal(number)?;
        let tree = if target == Target::Tree { tree::members(self.pid, &self.id.to_string()) } else { Vec::new() };
        {
            let mut shared = self.lock();
            if let Some(exit) = shared.exit {
                return Err(TermError::Ended { what: "command", how: exit.to_string() });
            }
            if target != Target::Tree || tree.iter().any(|member| member.pid == self.pid) {
                shared.deeds.sending(signal);
            }
        }
        Ok(match target {
            Target::Leader => usize::from(self.children.signal(self.pid, signal, false)),
            Target::Group => usize::from(self.children.signal(self.pid, signal, true)),
            Target::Tree => tree::send(&tree, signal),
        })
    }

    /// Asks the driver to end the whole tree; does not wait.
    pub fn end(&self) {
        self.kill.notify_one();
    }

    /// Asks the tree to end and does not wait. Blocks while it looks.
    pub(crate) fn ask_to_end(&self) {
        self.lock().deeds.sending(Signal::TERM);
        tree::ask(&tree::members(self.pid, &self.id.to_string()), Signal::TERM);
    }

    /// When somebody used it last.
    pub(crate) fn used(&self) -> Moment {
        self.lock().used
    }

    fn lock(&self) -> MutexGuard<'_, Shared> {
        // Each critical section leaves the state whole; a panic in one spoils nothing for others.
        self.shared.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn bump(&self) {
        self.changed.send_modify(|count| *count += 1);
    }

    /// Takes what a pipe has; zero is its end.
    fn take(&self, stream: Stream, pipe: &OwnedFd) -> io::Result<usize> {
        let count = {
            let mut shared = self.lock();
            let ring = match stream {
                Stream::Stdout => &mut shared.stdout,
                Stream::Stderr => &mut shared.stderr,
            };
            let count = ring.read_from(pipe, PIPE_BURST_BYTES)?;
            shared.last_activity_ms = now_ms();
            count
        };
        self.bump();
        Ok(count)
    }

    /// Ends the tree, because its time is over or a caller wants it.
    async fn end_tree(self: &Arc<Self>, time_over: bool) {
        {
            let deeds = &mut self.lock().deeds;
            if time_over {
                deeds.time_over();
            }
            deeds.sending(Signal::TERM);
            deeds.sending(Signal::KILL);
        }
        let (pid, mark) = (self.pid, self.id.to_string());
        let ending =
            tokio::task::spawn_blocking(move || tree::end(|| tree::members(pid, &mark), Signal::TERM, KILL_GRACE));
        let survivors = ending.await.unwrap_or_default();
        self.lock().survivors = survivors;
    }
}

impl Driver {
    /// Reads both pipes until the command has ended and its output is read.
    pub(crate) async fn run(self) {
        let Driver { command, stdout, stderr, spawned, timeout: time, temporary: _held } = self;
        let pipes = [pipe_name(&stdout), pipe_name(&stderr)];
        let reading = async {
            tokio::join!(drain(&command, Stream::Stdout, &stdout), drain(&command, Stream::Stderr, &stderr));
        };
        let dying = async {
            let leader = async { spawned.exit.await.ok().flatten() };
            tokio::pin!(leader);
            let deadline = if time.is_zero() { Instant::now() } else { Instant::now() + time };
            let time_over = tokio::select! {
                status = &mut leader => return status,
                () = sleep_until(deadline), if !time.is_zero() => true,
                () = command.kill.notified() => false,
            };
            command.end_tree(time_over).await;
            leader.await
        };
        tokio::pin!(reading, dying);
        let mut drained = false;
        let status = loop {
            tokio::select! {
                status = &mut dying => break status,
                () = &mut reading, if !drained => drained = true,
            }
        };
        if !drained && timeout(PIPE_DRAIN, reading).await.is_err() {
            let holders = tokio::task::spawn_blocking(move || tree::holders(&pipes)).await.unwrap_or_default();
            command.lock().pipe_holders = holders;
        }
        {
            let mut shared = command.lock();
            shared.stdout.settle();
            shared.stderr.settle();
            shared.exit = Some(ExitStatus::observed(status, shared.deeds));
            shared.ended_ms = now_ms();
        }
        command.bump();
    }
}

async fn drain(command: &Command, stream: Stream, pipe: &AsyncFd<OwnedFd>) {
    let mut widened = false;
    loop {
        let Ok(mut ready) = pipe.readable().await else { return };
        match ready.try_io(|pipe| command.take(stream, pipe.get_ref())) {
            Ok(Ok(0)) => return,
            Ok(Ok(count)) if count >= OUTPUT_FRAME_BYTES && !widened => {
                widened = true;
                // Where the user's pipes hold all that they may, this one stays as it is, and all goes on.
                let _ = fcntl_setpipe_size(pipe.get_ref(), PIPE_BYTES);
            }
            Ok(Ok(_)) => {}
            Ok(Err(error)) if error.kind() == io::ErrorKind::Interrupted => {}
            Ok(Err(_)) => return,
            Err(_would_block) => {}
        }
        tokio::task::yield_now().await;
    }
}

async fn write_some(pipe: &AsyncFd<OwnedFd>, data: &[u8]) -> io::Result<usize> {
    loop {
        let mut ready = pipe.writable().await?;
        match ready.try_io(|fd| Ok(rustix::io::write(fd.get_ref(), data)?)) {
            Ok(Err(error)) if error.kind() == io::ErrorKind::Interrupted => {}
            Ok(result) => return result,
            Err(_would_block) => {}
        }
    }
}

fn pipe_name(pipe: &AsyncFd<OwnedFd>) -> String {
    rustix::fs::fstat(pipe.get_ref()).map(|stat| format!("pipe:[{}]", stat.st_ino)).unwrap_or_default()
}
