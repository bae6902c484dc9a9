//! A store that answers, and not with what is ours: the credentials are wrong, the bucket
//! is missing. Nothing begins on an empty tree, nothing ends without its snapshot, each
//! says why, and all goes on once that is mended.

use serde_json::Value;

use crate::{
    cluster::{pod, pods},
    control_plane,
    harness::Case,
    project::{Project, condition, phase, told},
    store::{Other, Store},
    target::Target,
};

pub(super) fn cases() -> Vec<Case> {
    vec![
        Case::new("store::wrong_credentials_are_said_and_cost_nothing", |target| {
            answers_wrong(target, Other::Credentials, "STORE_DENIED", 77)
        })
        .on_cluster()
        .alone(),
        Case::new("store::a_bucket_that_does_not_exist_is_said_and_costs_nothing", |target| {
            answers_wrong(target, Other::Bucket, "BUCKET_MISSING", 78)
        })
        .on_cluster()
        .alone(),
    ]
}

/// Three projects that meet it: at a start, at a hibernation, at a deletion. And one that
/// cannot even bring its files.
async fn answers_wrong(target: Target, wrong: Other, word: &str, code: i32) {
    let make = async |name: &str, sleeps: bool| {
        let project = Project::empty(&target, name, super::IDLE).await;
        project.shell(&format!("echo {name} > file")).await;
        if sleeps {
            project.verb("hibernate", &[]).await.ok();
        }
        project
    };
    let (starts, sleeps, leaves) = tokio::join!(make("starts", true), make("sleeps", false), make("leaves", true));
    let left = leaves.namespace().await;
    let says = |status: &Value| told(status, &[word]);

    let store = Store::exchanged(&target.namespace, wrong).await;
    // A connection to the right store would go on. This way the control plane's own is
    // shown too: its replicas come up, and serve, though they cannot use the store.
    control_plane::restart(&target.namespace).await;
    let serves = pod(&sleeps.namespace().await).await;
    for (project, verb) in [(&starts, "wake"), (&sleeps, "hibernate")] {
        assert_eq!(project.verb(verb, &["--no-wait"]).await.code, 0, "{verb} is accepted");
    }
    leaves.verb("rm", &["--yes", "--no-wait"]).await.ok();

    // At the start: no dev container on an empty tree.
    let status = starts.becomes(word, says).await;
    assert!(condition(&status, "Ready").is_none(), "{status:#}");
    for pod in pods(&starts.namespace().await).await {
        let state = &pod["status"]["containerStatuses"][0]["state"];
        assert!(state["running"].is_null() && state["terminated"].is_null(), "it ran on an empty tree: {pod:#}");
    }
    // At the hibernation: its pod goes on.
    let status = sleeps.becomes("HibernateBlocked", |status| condition(status, "HibernateBlocked").is_some()).await;
    assert!(says(&status) && !phase("Hibernated")(&status), "{status:#}");
    assert_eq!(pod(&sleeps.namespace().await).await, serves, "its pod is another one");
    assert_eq!(sleeps.shell("cat file").await, "sleeps\n");
    // At the deletion: not before the store has its tombstone.
    let status = leaves.becomes(word, says).await;
    assert!(phase("Deleting")(&status), "{status:#}");
    // With its files: whoever brings them is told.
    let brings = Project::named(&target, "brings");
    let folder = tempfile::tempdir().expect("there is room for a folder");
    std::fs::write(folder.path().join("file"), "brought\n").expect("the folder takes files");
    let refused = brings.up(Some(folder.path()), super::IDLE, &[]).await;
    assert_eq!(refused.code, code, "{refused:?}");

    store.back().await;
    // Whichever replica is asked, the one that acts tries again, and what was met before is told no more.
    let follower = control_plane::by_a_follower(&target).await;
    let mend = async |project: Project, verb: &str, content: &str| {
        follower.run(&[verb, &project.name]).await.ok();
        if verb == "hibernate" {
            project.verb("wake", &[]).await.ok();
        }
        assert_eq!(project.shell("cat file").await, content);
        project.remove().await;
    };
    let bring = async {
        brings.up(Some(folder.path()), super::IDLE, &[]).await.ok();
        assert_eq!(brings.shell("cat file").await, "brought\n");
        brings.remove().await;
    };
    tokio::join!(mend(starts, "wake", "starts\n"), mend(sleeps, "hibernate", "sleeps\n"), leaves.is_gone(&left), bring);
}
