//! `remora exec`.

use crate::{harness::Case, project::Project, target::Target};

pub(super) fn cases() -> Vec<Case> {
    vec![
        Case::new("commands::each_has_its_own_streams_and_exit_code", streams),
        Case::new("commands::the_containers_own_command_that_ends_is_told_and_exec_goes_on", own_command),
    ]
}

async fn streams(target: Target) {
    let project = Project::empty(&target, "exec", super::IDLE).await;
    let exec = async |words: &[&str], input: &[u8]| {
        project.cli.fed(&[&["exec", project.name.as_str(), "--"][..], words].concat(), input).await
    };
    let ran = exec(&["sh", "-c", "cat; echo oops >&2; exit 3"], b"a\0b\xff").await;
    assert_eq!((ran.code, ran.stdout.as_slice(), ran.stderr.as_str()), (3, &b"a\0b\xff"[..], "oops\n"));
    for (script, code) in [("exit 0", 0), ("exit 255", 255), ("kill -9 $$", 137), ("kill -15 $$", 143)] {
        assert_eq!(exec(&["sh", "-c", script], b"").await.code, code, "{script}");
    }
    let missing = exec(&["no-such-program"], b"").await;
    assert!(missing.code == 127 && missing.stderr.contains("no-such-program"), "{missing:?}");
    // No shell reads the words.
    assert_eq!(exec(&["echo", "$HOME", "a  b", "*"], b"").await.ok(), "$HOME a  b *\n");
    let input: Vec<u8> = (0..3_000_000_u32).map(|n| (n.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
    let ran = exec(&["cat"], &input).await;
    assert!(ran.code == 0 && ran.stdout == input, "{} bytes came back: {}", ran.stdout.len(), ran.stderr);
    let late = project.verb("exec", &["--timeout", "1", "--", "sleep", "1000"]).await;
    assert_eq!(late.code, 124, "{late:?}");
    project.remove().await;
}

async fn own_command(target: Target) {
    let project = Project::named(&target, "ends");
    let up = project.up(None, "echo ran > ran; exit 7", &["--no-wait"]).await;
    assert_eq!(up.code, 0, "{up:?}");
    let ended = |status: &serde_json::Value| {
        status["status"]["containers"][0]["ended"].as_str().is_some_and(|how| how.contains('7'))
    };
    let status = project.becomes("the end of its command", ended).await;
    assert_eq!(status["status"]["containers"][0]["running"], false, "{status:#}");
    // Whoever looks why can.
    assert_eq!(project.shell("cat ran").await, "ran\n");
    project.remove().await;
}
