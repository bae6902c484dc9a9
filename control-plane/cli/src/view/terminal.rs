//! Terminals.

use remora_proto::agent::v1::{ExitStatus, Terminal, exit_status::Cause};
use serde::Serialize;

use crate::output::{Column, Listed, age, now_ms};

/// A terminal of a project.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct TerminalView {
    pub(crate) id: String,
    pub(crate) container: String,
    pub(crate) argv: Vec<String>,
    pub(crate) cwd: String,
    pub(crate) title: String,
    pub(crate) viewers: u32,
    /// Whether somebody types.
    pub(crate) has_writer: bool,
    pub(crate) opened_ms: u64,
    pub(crate) last_activity_ms: u64,
    pub(crate) columns: u32,
    pub(crate) rows: u32,
    /// How it ended; empty while it runs.
    pub(crate) ended: String,
}

impl From<Terminal> for TerminalView {
    fn from(terminal: Terminal) -> Self {
        let size = terminal.size.unwrap_or_default();
        TerminalView {
            id: terminal.id,
            container: terminal.container,
            argv: terminal.argv,
            cwd: terminal.cwd,
            title: terminal.title,
            viewers: terminal.viewers,
            has_writer: !terminal.writer.is_empty(),
            opened_ms: terminal.opened_ms,
            last_activity_ms: terminal.last_activity_ms,
            columns: size.columns,
            rows: size.rows,
            ended: terminal.exit.map(|exit| ended(&exit)).unwrap_or_default(),
        }
    }
}

/// How a process ended, in words.
fn ended(exit: &ExitStatus) -> String {
    match (exit.cause(), exit.code, exit.signal) {
        (Cause::Exited, Some(code), _) => format!("exit {code}"),
        (Cause::OutOfMemory, ..) => "out of memory".to_owned(),
        (Cause::TimedOut, ..) => "timed out".to_owned(),
        (Cause::KilledByRequest, ..) => "killed by request".to_owned(),
        (_, _, Some(signal)) => format!("signal {signal}"),
        _ => "unknown".to_owned(),
    }
}

impl Listed for TerminalView {
    const COLUMNS: &'static [Column] = &[
        Column::text("ID"),
        Column::text("CONTAINER"),
        Column::text("STATE"),
        Column::number("AGE"),
        Column::number("ACTIVE"),
        Column::number("VIEWERS"),
        Column::text("COMMAND"),
        Column::text("TITLE").only_wide(),
        Column::text("CWD").only_wide(),
    ];

    fn cells(&self) -> Vec<String> {
        let now = now_ms();
        vec![
            self.id.clone(),
            self.container.clone(),
            if self.ended.is_empty() { "running".to_owned() } else { self.ended.clone() },
            age(self.opened_ms, now),
            age(self.last_activity_ms, now),
            self.viewers.to_string(),
            self.argv.join(" "),
            self.title.clone(),
            self.cwd.clone(),
        ]
    }

    fn name(&self) -> Vec<u8> {
        self.id.clone().into()
    }
}
