//! `ServerService`.

use remora_proto::control::v1::{
    GetServerInfoRequest, ListOrphansRequest, ListOrphansResponse, Role, ServerInfo,
    server_service_server::ServerService,
};
use tonic::{Request, Response, Status};

use super::{caller, refused};
use crate::control::Control;

pub(super) struct Server(pub(super) Control);

#[tonic::async_trait]
impl ServerService for Server {
    async fn get_info(&self, request: Request<GetServerInfoRequest>) -> Result<Response<ServerInfo>, Status> {
        let caller = caller(&request)?;
        let about = &self.0.about;
        let (agent_version, agent_problem) = self.0.agent_version().await;
        Ok(Response::new(ServerInfo {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            runtime: about.runtime.to_owned(),
            boot_id: about.boot_id.clone(),
            store: about.store.clone(),
            caller: caller.name().to_owned(),
            role: Role::from(caller.role()).into(),
            agent_version,
            agent_problem,
        }))
    }

    async fn list_orphans(
        &self,
        request: Request<ListOrphansRequest>,
    ) -> Result<Response<ListOrphansResponse>, Status> {
        let caller = caller(&request)?;
        let found = self.0.list_orphans(&caller).await.map_err(refused)?;
        Ok(Response::new(found.into()))
    }
}
