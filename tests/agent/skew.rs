//! Peers of another release: fields that the agent does not know, and a client that does not
//! know all of its.

use remora_proto::{
    agent::v1::{AgentStatus, GetInfoResponse},
    model::Verb,
};
use remora_tests::{agent::AgentProcess, pki::Pki};
use tonic::{Request, client::Grpc, codegen::http::uri::PathAndQuery};
use tonic_prost::ProstCodec;

/// A request of a later release: what it asks of this one, and more.
#[derive(Clone, PartialEq, prost::Message)]
struct Later {
    /// The interval, where it watches.
    #[prost(uint32, tag = "1")]
    interval_ms: u32,
    #[prost(uint64, tag = "1000")]
    number: u64,
    #[prost(bytes = "vec", tag = "536870911")]
    bytes: Vec<u8>,
    #[prost(message, optional, boxed, tag = "1002")]
    nested: Option<Box<Later>>,
}

/// What a client of an earlier release knows of the answer.
#[derive(Clone, PartialEq, prost::Message)]
struct Earlier {
    #[prost(uint64, tag = "5")]
    generation: u64,
}

fn later(interval_ms: u32) -> Later {
    let nested = Later { number: u64::MAX, bytes: vec![0xff; 100], ..Later::default() };
    Later { interval_ms, number: 7, bytes: vec![0x80; 1_000], nested: Some(Box::new(nested)) }
}

#[tokio::test]
async fn a099_fields_of_another_release_are_passed_over() {
    let folder = tempfile::tempdir().unwrap();
    let pki = Pki::new(folder.path());
    let agent = AgentProcess::start(&pki).await;
    let mut client = Grpc::new(agent.channel(&pki).await);
    let token = pki.token(&pki.capability(Verb::ALL));
    let asks = |message: Later| {
        let mut request = Request::new(message);
        request.metadata_mut().insert("authorization", format!("Bearer {token}").parse().unwrap());
        request
    };
    let info = PathAndQuery::from_static("/remora.agent.v1.AgentService/GetInfo");
    // GetInfo asks for nothing: all of it is unknown there.
    client.ready().await.unwrap();
    let codec = ProstCodec::<Later, GetInfoResponse>::default();
    let whole = client.unary(asks(later(0)), info.clone(), codec).await.unwrap().into_inner();
    assert_eq!((whole.generation, whole.project_id), (pki.generation.0, pki.project.to_string()));

    client.ready().await.unwrap();
    let codec = ProstCodec::<Later, Earlier>::default();
    let part = client.unary(asks(later(0)), info, codec).await.unwrap().into_inner();
    assert_eq!(part, Earlier { generation: pki.generation.0 });

    let watch = PathAndQuery::from_static("/remora.agent.v1.AgentService/WatchStatus");
    client.ready().await.unwrap();
    let codec = ProstCodec::<Later, AgentStatus>::default();
    let mut told = client.server_streaming(asks(later(500)), watch.clone(), codec).await.unwrap().into_inner();
    assert!(told.message().await.unwrap().is_some());
    // What it does know is still looked at.
    client.ready().await.unwrap();
    let codec = ProstCodec::<Later, AgentStatus>::default();
    let refused = client.server_streaming(asks(later(1)), watch, codec).await.unwrap_err();
    assert_eq!(refused.code(), tonic::Code::InvalidArgument, "{refused}");
}
