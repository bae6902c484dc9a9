//! The command line against projects that run.

use std::{
    fs,
    io::{Read as _, Write as _},
    net::{TcpListener, TcpStream},
    process::Stdio,
};

use remora_tests::{
    cli::Cli,
    eventually::{eventually, eventually_told},
    server::{ServerProcess, processes_of},
    tree,
};
use rustix::process::{Signal, kill_process};
use serde_json::Value;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use super::admin;
use crate::running::{agent_of, get};

/// A server with the project `web`, made of the folder `site`, that runs `command`.
pub(super) async fn running(command: &str, flags: &[&str]) -> (ServerProcess, Cli) {
    let server = ServerProcess::start().await;
    let cli = admin(&server);
    fs::create_dir(cli.folder().join("site")).unwrap();
    fs::write(cli.folder().join("site/index.html"), "hello").unwrap();
    fs::create_dir(cli.folder().join("site/left-out")).unwrap();
    fs::write(cli.folder().join("site/left-out/x"), "x").unwrap();
    fs::write(cli.folder().join("site/.remoraignore"), "left-out\n").unwrap();
    let mut args = vec!["up", "site", "--name", "web", "--cmd", command];
    args.extend_from_slice(flags);
    let up = cli.run(&args).await;
    assert_eq!(up.code, 0, "{}", up.stderr);
    assert!(up.text().starts_with("web: Ready") && up.text().contains("next: remora sh web"), "{}", up.text());
    (server, cli)
}

pub(super) fn workspace(server: &ServerProcess) -> std::path::PathBuf {
    let project = fs::read_dir(server.folder().join("data/projects")).unwrap().next().unwrap().unwrap();
    project.path().join("workspace")
}

/// Archives that projects began with and that are still there.
fn archives(server: &ServerProcess) -> Vec<String> {
    let project = workspace(server).parent().unwrap().to_owned();
    let names = fs::read_dir(project).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
    names.filter(|name| name.starts_with("source-")).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_folder_becomes_a_server_that_sleeps_and_wakes() {
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let command = format!("exec python3 -m http.server {port} --bind 127.0.0.1");
    let (server, cli) = running(&command, &["--port", &port.to_string(), "--env", "COLOUR=blue"]).await;
    let get = || {
        let mut stream = TcpStream::connect(("127.0.0.1", port)).ok()?;
        write!(stream, "GET / HTTP/1.0\r\n\r\n").ok()?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).ok()?;
        answer.ends_with("hello").then_some(())
    };
    eventually(get).await;
    let status: Value = serde_json::from_str(&cli.run(&["status", "web", "-o", "json"]).await.ok()).unwrap();
    assert_eq!(status["status"]["endpoints"][0]["url"], format!("http://127.0.0.1:{port}"));
    assert_eq!(status["status"]["endpoints"][0]["portName"], format!("port-{port}"));
    assert!(!workspace(&server).join("left-out").exists(), ".remoraignore was not minded");
    assert_eq!(archives(&server), [""; 0], "a snapshot holds what was sent, and the archive is still there");

    // The same again changes nothing.
    let port_flag = port.to_string();
    let same = ["up", "site", "--name", "web", "--cmd", &command, "--port", &port_flag, "--env", "COLOUR=blue"];
    let again = cli.run(&same).await;
    assert!(again.code == 0 && again.stderr.contains("is there already"), "{again:?}");
    assert!(!again.stderr.contains("changed"), "{}", again.stderr);
    let after: Value = serde_json::from_str(&cli.run(&["status", "web", "-o", "json"]).await.ok()).unwrap();
    assert_eq!((&after["spec"], &after["status"]["generation"]), (&status["spec"], &1.into()));

    let before = tree::record(&workspace(&server)).unwrap();
    cli.run(&["stop", "web"]).await.ok();
    assert!(TcpStream::connect(("127.0.0.1", port)).is_err(), "it serves after stop");
    assert!(workspace(&server).exists());
    cli.run(&["start", "web"]).await.ok();
    eventually(get).await;

    let slept = cli.run(&["hibernate", "web"]).await.ok();
    assert!(slept.starts_with("web: Hibernated, snapshot "), "{slept}");
    assert!(!workspace(&server).exists(), "the working tree is there after hibernate");
    let woken = cli.run(&["wake", "web", "-o", "json"]).await.ok();
    let woken: Value = serde_json::from_str(&woken).unwrap();
    assert_eq!(woken["status"]["phase"], "Ready");
    eventually(get).await;
    assert_eq!(tree::record(&workspace(&server)).unwrap(), before);

    assert!(cli.run(&["rm", "web", "--yes"]).await.ok().contains("deleted"));
    assert_eq!(cli.run(&["ls", "-o", "name"]).await.ok(), "");
    assert!(!server.folder().join("data/projects").read_dir().unwrap().any(|_| true), "its folder is there");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_command_has_its_own_streams_and_exit_code() {
    let (_server, cli) = running("exec sleep 100000", &[]).await;
    let shell = |script: &'static str| ["exec", "web", "--", "sh", "-c", script];
    let ran = cli.fed(&shell("cat; echo oops >&2; exit 3"), b"a\0b\xff").await;
    assert_eq!((ran.code, ran.stdout.as_slice(), ran.stderr.as_str()), (3, &b"a\0b\xff"[..], "oops\n"));
    for (script, code) in [("exit 0", 0), ("exit 255", 255), ("kill -9 $$", 137), ("kill -15 $$", 143)] {
        assert_eq!(cli.run(&shell(script)).await.code, code, "{script}");
    }
    assert_eq!(cli.run(&["exec", "web", "--timeout", "1", "--", "sleep", "1000"]).await.code, 124);
    assert_eq!(cli.run(&["exec", "web", "--", "no-such-program"]).await.code, 127);
    cli.run(&["exec", "web", "--", "./index.html"]).await.refused(126, "index.html");
    cli.run(&["exec", "web", "-C", "no/where", "--", "true"]).await.refused(125, "no/where");
    cli.run(&["exec", "web", "-c", "other", "--", "true"]).await.refused(125, "other");
    assert_eq!(cli.run(&["exec", "web", "--env", "A=b c", "--", "printenv", "A"]).await.ok(), "b c\n");
    // No shell reads the words.
    assert_eq!(cli.run(&["exec", "web", "--", "echo", "$HOME", "a  b", "*"]).await.ok(), "$HOME a  b *\n");

    // A lot through both pipes, byte for byte.
    let input: Vec<u8> = (0..3_000_000_u32).map(|n| (n.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
    let ran = cli.fed(&["exec", "web", "--", "cat"], &input).await;
    assert!(ran.code == 0 && ran.stdout == input, "{} bytes came back: {}", ran.stdout.len(), ran.stderr);

    // A reader that leaves ends the command as it would here.
    let mut child = cli.command(&["exec", "web", "--", "yes"]).spawn().unwrap();
    let mut stdout = child.stdout.take().unwrap();
    tokio::io::AsyncReadExt::read_exact(&mut stdout, &mut [0; 10]).await.unwrap();
    drop(stdout);
    assert_eq!(child.wait().await.unwrap().code(), Some(141));
}

#[tokio::test(flavor = "multi_thread")]
async fn snapshots_are_made_compared_verified_restored_and_pruned() {
    let (_server, cli) = running("exec sleep 100000", &[]).await;
    let create = async |label: &str| {
        let made = cli.run(&["snapshot", "create", "web", "--label", label, "-o", "json"]).await.ok();
        let made: Value = serde_json::from_str(&made).unwrap();
        made["id"].as_str().unwrap().to_owned()
    };
    let first = create("n=1").await;
    assert_eq!(cli.run(&["snapshot", "diff", "web", &first]).await.ok(), "");
    cli.fed(&["fs", "write", "web", "new"], b"new").await.ok();
    cli.run(&["fs", "rm", "web", "index.html"]).await.ok();
    let differs = cli.run(&["snapshot", "diff", "web", &first, "-o", "json"]).await.ok();
    let differs: Value = serde_json::from_str(&differs).unwrap();
    let changes: Vec<_> = differs.as_array().unwrap().iter().map(|one| (&one["change"], &one["path"])).collect();
    assert!(changes.contains(&(&"added".into(), &"new".into())), "{differs}");
    assert!(changes.contains(&(&"removed".into(), &"index.html".into())), "{differs}");
    let second = create("n=2").await;

    let names = cli.run(&["snapshot", "ls", "web", "-o", "name"]).await.ok();
    assert!(names.contains(&first) && names.contains(&second), "{names}");
    assert!(cli.run(&["snapshot", "verify", "web", &first, "--read-contents"]).await.ok().contains("whole"));

    let restored = cli.run(&["snapshot", "restore", "web", &first, "-o", "json"]).await.ok();
    let restored: Value = serde_json::from_str(&restored).unwrap();
    assert_eq!(cli.run(&["fs", "read", "web", "index.html"]).await.ok(), "hello");
    cli.run(&["fs", "read", "web", "new"]).await.refused(66, "new");
    // What was there before is a snapshot too.
    cli.run(&["snapshot", "restore", "web", restored["before"].as_str().unwrap()]).await.ok();
    assert_eq!(cli.run(&["fs", "read", "web", "new"]).await.ok(), "new");

    let would = cli.run(&["snapshot", "prune", "web", "--keep-last", "1", "--dry-run", "-o", "json"]).await.ok();
    let would: Value = serde_json::from_str(&would).unwrap();
    assert!(would["removed"].as_array().unwrap().contains(&first.as_str().into()), "{would}");
    cli.run(&["snapshot", "prune", "web", "--keep-last", "1"]).await.ok();
    assert_eq!(cli.run(&["snapshot", "ls", "web", "-o", "name"]).await.ok().lines().count(), 1);
    cli.run(&["snapshot", "verify", "web", &first]).await.refused(66, &first);
}

/// A command goes on while its server and its agent are killed; what it is fed
/// and what it prints comes once, and how it ends arrives.
#[tokio::test(flavor = "multi_thread")]
async fn a_command_goes_on_when_its_server_or_its_agent_is_killed() {
    let (mut server, cli) = running("exec sleep 100000", &[]).await;
    let address = server.url.trim_start_matches("http://").to_owned();
    let mut command = cli.command(&["exec", "web", "--", "sh", "-c", "cat; echo end >&2; exit 7"]);
    let mut child = command.stdin(Stdio::piped()).spawn().unwrap();
    let (mut stdin, mut stdout) = (child.stdin.take().unwrap(), child.stdout.take().unwrap());
    let part = |number: u8| -> Vec<u8> { (0..600_000_u32).map(|at| (at % 251) as u8 ^ number).collect() };
    for number in 0..3 {
        let (sent, mut echoed) = (part(number), vec![0; 600_000]);
        let feed = async { stdin.write_all(&sent).await.unwrap() };
        tokio::join!(feed, async { stdout.read_exact(&mut echoed).await.unwrap() });
        assert!(echoed == sent, "part {number} is not what was sent");
        if number == 0 {
            server.kill().await;
            server.restart_at(&address).await;
        } else if number == 1 {
            let project = get(&server, "web").await;
            kill_process(agent_of(&server, &project), Signal::KILL).unwrap();
        }
    }
    drop(stdin);
    let mut rest = Vec::new();
    stdout.read_to_end(&mut rest).await.unwrap();
    let output = child.wait_with_output().await.unwrap();
    assert_eq!((rest, output.status.code()), (Vec::new(), Some(7)), "{}", String::from_utf8_lossy(&output.stderr));
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!(said.lines().filter(|line| *line == "end").count(), 1, "{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_of_a_project_is_left_behind() {
    let (server, cli) = running("sleep 100000 & exec sleep 100001", &[]).await;
    let mut child = cli.command(&["exec", "web", "--", "sleep", "100002"]).stdin(Stdio::null()).spawn().unwrap();
    let project = workspace(&server).parent().unwrap().to_owned();
    eventually(|| (processes_of(&project).len() > 2).then_some(())).await;
    cli.run(&["stop", "web"]).await.ok();
    assert_eq!(processes_of(&project), []);
    assert_ne!(child.wait().await.unwrap().code(), Some(0));
}

/// `up` of a project that is there changes what it names; the rest stays.
#[tokio::test(flavor = "multi_thread")]
async fn up_again_changes_what_it_names_and_says_what_a_start_is_needed_for() {
    let (server, cli) = running("echo $COLOUR >colour; exec sleep 100000", &["--env", "COLOUR=blue"]).await;
    let colour = || fs::read_to_string(workspace(&server).join("colour")).ok().filter(|text| !text.is_empty());
    let status =
        async || -> Value { serde_json::from_str(&cli.run(&["status", "web", "-o", "json"]).await.ok()).unwrap() };
    assert_eq!(eventually(colour).await, "blue\n");
    let up = cli.run(&["up", "site", "--name", "web", "--env", "COLOUR=red"]).await;
    assert!(up.code == 0 && up.stderr.contains("changed env of web"), "{up:?}");
    assert!(up.stderr.contains("goes on as it was started") && up.stderr.contains("--restart"), "{}", up.stderr);
    let current = |project: &Value| {
        let conditions = project["status"]["conditions"].as_array().unwrap();
        let condition = conditions.iter().find(|condition| condition["type"] == "SpecCurrent").unwrap();
        (condition["status"].as_bool().unwrap(), condition["reason"].as_str().unwrap().to_owned())
    };
    let changed = eventually_told(async || Some(status().await).filter(|project| !current(project).0)).await;
    assert_eq!(current(&changed).1, "RESTART_NEEDED");
    let container = &changed["spec"]["containers"][0];
    assert_eq!((&container["env"]["COLOUR"], &container["command"][0]), (&"red".into(), &"sh".into()));
    assert_eq!((changed["status"]["generation"].as_u64(), colour().as_deref()), (Some(1), Some("blue\n")));

    let anew = cli.run(&["up", "site", "--name", "web", "--restart"]).await;
    assert!(anew.code == 0 && !anew.stderr.contains("changed"), "{anew:?}");
    let anew = status().await;
    assert_eq!((&anew["status"]["generation"], current(&anew).0), (&2.into(), true));
    eventually(|| (colour()? == "red\n").then_some(())).await;
    // Its files are those it had.
    assert_eq!(cli.run(&["fs", "read", "web", "index.html"]).await.ok(), "hello");
}

/// A port belongs to one of the projects that run.
#[tokio::test(flavor = "multi_thread")]
async fn a_port_of_another_project_is_refused_by_name() {
    let (_server, cli) = running("exec sleep 100000", &["--port", "4711"]).await;
    let second = ["up", "--empty", "--name", "second", "--port", "4711"];
    let taken = cli.run(&second).await;
    taken.refused(73, "port 4711 is taken by project web");
    assert!(taken.stderr.contains("stop web"), "{}", taken.stderr);
    assert_eq!(cli.run(&["ls", "-o", "name"]).await.ok(), "web\n", "it was made all the same");

    cli.run(&["stop", "web"]).await.ok();
    cli.run(&second).await.ok();
    cli.run(&["start", "web"]).await.refused(73, "project second");
    cli.run(&["up", "site", "--name", "web", "--port", "4712"]).await.ok();
    cli.run(&["up", "site", "--name", "web", "--port", "4711"]).await.refused(73, "project second");
    let web: Value = serde_json::from_str(&cli.run(&["status", "web", "-o", "json"]).await.ok()).unwrap();
    assert_eq!(web["spec"]["containers"][0]["ports"][0]["port"], 4712);
}

/// A command that ends at once is told, with how, and does not hold up whoever waits.
#[tokio::test(flavor = "multi_thread")]
async fn a_command_that_has_ended_is_said() {
    let server = ServerProcess::start().await;
    let cli = admin(&server);
    let up = cli.run(&["up", "--empty", "--name", "web", "--cmd", "echo no such port >&2; exit 9"]).await;
    up.refused(69, "the command of dev has ended (exit 9), its last words: no such port");
    assert!(up.stderr.contains("remora up --name web --restart"), "{}", up.stderr);
    let sheet = cli.run(&["status", "web"]).await.ok();
    assert!(sheet.contains("phase        Degraded") && sheet.contains("exit 9"), "{sheet}");
    let doctor = cli.run(&["doctor"]).await.ok();
    assert!(doctor.contains("WARN projects") && doctor.contains("web"), "{doctor}");
    // What runs beside it works.
    assert_eq!(cli.run(&["exec", "web", "--", "echo", "hi"]).await.ok(), "hi\n");
    let missing = cli.run(&["up", "--empty", "--name", "none", "--", "no-such-program"]).await;
    missing.refused(69, "no-such-program");
}

/// A project that runs in every form, and its files there and back.
#[tokio::test(flavor = "multi_thread")]
async fn what_runs_is_shown_and_copied_in_every_form() {
    let (server, cli) = running("exec sleep 100000", &["--port", "http:4713"]).await;
    let url = "http://127.0.0.1:4713";
    assert_eq!(cli.run(&["status", "web", "-o", "name"]).await.ok(), "web\n");
    let yaml = cli.run(&["status", "web", "-o", "yaml"]).await.ok();
    assert!(yaml.contains("\n  phase: Ready\n") && yaml.contains(&format!("url: {url}")), "{yaml}");
    let sheet = cli.run(&["status", "web"]).await.ok();
    assert!(sheet.contains("dev: runs") && sheet.contains(&format!("dev http {url}")), "{sheet}");
    let table = cli.run(&["ls"]).await.ok();
    assert!(table.contains("Ready") && table.contains(url) && !table.contains("GENERATION"), "{table}");
    let wide = cli.run(&["ls", "-o", "wide"]).await.ok();
    assert!(wide.contains("GENERATION") && wide.contains("Running"), "{wide}");

    let tree = cli.folder().join("tree");
    fs::create_dir_all(tree.join("deep/er")).unwrap();
    fs::write(tree.join("deep/er/file"), vec![7; 300_000]).unwrap();
    fs::set_permissions(tree.join("deep/er/file"), std::os::unix::fs::PermissionsExt::from_mode(0o750)).unwrap();
    std::os::unix::fs::symlink("deep/er/file", tree.join("link")).unwrap();
    fs::hard_link(tree.join("deep/er/file"), tree.join("again")).unwrap();
    for (path, name, value) in [("again", "user.note", &b"two\nlines\0"[..]), ("deep", "user.a=b", b"")] {
        rustix::fs::setxattr(tree.join(path), name, value, rustix::fs::XattrFlags::empty()).unwrap();
    }
    cli.run(&["cp", "tree", "web:copied"]).await.ok();
    cli.run(&["cp", "web:copied", "back"]).await.ok();
    // The folder itself has the time of the copy.
    let inside = |folder: &std::path::Path| {
        let mut tree = tree::record(folder).unwrap();
        tree.remove(std::path::Path::new(""));
        tree
    };
    let before = inside(&tree);
    assert_eq!(inside(&workspace(&server).join("copied")), before);
    assert_eq!(inside(&cli.folder().join("back")), before);
    cli.run(&["cp", "web:no-such-file", "x"]).await.refused(66, "no-such-file");
    cli.run(&["cp", "web:copied", "back/deep/er/file"]).await.refused(74, "Not a directory");
    cli.run(&["snapshot", "create", "web"]).await.ok();
    let snapshots = cli.run(&["snapshot", "ls", "web", "-o", "name"]).await.ok();
    let unknown = "9999-1-abababababababababababababababab";
    for (args, code, words) in [
        (&["cp", "tree", "web:../x"][..], 64, "../x"),
        (&["fs", "read", "web", "../x"], 64, "../x"),
        (&["fs", "ls", "web", "/etc"], 64, "/etc"),
        (&["fs", "grep", "web", "("], 64, "unclosed group"),
        (&["snapshot", "restore", "web", unknown], 66, unknown),
        (&["snapshot", "restore", "web", "9999-1-ab"], 64, "9999-1-ab"),
        (&["snapshot", "verify", "web", unknown], 66, unknown),
        (&["snapshot", "diff", "web", unknown], 66, unknown),
    ] {
        let ran = cli.run(args).await;
        assert!(ran.code == code && ran.stderr.contains(words), "{args:?}: {ran:?}");
    }
    assert_eq!(cli.run(&["snapshot", "ls", "web", "-o", "name"]).await.ok(), snapshots, "one was made for nothing");
    assert_eq!(inside(&cli.folder().join("back")), before, "a refused copy changed something");
    assert_eq!(inside(&workspace(&server).join("copied")), before);
}
