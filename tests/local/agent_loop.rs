//! F10: an AI agent's tools over plain HTTP, with a token for one folder; and that
//! this token reaches nothing else.

use std::{
    fs,
    os::unix::{fs::symlink, net::UnixListener},
};

use remora_tests::{agent::PATIENCE, server::ServerProcess};
use serde_json::{Value, json};

use crate::{
    data::{Rest, ok, refusal, socket},
    running::{run, workspace},
    tokens::mint,
};

/// What an agent that repairs a folder needs, and nothing more.
fn for_folder(folder: &str) -> Value {
    json!({
        "verbs": ["file.read", "file.write", "exec.write", "exec.read", "terminal.write", "terminal.read"],
        "pathPrefix": folder,
        "subject": "agent",
    })
}

/// Read, search, run the tests, see them fail, repair, run them again: as a model does it, with what the answers say.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn f10_a_tool_loop_repairs_a_folder_with_a_token_for_it() {
    let server = ServerProcess::start().await;
    let project = run(&server, "shop").await;
    let tree = workspace(&server, &project);
    let web = tree.join("apps/web");
    fs::create_dir_all(web.join("src")).unwrap();
    fs::write(tree.join("apps/api.env"), "PASSWORD=hunter2").unwrap();
    fs::write(web.join("src/total.sh"), "# Adds up.\ntotal() {\n  echo $(($1 - $2))\n}\n").unwrap();
    let test = "#!/bin/sh\nset -eu\n. ./src/total.sh\ngot=$(total 40 2)\n[ \"$got\" = 42 ] || { echo \"total 40 2: want 42, got $got\" >&2; exit 1; }\necho passed > report\necho ok\n";
    fs::write(web.join("test.sh"), test).unwrap();
    let (token, _) = mint(&server, "shop", for_folder("apps/web")).await;
    let rest = Rest { server: &server, key: token, project: "shop".to_owned() };

    // The folder is its world: paths count from it.
    let listed = ok(rest.get("list?depth=2").await, 200);
    let names: Vec<_> =
        listed["entries"].as_array().unwrap().iter().map(|entry| entry["path"].as_str().unwrap()).collect();
    assert_eq!(names, ["src", "src/total.sh", "test.sh"]);

    let ran = ok(rest.post("exec", json!({"argv": ["sh", "test.sh"]})).await, 200);
    assert_eq!(ran["command"]["exit"]["code"], 1, "{ran}");
    assert!(ran["stderr"]["text"].as_str().unwrap().contains("want 42, got 38"), "{ran}");
    let found = ok(rest.post("grep", json!({"pattern": r"\$1 . \$2"})).await, 200);
    assert_eq!(
        (found["results"][0]["path"].as_str(), found["results"][0]["line"].as_u64()),
        (Some("src/total.sh"), Some(3))
    );
    let read = ok(rest.get("files/src/total.sh?line=1&numbered=true").await, 200);
    assert!(read["text"].as_str().unwrap().contains("echo $(($1 - $2))"), "{read}");

    // A wrong guess says what is near and writes nothing.
    let guess = json!({"edits": [{"path": "src/total.sh", "changes": [{"old": "echo $(( $1 - $2 ))", "new": "x"}]}]});
    let refused = rest.post("edit", guess).await;
    assert_eq!(refusal(&refused), (409, "EDIT_NO_MATCH".to_owned()));
    assert!(!refused.json()["hint"].as_str().unwrap_or_default().is_empty(), "{:?}", refused.json());
    let fix = json!({"edits": [{
        "path": "src/total.sh",
        "ifMatch": read["etag"],
        "changes": [{"old": "$1 - $2", "new": "$1 + $2"}],
    }]});
    let fixed = ok(rest.post("edit", fix).await, 200);
    assert!(fixed["files"][0]["diff"].as_str().unwrap().contains("+  echo $(($1 + $2))"), "{fixed}");
    let ran = ok(rest.post("exec", json!({"argv": ["sh", "test.sh"], "idempotencyKey": "again"})).await, 200);
    assert_eq!(
        (ran["command"]["exit"]["code"].as_i64(), ran["stdout"]["text"].as_str()),
        (Some(0), Some("ok\n")),
        "{ran}"
    );
    assert_eq!(fs::read_to_string(web.join("report")).unwrap(), "passed\n", "what it runs writes in its folder");
    server.check_log(&[]);
}

/// Every way out that a command could try. Each ends in a refusal by the kernel, and what is outside is untouched.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn f10_what_runs_for_a_folder_reaches_nothing_else() {
    let server = ServerProcess::start().await;
    let project = run(&server, "a").await;
    let tree = workspace(&server, &project);
    fs::create_dir_all(tree.join("in")).unwrap();
    fs::create_dir_all(tree.join("out/below")).unwrap();
    fs::write(tree.join("out/secret"), "hunter2").unwrap();
    fs::write(tree.join("in/own"), "own").unwrap();
    symlink("../out/secret", tree.join("in/link")).unwrap();
    symlink(tree.join("out"), tree.join("in/folder")).unwrap();
    // Somebody else in the container: a process, and a socket that would do what it is told.
    let admin = Rest::admin(&server, "a");
    let other = json!({"shell": "echo $$ > other.pid; TOKEN=hunter2 exec sleep 600", "background": true});
    ok(admin.post("exec", other).await, 202);
    let pid = remora_tests::eventually::eventually_told(async || {
        fs::read_to_string(tree.join("other.pid")).ok().filter(|text| text.ends_with('\n'))
    })
    .await;
    let pid = pid.trim();
    let _listener = UnixListener::bind(tree.join("in/socket")).unwrap();
    let before = fs::metadata(tree.join("out/secret")).unwrap();

    let (token, _) = mint(&server, "a", for_folder("in")).await;
    let rest = Rest { server: &server, key: token, project: "a".to_owned() };
    let out = tree.join("out");
    let out = out.to_str().unwrap();
    let data = server.folder().join("data");
    let data = data.to_str().unwrap();
    let shell = async |line: &str| {
        let ran = ok(rest.post("exec", json!({"shell": line})).await, 200);
        let text = |name: &str| ran[name]["text"].as_str().unwrap().to_owned();
        (ran["command"]["exit"]["code"].as_i64(), text("stdout"), text("stderr"))
    };
    // What it is for works: its own files, programs, pipes, a temporary folder, background jobs.
    let (code, printed, errors) = shell(
        "cat own && echo new > made && mkdir -p a/b && mv made a/b/ && ln -s own l && cat a/b/made && t=$(mktemp) && \
         echo x > $t && cat $t && (sleep 0.1 & wait) && pwd && ls -a ~ > /dev/null && rm -r a l",
    )
    .await;
    assert_eq!(code, Some(0), "{printed} {errors}");
    assert!(
        printed.starts_with("ownnew\nx\n") && printed.trim_end().trim_end_matches('/').ends_with("/in"),
        "{printed}"
    );

    // Before what serves them where memory runs out, as programs do that are not kept in a folder.
    let own: i64 = fs::read_to_string("/proc/self/oom_score_adj").unwrap().trim().parse().unwrap();
    let (code, points, _) = shell("cat /proc/self/oom_score_adj").await;
    assert!(code == Some(0) && points.trim().parse::<i64>().unwrap() > own, "{code:?} {points}");

    for attempt in [
        format!("cat {out}/secret"),
        "cat ../out/secret".to_owned(),
        "cat link".to_owned(),
        "cat folder/secret".to_owned(),
        format!("ls {out}"),
        "ls ..".to_owned(),
        format!("cat {data}/admin-key"),
        format!("ls {data}"),
        "echo x > ../out/secret".to_owned(),
        "echo x > ../out/new".to_owned(),
        "echo x > folder/new".to_owned(),
        "mkdir ../out/new".to_owned(),
        "rm ../out/secret".to_owned(),
        "rmdir ../out/below".to_owned(),
        "mv ../out/secret stolen".to_owned(),
        "mv own ../out/new".to_owned(),
        "ln ../out/secret stolen".to_owned(),
        "ln own ../out/new".to_owned(),
        "chmod 777 ../out/secret".to_owned(),
        "touch -d 2001-01-01 ../out/secret".to_owned(),
        "cp ../out/secret stolen".to_owned(),
        "cp own ../out/new".to_owned(),
        "mknod device c 1 1".to_owned(),
        format!("cat /proc/{pid}/environ"),
        format!("cat /proc/{pid}/cwd/out/secret"),
        format!("cat /proc/{pid}/root/etc/shadow"),
        format!("kill -9 {pid}"),
        "cat /etc/shadow".to_owned(),
        "ls /root /home /run /var".to_owned(),
        "echo x > /tmp/remora-outside".to_owned(),
        "ls /tmp".to_owned(),
        "unshare -rm true".to_owned(),
        "chroot . true".to_owned(),
    ] {
        let (code, printed, errors) = shell(&attempt).await;
        assert_ne!(code, Some(0), "{attempt}: {printed}");
        assert!(!printed.contains("hunter2") && !printed.contains("root:"), "{attempt}: {printed}");
        assert!(!errors.is_empty(), "{attempt}: it is said");
    }
    // The kernel calls it a success that all of nobody was ended.
    shell("kill -9 -1").await;
    // Sockets, with whatever can speak them here.
    for program in [
        "import socket; s = socket.socket(socket.AF_UNIX); s.connect('socket')",
        "import socket; socket.create_connection(('127.0.0.1', 1))",
        "import socket; socket.socket(socket.AF_INET, socket.SOCK_DGRAM)",
        "import os; os.setxattr('../out/secret', 'user.a', b'1')",
        "import os; os.utime('../out/secret', (1, 1))",
        "import os; os.chmod('../out/secret', 0)",
        "import resource; resource.prlimit(PID, resource.RLIMIT_NOFILE, (0, 0))",
    ] {
        let program = program.replace("PID", pid);
        let ran = ok(rest.post("exec", json!({"argv": ["python3", "-c", program]})).await, 200);
        assert_eq!(ran["command"]["exit"]["code"], 1, "{program}: {ran}");
        let said = ran["stderr"]["text"].as_str().unwrap();
        assert!(said.contains("PermissionError"), "{program}: {said}");
    }
    // Neither its environment nor its descriptors are the container's.
    let (_, printed, _) = shell("env; ls /proc/self/fd").await;
    assert!(!printed.contains("SHELL=") && !printed.contains("hunter2"), "{printed}");
    let after = fs::metadata(tree.join("out/secret")).unwrap();
    assert_eq!(fs::read(tree.join("out/secret")).unwrap(), b"hunter2");
    assert_eq!((before.modified().unwrap(), before.permissions()), (after.modified().unwrap(), after.permissions()));
    assert_eq!(fs::read_dir(tree.join("out")).unwrap().count(), 2);
    assert!(!tree.join("in/stolen").exists() && std::path::Path::new(&format!("/proc/{pid}")).exists());
}

/// Files, searches, watches, archives: the same token at the agent's other doors.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn f10_files_of_a_token_for_a_folder_are_those_of_the_folder() {
    let server = ServerProcess::start().await;
    let project = run(&server, "a").await;
    let tree = workspace(&server, &project);
    for folder in ["in", "out"] {
        fs::create_dir(tree.join(folder)).unwrap();
        fs::write(tree.join(folder).join("needle.txt"), "needle").unwrap();
    }
    symlink("../out", tree.join("in/folder")).unwrap();
    let (token, _) = mint(&server, "a", for_folder("in")).await;
    let rest = Rest { server: &server, key: token, project: "a".to_owned() };
    let found = ok(rest.post("grep", json!({"pattern": "needle", "noIgnoreRules": true})).await, 200);
    assert_eq!(found["matches"], 1, "{found}");
    let found =
        ok(rest.post("glob", json!({"patterns": ["**/needle.txt", "../**", "/**"], "ignoreRules": false})).await, 200);
    let paths: Vec<_> =
        found["entries"].as_array().unwrap().iter().map(|entry| entry["path"].as_str().unwrap()).collect();
    assert_eq!(paths, ["folder", "needle.txt"], "a link is told and not followed");
    for (call, body) in [
        ("grep", json!({"pattern": "needle", "path": "folder"})),
        ("grep", json!({"pattern": "needle", "path": "../out"})),
        ("glob", json!({"patterns": ["*"], "path": "folder"})),
        ("move", json!({"from": "needle.txt", "to": "../out/moved"})),
        ("move", json!({"from": "../out/needle.txt", "to": "moved"})),
        ("move", json!({"from": "needle.txt", "to": "folder/moved"})),
        ("copy", json!({"from": "folder/needle.txt", "to": "copied"})),
        ("mkdir", json!({"path": "folder/made"})),
        ("edit", json!({"edits": [{"path": "folder/needle.txt", "changes": [{"old": "needle", "new": "x"}]}]})),
    ] {
        let answer = rest.post(call, body.clone()).await;
        assert!(
            ["PATH_ESCAPES_ROOT", "PATH_INVALID"].contains(&refusal(&answer).1.as_str()),
            "{call} {body}: {answer:?}"
        );
    }
    for path in [
        "changes?path=../out",
        "changes?path=folder",
        "list?path=folder",
        "list?path=../out",
        "files/folder/needle.txt",
    ] {
        let answer = rest.get(path).await;
        assert!(["PATH_ESCAPES_ROOT", "PATH_INVALID"].contains(&refusal(&answer).1.as_str()), "{path}: {answer:?}");
    }
    assert_eq!(fs::read_dir(tree.join("out")).unwrap().count(), 1);
    // What is about the whole workspace is not for such a token, however it is asked for.
    let wanted = json!({"verbs": ["snapshot.create"], "pathPrefix": "in"});
    assert_eq!(refusal(&Rest::admin(&server, "a").post("tokens", wanted).await), (400, "INVALID_ARGUMENT".to_owned()));
    // The folder is gone, or a link in its place: nothing, and it says so.
    fs::rename(tree.join("in"), tree.join("elsewhere")).unwrap();
    assert_eq!(refusal(&rest.get("list").await), (404, "NOT_FOUND".to_owned()));
    assert_eq!(refusal(&rest.post("exec", json!({"argv": ["true"]})).await), (404, "NOT_FOUND".to_owned()));
    symlink("out", tree.join("in")).unwrap();
    let through = ok(rest.get("list").await, 200);
    assert_eq!(through["entries"].as_array().unwrap().len(), 1, "a link within the workspace is the owner's to set");
    fs::remove_file(tree.join("in")).unwrap();
    symlink(server.folder(), tree.join("in")).unwrap();
    for answer in [rest.get("list").await, rest.post("exec", json!({"argv": ["true"]})).await] {
        assert_eq!(refusal(&answer), (403, "PATH_ESCAPES_ROOT".to_owned()));
    }
}

/// Sessions of others are not there for such a token: it could type into a shell that nothing keeps in.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn f10_sessions_of_others_are_not_there_for_a_token_for_a_folder() {
    let server = ServerProcess::start().await;
    let project = run(&server, "a").await;
    let tree = workspace(&server, &project);
    fs::create_dir_all(tree.join("in")).unwrap();
    fs::create_dir_all(tree.join("in2")).unwrap();
    fs::write(tree.join("secret"), "hunter2").unwrap();
    let admin = Rest::admin(&server, "a");
    let theirs = ok(admin.post("terminals", json!({"argv": ["cat", "secret", "-"]})).await, 201)["id"].clone();
    let theirs = theirs.as_str().unwrap();
    let command = json!({"argv": ["cat", "secret", "-"], "background": true, "openStdin": true});
    let running = ok(admin.post("exec", command).await, 202)["command"]["id"].clone();
    let running = running.as_str().unwrap();
    let (neighbour, _) = mint(&server, "a", for_folder("in2")).await;
    let neighbour = Rest { server: &server, key: neighbour, project: "a".to_owned() };
    let (token, _) = mint(&server, "a", for_folder("in")).await;
    let rest = Rest { server: &server, key: token, project: "a".to_owned() };
    let own = ok(rest.post("terminals", json!({"argv": ["sh"]})).await, 201);
    let own = own["id"].as_str().unwrap();
    for (who, terminal) in [(&rest, theirs), (&neighbour, theirs), (&neighbour, own)] {
        for answer in [
            who.get(&format!("terminals/{terminal}")).await,
            who.get(&format!("terminals/{terminal}/screen")).await,
            who.post(&format!("terminals/{terminal}/input"), json!({"text": "x\r"})).await,
            who.post(&format!("terminals/{terminal}/resize"), json!({"columns": 1, "rows": 1})).await,
            who.post(&format!("terminals/{terminal}/signal"), json!({"signal": 9})).await,
            who.delete(&format!("terminals/{terminal}")).await,
        ] {
            assert_eq!(refusal(&answer), (404, "NOT_FOUND".to_owned()));
        }
        for mode in ["viewer", "takeover"] {
            let query = format!("mode={mode}&from=scrollback");
            assert_eq!(socket::refused(who, terminal, &query, &[]).await, (404, "NOT_FOUND".to_owned()));
        }
    }
    for answer in [
        rest.get(&format!("commands/{running}")).await,
        rest.get(&format!("commands/{running}/output?stream=stdout")).await,
        rest.post(&format!("commands/{running}/stdin"), json!({"text": "x"})).await,
        rest.post(&format!("commands/{running}/signal"), json!({"signal": 9})).await,
    ] {
        assert_eq!(refusal(&answer), (404, "NOT_FOUND".to_owned()));
    }
    let ids = |list: Value, name: &str| {
        list[name].as_array().unwrap().iter().map(|one| one["id"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(ids(ok(rest.get("terminals").await, 200), "terminals"), [own]);
    assert!(ids(ok(rest.get("commands").await, 200), "commands").is_empty());
    assert_eq!(ids(ok(admin.get("terminals").await, 200), "terminals").len(), 2);
    // Its own terminal is whole, and kept in the folder.
    let mut socket = socket::Socket::attach(&rest, own, "mode=writer&from=scrollback").await;
    socket.send_binary(b"cat ../secret; echo \"end $?\"\r").await;
    let finished = socket.until(|output, _| String::from_utf8_lossy(output).contains("end 1"));
    tokio::time::timeout(PATIENCE, finished).await.unwrap();
    assert!(!String::from_utf8_lossy(&socket.output).contains("hunter2"));
}
