//! The requests of TerminalService.

use std::time::Duration;

use remora_agent_term::{FRAME_BYTES, KILL_GRACE, KILL_GRACE_MAX, LagPolicy, Mode, Start, TerminalSpec};
use remora_proto::{
    agent::v1::{
        AttachStart, CloseTerminalRequest, Input, OpenTerminalRequest, ResizeTerminalRequest, TerminalSize,
        WriteTerminalRequest, attach_start,
    },
    model::{Fault, IdempotencyKey},
};

use super::{bounded, client, id, key};

/// What Open asks for.
pub(crate) fn open(request: OpenTerminalRequest) -> Result<(TerminalSpec, Option<IdempotencyKey>), Fault> {
    let spec = TerminalSpec {
        argv: request.argv,
        env: request.env.into_iter().collect(),
        cwd: request.cwd,
        size: request.size.map(|size| (size.columns, size.rows)),
        ring_bytes: request.ring_bytes as usize,
        idle: Duration::from_millis(request.idle_ttl_ms),
        labels: request.labels.into_iter().collect(),
        confine: request.confine,
    };
    spec.check()?;
    Ok((spec, key(&request.idempotency_key)?))
}

/// How a client wants to attach.
pub(crate) struct Attaching {
    pub(crate) mode: Mode,
    pub(crate) start: Start,
    pub(crate) lag: LagPolicy,
    pub(crate) client: String,
}

/// What the first frame of Attach asks for.
pub(crate) fn attach(start: &AttachStart) -> Result<Attaching, Fault> {
    id(&start.id)?;
    let mode = match start.mode() {
        attach_start::Mode::Viewer => Mode::Viewer,
        attach_start::Mode::Writer => Mode::Writer,
        attach_start::Mode::Takeover => Mode::Takeover,
        attach_start::Mode::Unspecified => {
            return Err(Fault::invalid("mode", "is missing").hint("give VIEWER, WRITER or TAKEOVER"));
        }
    };
    if mode != Mode::Viewer && start.client_id.is_empty() {
        return Err(Fault::invalid("client_id", "is missing; a writer needs one so that its input arrives once"));
    }
    let from = match start.from {
        None | Some(attach_start::From::Live(true)) => Start::Live,
        Some(attach_start::From::FromOffset(offset)) => Start::From(offset),
        Some(attach_start::From::Screen(true)) => Start::Screen,
        Some(attach_start::From::Scrollback(true)) => Start::Scrollback,
        Some(attach_start::From::Tail(bytes)) => Start::Tail(bytes),
        Some(
            attach_start::From::Screen(false) | attach_start::From::Scrollback(false) | attach_start::From::Live(false),
        ) => return Err(Fault::invalid("from", "is false, which says nothing").hint("set it to true or leave it out")),
    };
    let lag = match attach_start::LagPolicy::try_from(start.lag_policy) {
        Ok(attach_start::LagPolicy::Unspecified | attach_start::LagPolicy::Backpressure) => LagPolicy::Backpressure,
        Ok(attach_start::LagPolicy::Drop) => LagPolicy::Drop,
        Err(_) => return Err(Fault::invalid("lag_policy", "is unknown").hint("give BACKPRESSURE or DROP")),
    };
    Ok(Attaching { mode, start: from, lag, client: client(&start.client_id)? })
}

/// A frame of input of Attach.
pub(crate) fn input(input: &Input) -> Result<(), Fault> {
    if input.sequence == 0 {
        return Err(Fault::invalid("input.sequence", "is 0; frames count from 1"));
    }
    bounded("input.data", input.data.len(), FRAME_BYTES)
}

/// What Write types; returns the name of its client.
pub(crate) fn write(request: &WriteTerminalRequest) -> Result<String, Fault> {
    id(&request.id)?;
    bounded("data", request.data.len(), FRAME_BYTES)?;
    if request.sequence > 0 && request.client_id.is_empty() {
        return Err(Fault::invalid("sequence", "counts the input of a client")
            .hint("give client_id too, or leave sequence out"));
    }
    client(&request.client_id)
}

/// The size that Resize sets.
pub(crate) fn resize(request: &ResizeTerminalRequest) -> Result<TerminalSize, Fault> {
    id(&request.id)?;
    request.size.ok_or_else(|| Fault::invalid("size", "is missing"))
}

/// The grace that Close leaves.
pub(crate) fn close(request: &CloseTerminalRequest) -> Result<Duration, Fault> {
    id(&request.id)?;
    match Duration::from_millis(request.grace_ms.into()) {
        Duration::ZERO => Ok(KILL_GRACE),
        grace if grace <= KILL_GRACE_MAX => Ok(grace),
        _ => {
            let problem = format!("is {}, at most {} are waited", request.grace_ms, KILL_GRACE_MAX.as_millis());
            Err(Fault::invalid("grace_ms", problem))
        }
    }
}
