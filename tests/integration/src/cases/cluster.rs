//! What happens to pods, and what becomes of the project then. The cluster's own API does
//! it and says what is there.

use serde_json::Value;

use crate::{
    cluster::{evict, get, kubectl, last_words, pod, pods, restarts},
    harness::Case,
    patience::eventually,
    project::{Project, condition, phase},
    target::Target,
};

pub(super) fn cases() -> Vec<Case> {
    vec![
        Case::new("cluster::an_evicted_pod_has_said_its_last_word_and_another_goes_on", evicted).on_cluster(),
        Case::new("cluster::a_command_that_ignores_sigterm_or_forks_away_leaves_time_for_the_last_snapshot", stubborn)
            .on_cluster(),
        Case::new("cluster::an_agent_that_ends_is_back_and_the_container_was_not_touched", agent_back).on_cluster(),
        Case::new("cluster::a_container_without_memory_is_back_and_its_files_are_there", memory).on_cluster(),
        Case::new("cluster::an_image_that_does_not_exist_is_said_and_can_be_removed", no_image).on_cluster(),
        Case::new("cluster::every_pod_is_restricted_and_has_no_token", restricted).on_cluster(),
    ]
}

async fn evicted(target: Target) {
    let project = Project::empty(&target, "evict", super::IDLE).await;
    let (namespace, generation) = (project.namespace().await, project.generation().await);
    project.shell("echo written right before > last").await;
    evict(&namespace, &pod(&namespace).await).await;
    let again = |status: &Value| status["status"]["generation"].as_u64() > Some(generation) && phase("Ready")(status);
    project.becomes("the next pod", again).await;
    assert_eq!(project.shell("cat last").await, "written right before\n");
    project.remove().await;
}

/// The order of a pod's end: the command is asked first, and whatever it does the agent
/// commits after it, within the grace period.
async fn stubborn(target: Target) {
    // Each start notes the last time that was written before it.
    let ignores = "cat clock >> ends; trap '' TERM; while :; do date +%s.%N > clock; sleep 0.1; done";
    let away = "cat clock >> ends; setsid -f env -i PATH=\"$PATH\" sh -c \
                'trap \"\" TERM HUP; while :; do date +%s.%N > clock; sleep 0.1; done'; \
                trap 'echo asked > asked' TERM; while :; do sleep 0.1; done";
    for (word, command) in [("ignores", ignores), ("away", away)] {
        let project = Project::empty(&target, word, command).await;
        let (namespace, generation) = (project.namespace().await, project.generation().await);
        project.prints("cat clock 2>/dev/null || true", |time| !time.is_empty()).await;
        let time = |text: &str| text.trim().parse::<f64>().expect("it is a time");
        let deleted = time(&project.shell("date +%s.%N").await);
        let pod = pod(&namespace).await;
        let words = last_words(&namespace, &pod).await;
        kubectl(&["delete", "pod", &pod, "--namespace", &namespace, "--wait=false"], "").await.expect("it is deleted");
        in_order(&words.await.expect("the watch ends"));
        let again =
            |status: &Value| status["status"]["generation"].as_u64() > Some(generation) && phase("Ready")(status);
        project.becomes("the next pod", again).await;
        // What it wrote while it refused to end is there: the last snapshot came after it.
        let last = time(&project.prints("cat ends", |ends| !ends.is_empty()).await);
        assert!(last > deleted, "{word}: the last byte is of {last}, and the pod was deleted at {deleted}");
        if word == "away" {
            assert_eq!(project.shell("cat asked").await, "asked\n", "its command was not asked first");
        }
        project.remove().await;
    }
}

/// The agent ended after the container, and its last word is a snapshot.
fn in_order(told: &[Value]) {
    let end = |container: &str| {
        let lists = ["initContainerStatuses", "containerStatuses"];
        told.iter().rev().find_map(|pod| {
            let statuses = lists.iter().flat_map(|list| pod["status"][list].as_array().into_iter().flatten());
            let status = statuses.into_iter().find(|status| status["name"] == container)?;
            let ended = &status["state"]["terminated"];
            ended.is_object().then(|| ended.clone())
        })
    };
    let (dev, agent) = (end("dev").expect("it ended"), end("agent").expect("it ended and was seen"));
    // Times of Kubernetes are of one form, so they sort as text.
    assert!(dev["finishedAt"].as_str() <= agent["finishedAt"].as_str(), "{dev:#} {agent:#}");
    let word: Value = serde_json::from_str(agent["message"].as_str().unwrap_or_default()).unwrap_or_default();
    let done = [Value::from("committed"), Value::from("unchanged")];
    assert!(done.contains(&word["outcome"]) && agent["exitCode"] == 0, "{agent:#}");
}

async fn agent_back(target: Target) {
    let project = Project::empty(&target, "sidecar", "echo $$ >> starts; while :; do sleep 1; done").await;
    let namespace = project.namespace().await;
    let before = pods(&namespace).await;
    let count = |pods: &[Value], container: &str| restarts(&pods[0], container);
    let mut agent = remora_proto::agent::v1::agent_service_client::AgentServiceClient::new(
        crate::remote::channel(&target, Some(&project.name)).await,
    );
    agent.drain(remora_proto::agent::v1::DrainRequest {}).await.expect("it is told to end");
    let now = eventually(|| async {
        let now = pods(&namespace).await;
        if count(&now, "agent") == count(&before, "agent") { Err(format!("{now:#?}")) } else { Ok(now) }
    })
    .await;
    assert_eq!(count(&now, "dev"), count(&before, "dev"), "the dev container was started anew");
    project.becomes("ready again", phase("Ready")).await;
    assert_eq!(project.shell("wc -l < starts").await.trim(), "1");
    project.remove().await;
}

async fn memory(target: Target) {
    let project = Project::named(&target, "memory");
    project.up(None, super::IDLE, &["--memory", "64Mi:128Mi"]).await.ok();
    project.shell("echo kept > file").await;
    let greedy = project.verb("exec", &["--", "python3", "-c", "print(len(b'x' * (400 << 20)))"]).await;
    assert_ne!(greedy.code, 0, "it got memory that it must not have");
    project.becomes("ready again", phase("Ready")).await;
    assert_eq!(project.shell("cat file").await, "kept\n");
    project.remove().await;
}

async fn no_image(target: Target) {
    let project = Project::named(&target, "image");
    let host = target.image.as_deref().and_then(|image| image.split_once('/')).map_or("localhost", |(host, _)| host);
    let image = format!("{host}/no/such/image:none");
    let up = project.up(None, super::IDLE, &["--image", &image, "--no-wait"]).await;
    assert_eq!(up.code, 0, "{up:?}");
    let said = |status: &Value| {
        status["status"]["conditions"].as_array().into_iter().flatten().any(|condition| {
            condition["type"] != "Ready"
                && condition["message"].as_str().is_some_and(|text| text.contains("no/such/image"))
        })
    };
    let status = project.becomes("the image's absence", said).await;
    assert!(condition(&status, "Ready").is_none(), "{status:#}");
    project.give_up().await;
}

async fn restricted(target: Target) {
    let project = Project::empty(&target, "pss", super::IDLE).await;
    let (namespace, status) = (project.namespace().await, project.status().await);
    assert_eq!(status["status"]["namespace"], namespace, "{status:#}");
    let labels = get(&["namespace", &namespace]).await;
    assert_eq!(labels["metadata"]["labels"]["pod-security.kubernetes.io/enforce"], "restricted", "{labels:#}");
    for pod in pods(&namespace).await {
        assert_eq!(pod["spec"]["automountServiceAccountToken"], false, "{pod:#}");
    }
    let token = project.shell("ls /var/run/secrets/kubernetes.io 2>&1 || true; id -u").await;
    assert!(!token.contains("serviceaccount") && token.trim_end().ends_with("1000"), "{token}");
    // The shim's own program is out of the container's reach.
    let refused = project.verb("exec", &["--", "sh", "-c", "echo x > /opt/remora/bin/remora-agent"]).await;
    assert_ne!(refused.code, 0, "{refused:?}");
    project.remove().await;
}
