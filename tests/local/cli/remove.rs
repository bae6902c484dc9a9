//! `remora rm`: asks at a terminal, and nowhere else.

use remora_tests::{pty::AtTerminal, server::ServerProcess};

use super::{admin, waiting};

#[tokio::test(flavor = "multi_thread")]
async fn without_a_terminal_nothing_is_asked() {
    let server = ServerProcess::start().await;
    let cli = admin(&server);
    waiting(&server, "web").await;
    let ran = cli.fed(&["rm", "web"], b"y\n").await;
    ran.refused(64, "no terminal to ask at");
    assert!(ran.stderr.contains("--yes"), "{}", ran.stderr);
    assert_eq!(cli.run(&["ls", "-o", "name"]).await.ok(), "web\n");
    cli.run(&["rm", "no", "--yes"]).await.refused(66, "no");
    cli.run(&["rm", "web", "--yes", "--no-wait"]).await.ok();
}

#[tokio::test(flavor = "multi_thread")]
async fn at_a_terminal_only_a_yes_deletes() {
    let server = ServerProcess::start().await;
    let cli = admin(&server);
    waiting(&server, "web").await;
    for answer in [&b"n\n"[..], b"\n", b"yess\n"] {
        let mut asked = AtTerminal::start(cli.command(&["rm", "web", "--no-wait"]));
        asked.expect("[y/N]").await;
        asked.type_keys(answer);
        let (code, text) = asked.ended().await;
        assert!(code == 1 && text.contains("nothing was changed"), "{text}");
    }
    assert_eq!(cli.run(&["ls", "-o", "name"]).await.ok(), "web\n");
    let mut asked = AtTerminal::start(cli.command(&["rm", "web", "--no-wait"]));
    asked.expect("[y/N]").await;
    asked.type_keys(b"y\n");
    assert_eq!(asked.ended().await.0, 0);
}
