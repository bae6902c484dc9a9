//! Archives over gRPC: whole trees both ways, and clients that leave.

use std::{
    fs,
    os::unix::fs::{PermissionsExt as _, symlink},
    time::{Duration, UNIX_EPOCH},
};

use remora_proto::{
    agent::v1::{
        ArchiveFormat, ArchiveGetRequest, ArchivePutHead, ArchivePutRequest, ArchiveSummary, archive_chunk,
        archive_put_request::Part,
    },
    fault::from_status,
    model::{Capability, Effect, Fault, PathPrefix, Reason, Verb},
};
use remora_tests::{
    eventually::eventually,
    tree::{assert_same, record},
};

use super::{Client, Served, answer, client, names};

fn request(path: &str, format: ArchiveFormat, exclude: &[&str]) -> ArchiveGetRequest {
    let exclude = exclude.iter().map(|text| (*text).to_owned()).collect();
    ArchiveGetRequest { path: path.to_owned().into(), format: format.into(), exclude }
}

async fn get(client: &mut Client, request: ArchiveGetRequest) -> Result<(ArchiveSummary, Vec<u8>), Fault> {
    let mut chunks = answer(client.archive_get(request).await)?;
    let mut bytes = Vec::new();
    let mut done = None;
    while let Some(chunk) = chunks.message().await.map_err(|status| from_status(&status))? {
        assert!(done.is_none(), "a message after the last one");
        match chunk.part.unwrap() {
            archive_chunk::Part::Data(data) => {
                assert!(data.len() <= 1 << 20);
                bytes.extend_from_slice(&data);
            }
            archive_chunk::Part::Done(summary) => done = Some(summary),
        }
    }
    Ok((done.expect("the last message"), bytes))
}

fn head(path: &str, format: ArchiveFormat) -> Part {
    Part::Head(ArchivePutHead { path: path.to_owned().into(), format: format.into() })
}

fn upload(path: &str, format: ArchiveFormat, bytes: &[u8]) -> Vec<ArchivePutRequest> {
    let data = bytes.chunks(100_000).map(|chunk| Part::Data(chunk.to_vec().into()));
    std::iter::once(head(path, format))
        .chain(data)
        .chain([Part::End(true)])
        .map(|part| ArchivePutRequest { part: Some(part) })
        .collect()
}

async fn put(client: &mut Client, parts: Vec<Part>) -> Result<ArchiveSummary, Fault> {
    let messages = parts
        .into_iter()
        .chain([Part::End(true)])
        .map(|part| ArchivePutRequest { part: Some(part) })
        .collect::<Vec<_>>();
    answer(client.archive_put(tokio_stream::iter(messages)).await).map(|answer| answer.summary.unwrap())
}

#[tokio::test]
async fn a_tree_goes_out_and_comes_back_the_same() {
    let mut served = Served::start().await;
    let from = served.base().join("from");
    fs::create_dir_all(from.join("a/b")).unwrap();
    fs::write(from.join("a/large"), (0..3_000_000_u32).map(|n| (n.wrapping_mul(n) >> 8) as u8).collect::<Vec<_>>())
        .unwrap();
    fs::write(from.join("a/b/run"), "#!/bin/sh\n").unwrap();
    fs::set_permissions(from.join("a/b/run"), fs::Permissions::from_mode(0o751)).unwrap();
    fs::hard_link(from.join("a/b/run"), from.join("a/twin")).unwrap();
    symlink("../a//large", from.join("a/link")).unwrap();
    let file = fs::File::options().write(true).open(from.join("a/large")).unwrap();
    file.set_modified(UNIX_EPOCH + Duration::new(1_000_000_000, 123_456_789)).unwrap();
    fs::create_dir(from.join("node_modules")).unwrap();
    let mut before = record(&from).unwrap();
    before.remove(std::path::Path::new("node_modules"));

    for format in [ArchiveFormat::Tar, ArchiveFormat::TarZstd] {
        let (packed, bytes) = get(&mut served.client, request("from", format, &["node_modules"])).await.unwrap();
        assert_eq!((packed.entries, packed.content_bytes), (6, 3_000_010));
        let messages = upload("to/here", format, &bytes);
        let unpacked = answer(served.client.archive_put(tokio_stream::iter(messages)).await).unwrap().summary.unwrap();
        assert_eq!(unpacked, packed);
        let mut after = record(&served.base().join("to/here")).unwrap();
        // The top is not in the archive.
        for tree in [&mut before, &mut after] {
            tree.remove(std::path::Path::new(""));
        }
        assert_same(&before, &after);
        fs::remove_dir_all(served.base().join("to")).unwrap();
    }
    served.secret_is_untouched();
}

#[tokio::test]
async fn a_limited_token_packs_and_unpacks_in_its_folder_only() {
    let served = Served::start().await;
    let base = served.base();
    fs::create_dir_all(base.join("apps/web")).unwrap();
    fs::write(base.join("apps/web/own"), "own").unwrap();
    fs::write(base.join("other"), "other").unwrap();
    symlink("..", base.join("apps/web/up")).unwrap();
    let prefix = Some(PathPrefix::try_from("apps/web".to_owned()).unwrap());
    let capability = Capability { path_prefix: prefix, ..served.pki.capability(Verb::ALL) };
    let mut limited = client(&served.pki, &served.agent, &capability).await;
    let (packed, bytes) = get(&mut limited, request("", ArchiveFormat::Tar, &[])).await.unwrap();
    assert_eq!(packed.entries, 2);
    assert!(!bytes.windows(5).any(|seen| seen == b"other"));
    for (path, reason) in [("up", Reason::PathEscapesRoot), ("..", Reason::PathInvalid), ("apps", Reason::NotFound)] {
        let refused = get(&mut limited, request(path, ArchiveFormat::Tar, &[])).await.unwrap_err();
        assert_eq!(refused.reason, reason, "{path}");
        let refused = put(&mut limited, vec![head(path, ArchiveFormat::Tar), Part::Data(bytes.clone().into())]).await;
        match (path, refused) {
            // There is no such folder, so it is made: inside.
            ("apps", Ok(_)) => assert!(base.join("apps/web/apps/own").is_file()),
            (_, refused) => assert_eq!(refused.unwrap_err().reason, reason, "{path}"),
        }
    }
    assert_eq!(names(&base), [b"apps".to_vec(), b"other".to_vec()]);
    served.secret_is_untouched();
}

#[tokio::test]
async fn a_wrong_message_is_named_and_nothing_is_changed() {
    let mut served = Served::start().await;
    fs::write(served.base().join("file"), "x").unwrap();
    let base = served.base();
    let client = &mut served.client;
    let bytes = get(client, request("", ArchiveFormat::Tar, &[])).await.unwrap().1;
    let data = |bytes: &[u8]| Part::Data(bytes.to_vec().into());
    let unknown = Part::Head(ArchivePutHead { path: "t".into(), format: 9 });
    let plain = || head("t", ArchiveFormat::Tar);
    for (what, field, parts) in [
        ("nothing", "head", vec![]),
        ("no head", "head", vec![data(&bytes)]),
        ("two heads", "part", vec![plain(), plain(), data(&bytes)]),
        ("an unknown format", "format", vec![unknown, data(&bytes)]),
        ("a message that is too large", "data", vec![plain(), data(&vec![0; (1 << 20) + 1])]),
        ("another format", "archive", vec![head("t", ArchiveFormat::TarZstd), data(&bytes)]),
        ("no archive", "archive", vec![plain(), data(b"hello")]),
        ("a cut archive", "archive", vec![plain(), data(&bytes[..700])]),
    ] {
        let fault = put(client, parts).await.expect_err(what);
        assert!(fault.message.contains(field), "{what}: {fault}");
        assert_eq!(fault.effect, Effect::NotApplied, "{what}: {fault}");
    }
    // Cut where an entry ends, a tar looks whole; only its client knows better.
    let cut = bytes.len() - bytes.iter().rev().take_while(|byte| **byte == 0).count();
    let mut unended = upload("cut", ArchiveFormat::Tar, &bytes[..cut.next_multiple_of(512)]);
    unended.pop();
    let fault = answer(client.archive_put(tokio_stream::iter(unended)).await).unwrap_err();
    assert_eq!((fault.reason, fault.effect), (Reason::Cancelled, Effect::Applied), "{fault}");
    assert!(fault.message.contains("`end`") && fault.message.contains("unpacked stays (entries: 1)"), "{fault}");
    fs::remove_dir_all(base.join("cut")).unwrap();
    for (field, request) in [
        ("format", ArchiveGetRequest { format: 9, ..Default::default() }),
        ("exclude", request("", ArchiveFormat::Tar, &["x"; 65])),
        ("exclude", request("", ArchiveFormat::Tar, &["["])),
    ] {
        let fault = get(client, request).await.unwrap_err();
        assert!(fault.message.contains(field), "{field}: {fault}");
    }
    let left: Vec<_> = names(&served.base()).into_iter().filter(|name| name != b"t").collect();
    assert_eq!(left, [b"file".to_vec()]);
    if let Ok(mut made) = fs::read_dir(served.base().join("t")) {
        assert!(made.next().is_none());
    }
}

/// a026 for archives: many uploads that break off and downloads that nobody reads
/// leave neither files nor used-up places.
#[tokio::test]
async fn a026_clients_that_leave_leave_nothing_behind() {
    let mut served = Served::start().await;
    let base = served.base();
    fs::create_dir(base.join("from")).unwrap();
    fs::write(base.join("from/large"), vec![7; 8 << 20]).unwrap();
    let (_, bytes) = get(&mut served.client, request("from", ArchiveFormat::Tar, &[])).await.unwrap();
    let mut cut = upload("to", ArchiveFormat::Tar, &bytes[..4 << 20]);
    cut.pop();
    for _ in 0..12 {
        let (sender, receiver) = tokio::sync::mpsc::channel(1);
        let stream = tokio_stream::StreamExt::chain(
            tokio_stream::iter(cut.clone()),
            tokio_stream::wrappers::ReceiverStream::new(receiver),
        );
        let mut client = served.client.clone();
        let call = tokio::spawn(async move { client.archive_put(stream).await.map(drop) });
        // It is being written when the client goes away.
        let to = base.join("to");
        eventually(|| names_or_none(&to).filter(|names| !names.is_empty())).await;
        call.abort();
        drop(sender);
        eventually(|| names_or_none(&to).filter(Vec::is_empty)).await;
    }

    let mut unread = Vec::new();
    let refused = loop {
        let request = request("from", ArchiveFormat::Tar, &[]);
        match answer(served.client.archive_get(request).await) {
            Ok(chunks) => unread.push(chunks),
            Err(fault) => break fault,
        }
        assert!(unread.len() <= 4, "more archives than the bound");
    };
    assert_eq!((refused.reason, unread.len()), (Reason::LimitReached, 4), "{refused}");
    // Other calls are not held up by them; what is unread fills the window of its own connection only.
    served.client = client(&served.pki, &served.agent, &served.pki.capability(Verb::ALL)).await;
    assert_eq!(served.get(b"from/large").await.unwrap().len(), 256 * 1024);
    drop(unread);
    let deadline = tokio::time::Instant::now() + remora_tests::agent::PATIENCE;
    while let Err(fault) = get(&mut served.client, request("from", ArchiveFormat::TarZstd, &[])).await {
        assert_eq!(fault.reason, Reason::LimitReached);
        assert!(tokio::time::Instant::now() < deadline, "the places are never freed");
        tokio::task::yield_now().await;
    }
}

fn names_or_none(at: &std::path::Path) -> Option<Vec<Vec<u8>>> {
    at.is_dir().then(|| names(at))
}
