//! What belongs to no project is told of on every surface, to admins, and left alone.

use std::fs;

use remora_proto::{
    control::v1::{CreateKeyRequest, ListOrphansRequest, OrphanKind, Role},
    fault::from_status,
    model::Reason,
};
use remora_tests::{cli::Cli, server::ServerProcess};
use serde_json::Value;

#[tokio::test(flavor = "multi_thread")]
async fn a_folder_without_a_project_is_told_and_left_alone() {
    let server = ServerProcess::start().await;
    let cli = Cli::new(&server.url, &server.key);
    cli.run(&["up", "--empty", "--name", "web", "--cmd", "exec sleep 100000"]).await.ok();
    let listed = async || -> Value { serde_json::from_str(&cli.run(&["orphans", "-o", "json"]).await.ok()).unwrap() };
    assert_eq!(listed().await, serde_json::json!([]), "what is of a project is no orphan");
    let doctor = cli.run(&["doctor"]).await.ok();
    assert!(doctor.lines().any(|line| line.starts_with("OK") && line.contains("orphans")), "{doctor}");

    let id = "3f0c9a52-8d1b-4a77-9a0e-6b1d6c1f2e44";
    let folder = server.folder().join("data/projects").join(id);
    fs::create_dir_all(folder.join("workspace")).unwrap();
    let found = listed().await;
    assert_eq!(found.as_array().unwrap().len(), 1, "{found:#}");
    assert_eq!((&found[0]["kind"], &found[0]["projectId"]), (&"Folder".into(), &id.into()));
    assert_eq!(found[0]["name"].as_str(), folder.to_str());
    let table = cli.run(&["orphans"]).await;
    assert!(table.text().contains(id) && table.stderr.contains("nothing of it is removed by itself"), "{table:?}");
    let doctor = cli.run(&["doctor"]).await.ok();
    assert!(doctor.lines().any(|line| line.starts_with("WARN") && line.contains("orphans")), "{doctor}");

    let over_rest = server.rest("GET", "/api/v1/orphans", None).await.json();
    assert_eq!(over_rest["orphans"], found);
    assert_eq!(over_rest["unseen"], serde_json::json!([]));
    let over_grpc = server.server(&server.key).await.list_orphans(ListOrphansRequest {}).await.unwrap().into_inner();
    assert_eq!((over_grpc.orphans.len(), over_grpc.orphans[0].kind()), (1, OrphanKind::Folder));

    // Not for those who may not see every project.
    let request = CreateKeyRequest { name: "owner".to_owned(), role: Role::Owner.into(), projects: Vec::new() };
    let owner = server.tokens().await.create_key(request).await.unwrap().into_inner().secret;
    let refused = server.server(&owner).await.list_orphans(ListOrphansRequest {}).await.unwrap_err();
    assert_eq!(from_status(&refused).reason, Reason::RoleNotGranted);
    let refused = server.rest_as(&owner, "GET", "/api/v1/orphans", None).await;
    assert_eq!(refused.status, 403);
    Cli::new(&server.url, &owner).run(&["doctor"]).await.ok();

    // Deleted, a project leaves nothing that could be one.
    cli.run(&["rm", "web", "--yes"]).await.ok();
    assert_eq!(listed().await, found);
    assert!(folder.join("workspace").is_dir(), "it is nobody's to remove");
}
