//! What arrives in files and what comes back.

use std::{fs, os::unix::fs::MetadataExt as _};

use remora_proto::{
    agent::v1::{
        ByteRange, EditRequest, FileEdit, FileTime, LineRange, LinesReplace, ReadRequest, SetAttrRequest, TextChange,
        TextReplace, WriteHead, WriteRequest, read_request::Range, text_change::Change, write_head::Condition,
        write_request::Part,
    },
    model::{Effect, Reason},
};
use remora_tests::{agent::PATIENCE, eventually::eventually};
use tokio::{sync::mpsc, time::Instant};
use tokio_stream::wrappers::ReceiverStream;

use super::{Served, answer, head, names, upload};

#[tokio::test]
async fn a025_bytes_go_round_unchanged_and_pages_join() {
    let mut served = Served::start().await;
    let all: Vec<u8> = (0..=255).cycle().take(700_001).collect();
    for (name, data) in [("all", &all[..]), ("crlf", b"\xef\xbb\xbfa\r\nb"), ("no end", b"x"), ("empty", b"")] {
        let written = served.put(name.as_bytes(), data).await;
        assert_eq!((written.size, written.created), (data.len() as u64, true));
        assert_eq!(fs::read(served.base().join(name)).unwrap(), data);
        let (mut offset, mut joined) = (0, Vec::new());
        loop {
            let range = Range::Bytes(ByteRange { offset, length: 0 });
            let request = ReadRequest { path: name.into(), range: Some(range), if_match: written.etag.clone() };
            let page = answer(served.client.read(request).await).unwrap();
            assert_eq!((page.size, &page.etag), (data.len() as u64, &written.etag));
            joined.extend_from_slice(&page.data);
            match page.next {
                Some(next) => offset = next,
                None => break,
            }
        }
        assert!(joined == data, "{name} came back changed");
    }
    let lines = Range::Lines(LineRange { first: 2, count: 1, numbered: true });
    let request = ReadRequest { path: "crlf".into(), range: Some(lines), ..Default::default() };
    assert_eq!(answer(served.client.read(request).await).unwrap().data, &b"     2\tb"[..]);
}

#[tokio::test]
async fn a_version_that_is_no_more_is_refused_with_the_one_that_is() {
    let mut served = Served::start().await;
    let first = served.put(b"file", b"one").await.etag;
    let matching = |etag: &str| WriteHead { condition: Some(Condition::IfMatch(etag.to_owned())), ..head(b"file") };
    let second = served.write(matching(&first), b"two").await.unwrap().etag;
    let fault = served.write(matching(&first), b"three").await.unwrap_err();
    assert_eq!(fault.reason, Reason::EtagMismatch);
    assert!(fault.message.contains(&second), "{fault}");
    let request = ReadRequest { path: "file".into(), if_match: first, ..Default::default() };
    assert_eq!(answer(served.client.read(request).await).unwrap_err().reason, Reason::EtagMismatch);
    let create = WriteHead { condition: Some(Condition::Create(true)), ..head(b"file") };
    assert_eq!(served.write(create, b"x").await.unwrap_err().reason, Reason::AlreadyExists);
    assert_eq!(served.get(b"file").await.unwrap(), b"two");
}

#[tokio::test]
async fn a026_an_upload_that_breaks_off_leaves_the_old_file_alone() {
    let mut served = Served::start().await;
    served.put(b"file", b"old").await;
    let mut messages = upload(head(b"file"), &vec![b'n'; 1 << 20]);
    let end = messages.pop().unwrap();
    // The stream of a cancelled call may reach the server as one that ended by
    // itself or as one that was reset; often enough it is both.
    for _ in 0..20 {
        let (send, receive) = mpsc::channel(1);
        let mut client = served.client.clone();
        let call = tokio::spawn(async move { client.write(ReceiverStream::new(receive)).await.map(drop) });
        for message in messages.clone() {
            send.send(message).await.unwrap();
        }
        call.abort();
        assert!(call.await.unwrap_err().is_cancelled());
        drop(send);
        let base = served.base();
        eventually(|| (names(&base) == [b"file".to_vec()]).then_some(())).await;
        assert_eq!(served.get(b"file").await.unwrap(), b"old");
    }
    let fault = answer(served.client.write(tokio_stream::iter(messages.clone())).await).unwrap_err();
    assert_eq!((fault.reason, fault.effect), (Reason::Cancelled, Effect::NotApplied), "{fault}");
    assert!(fault.hint.contains("`end`"), "{fault}");
    assert_eq!(served.get(b"file").await.unwrap(), b"old");
    messages.push(end);
    answer(served.client.write(tokio_stream::iter(messages)).await).unwrap();
    assert_eq!(fs::metadata(served.base().join("file")).unwrap().len(), 1 << 20);
}

#[tokio::test]
async fn a027_a_length_that_was_not_kept_changes_nothing() {
    let mut served = Served::start().await;
    served.put(b"file", b"old").await;
    for length in [0, 2, 4, u64::MAX] {
        let announced = WriteHead { length: Some(length), ..head(b"file") };
        let fault = served.write(announced, b"abc").await.unwrap_err();
        assert_eq!(fault.reason, Reason::InvalidArgument, "{length}");
        assert!(fault.message.contains(&length.to_string()), "{fault}");
    }
    assert_eq!(served.get(b"file").await.unwrap(), b"old");
    for range in [
        Range::Bytes(ByteRange { offset: 4, length: 1 }),
        Range::Bytes(ByteRange { offset: u64::MAX, length: 262_144 }),
        Range::Lines(LineRange { first: u64::MAX, count: 2_000, numbered: false }),
    ] {
        let request = ReadRequest { path: "file".into(), range: Some(range), ..Default::default() };
        let fault = answer(served.client.read(request).await).unwrap_err();
        assert_eq!(fault.reason, Reason::OutOfRange, "{fault}");
    }
    let announced = WriteHead { length: Some(3), ..head(b"file") };
    served.write(announced, b"abc").await.unwrap();
    assert_eq!(names(&served.base()), [b"file"]);
}

#[tokio::test]
async fn a018_a_killed_agent_leaves_the_old_content_or_the_new() {
    const LENGTH: usize = 300_000;
    let mut served = Served::start().await;
    served.put(b"file", &vec![b'0'; LENGTH]).await;
    let writers: Vec<_> = [b'a', b'b']
        .into_iter()
        .map(|letter| {
            let mut client = served.client.clone();
            tokio::spawn(async move {
                let mut written = 0_u32;
                while client.write(tokio_stream::iter(upload(head(b"file"), &vec![letter; LENGTH]))).await.is_ok() {
                    written += 1;
                }
                written
            })
        })
        .collect();
    let file = served.base().join("file");
    let first = fs::metadata(&file).unwrap().ino();
    // Both are at work once the file has been replaced a few times.
    let mut seen = std::collections::BTreeSet::from([first]);
    let deadline = Instant::now() + PATIENCE;
    while seen.len() < 5 {
        assert!(Instant::now() < deadline, "nobody writes");
        seen.insert(fs::metadata(&file).unwrap().ino());
        tokio::task::yield_now().await;
    }
    served.agent.kill();
    served.agent.exited().await;
    for writer in writers {
        writer.await.unwrap();
    }
    let content = fs::read(&file).unwrap();
    assert_eq!(content.len(), LENGTH);
    assert!(content.iter().all(|byte| *byte == content[0]), "two writes were mixed");
}

#[tokio::test]
async fn an_edit_says_what_is_near_and_changes_all_or_nothing() {
    let mut served = Served::start().await;
    served.put(b"a", b"one\n  two\nthree\n").await;
    served.put(b"b", b"four\n").await;
    let change = |path: &'static str, old: &'static str, new: &'static str| FileEdit {
        path: path.into(),
        changes: vec![TextChange {
            change: Some(Change::Replace(TextReplace { old: old.into(), new: new.into(), expected: 0 })),
        }],
        ..Default::default()
    };
    let mut edit =
        async |edits: Vec<FileEdit>, dry_run| answer(served.client.edit(EditRequest { edits, dry_run }).await);

    let fault = edit(vec![change("b", "four", "4"), change("a", "two\nfour", "2")], false).await.unwrap_err();
    assert_eq!(fault.reason, Reason::EditNoMatch);
    assert!(fault.hint.contains("line 2"), "{fault}");
    let shown = edit(vec![change("b", "four", "4"), change("a", "two", "2")], true).await.unwrap();
    assert!(shown.files[0].diff.contains("-four\n+4\n"), "{}", shown.files[0].diff);
    assert_eq!(fs::read(served.folder.path().join("in/b")).unwrap(), b"four\n");
    edit(vec![change("b", "four", "4"), change("a", "two", "2")], false).await.unwrap();
    let fault = edit(vec![change("b", "four", "4")], false).await.unwrap_err();
    assert!(fault.hint.contains("already at line 1"), "{fault}");
    let lines = FileEdit {
        path: "a".into(),
        changes: vec![TextChange {
            change: Some(Change::Lines(LinesReplace { first: 1, last: 2, new: "1\n2\n".into() })),
        }],
        ..Default::default()
    };
    edit(vec![lines], false).await.unwrap();
    assert_eq!(served.get(b"a").await.unwrap(), b"1\n2\nthree\n");
    assert_eq!(served.get(b"b").await.unwrap(), b"4\n");
}

#[tokio::test]
async fn attributes_are_set_to_the_nanosecond() {
    let mut served = Served::start().await;
    served.put(b"file", b"x").await;
    let modified = Some(FileTime { seconds: -1, nanos: 999_999_999 });
    let request = SetAttrRequest { path: "file".into(), mode: Some(0o4711), modified };
    let info = answer(served.client.set_attr(request).await).unwrap().info.unwrap();
    assert_eq!((info.mode, info.modified), (0o4711, modified));
    let metadata = fs::metadata(served.base().join("file")).unwrap();
    assert_eq!((metadata.mode() & 0o7777, metadata.mtime(), metadata.mtime_nsec()), (0o4711, -1, 999_999_999));
}

#[tokio::test]
async fn an_upload_is_one_head_then_data_then_the_end() {
    let mut served = Served::start().await;
    let data = |bytes: usize| WriteRequest { part: Some(Part::Data(vec![b'x'; bytes].into())) };
    let first = WriteRequest { part: Some(Part::Head(head(b"file"))) };
    let end = |end| WriteRequest { part: Some(Part::End(end)) };
    for messages in [
        vec![],
        vec![data(1)],
        vec![WriteRequest { part: None }],
        vec![first.clone(), first.clone()],
        vec![first.clone(), WriteRequest { part: None }],
        vec![end(true)],
        vec![first.clone(), data(1), end(false)],
        vec![first.clone(), end(true), data(1)],
        vec![first, data((1 << 20) + 1)],
    ] {
        let fault = answer(served.client.write(tokio_stream::iter(messages)).await).unwrap_err();
        assert!(matches!(fault.reason, Reason::InvalidArgument | Reason::TooLarge), "{fault}");
        assert!(!fault.hint.is_empty(), "{fault}");
    }
    assert!(names(&served.base()).is_empty());
}
