//! What a request that is for a container may say, as the engine's
//! values. `serve` looks before it sends a request on, and the shim looks again:
//! neither trusts whoever called it.

pub(crate) mod exec;
pub(crate) mod terminal;

use std::{ops::RangeInclusive, time::Duration};

use remora_agent_term::{Target, signal_number};
use remora_proto::{
    agent::v1::SignalTarget,
    fault::to_status,
    model::{Fault, IdempotencyKey, SessionId},
};
use tonic::Status;

/// Characters of a client's name: a UUID and a word.
const CLIENT_CHARACTERS: usize = 64;

/// The id of a session.
pub(crate) fn id(text: &str) -> Result<SessionId, Fault> {
    text.parse().map_err(|error| Fault::invalid("id", error).hint("List shows the ids"))
}

/// The key of a repeatable call; empty is none.
pub(crate) fn key(text: &str) -> Result<Option<IdempotencyKey>, Fault> {
    if text.is_empty() {
        return Ok(None);
    }
    text.parse().map(Some).map_err(|error| Fault::invalid("idempotency_key", error))
}

/// A signal and whom it is for.
pub(crate) fn signal(number: i32, target: i32) -> Result<Target, Fault> {
    if signal_number(number).is_none() {
        return Err(Fault::invalid("signal", format!("{number} is no signal"))
            .hint("1 to 31 and 35 to 64 are, as in signal(7); 15 asks to end, 9 ends"));
    }
    match SignalTarget::try_from(target) {
        Ok(SignalTarget::Leader) => Ok(Target::Leader),
        Ok(SignalTarget::Group) => Ok(Target::Group),
        Ok(SignalTarget::Tree) => Ok(Target::Tree),
        _ => Err(Fault::invalid("target", "is missing").hint("give LEADER, GROUP or TREE")),
    }
}

/// A time in milliseconds; 0 is the default.
pub(crate) fn milliseconds(
    field: &str,
    given: u32,
    default: u32,
    bounds: RangeInclusive<u32>,
) -> Result<Duration, Fault> {
    let value = if given == 0 { default } else { given };
    if !bounds.contains(&value) {
        let problem = format!("is {given}; from {} to {} are taken", bounds.start(), bounds.end());
        return Err(Fault::invalid(field, problem));
    }
    Ok(Duration::from_millis(value.into()))
}

/// The name of a client; empty is a new one.
pub(crate) fn client(name: &str) -> Result<String, Fault> {
    if name.is_empty() {
        return Ok(uuid::Uuid::new_v4().to_string());
    }
    if !is_client(name) {
        let problem = format!("has {} bytes; 1 to {CLIENT_CHARACTERS} visible ASCII characters are taken", name.len());
        return Err(Fault::invalid("client_id", problem));
    }
    Ok(name.to_owned())
}

/// Whether `name` can be a client's.
pub(crate) fn is_client(name: &str) -> bool {
    (1..=CLIENT_CHARACTERS).contains(&name.len()) && name.bytes().all(|byte| byte.is_ascii_graphic())
}

/// The answer to a request that is refused.
pub(crate) fn refused(fault: Fault) -> Status {
    to_status(&fault)
}

fn bounded(field: &str, bytes: usize, limit: usize) -> Result<(), Fault> {
    if bytes <= limit {
        return Ok(());
    }
    Err(Fault::invalid(field, format!("has {bytes} bytes, at most {limit} are taken")))
}
