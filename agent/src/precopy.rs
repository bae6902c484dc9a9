//! SIGUSR1 to `serve`: a snapshot now, so that the last one has little left to do. And
//! the role `precopy`, which sends it: the preStop hook of the agent's container, where
//! the serving agent is PID 1.
//!
//! The kubelet starts all preStop hooks of a pod at once and the containers' SIGTERM waits
//! for their own, so this one returns at once. Of a hook that fails the kubelet makes an
//! event (FailedPreStopHook) and goes on to stop the container all the same: its exit code
//! is free to say what happened.

use std::{fs, process::ExitCode, sync::Arc};

use remora_proto::model::{Fault, Reason, errno_reason};
use rustix::process::{Pid, Signal, kill_process};
use tokio_util::sync::CancellationToken;

use crate::{hydrate::Log, snapshots::Snapshots};

/// The command line of `remora-agent precopy`.
#[derive(clap::Args, Clone, Debug)]
pub struct PrecopyArgs {
    /// The serving agent's process
    #[arg(long, default_value_t = 1)]
    pid: i32,
}

/// Asks the serving agent for a snapshot and does not wait for it; 0 or the exit code of
/// what went wrong.
pub fn precopy(args: PrecopyArgs) -> ExitCode {
    match ask(args.pid) {
        Ok(()) => ExitCode::SUCCESS,
        Err(fault) => {
            tracing::error!(reason = %fault.reason, "precopy failed: {fault}");
            ExitCode::from(fault.reason.exit_code())
        }
    }
}

fn ask(pid: i32) -> Result<(), Fault> {
    let hint = "give --pid the process id of `remora-agent serve`";
    let Some(process) = (pid > 0).then(|| Pid::from_raw(pid)).flatten() else {
        return Err(Fault::invalid("--pid", format!("{pid} is no process")).hint(hint));
    };
    let status = fs::read_to_string(format!("/proc/{pid}/status"))
        .map_err(|error| Fault::new(Reason::NotFound, format!("process {pid} cannot be seen: {error}")).hint(hint))?;
    if !catches(&status, Signal::USR1) {
        // Without a handler the signal would end it.
        let problem = format!("process {pid} waits for no SIGUSR1, so it is no serving agent");
        return Err(Fault::new(Reason::FailedPrecondition, problem).hint(hint));
    }
    kill_process(process, Signal::USR1).map_err(|errno| {
        Fault::new(errno_reason(errno.raw_os_error()), format!("cannot signal process {pid}: {errno}"))
            .hint("run it as the user of the serving agent")
            .errno(errno.raw_os_error())
    })
}

/// Whether the process of this `/proc/PID/status` has a handler for the signal, see proc(5).
fn catches(status: &str, signal: Signal) -> bool {
    let mask = status.lines().find_map(|line| line.strip_prefix("SigCgt:"));
    let mask = mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok()).unwrap_or_default();
    mask & (1 << (signal.as_raw() - 1)) != 0
}

/// Makes a snapshot for each signal, one at a time, until `stop`. Signals that come
/// meanwhile are one. `asked` is cancelled by the first of them.
pub(crate) async fn on_signal(
    mut signal: tokio::signal::unix::Signal,
    snapshots: Option<Snapshots>,
    stop: CancellationToken,
    asked: CancellationToken,
) {
    loop {
        tokio::select! {
            biased;
            () = stop.cancelled() => return,
            Some(()) = signal.recv() => asked.cancel(),
        }
        let Some(snapshots) = &snapshots else {
            tracing::warn!("asked for a snapshot, but this agent has none: it was started without a store");
            continue;
        };
        // Not ended by `stop`: what it has sent to the store counts only once it is done.
        match copy(snapshots).await {
            Ok(id) => tracing::info!(%id, "precopy: the workspace is in the store"),
            Err(fault) => tracing::warn!(reason = %fault.reason, "precopy: no snapshot was made: {fault}"),
        }
    }
}

async fn copy(snapshots: &Snapshots) -> Result<String, Fault> {
    let operation = snapshots.begin("precopy")?;
    tracing::info!("precopy: asked for a snapshot");
    Ok(snapshots.create_changes(&operation, Arc::new(Log)).await?.1.id)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_process_with_a_handler_is_signalled() {
        assert!(catches("Name:\tx\nSigCgt:\t0000000000000200\n", Signal::USR1));
        assert!(!catches("Name:\tx\nSigCgt:\t0000000000000400\n", Signal::USR1));
        assert!(!catches("Name:\tx\n", Signal::USR1));
        // This test's own process has none: sent to it, the signal would end the test.
        let own = i32::try_from(std::process::id()).unwrap();
        assert_eq!(ask(own).unwrap_err().reason, Reason::FailedPrecondition);
        for (pid, reason) in [(0, Reason::InvalidArgument), (-1, Reason::InvalidArgument), (i32::MAX, Reason::NotFound)]
        {
            assert_eq!(ask(pid).unwrap_err().reason, reason, "{pid}");
        }
    }
}
