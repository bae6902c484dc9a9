//! The rules of Pod Security `restricted`, which has those of `baseline` too, as
//! the Kubernetes documentation lists them ("Pod Security Standards").

use k8s_openapi::api::core::v1::{Container, PodSpec, SecurityContext, Volume};

/// What of `pod` the profile forbids, in words; empty where it passes.
pub(crate) fn violations(pod: &PodSpec) -> Vec<String> {
    let mut found = Vec::new();
    for (name, set) in [("hostNetwork", pod.host_network), ("hostPID", pod.host_pid), ("hostIPC", pod.host_ipc)] {
        if set == Some(true) {
            found.push(format!("{name} is set"));
        }
    }
    for volume in pod.volumes.iter().flatten() {
        if !volume_is_allowed(volume) {
            found.push(format!("volume {} is of a type that is not allowed", volume.name));
        }
    }
    let context = pod.security_context.clone().unwrap_or_default();
    if context.run_as_user == Some(0) {
        found.push("runAsUser of the pod is 0".to_owned());
    }
    if context.sysctls.is_some_and(|sysctls| !sysctls.is_empty()) {
        found.push("sysctls are set".to_owned());
    }
    let pod_seccomp = context.seccomp_profile.map(|profile| profile.type_);
    for container in pod.init_containers.iter().flatten().chain(&pod.containers) {
        let own = container.security_context.clone().unwrap_or_default();
        let mut refuse = |what: &str| found.push(format!("{what} of {}", container.name));
        if own.run_as_non_root.or(context.run_as_non_root) != Some(true) {
            refuse("runAsNonRoot is not true");
        }
        if own.run_as_user == Some(0) {
            refuse("runAsUser is 0");
        }
        let seccomp = own.seccomp_profile.as_ref().map(|profile| profile.type_.clone()).or_else(|| pod_seccomp.clone());
        if !matches!(seccomp.as_deref(), Some("RuntimeDefault" | "Localhost")) {
            refuse("seccompProfile is not RuntimeDefault");
        }
        check(container, &own, &mut refuse);
    }
    found
}

fn check(container: &Container, own: &SecurityContext, refuse: &mut impl FnMut(&str)) {
    if own.allow_privilege_escalation != Some(false) {
        refuse("allowPrivilegeEscalation is not false");
    }
    if own.privileged == Some(true) {
        refuse("privileged");
    }
    if own.proc_mount.as_deref().is_some_and(|kind| kind != "Default") {
        refuse("procMount");
    }
    let capabilities = own.capabilities.clone().unwrap_or_default();
    if !capabilities.drop.iter().flatten().any(|name| name == "ALL")
        || capabilities.add.iter().flatten().any(|name| name != "NET_BIND_SERVICE")
    {
        refuse("capabilities are not dropped");
    }
    if container.ports.iter().flatten().any(|port| port.host_port.is_some_and(|port| port != 0)) {
        refuse("hostPort");
    }
}

fn volume_is_allowed(volume: &Volume) -> bool {
    volume.config_map.is_some()
        || volume.csi.is_some()
        || volume.downward_api.is_some()
        || volume.empty_dir.is_some()
        || volume.ephemeral.is_some()
        || volume.persistent_volume_claim.is_some()
        || volume.projected.is_some()
        || volume.secret.is_some()
}
