//! Where a project's things are below the data folder.
//!
//! ```text
//! projects/<id>/               private; the id is a UUID, so no user text is in a path
//!   source-<uuid>.tar[.zst]    the archive it starts from, until a snapshot holds it
//!   workspace/                 the working tree
//!   state/                     what the agent keeps between its starts
//!   generations/<n>/           identity, ready files, logs of one generation
//! run/<12 digits of id>-<n>/   sockets of one generation: their paths have a short bound
//! ```

use std::{
    fs,
    io::{self, Write as _},
    os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _, PermissionsExt as _},
    path::{Path, PathBuf},
};

use remora_proto_model::{Generation, ProjectId};

/// The folder of one project.
#[derive(Clone, Debug)]
pub(crate) struct ProjectDir {
    path: PathBuf,
    sockets: PathBuf,
}

impl ProjectDir {
    pub(crate) fn of(data: &Path, id: ProjectId) -> ProjectDir {
        let id = id.to_string();
        let short: String = id.chars().filter(|character| *character != '-').take(12).collect();
        ProjectDir { path: data.join("projects").join(id), sockets: data.join("run").join(short) }
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Makes it; private.
    pub(crate) fn make(&self) -> io::Result<()> {
        make_private(&self.path)
    }

    pub(crate) fn workspace(&self) -> PathBuf {
        self.path.join("workspace")
    }

    pub(crate) fn state(&self) -> PathBuf {
        self.path.join("state")
    }

    /// The file that tells what the pod of a generation is made of.
    pub(crate) fn pod(&self, generation: Generation) -> PathBuf {
        self.generation(generation).join("pod.json")
    }

    /// The log of one process of a generation.
    pub(crate) fn log(&self, generation: Generation, part: &str) -> PathBuf {
        self.generation(generation).join(format!("{part}.log"))
    }

    /// Where the sockets of a generation are.
    pub(crate) fn sockets(&self, generation: Generation) -> PathBuf {
        let mut path = self.sockets.as_os_str().to_owned();
        path.push(format!("-{generation}"));
        path.into()
    }

    /// Removes what past generations left, but for the logs of the last `kept`.
    pub(crate) fn sweep(&self, present: Generation, kept: u64) -> io::Result<()> {
        for entry in fs::read_dir(self.path.join("generations"))? {
            let entry = entry?;
            let Some(past) = entry.file_name().to_str().and_then(|name| name.parse().ok()) else { continue };
            if past < present.0 {
                remove_all(&self.sockets(Generation(past)))?;
            }
            if past.saturating_add(kept) < present.0 {
                remove_all(&entry.path())?;
            }
        }
        Ok(())
    }

    pub(crate) fn generation(&self, generation: Generation) -> PathBuf {
        self.path.join("generations").join(generation.to_string())
    }
}

/// Makes a folder and those above it; new ones are private.
pub(crate) fn make_private(path: &Path) -> io::Result<()> {
    fs::DirBuilder::new().recursive(true).mode(0o700).create(path)
}

/// Removes a tree, whatever the modes of its folders are; that there is none is no error.
pub(crate) fn remove_all(path: &Path) -> io::Result<()> {
    match fs::remove_dir_all(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
            open_up(path)?;
            fs::remove_dir_all(path)
        }
        outcome => outcome,
    }
}

/// A folder that its owner made read-only (a module cache) cannot be emptied as it is.
fn open_up(path: &Path) -> io::Result<()> {
    fs::set_permissions(path, fs::Permissions::from_mode(0o700))?;
    for entry in fs::read_dir(path)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            open_up(&entry.path())?;
        }
    }
    Ok(())
}

/// Writes a private file whole or not at all.
pub(crate) fn write_private(path: &Path, content: &[u8]) -> io::Result<()> {
    let fresh = path.with_extension("new");
    let mut file = fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&fresh)?;
    file.write_all(content)?;
    file.sync_all()?;
    fs::rename(fresh, path)
}
