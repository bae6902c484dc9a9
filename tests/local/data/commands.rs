//! Commands over plain HTTP.

use std::fs;

use remora_tests::server::ServerProcess;
use serde_json::json;

use super::{Rest, ok, refusal};
use crate::running::{run, workspace};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_command_is_run_and_its_end_is_told_as_it_was() {
    let server = ServerProcess::start().await;
    let project = run(&server, "a").await;
    let tree = workspace(&server, &project);
    let rest = Rest::admin(&server, "a");

    let ran = ok(rest.post("exec", json!({"argv": ["sh", "-c", "echo out; echo err >&2; exit 3"]})).await, 200);
    assert_eq!(ran["command"]["exit"], json!({"cause": "exited", "code": 3}));
    assert_eq!((ran["stdout"]["text"].as_str(), ran["stderr"]["text"].as_str()), (Some("out\n"), Some("err\n")));
    assert!(ran["summary"].as_str().unwrap().starts_with("it exited with 3"), "{ran}");
    // No shell reads the words of argv.
    let literal = ok(rest.post("exec", json!({"argv": ["printf", "%s", "$(touch x); `y` 'z'"]})).await, 200);
    assert_eq!(literal["stdout"]["text"], "$(touch x); `y` 'z'");
    assert!(!tree.join("x").exists());
    let fed = json!({"shell": "cat; printf \"$A\"; pwd", "stdin": "in\n", "env": {"A": "b\n"}, "cwd": "."});
    let fed = ok(rest.post("exec", fed).await, 200);
    assert!(fed["stdout"]["text"].as_str().unwrap().starts_with("in\nb\n/"), "{fed}");

    // Time that runs out is a result, with what was printed by then.
    let slow = ok(rest.post("exec", json!({"shell": "echo begun; sleep 600", "timeoutMs": 300})).await, 200);
    assert_eq!((&slow["command"]["exit"]["cause"], &slow["stdout"]["text"]), (&json!("timedOut"), &json!("begun\n")));

    // What was not started has no exit code.
    let none = rest.post("exec", json!({"argv": ["no-such-program"]})).await;
    assert_eq!(refusal(&none), (404, "PROGRAM_NOT_FOUND".to_owned()));
    let nowhere = rest.post("exec", json!({"argv": ["true"], "cwd": "nowhere"})).await;
    assert_eq!(refusal(&nowhere), (409, "WORKING_DIRECTORY_INVALID".to_owned()));
    for bad in [json!({}), json!({"argv": ["a"], "shell": "a"}), json!({"argv": ["true"], "bogus": 1})] {
        assert_eq!(refusal(&rest.post("exec", bad.clone()).await), (400, "INVALID_ARGUMENT".to_owned()), "{bad}");
    }
    let other = rest.post("exec", json!({"argv": ["true"], "container": "none"})).await;
    assert_eq!(refusal(&other), (404, "NOT_FOUND".to_owned()));
    assert!(other.json()["hint"].as_str().unwrap().contains("dev"), "it says what there is: {:?}", other.json());
    ok(rest.post("exec", json!({"argv": ["true"], "container": "dev"})).await, 200);
}

/// One key, one run: however often the call is repeated, by header or by field.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_repeated_call_with_a_key_runs_once() {
    let server = ServerProcess::start().await;
    let project = run(&server, "a").await;
    let rest = Rest::admin(&server, "a");
    let body = json!({"shell": "echo run >> runs; cat runs", "idempotencyKey": "k1"});
    let first = ok(rest.post("exec", body.clone()).await, 200);
    for _ in 0..3 {
        assert_eq!(ok(rest.post("exec", body.clone()).await, 200)["command"]["id"], first["command"]["id"]);
    }
    let unkeyed = json!({"shell": "echo run >> runs; cat runs"}).to_string().into_bytes();
    let headers = [("content-type", "application/json"), ("idempotency-key", "k1")];
    let by_header = ok(rest.raw("POST", "exec", &headers, unkeyed).await, 200);
    assert_eq!(by_header["command"]["id"], first["command"]["id"]);
    assert_eq!(fs::read_to_string(workspace(&server, &project).join("runs")).unwrap(), "run\n");
    let other = rest.post("exec", json!({"shell": "echo other >> runs", "idempotencyKey": "k1"})).await;
    assert_eq!(refusal(&other), (409, "IDEMPOTENCY_KEY_REUSED".to_owned()));
    assert_eq!(fs::read_to_string(workspace(&server, &project).join("runs")).unwrap(), "run\n");
}

/// Output that does not fit says what is missing where it is missing, and the way to it holds.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn output_that_is_cut_can_be_read_whole() {
    let server = ServerProcess::start().await;
    run(&server, "a").await;
    let rest = Rest::admin(&server, "a");
    let ran = ok(rest.post("exec", json!({"shell": "seq 1 100000", "maxOutputCharacters": 1000})).await, 200);
    let text = ran["stdout"]["text"].as_str().unwrap();
    assert!(text.starts_with("1\n2\n") && text.ends_with("100000\n") && text.contains("left out"), "{text}");
    let id = ran["command"]["id"].as_str().unwrap();
    let note = ran["stdout"]["truncated"]["note"].as_str().unwrap();
    assert!(note.contains(&format!("/api/v1/projects/a/commands/{id}/output?stream=stdout")), "{note}");
    let (mut whole, mut at) = (String::new(), 0);
    loop {
        let part = ok(rest.get(&format!("commands/{id}/output?stream=stdout&offset={at}&limit=100000")).await, 200);
        whole.push_str(part["text"].as_str().unwrap());
        at = part["nextOffset"].as_u64().unwrap();
        if Some(at) == part["held"]["head"].as_u64() {
            break;
        }
        assert!(part["note"].as_str().unwrap().contains(&format!("offset={at}")), "{part}");
    }
    let expected: String = (1..=100_000).map(|number| format!("{number}\n")).collect();
    assert!(whole == expected, "{} bytes", whole.len());
    let beyond = rest.get(&format!("commands/{id}/output?stream=stdout&offset={}", at + 1)).await;
    assert_eq!(refusal(&beyond), (416, "OUT_OF_RANGE".to_owned()));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_command_in_the_background_is_fed_watched_and_ended() {
    let server = ServerProcess::start().await;
    run(&server, "a").await;
    let rest = Rest::admin(&server, "a");
    let started = ok(rest.post("exec", json!({"argv": ["cat"], "background": true, "openStdin": true})).await, 202);
    let id = started["command"]["id"].as_str().unwrap().to_owned();
    assert!(started["summary"].as_str().unwrap().contains(&format!("commands/{id}?waitMs=")), "{started}");
    let running = ok(rest.get(&format!("commands/{id}")).await, 200);
    assert!(running.get("exit").is_none(), "{running}");
    let write = |offset: u64, text: &str| json!({"offset": offset, "text": text});
    assert_eq!(ok(rest.post(&format!("commands/{id}/stdin"), write(0, "one\n")).await, 200)["offset"], 4);
    // Sent again, it is written once.
    assert_eq!(ok(rest.post(&format!("commands/{id}/stdin"), write(0, "one\n")).await, 200)["offset"], 4);
    ok(rest.post(&format!("commands/{id}/stdin"), json!({"offset": 4, "text": "two\n", "eof": true})).await, 200);
    let ended = ok(rest.get(&format!("commands/{id}?waitMs=60000")).await, 200);
    assert_eq!(ended["exit"], json!({"cause": "exited", "code": 0}));
    let output = ok(rest.get(&format!("commands/{id}/output?stream=stdout")).await, 200);
    assert_eq!(output["text"], "one\ntwo\n");

    let started = ok(rest.post("exec", json!({"argv": ["sleep", "600"], "background": true})).await, 202);
    let id = started["command"]["id"].as_str().unwrap().to_owned();
    assert_eq!(ok(rest.post(&format!("commands/{id}/signal"), json!({"signal": 15})).await, 200)["delivered"], 1);
    let ended = ok(rest.get(&format!("commands/{id}?waitMs=60000")).await, 200);
    assert!(["signaled", "killedByRequest"].contains(&ended["exit"]["cause"].as_str().unwrap()), "{ended}");
    let listed = ok(rest.get("commands").await, 200);
    assert_eq!(listed["commands"].as_array().unwrap().len(), 2);
}
