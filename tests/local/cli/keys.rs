//! `remora token`.

use remora_tests::{cli::Cli, server::ServerProcess};
use serde_json::Value;

use super::{admin, waiting};

#[tokio::test(flavor = "multi_thread")]
async fn a_key_is_made_used_listed_and_ended() {
    let server = ServerProcess::start().await;
    let cli = admin(&server);
    waiting(&server, "mine").await;
    waiting(&server, "other").await;

    let made = cli.run(&["token", "key", "create", "ci", "--role", "viewer", "--project", "mine", "-o", "json"]).await;
    let made: Value = serde_json::from_str(&made.ok()).unwrap();
    let (id, secret) = (made["id"].as_str().unwrap(), made["secret"].as_str().unwrap());
    assert!(secret.starts_with("rmk_"), "{made}");

    // It sees its project alone and may look at it only.
    let viewer = Cli::new(&server.url, secret);
    assert_eq!(viewer.run(&["ls", "-o", "name"]).await.ok(), "mine\n");
    assert_ne!(viewer.run(&["status", "other"]).await.code, 0);
    viewer.run(&["stop", "mine", "--no-wait"]).await.refused(77, "");
    viewer.run(&["token", "key", "ls"]).await.refused(77, "");

    let listed = cli.run(&["token", "key", "ls"]).await.ok();
    assert!(listed.contains(id) && listed.contains("Viewer") && !listed.contains(secret), "{listed}");
    assert!(cli.run(&["token", "key", "revoke", id]).await.ok().contains("revoked"));
    viewer.run(&["ls"]).await.refused(77, "");
    cli.run(&["token", "key", "revoke", id]).await.refused(66, id);

    // Standard output of the plain form is the secret and nothing else, for `KEY=$(…)`.
    let plain = cli.run(&["token", "key", "create", "robot", "--role", "editor"]).await;
    assert!(plain.text().starts_with("rmk_") && plain.text().lines().count() == 1, "{plain:?}");
    assert!(!plain.stderr.contains(plain.text().trim()), "the secret was said twice");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_is_made_listed_and_ended() {
    let server = ServerProcess::start().await;
    let cli = admin(&server);
    waiting(&server, "mine").await;
    let words =
        ["token", "create", "mine", "--verb", "file.read", "--path", "a/b", "--ttl", "86400", "--subject", "bot"];
    let made = cli.run(&[&words[..], &["-o", "json"]].concat()).await;
    let made: Value = serde_json::from_str(&made.ok()).unwrap();
    let (id, token) = (made["tokenId"].as_str().unwrap(), made["token"].as_str().unwrap());
    assert!(token.starts_with("rmt_"), "{made}");
    // It is no key of the server.
    Cli::new(&server.url, token).run(&["ls"]).await.refused(77, "");
    let listed = cli.run(&["token", "ls", "mine"]).await.ok();
    for shown in [id, "bot", "file.read", "a/b", "admin"] {
        assert!(listed.contains(shown), "{shown}: {listed}");
    }
    assert!(!listed.contains(token), "{listed}");
    cli.run(&["token", "revoke", "mine", "x"]).await.refused(64, "x");
    assert!(cli.run(&["token", "revoke", "mine", id]).await.ok().contains("revoked"));
    cli.run(&["token", "revoke", "mine", id]).await.refused(66, id);
    assert_eq!(cli.run(&["token", "ls", "mine", "-o", "name"]).await.ok(), "");
}
