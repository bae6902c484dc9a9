//! The command line as a person or script meets it: the real binary, with
//! nothing of this user's environment.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Stdio,
};

use tempfile::TempDir;
use tokio::{io::AsyncWriteExt as _, process::Command, time::timeout};

use crate::{patience::VERB_PATIENCE, program::remora};

/// A home folder whose context names one server.
pub struct Cli {
    home: TempDir,
    context: PathBuf,
}

/// What a run of the binary left.
#[derive(Debug)]
pub struct Ran {
    /// Its exit code.
    pub code: i32,
    /// What it printed.
    pub stdout: Vec<u8>,
    /// What it said.
    pub stderr: String,
}

impl Ran {
    /// What it printed, as text.
    pub fn text(&self) -> &str {
        std::str::from_utf8(&self.stdout).expect("what it printed is text")
    }

    /// Its output, where it ended well.
    #[track_caller]
    pub fn ok(self) -> String {
        assert_eq!(self.code, 0, "{}", self.stderr);
        String::from_utf8(self.stdout).expect("what it printed is text")
    }

    /// Checks that it failed with `code`, printed nothing and said `words` in one line and a hint.
    #[track_caller]
    pub fn refused(&self, code: i32, words: &str) {
        assert_eq!(self.code, code, "{self:?}");
        assert!(
            self.stderr.starts_with("remora: ") && self.stderr.contains(words),
            "no {words:?} in {:?}",
            self.stderr
        );
        assert!(self.stdout.is_empty(), "{self:?}");
    }
}

impl Cli {
    /// The command line for the server at `url` with the key or token `key`.
    pub fn new(url: &str, key: &str) -> Cli {
        let home = tempfile::tempdir().expect("there is room for a folder");
        let context = home.path().join("config.json");
        let content = serde_json::json!({ "server": url, "api_key": key });
        fs::write(&context, content.to_string()).expect("the folder takes files");
        Cli { home, context }
    }

    /// The command line with the context file that a server wrote.
    pub fn with_context(context: &Path) -> Cli {
        Cli { home: tempfile::tempdir().expect("there is room for a folder"), context: context.to_owned() }
    }

    /// A folder of its own, which goes with it.
    pub fn folder(&self) -> &Path {
        self.home.path()
    }

    /// The command `remora ARGS`, to be changed and started.
    pub fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(remora());
        command
            .args(args)
            .env_clear()
            .env("PATH", std::env::var_os("PATH").unwrap_or_default())
            .env("HOME", self.home.path())
            .env("REMORA_CONFIG", &self.context)
            .current_dir(self.home.path())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true);
        command
    }

    /// Runs `remora ARGS` without input.
    pub async fn run(&self, args: &[&str]) -> Ran {
        self.fed(args, b"").await
    }

    /// Runs `remora ARGS` with `input` in a pipe.
    pub async fn fed(&self, args: &[&str], input: &[u8]) -> Ran {
        let mut child = self.command(args).stdin(Stdio::piped()).spawn().expect("the binary starts");
        let mut stdin = child.stdin.take().expect("stdin is piped");
        let feed = async move {
            // A verb that does not want its input is no failure.
            _ = stdin.write_all(input).await;
        };
        let both = async { tokio::join!(feed, child.wait_with_output()).1 };
        let output = timeout(VERB_PATIENCE, both).await.unwrap_or_else(|_| panic!("remora {args:?} does not end"));
        let output = output.expect("the binary is our child");
        Ran {
            code: output.status.code().expect("it ends by itself"),
            stdout: output.stdout,
            stderr: String::from_utf8(output.stderr).expect("what it says is text"),
        }
    }
}
