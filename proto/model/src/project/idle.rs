//! [`Idle`]: what becomes of a project that nobody uses.

use serde::{Deserialize, Serialize};

use super::Desired;
use crate::Fault;

/// Shortest time without use that counts, in seconds: what an agent says of itself is
/// up to 5 s old, and its processor time is looked at over as long.
pub const MIN_IDLE_SECONDS: u32 = 5;
/// Longest such time, in seconds: 30 days. Who wants longer wants no end by itself.
pub const MAX_IDLE_SECONDS: u32 = 30 * 86_400;

/// What is done with a project that was not used for long enough.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub enum IdleAction {
    /// As `hibernate` does it.
    #[default]
    Hibernate,
    /// As `stop` does it.
    Stop,
    /// Nothing: its phase says that it is idle.
    None,
}

impl IdleAction {
    /// What is then wanted of the project; `None` is nothing else than before.
    pub fn desired(self) -> Option<Desired> {
        match self {
            IdleAction::Hibernate => Some(Desired::Hibernated),
            IdleAction::Stop => Some(Desired::Stopped),
            IdleAction::None => None,
        }
    }
}

/// When a project counts as idle, and what happens then.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Idle {
    /// Seconds without use, 5 to 2,592,000 (30 days).
    pub after_seconds: u32,
    /// What is done then.
    #[serde(default)]
    pub action: IdleAction,
}

impl Idle {
    /// Checks the bounds. The error names the field.
    pub fn validate(&self) -> Result<(), Fault> {
        if (MIN_IDLE_SECONDS..=MAX_IDLE_SECONDS).contains(&self.after_seconds) {
            return Ok(());
        }
        Err(Fault::invalid(
            "idle.afterSeconds",
            format!("is {}; from {MIN_IDLE_SECONDS} to {MAX_IDLE_SECONDS}", self.after_seconds),
        )
        .hint("the action None keeps a project that nobody uses as it is"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_bounded_and_the_error_names_the_field() {
        for (after_seconds, good) in [(0, false), (4, false), (5, true), (2_592_000, true), (2_592_001, false)] {
            let checked = Idle { after_seconds, action: IdleAction::Stop }.validate();
            assert_eq!(checked.is_ok(), good, "{after_seconds}");
            if let Err(fault) = checked {
                assert!(fault.message.contains("idle.afterSeconds"), "{fault}");
            }
        }
    }

    #[test]
    fn its_json_is_short_and_strict() {
        let idle: Idle = serde_json::from_str(r#"{"afterSeconds":60}"#).unwrap();
        assert_eq!(idle, Idle { after_seconds: 60, action: IdleAction::Hibernate });
        assert_eq!(serde_json::to_string(&idle).unwrap(), r#"{"afterSeconds":60,"action":"Hibernate"}"#);
        for bad in [r#"{}"#, r#"{"afterSeconds":-1}"#, r#"{"afterSeconds":60,"action":"Delete"}"#, r#"{"after":60}"#] {
            serde_json::from_str::<Idle>(bad).unwrap_err();
        }
    }
}
