//! The S3 store against a server that misbehaves as told, byte by byte.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use remora_agent_snapshot::store::{
    PutCondition, PutOutcome, RetryingStore, S3Settings, S3Store, Store as _, StoreError,
};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
};

/// What the server does with one request.
#[derive(Clone, Copy, Debug)]
enum Answer {
    /// Status and S3 error code.
    Error(u16, &'static str),
    /// An empty success.
    Empty,
    /// Promises ten bytes, sends five, closes.
    Cut,
    /// Promises ten bytes, sends five, then nothing.
    Stall,
    /// Closes without an answer.
    Close,
}

/// A server that gives `answers` in turn and the last one for ever, and how many
/// requests it saw.
async fn server(answers: &'static [Answer]) -> (S3Store, Arc<AtomicUsize>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let endpoint = format!("http://{}", listener.local_addr().unwrap());
    let seen = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&seen);
    tokio::spawn(async move {
        let mut stalled = Vec::new();
        while let Ok((mut stream, _)) = listener.accept().await {
            if read_request(&mut stream).await.is_none() {
                continue;
            }
            let number = count.fetch_add(1, Ordering::SeqCst);
            let answer = answers[number.min(answers.len() - 1)];
            let _ = stream.write_all(bytes_of(answer).as_bytes()).await;
            if let Answer::Stall = answer {
                stalled.push(stream);
            }
        }
    });
    let settings = S3Settings {
        bucket: "b".to_owned(),
        endpoint: Some(endpoint),
        region: "us-east-1".to_owned(),
        prefix: "lineage".to_owned(),
        path_style: true,
        credentials: Some(("id".to_owned(), "secret".to_owned())),
    };
    (S3Store::open(settings).await.unwrap(), seen)
}

/// Head and body of one request; one a connection, since every answer closes it.
async fn read_request(stream: &mut TcpStream) -> Option<()> {
    let mut bytes = Vec::new();
    let (head, length) = loop {
        if stream.read_buf(&mut bytes).await.ok()? == 0 {
            return None;
        }
        let text = String::from_utf8_lossy(&bytes).to_lowercase();
        if let Some(end) = text.find("\r\n\r\n") {
            let length = text.split("content-length: ").nth(1).and_then(|rest| rest.lines().next()?.parse().ok());
            break (end + 4, length.unwrap_or(0_usize));
        }
    };
    while bytes.len() < head + length {
        if stream.read_buf(&mut bytes).await.ok()? == 0 {
            return None;
        }
    }
    Some(())
}

fn bytes_of(answer: Answer) -> String {
    match answer {
        Answer::Error(status, code) => {
            let body = format!("<?xml version=\"1.0\"?><Error><Code>{code}</Code><Message>as told</Message></Error>");
            format!("HTTP/1.1 {status} As told\r\nConnection: close\r\nContent-Length: {}\r\n\r\n{body}", body.len())
        }
        Answer::Empty => "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 0\r\n\r\n".to_owned(),
        Answer::Cut | Answer::Stall => {
            "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 10\r\n\r\n12345".to_owned()
        }
        Answer::Close => String::new(),
    }
}

async fn put(answers: &'static [Answer], condition: PutCondition) -> (Result<PutOutcome, StoreError>, usize) {
    let (store, seen) = server(answers).await;
    let outcome = store.put("roots/1", Bytes::from_static(b"root"), condition).await;
    (outcome, seen.load(Ordering::SeqCst))
}

/// a064: a conditional put is sent once, and says no more than is known.
#[tokio::test]
async fn a064_a_conditional_put_is_sent_once_and_claims_only_what_is_known() {
    use Answer::*;
    let conditional = async |answers| {
        let (outcome, seen) = put(answers, PutCondition::IfAbsent).await;
        assert_eq!(seen, 1, "{outcome:?}");
        outcome
    };
    assert_eq!(conditional(&[Empty]).await, Ok(PutOutcome::Stored));
    assert_eq!(conditional(&[Error(412, "PreconditionFailed")]).await, Ok(PutOutcome::Exists));
    for unknown in [&[Close][..], &[Error(500, "InternalError")], &[Error(504, "GatewayTimeout")]] {
        let outcome = conditional(unknown).await;
        assert!(matches!(outcome, Err(StoreError::OutcomeUnknown { .. })), "{unknown:?}: {outcome:?}");
    }
    for refused in
        [&[Error(503, "SlowDown")][..], &[Error(429, "TooManyRequests")], &[Error(409, "ConditionalRequestConflict")]]
    {
        let outcome = conditional(refused).await;
        assert!(matches!(outcome, Err(StoreError::Unavailable { .. })), "{refused:?}: {outcome:?}");
    }
    let denied = conditional(&[Error(403, "SignatureDoesNotMatch")]).await;
    assert!(matches!(denied, Err(StoreError::Denied { .. })), "{denied:?}");
}

/// a064: what passes is not seen; what lasts is a typed failure after five tries.
#[tokio::test]
async fn a064_retries_are_bounded() {
    const BUSY: Answer = Answer::Error(503, "SlowDown");
    let (store, seen) = server(&[BUSY, Answer::Close, BUSY, Answer::Error(500, "InternalError"), Answer::Empty]).await;
    let store = RetryingStore::new(Arc::new(store));
    let stored = store.put("packs/1", Bytes::from_static(b"pack"), PutCondition::Always).await;
    assert_eq!((stored, seen.load(Ordering::SeqCst)), (Ok(PutOutcome::Stored), 5));

    let (store, seen) = server(&[BUSY]).await;
    let failed = RetryingStore::new(Arc::new(store)).get("packs/1", None).await;
    assert!(matches!(failed, Err(StoreError::Unavailable { .. })), "{failed:?}");
    assert_eq!(seen.load(Ordering::SeqCst), 5);
}

/// a064: a body that ends early is a failure and never a shorter answer.
#[tokio::test]
async fn a064_a_cut_body_is_no_answer() {
    let (store, _) = server(&[Answer::Cut]).await;
    let answer = store.get("packs/1", None).await;
    assert!(matches!(answer, Err(StoreError::Unavailable { .. })), "{answer:?}");
}

/// a064: a transfer that stops for good ends by itself.
#[tokio::test]
async fn a064_a_stalled_body_is_given_up() {
    let (store, _) = server(&[Answer::Stall]).await;
    let answer = tokio::time::timeout(Duration::from_secs(60), store.get("packs/1", None)).await;
    assert!(matches!(answer, Ok(Err(StoreError::Unavailable { .. }))), "{answer:?}");
}
