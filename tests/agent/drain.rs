//! How an agent ends.

use remora_proto::{
    agent::v1::{DrainRequest, agent_service_client::AgentServiceClient},
    model::Verb,
};
use remora_tests::{agent::AgentProcess, pki::Pki};
use tokio::net::TcpStream;
use tonic::Request;
use tonic_health::pb::{HealthCheckRequest, health_client::HealthClient};

fn authorised<T>(pki: &Pki, message: T) -> Request<T> {
    let mut request = Request::new(message);
    let token = pki.token(&pki.capability(Verb::ALL));
    request.metadata_mut().insert("authorization", format!("Bearer {token}").parse().unwrap());
    request
}

#[tokio::test]
async fn an_idle_agent_ends_at_once_and_well() {
    let folder = tempfile::tempdir().unwrap();
    let pki = Pki::new(folder.path());
    let mut agent = AgentProcess::start(&pki).await;
    // A connection that stands and one that is silent are no reason to stay.
    let _channel = agent.channel(&pki).await;
    let _silent = TcpStream::connect(agent.grpc).await.unwrap();
    agent.terminate();
    assert_eq!(agent.exited().await.code(), Some(0));
}

#[tokio::test]
async fn the_drain_call_answers_and_then_the_agent_ends() {
    let folder = tempfile::tempdir().unwrap();
    let pki = Pki::new(folder.path());
    let mut agent = AgentProcess::start(&pki).await;
    let mut client = AgentServiceClient::new(agent.channel(&pki).await);
    client.drain(authorised(&pki, DrainRequest {})).await.unwrap();
    assert_eq!(agent.exited().await.code(), Some(0));
}

/// a040: a call that never ends is cut when the drain budget is over, and named.
#[tokio::test]
async fn a040_a_call_that_stays_is_named_and_cut() {
    let folder = tempfile::tempdir().unwrap();
    let pki = Pki::new(folder.path());
    let mut agent = AgentProcess::start(&pki).await;
    let mut client = HealthClient::new(agent.channel(&pki).await);
    let request = authorised(&pki, HealthCheckRequest { service: String::new() });
    let mut watch = client.watch(request).await.unwrap().into_inner();
    watch.message().await.unwrap().expect("the present state comes first");
    agent.terminate();
    let line = agent.log_line(|line| line["level"] == "WARN").await;
    assert!(line["fields"]["calls"].as_str().unwrap().contains("/grpc.health.v1.Health/Watch (1)"), "{line}");
    assert_eq!(agent.exited().await.code(), Some(0));
    assert!(watch.message().await.is_err(), "a cut call is an error to its caller");
}
