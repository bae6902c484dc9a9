//! Where API keys and access tokens are kept: rows of an id and what is stored of it.

use async_trait::async_trait;
use futures_util::stream::BoxStream;
use redb::{ReadableTable as _, TableDefinition, TableError};
use remora_control_plane_kube::SecretRows;
use remora_control_plane_runtime::State;
use remora_proto_model::Fault;

const API_KEYS: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("api_keys");
const ACCESS_TOKENS: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("access_tokens");

/// Ids and what is stored of each.
pub(crate) type Rows = Vec<(String, Vec<u8>)>;

/// See the module. What was acknowledged is durable.
#[async_trait]
pub(crate) trait KeyStore: Send + Sync {
    /// Every row.
    async fn all(&self) -> Result<Rows, Fault>;
    /// Keeps rows, in the place of those of the same id.
    async fn put(&self, rows: Rows) -> Result<(), Fault>;
    /// Removes one, if it is there.
    async fn remove(&self, id: String) -> Result<(), Fault>;
    /// All rows after each change that others make; `None` where nobody else can.
    fn feed(&self) -> Option<BoxStream<'static, Rows>>;
}

/// A table of the state of one server.
pub(crate) struct Table {
    state: State,
    name: TableDefinition<'static, &'static str, &'static [u8]>,
}

impl Table {
    pub(crate) fn api_keys(state: State) -> Self {
        Table { state, name: API_KEYS }
    }

    pub(crate) fn access_tokens(state: State) -> Self {
        Table { state, name: ACCESS_TOKENS }
    }
}

#[async_trait]
impl KeyStore for Table {
    async fn all(&self) -> Result<Rows, Fault> {
        let name = self.name;
        self.state
            .read(move |transaction| {
                let table = match transaction.open_table(name) {
                    Ok(table) => table,
                    // The first row makes it.
                    Err(TableError::TableDoesNotExist(_)) => return Ok(Vec::new()),
                    Err(error) => return Err(error.into()),
                };
                let mut rows = Vec::new();
                for row in table.iter()? {
                    let (id, record) = row?;
                    rows.push((id.value().to_owned(), record.value().to_vec()));
                }
                Ok(rows)
            })
            .await
    }

    async fn put(&self, rows: Rows) -> Result<(), Fault> {
        let name = self.name;
        self.state
            .write(move |transaction| {
                let mut table = transaction.open_table(name)?;
                for (id, record) in &rows {
                    table.insert(id.as_str(), record.as_slice())?;
                }
                Ok(())
            })
            .await
    }

    async fn remove(&self, id: String) -> Result<(), Fault> {
        let name = self.name;
        self.state
            .write(move |transaction| {
                transaction.open_table(name)?.remove(id.as_str())?;
                Ok(())
            })
            .await
    }

    fn feed(&self) -> Option<BoxStream<'static, Rows>> {
        None
    }
}

#[async_trait]
impl KeyStore for SecretRows {
    async fn all(&self) -> Result<Rows, Fault> {
        SecretRows::all(self).await
    }

    async fn put(&self, rows: Rows) -> Result<(), Fault> {
        SecretRows::put(self, rows).await
    }

    async fn remove(&self, id: String) -> Result<(), Fault> {
        SecretRows::remove(self, &id).await
    }

    fn feed(&self) -> Option<BoxStream<'static, Rows>> {
        Some(SecretRows::feed(self))
    }
}
