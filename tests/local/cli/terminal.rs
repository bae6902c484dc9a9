//! The command line at a terminal.

use remora_tests::pty::AtTerminal;
use rustix::process::{Signal, kill_process};

use super::running::running;
use crate::running::{agent_of, get};

/// Numbered lines, in order, that a terminal printed.
fn numbers(printed: &[u8]) -> Vec<u32> {
    let printed = String::from_utf8_lossy(printed);
    let number = |line: &str| line.trim().strip_prefix("line-")?.strip_suffix("-end")?.parse().ok();
    printed.lines().filter_map(number).collect()
}

/// The terminal outlives its server and its agent; every byte comes once, and so
/// does every key.
#[tokio::test(flavor = "multi_thread")]
async fn a_terminal_goes_on_when_its_server_or_its_agent_is_killed() {
    let (mut server, cli) = running("exec sleep 100000", &[]).await;
    let address = server.url.trim_start_matches("http://").to_owned();
    let mut shell = AtTerminal::start(cli.command(&["sh", "web", "--", "sh"]));
    shell.expect("to come back: remora sh web --attach ").await;
    shell.type_keys(b"stty -echo; PS1=; echo ready-$((1+1))\n");
    shell.expect("ready-2").await;
    for round in 1..=2_u32 {
        // Numbered lines go on while there is nobody to take them.
        let script = format!(
            "for i in $(seq 1 2000); do echo line-$(({round}0000+i))-end; [ $((i % 100)) = 0 ] && sleep 0.05; done; \
             echo all-{round}-$((2+2))\n"
        );
        shell.type_keys(script.as_bytes());
        shell.expect(&format!("line-{round}0300-end")).await;
        if round == 1 {
            server.kill().await;
            server.restart_at(&address).await;
        } else {
            let project = get(&server, "web").await;
            kill_process(agent_of(&server, &project), Signal::KILL).unwrap();
        }
        // Typed while there is nobody: it arrives later, once.
        shell.type_keys(format!("echo typed-{round}-$((3+3))\n").as_bytes());
        shell.expect(&format!("all-{round}-4")).await;
        shell.expect(&format!("typed-{round}-6")).await;
    }
    let wanted: Vec<u32> = (10_001..=12_000).chain(20_001..=22_000).collect();
    assert_eq!(numbers(&shell.printed()), wanted, "a line is missing, out of order or there twice");
    shell.type_keys(b"exit 5\n");
    let (code, text) = shell.ended().await;
    assert_eq!(code, 5, "{text}");
    for once in ["typed-1-6", "typed-2-6", "all-1-4", "all-2-4"] {
        assert_eq!(text.matches(once).count(), 1, "{once} in {text:.2000}");
    }
}

/// Ctrl-] leaves a terminal that goes on, and the id that was shown comes back to it.
#[tokio::test(flavor = "multi_thread")]
async fn a_terminal_that_is_left_is_come_back_to() {
    let (_server, cli) = running("exec sleep 100000", &[]).await;
    let mut first = AtTerminal::start(cli.command(&["sh", "web", "--", "sh"]));
    first.expect("Ctrl-]").await;
    first.type_keys(b"kept=here; echo set-$((1+1))\n");
    first.expect("set-2").await;
    first.type_keys(b"\x1d");
    let (code, text) = first.ended().await;
    assert_eq!(code, 0, "{text}");
    let come_back = text.rsplit("the terminal goes on: ").next().unwrap().lines().next().unwrap().trim().to_owned();
    let words: Vec<&str> = come_back.split(' ').collect();
    assert_eq!(words[..3], ["remora", "sh", "web"], "{come_back}");

    let listed = cli.run(&["sh", "web", "--list", "-o", "json"]).await.ok();
    assert!(listed.contains(words[4]), "{words:?} of {text:?} in {listed}");
    let mut second = AtTerminal::start(cli.command(&words[1..]));
    // The screen as it was.
    second.expect("set-2").await;
    second.type_keys(b"echo still-$kept; exit 3\n");
    second.expect("still-here").await;
    assert_eq!(second.ended().await.0, 3);
    // One that has ended shows its last screen and how it ended.
    let ended = cli.run(&words[1..]).await;
    assert!(ended.code == 3 && ended.text().contains("still-here"), "{ended:?}");
    let unknown = cli.run(&["sh", "web", "--attach", "1f5f8f34-7c6c-4f43-8c4e-0a8b8d0b8f55"]).await;
    unknown.refused(66, "1f5f8f34");
}

/// Colour is for terminals, and for those who did not refuse it.
#[tokio::test(flavor = "multi_thread")]
async fn colours_are_for_terminals_that_want_them() {
    let (_server, cli) = running("exec sleep 100000", &[]).await;
    let grep = ["fs", "grep", "web", "hello"];
    let coloured = AtTerminal::start(cli.command(&grep)).ended().await;
    assert!(coloured.0 == 0 && coloured.1.contains("\x1b["), "{coloured:?}");
    let mut plain = cli.command(&grep);
    plain.env("NO_COLOR", "1");
    let plain = AtTerminal::start(plain).ended().await;
    assert!(plain.0 == 0 && plain.1.contains("hello") && !plain.1.contains('\x1b'), "{plain:?}");
    let piped = cli.run(&grep).await.ok();
    assert!(piped.contains("hello") && !piped.contains('\x1b'), "{piped:?}");
    // Without a terminal nothing moves on standard error either.
    let made = cli.run(&["snapshot", "create", "web"]).await;
    assert!(made.code == 0 && !made.stderr.contains('\x1b') && !made.stderr.contains('\r'), "{made:?}");
}
