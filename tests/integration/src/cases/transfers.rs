//! Archives by signed URLs: a snapshot of one project is downloaded and becomes another
//! one, by plain HTTP between this case and the store.

use serde_json::{Value, json};

use crate::{
    harness::Case,
    project::{Project, phase},
    rest::{Answer, fetch, request_as},
    target::Target,
};

pub(super) fn cases() -> Vec<Case> {
    vec![
        Case::new("transfers::a_snapshot_is_downloaded_and_becomes_another_project", out_and_in),
        Case::new("transfers::a_hostile_archive_is_refused_and_the_project_waits_on", hostile),
    ]
}

async fn post(project: &Project, below: &str, body: &Value) -> Answer {
    let path = format!("/api/v1/projects/{}/{below}", project.name);
    request_as(&project.target.server, &project.target.key, "POST", &path, Some(body)).await
}

/// A project that waits for its archive.
async fn waiting(target: &Target, word: &str) -> Project {
    let project = Project::named(target, word);
    let mut args = vec!["up", "--name", &project.name, "--cmd", super::IDLE, "--no-source"];
    if let Some(image) = &target.image {
        args.extend(["--image", image]);
    }
    project.cli.run(&args).await.ok();
    project
}

/// Brings `archive` to the store; what names it there.
async fn bring(project: &Project, archive: &[u8], zstd: bool) -> String {
    let begun = post(project, "source/uploads", &json!({"bytes": archive.len(), "zstd": zstd})).await.ok(201);
    let headers = begun["headers"].as_object().expect("the headers that are signed");
    let headers: Vec<(&str, &str)> =
        headers.iter().filter_map(|(name, value)| Some((name.as_str(), value.as_str()?))).collect();
    let url = begun["url"].as_str().expect("a URL is told once");
    let sent = fetch(url, "PUT", &headers, archive.to_vec()).await;
    assert_eq!(sent.status, 200, "{sent:?}");
    assert_eq!(fetch(url, "PUT", &headers, archive.to_vec()).await.status, 412, "a URL is for one archive");
    begun["upload"].as_str().expect("an upload has a name").to_owned()
}

async fn complete(project: &Project, upload: &str) -> Answer {
    let path = format!("/api/v1/projects/{}/source/uploads/{upload}/complete", project.name);
    request_as(&project.target.server, &project.target.key, "POST", &path, None).await
}

async fn out_and_in(target: Target) {
    let first = Project::empty(&target, "out", super::IDLE).await;
    first.shell("mkdir src && echo text > src/a && head -c 9000000 /dev/urandom > large && cksum large > sum").await;
    first.cli.run(&["snapshot", "create", &first.name]).await.ok();
    let export = post(&first, "exports", &json!({"ttlSeconds": 600})).await.ok(201);
    let url = export["url"].as_str().expect("a URL is told once");
    let archive = fetch(url, "GET", &[], "").await;
    assert_eq!((archive.status.as_u16(), json!(archive.body.len())), (200, export["bytes"].clone()));
    let other = url.replacen("/exports/", "/projects/", 1);
    assert_eq!(fetch(&other, "GET", &[], "").await.status, 403, "it is for one object");

    let second = waiting(&target, "in").await;
    let upload = bring(&second, &archive.body, true).await;
    complete(&second, &upload).await.ok(200);
    second.becomes("ready", phase("Ready")).await;
    second.prints("cat src/a && cksum large | diff - sum && echo same", |printed| printed == "text\nsame\n").await;
    assert_eq!(complete(&second, &upload).await.refusal(), (409, "FAILED_PRECONDITION".to_owned()));
    first.verb("rm", &["--yes", "--purge"]).await.ok();
    assert_eq!(fetch(url, "GET", &[], "").await.status, 404, "an export goes with its project's snapshots");
    second.remove().await;
}

async fn hostile(target: Target) {
    let project = waiting(&target, "hostile").await;
    let upload = bring(&project, b"PK\x03\x04 is no tar at all", false).await;
    let refused = complete(&project, &upload).await;
    assert_eq!(refused.refusal(), (400, "ARCHIVE_INVALID".to_owned()));
    assert_eq!(complete(&project, &upload).await.refusal(), (404, "NOT_FOUND".to_owned()));
    assert_eq!(project.status().await["status"]["phase"], "Pending");
    // The tar of an empty folder.
    let upload = bring(&project, &[0; 10_240], false).await;
    complete(&project, &upload).await.ok(200);
    project.becomes("ready", phase("Ready")).await;
    project.remove().await;
}
