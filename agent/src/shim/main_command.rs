//! The container's own command.

use std::{
    collections::BTreeMap,
    future::{Future, poll_fn},
    ops::RangeInclusive,
    process::ExitCode,
    sync::Arc,
    task::Poll,
    time::Duration,
};

use remora_agent_term::{Children, Death, Environment, signal_number};
use rustix::process::{Signal, WaitStatus};
use tokio::{
    signal::unix::{self, SignalKind},
    sync::watch,
};
use tokio_util::task::AbortOnDropHandle;

/// The mark of what the main command started.
const MARK: &str = "main";
/// Time that followers of the status have to read how the command ended.
const REPORT: Duration = Duration::from_millis(200);

/// How the command is.
#[derive(Clone, Debug)]
pub(super) enum MainState {
    /// It has not begun: the words say what it waits for.
    Waiting(String),
    /// It does not begin: the words say what it waited for in vain.
    GaveUp(String),
    /// It runs.
    Running,
    /// It has ended; `None` is an end that nobody could observe.
    Ended(Option<Death>),
}

/// How the command is, as it changes.
pub(super) type MainStatus = watch::Receiver<MainState>;

pub(super) struct Main {
    pid: i32,
    children: Arc<Children>,
    status: MainStatus,
    _waiter: AbortOnDropHandle<()>,
}

impl Main {
    /// Starts it with this process's own descriptors, and tells `sender` how it is from then on.
    pub(super) async fn start(
        argv: &[String],
        environment: &Environment,
        children: Arc<Children>,
        sender: watch::Sender<MainState>,
    ) -> anyhow::Result<Main> {
        let prepared = environment.command(argv, &BTreeMap::new(), false, "", MARK)?;
        let spawned = children.launch(prepared).await?;
        sender.send_replace(MainState::Running);
        let status = sender.subscribe();
        let exit = spawned.exit;
        let waiter = AbortOnDropHandle::new(tokio::spawn(async move {
            let how = exit.await.ok().flatten();
            sender.send_replace(MainState::Ended(how));
            // Kept open: a closed channel would look like a change to those who follow.
            sender.closed().await;
        }));
        Ok(Main { pid: spawned.pid, children, status, _waiter: waiter })
    }

    pub(super) fn ended(&self) -> impl Future<Output = ()> + use<> {
        let mut status = self.status.clone();
        async move {
            // An error means that the waiter is gone, and with it the command.
            let _ = status.wait_for(|state| matches!(state, MainState::Ended(_))).await;
        }
    }

    pub(super) fn signal(&self, signal: Signal) {
        self.children.signal(self.pid, signal, false);
    }

    /// Asks it to end.
    pub(super) fn ask_to_end(&self) {
        self.signal(Signal::TERM);
        // A stopped process acts on the request only once it goes on.
        self.signal(Signal::CONT);
    }

    /// Leaves those who follow the status a moment to pass on how it ended.
    pub(super) async fn reported(&self) {
        tokio::time::sleep(REPORT).await;
    }

    /// The code a shell would give for it.
    pub(super) fn exit_code(&self) -> ExitCode {
        let status = match *self.status.borrow() {
            MainState::Ended(Some(death)) => Some(death.status),
            _ => None,
        };
        let code = match (status.and_then(WaitStatus::exit_status), status.and_then(WaitStatus::terminating_signal)) {
            (Some(code), _) => u8::try_from(code).unwrap_or(255),
            (_, Some(signal)) => u8::try_from(128 + signal).unwrap_or(255),
            _ => 255,
        };
        ExitCode::from(code)
    }
}

/// What a container's command may be sent: everything but what stops a process
/// (job control is its terminal's business), what means a fault of the shim's
/// own, and what the shim itself lives by (SIGCHLD, SIGPIPE).
const FORWARDED: [Signal; 10] = [
    Signal::HUP,
    Signal::INT,
    Signal::QUIT,
    Signal::USR1,
    Signal::USR2,
    Signal::ALARM,
    Signal::CONT,
    Signal::WINCH,
    Signal::IO,
    Signal::POWER,
];
/// Real-time signals are forwarded too: some images are stopped with one.
const REAL_TIME: RangeInclusive<i32> = 35..=64;

/// Signals to the shim that are meant for the command.
pub(super) struct Signals {
    terminate: unix::Signal,
    forwarded: Vec<(unix::Signal, Signal)>,
}

impl Signals {
    pub(super) fn new() -> std::io::Result<Self> {
        let all = FORWARDED.into_iter().chain(REAL_TIME.filter_map(signal_number));
        let open = |signal: Signal| Ok((unix::signal(SignalKind::from_raw(signal.as_raw()))?, signal));
        let terminate = unix::signal(SignalKind::terminate())?;
        Ok(Signals { terminate, forwarded: all.map(open).collect::<std::io::Result<_>>()? })
    }

    /// The next signal to pass on; `None` is the request to end everything.
    pub(super) async fn next(&mut self) -> Option<Signal> {
        poll_fn(|context| {
            if self.terminate.poll_recv(context).is_ready() {
                return Poll::Ready(None);
            }
            let mut all = self.forwarded.iter_mut();
            let ready = all.find_map(|(signal, number)| signal.poll_recv(context).is_ready().then_some(*number));
            ready.map_or(Poll::Pending, |number| Poll::Ready(Some(number)))
        })
        .await
    }
}

#[cfg(test)]
mod tests {
    use remora_agent_term::{KILL_GRACE, KILL_SETTLE};

    use super::REPORT;
    use crate::limits::SHIM_STOP_SLACK;

    /// What the control plane counts on when it divides a pod's grace period.
    #[test]
    fn the_end_of_a_container_fits_into_what_is_promised() {
        let steps = KILL_GRACE + KILL_SETTLE + REPORT;
        assert!(steps < SHIM_STOP_SLACK, "{steps:?} and a look through /proc on a slow machine");
    }
}
