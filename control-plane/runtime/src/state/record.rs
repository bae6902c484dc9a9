//! What is kept of a project: its public face and how far its sagas are.

use redb::{ReadTransaction, ReadableTable as _, TableDefinition, TableError, WriteTransaction};
use remora_control_plane_project::Tree;
use remora_proto_model::{Fault, Generation, ProjectId, Reason, project::Project};
use serde::{Deserialize, Serialize};

use super::StateError;

/// Id (text) to [`Record`] (JSON).
const PROJECTS: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("projects");
/// Name to id: what makes a name unique is one transaction over both tables.
const NAMES: TableDefinition<'_, &str, &str> = TableDefinition::new("names");

/// A project as it is stored.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Record {
    pub(crate) project: Project,
    /// The `resource_version` of the last change of the spec.
    pub(crate) spec_version: u64,
    /// What the working tree is.
    pub(crate) tree: Tree,
    /// The generation whose processes are to end: decided, and not yet seen done.
    pub(crate) condemned: Option<Generation>,
    /// The archive that it starts from, once that is here whole.
    pub(crate) source: Option<SourceFile>,
    /// Its end was asked for.
    pub(crate) deletion: Option<Deletion>,
}

/// An archive that was brought, in the project's folder.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct SourceFile {
    /// Its name there.
    pub(crate) file: String,
    pub(crate) bytes: u64,
}

/// How a project ends, and how far that is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Deletion {
    /// Without a final snapshot, and with its snapshots.
    pub(crate) purge: bool,
    /// The tombstone is on the store: from here nothing brings it back.
    pub(crate) tombstone: bool,
}

/// Every project that is stored.
pub(crate) fn all(transaction: &ReadTransaction) -> Result<Vec<Record>, StateError> {
    let table = match transaction.open_table(PROJECTS) {
        Err(TableError::TableDoesNotExist(_)) => return Ok(Vec::new()),
        table => table?,
    };
    let mut records = Vec::new();
    for row in table.iter()? {
        let (id, bytes) = row?;
        records.push(serde_json::from_slice(bytes.value()).map_err(|error| unreadable(id.value(), &error))?);
    }
    Ok(records)
}

/// Stores `record` and its name.
pub(crate) fn put(transaction: &WriteTransaction, record: &Record) -> Result<(), StateError> {
    let id = record.project.id.to_string();
    let bytes = serde_json::to_vec(record).map_err(|error| unreadable(&id, &error))?;
    transaction.open_table(PROJECTS)?.insert(id.as_str(), bytes.as_slice())?;
    transaction.open_table(NAMES)?.insert(record.project.name.as_str(), id.as_str())?;
    Ok(())
}

/// Forgets a project.
pub(crate) fn remove(transaction: &WriteTransaction, record: &Record) -> Result<(), StateError> {
    let id: ProjectId = record.project.id;
    transaction.open_table(PROJECTS)?.remove(id.to_string().as_str())?;
    transaction.open_table(NAMES)?.remove(record.project.name.as_str())?;
    Ok(())
}

fn unreadable(id: &str, error: &serde_json::Error) -> StateError {
    StateError::Fault(
        Fault::new(Reason::IoError, format!("the stored record of project {id} cannot be read: {error}"))
            .hint("restore the data folder from a copy, or use the version of remora that wrote it"),
    )
}
