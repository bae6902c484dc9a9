//! `remora.shim.v1.ShimService`.

use std::{sync::Arc, time::Duration};

use futures_util::stream::BoxStream;
use remora_agent_term::{Death, Registry};
use remora_proto::{
    agent::v1::{ExitStatus, exit_status::Cause},
    fault::to_status,
    model::{Fault, Reason},
    shim::v1::{
        FreezeRequest, FreezeResponse, HelloRequest, HelloResponse, StatusRequest, StatusResponse, StopRequest,
        StopResponse, ThawRequest, ThawResponse, shim_service_server::ShimService,
    },
};
use rustix::process::WaitStatus;
use tokio::{sync::watch, time::timeout};
use tonic::{Request, Response, Status};

use super::{
    freezer::Freezer,
    main_command::{MainState, MainStatus},
    usage::Usage,
};
use crate::requests::{milliseconds, refused};

/// The protocol that this shim speaks.
pub const PROTOCOL: u32 = 1;
/// How often a change that announces itself nowhere (a command began) is looked for.
const LOOK: Duration = Duration::from_millis(500);

pub(super) struct ShimRpc {
    container: String,
    boot_id: String,
    registry: Arc<Registry>,
    main: MainStatus,
    stop: watch::Sender<Option<Duration>>,
    freezer: Freezer,
    usage: Usage,
}

impl ShimRpc {
    pub(super) fn new(
        container: String,
        registry: Arc<Registry>,
        main: MainStatus,
        stop: watch::Sender<Option<Duration>>,
        freezer: Freezer,
        usage: Usage,
    ) -> Self {
        let boot_id = uuid::Uuid::new_v4().to_string();
        ShimRpc { container, boot_id, registry, main, stop, freezer, usage }
    }
}

#[tonic::async_trait]
impl ShimService for ShimRpc {
    async fn hello(&self, _: Request<HelloRequest>) -> Result<Response<HelloResponse>, Status> {
        Ok(Response::new(HelloResponse {
            protocol: PROTOCOL,
            boot_id: self.boot_id.clone(),
            version: env!("CARGO_PKG_VERSION").into(),
            container: self.container.clone(),
        }))
    }

    type StatusStream = BoxStream<'static, Result<StatusResponse, Status>>;

    async fn status(&self, request: Request<StatusRequest>) -> Result<Response<Self::StatusStream>, Status> {
        let interval =
            milliseconds("interval_ms", request.get_ref().interval_ms, 10_000, 500..=60_000).map_err(refused)?;
        let look = (Arc::clone(&self.registry), self.freezer.clone(), self.usage.clone());
        let follow = (look, self.main.clone(), None::<StatusResponse>);
        let stream = futures_util::stream::unfold(follow, move |(look, mut main, last)| async move {
            let mut waited = Duration::ZERO;
            loop {
                let (registry, freezer, usage) = &look;
                let now = status(registry, freezer, &main, usage);
                if last.as_ref().is_none_or(|last| is_news(last, &now)) || waited >= interval {
                    return Some((Ok(now.clone()), (look, main, Some(now))));
                }
                // A closed channel ends with the shim; until then the clock goes on.
                if !matches!(timeout(LOOK, main.changed()).await, Ok(Ok(()))) {
                    waited += LOOK;
                }
            }
        });
        Ok(Response::new(Box::pin(stream)))
    }

    async fn freeze(&self, request: Request<FreezeRequest>) -> Result<Response<FreezeResponse>, Status> {
        let lease = milliseconds("lease_ms", request.get_ref().lease_ms, 60_000, 1_000..=300_000).map_err(refused)?;
        let freezer = self.freezer.clone();
        let processes = apart(move || {
            let processes = freezer.freeze()?;
            freezer.lease(lease);
            Ok(processes)
        });
        Ok(Response::new(FreezeResponse { processes: u32::try_from(processes.await?).unwrap_or(u32::MAX) }))
    }

    async fn thaw(&self, _: Request<ThawRequest>) -> Result<Response<ThawResponse>, Status> {
        let freezer = self.freezer.clone();
        let was_frozen = apart(move || Ok(freezer.thaw())).await?;
        Ok(Response::new(ThawResponse { was_frozen }))
    }

    async fn stop(&self, request: Request<StopRequest>) -> Result<Response<StopResponse>, Status> {
        let grace = milliseconds("grace_ms", request.get_ref().grace_ms, 10_000, 1..=600_000).map_err(refused)?;
        self.stop.send_replace(Some(grace));
        Ok(Response::new(StopResponse {}))
    }
}

/// Runs what blocks on a thread of its own.
async fn apart<T: Send + 'static>(work: impl FnOnce() -> Result<T, Fault> + Send + 'static) -> Result<T, Status> {
    let lost = |_| to_status(&Fault::new(Reason::Internal, "the call failed within the shim"));
    tokio::task::spawn_blocking(work).await.map_err(lost)?.map_err(|fault| to_status(&fault))
}

/// Whether there is more to say than that time went by.
fn is_news(last: &StatusResponse, now: &StatusResponse) -> bool {
    let timeless = |status: &StatusResponse| StatusResponse { quiet_ms: 0, ..status.clone() };
    timeless(last) != timeless(now)
}

fn status(registry: &Registry, freezer: &Freezer, main: &MainStatus, usage: &Usage) -> StatusResponse {
    let counts = registry.counts();
    let used = usage.last(&counts);
    let state = main.borrow().clone();
    StatusResponse {
        main_running: matches!(state, MainState::Running),
        main_exit: if let MainState::Ended(how) = state { Some(exit(how)) } else { None },
        gave_up: matches!(state, MainState::GaveUp(_)),
        waiting: match state {
            MainState::Waiting(why) | MainState::GaveUp(why) => why,
            MainState::Running | MainState::Ended(_) => String::new(),
        },
        running_terminals: u32::try_from(counts.terminals).unwrap_or(u32::MAX),
        running_commands: u32::try_from(counts.commands).unwrap_or(u32::MAX),
        last_activity_ms: used.epoch_ms(),
        quiet_ms: u64::try_from(used.age().as_millis()).unwrap_or(u64::MAX),
        frozen: freezer.is_frozen(),
    }
}

fn exit(death: Option<Death>) -> ExitStatus {
    let status = death.map(|death| death.status);
    let code = status.and_then(WaitStatus::exit_status);
    let signal = status.and_then(WaitStatus::terminating_signal);
    let cause = match (code, signal) {
        (Some(_), _) => Cause::Exited,
        (_, Some(_)) if death.is_some_and(|death| death.out_of_memory) => Cause::OutOfMemory,
        (_, Some(_)) => Cause::Signaled,
        _ => Cause::Unknown,
    };
    ExitStatus { cause: cause.into(), code, signal }
}
