//! When a project counts as idle.

use remora_proto_model::{
    Fault,
    project::{Idle, IdleAction},
};

use crate::control::v1 as wire;

impl From<Idle> for wire::Idle {
    fn from(idle: Idle) -> Self {
        let action = match idle.action {
            IdleAction::Hibernate => wire::IdleAction::Hibernate,
            IdleAction::Stop => wire::IdleAction::Stop,
            IdleAction::None => wire::IdleAction::None,
        };
        wire::Idle { after_seconds: idle.after_seconds, action: action.into() }
    }
}

impl TryFrom<wire::Idle> for Idle {
    type Error = Fault;
    fn try_from(idle: wire::Idle) -> Result<Self, Fault> {
        let action = match wire::IdleAction::try_from(idle.action) {
            Ok(wire::IdleAction::Unspecified | wire::IdleAction::Hibernate) => IdleAction::Hibernate,
            Ok(wire::IdleAction::Stop) => IdleAction::Stop,
            Ok(wire::IdleAction::None) => IdleAction::None,
            Err(_) => {
                return Err(Fault::invalid(
                    "idle.action",
                    format!("{} is none of HIBERNATE, STOP and NONE", idle.action),
                ));
            }
        };
        let idle = Idle { after_seconds: idle.after_seconds, action };
        idle.validate()?;
        Ok(idle)
    }
}
