//! The one place that forks and the one place that reaps.
//!
//! Forking happens on one thread that lives as long as this value, because the
//! kernel sends a child its parent-death signal when the *thread* that forked it
//! ends. Reaping and forking exclude each other: std waits by itself for a child
//! whose exec failed, and a reaper that adopts orphans would take that away.

use std::{
    collections::HashMap,
    io,
    process::{Child, Command},
    sync::{Arc, Mutex, MutexGuard, PoisonError, mpsc},
    time::Duration,
};

use rustix::process::{Pid, Signal, WaitOptions, WaitStatus, kill_process, kill_process_group, wait, waitpid};
use tokio::{
    signal::unix::{SignalKind, signal},
    sync::oneshot,
};
use tokio_util::task::AbortOnDropHandle;
use tracing::warn;

use crate::{environment::Prepared, error::TermError, exit::Death, oom::OutOfMemory};

/// Whose exits are collected.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Adopt {
    /// Only those of processes spawned here.
    Nobody,
    /// Everybody's: orphans of the container are adopted (subreaper, or PID 1)
    /// and leave no zombies. Nothing else in this process may wait for children.
    Orphans,
}

/// Starts that may wait for the forking thread: the registry makes one at a time.
const QUEUE: usize = 64;

/// How often kills for want of memory are counted beside the deaths that are collected here.
const MEMORY_LOOK: Duration = Duration::from_secs(1);

type Exits = HashMap<i32, oneshot::Sender<Option<Death>>>;

/// Spawns processes and learns how they end.
#[derive(Debug)]
pub struct Children {
    exits: Arc<Mutex<Exits>>,
    jobs: mpsc::SyncSender<Job>,
    _reaper: AbortOnDropHandle<()>,
}

#[derive(Debug)]
struct Job {
    command: Command,
    reply: oneshot::Sender<io::Result<Spawned>>,
}

/// A process that runs.
#[derive(Debug)]
pub struct Spawned {
    /// Its pipes. Never wait for it here: the reaper does.
    pub child: Child,
    /// Its process id, which is also that of its session.
    pub pid: i32,
    /// How it ended, once it has; `None` where that was lost.
    pub exit: oneshot::Receiver<Option<Death>>,
}

impl Children {
    /// Starts the forking thread and the reaper. Within a tokio runtime.
    pub fn start(adopt: Adopt) -> io::Result<Arc<Children>> {
        if adopt == Adopt::Orphans {
            rustix::process::set_child_subreaper(Some(rustix::process::getpid()))?;
        }
        let exits = Arc::new(Mutex::new(Exits::new()));
        let (jobs, queue) = mpsc::sync_channel::<Job>(QUEUE);
        let table = Arc::clone(&exits);
        std::thread::Builder::new().name("fork".into()).spawn(move || {
            while let Ok(Job { command, reply }) = queue.recv() {
                let _ = reply.send(fork(command, &table));
            }
        })?;
        let mut died = signal(SignalKind::child())?;
        let table = Arc::clone(&exits);
        let reaper = tokio::spawn(async move {
            let mut memory = OutOfMemory::find();
            let mut look = tokio::time::interval(MEMORY_LOOK);
            loop {
                tokio::select! {
                    // Kills of what is not ours to collect grow old, so that they explain no later death.
                    _ = look.tick() => memory.look(),
                    signal = died.recv() => match signal {
                        Some(()) => {
                            memory.look();
                            reap(&table, adopt, &mut memory);
                        }
                        None => return,
                    },
                }
            }
        });
        Ok(Arc::new(Children { exits, jobs, _reaper: AbortOnDropHandle::new(reaper) }))
    }

    /// Starts `command` in a session of its own; `controlling` makes its stdin the session's terminal.
    pub async fn spawn(&self, mut command: Command, controlling: bool) -> io::Result<Spawned> {
        crate::sys::own_session(&mut command, controlling);
        let (reply, spawned) = oneshot::channel();
        let gone = || io::Error::other("the forking thread has ended");
        self.jobs.try_send(Job { command, reply }).map_err(|_| gone())?;
        spawned.await.map_err(|_| gone())?
    }

    /// Starts a prepared command with this process's own descriptors; a failure says why.
    pub async fn launch(&self, prepared: Prepared) -> Result<Spawned, TermError> {
        let (command, explanation) = prepared.split();
        self.spawn(command, false).await.map_err(|error| explanation.of(&error))
    }

    /// Sends a signal to a process that was spawned here, or to its group; false
    /// where it has ended. Its number cannot be another's: it is not reaped while
    /// the table is held.
    pub fn signal(&self, pid: i32, signal: Signal, group: bool) -> bool {
        let exits = lock(&self.exits);
        if !exits.contains_key(&pid) {
            return false;
        }
        let Some(pid) = Pid::from_raw(pid) else { return false };
        if group { kill_process_group(pid, signal).is_ok() } else { kill_process(pid, signal).is_ok() }
    }
}

fn fork(mut command: Command, table: &Mutex<Exits>) -> io::Result<Spawned> {
    let mut exits = lock(table);
    let child = command.spawn()?;
    let pid = i32::try_from(child.id()).map_err(io::Error::other)?;
    let (sender, exit) = oneshot::channel();
    exits.insert(pid, sender);
    Ok(Spawned { child, pid, exit })
}

fn reap(table: &Mutex<Exits>, adopt: Adopt, memory: &mut OutOfMemory) {
    let mut death = |status: WaitStatus| {
        let killed = status.terminating_signal() == Some(Signal::KILL.as_raw());
        Death { status, out_of_memory: killed && memory.explains() }
    };
    let mut exits = lock(table);
    match adopt {
        Adopt::Orphans => {
            while let Ok(Some((pid, status))) = wait(WaitOptions::NOHANG) {
                // No entry: an orphan that came to us. Nobody asks how it ended.
                let death = death(status);
                if let Some(sender) = exits.remove(&pid.as_raw_nonzero().get()) {
                    let _ = sender.send(Some(death));
                }
            }
        }
        Adopt::Nobody => {
            let pids: Vec<i32> = exits.keys().copied().collect();
            for pid in pids {
                let status = match waitpid(Pid::from_raw(pid), WaitOptions::NOHANG) {
                    Ok(None) => continue,
                    Ok(Some((_, status))) => Some(death(status)),
                    Err(error) => {
                        warn!(pid, %error, "somebody else collected this exit status");
                        None
                    }
                };
                if let Some(sender) = exits.remove(&pid) {
                    let _ = sender.send(status);
                }
            }
        }
    }
}

fn lock(table: &Mutex<Exits>) -> MutexGuard<'_, Exits> {
    // The table is whole after any single step, so a panic elsewhere spoils nothing.
    table.lock().unwrap_or_else(PoisonError::into_inner)
}
