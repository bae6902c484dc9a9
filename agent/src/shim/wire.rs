//! The engine's values as messages, and back.

use remora_agent_term::{Cause, Process, Size, TermError};
use remora_proto::{
    agent::v1::{self as wire, StreamRange, TerminalSize},
    fault::to_status,
    model::{Fault, Reason},
};
use tonic::Status;

pub(super) fn refuse(error: TermError) -> Status {
    to_status(&Fault::from(error))
}

pub(super) fn exit(status: remora_agent_term::ExitStatus) -> wire::ExitStatus {
    let cause = match status.cause {
        Cause::Exited => wire::exit_status::Cause::Exited,
        Cause::Signaled => wire::exit_status::Cause::Signaled,
        Cause::TimedOut => wire::exit_status::Cause::TimedOut,
        Cause::OutOfMemory => wire::exit_status::Cause::OutOfMemory,
        Cause::KilledByRequest => wire::exit_status::Cause::KilledByRequest,
        Cause::Unknown => wire::exit_status::Cause::Unknown,
    };
    wire::ExitStatus { cause: cause.into(), code: status.code, signal: status.signal }
}

pub(super) fn held(held: remora_agent_term::Held) -> StreamRange {
    StreamRange { base: held.base, head: held.head }
}

pub(super) fn size(size: Size) -> TerminalSize {
    TerminalSize { columns: size.columns.into(), rows: size.rows.into() }
}

pub(super) fn processes(processes: Vec<Process>) -> Vec<wire::Process> {
    let shown =
        |process: Process| wire::Process { pid: u32::try_from(process.pid).unwrap_or(0), command: process.command };
    processes.into_iter().map(shown).collect()
}

pub(super) fn clamp(count: usize) -> u32 {
    u32::try_from(count).unwrap_or(u32::MAX)
}

/// Refuses a call for another container: the agent sent it to the wrong shim.
pub(super) fn same_container(asked: &str, own: &str) -> Result<(), Status> {
    if asked.is_empty() || asked == own {
        return Ok(());
    }
    Err(to_status(&Fault::new(Reason::NotFound, format!("this shim is of container {own:?}, not {asked:?}"))))
}

/// Runs what blocks (a look through /proc, a screen to draw) beside the tasks.
pub(super) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, TermError> + Send + 'static,
) -> Result<T, Status> {
    let lost = |_| to_status(&Fault::new(Reason::Internal, "the call failed within the shim"));
    tokio::task::spawn_blocking(work).await.map_err(lost)?.map_err(refuse)
}
