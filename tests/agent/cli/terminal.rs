//! What the command line does otherwise at a terminal.

use std::fs;

use remora_tests::pty::AtTerminal;

use super::Served;

impl Served {
    /// Runs `remora ARGS` at a terminal to its end: exit code, and what was printed.
    async fn at_terminal(&self, args: &[&str], environment: &[(&str, &str)]) -> (i32, String) {
        let mut command = self.cli.command(args);
        command.env("TERM", "xterm-256color").envs(environment.iter().copied());
        AtTerminal::start(command).ended().await
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn colours_are_for_terminals_that_want_them() {
    let served = Served::start().await;
    fs::write(served.inside("a.txt"), "a shark\n").unwrap();
    let args = ["fs", "grep", "web", "shark"];
    let (code, text) = served.at_terminal(&args, &[]).await;
    assert_eq!((code, text.contains("\x1b[1;31mshark\x1b[0m")), (0, true), "{text:?}");
    for refused in [("NO_COLOR", "1"), ("TERM", "dumb")] {
        let (code, text) = served.at_terminal(&args, &[refused]).await;
        assert_eq!((code, text.as_str()), (0, "a.txt:1:a shark\r\n"), "{refused:?}");
    }
    assert_eq!(served.cli.run(&args).await.ok(), "a.txt:1:a shark\n");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_cannot_drive_the_terminal() {
    let served = Served::start().await;
    let evil = "\x1b]0;title\x07\x1b[2J";
    fs::write(served.inside("evil"), format!("one\n{evil}two\n")).unwrap();
    fs::write(served.inside(&format!("name{evil}")), "x").unwrap();
    let (_, text) = served.at_terminal(&["fs", "read", "web", "evil"], &[]).await;
    assert_eq!(text, "     1\tone\r\n     2\t\\x1b]0;title\\x07\\x1b[2Jtwo\r\n");
    for args in [
        &["fs", "ls", "web"][..],
        &["fs", "grep", "web", "two"],
        &["fs", "stat", "web", "name\x1b[2J"],
        &["fs", "rm", "web", "name\x1b[2J"],
        &["fs", "edit", "web", "evil", "--old", "two", "--new", "2"],
    ] {
        let (_, text) = served.at_terminal(args, &[("NO_COLOR", "1")]).await;
        assert!(!text.contains('\x1b') && !text.contains('\x07'), "{args:?} printed {text:?}");
    }
    // Unless that is asked for.
    let (_, text) = served.at_terminal(&["fs", "read", "web", "evil", "--raw"], &[]).await;
    assert!(text.contains("\x1b[2J"), "{text:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn progress_is_shown_at_a_terminal_and_nowhere_else() {
    let served = Served::start().await;
    fs::write(served.here("big"), vec![b'x'; 20_000_000]).unwrap();
    let (code, text) = served.at_terminal(&["cp", "big", "web:big"], &[]).await;
    assert_eq!(code, 0, "{text:?}");
    assert!(text.contains("big") && text.contains("MiB"), "{text:?}");
    let quiet = served.cli.run(&["cp", "web:big", "back"]).await;
    assert_eq!((quiet.code, quiet.stderr.as_str(), quiet.stdout.len()), (0, "", 0));
}
