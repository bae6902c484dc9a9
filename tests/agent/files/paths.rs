//! Paths as clients send them: which are refused, and that nothing outside is reached.

use std::{fs, os::unix::fs::symlink};

use remora_proto::{
    agent::v1::{
        CopyRequest, EditRequest, FileEdit, GlobRequest, GrepRequest, ListRequest, MkdirRequest, MoveRequest,
        ReadLinkRequest, ReadRequest, RemoveRequest, SetAttrRequest, StatRequest, SymlinkRequest, TextChange,
        TextReplace, stat_result::Result as Looked, text_change::Change,
    },
    model::{Fault, Reason},
};

use super::{Served, answer, head, names};

/// The answer of every verb that takes `path`, by name.
async fn every_verb(served: &mut Served, path: &[u8]) -> Vec<(&'static str, Result<(), Fault>)> {
    let path = bytes_of(path);
    let mut answers = Vec::new();
    let stat = StatRequest { paths: vec![path.clone()], follow: true };
    let looked = answer(served.client.stat(stat).await).unwrap().results.remove(0).result.unwrap();
    answers.push((
        "stat",
        match looked {
            Looked::Info(_) => Ok(()),
            Looked::Error(error) => Err(Fault::new(error.reason.parse().unwrap(), error.message).hint(error.hint)),
        },
    ));
    let client = &mut served.client;
    answers
        .push(("read", answer(client.read(ReadRequest { path: path.clone(), ..Default::default() }).await).map(drop)));
    let edit = EditRequest {
        edits: vec![FileEdit {
            path: path.clone(),
            changes: vec![TextChange {
                change: Some(Change::Replace(TextReplace { old: "outside".into(), new: "inside".into(), expected: 0 })),
            }],
            ..Default::default()
        }],
        dry_run: false,
    };
    answers.push(("edit", answer(client.edit(edit).await).map(drop)));
    let mode = Some(0o777);
    let set_attr = SetAttrRequest { path: path.clone(), mode, modified: None };
    answers.push(("set_attr", answer(client.set_attr(set_attr).await).map(drop)));
    answers.push(("write", served.write(head(&path), b"written").await.map(drop)));
    answers
}

/// The answer of the verbs that look into a directory.
async fn every_search(served: &mut Served, path: &[u8]) -> Vec<(&'static str, Result<(), Fault>)> {
    let path = bytes_of(path);
    let client = &mut served.client;
    let list = ListRequest { path: path.clone(), ..Default::default() };
    let glob = GlobRequest { path: path.clone(), patterns: vec!["**".to_owned()], ..Default::default() };
    let grep = GrepRequest { path, pattern: "outside".to_owned(), ..Default::default() };
    vec![
        ("list", answer(client.list(list).await).map(drop)),
        ("glob", answer(client.glob(glob).await).map(drop)),
        ("grep", super::search::grep(client, grep).await.map(drop)),
    ]
}

/// The answer of the verbs that act on a name and not on what it leads to.
async fn every_name_verb(served: &mut Served, path: &[u8]) -> Vec<(&'static str, Result<(), Fault>)> {
    let path = bytes_of(path);
    let client = &mut served.client;
    let mkdir = MkdirRequest { path: path.clone(), parents: true, mode: None };
    let (from, to) = (path.clone(), bytes_of(b"moved"));
    vec![
        ("mkdir", answer(client.mkdir(mkdir).await).map(drop)),
        (
            "move from",
            answer(client.r#move(MoveRequest { from: from.clone(), to: to.clone(), overwrite: true }).await).map(drop),
        ),
        (
            "move to",
            answer(client.r#move(MoveRequest { from: to.clone(), to: from.clone(), overwrite: true }).await).map(drop),
        ),
        (
            "copy from",
            answer(client.copy(CopyRequest { from: from.clone(), to: to.clone(), overwrite: true }).await).map(drop),
        ),
        ("copy to", answer(client.copy(CopyRequest { from: to, to: from, overwrite: true }).await).map(drop)),
        ("symlink", answer(client.symlink(SymlinkRequest { path: path.clone(), target: "x".into() }).await).map(drop)),
        ("read_link", answer(client.read_link(ReadLinkRequest { path: path.clone() }).await).map(drop)),
        ("remove", answer(client.remove(RemoveRequest { path, recursive: true }).await).map(drop)),
    ]
}

fn bytes_of(path: &[u8]) -> bytes::Bytes {
    path.to_vec().into()
}

#[tokio::test]
async fn a001_paths_that_no_client_may_name_are_refused_by_every_verb() {
    let mut served = Served::start().await;
    let long_name = vec![b'n'; 256];
    let long_path = b"d/".repeat(2_048);
    let table: [&[u8]; 11] = [
        b"../secret",
        b"..",
        b"a/../../secret",
        b"./../secret",
        b"a/b/../../../secret",
        b"/etc/passwd",
        b"//etc/passwd",
        b"/",
        b"a\0b",
        &long_name,
        &long_path,
    ];
    for path in table {
        let shown = String::from_utf8_lossy(path);
        let mut answers = every_verb(&mut served, path).await;
        answers.extend(every_search(&mut served, path).await);
        answers.extend(every_name_verb(&mut served, path).await);
        for (verb, answer) in answers {
            let fault = answer.expect_err(verb);
            assert_eq!(fault.reason, Reason::PathInvalid, "{verb} of {shown:.40}: {fault}");
            assert!(!fault.hint.is_empty(), "{verb} of {shown:.40} does not say what to do");
        }
    }
    // The root itself has no name to act on.
    for path in [&b""[..], b".", b"./", b"a/.."] {
        for (verb, answer) in every_name_verb(&mut served, path).await {
            if verb != "mkdir" && verb != "read_link" {
                assert!(answer.is_err(), "{verb} of {path:?}");
            }
        }
    }
    assert!(names(&served.base()).is_empty());
    served.secret_is_untouched();
}

#[tokio::test]
async fn a002_links_that_lead_out_are_refused_by_every_verb_that_follows() {
    let mut served = Served::start().await;
    let base = served.base();
    let absolute = served.folder.path().join("secret");
    symlink(&absolute, base.join("absolute")).unwrap();
    symlink("../secret", base.join("relative")).unwrap();
    symlink("relative", base.join("chained")).unwrap();
    symlink("..", base.join("up")).unwrap();
    symlink("/proc/self/root", base.join("magic")).unwrap();
    symlink("self", base.join("self")).unwrap();
    for name in ["absolute", "relative", "chained", "up/secret", "up/new"] {
        for (verb, answer) in every_verb(&mut served, name.as_bytes()).await {
            let fault = answer.expect_err(verb);
            assert_eq!(fault.reason, Reason::PathEscapesRoot, "{verb} of {name}: {fault}");
        }
    }
    for name in ["up", "chained", "magic", "magic/proc"] {
        for (verb, answer) in every_search(&mut served, name.as_bytes()).await {
            assert_eq!(answer.expect_err(verb).reason, Reason::PathEscapesRoot, "{verb} of {name}");
        }
    }
    for (verb, answer) in every_verb(&mut served, b"self").await {
        assert_eq!(answer.expect_err(verb).reason, Reason::SymlinkLoop, "{verb}");
    }
    for (verb, answer) in every_verb(&mut served, b"magic/etc/passwd").await {
        assert_eq!(answer.expect_err(verb).reason, Reason::PathEscapesRoot, "{verb}");
    }
    for name in ["up/secret", "up/x", "magic/tmp/x"] {
        for (verb, answer) in every_name_verb(&mut served, name.as_bytes()).await {
            if !matches!(verb, "move to" | "copy to") || !answer.as_ref().is_err_and(|f| f.reason == Reason::NotFound) {
                assert_eq!(answer.expect_err(verb).reason, Reason::PathEscapesRoot, "{verb} of {name}");
            }
        }
    }
    assert!(!served.folder.path().join("new").exists() && !served.folder.path().join("x").exists());
    served.secret_is_untouched();
    // A link is removed and not what it names.
    let remove = RemoveRequest { path: "absolute".into(), recursive: true };
    served.client.remove(remove).await.unwrap();
    served.secret_is_untouched();
}

#[tokio::test]
async fn a008_a009_special_files_are_told_and_never_waited_for() {
    use rustix::fs::{CWD, FileType, Mode, makedev, mknodat};
    let mut served = Served::start().await;
    let base = served.base();
    mknodat(CWD, base.join("fifo"), FileType::Fifo, Mode::RWXU, 0).unwrap();
    mknodat(CWD, base.join("zero"), FileType::CharacterDevice, Mode::RWXU, makedev(1, 5)).unwrap();
    let _socket = std::os::unix::net::UnixListener::bind(base.join("socket")).unwrap();
    for name in ["fifo", "zero", "socket"] {
        for (verb, answer) in every_verb(&mut served, name.as_bytes()).await {
            if verb != "stat" {
                assert_eq!(answer.expect_err(verb).reason, Reason::NotARegularFile, "{verb} of {name}");
            }
        }
        let reasons: Vec<_> =
            every_search(&mut served, name.as_bytes()).await.into_iter().map(|(_, a)| a.unwrap_err().reason).collect();
        assert_eq!(reasons, [Reason::NotADirectory, Reason::NotADirectory, Reason::NotARegularFile], "{name}");
        let copy = CopyRequest { from: bytes_of(name.as_bytes()), to: "twin".into(), overwrite: false };
        let fault = answer(served.client.copy(copy).await).unwrap_err();
        assert_eq!(fault.reason, Reason::NotARegularFile, "{name}");
    }
    assert!(every_search(&mut served, b"").await.into_iter().all(|(_, answer)| answer.is_ok()));
    assert_eq!(names(&base), [&b"fifo"[..], b"socket", b"zero"]);
}

#[tokio::test]
async fn a011_a012_odd_names_keep_every_byte() {
    let mut served = Served::start().await;
    let every: Vec<u8> = (1..=255).filter(|byte| *byte != b'/').collect();
    let longest = vec![b'n'; 255];
    let odd: [&[u8]; 13] = [
        b"a\nb",
        b"\x1b[31m",
        b"\xff\xfe",
        "\u{e9}".as_bytes(),
        "e\u{301}".as_bytes(),
        b"a ",
        b"a.",
        b"-rf",
        b"~",
        b"$HOME",
        b"...",
        &every,
        &longest,
    ];
    for name in odd {
        served.put(name, name).await;
    }
    let mut expected: Vec<Vec<u8>> = odd.iter().map(|name| name.to_vec()).collect();
    expected.sort();
    assert_eq!(names(&served.base()), expected);
    for name in odd {
        assert_eq!(served.get(name).await.unwrap(), name);
        let stat = StatRequest { paths: vec![bytes_of(name)], follow: false };
        match answer(served.client.stat(stat).await).unwrap().results.remove(0).result.unwrap() {
            Looked::Info(info) => assert_eq!(info.path, name),
            Looked::Error(error) => panic!("{error:?}"),
        }
    }
    // A deep path up to the bound works too.
    let deep = [b"d/".repeat(2_046), b"abc".to_vec()].concat();
    assert_eq!(deep.len(), 4_095);
    let mkdir = MkdirRequest { path: bytes_of(&deep), parents: true, mode: None };
    served.client.mkdir(mkdir).await.unwrap();
    let remove = RemoveRequest { path: "d".into(), recursive: true };
    served.client.remove(remove).await.unwrap();
    assert!(fs::symlink_metadata(served.base().join("d")).is_err());
}
