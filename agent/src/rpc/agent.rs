//! `AgentService`: what the agent is, and the end of its life.

use remora_proto::agent::v1::{
    DrainRequest, DrainResponse, GetInfoRequest, GetInfoResponse, agent_service_server::AgentService,
};
use remora_proto::model::{Generation, ProjectId};
use tokio_util::sync::CancellationToken;
use tonic::{Request, Response, Status};
use uuid::Uuid;

use crate::limits;

/// The agent as its callers see it.
#[derive(Debug)]
pub(crate) struct Agent {
    project: ProjectId,
    generation: Generation,
    boot_id: Uuid,
    stop: CancellationToken,
}

impl Agent {
    /// An agent that drains by cancelling `stop`.
    pub(crate) fn new(project: ProjectId, generation: Generation, stop: CancellationToken) -> Self {
        Agent { project, generation, boot_id: Uuid::new_v4(), stop }
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
        }))
    }

    async fn drain(&self, _: Request<DrainRequest>) -> Result<Response<DrainResponse>, Status> {
        tracing::info!("drain asked for");
        self.stop.cancel();
        Ok(Response::new(DrainResponse {}))
    }
}
