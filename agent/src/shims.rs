//! The containers' shims: one connection each, kept by one task, and the way of
//! a call to it. A shim shares its container with the user's code, so what it
//! says is checked wherever it is used.
//!
//! ```text
//! connecting ──Hello fits──► up ──Status ends or falls silent──► down
//!      ▲                                                          │
//!      └───────────────────────── back-off ◄──────────────────────┘
//! ```

mod connection;
mod freeze;
mod refusal;

use std::{path::PathBuf, sync::Arc, time::Duration};

use remora_proto::{
    agent::v1::{
        ContainerStatus, exec_service_client::ExecServiceClient, terminal_service_client::TerminalServiceClient,
    },
    model::{Capability, ContainerName, Fault, Reason},
    shim::v1::shim_service_client::ShimServiceClient,
};
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore, watch},
    time::timeout,
};
use tokio_util::task::AbortOnDropHandle;
use tonic::{Response, Status};

pub use self::connection::Secret;
use self::connection::{Report, State, Transport, Up};
use crate::limits::{
    MAX_MESSAGE_BYTES, MAX_SHIM_ANSWER_BYTES, MAX_SHIM_CALLS, SHIM_FIRST_WAIT, SHIM_IS_GONE, SHIM_RETRY_AFTER,
};

/// A container and the socket of its shim, as the command line names them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ShimAddress {
    /// The container.
    pub name: ContainerName,
    /// Where its shim listens.
    pub socket: PathBuf,
}

impl std::str::FromStr for ShimAddress {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (name, socket) = text.split_once('=').ok_or("give it as NAME=SOCKET")?;
        let name = name.parse().map_err(|error: remora_proto::model::IdError| error.to_string())?;
        if socket.is_empty() {
            return Err("the socket's path is missing; give it as NAME=SOCKET".to_owned());
        }
        Ok(ShimAddress { name, socket: socket.into() })
    }
}

/// Every container of the pod; the first is the default one.
pub(crate) struct Shims(Vec<Shim>);

/// One container.
pub(crate) struct Shim {
    name: ContainerName,
    state: watch::Receiver<State>,
    /// Calls that may be on their way to it.
    room: Arc<Semaphore>,
    _keeper: AbortOnDropHandle<()>,
}

/// The way of one call to a shim; held until the call has ended.
pub(crate) struct Route {
    container: ContainerName,
    transport: Transport,
    _room: OwnedSemaphorePermit,
}

impl Shims {
    /// Connects to each and keeps connected. Within a tokio runtime.
    pub(crate) fn start(addresses: Vec<ShimAddress>, secret: Option<Secret>) -> Shims {
        let start = |ShimAddress { name, socket }: ShimAddress| {
            let (sender, state) = watch::channel(State::Connecting);
            let keeper = connection::keep(name.clone(), socket, secret.clone(), sender);
            let room = Arc::new(Semaphore::new(MAX_SHIM_CALLS));
            Shim { name, state, room, _keeper: AbortOnDropHandle::new(tokio::spawn(keeper)) }
        };
        Shims(addresses.into_iter().map(start).collect())
    }

    /// The container that a request names, where the capability opens it; empty is the default one.
    pub(crate) fn find(&self, capability: &Capability, name: &str) -> Result<&Shim, Fault> {
        if name.is_empty() {
            let Some(first) = self.0.first() else { return Err(no_containers()) };
            capability.allows_container(&first.name)?;
            return Ok(first);
        }
        let wanted: ContainerName = name.parse().map_err(|error| Fault::invalid("container", error))?;
        // Before it is said what exists: that is for those who may reach it.
        capability.allows_container(&wanted)?;
        if self.0.is_empty() {
            return Err(no_containers());
        }
        self.0.iter().find(|shim| shim.name == wanted).ok_or_else(|| {
            let granted = self.0.iter().filter(|shim| capability.allows_container(&shim.name).is_ok());
            let names: Vec<&str> = granted.map(|shim| shim.name.as_str()).collect();
            Fault::new(Reason::NotFound, format!("there is no container {wanted}"))
                .hint(format!("there is {}; empty is the default one", names.join(", ")))
        })
    }

    /// Refuses a call about all containers by a bearer of some.
    pub(crate) fn all_allowed(&self, capability: &Capability) -> Result<(), Fault> {
        self.0.iter().try_for_each(|shim| capability.allows_container(&shim.name))
    }

    pub(crate) fn names(&self) -> Vec<String> {
        self.0.iter().map(|shim| shim.name.to_string()).collect()
    }

    /// How each container is, and its use.
    pub(crate) fn status(&self) -> Vec<(ContainerStatus, Used)> {
        self.0.iter().map(|shim| shown(&shim.name, &shim.state.borrow())).collect()
    }

    /// Whether every shim answers.
    pub(crate) fn all_up(&self) -> bool {
        self.0.iter().all(|shim| matches!(*shim.state.borrow(), State::Up(_)))
    }

    /// Returns once all of them have ended, as far as that can be seen from here.
    pub(crate) async fn have_ended(&self) {
        let is_up = |state: &State| matches!(state, State::Up(_));
        loop {
            for shim in &self.0 {
                // An error says that the task which kept the connection is gone.
                let _ = shim.state.clone().wait_for(|state| !is_up(state)).await;
            }
            // One whose connection alone was lost is back by then.
            tokio::time::sleep(SHIM_IS_GONE).await;
            if !self.0.iter().any(|shim| is_up(&shim.state.borrow())) {
                return;
            }
        }
    }

    /// Told of each change of each container.
    pub(crate) fn changes(&self) -> Vec<watch::Receiver<State>> {
        self.0.iter().map(|shim| shim.state.clone()).collect()
    }
}

fn no_containers() -> Fault {
    Fault::new(Reason::NotFound, "this agent serves no container")
        .hint("start `remora-agent serve` with --shim NAME=SOCKET")
}

/// When a container was used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Used {
    /// Milliseconds since the epoch; 0 is never.
    pub(crate) last_ms: u64,
    /// Milliseconds since then, by its own clock; `None` while it does not answer.
    pub(crate) quiet_ms: Option<u64>,
}

fn shown(name: &ContainerName, state: &State) -> (ContainerStatus, Used) {
    let mut status = ContainerStatus { name: name.to_string(), ..ContainerStatus::default() };
    let State::Up(Up { boot_id, report, .. }) = state else { return (status, Used { last_ms: 0, quiet_ms: None }) };
    status.reachable = true;
    status.boot_id.clone_from(boot_id);
    let Report { main_running, main_exit, terminals, commands, last_activity_ms, quiet_ms, frozen, waiting, gave_up } =
        report;
    status.main_running = *main_running;
    status.main_exit = *main_exit;
    status.running_terminals = *terminals;
    status.running_commands = *commands;
    status.frozen = *frozen;
    status.waiting.clone_from(waiting);
    status.gave_up = *gave_up;
    (status, Used { last_ms: *last_activity_ms, quiet_ms: Some(*quiet_ms) })
}

impl Shim {
    /// A way to the shim, or why there is none.
    pub(crate) async fn route(&self) -> Result<Route, Fault> {
        let mut state = self.state.clone();
        // An agent that has just started has not met its shims yet: that is no failure.
        _ = timeout(SHIM_FIRST_WAIT, state.wait_for(|state| !matches!(state, State::Connecting))).await;
        let transport = match &*self.state.borrow() {
            State::Up(up) => up.transport.clone(),
            State::Connecting => return Err(self.unavailable("it does not answer")),
            State::Down(why) => return Err(self.unavailable(why)),
        };
        let room = Arc::clone(&self.room).try_acquire_owned().map_err(|_| {
            Fault::new(Reason::LimitReached, format!("{MAX_SHIM_CALLS} calls to container {} are in flight", self.name))
                .hint("end attachments that are no longer needed, or try again")
                .retry_after(SHIM_RETRY_AFTER)
        })?;
        Ok(Route { container: self.name.clone(), transport, _room: room })
    }

    fn unavailable(&self, why: &str) -> Fault {
        Fault::new(Reason::ContainerUnavailable, format!("container {} cannot be reached: {why}", self.name))
            .hint("it may be starting; WatchStatus tells when it is reachable")
            .retry_after(SHIM_RETRY_AFTER)
    }
}

/// Whether a call changes anything, which is what a broken one leaves open.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Call {
    Reads,
    Changes,
}

impl Route {
    pub(crate) fn container(&self) -> &ContainerName {
        &self.container
    }

    pub(crate) fn terminal(&self) -> TerminalServiceClient<Transport> {
        TerminalServiceClient::new(self.transport.clone())
            .max_decoding_message_size(MAX_SHIM_ANSWER_BYTES)
            .max_encoding_message_size(MAX_MESSAGE_BYTES)
    }

    pub(crate) fn exec(&self) -> ExecServiceClient<Transport> {
        ExecServiceClient::new(self.transport.clone())
            .max_decoding_message_size(MAX_SHIM_ANSWER_BYTES)
            .max_encoding_message_size(MAX_MESSAGE_BYTES)
    }

    fn shim(&self) -> ShimServiceClient<Transport> {
        ShimServiceClient::new(self.transport.clone()).max_decoding_message_size(MAX_SHIM_ANSWER_BYTES)
    }

    /// What the shim answers within `time`, or what the caller is told instead.
    pub(crate) async fn answer<T>(
        &self,
        call: Call,
        time: Duration,
        answer: impl Future<Output = Result<Response<T>, Status>>,
    ) -> Result<T, Fault> {
        match timeout(time, answer).await {
            // Only the message: metadata would be a stranger's words to our caller.
            Ok(Ok(answer)) => Ok(answer.into_inner()),
            Ok(Err(status)) => Err(self.refusal(&status, call)),
            Err(_) => Err(refusal::silent(&self.container, call)),
        }
    }

    /// What the caller is told of an error of the shim.
    pub(crate) fn refusal(&self, status: &Status, call: Call) -> Fault {
        refusal::told(&self.container, status, call)
    }

    /// What the caller is told of a shim that says nothing.
    pub(crate) fn silent(&self, call: Call) -> Fault {
        refusal::silent(&self.container, call)
    }
}
