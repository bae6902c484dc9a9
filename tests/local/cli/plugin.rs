//! Installed as `kubectl-remora` the binary is a plugin of kubectl.

use std::{os::unix::fs::symlink, process::Command};

use remora_tests::{binaries::binary, server::ServerProcess};

use super::waiting;

#[tokio::test(flavor = "multi_thread")]
async fn it_works_as_a_plugin_of_kubectl_and_names_itself_so() {
    let server = ServerProcess::start().await;
    waiting(&server, "web").await;
    let folder = tempfile::tempdir().unwrap();
    let plugin = folder.path().join("kubectl-remora");
    symlink(binary("remora"), &plugin).unwrap();
    // As kubectl starts it: by its path, with the words behind `kubectl remora`.
    let run = |words: &[&str]| {
        let mut command = Command::new(&plugin);
        command
            .args(words)
            .env("REMORA_SERVER", &server.url)
            .env("REMORA_API_KEY", &server.key)
            .env("HOME", folder.path());
        let output = command.output().unwrap();
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
        (output.status.code(), text(output.stdout), text(output.stderr))
    };
    assert_eq!(run(&["ls", "-o", "name"]), (Some(0), "web\n".to_owned(), String::new()));
    let (code, help, _) = run(&["up", "--help"]);
    assert_eq!(code, Some(0));
    assert!(help.contains("Usage: kubectl remora up"), "{help}");
    let (code, _, refused) = run(&["status", "My-Shop"]);
    assert_eq!(code, Some(64));
    assert!(refused.contains("my-shop would do"), "{refused}");
}
