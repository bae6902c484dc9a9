//! An agent that is not told everything does not start.

use remora_proto::agent::v1::{GetInfoRequest, agent_service_client::AgentServiceClient};
use remora_tests::{
    agent::{PATIENCE, dial, serve_command, serve_flags},
    eventually::eventually,
    pki::Pki,
};
use tokio::time::timeout;

async fn refusal(flags: &[(String, String)]) -> (Option<i32>, String) {
    let output = serve_command(flags).output().await.unwrap();
    (output.status.code(), String::from_utf8(output.stderr).unwrap())
}

#[tokio::test]
async fn without_any_one_credential_it_refuses_and_names_it() {
    let folder = tempfile::tempdir().unwrap();
    let pki = Pki::new(folder.path());
    for missing in ["--tls-cert", "--tls-key", "--client-ca", "--token-key"] {
        let flags: Vec<_> = serve_flags(&pki).into_iter().filter(|(flag, _)| flag != missing).collect();
        let (code, log) = refusal(&flags).await;
        assert_eq!(code, Some(78), "{missing}: {log}");
        assert!(log.contains("refusing to start without authentication"), "{log}");
        assert!(log.contains(missing), "{log}");
    }
}

/// a078: an empty or malformed secret is no secret.
#[tokio::test]
async fn a078_empty_or_broken_credentials_are_refused_with_the_file_named() {
    let folder = tempfile::tempdir().unwrap();
    let pki = Pki::new(folder.path());
    let path = folder.path().join("broken");
    for (flag, content) in [
        ("--token-key", ""),
        ("--token-key", "AAAA"),
        ("--token-key", "not base64!"),
        ("--tls-cert", ""),
        ("--tls-key", "-----BEGIN PRIVATE KEY-----\n"),
        ("--client-ca", "hello"),
    ] {
        std::fs::write(&path, content).unwrap();
        let mut flags = serve_flags(&pki);
        flags.iter_mut().find(|(name, _)| name == flag).unwrap().1 = path.display().to_string();
        let (code, log) = refusal(&flags).await;
        assert_eq!(code, Some(78), "{flag} {content:?}: {log}");
        assert!(log.contains(flag) && log.contains("broken"), "{flag} {content:?}: {log}");
    }
}

#[tokio::test]
async fn a_file_that_is_not_there_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let pki = Pki::new(folder.path());
    let mut flags = serve_flags(&pki);
    flags.iter_mut().find(|(name, _)| name == "--client-ca").unwrap().1 = "/does/not/exist".to_owned();
    let (code, log) = refusal(&flags).await;
    assert_eq!(code, Some(78));
    assert!(log.contains("/does/not/exist") && log.contains("No such file"), "{log}");
}

/// An agent whose log nobody reads goes on: the pipe is full after a few hundred lines.
#[tokio::test]
async fn an_agent_whose_log_is_not_read_still_answers() {
    let folder = tempfile::tempdir().unwrap();
    let pki = Pki::new(folder.path());
    let ready = folder.path().join("ready");
    let mut flags = serve_flags(&pki);
    flags.push(("--ready-file".to_owned(), ready.display().to_string()));
    let mut agent = serve_command(&flags).spawn().unwrap();
    let addresses: serde_json::Value = eventually(|| serde_json::from_slice(&std::fs::read(&ready).ok()?).ok()).await;
    let channel = dial(addresses["grpc"].as_str().unwrap().parse().unwrap(), &pki).await;
    let mut client = AgentServiceClient::new(channel);
    // Each refusal is a line of some 300 bytes; a pipe holds 64 KiB.
    for round in 0..1_000 {
        let refused = timeout(PATIENCE, client.get_info(GetInfoRequest {})).await;
        refused.unwrap_or_else(|_| panic!("call {round} hangs")).unwrap_err();
    }
    agent.kill().await.unwrap();
}
