//! `ls`, `status`, `doctor` and `version`.

use remora_tests::{cli::Cli, server::ServerProcess};
use serde_json::Value;

use super::{admin, waiting};

#[tokio::test(flavor = "multi_thread")]
async fn projects_are_shown_in_every_form() {
    let server = ServerProcess::start().await;
    let cli = admin(&server);
    let none = cli.run(&["ls"]).await;
    assert_eq!((none.code, none.text()), (0, ""));
    assert!(none.stderr.contains("remora up"), "{}", none.stderr);
    assert_eq!(cli.run(&["ls", "-o", "json"]).await.ok(), "[]\n");

    for name in ["b-2", "a-1"] {
        waiting(&server, name).await;
    }
    assert_eq!(cli.run(&["ls", "-o", "name"]).await.ok(), "a-1\nb-2\n");
    let json: Value = serde_json::from_str(&cli.run(&["ls", "-o", "json"]).await.ok()).unwrap();
    assert_eq!((json[0]["name"].as_str(), json[1]["name"].as_str()), (Some("a-1"), Some("b-2")));
    let yaml = cli.run(&["ls", "-o", "yaml"]).await.ok();
    assert!(yaml.contains("\n  name: a-1\n") && yaml.contains("\n  name: b-2\n"), "{yaml}");
    let table = cli.run(&["ls"]).await.ok();
    assert!(table.starts_with("NAME") && !table.contains("ID") && table.lines().count() == 3, "{table}");
    let wide = cli.run(&["ls", "-o", "wide"]).await.ok();
    assert!(wide.contains(json[0]["id"].as_str().unwrap()), "{wide}");

    // One of them, by name and by id.
    let id = json[1]["id"].as_str().unwrap();
    for named in ["b-2", id] {
        let one: Value = serde_json::from_str(&cli.run(&["status", named, "-o", "json"]).await.ok()).unwrap();
        assert_eq!(one["id"], json[1]["id"]);
        assert_eq!(one["spec"], json[1]["spec"]);
    }
    let sheet = cli.run(&["status", "a-1"]).await.ok();
    assert!(sheet.starts_with("name         a-1\n") && sheet.contains("\nphase "), "{sheet}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_doctor_says_what_is_wrong_from_the_near_to_the_far() {
    let mut server = ServerProcess::start().await;
    let cli = admin(&server);
    let well = cli.run(&["doctor"]).await.ok();
    for what in ["context", "server", "clock", "key", "version", "agent", "store", "projects"] {
        assert!(well.lines().any(|line| line.starts_with("OK") && line.contains(what)), "{what}: {well}");
    }
    let json: Value = serde_json::from_str(&cli.run(&["doctor", "-o", "json"]).await.ok()).unwrap();
    assert_eq!(json[0]["level"], "OK");

    let stranger = Cli::new(&server.url, "rmk_nobody").run(&["doctor"]).await;
    assert_eq!(stranger.code, 1);
    assert!(stranger.text().contains("FAIL key") && !stranger.text().contains("rmk_nobody"), "{}", stranger.text());

    server.kill().await;
    let alone = cli.run(&["doctor"]).await;
    assert_eq!(alone.code, 1);
    assert!(alone.text().contains("FAIL server") && alone.text().contains("nothing listens there"), "{}", alone.text());
}

#[tokio::test(flavor = "multi_thread")]
async fn versions_of_both_sides() {
    let server = ServerProcess::start().await;
    let json = admin(&server).run(&["version", "--with-server", "-o", "json"]).await.ok();
    let json: Value = serde_json::from_str(&json).unwrap();
    assert_eq!((&json["client"], &json["client"]), (&json["server"], &json["agent"]));
}
