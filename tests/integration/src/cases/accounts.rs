//! Callers that are ServiceAccounts of the cluster. The release knows `it-viewer` and
//! `it-editor` of its own namespace (tests/cluster/install.sh).

use serde_json::json;

use crate::{cli::Cli, cluster::kubectl, harness::Case, project::Project, target::Target};

/// The audience that tokens for a server are made for.
const AUDIENCE: &str = "remora";
/// Exit code of who is not known, or may not.
const REFUSED: i32 = 77;

pub(super) fn cases() -> Vec<Case> {
    vec![
        Case::new("accounts::a_service_account_may_what_its_role_may", roles).on_cluster(),
        Case::new("accounts::who_has_no_role_or_another_audience_is_refused", refused).on_cluster(),
    ]
}

/// The command line with a token of the ServiceAccount `name`, which is made where it is not there.
pub(super) async fn account(target: &Target, name: &str, audience: &str) -> Cli {
    let namespace = target.namespace.as_str();
    let metadata = json!({"name": name, "namespace": namespace});
    let object = json!({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": metadata});
    kubectl(&["apply", "--filename", "-"], &object.to_string()).await.expect("it is made");
    let args = ["create", "token", name, "--namespace", namespace, "--audience", audience, "--duration=10m"];
    let token = kubectl(&args, "").await.expect("the cluster makes tokens");
    Cli::new(&target.server, token.trim())
}

async fn roles(target: Target) {
    let project = Project::empty(&target, "account", super::IDLE).await;
    let name = project.name.as_str();
    let (viewer, editor) =
        tokio::join!(account(&target, "it-viewer", AUDIENCE), account(&target, "it-editor", AUDIENCE));
    for cli in [&viewer, &editor] {
        assert!(cli.run(&["ls", "-o", "name"]).await.ok().lines().any(|line| line == name));
    }
    assert_eq!(editor.run(&["exec", name, "--", "echo", "by the editor"]).await.ok(), "by the editor\n");
    let asked = viewer.run(&["exec", name, "--", "true"]).await;
    assert!(asked.code == 125 && asked.stderr.contains("system:serviceaccount:"), "{asked:?}");
    let asked = editor.run(&["hibernate", name]).await;
    asked.refused(REFUSED, &format!("system:serviceaccount:{}:it-editor", target.namespace));
    assert!(asked.stderr.contains("Owner"), "{asked:?}");
    project.remove().await;
}

async fn refused(target: Target) {
    let stranger = account(&target, "it-stranger", AUDIENCE).await;
    let asked = stranger.run(&["ls"]).await;
    asked.refused(REFUSED, &format!("system:serviceaccount:{}:it-stranger has no role", target.namespace));
    // A token that is somebody's key to something else.
    let elsewhere = account(&target, "it-editor", "vault").await;
    elsewhere.run(&["ls"]).await.refused(REFUSED, "token");
    // One whose holder is gone. It was never shown before, so nobody remembers it.
    let gone = account(&target, "it-gone", AUDIENCE).await;
    let delete = ["delete", "serviceaccount", "it-gone", "--namespace", &target.namespace];
    kubectl(&delete, "").await.expect("it is deleted");
    gone.run(&["ls"]).await.refused(REFUSED, "its ServiceAccount is gone");
}
