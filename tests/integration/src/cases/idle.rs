//! What becomes of a project that nobody uses.

use serde_json::json;

use crate::{
    cluster::pods,
    harness::Case,
    project::{Project, condition, phase},
    rest,
    target::Target,
};

pub(super) fn cases() -> Vec<Case> {
    vec![
        Case::new("idle::a_project_that_nobody_uses_sleeps_and_wakes_whole", sleeps),
        Case::new("idle::what_runs_is_use_and_an_open_terminal_alone_is_not", runs),
    ]
}

/// Seconds without use: the least that is taken.
const AFTER: &str = "5";

async fn sleeps(target: Target) {
    let project = Project::named(&target, "idle");
    project.up(None, super::IDLE, &["--idle-after", "3600"]).await.ok();
    project.shell("mkdir made && echo here > made/it && chmod 640 made/it").await;
    let before = project.tree().await;
    let set = project.verb("idle", &["--after", AFTER, "--action", "hibernate"]).await.ok();
    assert!(set.contains("hibernates after 5 s without use, used "), "{set}");
    let asleep = project.becomes("the sleep", phase("Hibernated")).await;
    let said = condition(&asleep, "Idle").unwrap_or_else(|| panic!("it does not say why it sleeps: {asleep:#}"));
    assert_eq!(said["message"], "nobody used it for 5 s, so it hibernates");
    assert_eq!(asleep["spec"]["desired"], "Hibernated");
    assert!(asleep["status"]["lastActivityMs"].as_u64().is_some_and(|at| at > 0), "{asleep:#}");
    if target.image.is_some() {
        assert!(pods(&project.namespace().await).await.is_empty(), "what sleeps has no pod");
    }
    project.verb("idle", &["--action", "none"]).await.ok();
    assert!(project.verb("wake", &[]).await.ok().contains(": Ready"));
    assert_eq!(project.tree().await, before, "the tree is another one");
    // Told of, and left alone.
    let idle = project.becomes("idleness", phase("Idle")).await;
    assert_eq!(idle["spec"]["desired"], "Running");
    assert!(project.verb("status", &[]).await.ok().contains("is told of after 5 s without use, idle, used "));
    assert_eq!(project.shell("cat made/it").await, "here\n");
    project.becomes("use", phase("Ready")).await;
    project.remove().await;
}

async fn runs(target: Target) {
    let project = Project::named(&target, "used");
    project.up(None, super::IDLE, &["--idle-after", AFTER]).await.ok();
    // A terminal that nobody types into, and that prints by itself.
    let prints = json!({ "argv": ["sh", "-c", "while sleep 1; do echo tick; done"] });
    let path = format!("/api/v1/projects/{}/terminals", project.name);
    let opened = rest::request_as(&target.server, &target.key, "POST", &path, Some(&prints)).await;
    assert_eq!(opened.status, 201, "{opened:?}");
    // A command that says nothing, for longer than that. Ended early, it would fail.
    assert_eq!(project.shell("sleep 12; echo done | tee done").await, "done\n");
    project.becomes("the sleep", phase("Hibernated")).await;
    project.verb("wake", &[]).await.ok();
    assert_eq!(project.shell("cat done").await, "done\n");
    project.remove().await;
}
