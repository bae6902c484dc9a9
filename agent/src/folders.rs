//! The folders that a role makes where they are missing: a fresh volume has none.

use std::{
    fs::{self, Permissions},
    io,
    os::unix::fs::PermissionsExt as _,
    path::Path,
};

use remora_proto::model::{Fault, Reason, errno_reason};

/// The workspace, which the user's container mounts.
pub(crate) const WORKSPACE_MODE: u32 = 0o755;
/// What is kept beside it, which is the agent's alone.
pub(crate) const STATE_MODE: u32 = 0o700;

/// Makes the folder and those above it; whether it was missing. The mode is exact: the
/// root of a volume may hand down its own set-group-id bit. One that is there stays as it is.
pub(crate) fn make(path: &Path, mode: u32) -> Result<bool, Fault> {
    let refused = |error: io::Error| {
        let errno = error.raw_os_error();
        let reason = errno.map_or(Reason::IoError, errno_reason);
        let mut fault = Fault::new(reason, format!("cannot make the folder {}: {error}", path.display()))
            .hint("mount a volume that this user may write to, for example by the pod's fsGroup");
        fault.errno = errno;
        fault
    };
    if path.is_dir() {
        return Ok(false);
    }
    if let Some(above) = path.parent().filter(|above| !above.as_os_str().is_empty()) {
        fs::create_dir_all(above).map_err(refused)?;
    }
    match fs::create_dir(path) {
        Ok(()) => fs::set_permissions(path, Permissions::from_mode(mode)).map(|()| true).map_err(refused),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists && path.is_dir() => Ok(false),
        Err(error) => Err(refused(error)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_missing_folder_gets_its_mode_and_one_that_is_there_keeps_its_own() {
        let volume = tempfile::tempdir().unwrap();
        // As the kubelet leaves the root of a volume.
        fs::set_permissions(volume.path(), Permissions::from_mode(0o2777)).unwrap();
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o7777;
        let (tree, state) = (volume.path().join("a/tree"), volume.path().join("state"));
        assert!(make(&tree, WORKSPACE_MODE).unwrap() && make(&state, STATE_MODE).unwrap());
        assert_eq!((mode(&tree), mode(&state)), (0o755, 0o700));
        fs::set_permissions(&tree, Permissions::from_mode(0o2750)).unwrap();
        assert!(!make(&tree, WORKSPACE_MODE).unwrap());
        assert_eq!(mode(&tree), 0o2750);
        fs::write(volume.path().join("file"), "").unwrap();
        for (path, reason) in [("file", Reason::AlreadyExists), ("file/below", Reason::AlreadyExists)] {
            let fault = make(&volume.path().join(path), STATE_MODE).unwrap_err();
            assert_eq!(fault.reason, reason, "{fault}");
        }
    }
}
