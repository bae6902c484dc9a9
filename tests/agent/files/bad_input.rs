//! Every field that can be wrong, wrong: the answer names the field and what it may be.

use remora_proto::{
    agent::v1::{
        ByteRange, EditRequest, FileEdit, FileTime, GlobRequest, GrepRequest, LineRange, LinesReplace, ListRequest,
        MkdirRequest, ReadRequest, SetAttrRequest, StatRequest, SymlinkRequest, TextChange, TextReplace, WriteHead,
        read_request::Range, text_change::Change, write_head::Condition,
    },
    model::{Fault, Reason},
};

use super::{Served, answer, head, names};

fn check(field: &str, answer: Result<(), Fault>) {
    let fault = answer.expect_err(field);
    assert!(
        matches!(fault.reason, Reason::InvalidArgument | Reason::PatternInvalid | Reason::TooLarge),
        "{field}: {fault}"
    );
    assert!(fault.message.contains(field), "{field} is not named: {fault}");
}

#[tokio::test]
async fn a_wrong_field_is_named_and_nothing_is_changed() {
    let mut served = Served::start().await;
    let client = &mut served.client;

    for paths in [Vec::new(), vec!["x".into(); 1_001]] {
        check("paths", answer(client.stat(StatRequest { paths, follow: false }).await).map(drop));
    }

    let mut read = async |range| {
        answer(client.read(ReadRequest { path: "x".into(), range, ..Default::default() }).await).map(drop)
    };
    check("bytes.length", read(Some(Range::Bytes(ByteRange { offset: 0, length: 262_145 }))).await);
    check("lines.count", read(Some(Range::Lines(LineRange { first: 1, count: 2_001, numbered: false }))).await);
    let long = ReadRequest { path: "x".into(), if_match: "e".repeat(129), ..Default::default() };
    check("if_match", answer(client.read(long).await).map(drop));

    let text =
        |old: &str| Some(Change::Replace(TextReplace { old: old.to_owned().into(), new: "y".into(), expected: 1 }));
    let edits = |changes: Vec<Option<Change>>| {
        let changes = changes.into_iter().map(|change| TextChange { change }).collect();
        EditRequest { edits: vec![FileEdit { path: "x".into(), changes, ..Default::default() }], dry_run: false }
    };
    let many = EditRequest { edits: vec![FileEdit::default(); 65], dry_run: false };
    for (field, request) in [
        ("edits", EditRequest::default()),
        ("edits", many),
        ("edits.changes", edits(vec![])),
        ("edits.changes", edits(vec![None])),
        ("edits.changes", edits(vec![text("x"); 1_001])),
        ("replace.old", edits(vec![text("")])),
        ("lines.first", edits(vec![Some(Change::Lines(LinesReplace { first: 0, last: 0, new: "x".into() }))])),
    ] {
        check(field, answer(client.edit(request).await).map(drop));
    }

    let mkdir = MkdirRequest { path: "x".into(), parents: false, mode: Some(0o10000) };
    check("mode", answer(client.mkdir(mkdir).await).map(drop));
    let nanos = Some(FileTime { seconds: 0, nanos: 1_000_000_000 });
    for (field, mode, modified) in
        [("mode", None, None), ("mode", Some(u32::MAX), None), ("modified.nanos", None, nanos)]
    {
        let request = SetAttrRequest { path: "x".into(), mode, modified };
        check(field, answer(client.set_attr(request).await).map(drop));
    }
    for target in [&b""[..], b"a\0b", &[b'x'; 4_096]] {
        let request = SymlinkRequest { path: "x".into(), target: target.to_vec().into() };
        check("target", answer(client.symlink(request).await).map(drop));
    }

    let list = ListRequest::default();
    for (field, request) in [
        ("depth", ListRequest { depth: 65, ..list.clone() }),
        ("page_size", ListRequest { page_size: 1_001, ..list.clone() }),
        ("page_token", ListRequest { page_token: "0".repeat(8_401), ..list.clone() }),
        ("page_token", ListRequest { page_token: "no token".to_owned(), ..list }),
    ] {
        check(field, answer(client.list(request).await).map(drop));
    }
    let glob = GlobRequest { patterns: vec!["*".to_owned()], ..Default::default() };
    for (field, request) in [
        ("patterns", GlobRequest::default()),
        ("patterns", GlobRequest { patterns: vec!["*".to_owned(); 65], ..glob.clone() }),
        ("patterns", GlobRequest { patterns: vec![String::new()], ..glob.clone() }),
        ("patterns", GlobRequest { patterns: vec!["a".repeat(4_097)], ..glob.clone() }),
        ("patterns", GlobRequest { patterns: vec!["[".to_owned()], ..glob.clone() }),
        ("page_size", GlobRequest { page_size: 1_001, ..glob.clone() }),
        ("page_token", GlobRequest { page_token: "0123".to_owned(), ..glob }),
    ] {
        check(field, answer(client.glob(request).await).map(drop));
    }
    let grep = GrepRequest { pattern: "x".to_owned(), ..Default::default() };
    for (field, request) in [
        ("pattern", GrepRequest::default()),
        ("pattern", GrepRequest { pattern: "x".repeat(65_537), ..grep.clone() }),
        ("pattern", GrepRequest { pattern: "(".to_owned(), ..grep.clone() }),
        ("pattern", GrepRequest { pattern: "(a{1000}){1000}".to_owned(), ..grep.clone() }),
        ("globs", GrepRequest { globs: vec!["*".to_owned(); 65], ..grep.clone() }),
        ("globs", GrepRequest { globs: vec!["{a".to_owned()], ..grep.clone() }),
        ("mode", GrepRequest { mode: 9, ..grep.clone() }),
        ("before_context", GrepRequest { before_context: 21, ..grep.clone() }),
        ("after_context", GrepRequest { after_context: u32::MAX, ..grep.clone() }),
        ("max_results", GrepRequest { max_results: 10_001, ..grep.clone() }),
        ("time_budget_ms", GrepRequest { time_budget_ms: 60_001, ..grep }),
    ] {
        check(field, answer(client.grep(request).await).map(drop));
    }

    for (field, wrong) in [
        ("mode", WriteHead { mode: Some(0o10000), ..head(b"x") }),
        ("condition", WriteHead { condition: Some(Condition::Create(false)), ..head(b"x") }),
        ("condition", WriteHead { condition: Some(Condition::Overwrite(false)), ..head(b"x") }),
        ("if_match", WriteHead { condition: Some(Condition::IfMatch(String::new())), ..head(b"x") }),
        ("if_match", WriteHead { condition: Some(Condition::IfMatch("e".repeat(129))), ..head(b"x") }),
    ] {
        check(field, served.write(wrong, b"data").await.map(drop));
    }
    assert!(names(&served.base()).is_empty());
}
