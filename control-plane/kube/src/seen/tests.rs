//! Pods as kubelets report them, and what is made of each.

use serde_json::json;

use super::*;

const HYDRATED: &str = r#"{name: hydrate, image: a, imageID: "", ready: true, restartCount: 0, containerID: "c://h",
  state: {terminated: {exitCode: 0, message: '{"outcome":"empty","snapshot":null}'}}}"#;
const AGENT_RUNS: &str = r#"{name: agent, image: a, imageID: "", ready: true, restartCount: 0, containerID: "c://a",
  state: {running: {startedAt: "2026-11-25T20:00:00Z"}}}"#;
const WEB_RUNS: &str = r#"{name: web, image: node, imageID: "", ready: true, restartCount: 2, containerID: "c://w",
  state: {running: {startedAt: "2026-11-25T20:00:00Z"}}}"#;
const WEB_ENDED: &str = r#"{name: web, image: node, imageID: "", ready: false, restartCount: 2, containerID: "c://w",
  state: {terminated: {exitCode: 137}}}"#;
const COMMITTED: &str = r#"{"outcome":"committed","snapshot":{"id":"3-3-ab","root_key":"roots/3","sequence":3,"created_ms":9,"root_blake3":"48d78698873c4f4308c22f7740a5f4827bd558d7a971567af5a2450cd33e5edc"}}"#;
const FAILED: &str = r#"{"outcome":"failed","snapshot":null,"reason":"STORE_UNAVAILABLE","message":"the store does not answer","hint":""}"#;

/// A container that ended with a message.
fn ended_with(name: &str, code: i32, message: &str) -> String {
    format!(
        "{{name: {name}, image: a, imageID: '', ready: false, restartCount: 0, containerID: 'c://x', \
         state: {{terminated: {{exitCode: {code}, message: '{message}'}}}}}}"
    )
}

/// A container that waits, with how it ended before.
fn waits(name: &str, reason: &str, message: &str, last: &str) -> String {
    format!(
        "{{name: {name}, image: node, imageID: '', ready: false, restartCount: 3, containerID: 'c://x', \
         state: {{waiting: {{reason: {reason}, message: '{message}'}}}}, lastState: {{{last}}}}}"
    )
}

/// Never started.
fn waits_first(name: &str, reason: &str, message: &str) -> String {
    waits(name, reason, message, "").replace("containerID: 'c://x', ", "").replace("restartCount: 3", "restartCount: 0")
}

struct Scene<'a> {
    deleted: bool,
    assigned: bool,
    phase: &'a str,
    init: &'a [&'a str],
    containers: &'a [&'a str],
}

const ALIVE: Scene<'_> = Scene { deleted: false, assigned: true, phase: "Running", init: &[], containers: &[] };
const DELETED: Scene<'_> = Scene { deleted: true, ..ALIVE };

fn pod(scene: &Scene<'_>) -> Pod {
    let deletion = if scene.deleted { "deletionTimestamp: '2026-11-25T20:00:00Z'" } else { "" };
    let node = if scene.assigned { "nodeName: node-1, " } else { "" };
    let text = format!(
        "metadata: {{name: dev-g3, uid: u, labels: {{remora.dev/generation: '3'}}, {deletion}}}\n\
         spec: {{{node}containers: []}}\n\
         status: {{phase: {}, podIP: 10.0.0.7, initContainerStatuses: [{}], containerStatuses: [{}]}}\n",
        scene.phase,
        scene.init.join(", "),
        scene.containers.join(", ")
    );
    serde_norway::from_str(&text).unwrap_or_else(|error| panic!("{error}: {text}"))
}

#[test]
fn a_pod_has_ended_when_its_kubelet_says_so() {
    let agent_ended = ended_with("agent", 0, COMMITTED);
    let agent_waits = waits_first("agent", "PodInitializing", "");
    let web_waits = waits("web", "CrashLoopBackOff", "", "terminated: {exitCode: 1}");
    for (what, expected, scene) in [
        ("it runs", false, Scene { init: &[HYDRATED, AGENT_RUNS], containers: &[WEB_RUNS], ..ALIVE }),
        (
            "its containers ended and start again",
            false,
            Scene { init: &[HYDRATED, AGENT_RUNS], containers: &[WEB_ENDED], ..ALIVE },
        ),
        ("it is on its way out", false, Scene { init: &[HYDRATED, AGENT_RUNS], containers: &[WEB_RUNS], ..DELETED }),
        (
            "the agent makes its last snapshot",
            false,
            Scene { init: &[HYDRATED, AGENT_RUNS], containers: &[WEB_ENDED], ..DELETED },
        ),
        (
            "a container that crashes waits, the agent runs",
            false,
            Scene { init: &[HYDRATED, AGENT_RUNS], containers: &[&web_waits], ..DELETED },
        ),
        ("all ended", true, Scene { init: &[HYDRATED, &agent_ended], containers: &[WEB_ENDED], ..DELETED }),
        (
            "all ended, nobody deleted it: they start again",
            false,
            Scene { init: &[HYDRATED, &agent_ended], containers: &[WEB_ENDED], ..ALIVE },
        ),
        ("no node ever had it", true, Scene { assigned: false, phase: "Pending", ..DELETED }),
        ("no node has it yet", false, Scene { assigned: false, phase: "Pending", ..ALIVE }),
        ("a node has it and nothing is known", false, Scene { phase: "Pending", ..DELETED }),
        ("nothing of it ever started", false, Scene { phase: "Pending", init: &[&agent_waits], ..DELETED }),
        (
            "evicted",
            true,
            Scene { phase: "Failed", init: &[HYDRATED, &agent_ended], containers: &[WEB_ENDED], ..ALIVE },
        ),
        ("ended after its deletion", true, Scene { phase: "Failed", ..DELETED }),
    ] {
        assert_eq!(ended(&pod(&scene)), expected, "{what}");
    }
}

#[test]
fn a_pod_is_lost_with_its_node_when_nothing_of_it_can_be_reached_from_elsewhere() {
    let taken = |pod: &mut Pod, reason: &str| {
        let condition = format!("[{{type: DisruptionTarget, status: 'True', reason: {reason}}}]");
        pod.status.as_mut().unwrap().conditions = Some(serde_norway::from_str(&condition).unwrap());
    };
    let left_alone = Scene { init: &[HYDRATED, AGENT_RUNS], containers: &[WEB_RUNS], ..DELETED };
    let mut gone = pod(&left_alone);
    taken(&mut gone, "DeletionByTaintManager");
    let at = |time: &str| time.parse::<Timestamp>().unwrap();
    let later = at("2026-11-25T20:00:11Z");
    assert!(lost(&gone, later) && over(&gone, later));
    assert!(!lost(&gone, at("2026-11-25T20:00:10Z")), "its kubelet may still speak");
    let word = last_word(&gone, Tree::Absent);
    assert!(word.committed.is_none() && word.lost.unwrap().contains("its node is lost"));

    let mut drained = gone.clone();
    taken(&mut drained, "EvictionByEvictionAPI");
    assert!(!lost(&drained, later), "its node is there");
    let mut stays = pod(&Scene { deleted: false, ..left_alone });
    taken(&mut stays, "DeletionByTaintManager");
    assert!(!lost(&stays, later), "nobody has taken it away yet");
    let agent_ended = ended_with("agent", 0, COMMITTED);
    let mut heard = pod(&Scene { init: &[HYDRATED, &agent_ended], containers: &[WEB_ENDED], ..DELETED });
    taken(&mut heard, "DeletionByTaintManager");
    assert!(!lost(&heard, later) && over(&heard, later), "it has said how it ended");
    for volume in ["{name: data, persistentVolumeClaim: {claimName: data}}", "{name: data, ephemeral: {}}"] {
        let mut shared = gone.clone();
        shared.spec.as_mut().unwrap().volumes = Some(vec![serde_norway::from_str(volume).unwrap()]);
        assert!(!over(&shared, later), "what runs there may write to it: {volume}");
    }
}

#[test]
fn the_last_word_is_the_agents() {
    let word = |init: &[&str]| last_word(&pod(&Scene { init, containers: &[WEB_ENDED], ..DELETED }), Tree::Absent);
    let committed = word(&[HYDRATED, &ended_with("agent", 0, COMMITTED)]);
    assert_eq!(committed.committed.map(|snapshot| snapshot.sequence), Some(3));
    assert_eq!(committed.lost, None);

    let failed = word(&[HYDRATED, &ended_with("agent", 0, FAILED)]);
    assert_eq!(failed.committed, None);
    assert!(failed.lost.unwrap().contains("the last snapshot was not made: the store does not answer"));

    // Killed in the middle, or with half a message: nothing is known of what it did.
    for silent in [ended_with("agent", 137, ""), ended_with("agent", 1, "{\"outcome\":\"comm")] {
        let word = word(&[HYDRATED, &silent]);
        assert_eq!((word.committed, word.lost.as_deref()), (None, Some("the pod ended without a last snapshot")));
    }

    // Nothing ran in it, so that it took nothing with it.
    let never = ended_with("hydrate", 1, FAILED);
    for init in [&[][..], &[never.as_str()], &[HYDRATED]] {
        let word = word(init);
        assert_eq!((word.committed, word.lost), (None, None), "{init:?}");
    }

    // A node that was started anew restores over what was there; what is not saved is lost all the same.
    let again = waits("hydrate", "PodInitializing", "", "terminated: {exitCode: 0}");
    let word = word(&[&again, &ended_with("agent", 137, "")]);
    assert!(word.lost.is_some());
}

#[test]
fn a_volume_holds_nothing_of_anybodys_until_a_restore_into_it_ended() {
    let ended = |init: &[&str]| pod(&Scene { init, phase: "Failed", ..DELETED });
    let waited = || pod(&Scene { assigned: false, phase: "Pending", ..DELETED });
    let half = || ended(&[&ended_with("hydrate", 137, "")]);
    let whole = || ended(&[HYDRATED]);
    let served = || ended(&[&waits("hydrate", "PodInitializing", "", ""), &ended_with("agent", 137, "")]);
    for (what, expected, before, pods) in [
        ("it waited for its volume", Tree::Partial, Tree::Partial, vec![waited()]),
        ("its restore was cut", Tree::Partial, Tree::Partial, vec![half()]),
        ("one that came after the first", Tree::Partial, Tree::Partial, vec![half(), waited()]),
        ("its restore ended", Tree::Kept, Tree::Partial, vec![whole()]),
        ("that of an earlier one did", Tree::Kept, Tree::Partial, vec![whole(), waited()]),
        ("its agent served", Tree::Kept, Tree::Partial, vec![served()]),
        ("nothing is left of it", Tree::Kept, Tree::Partial, vec![]),
        ("there was something before", Tree::Kept, Tree::Kept, vec![waited()]),
    ] {
        assert_eq!(left_on_volume(before, &pods), expected, "{what}");
    }
}

#[test]
fn a_restore_that_failed_is_not_left_to_a_kubelet_that_rests() {
    let ended = "terminated: {exitCode: 1, finishedAt: '2026-11-25T20:00:00Z'}";
    let failed = waits("hydrate", "CrashLoopBackOff", "", ended);
    let runs = failed.replace("waiting: {reason: CrashLoopBackOff, message: ''}", "running: {}");
    let at = |time: &str| time.parse::<Timestamp>().unwrap();
    for (expected, time, status) in [
        (false, "2026-11-25T20:00:24Z", failed.as_str()),
        (true, "2026-11-25T20:00:25Z", &failed),
        (false, "2026-11-25T20:09:00Z", &runs),
        (false, "2026-11-25T20:09:00Z", HYDRATED),
    ] {
        let pod = pod(&Scene { init: &[status], ..ALIVE });
        assert_eq!(restore_rests(&pod, at(time)), expected, "{time} {status}");
    }
}

/// That of a project without volumes.
fn trouble(pod: &Pod) -> Option<Fault> {
    super::trouble(pod, &ProjectSpec::default())
}

#[test]
fn trouble_is_told_in_words_that_help() {
    let fine = Scene { init: &[HYDRATED, AGENT_RUNS], containers: &[WEB_RUNS], ..ALIVE };
    assert_eq!(trouble(&pod(&fine)), None);
    let hydrate =
        waits("hydrate", "CrashLoopBackOff", "", &format!("terminated: {{exitCode: 1, message: '{FAILED}'}}"));
    let mute = waits("hydrate", "CrashLoopBackOff", "", "terminated: {exitCode: 101}");
    let web = |reason: &str, message: &str, last: &str| waits("web", reason, message, last);
    for (words, reason, status) in [
        ("the store does not answer", Reason::StoreUnavailable, hydrate),
        ("the restore ended with exit code 101", Reason::Unavailable, mute),
        (
            "the image node of web cannot be pulled: not found",
            Reason::ContainerUnavailable,
            waits_first("web", "ErrImagePull", "not found"),
        ),
        (
            "cannot be pulled: back off",
            Reason::ContainerUnavailable,
            waits_first("web", "ImagePullBackOff", "back off"),
        ),
        (
            "web cannot be started: no key",
            Reason::ContainerUnavailable,
            waits_first("web", "CreateContainerConfigError", "no key"),
        ),
        (
            "the command of web does not exist in node",
            Reason::ProgramNotFound,
            web("CrashLoopBackOff", "", "terminated: {exitCode: 127, reason: Error}"),
        ),
        (
            "the command of web cannot be executed",
            Reason::ProgramNotPermitted,
            web("CrashLoopBackOff", "", "terminated: {exitCode: 126}"),
        ),
        (
            "again and again with exit code 137 (OOMKilled)",
            Reason::ContainerUnavailable,
            web("CrashLoopBackOff", "", "terminated: {exitCode: 137, reason: OOMKilled}"),
        ),
        (
            "again and again with exit code 0",
            Reason::ContainerUnavailable,
            web("CrashLoopBackOff", "", "terminated: {exitCode: 0, reason: Completed}"),
        ),
    ] {
        let init: &[&str] = &[&status];
        let fault = trouble(&pod(&Scene { phase: "Pending", init, ..ALIVE })).unwrap_or_else(|| panic!("{words}"));
        assert_eq!(fault.reason, reason, "{fault}");
        assert!(fault.message.contains(words), "{words}: {fault}");
    }
    let long = waits_first("web", "ErrImagePull", &"x".repeat(5_000));
    let fault = trouble(&pod(&Scene { init: &[&long], ..ALIVE })).unwrap();
    assert!(fault.message.len() < 500, "a kubelet's text is cut");
    for normal in ["PodInitializing", "ContainerCreating"] {
        assert_eq!(trouble(&pod(&Scene { init: &[&waits_first("web", normal, "")], ..ALIVE })), None, "{normal}");
    }
}

#[test]
fn a_pod_that_no_node_takes_says_why() {
    let mut pod = pod(&Scene { assigned: false, phase: "Pending", ..ALIVE });
    let conditions =
        "[{type: PodScheduled, status: 'False', reason: Unschedulable, message: '0/1 nodes: Insufficient cpu.'}]";
    pod.status.as_mut().unwrap().conditions = Some(serde_norway::from_str(conditions).unwrap());
    let fault = trouble(&pod).unwrap();
    assert_eq!(fault.reason, Reason::LimitReached);
    assert!(fault.message.contains("Insufficient cpu"), "{fault}");
}

/// A class that does not exist is no matter of nodes.
#[test]
fn a_pod_without_its_volumes_says_which_and_of_what_class() {
    let mut pod = pod(&Scene { assigned: false, phase: "Pending", ..ALIVE });
    let conditions = "[{type: PodScheduled, status: 'False', reason: Unschedulable, message: \
                      '0/2 nodes are available: pod has unbound immediate PersistentVolumeClaims.'}]";
    pod.status.as_mut().unwrap().conditions = Some(serde_norway::from_str(conditions).unwrap());
    let spec = json!({
        "workspace": {"volume": {"size": "1Gi", "class": "quick"}},
        "containers": [{"name": "web"}, {"name": "db", "storage": {"size": "1Gi"}}],
    });
    let fault = super::trouble(&pod, &serde_json::from_value(spec).unwrap()).unwrap();
    assert_eq!(fault.reason, Reason::FailedPrecondition);
    let which = "the workspace of storage class quick, the data of db of the default storage class";
    assert!(fault.message.contains(which) && fault.message.contains("unbound"), "{fault}");
}

#[test]
fn what_runs_and_how_often_it_was_started() {
    let never = waits_first("api", "ContainerCreating", "");
    let pod = pod(&Scene { init: &[HYDRATED, AGENT_RUNS], containers: &[WEB_RUNS, &never], ..ALIVE });
    let starts = vec![("web".to_owned(), 3), ("api".to_owned(), 0)];
    let unready = vec!["api".to_owned()];
    assert_eq!(containers(&pod), (vec!["web".to_owned()], starts, unready), "one that has not begun is not ready");
    let serving = serving(&pod).unwrap();
    assert_eq!((serving.address.to_string(), serving.incarnation.as_str()), ("10.0.0.7:7070".to_owned(), "u c://a"));
    assert_eq!(generation(&pod), Some(Generation(3)));
    let started_anew = AGENT_RUNS.replace("c://a", "c://b");
    let again = super::serving(&self::pod(&Scene { init: &[HYDRATED, &started_anew], ..ALIVE })).unwrap();
    assert_ne!(again.incarnation, serving.incarnation);
}

#[test]
fn one_that_waits_for_another_says_for_whom() {
    let why = r#"{"outcome":"failed","reason":"DEPENDENCY_NOT_READY","message":"gave up waiting for db: refused, after 300 s"}"#;
    let waits = ended_with("wait", 69, why);
    let fault = trouble(&pod(&Scene { init: &[&waits], ..ALIVE })).unwrap();
    assert_eq!(fault.reason, Reason::DependencyNotReady);
    assert!(fault.message.contains("db: refused"), "{fault}");
    let again =
        super::tests::waits("wait", "CrashLoopBackOff", "", &format!("terminated: {{exitCode: 69, message: '{why}'}}"));
    let fault = trouble(&pod(&Scene { init: &[&again], ..ALIVE })).unwrap();
    assert_eq!(fault.reason, Reason::DependencyNotReady, "its own words are better than the kubelet's");
    assert!(trouble(&pod(&Scene { init: &[&ended_with("wait", 0, "")], ..ALIVE })).is_none());
}
