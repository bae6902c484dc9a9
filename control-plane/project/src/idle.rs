//! [`idleness`]: whether nobody uses a project, and [`goes_on`]: whether the end that
//! was wanted for that goes on.
//!
//! All times here are lengths, measured by clocks that do not jump: what agents say of
//! themselves, and what the driver saw itself. No time of a calendar is compared.

use remora_proto_model::project::{Idle, IdleAction};

use crate::Pod;

/// What is known of the use of a project.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    /// Milliseconds since any of it was used, as all its agents say just now; `None`
    /// where one of them cannot be asked, or one of its containers does not answer.
    pub quiet_ms: Option<u64>,
    /// Milliseconds since somebody asked for it, as far as this driver saw; `None` is never.
    pub asked_ms: Option<u64>,
}

/// What that means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Idleness {
    /// Nothing is to happen to a project that nobody uses.
    Unlimited,
    /// Nobody knows whether it is used.
    Unknown,
    /// It is used, or was lately: it cannot be idle before so many milliseconds have passed.
    Used {
        /// Milliseconds, at least 1.
        for_ms: u64,
    },
    /// Nobody used it for as long as the policy says.
    Idle(IdleAction),
}

/// Judges a project by its policy.
pub fn idleness(policy: Option<Idle>, usage: Usage) -> Idleness {
    let Some(Idle { after_seconds, action }) = policy else { return Idleness::Unlimited };
    // What is not known is never taken for idle.
    let Some(quiet) = usage.quiet_ms else { return Idleness::Unknown };
    let quiet = quiet.min(usage.asked_ms.unwrap_or(u64::MAX));
    match (u64::from(after_seconds) * 1_000).saturating_sub(quiet) {
        0 => Idleness::Idle(action),
        for_ms => Idleness::Used { for_ms },
    }
}

/// Whether an end that is wanted for idleness alone goes on. Until the pod is condemned
/// it can be called off at no cost, and is by anything but certain idleness; after that
/// something of the pod may be gone, and it comes back by a start like any other.
pub fn goes_on(pod: Pod, now: Idleness) -> bool {
    match pod {
        Pod::Ready | Pod::Saved | Pod::SavedForSure | Pod::Starting | Pod::Broken => {
            matches!(now, Idleness::Idle(IdleAction::Hibernate | IdleAction::Stop))
        }
        Pod::Condemned | Pod::Stray | Pod::Absent | Pod::Raised => true,
    }
}
