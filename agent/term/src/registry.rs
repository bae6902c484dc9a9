//! Every terminal and command of a container: opened, named, found and forgotten here.

use std::{
    collections::BTreeMap,
    hash::Hash,
    path::PathBuf,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use remora_proto_model::{IdempotencyKey, SessionId};
use tokio::sync::Mutex as AsyncMutex;
use tokio_util::task::AbortOnDropHandle;

use crate::{
    Children, Confinement, Environment, Moment,
    command::{Command, CommandSpec},
    error::{TermError, invalid},
    limits::{COMMANDS, COMMANDS_DISK_BYTES, COMMANDS_RUNNING, LABEL_BYTES, LABELS, TERMINALS},
    ring::Ring,
    terminal::{Terminal, TerminalSpec, now_ms},
    tree::Process,
};

/// The terminals and commands of a container.
pub struct Registry {
    environment: Environment,
    children: Arc<Children>,
    spill: PathBuf,
    terminals: Mutex<Vec<Entry<Terminal, TerminalSpec>>>,
    commands: Mutex<Vec<Entry<Command, CommandSpec>>>,
    /// Held while something starts, so that one key starts one thing and no bound is passed.
    /// Whether nothing starts any more.
    starting: AsyncMutex<bool>,
}

struct Entry<T, S> {
    item: Arc<T>,
    /// The key it was started with, and the request, which tells a repetition from another one.
    key: Option<(IdempotencyKey, S)>,
    _driver: AbortOnDropHandle<()>,
}

/// What runs now.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Terminals that run.
    pub terminals: usize,
    /// Commands that run.
    pub commands: usize,
    /// When the last one was opened, started or fed; of those that are known still.
    pub used: Option<Moment>,
}

impl Registry {
    /// An empty one; large output goes to files in `spill`.
    pub fn new(environment: Environment, children: Arc<Children>, spill: PathBuf) -> Self {
        Registry {
            environment,
            children,
            spill,
            terminals: Mutex::default(),
            commands: Mutex::default(),
            starting: AsyncMutex::default(),
        }
    }

    /// Opens a terminal, or returns the one that the key opened before.
    pub async fn open(&self, spec: TerminalSpec, key: Option<IdempotencyKey>) -> Result<Arc<Terminal>, TermError> {
        self.open_in(spec, key, None).await
    }

    /// The same, kept in the folder that `spec` names, which is `confinement`.
    pub async fn open_in(
        &self,
        spec: TerminalSpec,
        key: Option<IdempotencyKey>,
        confinement: Option<Confinement>,
    ) -> Result<Arc<Terminal>, TermError> {
        spec.check()?;
        both_or_none(&spec.confine, confinement.as_ref())?;
        let closed = self.starting.lock().await;
        if let Some(first) = repeated(&lock(&self.terminals), key.as_ref(), &spec, |terminal| terminal.id)? {
            return Ok(first);
        }
        if *closed {
            return Err(TermError::Closed);
        }
        let running = lock(&self.terminals).iter().filter(|entry| entry.item.view().exit.is_none()).count();
        if running >= TERMINALS {
            let hint = "close one that is no longer needed";
            return Err(TermError::Limit { what: "terminals", limit: TERMINALS, hint });
        }
        let (item, driver) = Terminal::open(spec.clone(), &self.environment, &self.children, confinement).await?;
        let driver = AbortOnDropHandle::new(tokio::spawn(driver.run()));
        let mut terminals = lock(&self.terminals);
        let forgotten = forget_oldest(&mut terminals, TERMINALS, |terminal| terminal.view().exit.is_some());
        drop_apart(forgotten);
        terminals.push(Entry { item: Arc::clone(&item), key: key.map(|key| (key, spec)), _driver: driver });
        Ok(item)
    }

    /// Starts a command, or returns the one that the key started before.
    pub async fn start(&self, spec: CommandSpec, key: Option<IdempotencyKey>) -> Result<Arc<Command>, TermError> {
        self.start_in(spec, key, None).await
    }

    /// The same, kept in the folder that `spec` names, which is `confinement`.
    pub async fn start_in(
        &self,
        spec: CommandSpec,
        key: Option<IdempotencyKey>,
        confinement: Option<Confinement>,
    ) -> Result<Arc<Command>, TermError> {
        spec.check()?;
        both_or_none(&spec.confine, confinement.as_ref())?;
        let closed = self.starting.lock().await;
        if let Some(first) = repeated(&lock(&self.commands), key.as_ref(), &spec, |command| command.id)? {
            return Ok(first);
        }
        if *closed {
            return Err(TermError::Closed);
        }
        let running = lock(&self.commands).iter().filter(|entry| entry.item.view().exit.is_none()).count();
        if running >= COMMANDS_RUNNING {
            let hint = "wait for one to end, or end one with Signal";
            return Err(TermError::Limit { what: "running commands", limit: COMMANDS_RUNNING, hint });
        }
        let started = Command::start(spec.clone(), &self.environment, &self.children, &self.spill, confinement);
        let (item, driver) = started.await?;
        let driver = AbortOnDropHandle::new(tokio::spawn(driver.run()));
        let mut commands = lock(&self.commands);
        drop_apart(forget_oldest(&mut commands, COMMANDS, |command| command.view().exit.is_some()));
        drop_apart(take_oldest_output(commands.iter().map(|entry| &*entry.item)));
        commands.push(Entry { item: Arc::clone(&item), key: key.map(|key| (key, spec)), _driver: driver });
        Ok(item)
    }

    /// The terminal of that id.
    pub fn terminal(&self, id: &str) -> Result<Arc<Terminal>, TermError> {
        find(&lock(&self.terminals), "terminal", id, |terminal| terminal.id)
    }

    /// The command of that id.
    pub fn command(&self, id: &str) -> Result<Arc<Command>, TermError> {
        find(&lock(&self.commands), "command", id, |command| command.id)
    }

    /// All terminals, oldest first.
    pub fn terminals(&self) -> Vec<Arc<Terminal>> {
        lock(&self.terminals).iter().map(|entry| Arc::clone(&entry.item)).collect()
    }

    /// All commands, oldest first.
    pub fn commands(&self) -> Vec<Arc<Command>> {
        lock(&self.commands).iter().map(|entry| Arc::clone(&entry.item)).collect()
    }

    /// Ends a terminal and forgets it.
    pub async fn close(&self, id: &str, grace: Duration) -> Result<(Arc<Terminal>, Vec<Process>), TermError> {
        let terminal = self.terminal(id)?;
        let ending = Arc::clone(&terminal);
        let running = terminal.view().exit.is_none();
        let end = move || if running { ending.end(grace) } else { Vec::new() };
        let survivors = tokio::task::spawn_blocking(end).await.unwrap_or_default();
        if survivors.is_empty() {
            terminal.ended().await;
        }
        lock(&self.terminals).retain(|entry| entry.item.id != terminal.id);
        Ok((terminal, survivors))
    }

    /// Lets nothing start any more, and asks everything that runs to end: terminals are
    /// hung up, commands get SIGTERM. Does not wait for their ends.
    pub async fn ask_all_to_end(&self) {
        *self.starting.lock().await = true;
        let running = (self.terminals(), self.commands());
        let asking = tokio::task::spawn_blocking(move || {
            let (terminals, commands) = running;
            terminals.iter().filter(|terminal| terminal.view().exit.is_none()).for_each(|one| one.hang_up());
            commands.iter().filter(|command| command.view().exit.is_none()).for_each(|one| one.ask_to_end());
        });
        // A panic in there leaves them to whoever ends the container.
        let _ = asking.await;
    }

    /// Waits until nothing runs any more.
    pub async fn all_ended(&self) {
        for terminal in self.terminals() {
            terminal.ended().await;
        }
        for command in self.commands() {
            command.ended().await;
        }
    }

    /// Closes terminals whose idle time is over.
    pub async fn close_idle(&self) {
        let now = now_ms();
        for terminal in self.terminals().into_iter().filter(|terminal| terminal.is_idle(now)) {
            // One that a caller closed meanwhile is what was wanted.
            let _ = self.close(&terminal.id.to_string(), crate::limits::KILL_GRACE).await;
        }
    }

    /// What runs now.
    pub fn counts(&self) -> Counts {
        let mut counts = Counts::default();
        for terminal in self.terminals() {
            counts.terminals += usize::from(terminal.view().exit.is_none());
            counts.used = counts.used.max(Some(terminal.used()));
        }
        for command in self.commands() {
            counts.commands += usize::from(command.view().exit.is_none());
            counts.used = counts.used.max(Some(command.used()));
        }
        counts
    }
}

/// A folder that was asked for and is not there must never be none.
fn both_or_none(asked: &str, confinement: Option<&Confinement>) -> Result<(), TermError> {
    if asked.is_empty() == confinement.is_none() {
        return Ok(());
    }
    Err(TermError::CannotConfine { problem: "the folder that it names was not opened".to_owned() })
}

fn repeated<T, S: Eq + Hash>(
    entries: &[Entry<T, S>],
    key: Option<&IdempotencyKey>,
    spec: &S,
    id: impl Fn(&T) -> SessionId,
) -> Result<Option<Arc<T>>, TermError> {
    let same = |entry: &&Entry<T, S>| key.is_some() && entry.key.as_ref().map(|(key, _)| key) == key;
    let Some(entry) = entries.iter().find(same) else { return Ok(None) };
    match &entry.key {
        Some((_, first)) if first == spec => Ok(Some(Arc::clone(&entry.item))),
        _ => Err(TermError::KeyReused {
            key: key.map(|key| key.as_str().to_owned()).unwrap_or_default(),
            first: id(&entry.item).to_string(),
        }),
    }
}

fn find<T, S>(
    entries: &[Entry<T, S>],
    what: &'static str,
    id: &str,
    id_of: impl Fn(&T) -> SessionId,
) -> Result<Arc<T>, TermError> {
    let wanted: SessionId = id.parse().map_err(|error| invalid("id", format!("{error}")))?;
    let entry = entries.iter().find(|entry| id_of(&entry.item) == wanted);
    entry.map(|entry| Arc::clone(&entry.item)).ok_or_else(|| TermError::NotFound { what, id: id.into() })
}

/// Takes out what has ended, oldest first, where there are as many as may be.
fn forget_oldest<T, S>(entries: &mut Vec<Entry<T, S>>, limit: usize, ended: impl Fn(&T) -> bool) -> Vec<Entry<T, S>> {
    let too_many = (entries.len() + 1).saturating_sub(limit);
    entries.extract_if(.., |entry| ended(&entry.item)).take(too_many).collect()
}

/// Drops what may hold files: the last end of one may wait for the disk, and nobody else shall.
fn drop_apart<T: Send + 'static>(dropped: Vec<T>) {
    if !dropped.is_empty() {
        tokio::task::spawn_blocking(move || drop(dropped));
    }
}

/// Takes out the output of the ended `commands`, oldest first, that is too much on disk together.
fn take_oldest_output<'a>(commands: impl DoubleEndedIterator<Item = &'a Command>) -> Vec<[Ring; 2]> {
    let mut held = 0;
    let too_much = commands.rev().filter(|command| {
        let own = if command.has_ended() { command.on_disk() } else { 0 };
        held += own;
        own > 0 && held > COMMANDS_DISK_BYTES as u64
    });
    too_much.map(Command::take_output).collect()
}

pub(crate) fn check_labels(labels: &BTreeMap<String, String>) -> Result<(), TermError> {
    if labels.len() > LABELS {
        return Err(invalid("labels", format!("there are {}, at most {LABELS} are kept", labels.len())));
    }
    match labels.iter().find(|(key, value)| key.len() > LABEL_BYTES || value.len() > LABEL_BYTES) {
        Some((key, _)) => {
            let key: String = key.chars().take(40).collect();
            Err(invalid("labels", format!("{key:?} is longer than {LABEL_BYTES} bytes, or its value is")))
        }
        None => Ok(()),
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Each critical section leaves the list whole; a panic in one spoils nothing for others.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
