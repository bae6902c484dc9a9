//! What a tool-calling agent does over plain HTTP, with a token for one folder: F10 in a pod.

use serde_json::{Value, json};

use crate::{
    cluster,
    harness::Case,
    patience::{eventually, seen},
    project::Project,
    rest::{Answer, request, request_as},
    target::Target,
};

pub(super) fn cases() -> Vec<Case> {
    vec![
        Case::new("tools::f10_a_loop_over_http_repairs_a_folder_with_a_token_for_it", repair),
        Case::new("tools::f10_what_runs_for_a_folder_is_kept_in_it", kept),
        Case::new("tools::a_terminal_over_http_is_typed_into_resized_and_ended", terminal),
        Case::new("tools::a_project_that_sleeps_is_503_with_a_reason", asleep),
        Case::new("tools::each_call_leaves_one_record_in_the_log_of_the_control_plane", recorded).on_cluster(),
    ]
}

/// Whoever has a credential for a project.
struct Caller<'a> {
    project: &'a Project,
    credential: String,
}

impl<'a> Caller<'a> {
    fn admin(project: &'a Project) -> Self {
        Caller { project, credential: project.target.key.clone() }
    }

    /// One whose world is `folder`, made by the admin.
    async fn of_folder(project: &'a Project, folder: &str) -> Self {
        let wanted = json!({
            "verbs": ["file.read", "file.write", "exec.write", "exec.read"],
            "pathPrefix": folder,
            "subject": "repair-bot",
        });
        let made = Caller::admin(project).post("tokens", wanted).await.ok(201);
        let credential = made["token"].as_str().expect("a token is told once").to_owned();
        Caller { project, credential }
    }

    fn path(&self, below: &str) -> String {
        format!("/api/v1/projects/{}/{below}", self.project.name)
    }

    async fn post(&self, below: &str, body: Value) -> Answer {
        request_as(&self.project.target.server, &self.credential, "POST", &self.path(below), Some(&body)).await
    }

    async fn get(&self, below: &str) -> Answer {
        request_as(&self.project.target.server, &self.credential, "GET", &self.path(below), None).await
    }

    async fn delete(&self, below: &str) -> Answer {
        request_as(&self.project.target.server, &self.credential, "DELETE", &self.path(below), None).await
    }

    async fn put(&self, below: &str, body: &str) -> Answer {
        let authorization = format!("Bearer {}", self.credential);
        let headers = [("authorization", authorization.as_str())];
        request(&self.project.target.server, "PUT", &self.path(below), &headers, body.to_owned()).await
    }

    /// The code and both outputs of a line of shell.
    async fn shell(&self, line: &str) -> (Option<i64>, String, String) {
        let ran = self.post("exec", json!({"shell": line})).await.ok(200);
        let text = |name: &str| ran[name]["text"].as_str().expect("its output is text").to_owned();
        (ran["command"]["exit"]["code"].as_i64(), text("stdout"), text("stderr"))
    }
}

/// Looks, runs the tests, sees them fail, searches, repairs and runs them again, with what the answers say.
async fn repair(target: Target) {
    let project = Project::empty(&target, "tools", super::IDLE).await;
    let admin = Caller::admin(&project);
    let test = "set -eu; . ./total.sh; got=$(total 40 2); [ $got = 42 ] || { echo want 42, got $got >&2; exit 1; }";
    for (path, content) in [
        ("apps/web/total.sh", "total() {\n  echo $(($1 - $2))\n}\n"),
        ("apps/web/test.sh", test),
        ("apps/api.env", "PASSWORD=hunter2\n"),
    ] {
        let written = admin.put(&format!("files/{path}"), content).await;
        assert!(written.status.is_success(), "{written:?}");
    }
    let agent = Caller::of_folder(&project, "apps/web").await;
    let listed = agent.get("list?depth=2").await.ok(200);
    let entries = listed["entries"].as_array().expect("a list of entries");
    let names: Vec<_> = entries.iter().filter_map(|entry| entry["path"].as_str()).collect();
    assert_eq!(names, ["test.sh", "total.sh"], "the folder is its world");

    let found = agent.post("glob", json!({"patterns": ["**/t*.sh"]})).await.ok(200);
    assert_eq!(found["total"], 2, "{found}");
    let (code, _, errors) = agent.shell("sh test.sh").await;
    assert!(code == Some(1) && errors.contains("want 42, got 38"), "{code:?} {errors}");
    let found = agent.post("grep", json!({"pattern": r"\$1 . \$2"})).await.ok(200);
    assert_eq!((&found["results"][0]["path"], &found["results"][0]["line"]), (&json!("total.sh"), &json!(2)));
    let read = agent.get("files/total.sh").await.ok(200);
    let change = |old: &str| {
        json!({"edits": [{
            "path": "total.sh", "ifMatch": read["etag"], "changes": [{"old": old, "new": "$1 + $2"}],
        }]})
    };
    assert_eq!(agent.post("edit", change("$1 -- $2")).await.refusal(), (409, "EDIT_NO_MATCH".to_owned()));
    let fixed = agent.post("edit", change("$1 - $2")).await.ok(200);
    assert!(fixed["files"][0]["diff"].as_str().is_some_and(|diff| diff.contains("+  echo $(($1 + $2))")), "{fixed}");
    let (code, _, errors) = agent.shell("sh test.sh").await;
    assert_eq!(code, Some(0), "{errors}");

    for path in ["files/../api.env", "list?path=..", "files/%2e%2e/api.env"] {
        let refused = agent.get(path).await;
        assert!(refused.status.is_client_error() && !text(&refused).contains("hunter2"), "{path}: {refused:?}");
    }
    let other = Project::named(&target, "none");
    let elsewhere = Caller { project: &other, credential: agent.credential.clone() };
    assert_eq!(elsewhere.get("list").await.refusal(), (403, "PROJECT_MISMATCH".to_owned()));
    assert_eq!(project.shell("cat apps/api.env").await, "PASSWORD=hunter2\n");
    project.remove().await;
}

fn text(answer: &Answer) -> String {
    String::from_utf8_lossy(&answer.body).into_owned()
}

/// Every way out of the folder, of the container and into the cluster ends in a refusal by the kernel.
async fn kept(target: Target) {
    let project = Project::empty(&target, "kept", super::IDLE).await;
    project.shell("mkdir -p in out && echo hunter2 > out/secret && echo own > in/own").await;
    project.shell("ln -s ../out/secret in/link && ln -s ../out in/folder").await;
    let agent = Caller::of_folder(&project, "in").await;
    let (code, printed, errors) =
        agent.shell("cat own && echo new > made && cat made && t=$(mktemp) && echo x > $t").await;
    assert!(code == Some(0) && printed == "own\nnew\n", "what it is for works: {code:?} {printed} {errors}");
    let outside = [
        "cat ../out/secret",
        "cat link",
        "cat folder/secret",
        "ls ..",
        "echo x > ../out/secret",
        "echo x > folder/new",
        "mv ../out/secret stolen",
        "ln ../out/secret stolen",
        "rm ../out/secret",
        "ls /home /var",
        "cat /proc/1/environ",
        "ls /run/remora",
        "ls /volume",
        "kill -9 1",
        "unshare -rm true",
        "python3 -c \"import socket; socket.create_connection(('127.0.0.1', 7070))\"",
        "python3 -c \"import socket; socket.socket(socket.AF_INET, socket.SOCK_DGRAM)\"",
        "python3 -c \"import socket; socket.socket(socket.AF_UNIX)\"",
    ];
    for attempt in outside {
        let (code, printed, errors) = agent.shell(attempt).await;
        assert_ne!(code, Some(0), "{attempt}: {printed}");
        assert!(!printed.contains("hunter2"), "{attempt}: {printed}");
        assert!(!errors.is_empty(), "{attempt}: it is said");
    }
    assert_eq!(project.shell("cat out/secret; ls out; ls in").await, "hunter2\nsecret\nfolder\nlink\nmade\nown\n");
    project.remove().await;
}

async fn terminal(target: Target) {
    let project = Project::empty(&target, "tty", super::IDLE).await;
    let caller = Caller::admin(&project);
    let wanted = json!({"argv": ["sh"], "columns": 100, "rows": 30});
    let id = caller.post("terminals", wanted).await.ok(201)["id"].as_str().expect("it has an id").to_owned();
    let (caller, id) = (&caller, id.as_str());
    let type_keys = async |text: &str| {
        caller.post(&format!("terminals/{id}/input"), json!({"text": text})).await.ok(200);
    };
    let shows = async |wanted: &'static str| {
        eventually(|| async move {
            let screen = caller.get(&format!("terminals/{id}/screen")).await.ok(200);
            let there = screen["lines"].as_array().into_iter().flatten().any(|line| line == wanted);
            seen(there, || format!("no line {wanted:?}: {screen:#}"))
        })
        .await;
    };
    type_keys("stty size\r").await;
    shows("30 100").await;
    caller.post(&format!("terminals/{id}/resize"), json!({"columns": 90, "rows": 20})).await.ok(200);
    type_keys("stty size\r").await;
    shows("20 90").await;
    let closed = caller.delete(&format!("terminals/{id}")).await.ok(200);
    assert!(closed["terminal"]["exit"].is_object(), "{closed}");
    assert_eq!(caller.get(&format!("terminals/{id}")).await.refusal(), (404, "NOT_FOUND".to_owned()));
    project.remove().await;
}

async fn asleep(target: Target) {
    let project = Project::empty(&target, "asleep", super::IDLE).await;
    project.verb("hibernate", &[]).await.ok();
    let caller = Caller::admin(&project);
    for answer in [caller.post("exec", json!({"argv": ["true"]})).await, caller.get("list").await] {
        assert_eq!(answer.refusal(), (503, "PROJECT_NOT_READY".to_owned()));
        let hint = answer.json()["hint"].as_str().unwrap_or_default().to_owned();
        assert!(hint.contains(&format!("remora start {}", project.name)), "{answer:?}");
    }
    // What is on its way says when to come back.
    project.verb("wake", &["--no-wait"]).await.ok();
    let answer = caller.get("list").await;
    if answer.status != 200 {
        assert_eq!(answer.refusal(), (503, "PROJECT_NOT_READY".to_owned()));
        assert!(answer.headers.contains_key("retry-after"), "{answer:?}");
    }
    project.remove().await;
}

/// Whichever replica served it: who, what and how it ended, and never what was in it.
async fn recorded(target: Target) {
    let project = Project::empty(&target, "audit", super::IDLE).await;
    project.shell("mkdir notes").await;
    let id = project.status().await["id"].clone();
    let agent = Caller::of_folder(&project, "notes").await;
    let answer = agent.put("files/note.txt", "hunter2").await;
    assert!(answer.status.is_success(), "{answer:?}");
    let call = answer.headers["x-request-id"].to_str().expect("an id is text").to_owned();
    let record = eventually(|| async {
        let selector = "app.kubernetes.io/component=control-plane";
        let logs = ["logs", "--namespace", &target.namespace, "--selector", selector, "--tail=-1", "--prefix=false"];
        let logs = cluster::kubectl(&logs, "").await.unwrap_or_else(|said| panic!("{said}"));
        let lines: Vec<_> = logs.lines().filter(|line| line.contains(&call) && line.contains("\"surface\"")).collect();
        assert!(lines.len() < 2, "one record: {lines:#?}");
        lines.first().map(|line| (*line).to_owned()).ok_or_else(|| format!("no record of {call}"))
    })
    .await;
    assert!(!record.contains("hunter2"), "{record}");
    let record: Value = serde_json::from_str(&record).expect("a record is JSON");
    assert_eq!(
        (&record["surface"], &record["verb"], &record["outcome"], &record["project"]),
        (&json!("rest"), &json!("file.write"), &json!("ok"), &id),
        "{record}"
    );
    assert!(record["target"].to_string().contains("note.txt") && record["caller"] == "repair-bot", "{record}");
    project.remove().await;
}
