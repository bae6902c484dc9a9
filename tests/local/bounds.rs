//! What a caller cannot make the server do.

use std::time::{Duration, Instant};

use remora_proto::{fault::from_status, model::Reason};
use remora_tests::{agent::PATIENCE, reflection::call, server::ServerProcess};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    time::timeout,
};

async fn connect(server: &ServerProcess) -> TcpStream {
    TcpStream::connect(server.url.split("//").nth(1).unwrap()).await.unwrap()
}

/// Whoever says nothing, or not enough to know what it speaks, is closed in time and keeps nobody out.
#[tokio::test]
async fn silent_connections_are_closed() {
    let server = ServerProcess::start().await;
    let began = Instant::now();
    let mut silent = Vec::new();
    for first in ["", "P", "PRI * HTTP/2.0\r\n\r\nSM"] {
        let mut stream = connect(&server).await;
        stream.write_all(first.as_bytes()).await.unwrap();
        silent.push(stream);
    }
    for _ in 0..300 {
        silent.push(connect(&server).await);
    }
    assert_eq!(server.rest("GET", "/api/v1/info", None).await.status, 200, "a real client gets in");
    for mut stream in silent {
        let read = timeout(PATIENCE, stream.read(&mut [0; 8])).await.expect("it is closed");
        assert!(matches!(read, Ok(0) | Err(_)), "{read:?}");
    }
    assert!(began.elapsed() < PATIENCE);
    server.check_log(&[]);
}

#[tokio::test]
async fn bodies_and_headers_are_bounded() {
    let server = ServerProcess::start().await;
    let bearer = format!("Bearer {}", server.key);
    let json = [("authorization", bearer.as_str()), ("content-type", "application/json")];
    let large = format!(r#"{{"name":"{}"}}"#, "x".repeat(5 * 1024 * 1024));
    let answer = server.request("POST", "/api/v1/projects", &json, large.clone()).await;
    assert_eq!((answer.status.as_u16(), answer.reason().as_str()), (413, "TOO_LARGE"));
    // A stranger's body is not read at all.
    let mut stream = connect(&server).await;
    let head = "POST /api/v1/projects HTTP/1.1\r\nhost: localhost\r\ncontent-length: 5000000000\r\n\r\n";
    stream.write_all(head.as_bytes()).await.unwrap();
    let mut answer = vec![0; 12];
    timeout(PATIENCE, stream.read_exact(&mut answer)).await.expect("an answer without the body").unwrap();
    assert_eq!(answer, b"HTTP/1.1 401");

    let mut stream = connect(&server).await;
    let head = format!("GET /healthz HTTP/1.1\r\nhost: localhost\r\nx: {}\r\n\r\n", "x".repeat(1024 * 1024));
    _ = stream.write_all(head.as_bytes()).await;
    let mut answer = Vec::new();
    _ = timeout(PATIENCE, stream.read_to_end(&mut answer)).await.expect("it is closed");
    assert!(answer.is_empty() || answer.starts_with(b"HTTP/1.1 431"), "{}", String::from_utf8_lossy(&answer));
    assert_eq!(server.rest("GET", "/api/v1/info", None).await.status, 200);
    server.check_log(&[]);
}

/// Refusals cost the connection nothing: its other calls go on.
#[tokio::test]
async fn a_thousand_refusals_leave_the_connection_whole() {
    let server = ServerProcess::start().await;
    let channel = server.channel().await;
    for (number, path) in ["/remora.control.v1.ProjectService/Get", "/remora.agent.v1.FileService/Write"]
        .iter()
        .cycle()
        .take(1_000)
        .enumerate()
    {
        let token = (number % 3 == 0).then_some("rmk_x");
        let reason = from_status(&call(&channel, path, token).await.unwrap_err()).reason;
        assert!(matches!(reason, Reason::CredentialsMissing | Reason::CredentialsInvalid), "{number}: {reason}");
    }
    call(&channel, "/remora.control.v1.ServerService/GetInfo", Some(&server.key)).await.unwrap();
}

/// A watch that stands holds up the end of the server no longer than it may.
#[tokio::test]
async fn standing_watches_end_with_the_server() {
    let mut server = ServerProcess::start().await;
    let mut projects = server.projects().await;
    let mut events =
        projects.watch(remora_proto::control::v1::WatchProjectsRequest::default()).await.unwrap().into_inner();
    events.message().await.unwrap().expect("SYNCED");
    let began = Instant::now();
    let ended = server.stop(rustix::process::Signal::TERM);
    let last = async {
        loop {
            match events.message().await {
                Ok(Some(_)) => {}
                other => return other,
            }
        }
    };
    let (status, last) = tokio::join!(ended, last);
    assert!(status.success());
    assert!(began.elapsed() < Duration::from_secs(8), "the drain budget was not needed: {:?}", began.elapsed());
    let fault = from_status(&last.expect_err("no clean end"));
    assert_eq!((fault.reason, fault.retryable()), (Reason::Unavailable, true));
    server.check_log(&[]);
}
