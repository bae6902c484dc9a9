//! Watch over gRPC: an editor's and an agent's changes, a limited token, clients
//! that leave, and the end of the agent.

use std::fs;

use remora_proto::{
    agent::v1::{WatchBatch, WatchRequest, watch_change::Kind},
    fault::from_status,
    model::{Capability, Fault, PathPrefix, Reason, Verb},
};
use remora_tests::agent::PATIENCE;
use tokio::time::{Instant, timeout};
use tonic::Streaming;

use super::{Client, Served, answer, client};

fn request(path: &str) -> WatchRequest {
    WatchRequest { path: path.to_owned().into(), coalesce_ms: 10, ..Default::default() }
}

async fn batch(batches: &mut Streaming<WatchBatch>) -> Result<WatchBatch, Fault> {
    let next = timeout(PATIENCE, batches.message()).await.expect("a batch comes");
    next.map(|batch| batch.expect("the watch goes on")).map_err(|status| from_status(&status))
}

/// A watch that stands.
async fn watch(client: &mut Client, request: WatchRequest) -> Result<Streaming<WatchBatch>, Fault> {
    let mut batches = answer(client.watch(request).await)?;
    let first = batch(&mut batches).await?;
    assert_eq!(first, WatchBatch { cursor: 1, ..Default::default() });
    Ok(batches)
}

/// Changes up to the one of `last`.
async fn until(batches: &mut Streaming<WatchBatch>, last: &str) -> Vec<(String, Kind)> {
    let (mut seen, mut cursor) = (Vec::new(), None);
    loop {
        let batch = batch(batches).await.unwrap();
        assert!(cursor.is_none_or(|before| before + 1 == batch.cursor), "a batch is missing");
        cursor = Some(batch.cursor);
        for change in batch.changes {
            let kind = change.kind();
            seen.push((String::from_utf8(change.path.to_vec()).unwrap(), kind));
        }
        if seen.iter().any(|(path, _)| path == last) {
            return seen;
        }
    }
}

#[tokio::test]
async fn what_a_write_and_a_shell_do_is_told() {
    let mut served = Served::start().await;
    fs::create_dir(served.base().join("src")).unwrap();
    let mut batches = watch(&mut served.client, request("")).await.unwrap();
    served.put(b"src/main.ts", b"one").await;
    assert_eq!(until(&mut batches, "src/main.ts").await, [("src/main.ts".to_owned(), Kind::Created)]);
    fs::write(served.base().join("src/main.ts"), "two").unwrap();
    assert_eq!(until(&mut batches, "src/main.ts").await, [("src/main.ts".to_owned(), Kind::Modified)]);
    fs::rename(served.base().join("src"), served.base().join("lib")).unwrap();
    let mut seen = until(&mut batches, "src").await;
    if !seen.iter().any(|(path, _)| path == "lib/main.ts") {
        seen.extend(until(&mut batches, "lib/main.ts").await);
    }
    for (path, kind) in [("src", Kind::Removed), ("lib", Kind::Created), ("lib/main.ts", Kind::Created)] {
        assert!(seen.contains(&(path.to_owned(), kind)), "{path}: {seen:?}");
    }
}

#[tokio::test]
async fn a_limited_token_hears_of_its_folder_only() {
    let served = Served::start().await;
    let base = served.base();
    fs::create_dir_all(base.join("apps/web")).unwrap();
    let prefix = Some(PathPrefix::try_from("apps/web".to_owned()).unwrap());
    let capability = Capability { path_prefix: prefix, ..served.pki.capability(Verb::ALL) };
    let mut limited = client(&served.pki, &served.agent, &capability).await;
    let mut batches = watch(&mut limited, request("")).await.unwrap();
    fs::write(base.join("apps/other"), "x").unwrap();
    fs::write(base.join("apps/web/own"), "x").unwrap();
    assert_eq!(until(&mut batches, "own").await, [("own".to_owned(), Kind::Created)]);
    for (path, reason) in [("..", Reason::PathInvalid), ("apps", Reason::NotFound)] {
        assert_eq!(watch(&mut limited, request(path)).await.unwrap_err().reason, reason, "{path}");
    }
}

#[tokio::test]
async fn a_wrong_field_is_named() {
    let mut served = Served::start().await;
    fs::write(served.base().join("file"), "x").unwrap();
    let globs = |globs: &[&str]| globs.iter().map(|text| (*text).to_owned()).collect();
    for (field, request) in [
        ("coalesce_ms", WatchRequest { coalesce_ms: 9, ..Default::default() }),
        ("coalesce_ms", WatchRequest { coalesce_ms: 5_001, ..Default::default() }),
        ("globs", WatchRequest { globs: globs(&["x"; 65]), ..Default::default() }),
        ("globs", WatchRequest { globs: globs(&["["]), ..Default::default() }),
        ("none", request("none")),
        ("file", request("file")),
        ("/etc", request("/etc")),
    ] {
        let fault = watch(&mut served.client, request).await.unwrap_err();
        assert!(fault.message.contains(field), "{field}: {fault}");
    }
}

#[tokio::test]
async fn places_of_watches_are_bounded_and_given_back() {
    let mut served = Served::start().await;
    let mut standing = Vec::new();
    let refused = loop {
        match watch(&mut served.client, request("")).await {
            Ok(batches) => standing.push(batches),
            Err(fault) => break fault,
        }
        assert!(standing.len() <= 16, "more watches than the bound");
    };
    assert_eq!((refused.reason, standing.len()), (Reason::LimitReached, 16));
    fs::write(served.base().join("file"), "x").unwrap();
    for batches in &mut standing {
        assert_eq!(until(batches, "file").await.len(), 1);
    }
    drop(standing);
    let deadline = Instant::now() + PATIENCE;
    while let Err(fault) = watch(&mut served.client, request("")).await {
        assert!(fault.reason == Reason::LimitReached && Instant::now() < deadline, "{fault}");
    }
}

#[tokio::test]
async fn the_end_of_the_directory_and_of_the_agent_end_the_stream() {
    let mut served = Served::start().await;
    fs::create_dir(served.base().join("dir")).unwrap();
    let mut batches = watch(&mut served.client, request("dir")).await.unwrap();
    let mut other = watch(&mut served.client, request("")).await.unwrap();
    fs::remove_dir(served.base().join("dir")).unwrap();
    assert_eq!(batch(&mut batches).await.unwrap_err().reason, Reason::NotFound);
    assert_eq!(until(&mut other, "dir").await, [("dir".to_owned(), Kind::Removed)]);
    // A watch does not hold up the drain.
    served.agent.terminate();
    assert_eq!(batch(&mut other).await.unwrap_err().reason, Reason::Unavailable);
    assert!(served.agent.exited().await.success());
}
