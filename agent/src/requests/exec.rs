//! The requests of ExecService.

use std::time::Duration;

use bytes::Bytes;
use remora_agent_term::{
    CommandSpec, EXCERPT_CHARACTERS, EXCERPT_CHARACTERS_MAX, FRAME_BYTES, OUTPUT_BYTES, OUTPUT_BYTES_MAX,
    RUN_STDIN_BYTES, RUN_TIMEOUT, RUN_TIMEOUT_MAX, START_TIMEOUT_MAX, Stream,
};
use remora_proto::{
    agent::v1::{
        self as wire, GetOutputRequest, OutputStream, RunRequest, StartRequest, WaitRequest, WriteStdinRequest,
        command_spec::Program,
    },
    model::{Fault, IdempotencyKey},
};

use super::{bounded, id, key};

/// What Run asks for.
pub(crate) struct Run {
    pub(crate) spec: CommandSpec,
    pub(crate) key: Option<IdempotencyKey>,
    /// All of stdin.
    pub(crate) stdin: Bytes,
    /// Characters of each stream that are returned.
    pub(crate) characters: usize,
}

/// What Run asks for.
pub(crate) fn run(request: RunRequest) -> Result<Run, Fault> {
    let characters = match request.max_output_characters as usize {
        0 => EXCERPT_CHARACTERS,
        limit if limit <= EXCERPT_CHARACTERS_MAX => limit,
        limit => {
            let problem = format!("is {limit}, at most {EXCERPT_CHARACTERS_MAX} are returned");
            return Err(Fault::invalid("max_output_characters", problem).hint("GetOutput returns any range"));
        }
    };
    bounded("stdin_data", request.stdin_data.len(), RUN_STDIN_BYTES)
        .map_err(|fault| fault.hint("use Start and WriteStdin"))?;
    let key = key(&request.idempotency_key)?;
    let mut spec = spec(request.command, RUN_TIMEOUT_MAX)?;
    if spec.stdin {
        return Err(Fault::invalid("command.stdin", "is for Start: nobody can write to it while Run waits")
            .hint("give Run its input as stdin_data"));
    }
    if spec.timeout.is_zero() {
        spec.timeout = RUN_TIMEOUT;
    }
    if !request.stdin_data.is_empty() {
        spec.stdin = true;
        // Part of what the key stands for.
        spec.input = Some(*blake3::hash(&request.stdin_data).as_bytes());
    }
    Ok(Run { spec, key, stdin: request.stdin_data, characters })
}

/// What Start asks for.
pub(crate) fn start(request: StartRequest) -> Result<(CommandSpec, Option<IdempotencyKey>), Fault> {
    let key = key(&request.idempotency_key)?;
    Ok((spec(request.command, START_TIMEOUT_MAX)?, key))
}

fn spec(spec: Option<wire::CommandSpec>, longest: Duration) -> Result<CommandSpec, Fault> {
    let spec = spec.ok_or_else(|| Fault::invalid("command", "is missing"))?;
    let argv = match spec.program {
        Some(Program::Argv(argv)) => argv.words,
        Some(Program::Shell(line)) if line.is_empty() => {
            return Err(Fault::invalid("command.shell", "is empty").hint("give a line for sh -c, or argv"));
        }
        Some(Program::Shell(line)) if line.contains('\0') => {
            return Err(Fault::invalid("command.shell", "has a NUL byte"));
        }
        Some(Program::Shell(line)) => vec!["sh".into(), "-c".into(), line],
        None => return Err(Fault::invalid("command.program", "is missing").hint("give argv or shell")),
    };
    let time = Duration::from_millis(spec.timeout_ms);
    if time > longest {
        let problem = format!("is {}, at most {} are taken", spec.timeout_ms, longest.as_millis());
        return Err(Fault::invalid("command.timeout_ms", problem)
            .hint("use Start for what takes longer than Run allows, without a bound for what never ends"));
    }
    let spec = CommandSpec {
        argv,
        env: spec.env.into_iter().collect(),
        clean_env: spec.clean_env,
        cwd: spec.cwd,
        stdin: spec.stdin,
        input: None,
        timeout: time,
        labels: spec.labels.into_iter().collect(),
        confine: spec.confine,
    };
    spec.check()?;
    Ok(spec)
}

/// Checks what WriteStdin writes.
pub(crate) fn write_stdin(request: &WriteStdinRequest) -> Result<(), Fault> {
    id(&request.id)?;
    if request.offset.checked_add(request.data.len() as u64).is_none() {
        return Err(Fault::invalid("offset", "is beyond any number of bytes").hint("it is the number written before"));
    }
    bounded("data", request.data.len(), FRAME_BYTES)
}

/// How long Wait waits.
pub(crate) fn wait(request: &WaitRequest) -> Result<Duration, Fault> {
    id(&request.id)?;
    match Duration::from_millis(request.timeout_ms) {
        Duration::ZERO => Ok(RUN_TIMEOUT),
        time if time <= RUN_TIMEOUT_MAX => Ok(time),
        _ => {
            let problem = format!("is {}, at most {} are waited", request.timeout_ms, RUN_TIMEOUT_MAX.as_millis());
            Err(Fault::invalid("timeout_ms", problem).hint("wait again when it is over"))
        }
    }
}

/// The stream and the number of bytes that GetOutput returns.
pub(crate) fn output(request: &GetOutputRequest) -> Result<(Stream, usize), Fault> {
    id(&request.id)?;
    let limit = match request.limit as usize {
        0 => OUTPUT_BYTES,
        limit if limit <= OUTPUT_BYTES_MAX => limit,
        limit => {
            let problem = format!("is {limit}, at most {OUTPUT_BYTES_MAX} are returned");
            return Err(Fault::invalid("limit", problem));
        }
    };
    match request.stream() {
        OutputStream::Stdout => Ok((Stream::Stdout, limit)),
        OutputStream::Stderr => Ok((Stream::Stderr, limit)),
        OutputStream::Unspecified => Err(Fault::invalid("stream", "is missing").hint("give STDOUT or STDERR")),
    }
}
