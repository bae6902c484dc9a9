//! Where a project's things are below the data folder.
//!
//! ```text
//! projects/<id>/               private; the id is a UUID, so no user text is in a path
//!   source-<uuid>.tar[.zst]    the archive it starts from, until a snapshot holds it
//!   workspace/                 the working tree
//!   state/                     what the agent keeps between its starts
//!   generations/<n>/           identity, ready files, sockets, logs of one generation
//! ```

use std::{
    fs, io,
    os::unix::fs::DirBuilderExt as _,
    path::{Path, PathBuf},
};

use remora_proto_model::{Generation, ProjectId};

/// The folder of one project.
#[derive(Clone, Debug)]
pub(crate) struct ProjectDir {
    path: PathBuf,
}

impl ProjectDir {
    pub(crate) fn of(data: &Path, id: ProjectId) -> ProjectDir {
        ProjectDir { path: data.join("projects").join(id.to_string()) }
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

    pub(crate) fn generation(&self, generation: Generation) -> PathBuf {
        self.path.join("generations").join(generation.to_string())
    }
}

/// Makes a folder and those above it; new ones are private.
pub(crate) fn make_private(path: &Path) -> io::Result<()> {
    fs::DirBuilder::new().recursive(true).mode(0o700).create(path)
}
