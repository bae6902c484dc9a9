//! The server's gRPC, for what the command line does not show.

use remora_proto::{control::v1::project_service_client::ProjectServiceClient, fault::from_status, model::Fault};
use tonic::{
    Request, Status,
    metadata::{Ascii, MetadataValue},
    service::{Interceptor, interceptor::InterceptedService},
    transport::{Channel, Endpoint},
};

use crate::target::Target;

pub(crate) type Authorised = InterceptedService<Channel, Credentials>;

/// The metadata of every call.
#[derive(Clone)]
pub(crate) struct Credentials {
    authorization: MetadataValue<Ascii>,
    project: Option<MetadataValue<Ascii>>,
}

impl Interceptor for Credentials {
    fn call(&mut self, mut request: Request<()>) -> Result<Request<()>, Status> {
        request.metadata_mut().insert("authorization", self.authorization.clone());
        if let Some(project) = &self.project {
            request.metadata_mut().insert("remora-project", project.clone());
        }
        Ok(request)
    }
}

/// A channel to the server, and to the agent of `project` where one is named.
pub(crate) async fn channel(target: &Target, project: Option<&str>) -> Authorised {
    let endpoint = Endpoint::from_shared(target.server.clone()).expect("the server's address is a URL");
    let channel = endpoint.connect().await.expect("the server answers");
    let value = |text: &str| text.parse().expect("it fits into a header");
    let authorization = value(&format!("Bearer {}", target.key));
    InterceptedService::new(channel, Credentials { authorization, project: project.map(value) })
}

/// ProjectService.
pub(crate) async fn projects(target: &Target) -> ProjectServiceClient<Authorised> {
    ProjectServiceClient::new(channel(target, None).await)
}

/// Why a call was refused.
pub(crate) fn refused<T: std::fmt::Debug>(answer: Result<T, Status>) -> Fault {
    from_status(&answer.expect_err("it is refused"))
}
