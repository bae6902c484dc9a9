//! [`WorkspaceState`]: what is known of a workspace beside it: which snapshot it
//! comes from, and whether it is half way to another one.
//!
//! The folder lies outside the workspace, on a disk that lives as long as it.

use std::{
    fs::{self, File},
    io::{self, Write as _},
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize};

use crate::{StoredRoot, format::SnapshotId};

/// Where a workspace comes from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Origin {
    /// The snapshot that the tree was equal to and has grown from.
    pub snapshot: String,
    /// The generation that wrote this.
    pub generation: u64,
}

/// See the module.
#[derive(Clone, Debug)]
pub struct WorkspaceState {
    folder: PathBuf,
}

const ORIGIN: &str = "origin.json";
const RESTORING: &str = "restoring";

impl WorkspaceState {
    /// The state in `folder`, which is made where it is missing.
    pub fn open(folder: impl Into<PathBuf>) -> io::Result<Self> {
        let folder = folder.into();
        fs::create_dir_all(&folder)?;
        Ok(WorkspaceState { folder })
    }

    /// Where it is.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// What the workspace comes from; `None` where nobody has said.
    pub fn origin(&self) -> io::Result<Option<Origin>> {
        match fs::read(self.folder.join(ORIGIN)) {
            Ok(bytes) => serde_json::from_slice(&bytes).map(Some).map_err(io::Error::from),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Whether a restore began and did not end: the tree is neither old nor new.
    pub fn is_restoring(&self) -> io::Result<bool> {
        self.folder.join(RESTORING).try_exists()
    }

    /// Before the first entry of the workspace changes.
    pub fn begin_restore(&self, snapshot: &str) -> io::Result<()> {
        self.write(RESTORING, snapshot.as_bytes())
    }

    /// After a restore that changed nothing.
    pub fn abandon_restore(&self) -> io::Result<()> {
        match fs::remove_file(self.folder.join(RESTORING)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => self.sync(),
        }
    }

    /// After the workspace has become equal to a snapshot, durably.
    pub fn finish_restore(&self, origin: &Origin) -> io::Result<()> {
        // First where it comes from: without the flag the tree is trusted.
        self.set_origin(origin)?;
        self.abandon_restore()
    }

    /// After a commit: the tree has grown from the new snapshot.
    pub fn set_origin(&self, origin: &Origin) -> io::Result<()> {
        self.write(ORIGIN, &serde_json::to_vec(origin)?)
    }

    /// Whoever reads it finds the old content or the new one, also after a crash.
    fn write(&self, name: &str, content: &[u8]) -> io::Result<()> {
        let temporary = self.folder.join(format!("{name}.{}.tmp", std::process::id()));
        let mut file = File::create(&temporary)?;
        file.write_all(content)?;
        file.sync_all()?;
        fs::rename(&temporary, self.folder.join(name))?;
        self.sync()
    }

    fn sync(&self) -> io::Result<()> {
        File::open(&self.folder)?.sync_all()
    }
}

/// The snapshot whose content `root` has: of a claim the one it was made over.
pub fn content_of(root: &StoredRoot) -> Option<SnapshotId> {
    if root.root.claim { root.root.origin } else { Some(root.root.id) }
}

/// What is to be done with a workspace before its containers start.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Awakening {
    /// It is what it was: uncommitted changes included, it is used as it is.
    Adopt,
    /// It becomes the newest snapshot.
    Restore,
    /// There is no snapshot; it is used as it is, or filled from a seed.
    Begin,
}

/// Decides that, from what the workspace comes from, whether it is half way to
/// something, and the content of the lineage's head. Pure.
pub fn awaken(origin: Option<&Origin>, restoring: bool, head: Option<SnapshotId>) -> Awakening {
    match (origin, head) {
        (_, None) => Awakening::Begin,
        (Some(origin), Some(head)) if !restoring && origin.snapshot == head.to_string() => Awakening::Adopt,
        (_, Some(_)) => Awakening::Restore,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEAD: SnapshotId = SnapshotId { sequence: 7, generation: 2, nonce: [1; 16] };

    fn origin(snapshot: &str) -> Origin {
        Origin { snapshot: snapshot.to_owned(), generation: 2 }
    }

    #[test]
    fn only_an_untouched_descendant_of_the_head_is_adopted() {
        let (same, other) = (origin(&HEAD.to_string()), origin("6-2-00"));
        assert_eq!(awaken(Some(&same), false, Some(HEAD)), Awakening::Adopt);
        assert_eq!(awaken(Some(&same), true, Some(HEAD)), Awakening::Restore);
        assert_eq!(awaken(Some(&other), false, Some(HEAD)), Awakening::Restore);
        assert_eq!(awaken(None, false, Some(HEAD)), Awakening::Restore);
        assert_eq!(awaken(None, false, None), Awakening::Begin);
        assert_eq!(awaken(Some(&other), false, None), Awakening::Begin);
    }

    #[test]
    fn the_flag_goes_after_the_origin_is_there() {
        let folder = tempfile::tempdir().unwrap();
        let state = WorkspaceState::open(folder.path().join("state")).unwrap();
        assert_eq!((state.origin().unwrap(), state.is_restoring().unwrap()), (None, false));
        state.begin_restore("7-2-01").unwrap();
        assert!(WorkspaceState::open(state.folder()).unwrap().is_restoring().unwrap());
        state.finish_restore(&origin("7-2-01")).unwrap();
        assert_eq!((state.origin().unwrap(), state.is_restoring().unwrap()), (Some(origin("7-2-01")), false));
        state.abandon_restore().unwrap();
        fs::write(state.folder().join(ORIGIN), "{").unwrap();
        assert!(state.origin().is_err());
    }
}
