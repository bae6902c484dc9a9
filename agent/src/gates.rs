//! What a container waits for before its command begins: a server that answers, a
//! name that is there, a file that somebody makes. Used by the shim (`--wait-for`)
//! and by the role `wait`, which runs before a container or in its place.
//!
//! A gate that was open once stays open: it is about a start, and what fails later
//! is told by whoever looks at that.

mod check;

use std::{os::unix::process::CommandExt as _, path::PathBuf, process::ExitCode, time::Duration};

use remora_proto::model::{ContainerName, Fault, Reason};
use tokio::time::{Instant, sleep};

pub use self::check::Check;
use crate::{
    limits::{GATE_LOOK, MAX_GATES},
    termination::Termination,
};

/// The command cannot be executed, as shells have it.
const EXIT_NOT_EXECUTABLE: u8 = 126;
/// The command does not exist, as shells have it.
const EXIT_NOT_FOUND: u8 = 127;

/// Something to wait for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Gate {
    /// The container that it is about.
    name: ContainerName,
    check: Check,
}

impl std::str::FromStr for Gate {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (name, check) = text.split_once('=').ok_or("give it as NAME=CHECK, for example db=tcp://127.0.0.1:5432")?;
        let name = name.parse().map_err(|error: remora_proto::model::IdError| error.to_string())?;
        Ok(Gate { name, check: check.parse()? })
    }
}

/// The containers that gates are about.
pub(crate) fn names(gates: &[Gate]) -> String {
    let names: Vec<&str> = gates.iter().map(|gate| gate.name.as_str()).collect();
    names.join(", ")
}

/// Waits until every gate was open, at most `patience`. `tell` hears, in words, what
/// is waited for, each time that changes. The error says the same of the end.
pub async fn open(gates: &[Gate], patience: Duration, mut tell: impl FnMut(&str)) -> Result<(), String> {
    let deadline = Instant::now() + patience;
    let mut closed: Vec<&Gate> = gates.iter().take(MAX_GATES).collect();
    let mut told = String::new();
    loop {
        let mut still = Vec::new();
        let mut why = Vec::new();
        for gate in closed {
            if let Err(problem) = gate.check.is_met().await {
                why.push(format!("{}: {problem}", gate.name));
                still.push(gate);
            }
        }
        if still.is_empty() {
            return Ok(());
        }
        let words = why.join("; ");
        if Instant::now() >= deadline {
            return Err(format!("{words}, after {} s", patience.as_secs()));
        }
        if words != told {
            tell(&words);
            told = words;
        }
        closed = still;
        sleep(GATE_LOOK).await;
    }
}

/// `remora-agent wait`.
#[derive(clap::Args, Clone, Debug)]
pub struct WaitArgs {
    /// What to wait for, as NAME=CHECK; a check is tcp://HOST:PORT, http://HOST:PORT/PATH,
    /// postgres://HOST:PORT, redis://HOST:PORT, name://HOST or file:///PATH. Repeatable.
    #[arg(long = "for", value_name = "NAME=CHECK", required = true)]
    gates: Vec<Gate>,
    /// Seconds to wait.
    #[arg(long, value_name = "SECONDS", default_value_t = 300, value_parser = clap::value_parser!(u64).range(1..=86_400))]
    timeout: u64,
    /// Where a failure is written as JSON, at most 4096 bytes.
    #[arg(long, value_name = "FILE")]
    termination_message: Option<PathBuf>,
    /// What takes this program's place once all is there; without one it ends.
    #[arg(last = true)]
    command: Vec<String>,
}

/// Waits, and becomes the command that was given; 0, or the exit code of what went wrong.
pub async fn wait(args: WaitArgs) -> ExitCode {
    let WaitArgs { gates, timeout, termination_message, command } = args;
    let waited = open(&gates, Duration::from_secs(timeout), |why| tracing::info!(why, "waits")).await;
    if let Err(why) = waited {
        let fault = gave_up(&why);
        tracing::error!(reason = %fault.reason, "{fault}");
        if let Some(path) = termination_message
            && let Err(error) = Termination::failed(&fault).write(&path)
        {
            tracing::warn!(%error, "the termination message cannot be written");
        }
        return ExitCode::from(fault.reason.exit_code());
    }
    let Some((program, arguments)) = command.split_first() else { return ExitCode::SUCCESS };
    // Returns only where it fails.
    let error = std::process::Command::new(program).args(arguments).exec();
    tracing::error!(%error, program, "the command cannot be run");
    ExitCode::from(match error.kind() {
        std::io::ErrorKind::NotFound => EXIT_NOT_FOUND,
        _ => EXIT_NOT_EXECUTABLE,
    })
}

/// The fault of a wait that was too long.
pub(crate) fn gave_up(why: &str) -> Fault {
    Fault::new(Reason::DependencyNotReady, format!("gave up waiting for {why}"))
        .hint("see why that container is not there, then start this one anew")
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use super::*;

    #[tokio::test]
    async fn a_gate_opens_once_and_the_rest_is_told() {
        let folder = tempfile::tempdir().unwrap();
        let (first, second) = (folder.path().join("first"), folder.path().join("second"));
        let gate =
            |name: &str, path: &std::path::Path| format!("{name}=file://{}", path.display()).parse::<Gate>().unwrap();
        let gates = [gate("api", &first), gate("db", &second)];
        std::fs::write(&first, "").unwrap();
        let told = Arc::new(Mutex::new(Vec::new()));
        let waiting = tokio::spawn({
            let told = Arc::clone(&told);
            async move { open(&gates, Duration::from_secs(60), |words| told.lock().unwrap().push(words.to_owned())).await }
        });
        while told.lock().unwrap().is_empty() {
            sleep(Duration::from_millis(5)).await;
        }
        // It was open, and that it is closed again is nothing to this start.
        std::fs::remove_file(&first).unwrap();
        std::fs::write(&second, "").unwrap();
        waiting.await.unwrap().unwrap();
        let told = told.lock().unwrap();
        assert_eq!(told.len(), 1, "{told:?}");
        assert!(told[0].starts_with("db: ") && !told[0].contains("api"), "{told:?}");
    }

    #[tokio::test]
    async fn patience_ends_with_words() {
        let gates = ["db=file:///nowhere/at/all".parse().unwrap()];
        let why = open(&gates, Duration::from_millis(1), |_| ()).await.unwrap_err();
        assert!(why.starts_with("db: ") && why.ends_with("after 0 s"), "{why}");
        assert_eq!(gave_up(&why).reason, Reason::DependencyNotReady);
    }

    #[test]
    fn what_is_no_gate_is_refused() {
        for bad in ["", "db", "db=", "A=tcp://a:1", "db=tcp://a", "db=tcp://a:0", "db=tcp://:1", "db=ftp://a:1"] {
            assert!(bad.parse::<Gate>().is_err(), "{bad}");
        }
    }
}
