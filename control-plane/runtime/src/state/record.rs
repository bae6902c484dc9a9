//! The records of the local runtime, as JSON in the embedded state.

use std::sync::Arc;

use futures_util::stream::BoxStream;
use redb::{ReadTransaction, ReadableTable as _, TableDefinition, TableError, WriteTransaction};
use remora_proto_model::{Fault, ProjectId, ProjectName, Reason};

use super::{State, StateError};
use crate::records::{Boxed, Feed, Record, Records};

/// Id (text) to [`Record`] (JSON).
const PROJECTS: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("projects");
/// Name to id: what makes a name unique is one transaction over both tables.
const NAMES: TableDefinition<'_, &str, &str> = TableDefinition::new("names");

/// See the module. Nobody else writes them: one server has the data folder.
#[derive(Clone)]
pub(crate) struct Stored(pub(crate) State);

impl std::fmt::Debug for Stored {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Stored")
    }
}

impl Stored {
    async fn put(&self, mut record: Record, spec_changed: bool) -> Result<Record, Fault> {
        self.number(&mut record, spec_changed).await?;
        let stored = record.clone();
        self.0.write(move |transaction| put(transaction, &stored)).await?;
        Ok(record)
    }

    async fn number(&self, record: &mut Record, spec_changed: bool) -> Result<(), Fault> {
        record.project.resource_version = self.0.next_version().await?;
        if spec_changed {
            record.spec_version = record.project.resource_version;
        }
        Ok(())
    }
}

impl Records for Stored {
    fn all(&self) -> Boxed<'_, Result<Vec<Record>, Fault>> {
        Box::pin(async {
            let mut records = self.0.read(all).await?;
            for record in &mut records {
                // What was noted and not stored had later versions.
                self.number(record, false).await?;
            }
            Ok(records)
        })
    }

    fn create(&self, record: Record) -> Boxed<'_, Result<Record, Fault>> {
        Box::pin(self.put(record, true))
    }

    fn update(&self, before: Record, after: Record) -> Boxed<'_, Result<Record, Fault>> {
        let spec_changed = after.project.spec != before.project.spec;
        Box::pin(self.put(after, spec_changed))
    }

    fn touch(&self, _: Record, mut after: Record) -> Boxed<'_, Result<Record, Fault>> {
        Box::pin(async move {
            self.number(&mut after, false).await?;
            Ok(after)
        })
    }

    fn read(&self, id: ProjectId) -> Boxed<'_, Result<Option<Record>, Fault>> {
        Box::pin(async move { Ok(self.0.read(all).await?.into_iter().find(|record| record.project.id == id)) })
    }

    fn named(&self, name: ProjectName) -> Boxed<'_, Result<Option<Record>, Fault>> {
        Box::pin(async move { Ok(self.0.read(all).await?.into_iter().find(|record| record.project.name == name)) })
    }

    fn remove(&self, record: Record) -> Boxed<'_, Result<(), Fault>> {
        Box::pin(self.0.write(move |transaction| remove(transaction, &record)))
    }

    fn feed(self: Arc<Self>) -> Option<BoxStream<'static, Feed>> {
        None
    }
}

/// Every project that is stored.
fn all(transaction: &ReadTransaction) -> Result<Vec<Record>, StateError> {
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
fn put(transaction: &WriteTransaction, record: &Record) -> Result<(), StateError> {
    let id = record.project.id.to_string();
    let bytes = serde_json::to_vec(record).map_err(|error| unreadable(&id, &error))?;
    transaction.open_table(PROJECTS)?.insert(id.as_str(), bytes.as_slice())?;
    transaction.open_table(NAMES)?.insert(record.project.name.as_str(), id.as_str())?;
    Ok(())
}

/// Forgets a project.
fn remove(transaction: &WriteTransaction, record: &Record) -> Result<(), StateError> {
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
