//! `remora exec NAME -- ARGV`: the command's bytes, streams apart, and its exit code.

use std::{
    io::{self, IsTerminal as _},
    time::Duration,
};

use bytes::Bytes;
use clap::Args;
use remora_proto::{
    agent::v1::{
        Argv, AttachCommandRequest, Command, CommandSpec, ExitStatus, OutputStream, SignalCommandRequest, SignalTarget,
        StartRequest, WriteStdinRequest, command_output::Frame, exec_service_client::ExecServiceClient,
        exit_status::Cause,
    },
    fault::from_status,
};
use remora_proto_model::{ContainerName, Fault, ProjectName, Reason};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    signal::unix::{SignalKind, signal},
};
use uuid::Uuid;

use crate::{
    Context, Failure, GlobalArgs,
    args::parse_env,
    clients,
    connect::Connection,
    output::{note, stdout_failure},
    patience::Patience,
    project_name::project_name,
};

/// Bytes of stdin in one call; the contract's bound on a frame.
const STDIN_FRAME_BYTES: usize = 64 * 1024;
/// SIGINT, as in signal(7).
const SIGINT: i32 = 2;
/// SIGPIPE, as in signal(7): what a local command gets when its reader leaves.
const SIGPIPE: i32 = 13;
/// SIGTERM, as in signal(7).
const SIGTERM: i32 = 15;
/// How long the passing on of a signal may hold up the verb.
const SIGNAL_PATIENCE: Duration = Duration::from_secs(5);

/// Flags of `remora exec`.
#[derive(Args, Clone, Debug)]
pub struct ExecArgs {
    /// Name of the project.
    #[arg(value_parser = project_name)]
    name: ProjectName,
    /// Container; the dev container where none is given.
    #[arg(short, long)]
    container: Option<ContainerName>,
    /// Folder to run in, relative to the workspace.
    #[arg(short = 'C', long, default_value = "", value_name = "PATH")]
    cwd: String,
    /// Seconds after which the command and all it started is ended (exit code 124).
    #[arg(long, value_name = "SECONDS", value_parser = clap::value_parser!(u32).range(1..=604_800))]
    timeout: Option<u32>,
    /// Environment of the command, NAME=VALUE; repeat for more.
    #[arg(long = "env", value_name = "NAME=VALUE", value_parser = parse_env)]
    env: Vec<(String, String)>,
    /// Give it no standard input, for loops that read their own.
    #[arg(short = 'n', long)]
    no_stdin: bool,
    /// The command and its arguments; no shell reads them.
    #[arg(last = true, required = true)]
    argv: Vec<String>,
}

type Client = ExecServiceClient<Connection>;

/// Runs the verb. A command that ran ends in [`Failure::Code`] unless its exit status is 0.
pub(crate) async fn run(global: &GlobalArgs, args: ExecArgs) -> Result<(), Failure> {
    let ran = match super::context(global) {
        Ok(context) => execute(&context, args).await,
        Err(error) => Err(error.into()),
    };
    let code = ran.or_else(own_failure)?;
    if code == 0 { Ok(()) } else { Err(Failure::Code(code)) }
}

/// As env(1) and timeout(1): 127 not found, 126 not executable, 125 every
/// failure that is ours, so that it is never taken for the command's.
fn own_failure(failure: Failure) -> Result<u8, Failure> {
    let code = match &failure {
        Failure::Fault(fault) => match fault.reason {
            Reason::ProgramNotFound | Reason::ProgramNotPermitted | Reason::ProgramNotExecutable => {
                fault.reason.exit_code()
            }
            _ => 125,
        },
        // As a local command whose reader left: 128 + SIGPIPE.
        Failure::OutputClosed => 141,
        _ => 125,
    };
    if let Some(text) = failure.text() {
        note(&text);
    }
    Ok(code)
}

async fn execute(context: &Context, args: ExecArgs) -> Result<u8, Failure> {
    let mut client = clients::commands(context, &args.name).await?;
    let wants_stdin = !args.no_stdin && !io::stdin().is_terminal();
    let container = args.container.map(String::from).unwrap_or_default();
    let request = StartRequest {
        command: Some(CommandSpec {
            container: container.clone(),
            program: Some(remora_proto::agent::v1::command_spec::Program::Argv(Argv { words: args.argv })),
            env: args.env.into_iter().collect(),
            cwd: args.cwd,
            stdin: wants_stdin,
            timeout_ms: u64::from(args.timeout.unwrap_or(0)) * 1_000,
            ..CommandSpec::default()
        }),
        // Repeated after a lost answer, the key finds the command that was started.
        idempotency_key: Uuid::new_v4().to_string(),
    };
    let mut patience = Patience::default();
    let command = loop {
        match client.start(request.clone()).await {
            Ok(response) => break response.into_inner(),
            Err(status) => patience.wait_or_give_up(from_status(&status)).await?,
        }
    };
    let target = Target { container, id: command.id };
    let ended = tokio::select! {
        code = follow(client.clone(), &target) => code,
        failure = feed(client.clone(), &target, wants_stdin) => Err(failure),
        failure = forward_signals(client.clone(), &target) => Err(failure),
    };
    if matches!(ended, Err(Failure::OutputClosed)) {
        send_signal(&mut client, &target, SIGPIPE, SignalTarget::Tree).await;
    }
    ended
}

struct Target {
    container: String,
    id: String,
}

/// Prints both streams until the command ends; a lost connection goes on where it was cut.
async fn follow(mut client: Client, target: &Target) -> Result<u8, Failure> {
    let (mut stdout_offset, mut stderr_offset) = (0, 0);
    let (mut stdout, mut stderr) = (tokio::io::stdout(), tokio::io::stderr());
    let mut patience = Patience::default();
    loop {
        let request = AttachCommandRequest {
            container: target.container.clone(),
            id: target.id.clone(),
            stdout_offset,
            stderr_offset,
        };
        let cut = match client.attach(request).await {
            Err(status) => status,
            Ok(response) => {
                let mut frames = response.into_inner();
                loop {
                    let frame = match frames.message().await {
                        Ok(Some(message)) => message.frame,
                        Ok(None) => break tonic::Status::unavailable("the stream ended before the command did"),
                        Err(status) => break status,
                    };
                    patience.reset();
                    match frame {
                        Some(Frame::Data(data)) if data.stream() == OutputStream::Stderr => {
                            stderr_offset = data.offset + data.data.len() as u64;
                            stderr.write_all(&data.data).await.map_err(Failure::local("standard error"))?;
                            stderr.flush().await.map_err(Failure::local("standard error"))?;
                        }
                        Some(Frame::Data(data)) => {
                            stdout_offset = data.offset + data.data.len() as u64;
                            stdout.write_all(&data.data).await.map_err(stdout_failure)?;
                            stdout.flush().await.map_err(stdout_failure)?;
                        }
                        Some(Frame::Gap(gap)) => {
                            note(&format!(
                                "remora: {} bytes of {} are missing here (offsets {} to {}): they were dropped before they could be sent",
                                gap.to.saturating_sub(gap.from),
                                if gap.stream() == OutputStream::Stderr { "stderr" } else { "stdout" },
                                gap.from,
                                gap.to
                            ));
                            match gap.stream() {
                                OutputStream::Stderr => stderr_offset = gap.to,
                                _ => stdout_offset = gap.to,
                            }
                        }
                        Some(Frame::Exit(exit)) => return exit_code(&exit.command.unwrap_or_default()),
                        Some(Frame::Heartbeat(_)) | None => {}
                    }
                }
            }
        };
        patience.wait_or_give_up(from_status(&cut)).await?;
    }
}

/// Copies standard input to the command; never returns unless it failed.
async fn feed(mut client: Client, target: &Target, wanted: bool) -> Failure {
    if !wanted {
        return std::future::pending().await;
    }
    let mut stdin = tokio::io::stdin();
    let mut offset = 0;
    let mut buffer = vec![0; STDIN_FRAME_BYTES];
    loop {
        let length = match stdin.read(&mut buffer).await {
            Ok(length) => length,
            Err(error) => return Failure::Local { what: "standard input".to_owned(), error },
        };
        let request = WriteStdinRequest {
            container: target.container.clone(),
            id: target.id.clone(),
            offset,
            data: Bytes::copy_from_slice(&buffer[..length]),
            eof: length == 0,
        };
        let mut patience = Patience::default();
        loop {
            match client.write_stdin(request.clone()).await {
                Ok(response) => {
                    offset = response.into_inner().offset;
                    break;
                }
                Err(status) => {
                    let fault = from_status(&status);
                    if fault.reason == Reason::SessionEnded {
                        // A command that does not want its input, like `head`, is no failure.
                        return std::future::pending().await;
                    }
                    if let Err(failure) = patience.wait_or_give_up(fault).await {
                        return failure;
                    }
                }
            }
        }
        if length == 0 {
            return std::future::pending().await;
        }
    }
}

/// Ctrl-C and SIGTERM go to the command's process group; a second one leaves it to itself.
async fn forward_signals(mut client: Client, target: &Target) -> Failure {
    let listen = |kind| signal(kind).map_err(Failure::local("signals"));
    let (mut interrupts, mut terminations) = match (listen(SignalKind::interrupt()), listen(SignalKind::terminate())) {
        (Ok(interrupts), Ok(terminations)) => (interrupts, terminations),
        (Err(failure), _) | (_, Err(failure)) => return failure,
    };
    for attempt in 0.. {
        let number = tokio::select! {
            _ = interrupts.recv() => SIGINT,
            _ = terminations.recv() => SIGTERM,
        };
        if attempt > 0 {
            return Failure::Fault(
                Fault::new(Reason::Cancelled, "interrupted twice; the command may still run")
                    .hint("`remora exec` it away, or stop the project"),
            );
        }
        send_signal(&mut client, target, number, SignalTarget::Group).await;
    }
    std::future::pending().await
}

async fn send_signal(client: &mut Client, target: &Target, signal: i32, to: SignalTarget) {
    let request =
        SignalCommandRequest { container: target.container.clone(), id: target.id.clone(), signal, target: to.into() };
    // It may have ended meanwhile; its exit is on the way then.
    _ = tokio::time::timeout(SIGNAL_PATIENCE, client.signal(request)).await;
}

/// The exit code for a shell: the command's own, 128 + signal, 124 for a timeout.
fn exit_code(command: &Command) -> Result<u8, Failure> {
    let unknown = || {
        Failure::Fault(
            Fault::new(Reason::Unavailable, "the command ended and nobody could observe how")
                .hint("its container was restarted; run it again if it is safe to repeat"),
        )
    };
    let status: &ExitStatus = command.exit.as_ref().ok_or_else(unknown)?;
    match status.cause() {
        Cause::Exited => u8::try_from(status.code.unwrap_or(-1)).map_err(|_| unknown()),
        Cause::TimedOut => Ok(124),
        Cause::OutOfMemory => {
            note("remora: the command was ended for want of memory");
            Ok(137)
        }
        Cause::Signaled | Cause::KilledByRequest => match status.signal.map(|signal| u8::try_from(signal + 128)) {
            Some(Ok(code)) => Ok(code),
            _ => status.code.and_then(|code| u8::try_from(code).ok()).ok_or_else(unknown),
        },
        Cause::Unknown | Cause::Unspecified => Err(unknown()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ended(cause: Cause, code: Option<i32>, signal: Option<i32>) -> Option<u8> {
        let exit = Some(ExitStatus { cause: cause.into(), code, signal });
        exit_code(&Command { exit, ..Command::default() }).ok()
    }

    #[test]
    fn exit_codes_are_the_commands_own_or_say_so() {
        assert_eq!(ended(Cause::Exited, Some(3), None), Some(3));
        assert_eq!(ended(Cause::Exited, Some(255), None), Some(255));
        assert_eq!(ended(Cause::Signaled, None, Some(15)), Some(143));
        assert_eq!(ended(Cause::TimedOut, None, Some(9)), Some(124));
        assert_eq!(ended(Cause::OutOfMemory, None, Some(9)), Some(137));
        // Never invented.
        assert_eq!(ended(Cause::Exited, None, None), None);
        assert_eq!(ended(Cause::Unknown, None, None), None);
        assert!(exit_code(&Command::default()).is_err());
    }

    #[test]
    fn failures_of_ours_are_125_and_spawn_failures_as_shells_say_them() {
        let code = |reason| own_failure(Failure::Fault(Fault::new(reason, "x"))).unwrap();
        assert_eq!(code(Reason::ProgramNotFound), 127);
        assert_eq!(code(Reason::ProgramNotPermitted), 126);
        assert_eq!(code(Reason::ProgramNotExecutable), 126);
        assert_eq!(code(Reason::WorkingDirectoryInvalid), 125);
        assert_eq!(code(Reason::Unavailable), 125);
    }
}
