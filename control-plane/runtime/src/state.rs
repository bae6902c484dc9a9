//! The embedded state (redb): projects, names, the progress of sagas, the CA and
//! the signing key, and the API keys of the layer above.
//!
//! A change is on the disk before it is acknowledged, and kill -9 at any moment
//! leaves the last acknowledged one (docs/adr/0004-state-in-redb.md).

mod lock;
pub(crate) mod record;

use std::{
    fs::{File, OpenOptions, Permissions},
    io,
    os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _, PermissionsExt as _},
    path::Path,
    sync::{Arc, Mutex, PoisonError},
};

use redb::{
    Database, ReadTransaction, ReadableDatabase as _, ReadableTable as _, TableDefinition, WriteTransaction,
    backends::FileBackend,
};
use remora_proto_model::{Effect, Fault, Reason, errno_reason};

use crate::limits::VERSION_BLOCK;

/// The shape of what is stored. A newer one is refused, an older one brought up.
const SCHEMA: u64 = 1;
/// Numbers of the store as a whole.
const META: TableDefinition<'_, &str, u64> = TableDefinition::new("meta");
/// Row of [`META`]: the shape.
const SCHEMA_ROW: &str = "schema";
/// Row of [`META`]: every version below was or may have been given out.
const VERSIONS_ROW: &str = "versions";

/// The state of one server. Cheap to clone.
#[derive(Clone)]
pub struct State {
    inner: Arc<Inner>,
}

struct Inner {
    database: Database,
    versions: Mutex<Versions>,
    _lock: File,
}

struct Versions {
    next: u64,
    reserved: u64,
}

/// Why the state did not do what was asked.
#[derive(Debug, thiserror::Error)]
pub enum StateError {
    /// The store under it failed.
    #[error("the state on disk: {0}")]
    Store(#[from] redb::Error),
    /// A file under it failed.
    #[error("the state on disk: {0}")]
    Io(#[from] io::Error),
    /// Whoever asked for the change refused to make it.
    #[error(transparent)]
    Fault(#[from] Fault),
}

macro_rules! from_redb {
    ($($error:ident)*) => {$(
        impl From<redb::$error> for StateError {
            fn from(error: redb::$error) -> Self {
                StateError::Store(error.into())
            }
        }
    )*};
}
from_redb!(DatabaseError TransactionError TableError StorageError CommitError);

impl From<StateError> for Fault {
    fn from(error: StateError) -> Fault {
        let errno = match &error {
            StateError::Fault(fault) => return fault.clone(),
            StateError::Io(io) | StateError::Store(redb::Error::Io(io)) => io.raw_os_error(),
            StateError::Store(_) => None,
        };
        let reason = errno.map_or(Reason::IoError, errno_reason);
        let fault = Fault::new(reason, error.to_string())
            .hint("see to the disk that holds the data folder, then start the server again");
        errno.into_iter().fold(fault, Fault::errno)
    }
}

impl State {
    /// Opens the state in `folder`, made if it is not there and made private.
    pub async fn open(folder: &Path) -> Result<State, Fault> {
        let folder = folder.to_owned();
        blocking(move || open(&folder)).await
    }

    /// What `look` reads from one consistent view.
    pub async fn read<T: Send + 'static>(
        &self,
        look: impl FnOnce(&ReadTransaction) -> Result<T, StateError> + Send + 'static,
    ) -> Result<T, Fault> {
        let inner = Arc::clone(&self.inner);
        blocking(move || look(&inner.database.begin_read()?)).await
    }

    /// Makes `change` as one transaction that is on the disk when this returns.
    /// An error of `change` leaves everything as it was.
    pub async fn write<T: Send + 'static>(
        &self,
        change: impl FnOnce(&WriteTransaction) -> Result<T, StateError> + Send + 'static,
    ) -> Result<T, Fault> {
        let inner = Arc::clone(&self.inner);
        let (answer, committed) = blocking(move || {
            let transaction = inner.database.begin_write()?;
            let answer = change(&transaction)?;
            Ok((answer, transaction.commit()))
        })
        .await?;
        // A commit that failed may be on the disk all the same.
        committed.map_err(|error| Fault::from(StateError::from(error)).effect(Effect::MayHaveApplied))?;
        Ok(answer)
    }

    /// A number that was never given out before, larger than every earlier one,
    /// kill -9 or not.
    pub async fn next_version(&self) -> Result<u64, Fault> {
        loop {
            if let Some(version) = self.take_version() {
                return Ok(version);
            }
            let reserved = self
                .write(|transaction| {
                    let mut table = transaction.open_table(META)?;
                    let from = table.get(VERSIONS_ROW)?.map_or(1, |row| row.value());
                    table.insert(VERSIONS_ROW, from + VERSION_BLOCK)?;
                    Ok(from..from + VERSION_BLOCK)
                })
                .await?;
            let mut versions = self.inner.versions.lock().unwrap_or_else(PoisonError::into_inner);
            // Of two that reserve at once the later block is used; numbers may be left out.
            if reserved.end > versions.reserved {
                *versions = Versions { next: reserved.start, reserved: reserved.end };
            }
        }
    }

    fn take_version(&self) -> Option<u64> {
        let mut versions = self.inner.versions.lock().unwrap_or_else(PoisonError::into_inner);
        (versions.next < versions.reserved).then(|| {
            versions.next += 1;
            versions.next - 1
        })
    }
}

fn open(folder: &Path) -> Result<State, StateError> {
    std::fs::DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
    std::fs::set_permissions(folder, Permissions::from_mode(0o700))?;
    let lock = lock::take(folder)?;
    let file = OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .open(folder.join("state.redb"))?;
    let database = Database::builder().create_with_backend(FileBackend::new(file)?)?;
    let transaction = database.begin_write()?;
    {
        let mut table = transaction.open_table(META)?;
        let found = table.get(SCHEMA_ROW)?.map(|row| row.value());
        match found {
            Some(schema) if schema > SCHEMA => {
                return Err(StateError::Fault(
                    Fault::new(
                        Reason::FormatUnsupported,
                        format!("the state in {} has version {schema}; this server reads {SCHEMA}", folder.display()),
                    )
                    .hint("use the newer server that wrote it"),
                ));
            }
            Some(_) => {}
            None => _ = table.insert(SCHEMA_ROW, SCHEMA)?,
        }
    }
    transaction.commit()?;
    let versions = Mutex::new(Versions { next: 0, reserved: 0 });
    Ok(State { inner: Arc::new(Inner { database, versions, _lock: lock }) })
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, StateError> + Send + 'static,
) -> Result<T, Fault> {
    let lost = |_| Fault::new(Reason::Internal, "the access to the state ended early").effect(Effect::MayHaveApplied);
    Ok(tokio::task::spawn_blocking(work).await.map_err(lost)??)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn one_server_a_folder_and_the_error_names_the_holder() {
        let folder = tempfile::tempdir().unwrap();
        let first = State::open(folder.path()).await.unwrap();
        let fault = State::open(folder.path()).await.map(drop).unwrap_err();
        assert_eq!(fault.reason, Reason::FailedPrecondition);
        assert!(fault.message.contains(&format!("process {}", std::process::id())), "{fault}");
        drop(first);
        State::open(folder.path()).await.map(drop).unwrap();
    }

    #[tokio::test]
    async fn a_newer_schema_is_refused_and_nothing_is_private_by_accident() {
        let folder = tempfile::tempdir().unwrap();
        let data = folder.path().join("data");
        let state = State::open(&data).await.unwrap();
        state.write(|transaction| Ok(_ = transaction.open_table(META)?.insert(SCHEMA_ROW, SCHEMA + 1)?)).await.unwrap();
        drop(state);
        let fault = State::open(&data).await.map(drop).unwrap_err();
        assert_eq!(fault.reason, Reason::FormatUnsupported);
        let mode = |path: &Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!(mode(&data), 0o700);
        assert_eq!(mode(&data.join("state.redb")), 0o600);
        assert_eq!(mode(&data.join("server.lock")), 0o600);
    }

    #[tokio::test]
    async fn versions_rise_across_restarts() {
        let folder = tempfile::tempdir().unwrap();
        let mut last = 0;
        for _ in 0..3 {
            let state = State::open(folder.path()).await.unwrap();
            for _ in 0..3 {
                let version = state.next_version().await.unwrap();
                assert!(version > last, "{version} after {last}");
                last = version;
            }
        }
    }

    #[tokio::test]
    async fn a_refused_change_leaves_nothing() {
        const TABLE: TableDefinition<'_, &str, u64> = TableDefinition::new("test");
        let folder = tempfile::tempdir().unwrap();
        let state = State::open(folder.path()).await.unwrap();
        let refused = state
            .write(|transaction| {
                transaction.open_table(TABLE)?.insert("a", 1)?;
                Err::<(), _>(Fault::new(Reason::Conflict, "no").into())
            })
            .await;
        assert_eq!(refused.unwrap_err().reason, Reason::Conflict);
        let there = state.read(|transaction| Ok(transaction.open_table(TABLE).is_ok())).await.unwrap();
        assert!(!there);
    }
}
