//! API keys: `rmk_` and 256 random bits. Kept is only a hash; with that much
//! randomness in the secret a slow hash adds nothing (OWASP on API tokens).
//!
//! All keys are held in memory by their hash, so that a call costs one hash and
//! one look-up, and neither tells anything about another key by its duration.

mod store;

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock, RwLockReadGuard},
    time::{SystemTime, UNIX_EPOCH},
};

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use futures_util::StreamExt as _;
use remora_proto_model::{
    Fault, ProjectId, Reason,
    project::{ApiKey, Role},
};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

pub(crate) use self::store::{KeyStore, Rows, Table};
use super::{Caller, is_secret};
use crate::limits::{MAX_KEY_PROJECTS, MAX_KEYS, MAX_NAME_CHARACTERS};

/// What every API key begins with, so that scanners for leaked secrets know it.
pub(crate) const PREFIX: &str = "rmk_";

const MINUTE_MS: u64 = 60_000;

type Hash = [u8; 32];

/// The stored form. Frozen: fields are added with a default, never renamed.
#[derive(Serialize, Deserialize)]
struct Record {
    key: ApiKey,
    hash: String,
}

/// The keys of a server.
pub(crate) struct Keys {
    store: Arc<dyn KeyStore>,
    by_hash: RwLock<HashMap<Hash, Arc<ApiKey>>>,
    /// Minute of the last use of those that were used since the last [`Keys::flush`].
    used: Mutex<HashMap<String, u64>>,
    /// One change at a time, from the check to the write.
    changes: tokio::sync::Mutex<()>,
}

impl Keys {
    /// The keys in `store`.
    pub(crate) async fn open(store: Arc<dyn KeyStore>) -> Result<Self, Fault> {
        let by_hash = decoded(store.all().await?)?;
        Ok(Keys {
            store,
            by_hash: RwLock::new(by_hash),
            used: Mutex::default(),
            changes: tokio::sync::Mutex::default(),
        })
    }

    /// Takes over what other replicas change, for ever; returns at once where nobody else can.
    pub(crate) async fn follow(&self) {
        let Some(mut feed) = self.store.feed() else { return };
        while let Some(rows) = feed.next().await {
            match decoded(rows) {
                Ok(keys) => *self.by_hash.write().unwrap_or_else(PoisonError::into_inner) = keys,
                Err(fault) => tracing::error!(%fault, "the API keys cannot be read; those known before stay"),
            }
        }
    }

    /// Makes `secret` a key, unless it is one: for the first key, which whoever
    /// installs the server must be able to find.
    pub(crate) async fn ensure(&self, name: &str, role: Role, secret: &str) -> Result<(), Fault> {
        let _change = self.changes.lock().await;
        if self.authenticate(secret).is_ok() {
            return Ok(());
        }
        let key = fresh(name, role, Vec::new());
        self.insert(secret, key).await.map(drop)
    }

    /// Who presents `secret`.
    pub(crate) fn authenticate(&self, secret: &str) -> Result<Caller, Fault> {
        let known = if is_secret(PREFIX, secret) { self.by_hash().get(&hash(secret)).cloned() } else { None };
        let key = known.ok_or_else(|| {
            Fault::new(Reason::CredentialsInvalid, "the API key is not one of this server's")
                .hint("it may have been revoked or be another server's; ask an admin for a new one")
        })?;
        lock(&self.used).insert(key.id.clone(), now_ms() / MINUTE_MS * MINUTE_MS);
        Ok(Caller::new(key))
    }

    /// Whether the caller's key still stands: a stream outlives the check at its beginning.
    pub(crate) fn stands(&self, caller: &Caller) -> bool {
        self.has(caller.id())
    }

    /// Who has the key of that id.
    pub(crate) fn of(&self, id: &str) -> Option<Caller> {
        self.by_hash().values().find(|key| key.id == id).cloned().map(Caller::new)
    }

    /// Whether there is a key of that id.
    pub(crate) fn has(&self, id: &str) -> bool {
        self.by_hash().values().any(|key| key.id == id)
    }

    /// Makes a key; the second value is its secret, which is nowhere else.
    pub(crate) async fn create(
        &self,
        name: &str,
        role: Role,
        projects: Vec<ProjectId>,
    ) -> Result<(ApiKey, String), Fault> {
        visible_name("name", name)?;
        if projects.len() > MAX_KEY_PROJECTS {
            return Err(Fault::invalid("projects", format!("{} given; at most {MAX_KEY_PROJECTS}", projects.len())));
        }
        if role == Role::Admin && !projects.is_empty() {
            return Err(Fault::invalid("projects", "an admin's key is for every project")
                .hint("name no project, or give another role"));
        }
        let _change = self.changes.lock().await;
        if self.by_hash().len() >= MAX_KEYS {
            return Err(Fault::new(Reason::LimitReached, format!("there are {MAX_KEYS} API keys already"))
                .hint("revoke those that nobody uses; the list says when each was used last"));
        }
        let secret = new_secret();
        let key = self.insert(&secret, fresh(name, role, projects)).await?;
        Ok((key, secret))
    }

    async fn insert(&self, secret: &str, key: ApiKey) -> Result<ApiKey, Fault> {
        let hash = hash(secret);
        self.write(vec![(hash, key.clone())]).await?;
        self.by_hash.write().unwrap_or_else(PoisonError::into_inner).insert(hash, Arc::new(key.clone()));
        Ok(key)
    }

    /// Every key, by name.
    pub(crate) fn list(&self) -> Vec<ApiKey> {
        let mut keys: Vec<ApiKey> = self.by_hash().values().map(|key| ApiKey::clone(key)).collect();
        let used = lock(&self.used);
        for key in &mut keys {
            key.last_used_ms = used.get(&key.id).copied().unwrap_or(key.last_used_ms);
        }
        keys.sort_by(|a, b| (&a.name, &a.id).cmp(&(&b.name, &b.id)));
        keys
    }

    /// Ends a key.
    pub(crate) async fn revoke(&self, id: &str) -> Result<(), Fault> {
        let id = Uuid::try_parse(id).map_err(|_| {
            let shown: String = id.chars().take(80).collect();
            Fault::invalid("id", format!("{shown:?} is no UUID")).hint("the list of keys has their ids")
        })?;
        let id = id.to_string();
        let _change = self.changes.lock().await;
        let found = self.by_hash().iter().find(|(_, key)| key.id == id).map(|(hash, key)| (*hash, Arc::clone(key)));
        let (hash, key) = found.ok_or_else(|| {
            Fault::new(Reason::NotFound, format!("there is no API key {id}")).hint("the list of keys has their ids")
        })?;
        let admins = self.by_hash().values().filter(|key| key.role == Role::Admin).count();
        if key.role == Role::Admin && admins == 1 {
            return Err(Fault::new(Reason::FailedPrecondition, "this is the last admin key")
                .hint("make another admin key first; without one nobody could manage this server"));
        }
        self.store.remove(id).await?;
        self.by_hash.write().unwrap_or_else(PoisonError::into_inner).remove(&hash);
        Ok(())
    }

    /// Whether there is a key that may manage the others.
    pub(crate) fn has_admin(&self) -> bool {
        self.by_hash().values().any(|key| key.role == Role::Admin)
    }

    /// Writes when keys were used: once a minute instead of with each call.
    pub(crate) async fn flush(&self) -> Result<(), Fault> {
        let _change = self.changes.lock().await;
        let changed = self.take_used();
        if changed.is_empty() { Ok(()) } else { self.write(changed).await }
    }

    fn take_used(&self) -> Vec<(Hash, ApiKey)> {
        let used = std::mem::take(&mut *lock(&self.used));
        let mut by_hash = self.by_hash.write().unwrap_or_else(PoisonError::into_inner);
        let mut changed = Vec::new();
        for (hash, key) in by_hash.iter_mut() {
            if let Some(minute) = used.get(&key.id).filter(|minute| **minute != key.last_used_ms) {
                Arc::make_mut(key).last_used_ms = *minute;
                changed.push((*hash, ApiKey::clone(key)));
            }
        }
        changed
    }

    fn by_hash(&self) -> RwLockReadGuard<'_, HashMap<Hash, Arc<ApiKey>>> {
        self.by_hash.read().unwrap_or_else(PoisonError::into_inner)
    }

    async fn write(&self, keys: Vec<(Hash, ApiKey)>) -> Result<(), Fault> {
        let rows = keys.iter().map(|(hash, key)| Ok((key.id.clone(), encode(key, hash)?)));
        self.store.put(rows.collect::<Result<_, Fault>>()?).await
    }
}

/// The secret of a new key.
pub(crate) fn new_secret() -> String {
    format!("{PREFIX}{}", URL_SAFE_NO_PAD.encode(rand::random::<[u8; 32]>()))
}

fn fresh(name: &str, role: Role, projects: Vec<ProjectId>) -> ApiKey {
    ApiKey {
        id: Uuid::new_v4().to_string(),
        name: name.to_owned(),
        role,
        projects,
        created_ms: now_ms(),
        last_used_ms: 0,
    }
}

fn decoded(rows: Rows) -> Result<HashMap<Hash, Arc<ApiKey>>, Fault> {
    let row = |(id, record): (String, Vec<u8>)| decode(&id, &record).map(|(hash, key)| (hash, Arc::new(key)));
    rows.into_iter().map(row).collect()
}

/// Checks a name that people and audit records show.
pub(crate) fn visible_name(field: &str, name: &str) -> Result<(), Fault> {
    let count = name.chars().count();
    if !(1..=MAX_NAME_CHARACTERS).contains(&count) || !name.chars().all(|c| c.is_ascii_graphic()) {
        let shown: String = name.chars().take(80).collect();
        return Err(Fault::invalid(
            field,
            format!("{shown:?} must have 1 to {MAX_NAME_CHARACTERS} visible ASCII characters and no space"),
        ));
    }
    Ok(())
}

fn encode(key: &ApiKey, hash: &Hash) -> Result<Vec<u8>, Fault> {
    let record = Record { key: key.clone(), hash: hex::encode(hash) };
    serde_json::to_vec(&record).map_err(|error| Fault::new(Reason::Internal, format!("an API key: {error}")))
}

fn decode(id: &str, record: &[u8]) -> Result<(Hash, ApiKey), Fault> {
    let damaged = || Fault::new(Reason::Internal, format!("the stored API key {id} is damaged"));
    let record: Record = serde_json::from_slice(record).map_err(|_| damaged())?;
    let hash = hex::decode(&record.hash).ok().and_then(|bytes| bytes.try_into().ok()).ok_or_else(damaged)?;
    Ok((hash, record.key))
}

fn hash(secret: &str) -> Hash {
    *blake3::hash(secret.as_bytes()).as_bytes()
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

pub(crate) fn now_ms() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| u64::try_from(since.as_millis()).unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests {
    use remora_control_plane_runtime::State;

    use super::*;

    async fn open(folder: &tempfile::TempDir) -> Keys {
        Keys::open(Arc::new(Table::api_keys(State::open(folder.path()).await.unwrap()))).await.unwrap()
    }

    #[tokio::test]
    async fn a_key_survives_and_its_secret_is_not_stored() {
        let folder = tempfile::tempdir().unwrap();
        let project = ProjectId::new();
        let (key, secret) = open(&folder).await.create("ci", Role::Editor, vec![project]).await.unwrap();
        assert_eq!((secret.len(), &secret[..4]), (47, "rmk_"));

        let keys = open(&folder).await;
        let caller = keys.authenticate(&secret).unwrap();
        assert_eq!((caller.id(), caller.name(), caller.role()), (key.id.as_str(), "ci", Role::Editor));
        assert!(caller.sees(project) && !caller.sees(ProjectId::new()) && !caller.sees_all());
        drop(keys);
        let stored = std::fs::read(folder.path().join("state.redb")).unwrap();
        let random = &secret.as_bytes()[4..];
        assert!(!stored.windows(random.len()).any(|window| window == random), "the secret is in the store");
    }

    #[tokio::test]
    async fn a_secret_that_is_not_exactly_a_key_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let keys = open(&folder).await;
        let (_, secret) = keys.create("a", Role::Admin, Vec::new()).await.unwrap();
        let upper = secret.to_uppercase();
        for bad in ["", "rmk_", &secret[..46], &format!("{secret}A"), &upper, &secret.replace("rmk_", "rmk-")] {
            assert_eq!(keys.authenticate(bad).unwrap_err().reason, Reason::CredentialsInvalid, "{bad}");
        }
        for at in 4..secret.len() {
            let mut other = secret.clone().into_bytes();
            other[at] = if other[at] == b'A' { b'B' } else { b'A' };
            assert!(keys.authenticate(std::str::from_utf8(&other).unwrap()).is_err());
        }
    }

    #[tokio::test]
    async fn a_revoked_key_is_gone_and_the_last_admin_stays() {
        let folder = tempfile::tempdir().unwrap();
        let keys = open(&folder).await;
        let (admin, _) = keys.create("a", Role::Admin, Vec::new()).await.unwrap();
        let (viewer, secret) = keys.create("v", Role::Viewer, Vec::new()).await.unwrap();
        let caller = keys.authenticate(&secret).unwrap();
        keys.revoke(&viewer.id).await.unwrap();
        assert!(keys.authenticate(&secret).is_err() && !keys.stands(&caller));
        assert_eq!(keys.revoke(&viewer.id).await.unwrap_err().reason, Reason::NotFound);
        assert_eq!(keys.revoke(&admin.id).await.unwrap_err().reason, Reason::FailedPrecondition);
        drop(keys);
        let keys = open(&folder).await;
        assert!(keys.authenticate(&secret).is_err(), "revoked for good");
        assert!(keys.has_admin());
    }

    #[tokio::test]
    async fn the_last_use_is_written_when_asked() {
        let folder = tempfile::tempdir().unwrap();
        let keys = open(&folder).await;
        let (_, secret) = keys.create("a", Role::Admin, Vec::new()).await.unwrap();
        assert_eq!(keys.list()[0].last_used_ms, 0);
        keys.authenticate(&secret).unwrap();
        let used = keys.list()[0].last_used_ms;
        assert!(used > 0 && used.is_multiple_of(MINUTE_MS));
        keys.flush().await.unwrap();
        drop(keys);
        assert_eq!(open(&folder).await.list()[0].last_used_ms, used);
    }

    #[tokio::test]
    async fn bad_keys_name_the_field() {
        let folder = tempfile::tempdir().unwrap();
        let keys = open(&folder).await;
        let long = "x".repeat(65);
        for name in ["", "a b", "a\n", "é", long.as_str()] {
            let fault = keys.create(name, Role::Viewer, Vec::new()).await.unwrap_err();
            assert!(fault.message.starts_with("name:"), "{fault}");
        }
        let projects = vec![ProjectId::new(); MAX_KEY_PROJECTS + 1];
        assert!(keys.create("a", Role::Viewer, projects).await.unwrap_err().message.starts_with("projects:"));
        let scoped_admin = keys.create("a", Role::Admin, vec![ProjectId::new()]).await;
        assert!(scoped_admin.unwrap_err().message.starts_with("projects:"));
        assert!(keys.revoke("x").await.unwrap_err().message.starts_with("id:"));
        assert!(keys.list().is_empty());
    }
}
