//! `AgentService`: what the agent is, how it and its containers are, and the end of its life.

use std::{sync::Arc, time::Duration};

use futures_util::{
    future::select_all,
    stream::{self, BoxStream, StreamExt as _},
};
use remora_agent_term::Moment;
use remora_proto::{
    agent::v1::{
        AgentStatus, DrainRequest, DrainResponse, Durability, FreezeContainersRequest, FreezeContainersResponse,
        GetInfoRequest, GetInfoResponse, ThawContainersRequest, ThawContainersResponse, Visitor, WatchStatusRequest,
        agent_service_server::AgentService,
    },
    model::{Fault, Generation, ProjectId},
};
use remora_proto_serving::calls::Calls;
use tokio::{
    sync::watch,
    time::{Instant, timeout},
};
use tokio_util::sync::CancellationToken;
use tonic::{Request, Response, Status};
use uuid::Uuid;

use super::relay::capability;
use crate::{
    limits::{self, STATUS_LOOK, USE_IS_NEWS_AFTER},
    requests::{milliseconds, refused},
    shims::Shims,
    snapshots,
    usage::{Usage, visitors::Visitors},
};

/// The agent as its callers see it.
pub(crate) struct Agent {
    project: ProjectId,
    generation: Generation,
    boot_id: Uuid,
    shims: Arc<Shims>,
    seen: Seen,
    stop: CancellationToken,
}

/// What the status tells beside the containers.
#[derive(Clone)]
pub(crate) struct Seen {
    pub(crate) calls: Calls,
    pub(crate) usage: Usage,
    pub(crate) visitors: Visitors,
    /// What would be lost; `None` without a store.
    pub(crate) durability: Option<watch::Receiver<Option<snapshots::Durability>>>,
}

impl Agent {
    /// An agent that drains by cancelling `stop`.
    pub(crate) fn new(
        project: ProjectId,
        generation: Generation,
        shims: Arc<Shims>,
        seen: Seen,
        stop: CancellationToken,
    ) -> Self {
        Agent { project, generation, boot_id: Uuid::new_v4(), shims, seen, stop }
    }
}

#[tonic::async_trait]
impl AgentService for Agent {
    async fn get_info(&self, _: Request<GetInfoRequest>) -> Result<Response<GetInfoResponse>, Status> {
        Ok(Response::new(GetInfoResponse {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            boot_id: self.boot_id.to_string(),
            pod_uid: std::env::var("REMORA_POD_UID").unwrap_or_default(),
            project_id: self.project.to_string(),
            generation: self.generation.0,
            limits: limits::table().map(|(name, value)| (name.to_owned(), value)).collect(),
            containers: self.shims.names(),
        }))
    }

    type WatchStatusStream = BoxStream<'static, Result<AgentStatus, Status>>;

    async fn watch_status(
        &self,
        request: Request<WatchStatusRequest>,
    ) -> Result<Response<Self::WatchStatusStream>, Status> {
        let interval =
            milliseconds("interval_ms", request.get_ref().interval_ms, 10_000, 500..=60_000).map_err(defaulted)?;
        let watching = Watching { shims: Arc::clone(&self.shims), seen: self.seen.clone(), interval, last: None };
        let statuses = stream::unfold(watching, |mut watching| async { Some((Ok(watching.next().await), watching)) });
        Ok(Response::new(statuses.take_until(self.stop.clone().cancelled_owned()).boxed()))
    }

    async fn freeze(
        &self,
        request: Request<FreezeContainersRequest>,
    ) -> Result<Response<FreezeContainersResponse>, Status> {
        let lease = milliseconds("lease_ms", request.get_ref().lease_ms, 60_000, 1_000..=300_000).map_err(defaulted)?;
        self.shims.all_allowed(capability(request.extensions())?).map_err(refused)?;
        let processes = self.shims.freeze(lease).await.map_err(refused)?;
        Ok(Response::new(FreezeContainersResponse { processes }))
    }

    async fn thaw(&self, request: Request<ThawContainersRequest>) -> Result<Response<ThawContainersResponse>, Status> {
        self.shims.all_allowed(capability(request.extensions())?).map_err(refused)?;
        let was_frozen = self.shims.thaw().await.map_err(refused)?;
        Ok(Response::new(ThawContainersResponse { was_frozen }))
    }

    async fn drain(&self, _: Request<DrainRequest>) -> Result<Response<DrainResponse>, Status> {
        tracing::info!("drain asked for");
        self.stop.cancel();
        Ok(Response::new(DrainResponse {}))
    }
}

/// One caller of WatchStatus.
struct Watching {
    shims: Arc<Shims>,
    seen: Seen,
    interval: Duration,
    last: Option<AgentStatus>,
}

impl Watching {
    async fn next(&mut self) -> AgentStatus {
        let due = Instant::now() + self.interval;
        let mut changes = self.shims.changes();
        loop {
            let now = self.look();
            if self.last.as_ref().is_none_or(|last| is_news(last, &now)) || Instant::now() >= due {
                self.last = Some(now.clone());
                return now;
            }
            let changed = async {
                if changes.is_empty() {
                    return std::future::pending().await;
                }
                select_all(changes.iter_mut().map(|shim| Box::pin(shim.changed()))).await.0
            };
            // Calls and durability change without a word; the look at them is cheap.
            if !matches!(timeout(STATUS_LOOK, changed).await, Err(_) | Ok(Ok(()))) {
                tokio::time::sleep(STATUS_LOOK).await;
            }
        }
    }

    fn look(&self) -> AgentStatus {
        let Seen { calls, usage, visitors, durability } = &self.seen;
        let containers = self.shims.status();
        let called = usage.last();
        // Unknown of one is unknown of all.
        let quiet = containers.iter().map(|(_, used)| used.quiet_ms).collect::<Option<Vec<u64>>>();
        let visits = visitors.all();
        let last = containers.iter().map(|(_, used)| used.last_ms).chain([called.epoch_ms()]);
        AgentStatus {
            ready: containers.iter().all(|(container, _)| container.reachable),
            last_activity_ms: last.chain(visits.iter().map(|(_, at)| at.epoch_ms())).max().unwrap_or(0),
            containers: containers.into_iter().map(|(container, _)| container).collect(),
            calls: u32::try_from(calls.count()).unwrap_or(u32::MAX),
            durability: durability.as_ref().and_then(|seen| seen.borrow().clone()).map(shown),
            quiet_ms: quiet.map(|all| all.into_iter().chain([age(&called)]).min().unwrap_or(0)),
            visitors: visits
                .iter()
                .map(|(address, at)| Visitor { address: address.to_string(), quiet_ms: age(at) })
                .collect(),
        }
    }
}

fn age(moment: &Moment) -> u64 {
    u64::try_from(moment.age().as_millis()).unwrap_or(u64::MAX)
}

/// Whether there is more to say than that time went by, and that what was in use a moment
/// ago still is.
fn is_news(last: &AgentStatus, now: &AgentStatus) -> bool {
    let soon = u64::try_from(USE_IS_NEWS_AFTER.as_millis()).unwrap_or(u64::MAX);
    let timeless = |status: &AgentStatus| AgentStatus {
        quiet_ms: status.quiet_ms.map(|_| 0),
        visitors: Vec::new(),
        last_activity_ms: 0,
        ..status.clone()
    };
    now.last_activity_ms > last.last_activity_ms.saturating_add(soon) || timeless(last) != timeless(now)
}

fn shown(durability: snapshots::Durability) -> Durability {
    let snapshots::Durability { head, dirty_files, dirty_bytes, measured_ms, committed_ms } = durability;
    Durability { head, dirty_files, dirty_bytes, measured_ms, committed_ms }
}

fn defaulted(fault: Fault) -> Status {
    refused(fault.hint("0 is the default"))
}
