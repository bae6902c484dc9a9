//! F1 to F8 over plain HTTP: read, write, delete, list, find and search.

use std::fs;

use http_body_util::BodyExt as _;
use hyper_util::rt::TokioIo;
use remora_tests::{agent::PATIENCE, server::ServerProcess};
use serde_json::{Value, json};
use tokio::{net::TcpStream, time::timeout};

use super::{Rest, ok, refusal};
use crate::running::{run, workspace};

/// Any bytes, under any name, are the same on disk and when they are read.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bytes_are_written_and_read_as_they_are() {
    let server = ServerProcess::start().await;
    let project = run(&server, "a").await;
    let tree = workspace(&server, &project);
    let rest = Rest::admin(&server, "a");
    let every: Vec<u8> = (0..=255_u8).cycle().take(3 << 20).collect();

    // Parents are made; the file is new.
    let written = ok(rest.put("files/deep/er/every", &every).await, 201);
    assert_eq!((written["size"].as_u64(), written["created"].as_bool()), (Some(every.len() as u64), Some(true)));
    assert!(fs::read(tree.join("deep/er/every")).unwrap() == every);
    let whole = rest.raw("GET", "files/deep/er/every", &[("accept", "application/octet-stream")], Vec::new()).await;
    assert!(whole.status == 200 && whole.body == every, "{} bytes", whole.body.len());
    let etag = whole.headers["etag"].to_str().unwrap().to_owned();
    assert_eq!(etag.trim_matches('"'), written["etag"]);
    let headers = [("accept", "application/octet-stream"), ("range", "bytes=300000-300255")];
    let part = rest.raw("GET", "files/deep/er/every", &headers, Vec::new()).await;
    assert_eq!(
        (part.status.as_u16(), part.headers["content-range"].to_str().unwrap()),
        (206, "bytes 300000-300255/3145728")
    );
    assert_eq!(part.body, every[300_000..300_256]);

    // A name that is no UTF-8 and one that looks like a path.
    ok(rest.put("files/%ff%25%20x", b"odd").await, 201);
    use std::os::unix::ffi::OsStrExt as _;
    assert_eq!(fs::read(tree.join(std::ffi::OsStr::from_bytes(b"\xff% x"))).unwrap(), b"odd");
    let odd = ok(rest.get("files/%ff%25%20x").await, 200);
    assert_eq!((odd["text"].as_str(), odd["pathBase64"].as_str()), (Some("odd"), Some("/yUgeA==")));

    // Conditions: another version changes nothing.
    let stale = rest.raw("PUT", "files/deep/er/every", &[("if-match", "\"x\"")], b"lost".to_vec()).await;
    assert_eq!(refusal(&stale), (412, "ETAG_MISMATCH".to_owned()));
    let there = rest.raw("PUT", "files/deep/er/every", &[("if-none-match", "*")], b"lost".to_vec()).await;
    assert_eq!(refusal(&there), (409, "ALREADY_EXISTS".to_owned()));
    assert!(fs::read(tree.join("deep/er/every")).unwrap() == every);
    ok(rest.raw("PUT", "files/deep/er/every?mode=0755", &[("if-match", &etag)], b"new".to_vec()).await, 200);
    assert_eq!(fs::read(tree.join("deep/er/every")).unwrap(), b"new");

    // Removed: once, and a folder with entries only on purpose.
    assert_eq!(refusal(&rest.delete("files/deep").await), (409, "DIRECTORY_NOT_EMPTY".to_owned()));
    assert_eq!(rest.delete("files/deep/er/every").await.status, 204);
    assert_eq!(refusal(&rest.delete("files/deep/er/every").await), (404, "NOT_FOUND".to_owned()));
    assert_eq!(rest.delete("files/deep?recursive=true").await.status, 204);
    assert!(!tree.join("deep").exists());
}

/// Long files come in parts that say where the next one starts, and the parts are the whole.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn parts_are_the_whole_and_say_how_to_go_on() {
    let server = ServerProcess::start().await;
    let project = run(&server, "a").await;
    let rest = Rest::admin(&server, "a");
    let text: String = (1..=5_000).map(|line| format!("Zeile {line}: Größe € 😀\n")).collect();
    fs::write(workspace(&server, &project).join("long.txt"), &text).unwrap();

    let (mut read, mut at) = (String::new(), 0);
    loop {
        let part = ok(rest.get(&format!("files/long.txt?offset={at}&length=10001")).await, 200);
        read.push_str(part["text"].as_str().expect("parts are cut between characters"));
        match part["next"].as_u64() {
            Some(next) => {
                assert!(part["truncated"]["note"].as_str().unwrap().contains(&format!("offset={next}")), "{part}");
                at = next;
            }
            None => break assert!(part.get("truncated").is_none()),
        }
    }
    assert!(read == text);

    let lines = ok(rest.get("files/long.txt?line=4999&lines=10&numbered=true").await, 200);
    let shown = lines["text"].as_str().unwrap();
    assert!(shown.contains("4999\tZeile 4999: Größe") && shown.contains("5000\t"), "{shown}");
    assert_eq!(lines["size"].as_u64(), Some(text.len() as u64));
    let both = rest.get("files/long.txt?line=1&offset=1").await;
    assert_eq!(refusal(&both), (400, "INVALID_ARGUMENT".to_owned()));
    assert_eq!(refusal(&rest.get("files/long.txt?bogus=1").await), (400, "INVALID_ARGUMENT".to_owned()));
    // A folder says what to call instead of reading it.
    assert_eq!(rest.post("mkdir", json!({"path": "d"})).await.status, 204);
    assert_eq!(refusal(&rest.get("files/d").await), (409, "IS_A_DIRECTORY".to_owned()));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn files_are_edited_found_and_searched() {
    let server = ServerProcess::start().await;
    let project = run(&server, "a").await;
    let tree = workspace(&server, &project);
    let rest = Rest::admin(&server, "a");
    for at in 0..30 {
        ok(rest.put(&format!("files/src/f{at:02}.js"), format!("let n = {at};\nuse(n);\n").as_bytes()).await, 201);
    }
    fs::write(tree.join(".gitignore"), "dist\n").unwrap();
    ok(rest.put("files/dist/f00.js", b"let n = 0;\n").await, 201);

    // Edit: all or none, with a diff; an error names what is near.
    let change = |path: &str, old: &str, new: &str| json!({"path": path, "changes": [{"old": old, "new": new}]});
    let edits = json!({"edits": [change("src/f00.js", "n = 0", "n = 100"), change("src/f01.js", "n = 9", "n = 1")]});
    let refused = rest.post("edit", edits).await;
    assert_eq!(refusal(&refused), (409, "EDIT_NO_MATCH".to_owned()));
    assert_eq!(refused.json()["effect"], "NOT_APPLIED");
    assert_eq!(fs::read_to_string(tree.join("src/f00.js")).unwrap(), "let n = 0;\nuse(n);\n");
    let dry =
        ok(rest.post("edit", json!({"edits": [change("src/f00.js", "n = 0", "n = 7")], "dryRun": true})).await, 200);
    assert!(dry["files"][0]["diff"].as_str().unwrap().contains("+let n = 7;"), "{dry}");
    ok(rest.post("edit", json!({"edits": [change("src/f00.js", "n = 0", "n = 7")]})).await, 200);
    assert_eq!(fs::read_to_string(tree.join("src/f00.js")).unwrap(), "let n = 7;\nuse(n);\n");
    let lines =
        json!({"edits": [{"path": "src/f01.js", "changes": [{"firstLine": 2, "lastLine": 2, "new": "done();\n"}]}]});
    ok(rest.post("edit", lines).await, 200);
    assert_eq!(fs::read_to_string(tree.join("src/f01.js")).unwrap(), "let n = 1;\ndone();\n");

    // List, in pages that shift nothing.
    let (mut names, mut token) = (Vec::new(), String::new());
    loop {
        let page = ok(rest.get(&format!("list?path=src&pageSize=7&pageToken={token}")).await, 200);
        names
            .extend(page["entries"].as_array().unwrap().iter().map(|entry| entry["path"].as_str().unwrap().to_owned()));
        token = page["nextPageToken"].as_str().unwrap().to_owned();
        if token.is_empty() {
            break;
        }
        assert_eq!(page["truncated"]["reason"], "items", "{page}");
    }
    assert_eq!(names.len(), 30);
    assert!(names.is_sorted() && names[0] == "src/f00.js");

    let found = ok(rest.post("glob", json!({"patterns": ["f0*.js"]})).await, 200);
    assert_eq!((found["total"].as_u64(), found["entries"][0]["path"].as_str()), (Some(10), Some("src/f00.js")));
    let found = ok(rest.post("glob", json!({"patterns": ["f00.js"], "ignoreRules": false})).await, 200);
    assert_eq!(found["total"].as_u64(), Some(2), "what .gitignore leaves out is there on demand");

    let found = ok(rest.post("grep", json!({"pattern": r"n = 1\d;", "afterContext": 1})).await, 200);
    assert_eq!(found["matches"].as_u64(), Some(10), "{found}");
    assert_eq!(found["results"][0], json!({"path": "src/f10.js", "line": 1, "text": "let n = 10;"}));
    assert_eq!(found["results"][1]["context"], true);
    let few = ok(rest.post("grep", json!({"pattern": "use", "maxResults": 3, "mode": "files"})).await, 200);
    assert_eq!(few["results"].as_array().unwrap().len(), 3);
    assert!(few["truncated"]["note"].as_str().unwrap().contains("narrow"), "{few}");
    assert_eq!(refusal(&rest.post("grep", json!({"pattern": "("})).await), (400, "PATTERN_INVALID".to_owned()));

    let looked = ok(rest.post("stat", json!({"paths": ["src/f00.js", "none"]})).await, 200);
    assert_eq!(looked["results"][0]["entry"]["kind"], "file");
    assert_eq!(looked["results"][1]["problem"]["reason"], "NOT_FOUND");
    assert_eq!(rest.post("copy", json!({"from": "src/f00.js", "to": "copy.js"})).await.status, 204);
    assert_eq!(rest.post("move", json!({"from": "copy.js", "to": "moved.js"})).await.status, 204);
    let taken = rest.post("move", json!({"from": "moved.js", "to": "src/f02.js"})).await;
    assert_eq!(refusal(&taken), (409, "ALREADY_EXISTS".to_owned()));
    assert_eq!(fs::read_to_string(tree.join("moved.js")).unwrap(), "let n = 7;\nuse(n);\n");
}

/// An answer of a search has a bound in bytes, too, and says so.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_search_with_too_much_to_say_is_cut_and_says_so() {
    let server = ServerProcess::start().await;
    let project = run(&server, "a").await;
    let rest = Rest::admin(&server, "a");
    let line = format!("needle {}\n", "x".repeat(1_500));
    fs::write(workspace(&server, &project).join("much.txt"), line.repeat(2_000)).unwrap();
    let answer = rest.post("grep", json!({"pattern": "needle", "maxResults": 10_000})).await;
    assert!(answer.body.len() < 2 << 20, "{} bytes", answer.body.len());
    let found = ok(answer, 200);
    assert_eq!(found["truncated"]["reason"], "bytes", "{}", found["truncated"]);
    assert!(found["results"].as_array().unwrap().len() > 500);
}

/// Changes come as server-sent events while the connection stands.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn changes_are_told_as_they_happen() {
    let server = ServerProcess::start().await;
    let project = run(&server, "a").await;
    let tree = workspace(&server, &project);
    let address = server.url.split("//").nth(1).unwrap().to_owned();
    let stream = TcpStream::connect(&address).await.unwrap();
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.unwrap();
    let connection = tokio::spawn(connection);
    let request = http::Request::builder()
        .uri("/api/v1/projects/a/changes?globs=*.js,!x.js")
        .header("host", &address)
        .header("authorization", format!("Bearer {}", server.key))
        .header("accept", "text/event-stream")
        .body(http_body_util::Empty::<bytes::Bytes>::new())
        .unwrap();
    let mut response = timeout(PATIENCE, sender.send_request(request)).await.unwrap().unwrap();
    assert_eq!(response.headers()["content-type"], "text/event-stream");
    let mut text = String::new();
    let mut events = async |enough: &dyn Fn(&[Value]) -> bool| {
        loop {
            let batches: Vec<Value> = text
                .lines()
                .filter_map(|line| line.strip_prefix("data: "))
                .map(|data| serde_json::from_str(data).unwrap())
                .collect();
            if enough(&batches) {
                return batches;
            }
            let frame = timeout(PATIENCE, response.frame()).await.expect("a change is told").unwrap().unwrap();
            text.push_str(std::str::from_utf8(frame.data_ref().unwrap()).unwrap());
        }
    };
    let first = events(&|batches| !batches.is_empty()).await;
    assert_eq!(first[0], json!({"cursor": 1, "changes": []}), "the watch stands");
    fs::write(tree.join("x.js"), "not told").unwrap();
    fs::write(tree.join("b.txt"), "not told").unwrap();
    fs::write(tree.join("a.js"), "told").unwrap();
    let told = |batches: &[Value]| {
        let changes = batches.iter().flat_map(|batch| batch["changes"].as_array().unwrap());
        changes.map(|change| change["path"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    let batches = events(&|batches| told(batches).iter().any(|path| path == "a.js")).await;
    assert!(told(&batches).iter().all(|path| path == "a.js"), "{batches:?}");
    connection.abort();
}
