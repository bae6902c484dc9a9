//! The role `install` as an init container runs it.

use std::{fs, path::Path, process::Output};

use remora_tests::{agent::role_command, binaries::binary};

use super::mode_and_owner;

async fn install(flags: &[(&str, &Path)]) -> Output {
    let flags: Vec<_> = flags.iter().map(|(flag, path)| ((*flag).to_owned(), path.display().to_string())).collect();
    role_command("install", &flags).output().await.unwrap()
}

#[tokio::test]
async fn what_it_installs_runs_and_a_second_time_changes_no_secret() {
    let folder = tempfile::tempdir().unwrap();
    let (to, secret) = (folder.path().join("bin/remora-agent"), folder.path().join("run/shim.secret"));
    let flags = [("--to", to.as_path()), ("--secret-file", secret.as_path())];
    let first = install(&flags).await;
    assert!(first.status.success(), "{}", String::from_utf8_lossy(&first.stderr));
    assert!(fs::read(&to).unwrap() == fs::read(binary("remora-agent")).unwrap());
    let written = fs::read_to_string(&secret).unwrap();
    assert_eq!((mode_and_owner(&to).0, mode_and_owner(&secret).0, written.len()), (0o555, 0o600, 64));

    // The installed one replaces itself while it runs.
    let again = tokio::process::Command::new(&to)
        .args(["install", "--to", to.to_str().unwrap(), "--secret-file", secret.to_str().unwrap()])
        .output()
        .await
        .unwrap();
    assert!(again.status.success(), "{}", String::from_utf8_lossy(&again.stderr));
    assert!(fs::read(&to).unwrap() == fs::read(binary("remora-agent")).unwrap());
    assert_eq!(fs::read_to_string(&secret).unwrap(), written);
    for name in ["bin", "run"] {
        assert_eq!(fs::read_dir(folder.path().join(name)).unwrap().count(), 1, "nothing beside it");
    }
}

#[tokio::test]
async fn what_is_in_its_way_is_named_with_the_exit_code_of_the_reason() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("file"), "").unwrap();
    let rows = [
        (folder.path().join("file/agent"), 73, "ALREADY_EXISTS"),
        (folder.path().to_owned(), 65, "IS_A_DIRECTORY"),
        ("/".into(), 64, "INVALID_ARGUMENT"),
    ];
    for (to, code, reason) in rows {
        let output = install(&[("--to", &to)]).await;
        let log = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(code), "{log}");
        assert!(log.contains(reason) && log.contains(to.parent().unwrap_or(&to).to_str().unwrap()), "{log}");
    }
}
