//! A store that takes tokens of the cluster: server and projects change from keys to a
//! role and back, nothing is lost on the way, and what runs in a container has neither.

use crate::{
    cluster::{get, kubectl},
    control_plane::{self, Changed},
    harness::Case,
    project::Project,
    store::{Other, Store},
    target::Target,
};

/// Prints what of the store's keys and tokens a container has.
const WHAT_IS_SEEN: &str = "env | grep ^AWS_; cat /var/run/secrets/*/token 2>/dev/null; true";

pub(super) fn cases() -> Vec<Case> {
    vec![Case::new("web_identity::a_role_takes_the_place_of_keys_and_back", changes).on_cluster().alone()]
}

async fn changes(target: Target) {
    let store = Store::exchanged(&target.namespace, Other::Roles).await;
    // A connection to the other store would go on.
    control_plane::restart(&target.namespace).await;
    let project = Project::empty(&target, "role", super::IDLE).await;
    project.shell("echo keys > file").await;
    let namespace = project.namespace().await;
    let keys = ["secret", "store", "--namespace", &namespace];
    get(&keys).await;

    let role = Changed::with_role(&target.namespace).await;
    // What the agent commits with keys the server reads back with its token.
    let sleep_and_wake = async || {
        project.verb("hibernate", &[]).await.ok();
        project.verb("wake", &[]).await.ok();
        project.shell("cat file").await
    };
    assert_eq!(sleep_and_wake().await, "keys\n");
    let removed = kubectl(&[&["get"][..], &keys].concat(), "").await;
    assert!(removed.as_ref().is_err_and(|said| said.contains("NotFound")), "{removed:?}");
    assert_eq!(project.shell(WHAT_IS_SEEN).await, "");
    project.shell("echo role >> file").await;
    assert_eq!(sleep_and_wake().await, "keys\nrole\n");

    role.back().await;
    project.shell("echo keys again >> file").await;
    assert_eq!(sleep_and_wake().await, "keys\nrole\nkeys again\n");
    get(&keys).await;
    assert_eq!(project.shell(WHAT_IS_SEEN).await, "");
    project.remove().await;
    store.back().await;
}
