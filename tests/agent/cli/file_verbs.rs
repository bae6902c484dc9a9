//! `remora fs`.

use std::{fs, os::unix::fs::PermissionsExt as _, process::Stdio};

use remora_tests::agent::PATIENCE;
use serde_json::Value;
use tokio::{
    io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader},
    time::timeout,
};

use super::Served;

#[tokio::test(flavor = "multi_thread")]
async fn a_file_is_written_read_and_edited() {
    let served = Served::start().await;
    let cli = &served.cli;
    let content = b"one\ntwo\n\xff\x00three".to_vec();
    let written = cli.fed(&["fs", "write", "web", "a/b.txt", "-p", "--mode", "600", "-o", "json"], &content).await.ok();
    let written: Value = serde_json::from_str(&written).unwrap();
    assert_eq!((written["size"].as_u64(), written["created"].as_bool()), (Some(content.len() as u64), Some(true)));
    assert_eq!(fs::read(served.inside("a/b.txt")).unwrap(), content);
    assert_eq!(fs::metadata(served.inside("a/b.txt")).unwrap().permissions().mode() & 0o777, 0o600);

    // Byte for byte into a pipe; lines and bytes as asked for.
    assert_eq!(cli.run(&["fs", "read", "web", "a/b.txt"]).await.stdout, content);
    assert_eq!(cli.run(&["fs", "read", "web", "a/b.txt", "--lines", "2"]).await.stdout, b"two\n");
    assert_eq!(cli.run(&["fs", "read", "web", "a/b.txt", "--lines", "2:"]).await.stdout, content[4..]);
    assert_eq!(cli.run(&["fs", "read", "web", "a/b.txt", "--offset", "4", "--length", "3"]).await.stdout, b"two");
    let numbered = cli.run(&["fs", "read", "web", "a/b.txt", "-n"]).await;
    assert_eq!(numbered.text(), "     1\tone\n     2\ttwo\n     3\t\\xff\\x00three\n");

    // A version is held to.
    let etag = written["etag"].as_str().unwrap();
    cli.fed(&["fs", "write", "web", "a/b.txt", "--create"], b"x").await.refused(73, "a/b.txt");
    cli.fed(&["fs", "write", "web", "a/b.txt", "--if-match", "bogus"], b"x").await.refused(75, "a/b.txt");
    assert_eq!(fs::read(served.inside("a/b.txt")).unwrap(), content);
    cli.fed(&["fs", "write", "web", "a/b.txt", "--if-match", etag], b"let x = 1;\nlet x = 2;\n").await.ok();

    // Edits.
    let edit = |rest: &[&'static str]| {
        let mut args = vec!["fs", "edit", "web", "a/b.txt"];
        args.extend_from_slice(rest);
        async move { cli.run(&args).await }
    };
    edit(&["--old", "let x", "--new", "let y"]).await.refused(65, "2");
    let diff = edit(&["--old", "let x", "--new", "let y", "--count", "2", "--dry-run"]).await.ok();
    assert!(diff.contains("-let x = 1;") && diff.contains("+let y = 1;"), "{diff}");
    assert_eq!(fs::read(served.inside("a/b.txt")).unwrap(), b"let x = 1;\nlet x = 2;\n");
    edit(&["--old", "let x", "--new", "let y", "--count", "2"]).await.ok();
    edit(&["--lines", "2:1", "--new", "// between"]).await.ok();
    edit(&["--lines", "1", "--new", "first"]).await.ok();
    assert_eq!(fs::read(served.inside("a/b.txt")).unwrap(), b"first\n// between\nlet y = 2;\n");
    edit(&["--old", "gone", "--new", "x"]).await.refused(65, "a/b.txt");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_source_that_is_killed_half_way_changes_nothing() {
    let served = Served::start().await;
    fs::write(served.inside("file"), "old").unwrap();
    let mut command = served.cli.command(&["fs", "write", "web", "file"]);
    let mut child = command.stdin(Stdio::piped()).spawn().unwrap();
    let mut stdin = child.stdin.take().unwrap();
    stdin.write_all(&vec![7; 1_000_000]).await.unwrap();
    child.kill().await.unwrap();
    drop(stdin);
    // The next write waits for nobody, so the first one's stream is gone by then or never ends well.
    let read = served.cli.run(&["fs", "read", "web", "file"]).await;
    assert_eq!(read.stdout, b"old");
    assert_eq!(fs::read(served.inside("file")).unwrap(), b"old");
}

#[tokio::test(flavor = "multi_thread")]
async fn entries_are_made_looked_at_moved_and_removed() {
    let served = Served::start().await;
    let cli = &served.cli;
    cli.run(&["fs", "mkdir", "web", "d/e", "-p", "--mode", "700"]).await.ok();
    fs::write(served.inside("d/f"), "12345").unwrap();
    let stat = cli.run(&["fs", "stat", "web", "d/f", "d/e", "-o", "json"]).await.ok();
    let stat: Value = serde_json::from_str(&stat).unwrap();
    assert_eq!((stat[0]["kind"].as_str(), stat[0]["size"].as_u64()), (Some("file"), Some(5)));
    assert_eq!((stat[1]["kind"].as_str(), stat[1]["mode"].as_str()), (Some("directory"), Some("0700")));
    let yaml = cli.run(&["fs", "stat", "web", "d/f", "-o", "yaml"]).await.ok();
    assert!(yaml.starts_with("- path: d/f\n"), "{yaml}");
    let table = cli.run(&["fs", "stat", "web", "d/f"]).await.ok();
    assert_eq!(table.lines().count(), 2, "{table}");

    // What is there is shown, what not is said, and the exit code tells.
    let some = cli.run(&["fs", "stat", "web", "d/f", "no", "-o", "name"]).await;
    assert_eq!((some.code, some.text()), (66, "d/f\n"));
    assert!(some.stderr.contains("no"), "{}", some.stderr);

    fs::write(served.inside("d/g"), "g").unwrap();
    cli.run(&["fs", "mv", "web", "d/f", "d/g"]).await.refused(73, "d/g");
    cli.run(&["fs", "mv", "web", "d/f", "d/g", "--overwrite"]).await.ok();
    assert_eq!(fs::read(served.inside("d/g")).unwrap(), b"12345");
    cli.run(&["fs", "rm", "web", "d"]).await.refused(73, "d");
    cli.run(&["fs", "rm", "web", "d", "-r"]).await.ok();
    assert!(!served.inside("d").exists());
    cli.run(&["fs", "rm", "web", "d"]).await.refused(66, "d");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reader_that_leaves_is_no_failure() {
    let served = Served::start().await;
    fs::write(served.inside("big"), vec![b'x'; 8_000_000]).unwrap();
    let mut child = served.cli.command(&["fs", "read", "web", "big"]).spawn().unwrap();
    let mut stdout = child.stdout.take().unwrap();
    let mut first = [0; 100];
    stdout.read_exact(&mut first).await.unwrap();
    drop(stdout);
    let output = child.wait_with_output().await.unwrap();
    assert_eq!((output.status.code(), output.stderr.as_slice()), (Some(0), &b""[..]));
}

/// One row a flag or name; none of them changes anything.
#[tokio::test(flavor = "multi_thread")]
async fn bad_input_is_named_and_changes_nothing() {
    let served = Served::start().await;
    fs::write(served.inside("file"), "as it was").unwrap();
    fs::create_dir(served.inside("folder")).unwrap();
    let long = "n".repeat(256);
    let rows: &[(&[&str], i32, &str)] = &[
        (&["fs", "read", "web", "/etc/passwd"], 64, "/etc/passwd"),
        (&["fs", "read", "web", "../secret"], 64, "secret"),
        (&["fs", "read", "web", ""], 65, "directory"),
        (&["fs", "read", "web", "folder"], 65, "folder"),
        (&["fs", "read", "web", &long], 64, "255"),
        (&["fs", "read", "web", "no"], 66, "no"),
        (&["fs", "read", "web", "file", "--offset", "99"], 65, "99"),
        (&["fs", "read", "Web", "file"], 64, "web would do"),
        (&["fs", "write", "web", "no/file"], 66, "no"),
        (&["fs", "write", "web", "folder"], 65, "folder"),
        (&["fs", "write", "web", "../file"], 64, "file"),
        (&["fs", "write", "web", "file", "--if-match", ""], 64, "if_match"),
        (&["fs", "write", "web", "file", "--mode", "99999"], 64, "mode"),
        (&["fs", "edit", "web", "file", "--old", "", "--new", "x"], 64, "old"),
        (&["fs", "edit", "web", "file", "--lines", "7", "--new", "x"], 65, "7"),
        (&["fs", "edit", "web", "file", "--lines", "1:", "--new", "x"], 64, "last line"),
        (&["fs", "mkdir", "web", "folder"], 73, "folder"),
        (&["fs", "mkdir", "web", "a/b"], 66, "a"),
        (&["fs", "mv", "web", "no", "b"], 66, "no"),
        (&["fs", "rm", "web", "no"], 66, "no"),
        (&["fs", "rm", "web", ".."], 64, ".."),
        (&["fs", "stat", "web"], 64, "<PATH>"),
    ];
    let mut wrong = Vec::new();
    for (args, code, words) in rows {
        let ran = served.cli.fed(args, b"new").await;
        let said = ran.stderr.starts_with("remora: ") && ran.stderr.contains(words) && ran.stderr.lines().count() <= 2;
        if ran.code != *code || !said {
            wrong.push(format!("{args:?} is not {code} with {words:?}: {} {}", ran.code, ran.stderr));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert_eq!(fs::read(served.inside("file")).unwrap(), b"as it was");
    assert_eq!(fs::read_dir(served.inside("")).unwrap().count(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_token_is_said_with_its_code() {
    let served = Served::start().await;
    let ran = {
        let mut command = served.cli.command(&["fs", "stat", "web", ".", "--api-key", "rmk_wrong"]);
        command.output().await.unwrap()
    };
    assert_eq!(ran.status.code(), Some(77), "{ran:?}");
    assert!(!String::from_utf8_lossy(&ran.stderr).contains("rmk_wrong"), "a key in a message");
}

#[tokio::test(flavor = "multi_thread")]
async fn folders_are_listed_and_searched() {
    let served = Served::start().await;
    let cli = &served.cli;
    fs::create_dir_all(served.inside("src/inner")).unwrap();
    fs::write(served.inside("src/a.rs"), "fn main() {\n    let shark = 1;\n}\n").unwrap();
    fs::write(served.inside("src/inner/b.rs"), "// Shark\n").unwrap();
    fs::write(served.inside("src/evil\x1b[2J.rs"), "shark\x1b[2J\n").unwrap();
    fs::write(served.inside("notes.md"), "a remora rides a shark\n").unwrap();

    // A listing in each form.
    let names = cli.run(&["fs", "ls", "web", "src", "-d", "2", "-o", "name"]).await.ok();
    assert_eq!(names, "src/a.rs\nsrc/evil\x1b[2J.rs\nsrc/inner\nsrc/inner/b.rs\n");
    let json: Value = serde_json::from_str(&cli.run(&["fs", "ls", "web", "src", "-o", "json"]).await.ok()).unwrap();
    assert_eq!(json.as_array().unwrap().len(), 3);
    assert_eq!(json[0]["path"], "src/a.rs");
    for form in ["table", "wide"] {
        let table = cli.run(&["fs", "ls", "web", "src", "-o", form]).await.ok();
        assert!(table.starts_with("MODE") && table.contains("src/inner/") && !table.contains('\x1b'), "{table:?}");
    }
    assert_eq!(cli.run(&["fs", "ls", "web", "src/inner", "-o", "yaml"]).await.ok().matches("- path:").count(), 1);

    // A listing of more than one page is whole, and valid in the form that is streamed.
    fs::create_dir(served.inside("many")).unwrap();
    for number in 0..2_345 {
        fs::write(served.inside(&format!("many/{number:05}")), "").unwrap();
    }
    let json: Value = serde_json::from_str(&cli.run(&["fs", "ls", "web", "many", "-o", "json"]).await.ok()).unwrap();
    assert_eq!(json.as_array().unwrap().len(), 2_345);
    assert_eq!(json[2_344]["path"], "many/02344");

    assert_eq!(cli.run(&["fs", "glob", "web", "**/*.rs", "!**/evil*"]).await.ok(), "src/a.rs\nsrc/inner/b.rs\n");
    assert_eq!(cli.run(&["fs", "glob", "web", "*.none"]).await.ok(), "");

    let grep = |rest: &[&'static str]| {
        let mut args = vec!["fs", "grep", "web"];
        args.extend_from_slice(rest);
        async move { cli.run(&args).await }
    };
    assert_eq!(grep(&["shark", "src/a.rs"]).await.ok(), "src/a.rs:2:    let shark = 1;\n");
    assert_eq!(
        grep(&["-C", "1", "shark", "src/a.rs"]).await.ok(),
        "src/a.rs-1-fn main() {\nsrc/a.rs:2:    let shark = 1;\nsrc/a.rs-3-}\n"
    );
    assert_eq!(grep(&["-i", "-l", "shark", "-g", "*.rs", "-g", "!evil*"]).await.ok(), "src/a.rs\nsrc/inner/b.rs\n");
    assert_eq!(grep(&["-c", "shark", "notes.md"]).await.ok(), "notes.md:1\n");
    assert_eq!(grep(&["-F", "let.shark"]).await.code, 1);
    assert_eq!(grep(&["-w", "hark"]).await.code, 1);
    let json: Value = serde_json::from_str(&grep(&["shark", "notes.md", "-o", "json"]).await.ok()).unwrap();
    assert_eq!((json[0]["line"].as_u64(), json[0]["matches"][0][0].as_u64()), (Some(1), Some(17)));
    let cut = grep(&[".", "--limit", "3"]).await;
    assert!(cut.code == 0 && cut.text().lines().count() == 3, "{cut:?}");
    assert!(cut.stderr.contains("only the first 3"), "{}", cut.stderr);

    // What is wrong is named.
    grep(&["("]).await.refused(64, "unclosed group");
    grep(&["x", "no/such"]).await.refused(66, "no/such");
    cli.run(&["fs", "glob", "web", "{a"]).await.refused(64, "{a");
    cli.run(&["fs", "ls", "web", "notes.md"]).await.refused(65, "notes.md");
}

#[tokio::test(flavor = "multi_thread")]
async fn changes_are_printed_as_they_happen() {
    let served = Served::start().await;
    fs::create_dir(served.inside("src")).unwrap();
    let args = ["fs", "watch", "web", "src", "-g", "*.rs", "--once", "-o", "json"];
    let mut child = served.cli.command(&args).spawn().unwrap();
    let mut said = BufReader::new(child.stderr.take().unwrap()).lines();
    // What happens from here on is seen.
    let standing = timeout(PATIENCE, said.next_line()).await.expect("the watch stands").unwrap().unwrap();
    assert!(standing.starts_with("remora: watching"), "{standing}");
    fs::write(served.inside("src/other.txt"), "x").unwrap();
    fs::write(served.inside("src/a.rs"), "x").unwrap();
    let output = timeout(PATIENCE, child.wait_with_output()).await.expect("one batch ends it").unwrap();
    assert_eq!(output.status.code(), Some(0));
    let line = String::from_utf8(output.stdout).unwrap();
    let first: Value = serde_json::from_str(line.lines().next().unwrap()).unwrap();
    assert_eq!((first["kind"].as_str(), first["path"].as_str()), (Some("created"), Some("src/a.rs")), "{line}");
}
