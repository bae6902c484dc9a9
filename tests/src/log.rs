//! The log of a process under test: read all the time, as a process whose log
//! nobody reads stands still once the pipe is full.

use std::collections::VecDeque;

use serde_json::Value;
use tokio::{
    io::{AsyncBufReadExt as _, BufReader},
    process::ChildStderr,
    sync::mpsc,
    time::timeout,
};

use crate::agent::PATIENCE;

/// Lines that are kept for the message of a failed test.
const KEPT: usize = 200;

/// Lines that wait for a look: more than any test causes before it looks.
const WAITING: usize = 100_000;

/// The JSON lines that a process writes to stderr.
pub struct Log {
    lines: mpsc::Receiver<String>,
    seen: VecDeque<String>,
}

impl Log {
    /// The log that comes out of `stderr`.
    pub fn of(stderr: ChildStderr) -> Log {
        let (sender, lines) = mpsc::channel(WAITING);
        tokio::spawn(async move {
            let mut reader = BufReader::new(stderr).lines();
            while let Some(line) = reader.next_line().await.expect("the log is UTF-8") {
                // A test that looks no more leaves the rest unread.
                _ = sender.try_send(line);
            }
        });
        Log { lines, seen: VecDeque::new() }
    }

    /// Waits for the next line that `wanted` accepts.
    pub async fn line(&mut self, wanted: impl Fn(&Value) -> bool) -> Value {
        loop {
            match timeout(PATIENCE, self.lines.recv()).await {
                Ok(Some(line)) => {
                    let value = serde_json::from_str(&line).unwrap_or_else(|_| panic!("not a JSON log line: {line}"));
                    if wanted(&value) {
                        return value;
                    }
                    self.seen.push_back(line);
                    if self.seen.len() > KEPT {
                        self.seen.pop_front();
                    }
                }
                Ok(None) => panic!("the log ended without the line; it said:\n{}", self.said()),
                Err(_) => panic!("the line did not come; the log said:\n{}", self.said()),
            }
        }
    }

    fn said(&self) -> String {
        self.seen.iter().map(String::as_str).collect::<Vec<_>>().join("\n")
    }
}
