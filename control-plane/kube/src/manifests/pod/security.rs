//! What Pod Security `restricted` asks of a pod, and what is asked beyond it.

use k8s_openapi::api::core::v1::{Capabilities, PodSecurityContext, SeccompProfile, SecurityContext};

use crate::defaults::PROJECT_USER;

pub(super) fn pod() -> PodSecurityContext {
    PodSecurityContext {
        run_as_non_root: Some(true),
        run_as_user: Some(PROJECT_USER),
        run_as_group: Some(PROJECT_USER),
        fs_group: Some(PROJECT_USER),
        // A large volume is not walked at each start.
        fs_group_change_policy: Some("OnRootMismatch".to_owned()),
        seccomp_profile: Some(SeccompProfile { type_: "RuntimeDefault".to_owned(), localhost_profile: None }),
        ..PodSecurityContext::default()
    }
}

/// A container of the project: its image may be written to, as its owner expects.
pub(super) fn dev() -> SecurityContext {
    SecurityContext {
        allow_privilege_escalation: Some(false),
        capabilities: Some(Capabilities { add: None, drop: Some(vec!["ALL".to_owned()]) }),
        ..SecurityContext::default()
    }
}

/// A container of ours.
pub(super) fn own() -> SecurityContext {
    SecurityContext { read_only_root_filesystem: Some(true), ..dev() }
}
