//! The agent's binary, as it is now: it may be replaced or removed while the server runs.

use std::{io, path::Path, process::Stdio};

use remora_proto_model::{Fault, Reason, errno_reason};
use tokio::{process::Command, time::timeout};

use crate::limits::ASK_TIMEOUT;

/// Longest version that is believed, in bytes.
const MAX_VERSION_BYTES: usize = 64;

/// What `remora-agent --version` says.
pub(crate) async fn version(binary: &Path) -> Result<String, Fault> {
    let shown = binary.display();
    let advice = "install remora-agent beside remora, or name it with --agent-binary";
    let unusable = |reason, problem: String| Fault::new(reason, format!("{shown} {problem}")).hint(advice);
    let output = Command::new(binary).arg("--version").env_clear().stdin(Stdio::null()).kill_on_drop(true).output();
    let output = timeout(ASK_TIMEOUT, output)
        .await
        .map_err(|_| unusable(Reason::DeadlineExceeded, format!("said nothing for {} s", ASK_TIMEOUT.as_secs())))?
        .map_err(|error: io::Error| {
            let reason = error.raw_os_error().map_or(Reason::IoError, errno_reason);
            unusable(reason, format!("cannot be run: {error}"))
        })?;
    let said = std::str::from_utf8(&output.stdout).ok().and_then(|text| text.trim().strip_prefix("remora-agent "));
    match said {
        Some(version) if output.status.success() && version.len() <= MAX_VERSION_BYTES => Ok(version.to_owned()),
        _ => Err(unusable(Reason::FailedPrecondition, format!("is no remora-agent ({})", output.status))),
    }
}

#[cfg(test)]
mod tests {
    use std::{fs, os::unix::fs::PermissionsExt as _};

    use super::*;

    #[tokio::test]
    async fn what_is_no_agent_is_said() {
        let folder = tempfile::tempdir().unwrap();
        let script = |name: &str, text: &str| {
            let path = folder.path().join(name);
            fs::write(&path, text).unwrap();
            fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
            path
        };
        let good = script("good", "#!/bin/sh\necho remora-agent 1.2.3\n");
        assert_eq!(version(&good).await.unwrap(), "1.2.3");
        let missing = version(&folder.path().join("none")).await.unwrap_err();
        assert_eq!(missing.reason, Reason::NotFound);
        assert!(missing.message.contains("none") && missing.hint.contains("--agent-binary"), "{missing}");
        let other = version(&script("other", "#!/bin/sh\necho hello\n")).await.unwrap_err();
        assert_eq!(other.reason, Reason::FailedPrecondition);
        let fails = version(&script("fails", "#!/bin/sh\necho remora-agent 1.2.3; exit 3\n")).await.unwrap_err();
        assert_eq!(fails.reason, Reason::FailedPrecondition);
    }
}
