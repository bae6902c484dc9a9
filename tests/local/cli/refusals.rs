//! Bad input: named, with the exit code of its reason, and without effect.

use remora_tests::{cli::Cli, server::ServerProcess};

use super::{admin, waiting};

/// One row a flag or name.
#[tokio::test(flavor = "multi_thread")]
async fn bad_input_is_named_and_changes_nothing() {
    let server = ServerProcess::start().await;
    let cli = admin(&server);
    waiting(&server, "web").await;
    std::fs::write(cli.folder().join("file"), "").unwrap();
    std::fs::create_dir(cli.folder().join("日本")).unwrap();
    let before = cli.run(&["status", "web", "-o", "json"]).await.ok();
    let long = "x".repeat(40_000);
    let rows: &[(&[&str], i32, &str)] = &[
        (&["up", "file"], 64, "file is no folder"),
        (&["up", "missing"], 74, "missing"),
        (&["up", "日本"], 64, "--name"),
        (&["up", "--empty"], 64, "--name"),
        (&["up", "--name", "My Shop"], 64, "my-shop would do"),
        (&["up", "--name", "x", "--workdir", "../x", "--empty"], 64, "workdir"),
        (&["up", "--name", "x", "--workdir", "/x", "--empty"], 64, "workdir"),
        (&["up", "--name", "x", "--exclude", "", "--empty"], 64, "exclude"),
        (&["up", "--name", "x", "--env", "REMORA_A=1", "--empty"], 64, "REMORA_A"),
        (&["up", "--name", "x", "--env", "A", "--empty"], 64, "NAME=VALUE"),
        (&["up", "--name", "x", "--port", "80", "--port", "a:80", "--empty"], 64, "80"),
        (&["up", "--name", "x", "--port", "a:80", "--port", "a:81", "--empty"], 64, "a"),
        (&["up", "--name", "x", "--port", "70000", "--empty"], 64, "70000"),
        (&["up", "--name", "x", "--container", "A", "--empty"], 64, "\"A\""),
        (&["up", "--name", "x", "--empty", "--", ""], 64, "command"),
        (&["up", "--name", "x", "--empty", "--cmd", &long], 64, "40000"),
        (&["up", "--name", "web", "--empty", "--", "other"], 73, "waits for its files"),
        (&["up", ".", "--name", "web", "--container", "other"], 73, "without a container other"),
        (&["status", "none"], 66, "none"),
        (&["start", "none"], 66, "none"),
        (&["stop", "none"], 66, "none"),
        (&["hibernate", "none"], 66, "none"),
        (&["wake", "none"], 66, "none"),
        (&["wake", "web", "--timeout", "0"], 64, "--timeout"),
        (&["fs", "ls", "none"], 66, "none"),
        (&["sh", "none"], 66, "none"),
        (&["cp", "file", "none:x"], 66, "none"),
        (&["snapshot", "ls", "none"], 66, "none"),
        (&["snapshot", "restore", "web", "latest"], 64, "latest"),
        (&["snapshot", "restore", "none", "1-1-a"], 66, "none"),
        (&["snapshot", "create", "web", "--label", "=x"], 64, "no key"),
        (&["token", "create", "none"], 66, "none"),
        (&["token", "create", "web", "--verb", "file.eat"], 64, "file.read"),
        (&["token", "create", "web", "--path", "../x"], 64, "path"),
        (&["token", "create", "web", "--ttl", "0"], 64, "--ttl"),
        (&["token", "key", "create", "a\nb", "--role", "viewer"], 64, "name"),
        (&["token", "key", "create", "x", "--role", "king"], 64, "viewer"),
        (&["token", "key", "create", "x", "--role", "viewer", "--project", "none"], 66, "none"),
        (&["token", "key", "revoke", "3f0c9a52-8d1b-4a77-9a0e-6b1d6c1f2e44"], 66, "3f0c9a52"),
        (&["up", "--name", "x", "--empty", "--env", "A=1", "--env", "1A=1"], 64, "1A"),
        (&["up", "--name", "x", "--empty", "--port", "A:80"], 64, "\"A\""),
        (&["up", "--name", "x", "--empty", "--port", "0"], 64, "\"0\""),
        (&["up", "--name", "x", "--empty", "--cmd", "a", "--", "b"], 64, "cannot be used with"),
        (&["up", "--name", "x", "--empty", "--timeout", "0"], 64, "--timeout"),
        (&["ls", "-o", "xml"], 64, "xml"),
        (&["ls", "extra"], 64, "extra"),
        (&["status"], 64, "NAME"),
        (&["status", "../x"], 64, "../x"),
        (&["rm", "none", "--yes"], 66, "none"),
        (&["sh", "web", "--attach", "x"], 64, "--attach"),
        (&["cp", "file", "file"], 64, "neither of the two is in a project"),
        (&["fs", "frob", "web"], 64, "frob"),
        (&["snapshot", "verify", "web", "../x"], 64, "remora snapshot ls"),
        (&["snapshot", "diff", "web", "x"], 64, "remora snapshot ls"),
        (&["snapshot", "prune", "web"], 64, "keep"),
        (&["snapshot", "prune", "web", "--keep-last", "-1"], 64, "-1"),
        (&["token", "create", "web", "--ttl", "2592001"], 64, "2592001"),
        (&["token", "create", "web", "--container", "A"], 64, "\"A\""),
        (&["token", "key", "revoke", "x"], 64, "x"),
        (&["frobnicate"], 64, "frobnicate"),
        // exec's own failures never look like the command's.
        (&["exec", "none", "--", "true"], 125, "none"),
        (&["exec", "web", "--env", "A", "--", "true"], 125, "NAME=VALUE"),
        (&["exec", "web"], 125, "<ARGV>"),
        (&["exec", "web", "--timeout", "0", "--", "true"], 125, "--timeout"),
        (&["exec", "web", "-c", "A", "--", "true"], 125, "\"A\""),
        (&["exec", "../x", "--", "true"], 125, "../x"),
    ];
    let mut wrong = Vec::new();
    for (args, code, words) in rows {
        let ran = cli.run(args).await;
        let said = ran.stderr.starts_with("remora: ") && ran.stderr.contains(words) && ran.stderr.lines().count() <= 2;
        if ran.code != *code || !said || !ran.stdout.is_empty() {
            wrong.push(format!("{args:.80?} is not {code} with {words:?}: {} {:.400}", ran.code, ran.stderr));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert_eq!(cli.run(&["ls", "-o", "name"]).await.ok(), "web\n");
    assert_eq!(cli.run(&["status", "web", "-o", "json"]).await.ok(), before);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_cannot_be_used_is_said() {
    let server = ServerProcess::start().await;
    Cli::new(&server.url, "rmk_wrong").run(&["ls"]).await.refused(77, "key");
    Cli::new("http://127.0.0.1:1", "rmk_x").run(&["ls"]).await.refused(69, "127.0.0.1:1");
    Cli::new("127.0.0.1:1", "rmk_x").run(&["ls"]).await.refused(64, "http://");
    Cli::new(&server.url, "a\nb").run(&["ls"]).await.refused(64, "API key");
    let cli = admin(&server);
    std::fs::remove_file(cli.folder().join("config.json")).unwrap();
    cli.run(&["ls"]).await.refused(78, "config.json");
    std::fs::write(cli.folder().join("config.json"), "{").unwrap();
    cli.run(&["ls"]).await.refused(78, "config.json");
    let ran = cli.run(&["exec", "web", "--", "true"]).await;
    ran.refused(125, "config.json");
}
