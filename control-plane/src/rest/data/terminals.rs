//! Terminals: opened, listed, looked at, typed into, resized, ended, and attached
//! to over a WebSocket.

pub(in crate::rest) mod attach;
pub(in crate::rest) mod frames;
mod origin;

use std::collections::BTreeMap;

use axum::{extract::State, response::Response};
use http::StatusCode;
use remora_proto::agent::v1::{
    self as wire, CloseTerminalRequest, CloseTerminalResponse, GetTerminalRequest, ListTerminalsRequest,
    OpenTerminalRequest, ResizeTerminalRequest, ScreenRequest, SignalTarget, SignalTerminalRequest, TerminalSize,
    WriteTerminalRequest,
};
use serde::{Deserialize, Serialize};

use super::{
    agent::{Agent, Id, answer},
    commands::{InContainer, SignalWanted, Signalled},
    shown::{Exit, Process, Range, given_bytes, processes},
};
use crate::rest::{
    Shared,
    extract::{Asked, Json, Nothing, json},
    problem::{Problem, Refused},
};

/// A program on a PTY.
#[derive(Serialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase")]
pub(in crate::rest) struct Terminal {
    /// A UUID.
    id: String,
    container: String,
    argv: Vec<String>,
    cwd: String,
    columns: u32,
    rows: u32,
    labels: BTreeMap<String, String>,
    /// The folder that it is kept in, relative to the workspace; empty is none.
    #[serde(skip_serializing_if = "String::is_empty")]
    confine: String,
    /// The bytes of output that are held.
    output: Range,
    /// Absent while it runs.
    #[serde(skip_serializing_if = "Option::is_none")]
    exit: Option<Exit>,
    /// Number of clients attached.
    viewers: u32,
    /// The client that writes; empty is none.
    writer: String,
    /// The title that the program set, escaped.
    title: String,
    /// Milliseconds since the epoch.
    opened_ms: u64,
    /// Milliseconds since the epoch of the last input or output.
    last_activity_ms: u64,
}

impl From<wire::Terminal> for Terminal {
    fn from(terminal: wire::Terminal) -> Self {
        let TerminalSize { columns, rows } = terminal.size.unwrap_or_default();
        Terminal {
            id: terminal.id,
            container: terminal.container,
            argv: terminal.argv,
            cwd: terminal.cwd,
            columns,
            rows,
            labels: terminal.labels.into_iter().collect(),
            confine: terminal.confine,
            output: terminal.output.into(),
            exit: terminal.exit.map(Into::into),
            viewers: terminal.viewers,
            writer: terminal.writer,
            title: terminal.title,
            opened_ms: terminal.opened_ms,
            last_activity_ms: terminal.last_activity_ms,
        }
    }
}

/// A terminal to open.
#[derive(Deserialize, Default, utoipa::ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub(in crate::rest) struct OpenTerminal {
    /// The container; empty is the project's default one.
    container: String,
    /// Program and arguments; none is the login shell.
    argv: Vec<String>,
    /// Added to the container's environment; a value replaces.
    env: BTreeMap<String, String>,
    /// Working directory. A relative one counts from the container's own (its `workdir`); empty is that.
    cwd: String,
    /// 1 to 1,000; 0 is 80.
    columns: u32,
    /// 1 to 1,000; 0 is 24.
    rows: u32,
    /// Bytes of output that are held: 65,536 to 16,777,216; 0 is 1,048,576.
    ring_bytes: u32,
    /// Milliseconds without a viewer, input or output after which it is closed; 0 is never.
    idle_ttl_ms: u64,
    /// Free words of the caller, at most 16.
    labels: BTreeMap<String, String>,
    /// Makes the call repeatable. 1 to 128 bytes.
    idempotency_key: String,
    /// A folder in which the kernel keeps it, as of a command.
    confine: String,
}

/// Starts a program on a new PTY. It lives on without anybody attached.
#[utoipa::path(
    post,
    path = "/api/v1/projects/{name}/terminals",
    operation_id = "openTerminal",
    tag = "terminals",
    params(("name" = String, Path, description = "Name or id of the project")),
    request_body = OpenTerminal,
    responses((status = 201, body = Terminal, description = "The terminal"), (status = "default", body = Problem, content_type = "application/problem+json", description = "What went wrong"))
)]
pub(in crate::rest) async fn open(
    State(_): State<Shared>,
    agent: Agent,
    Asked(Nothing {}): Asked<Nothing>,
    Json(wanted): Json<OpenTerminal>,
) -> Result<Response, Refused> {
    let OpenTerminal {
        container,
        argv,
        env,
        cwd,
        columns,
        rows,
        ring_bytes,
        idle_ttl_ms,
        labels,
        idempotency_key,
        confine,
    } = wanted;
    let size = (columns > 0 || rows > 0).then(|| size(columns, rows));
    let request = OpenTerminalRequest {
        container,
        argv,
        env: env.into_iter().collect(),
        cwd,
        size,
        ring_bytes,
        idle_ttl_ms,
        labels: labels.into_iter().collect(),
        idempotency_key,
        confine,
    };
    Ok(json(StatusCode::CREATED, &Terminal::from(answer(agent.terminals().open(request).await)?)))
}

/// A side that is 0 has what a terminal has that nobody sized.
fn size(columns: u32, rows: u32) -> TerminalSize {
    let or = |given: u32, default: u32| if given == 0 { default } else { given };
    TerminalSize { columns: or(columns, 80), rows: or(rows, 24) }
}

/// Every terminal of a container.
#[derive(Serialize, utoipa::ToSchema)]
pub(in crate::rest) struct TerminalList {
    /// Running and ended, oldest first.
    terminals: Vec<Terminal>,
}

/// The terminals of a container, running and ended. Always complete.
#[utoipa::path(
    get,
    path = "/api/v1/projects/{name}/terminals",
    operation_id = "listTerminals",
    tag = "terminals",
    params(("name" = String, Path, description = "Name or id of the project"), InContainer),
    responses((status = 200, body = TerminalList, description = "The terminals"), (status = "default", body = Problem, content_type = "application/problem+json", description = "What went wrong"))
)]
pub(in crate::rest) async fn list(
    State(_): State<Shared>,
    agent: Agent,
    Asked(InContainer { container }): Asked<InContainer>,
) -> Result<Response, Refused> {
    let listed = answer(agent.terminals().list(ListTerminalsRequest { container }).await)?;
    Ok(json(StatusCode::OK, &TerminalList { terminals: listed.terminals.into_iter().map(Into::into).collect() }))
}

/// One terminal.
#[utoipa::path(
    get,
    path = "/api/v1/projects/{name}/terminals/{id}",
    operation_id = "getTerminal",
    tag = "terminals",
    params(
        ("name" = String, Path, description = "Name or id of the project"),
        ("id" = String, Path, description = "Id of the terminal"),
        InContainer
    ),
    responses((status = 200, body = Terminal, description = "The terminal"), (status = "default", body = Problem, content_type = "application/problem+json", description = "What went wrong"))
)]
pub(in crate::rest) async fn get(
    State(_): State<Shared>,
    agent: Agent,
    Id(id): Id,
    Asked(InContainer { container }): Asked<InContainer>,
) -> Result<Response, Refused> {
    let found = answer(agent.terminals().get(GetTerminalRequest { container, id }).await)?;
    Ok(json(StatusCode::OK, &Terminal::from(found)))
}

/// How to end it.
#[derive(Deserialize, utoipa::IntoParams)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(in crate::rest) struct Closing {
    /// The container; empty is the project's default one.
    #[serde(default)]
    container: String,
    /// Milliseconds between SIGHUP and SIGKILL, at most 60,000; 0 is 2,000.
    #[serde(default)]
    grace_ms: u32,
}

/// A terminal that was ended.
#[derive(Serialize, utoipa::ToSchema)]
pub(in crate::rest) struct ClosedTerminal {
    /// Its last state.
    terminal: Terminal,
    /// Processes that live on nevertheless.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    survivors: Vec<Process>,
}

/// Ends a terminal with everything it started, and forgets it.
#[utoipa::path(
    delete,
    path = "/api/v1/projects/{name}/terminals/{id}",
    operation_id = "closeTerminal",
    tag = "terminals",
    params(
        ("name" = String, Path, description = "Name or id of the project"),
        ("id" = String, Path, description = "Id of the terminal"),
        Closing
    ),
    responses((status = 200, body = ClosedTerminal, description = "It has ended"), (status = "default", body = Problem, content_type = "application/problem+json", description = "What went wrong"))
)]
pub(in crate::rest) async fn close(
    State(_): State<Shared>,
    agent: Agent,
    Id(id): Id,
    Asked(Closing { container, grace_ms }): Asked<Closing>,
) -> Result<Response, Refused> {
    let request = CloseTerminalRequest { container, id, grace_ms };
    let CloseTerminalResponse { terminal, survivors } = answer(agent.terminals().close(request).await)?;
    let closed = ClosedTerminal { terminal: terminal.unwrap_or_default().into(), survivors: processes(survivors) };
    Ok(json(StatusCode::OK, &closed))
}

/// Width and height in character cells.
#[derive(Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::rest) struct ResizeWanted {
    /// The container; empty is the project's default one.
    #[serde(default)]
    container: String,
    /// 1 to 1,000.
    columns: u32,
    /// 1 to 1,000.
    rows: u32,
}

/// The size that is set.
#[derive(Serialize, utoipa::ToSchema)]
pub(in crate::rest) struct SizeSet {
    columns: u32,
    rows: u32,
}

/// Sets the size of a terminal. Repeatable.
#[utoipa::path(
    post,
    path = "/api/v1/projects/{name}/terminals/{id}/resize",
    operation_id = "resizeTerminal",
    tag = "terminals",
    params(
        ("name" = String, Path, description = "Name or id of the project"),
        ("id" = String, Path, description = "Id of the terminal")
    ),
    request_body = ResizeWanted,
    responses((status = 200, body = SizeSet, description = "The size"), (status = "default", body = Problem, content_type = "application/problem+json", description = "What went wrong"))
)]
pub(in crate::rest) async fn resize(
    State(_): State<Shared>,
    agent: Agent,
    Id(id): Id,
    Json(ResizeWanted { container, columns, rows }): Json<ResizeWanted>,
) -> Result<Response, Refused> {
    let request = ResizeTerminalRequest { container, id, size: Some(TerminalSize { columns, rows }) };
    let TerminalSize { columns, rows } = answer(agent.terminals().resize(request).await)?.size.unwrap_or_default();
    Ok(json(StatusCode::OK, &SizeSet { columns, rows }))
}

/// Sends a signal to a terminal's program.
#[utoipa::path(
    post,
    path = "/api/v1/projects/{name}/terminals/{id}/signal",
    operation_id = "signalTerminal",
    tag = "terminals",
    params(
        ("name" = String, Path, description = "Name or id of the project"),
        ("id" = String, Path, description = "Id of the terminal")
    ),
    request_body = SignalWanted,
    responses((status = 200, body = Signalled, description = "It is sent"), (status = "default", body = Problem, content_type = "application/problem+json", description = "What went wrong"))
)]
pub(in crate::rest) async fn signal(
    State(_): State<Shared>,
    agent: Agent,
    Id(id): Id,
    Json(SignalWanted { container, signal, target }): Json<SignalWanted>,
) -> Result<Response, Refused> {
    let request = SignalTerminalRequest { container, id, signal, target: SignalTarget::from(target).into() };
    let sent = answer(agent.terminals().signal(request).await)?;
    Ok(json(StatusCode::OK, &Signalled { delivered: sent.delivered }))
}

/// Bytes to type.
#[derive(Deserialize, Default, utoipa::ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub(in crate::rest) struct Typed {
    /// The container; empty is the project's default one.
    container: String,
    /// At most 65,536 bytes. A line is entered by \r, as by the key.
    text: Option<String>,
    /// The same in base64.
    text_base64: Option<String>,
    /// Names the caller, so that repeated input is typed once; empty remembers nothing.
    client_id: String,
    /// Numbers the caller's inputs from 1 without a hole; 0 is the next one.
    sequence: u64,
}

/// What was typed.
#[derive(Serialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase")]
pub(in crate::rest) struct TypedIn {
    accepted_bytes: u32,
    /// The number the input was given.
    sequence: u64,
}

/// Types into a terminal once. Refused while another client is attached as writer.
#[utoipa::path(
    post,
    path = "/api/v1/projects/{name}/terminals/{id}/input",
    operation_id = "typeIntoTerminal",
    tag = "terminals",
    params(
        ("name" = String, Path, description = "Name or id of the project"),
        ("id" = String, Path, description = "Id of the terminal")
    ),
    request_body = Typed,
    responses((status = 200, body = TypedIn, description = "It is typed"), (status = "default", body = Problem, content_type = "application/problem+json", description = "What went wrong"))
)]
pub(in crate::rest) async fn input(
    State(_): State<Shared>,
    agent: Agent,
    Id(id): Id,
    Json(given): Json<Typed>,
) -> Result<Response, Refused> {
    let Typed { container, text, text_base64, client_id, sequence } = given;
    let data = given_bytes("text", text, text_base64)?;
    let request = WriteTerminalRequest { container, id, data, client_id, sequence };
    let written = answer(agent.terminals().write(request).await)?;
    let typed = TypedIn { accepted_bytes: written.accepted_bytes, sequence: written.sequence };
    Ok(json(StatusCode::OK, &typed))
}

/// What a terminal shows.
#[derive(Serialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase")]
pub(in crate::rest) struct Screen {
    /// One a row, without trailing blanks; control characters escaped.
    lines: Vec<String>,
    /// Zero-based cell of the cursor.
    cursor_row: u32,
    cursor_column: u32,
    columns: u32,
    rows: u32,
    /// Output up to this offset is on the screen.
    at_offset: u64,
    /// Whether a full-screen program is shown.
    alternate_screen: bool,
}

/// The screen as text, for tools.
#[utoipa::path(
    get,
    path = "/api/v1/projects/{name}/terminals/{id}/screen",
    operation_id = "getTerminalScreen",
    tag = "terminals",
    params(
        ("name" = String, Path, description = "Name or id of the project"),
        ("id" = String, Path, description = "Id of the terminal"),
        InContainer
    ),
    responses((status = 200, body = Screen, description = "The screen"), (status = "default", body = Problem, content_type = "application/problem+json", description = "What went wrong"))
)]
pub(in crate::rest) async fn screen(
    State(_): State<Shared>,
    agent: Agent,
    Id(id): Id,
    Asked(InContainer { container }): Asked<InContainer>,
) -> Result<Response, Refused> {
    let seen = answer(agent.terminals().screen(ScreenRequest { container, id }).await)?;
    let TerminalSize { columns, rows } = seen.size.unwrap_or_default();
    let screen = Screen {
        lines: seen.rows,
        cursor_row: seen.cursor_row,
        cursor_column: seen.cursor_column,
        columns,
        rows,
        at_offset: seen.at_offset,
        alternate_screen: seen.alternate_screen,
    };
    Ok(json(StatusCode::OK, &screen))
}
