//! Folders in which programs are kept, found in the workspace as files are: by the
//! confined root.

use std::path::PathBuf;

use remora_agent_root::{RelPath, Root};
use remora_agent_term::Confinement;
use remora_proto::model::{Fault, Reason};
use tonic::Status;

use super::wire::refuse;
use crate::requests::refused;

/// Opens folders of the workspace for programs that are kept in them.
pub(super) struct Confiner {
    workspace: Option<PathBuf>,
    /// What no such program may read: the tree around its folder, and what is the shim's own.
    hidden: Vec<PathBuf>,
}

impl Confiner {
    pub(super) fn new(workspace: Option<PathBuf>, own: impl IntoIterator<Item = PathBuf>) -> Self {
        let hidden = own.into_iter().chain(workspace.clone()).collect();
        Confiner { workspace, hidden }
    }

    /// The folder that a request names; empty is none.
    pub(super) async fn folder(&self, named: &str) -> Result<Option<Confinement>, Status> {
        if named.is_empty() {
            return Ok(None);
        }
        let workspace = self.workspace.clone().ok_or_else(|| {
            let fault =
                Fault::new(Reason::FailedPrecondition, "this container's shim was not told where its workspace is");
            refused(fault.hint("start the project again, so that it gets a shim of this version"))
        })?;
        let (named, hidden) = (named.to_owned(), self.hidden.clone());
        let opened = tokio::task::spawn_blocking(move || {
            let path = RelPath::new(&named).map_err(|error| refused(Fault::from(error)))?;
            let root = Root::open(workspace).map_err(|error| refused(Fault::from(error)))?;
            let folder = root.open_dir(&path).map_err(|error| {
                refused(Fault::from(error).hint("it is the folder that the program is to be kept in"))
            })?;
            Confinement::new(folder, hidden).map_err(refuse)
        });
        let opened = opened.await.map_err(|_| refused(Fault::new(Reason::Internal, "a folder could not be opened")))?;
        opened.map(Some)
    }
}
