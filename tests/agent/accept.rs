//! Clients that mean harm or mean nothing.

use remora_proto::{
    agent::v1::{GetInfoRequest, agent_service_client::AgentServiceClient},
    model::Verb,
};
use remora_tests::{
    agent::{AgentProcess, PATIENCE},
    pki::Pki,
};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    time::timeout,
};

async fn answers(agent: &AgentProcess, pki: &Pki) {
    let mut client = AgentServiceClient::new(agent.channel(pki).await);
    let mut request = tonic::Request::new(GetInfoRequest {});
    let token = pki.token(&pki.capability(&[Verb::StatusRead]));
    request.metadata_mut().insert("authorization", format!("Bearer {token}").parse().unwrap());
    let info = client.get_info(request).await.unwrap().into_inner();
    assert_eq!(info.project_id, pki.project.to_string());
    assert_eq!(info.generation, pki.generation.0);
}

/// a028: more silent connections than there is room for; a real client is served among them.
#[tokio::test]
async fn a028_silent_connections_keep_nobody_out() {
    let folder = tempfile::tempdir().unwrap();
    let pki = Pki::new(folder.path());
    let agent = AgentProcess::start(&pki).await;
    let mut silent = Vec::new();
    for _ in 0..600 {
        silent.push(TcpStream::connect(agent.grpc).await.unwrap());
    }
    answers(&agent, &pki).await;
    // The oldest was dropped for want of room: it reads the end of the stream.
    let mut oldest = silent.swap_remove(0);
    let read = timeout(PATIENCE, oldest.read(&mut [0; 1])).await.expect("the oldest is closed");
    assert!(matches!(read, Ok(0) | Err(_)), "{read:?}");
}

/// a036: bytes that are no TLS, no HTTP/2, or nothing at all.
#[tokio::test]
async fn a036_garbage_is_closed_and_hurts_nobody() {
    let folder = tempfile::tempdir().unwrap();
    let pki = Pki::new(folder.path());
    let agent = AgentProcess::start(&pki).await;
    let zeros = [0_u8; 4096];
    let inputs: [&[u8]; 4] =
        [b"GET / HTTP/1.1\r\nHost: a\r\n\r\n", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", &zeros, b"\x16\x03\x01\xff\xff"];
    for input in inputs {
        let mut stream = TcpStream::connect(agent.grpc).await.unwrap();
        stream.write_all(input).await.unwrap();
        let mut rest = Vec::new();
        // Closed with or without a TLS alert, but closed.
        _ = timeout(PATIENCE, stream.read_to_end(&mut rest)).await.expect("the connection is closed");
        assert!(rest.len() < 64, "an answer to garbage: {rest:?}");
    }
    answers(&agent, &pki).await;
}

#[tokio::test]
async fn probes_and_metrics_are_served_without_a_token() {
    let folder = tempfile::tempdir().unwrap();
    let pki = Pki::new(folder.path());
    let agent = AgentProcess::start(&pki).await;
    answers(&agent, &pki).await;
    let get = async |path: &str| {
        let mut stream = TcpStream::connect(agent.metrics).await.unwrap();
        stream.write_all(format!("GET {path} HTTP/1.1\r\nHost: a\r\n\r\n").as_bytes()).await.unwrap();
        let mut text = String::new();
        stream.read_to_string(&mut text).await.unwrap();
        text
    };
    assert!(get("/livez").await.starts_with("HTTP/1.1 200"));
    assert!(get("/readyz").await.starts_with("HTTP/1.1 200"));
    assert!(get("/nothing").await.starts_with("HTTP/1.1 404"));
    let metrics = get("/metrics").await;
    assert!(metrics.contains("remora_agent_calls_admitted_total 1"), "{metrics}");
}
