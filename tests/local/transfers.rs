//! Archives out of a project and into one: over REST, gRPC and the command line, through
//! the bucket of a local server.

use std::{
    fs,
    path::Path,
    process::{Command, Output, Stdio},
};

use remora_proto::control::v1::{
    BeginSourceUploadRequest, CompleteSourceUploadRequest, ExportSnapshotRequest, Phase, Role,
};
use remora_tests::{cli::Cli, server::ServerProcess};
use remora_tests_integration::rest::fetch;
use serde_json::{Value, json};

use crate::{
    auth::{key, waiting},
    data::{Rest, ok, refusal},
    running::{reach, run, workspace},
    tokens::mint,
};

/// What is in every URL that is signed, and must be in no log.
const SIGNATURE: &str = "X-Amz-Signature=";

fn tar(args: &[&str], folder: &Path) -> Output {
    let ran = Command::new("tar").args(args).current_dir(folder).stdin(Stdio::null()).output().expect("tar runs");
    assert!(ran.status.success(), "{}", String::from_utf8_lossy(&ran.stderr));
    ran
}

/// A program with a token takes a snapshot away over HTTP alone, and brings it as the
/// source of another project over gRPC. What is signed is in the answers and nowhere else.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_snapshot_goes_out_and_in_by_urls_that_no_log_has() {
    let server = ServerProcess::start().await;
    let project = run(&server, "shop").await;
    fs::create_dir_all(workspace(&server, &project).join("src")).unwrap();
    fs::write(workspace(&server, &project).join("src/a"), "text").unwrap();
    let noise: Vec<u8> = (0..20_000_000_u64).map(|at| (at.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 56) as u8).collect();
    fs::write(workspace(&server, &project).join("large"), &noise).unwrap();
    let cli = Cli::new(&server.url, &server.key);
    let made = cli.run(&["snapshot", "create", "shop", "-o", "name"]).await.ok();

    let wanted = json!({"verbs": ["snapshot.read", "file.read"], "subject": "backup"});
    let (token, _) = mint(&server, "shop", wanted).await;
    let of = |key: &str, project: &str| Rest { server: &server, key: key.to_owned(), project: project.to_owned() };
    let export = ok(of(&token, "shop").post("exports", json!({"snapshot": made.trim(), "ttlSeconds": 60})).await, 201);
    let url = export["url"].as_str().unwrap();
    assert!(url.contains(SIGNATURE) && url.starts_with("http://127.0.0.1:"), "{url}");
    let archive = fetch(url, "GET", &[], "").await;
    assert_eq!((archive.status.as_u16(), archive.body.len() as u64), (200, export["bytes"].as_u64().unwrap()));

    // Who may and who may not.
    for (wanted, refused) in [
        (json!({"verbs": ["snapshot.read"]}), "VERB_NOT_GRANTED"),
        (json!({"verbs": ["file.read"], "pathPrefix": "src"}), "VERB_NOT_GRANTED"),
    ] {
        let (token, _) = mint(&server, "shop", wanted).await;
        assert_eq!(refusal(&of(&token, "shop").post("exports", json!({})).await), (403, refused.to_owned()));
    }
    let folder = json!({"verbs": ["snapshot.read", "file.read"], "pathPrefix": "src"});
    let none = Rest::admin(&server, "shop").post("tokens", folder).await;
    assert!(none.status.is_client_error(), "a token for a folder has no verb on snapshots: {none:?}");
    waiting(&server, "second").await;
    assert_eq!(refusal(&of(&token, "second").post("exports", json!({})).await).1, "PROJECT_MISMATCH");
    let viewer = key(&server, "viewer", Role::Viewer, &[]).await;
    ok(of(&viewer, "shop").post("exports", json!({})).await, 201);
    let begun = of(&viewer, "second").post("source/uploads", json!({"bytes": 1})).await;
    assert_eq!(refusal(&begun), (403, "ROLE_NOT_GRANTED".to_owned()));
    assert_eq!(refusal(&of(&token, "shop").post("source/uploads", json!({"bytes": 1})).await).1, "CREDENTIALS_INVALID");

    let mut projects = server.projects().await;
    let grpc = ExportSnapshotRequest { name: "shop".to_owned(), snapshot: String::new(), ttl_seconds: 0 };
    assert!(projects.export_snapshot(grpc).await.unwrap().into_inner().url.contains(SIGNATURE));
    let bytes = archive.body.len() as u64;
    let begin = BeginSourceUploadRequest { name: "second".to_owned(), bytes, zstd: true, ttl_seconds: 60 };
    let begun = projects.begin_source_upload(begin).await.unwrap().into_inner();
    let headers: Vec<(&str, &str)> =
        begun.headers.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
    assert_eq!(fetch(&begun.url, "PUT", &headers, archive.body.clone()).await.status, 200);
    assert_eq!(fetch(&begun.url, "PUT", &headers, archive.body.clone()).await.status, 412);
    let complete = CompleteSourceUploadRequest { name: "second".to_owned(), upload: begun.upload.clone() };
    projects.complete_source_upload(complete).await.unwrap();
    let second = reach(&server, "second", Phase::Ready).await;
    assert!(fs::read(workspace(&server, &second).join("large")).unwrap() == noise);
    assert_eq!(fs::read(workspace(&server, &second).join("src/a")).unwrap(), b"text");

    server.check_log(&[]);
    let audit = fs::read_to_string(server.folder().join("data/audit.jsonl")).unwrap();
    assert!(audit.contains("/exports") && audit.contains("BeginSourceUpload"), "each call has its record: {audit}");
    let log = server.log().into_iter().map(|line| line.to_string()).collect::<Vec<_>>().join("\n");
    assert!(log.contains("\"export\"") && log.contains("begin upload"), "what was done is told");
    let log = log + &audit;
    for secret in [SIGNATURE, "X-Amz-Credential", begun.url.as_str(), url] {
        assert!(!log.contains(secret), "a log has {secret}");
    }
}

/// The same with the command line: into a file, behind a URL, and back from an archive.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_command_line_exports_and_starts_from_archives() {
    let server = ServerProcess::start().await;
    let cli = Cli::new(&server.url, &server.key);
    let folder = cli.folder().to_owned();
    fs::create_dir_all(folder.join("site/src")).unwrap();
    fs::write(folder.join("site/src/a"), "text").unwrap();
    tar(&["--create", "--file", "site.tar", "--directory", "site", "."], &folder);

    // A plain tar becomes a project that is named after it.
    let up = cli.run(&["up", "--source", "site.tar", "--cmd", "exec sleep 100000"]).await;
    assert!(up.code == 0 && up.text().starts_with("site: Ready"), "{up:?}");
    assert_eq!(cli.run(&["fs", "read", "site", "src/a"]).await.ok(), "text");

    let saved = cli.run(&["snapshot", "export", "site", "--to", "out.tar.zst"]).await;
    assert!(saved.code == 0 && saved.stderr.contains("2 entries"), "{saved:?}");
    fs::create_dir(folder.join("out")).unwrap();
    tar(&["--zstd", "--extract", "--file", "out.tar.zst", "--directory", "out"], &folder);
    assert_eq!(fs::read(folder.join("out/src/a")).unwrap(), b"text");
    let piped = cli.run(&["snapshot", "export", "site", "--to", "-"]).await;
    assert!(piped.code == 0 && piped.stdout == fs::read(folder.join("out.tar.zst")).unwrap());
    let newest = cli.run(&["snapshot", "ls", "site", "-o", "name"]).await.ok();
    let unknown = format!("9{}", newest.lines().last().unwrap());
    cli.run(&["snapshot", "export", "site", &unknown, "--to", "none"]).await.refused(66, &unknown);
    let names = fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let half: Vec<String> = names.filter(|name| name.contains("none") || name.contains("part")).collect();
    assert_eq!(half, [""; 0], "nothing half done stays");

    let url = cli.run(&["snapshot", "export", "site", "--url", "--ttl", "60"]).await.ok();
    assert_eq!(fetch(url.trim(), "GET", &[], "").await.body, fs::read(folder.join("out.tar.zst")).unwrap());

    // The archive of one becomes another by a URL.
    let begun = cli.run(&["up", "--name", "copy", "--no-source", "--cmd", "exec sleep 100000"]).await.ok();
    assert!(begun.contains("next: remora source url copy ARCHIVE"), "{begun}");
    let told = cli.run(&["source", "url", "copy", "out.tar.zst", "-o", "json"]).await.ok();
    let told: Value = serde_json::from_str(&told).unwrap();
    let headers: Vec<(&str, &str)> = told["headers"]
        .as_object()
        .unwrap()
        .iter()
        .map(|(name, value)| (name.as_str(), value.as_str().unwrap()))
        .collect();
    let archive = fs::read(folder.join("out.tar.zst")).unwrap();
    assert_eq!(fetch(told["url"].as_str().unwrap(), "PUT", &headers, archive).await.status, 200);
    cli.run(&["source", "complete", "copy", told["upload"].as_str().unwrap()]).await.ok();
    let copy = reach(&server, "copy", Phase::Ready).await;
    assert_eq!(fs::read(workspace(&server, &copy).join("src/a")).unwrap(), b"text");

    // What is no archive, or a hostile one, makes nothing; a good one still does.
    fs::write(folder.join("bad.tar"), "no tar").unwrap();
    cli.run(&["up", "--source", "bad.tar", "--name", "bad"]).await.refused(65, "the archive");
    let absolute = folder.join("site/src/a");
    tar(&["--create", "--absolute-names", "--file", "bad.tar", absolute.to_str().unwrap()], &folder);
    cli.run(&["up", "--source", "bad.tar", "--name", "bad"]).await.refused(65, "an absolute path");
    cli.run(&["up", "--source", "site.tar", "--name", "bad"]).await.ok();
    cli.run(&["up", "--source", "site", "--name", "other"]).await.refused(64, "is no file");
}
