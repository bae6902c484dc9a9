//! `remora.control.v1`, health and reflection: one file a service, each a
//! mapping onto [`crate::control`].

mod project;
mod server;
mod token;

use prost::Message as _;
use prost_types::FileDescriptorSet;
use remora_proto::{
    DESCRIPTORS,
    control::v1::{
        project_service_server::ProjectServiceServer, server_service_server::ServerServiceServer,
        token_service_server::TokenServiceServer,
    },
    fault::to_status,
    model::{Fault, Reason},
};
use tonic::{Request, Status, service::Routes};
use tonic_health::server::HealthReporter;

use self::{project::Projects, server::Server, token::Tokens};
use crate::{auth::Caller, control::Control, limits::MAX_MESSAGE_BYTES};

/// The packages whose services callers may know of.
const PUBLIC: [&str; 2] = ["remora.control.v1", "remora.agent.v1"];
/// The method of reflection.
const REFLECTION: &str = "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo";

/// The services, the methods that they have, and what tells of their health.
pub(crate) struct Services {
    pub(crate) routes: Routes,
    pub(crate) methods: Vec<String>,
    pub(crate) health: HealthReporter,
}

/// The server's own services.
pub(crate) async fn services(control: &Control) -> Result<Services, tonic_reflection::server::Error> {
    let (health, health_service) = tonic_health::server::health_reporter();
    health.set_service_status("", tonic_health::ServingStatus::Serving).await;
    let files = FileDescriptorSet::decode(DESCRIPTORS)?;
    let mut reflection = tonic_reflection::server::Builder::configure()
        .register_encoded_file_descriptor_set(DESCRIPTORS)
        .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET)
        .with_service_name("grpc.health.v1.Health");
    let mut methods = vec![REFLECTION.to_owned()];
    for file in files.file.iter().filter(|file| PUBLIC.contains(&file.package())) {
        for service in &file.service {
            let name = format!("{}.{}", file.package(), service.name());
            methods.extend(service.method.iter().map(|method| format!("/{name}/{}", method.name())));
            health.set_service_status(&name, tonic_health::ServingStatus::Serving).await;
            reflection = reflection.with_service_name(name);
        }
    }
    let projects = ProjectServiceServer::new(Projects(control.clone()))
        .max_decoding_message_size(MAX_MESSAGE_BYTES)
        .max_encoding_message_size(MAX_MESSAGE_BYTES);
    let tokens = TokenServiceServer::new(Tokens(control.clone())).max_decoding_message_size(MAX_MESSAGE_BYTES);
    let server = ServerServiceServer::new(Server(control.clone())).max_decoding_message_size(MAX_MESSAGE_BYTES);
    let routes = Routes::new(projects)
        .add_service(tokens)
        .add_service(server)
        .add_service(health_service)
        .add_service(reflection.build_v1()?)
        .prepare();
    Ok(Services { routes, methods, health })
}

/// Who calls: put there before a request reaches a service.
fn caller<T>(request: &Request<T>) -> Result<Caller, Status> {
    request
        .extensions()
        .get::<Caller>()
        .cloned()
        .ok_or_else(|| to_status(&Fault::new(Reason::Internal, "the call reached its service without a caller")))
}

fn refused(fault: Fault) -> Status {
    to_status(&fault)
}
