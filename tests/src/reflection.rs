//! Methods found by asking the process under test, so that a new one cannot be
//! forgotten, and calls of any of them.

use std::collections::BTreeSet;

use prost::Message as _;
use prost_types::FileDescriptorProto;
use tonic::{
    Request, Status,
    client::Grpc,
    codegen::http::uri::PathAndQuery,
    metadata::{Ascii, MetadataValue},
    transport::Channel,
};
use tonic_prost::ProstCodec;
use tonic_reflection::pb::v1::{
    ServerReflectionRequest, server_reflection_client::ServerReflectionClient,
    server_reflection_request::MessageRequest, server_reflection_response::MessageResponse,
};

fn bearer(token: &str) -> MetadataValue<Ascii> {
    format!("Bearer {token}").parse().expect("a token is a header value")
}

/// Calls any method with an empty message; an empty message is valid protobuf for every type.
pub async fn call(channel: &Channel, path: &str, token: Option<&str>) -> Result<(), Status> {
    call_with(channel, path, token, &[]).await
}

/// As [`call`], with more metadata.
pub async fn call_with(
    channel: &Channel,
    path: &str,
    token: Option<&str>,
    metadata: &[(&'static str, &str)],
) -> Result<(), Status> {
    let mut client = Grpc::new(channel.clone());
    client.ready().await.expect("the channel stands");
    let mut request = Request::new(());
    if let Some(token) = token {
        request.metadata_mut().insert("authorization", bearer(token));
    }
    for (name, value) in metadata {
        request.metadata_mut().insert(*name, value.parse().expect("a header value"));
    }
    let path: PathAndQuery = path.parse().expect("a method's path");
    client.unary::<(), (), _>(request, path, ProstCodec::default()).await.map(drop)
}

/// Every method of every service that the process reports.
pub async fn reflected_methods(channel: &Channel, token: &str) -> BTreeSet<String> {
    let bearer = bearer(token);
    let mut client = ServerReflectionClient::with_interceptor(channel.clone(), move |mut request: Request<()>| {
        request.metadata_mut().insert("authorization", bearer.clone());
        Ok(request)
    });
    let mut ask = async |message| {
        let request = ServerReflectionRequest { host: String::new(), message_request: Some(message) };
        let stream = tokio_stream::iter([request]);
        let mut answers = client.server_reflection_info(stream).await.expect("reflection answers").into_inner();
        let answer = answers.message().await.expect("reflection answers").expect("an answer for each question");
        answer.message_response.expect("an answer has a content")
    };
    let MessageResponse::ListServicesResponse(list) = ask(MessageRequest::ListServices(String::new())).await else {
        panic!("no list of services");
    };
    let mut methods = BTreeSet::new();
    for service in list.service {
        let MessageResponse::FileDescriptorResponse(files) =
            ask(MessageRequest::FileContainingSymbol(service.name.clone())).await
        else {
            panic!("no descriptor of {}", service.name);
        };
        for bytes in files.file_descriptor_proto {
            let file = FileDescriptorProto::decode(bytes.as_slice()).expect("a descriptor decodes");
            for found in &file.service {
                let name = format!("{}.{}", file.package(), found.name());
                if name == service.name {
                    methods.extend(found.method.iter().map(|method| format!("/{name}/{}", method.name())));
                }
            }
        }
    }
    methods
}
