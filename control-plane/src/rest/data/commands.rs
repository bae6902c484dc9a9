//! Commands that were started: their state, output and input.

use axum::{extract::State, response::Response};
use http::StatusCode;
use remora_proto::agent::v1::{
    GetOutputRequest, GetOutputResponse, ListCommandsRequest, OutputStream, SignalCommandRequest, SignalTarget,
    WaitRequest, WriteStdinRequest,
};
use serde::{Deserialize, Serialize};

use super::{
    agent::{Agent, Id, answer},
    shown::{Command, Content, Encoding, Range, given_bytes, unfinished_character},
};
use crate::rest::{
    Shared,
    extract::{Asked, Json, json},
    problem::{Problem, Refused},
};

/// Which container.
#[derive(Deserialize, utoipa::IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(in crate::rest) struct InContainer {
    /// The container; empty is the project's default one.
    #[serde(default)]
    pub(super) container: String,
}

/// Every command that a container remembers.
#[derive(Serialize, utoipa::ToSchema)]
pub(in crate::rest) struct CommandList {
    /// Running and ended, oldest first.
    commands: Vec<Command>,
}

/// The commands of a container, running and ended. Always complete: at most 256 are remembered.
#[utoipa::path(
    get,
    path = "/api/v1/projects/{name}/commands",
    operation_id = "listCommands",
    tag = "commands",
    params(("name" = String, Path, description = "Name or id of the project"), InContainer),
    responses((status = 200, body = CommandList, description = "The commands"), (status = "default", body = Problem, content_type = "application/problem+json", description = "What went wrong"))
)]
pub(in crate::rest) async fn list(
    State(_): State<Shared>,
    agent: Agent,
    Asked(InContainer { container }): Asked<InContainer>,
) -> Result<Response, Refused> {
    let listed = answer(agent.commands().list(ListCommandsRequest { container }).await)?;
    Ok(json(StatusCode::OK, &CommandList { commands: listed.commands.into_iter().map(Into::into).collect() }))
}

/// How long to wait.
#[derive(Deserialize, utoipa::IntoParams)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(in crate::rest) struct Waiting {
    /// The container; empty is the project's default one.
    #[serde(default)]
    container: String,
    /// Milliseconds to wait for its end, at most 600,000; 0 does not wait. Without an end the state has no `exit`.
    #[serde(default)]
    wait_ms: u64,
}

/// The state of a command, on demand once it has ended.
#[utoipa::path(
    get,
    path = "/api/v1/projects/{name}/commands/{id}",
    operation_id = "getCommand",
    tag = "commands",
    params(
        ("name" = String, Path, description = "Name or id of the project"),
        ("id" = String, Path, description = "Id of the command"),
        Waiting
    ),
    responses((status = 200, body = Command, description = "Its state"), (status = "default", body = Problem, content_type = "application/problem+json", description = "What went wrong"))
)]
pub(in crate::rest) async fn get(
    State(_): State<Shared>,
    agent: Agent,
    Id(id): Id,
    Asked(Waiting { container, wait_ms }): Asked<Waiting>,
) -> Result<Response, Refused> {
    // The call takes 0 as its default; one millisecond is no wait.
    let request = WaitRequest { container, id, timeout_ms: wait_ms.max(1) };
    Ok(json(StatusCode::OK, &Command::from(answer(agent.commands().wait(request).await)?)))
}

/// Which of the two.
#[derive(Clone, Copy, Deserialize, Serialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase")]
pub(in crate::rest) enum StreamName {
    Stdout,
    Stderr,
}

/// Which bytes.
#[derive(Deserialize, utoipa::IntoParams)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(in crate::rest) struct OutputRange {
    /// The container; empty is the project's default one.
    #[serde(default)]
    container: String,
    /// stdout or stderr.
    #[param(inline)]
    stream: StreamName,
    /// First byte; one beyond the newest is OUT_OF_RANGE.
    #[serde(default)]
    offset: u64,
    /// Bytes, at most 1,048,576; 0 is 262,144.
    #[serde(default)]
    limit: u32,
    /// auto (text where it is UTF-8, else base64), text or base64.
    #[serde(default)]
    #[param(inline)]
    encoding: Encoding,
}

/// A range of a command's output.
#[derive(Serialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase")]
pub(in crate::rest) struct OutputPart {
    stream: StreamName,
    /// Offset of its first byte: larger than asked for where the bytes before it are no longer held.
    offset: u64,
    #[serde(flatten)]
    content: Content,
    /// Offset of the next part. Equal to `held.head` where there is no more yet.
    next_offset: u64,
    /// The bytes that are held.
    held: Range,
    /// What is missing, in words.
    #[serde(skip_serializing_if = "Option::is_none")]
    note: Option<String>,
}

/// A range of what a command printed, while it runs and after it.
#[utoipa::path(
    get,
    path = "/api/v1/projects/{name}/commands/{id}/output",
    operation_id = "getCommandOutput",
    tag = "commands",
    params(
        ("name" = String, Path, description = "Name or id of the project"),
        ("id" = String, Path, description = "Id of the command"),
        OutputRange
    ),
    responses((status = 200, body = OutputPart, description = "The range"), (status = "default", body = Problem, content_type = "application/problem+json", description = "What went wrong"))
)]
pub(in crate::rest) async fn output(
    State(_): State<Shared>,
    agent: Agent,
    Id(id): Id,
    Asked(wanted): Asked<OutputRange>,
) -> Result<Response, Refused> {
    let OutputRange { container, stream, offset: asked, limit, encoding } = wanted;
    let wire = match stream {
        StreamName::Stdout => OutputStream::Stdout,
        StreamName::Stderr => OutputStream::Stderr,
    };
    let link = agent.link(&format!("commands/{id}/output"));
    let request = GetOutputRequest { container, id, stream: wire.into(), offset: asked, limit };
    let GetOutputResponse { offset, mut data, held } = answer(agent.commands().get_output(request).await)?;
    let held = Range::from(held);
    // A character that the range cuts in two is left to the next one.
    let cut = unfinished_character(&data);
    if encoding == Encoding::Auto && cut < data.len() && offset + (data.len() as u64) < held.head {
        data.truncate(data.len() - cut);
    }
    let next_offset = offset + data.len() as u64;
    let note = if offset > asked {
        Some(format!("the bytes {asked} to {offset} are no longer held; only the newest are"))
    } else if next_offset < held.head {
        Some(format!("{} more bytes: GET {link} with offset={next_offset}", held.head - next_offset))
    } else {
        None
    };
    let part = OutputPart { stream, offset, content: Content::of(&data, encoding), next_offset, held, note };
    Ok(json(StatusCode::OK, &part))
}

/// Bytes for stdin.
#[derive(Deserialize, Default, utoipa::ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub(in crate::rest) struct Stdin {
    /// The container; empty is the project's default one.
    container: String,
    /// Number of bytes that were written before: what is below it is skipped, so that a repeated call writes nothing twice.
    offset: u64,
    /// At most 65,536 bytes.
    text: Option<String>,
    /// The same in base64.
    text_base64: Option<String>,
    /// Closes stdin after it.
    eof: bool,
}

/// How far stdin is.
#[derive(Serialize, utoipa::ToSchema)]
pub(in crate::rest) struct StdinWritten {
    /// Bytes written so far: the offset of the next call.
    offset: u64,
}

/// Writes to the stdin of a command that was started with `openStdin`. Waits while the command does not read.
#[utoipa::path(
    post,
    path = "/api/v1/projects/{name}/commands/{id}/stdin",
    operation_id = "writeCommandStdin",
    tag = "commands",
    params(
        ("name" = String, Path, description = "Name or id of the project"),
        ("id" = String, Path, description = "Id of the command")
    ),
    request_body = Stdin,
    responses((status = 200, body = StdinWritten, description = "It is written"), (status = "default", body = Problem, content_type = "application/problem+json", description = "What went wrong"))
)]
pub(in crate::rest) async fn stdin(
    State(_): State<Shared>,
    agent: Agent,
    Id(id): Id,
    Json(given): Json<Stdin>,
) -> Result<Response, Refused> {
    let Stdin { container, offset, text, text_base64, eof } = given;
    let data = given_bytes("text", text, text_base64)?;
    let request = WriteStdinRequest { container, id, offset, data, eof };
    let written = answer(agent.commands().write_stdin(request).await)?;
    Ok(json(StatusCode::OK, &StdinWritten { offset: written.offset }))
}

/// Whom a signal is for.
#[derive(Clone, Copy, Default, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase")]
pub(in crate::rest) enum Whom {
    /// The process that was started.
    Leader,
    /// Its process group; of a terminal, the one in the foreground.
    Group,
    /// Everything it started.
    #[default]
    Tree,
}

impl From<Whom> for SignalTarget {
    fn from(whom: Whom) -> Self {
        match whom {
            Whom::Leader => SignalTarget::Leader,
            Whom::Group => SignalTarget::Group,
            Whom::Tree => SignalTarget::Tree,
        }
    }
}

/// A signal.
#[derive(Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(in crate::rest) struct SignalWanted {
    /// The container; empty is the project's default one.
    #[serde(default)]
    pub(super) container: String,
    /// Number as in signal(7): 2 interrupts, 15 asks to end, 9 ends.
    pub(super) signal: i32,
    /// leader, group or tree.
    #[serde(default)]
    pub(super) target: Whom,
}

/// Who got a signal.
#[derive(Serialize, utoipa::ToSchema)]
pub(in crate::rest) struct Signalled {
    /// How many processes (leader, tree) or groups (group) got it.
    pub(super) delivered: u32,
}

/// Sends a signal to a command.
#[utoipa::path(
    post,
    path = "/api/v1/projects/{name}/commands/{id}/signal",
    operation_id = "signalCommand",
    tag = "commands",
    params(
        ("name" = String, Path, description = "Name or id of the project"),
        ("id" = String, Path, description = "Id of the command")
    ),
    request_body = SignalWanted,
    responses((status = 200, body = Signalled, description = "It is sent"), (status = "default", body = Problem, content_type = "application/problem+json", description = "What went wrong"))
)]
pub(in crate::rest) async fn signal(
    State(_): State<Shared>,
    agent: Agent,
    Id(id): Id,
    Json(wanted): Json<SignalWanted>,
) -> Result<Response, Refused> {
    let SignalWanted { container, signal, target } = wanted;
    let request = SignalCommandRequest { container, id, signal, target: SignalTarget::from(target).into() };
    let sent = answer(agent.commands().signal(request).await)?;
    Ok(json(StatusCode::OK, &Signalled { delivered: sent.delivered }))
}
