//! Where a container sees the workspace, and what holds it while the project runs.

use serde::{Deserialize, Serialize};

use super::quantity::{self, Counted, Quantity};
use crate::Fault;

/// Where the workspace is unless a project says another place.
pub const DEFAULT_WORKSPACE: &str = "/workspace";
/// Longest path of a workspace, in bytes: it stands before every path inside (PATH_MAX is 4,096).
pub const MAX_WORKSPACE_PATH_BYTES: usize = 256;
/// Longest name of a storage class, in bytes (a DNS subdomain, RFC 1123).
pub const MAX_STORAGE_CLASS_BYTES: usize = 253;

/// Folders that are not the project's: at these, and below them, is what a
/// container stands on, or Remora's own part of the pod.
const RESERVED: &[&str] = &["/proc", "/sys", "/dev", "/opt/remora", "/run/remora", "/etc/remora"];
/// Folders that would hide the image's own programs, or [`RESERVED`] ones.
const IN_THE_WAY: &[&str] = &["/opt", "/run", "/etc", "/usr", "/bin", "/sbin", "/lib", "/lib64", "/var", "/var/run"];

/// The workspace of a project. A local server keeps it in its data folder,
/// whatever is said here: one spec does for both.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Workspace {
    /// Where containers see it; absolute.
    pub path: String,
    /// A volume that outlives the pod. Absent, the node's own disk holds it, and
    /// the snapshots alone outlive the pod. Cannot change.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub volume: Option<Volume>,
    /// Most bytes on the node's own disk; not with a volume, which has a size.
    #[cfg_attr(feature = "openapi", schema(value_type = Option<String>))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub size_limit: Option<Quantity>,
}

impl Default for Workspace {
    fn default() -> Self {
        Workspace { path: DEFAULT_WORKSPACE.to_owned(), volume: None, size_limit: None }
    }
}

/// A volume that a cluster provides.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Volume {
    /// Its bytes, for example `20Gi`.
    #[cfg_attr(feature = "openapi", schema(value_type = String))]
    pub size: Quantity,
    /// The storage class; empty is the cluster's default one.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub class: String,
    /// Who may mount it.
    #[serde(default)]
    pub access_mode: AccessMode,
}

/// Who may mount a volume, in the words of Kubernetes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub enum AccessMode {
    /// One node at a time.
    #[default]
    ReadWriteOnce,
    /// One pod at a time.
    ReadWriteOncePod,
    /// Any number of nodes.
    ReadWriteMany,
}

impl AccessMode {
    /// The word of Kubernetes.
    pub const fn as_str(self) -> &'static str {
        match self {
            AccessMode::ReadWriteOnce => "ReadWriteOnce",
            AccessMode::ReadWriteOncePod => "ReadWriteOncePod",
            AccessMode::ReadWriteMany => "ReadWriteMany",
        }
    }
}

impl Workspace {
    /// Whether nothing is said that is not the default.
    pub fn is_default(&self) -> bool {
        *self == Workspace::default()
    }

    /// Checks what the types do not say. The error names the field.
    pub fn validate(&self) -> Result<(), Fault> {
        validate_path("workspace.path", &self.path)?;

        if let Some(volume) = &self.volume {
            quantity::validate("workspace.volume.size", &volume.size, Counted::Bytes)?;
            if !volume.class.is_empty() && !is_subdomain(&volume.class) {
                let shown: String = volume.class.chars().take(80).collect();
                return Err(Fault::invalid(
                    "workspace.volume.class",
                    format!("{shown:?} is no name of a storage class"),
                )
                .hint("give a-z, 0-9, '-' and '.'; `kubectl get storageclass` lists them"));
            }
            if self.size_limit.is_some() {
                return Err(Fault::invalid("workspace.sizeLimit", "is for the node's own disk, and this is a volume")
                    .hint("give volume.size alone"));
            }
        }
        if let Some(limit) = &self.size_limit {
            quantity::validate("workspace.sizeLimit", limit, Counted::Bytes)?;
        }
        Ok(())
    }

    /// Checks that `next` can take the place of this one.
    pub(super) fn may_become(&self, next: &Workspace) -> Result<(), Fault> {
        if self.volume == next.volume {
            return Ok(());
        }
        Err(Fault::invalid("workspace.volume", "cannot change: it is what holds the files of this project")
            .hint("make another project with it, and bring the files there"))
    }
}

pub(super) fn validate_path(field: &str, path: &str) -> Result<(), Fault> {
    let shown: String = path.chars().take(80).collect();
    let wrong = |problem: &str| Err(Fault::invalid(field, format!("{shown:?} {problem}")));
    let part_is_good = |part: &str| {
        !matches!(part, "" | "." | "..")
            && part.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-'))
    };
    match path.strip_prefix('/') {
        Some(below) if path.len() <= MAX_WORKSPACE_PATH_BYTES && below.split('/').all(part_is_good) => {}
        _ => {
            return wrong("is no absolute path of letters, digits, '.', '_' and '-', without '.', '..' and a last '/'");
        }
    }
    let below = |folder: &str| path.strip_prefix(folder).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'));
    if RESERVED.iter().any(|folder| below(folder)) || IN_THE_WAY.contains(&path) {
        return wrong("is a folder that the container itself needs");
    }
    Ok(())
}

pub(super) fn is_subdomain(text: &str) -> bool {
    let label = |label: &str| {
        !label.is_empty()
            && label.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-')
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    text.len() <= MAX_STORAGE_CLASS_BYTES && text.split('.').all(label)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_workspace_is_at_a_place_of_its_own() {
        let at = |path: &str| Workspace { path: path.to_owned(), ..Workspace::default() }.validate();
        for good in ["/workspace", "/home/dev/my-app", "/srv/a.b_c", "/usr/src/app", "/opt/app", "/var/www"] {
            at(good).unwrap_or_else(|fault| panic!("{good}: {fault}"));
        }
        for bad in [
            "",
            "/",
            "workspace",
            "/a/",
            "/a//b",
            "/a/../b",
            "/./a",
            "/a b",
            "/a:b",
            "/a\0",
            "/é",
            "/proc",
            "/proc/1",
            "/dev/shm",
            "/opt/remora",
            "/opt/remora/bin",
            "/run/remora",
            "/etc",
            "/usr",
            "/opt",
            "/run",
            &format!("/{}", "a".repeat(256)),
        ] {
            let fault = at(bad).unwrap_err();
            assert!(fault.message.starts_with("workspace.path: "), "{bad}: {fault}");
        }
    }

    #[test]
    fn a_volume_has_a_size_of_its_own_and_stays() {
        let volume = |class: &str| Volume {
            size: "1Gi".parse().unwrap(),
            class: class.to_owned(),
            access_mode: AccessMode::default(),
        };
        let with = |class: &str| Workspace { volume: Some(volume(class)), ..Workspace::default() };
        for good in ["", "fast", "fast-1.example"] {
            with(good).validate().unwrap();
        }
        for bad in ["Fast", "a..b", "-a", "a_b", &"a".repeat(254)] {
            assert!(with(bad).validate().unwrap_err().message.starts_with("workspace.volume.class"), "{bad}");
        }
        let both = Workspace { size_limit: Some("1Gi".parse().unwrap()), ..with("") };
        assert!(both.validate().unwrap_err().message.starts_with("workspace.sizeLimit"));
        assert!(with("").may_become(&Workspace::default()).is_err());
        assert!(with("").may_become(&Workspace { path: "/srv".to_owned(), ..with("") }).is_ok());
    }
}
