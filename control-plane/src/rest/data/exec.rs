//! Commands that are started: run to their end, or left to run.

use std::{collections::BTreeMap, time::Duration};

use axum::{extract::State, response::Response};
use http::{HeaderMap, StatusCode};
use remora_proto::agent::v1::{
    Argv, CommandSpec, Excerpt, RunRequest, RunResponse, StartRequest, command_spec::Program,
};
use remora_proto_model::Fault;
use serde::{Deserialize, Serialize};

use super::{
    agent::{Agent, answer},
    shown::{Command, Cut, Process, given_bytes, processes},
};
use crate::rest::{
    Shared,
    extract::{Asked, Json, Nothing, json},
    problem::{Problem, Refused},
};

/// Makes a call repeatable, as the field `idempotencyKey` does.
const IDEMPOTENCY_KEY: &str = "idempotency-key";

/// A command to run.
#[derive(Deserialize, Default, utoipa::ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub(in crate::rest) struct RunCommand {
    /// The container; empty is the project's default one.
    container: String,
    /// Program and arguments, run as they are: no shell reads them. Either this or `shell`.
    #[serde(skip_serializing_if = "Option::is_none")]
    argv: Option<Vec<String>>,
    /// A line for `sh -c`. Either this or `argv`.
    shell: Option<String>,
    /// Added to the container's environment; a value replaces.
    env: BTreeMap<String, String>,
    /// Starts from an environment of PATH and HOME only.
    clean_env: bool,
    /// Working directory. A relative one counts from the container's own (its `workdir`); empty is that.
    cwd: String,
    /// Milliseconds until the command and all that it started is ended: at most 600,000, 0 is 120,000. With
    /// `background` at most a week, and 0 is never.
    timeout_ms: u64,
    /// Free words of the caller, at most 16, returned with the command.
    labels: BTreeMap<String, String>,
    /// Given to stdin, which is then closed, at most 1 MiB. Not with `background`.
    stdin: Option<String>,
    /// The same in base64.
    stdin_base64: Option<String>,
    /// Makes the call repeatable: the same key with the same request waits for, or returns, the command that was
    /// started first. 1 to 128 bytes. The header `Idempotency-Key` says the same.
    idempotency_key: String,
    /// Characters of each stream that are returned: the beginning and the end where there are more. At most
    /// 300,000; 0 is 30,000.
    max_output_characters: u32,
    /// Only start it: the answer comes at once, and `commands/{id}` has its state and output.
    background: bool,
    /// A folder, relative to the workspace, in which the kernel keeps it and all that it starts: no other files, no
    /// network, an environment of its own; `cwd` counts from it. A token that is limited to a folder is always kept there.
    confine: String,
    /// Opens stdin for `commands/{id}/stdin`. Only with `background`.
    open_stdin: bool,
}

/// One stream of a command that has ended.
#[derive(Serialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase")]
pub(in crate::rest) struct Output {
    /// All of it, or its beginning and its end with a line between them that says what is left out. What is no UTF-8 is U+FFFD.
    text: String,
    /// Present where something is left out.
    #[serde(skip_serializing_if = "Option::is_none")]
    truncated: Option<Cut>,
    /// Whether bytes were replaced because they are no UTF-8; `commands/{id}/output` has them.
    replaced_bytes: bool,
}

/// A command that has ended, or that was started in the background.
#[derive(Serialize, utoipa::ToSchema)]
pub(in crate::rest) struct RanCommand {
    /// How it went, in words.
    summary: String,
    command: Command,
    /// Absent with `background`.
    #[serde(skip_serializing_if = "Option::is_none")]
    stdout: Option<Output>,
    /// Absent with `background`.
    #[serde(skip_serializing_if = "Option::is_none")]
    stderr: Option<Output>,
    /// Processes that lived on after the kill, after a timeout.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    survivors: Vec<Process>,
}

/// Runs a command and returns how it ended and what it printed. An exit status other than 0 is a result and no error;
/// a program that cannot be started is an error. A caller who goes away ends the command, unless a key makes it repeatable.
#[utoipa::path(
    post,
    path = "/api/v1/projects/{name}/exec",
    operation_id = "runCommand",
    tag = "commands",
    params(
        ("name" = String, Path, description = "Name or id of the project"),
        ("Idempotency-Key" = Option<String>, Header, description = "As the field idempotencyKey")
    ),
    request_body = RunCommand,
    responses(
        (status = 200, body = RanCommand, description = "It has ended"),
        (status = 202, body = RanCommand, description = "It was started in the background"),
        (status = "default", body = Problem, content_type = "application/problem+json", description = "What went wrong")
    )
)]
pub(in crate::rest) async fn run(
    State(_): State<Shared>,
    agent: Agent,
    Asked(Nothing {}): Asked<Nothing>,
    headers: HeaderMap,
    Json(mut wanted): Json<RunCommand>,
) -> Result<Response, Refused> {
    if let Some(key) = headers.get(IDEMPOTENCY_KEY) {
        let key = key.to_str().map_err(|_| Fault::invalid("idempotency-key", "has characters that no key has"))?;
        if !wanted.idempotency_key.is_empty() && wanted.idempotency_key != key {
            return Err(Refused(Fault::invalid("idempotencyKey", "is another one than the header Idempotency-Key")));
        }
        key.clone_into(&mut wanted.idempotency_key);
    }
    if wanted.background { start(&agent, wanted).await } else { wait(&agent, wanted).await }
}

async fn start(agent: &Agent, wanted: RunCommand) -> Result<Response, Refused> {
    if wanted.stdin.is_some() || wanted.stdin_base64.is_some() {
        return Err(Refused(
            Fault::invalid("stdin", "is for a command that is waited for")
                .hint("with background set openStdin, and send its input to commands/{id}/stdin"),
        ));
    }
    let idempotency_key = wanted.idempotency_key.clone();
    let request = StartRequest { command: Some(spec(wanted)?), idempotency_key };
    let command: Command = answer(agent.commands().start(request).await)?.into();
    let link = agent.link(&format!("commands/{}", command.id));
    let summary = match &command.exit {
        Some(exit) => format!("it {}; its output: GET {link}/output?stream=stdout", exit.words()),
        None => {
            format!("it runs; wait for it: GET {link}?waitMs=60000; its output so far: GET {link}/output?stream=stdout")
        }
    };
    let started = RanCommand { summary, command, stdout: None, stderr: None, survivors: Vec::new() };
    Ok(json(StatusCode::ACCEPTED, &started))
}

async fn wait(agent: &Agent, wanted: RunCommand) -> Result<Response, Refused> {
    if wanted.open_stdin {
        return Err(Refused(
            Fault::invalid(
                "openStdin",
                "is for a command in the background: nobody can write to it while this call waits",
            )
            .hint("give its input as stdin, or set background"),
        ));
    }
    let stdin_data = given_bytes("stdin", wanted.stdin.clone(), wanted.stdin_base64.clone())?;
    let (idempotency_key, max_output_characters) = (wanted.idempotency_key.clone(), wanted.max_output_characters);
    let request = RunRequest { command: Some(spec(wanted)?), idempotency_key, stdin_data, max_output_characters };
    let RunResponse { command, stdout, stderr, survivors } = answer(agent.commands().run(request).await)?;
    let command: Command = command.unwrap_or_default().into();
    let output = |name: &str, excerpt: Option<Excerpt>| {
        let link = agent.link(&format!("commands/{}/output?stream={name}", command.id));
        Some(shown(excerpt.unwrap_or_default(), &link))
    };
    let (stdout, stderr) = (output("stdout", stdout), output("stderr", stderr));
    let ran = RanCommand { summary: summary(&command), stdout, stderr, survivors: processes(survivors), command };
    Ok(json(StatusCode::OK, &ran))
}

fn summary(command: &Command) -> String {
    let took = Duration::from_millis(command.ended_ms.saturating_sub(command.started_ms));
    let how = command.exit.as_ref().map_or_else(|| "has not ended".to_owned(), |exit| exit.words());
    format!("it {how} after {:.1} s", took.as_secs_f64())
}

fn shown(excerpt: Excerpt, link: &str) -> Output {
    let Excerpt { head, tail, truncated, replaced_bytes } = excerpt;
    let Some(truncated) = truncated else { return Output { text: head, truncated: None, replaced_bytes } };
    let note = format!(
        "the middle is left out; any range of it: GET {link}&offset=0 (bytes from 0, at most 1048576 with limit)"
    );
    let text =
        format!("{head}\n[... the middle of this output is left out; read it with GET {link}&offset=... ...]\n{tail}");
    Output { text, truncated: Some(Cut::of(truncated, note)), replaced_bytes }
}

fn spec(wanted: RunCommand) -> Result<CommandSpec, Fault> {
    let RunCommand { container, argv, shell, env, clean_env, cwd, timeout_ms, labels, open_stdin, confine, .. } =
        wanted;
    let program = match (argv, shell) {
        (Some(words), None) => Program::Argv(Argv { words }),
        (None, Some(line)) => Program::Shell(line),
        _ => {
            return Err(Fault::invalid("argv", "exactly one of argv and shell says what to run")
                .hint(r#"send {"argv": ["npm", "test"]}, or {"shell": "npm test | tail -20"}"#));
        }
    };
    Ok(CommandSpec {
        container,
        program: Some(program),
        env: env.into_iter().collect(),
        clean_env,
        cwd,
        stdin: open_stdin,
        timeout_ms,
        labels: labels.into_iter().collect(),
        confine,
    })
}

#[cfg(test)]
mod tests {
    use remora_proto::agent::v1::{Truncated, truncated};

    use super::*;

    #[test]
    fn what_is_left_out_is_said_where_it_is_missing() {
        let whole = shown(Excerpt { head: "a".to_owned(), ..Excerpt::default() }, "/x?stream=stdout");
        assert_eq!((whole.text.as_str(), whole.truncated.is_none()), ("a", true));
        let truncated = Truncated { reason: truncated::Reason::Bytes.into(), limit: 2, total: 9 };
        let cut = Excerpt {
            head: "first".to_owned(),
            tail: "last".to_owned(),
            truncated: Some(truncated),
            replaced_bytes: false,
        };
        let cut = shown(cut, "/x?stream=stdout");
        assert!(cut.text.starts_with("first\n[") && cut.text.ends_with("]\nlast"), "{}", cut.text);
        assert!(cut.text.contains("GET /x?stream=stdout&offset="), "{}", cut.text);
        assert_eq!(serde_json::to_value(cut.truncated.unwrap()).unwrap()["total"], 9);
    }

    #[test]
    fn exactly_one_of_the_two_says_what_to_run() {
        let both =
            RunCommand { argv: Some(vec!["a".to_owned()]), shell: Some("a".to_owned()), ..RunCommand::default() };
        for bad in [RunCommand::default(), both] {
            assert!(spec(bad).unwrap_err().message.starts_with("argv:"));
        }
    }
}
