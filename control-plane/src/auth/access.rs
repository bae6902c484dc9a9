//! Access tokens: `rmt_` and 256 random bits, for programs that work in one
//! project and may do a part of what their maker may. Kept is only a hash, as of
//! API keys.
//!
//! A token is looked up with each call, so that revoking it holds at once, here
//! and at every replica that follows the same store. One that is not known is
//! looked for in the store first: another replica may have made it a moment ago.
//! It outlives restarts of the server and generations of its project. What reaches an agent is a capability
//! of minutes that the server makes for it.

use std::{
    collections::HashMap,
    sync::{
        Arc, PoisonError, RwLock, RwLockReadGuard,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use futures_util::StreamExt as _;
use remora_proto_model::{AccessToken, Fault, ProjectId, Reason};
use serde::{Deserialize, Serialize};
use tokio::time::{Instant, sleep_until};
use uuid::Uuid;

use super::{
    is_secret,
    keys::{KeyStore, Rows, now_ms},
    tokens::Wanted,
};
use crate::limits::{MAX_PROJECT_TOKENS, MAX_TOKEN_ROW_BYTES, MAX_TOKENS};

/// What every access token begins with, so that scanners for leaked secrets know it.
pub(crate) const PREFIX: &str = "rmt_";
/// Time between two looks into the store for tokens that are not known: what guesses cost it at most.
const LOOK_AGAIN: Duration = Duration::from_millis(250);
/// Attempts of a look that what the store tells by itself overtakes.
const LOOKS: usize = 3;

type Hash = [u8; 32];
type ByHash = HashMap<Hash, Arc<AccessToken>>;

/// The stored form. Frozen: fields are added with a default, never renamed.
#[derive(Serialize, Deserialize)]
struct Record {
    token: AccessToken,
    hash: String,
}

/// The access tokens of a server.
pub(crate) struct AccessTokens {
    store: Arc<dyn KeyStore>,
    by_hash: RwLock<ByHash>,
    /// How often the store has told what is in it. A look that began before the last time is no news.
    told: AtomicU64,
    /// One change at a time, from the check to the write.
    changes: tokio::sync::Mutex<()>,
    /// The last look into the store: when it began, and what came of it.
    looked: tokio::sync::Mutex<Option<(Instant, Result<(), Fault>)>>,
}

impl AccessTokens {
    /// The tokens in `store`.
    pub(crate) async fn open(store: Arc<dyn KeyStore>) -> Result<Self, Fault> {
        let by_hash = RwLock::new(decoded(store.all().await?)?);
        let (changes, looked) = Default::default();
        Ok(AccessTokens { store, by_hash, told: AtomicU64::new(0), changes, looked })
    }

    /// Takes over what other replicas change, for ever; returns at once where nobody else can.
    pub(crate) async fn follow(&self) {
        let Some(mut feed) = self.store.feed() else { return };
        while let Some(rows) = feed.next().await {
            match decoded(rows) {
                Ok(tokens) => {
                    let mut by_hash = self.by_hash.write().unwrap_or_else(PoisonError::into_inner);
                    *by_hash = tokens;
                    self.told.fetch_add(1, Ordering::SeqCst);
                }
                Err(fault) => tracing::error!(%fault, "the access tokens cannot be read; those known before stay"),
            }
        }
    }

    /// Whose token `secret` is, where it has not expired.
    pub(crate) async fn authenticate(&self, secret: &str) -> Result<Arc<AccessToken>, Fault> {
        let known = if is_secret(PREFIX, secret) { self.find(&hash(secret)).await? } else { None };
        let token = known.ok_or_else(|| {
            Fault::new(Reason::CredentialsInvalid, "the access token is not one of this server's")
                .hint("it may have been revoked or be another server's; ask for a new one")
        })?;
        if token.expires_ms <= now_ms() {
            return Err(Fault::new(Reason::CredentialsExpired, "the access token has expired")
                .hint("ask for a new one, with a longer time where the work takes longer"));
        }
        Ok(token)
    }

    /// The token of that hash, if the store has it.
    async fn find(&self, hash: &Hash) -> Result<Option<Arc<AccessToken>>, Fault> {
        let known = self.by_hash().get(hash).cloned();
        if known.is_some() {
            return Ok(known);
        }
        self.look().await?;
        Ok(self.by_hash().get(hash).cloned())
    }

    /// Takes over what is in the store. All who ask while one waits have one look, which began after they asked.
    async fn look(&self) -> Result<(), Fault> {
        let asked = Instant::now();
        let mut looked = self.looked.lock().await;
        if let Some((began, outcome)) = &*looked {
            if *began > asked {
                return outcome.clone();
            }
            sleep_until(*began + LOOK_AGAIN).await;
        }
        let began = Instant::now();
        let outcome = self.read().await;
        *looked = Some((began, outcome.clone()));
        outcome
    }

    async fn read(&self) -> Result<(), Fault> {
        let _change = self.changes.lock().await;
        for _ in 0..LOOKS {
            let told = self.told.load(Ordering::SeqCst);
            let tokens = decoded(self.store.all().await?)?;
            let mut by_hash = self.by_hash.write().unwrap_or_else(PoisonError::into_inner);
            // What was told meanwhile may be newer: a token that was revoked in between must not come back.
            if self.told.load(Ordering::SeqCst) == told {
                *by_hash = tokens;
                break;
            }
        }
        Ok(())
    }

    /// Whether a token still stands: a stream outlives the check at its beginning.
    pub(crate) fn stands(&self, token: &AccessToken) -> bool {
        token.expires_ms > now_ms() && self.by_hash().values().any(|known| known.id == token.id)
    }

    /// Makes a token; the second value is its secret, which is nowhere else.
    pub(crate) async fn mint(
        &self,
        project: ProjectId,
        wanted: Wanted,
        made_by: String,
        made_by_key: Option<String>,
    ) -> Result<(AccessToken, String), Fault> {
        let now = now_ms();
        let token = AccessToken {
            id: Uuid::new_v4().to_string(),
            project,
            subject: wanted.subject,
            verbs: wanted.verbs,
            path_prefix: wanted.prefix,
            containers: wanted.containers,
            made_by,
            made_by_key,
            created_ms: now,
            expires_ms: now + u64::try_from(wanted.ttl.as_millis()).unwrap_or(u64::MAX),
        };
        let secret = format!("{PREFIX}{}", URL_SAFE_NO_PAD.encode(rand::random::<[u8; 32]>()));
        let hash = hash(&secret);
        let row = encode(&token, &hash)?;
        let _change = self.changes.lock().await;
        self.forget_expired().await?;
        let (all, of_project) = {
            let by_hash = self.by_hash();
            (by_hash.len(), by_hash.values().filter(|known| known.project == project).count())
        };
        if of_project >= MAX_PROJECT_TOKENS || all >= MAX_TOKENS {
            let (limit, what) = if all >= MAX_TOKENS {
                (MAX_TOKENS, "on this server")
            } else {
                (MAX_PROJECT_TOKENS, "of this project")
            };
            return Err(Fault::new(Reason::LimitReached, format!("there are {limit} access tokens {what} already"))
                .hint(
                    "revoke those that are no longer needed, and ask for shorter times; those that expired are gone",
                ));
        }
        self.store.put(vec![(token.id.clone(), row)]).await?;
        self.by_hash.write().unwrap_or_else(PoisonError::into_inner).insert(hash, Arc::new(token.clone()));
        Ok((token, secret))
    }

    /// The tokens of a project that have not expired, oldest first.
    pub(crate) fn of_project(&self, project: ProjectId) -> Vec<AccessToken> {
        let now = now_ms();
        let by_hash = self.by_hash();
        let tokens = by_hash.values().filter(|token| token.project == project && token.expires_ms > now);
        let mut tokens: Vec<AccessToken> = tokens.map(|token| AccessToken::clone(token)).collect();
        drop(by_hash);
        tokens.sort_by(|a, b| (a.created_ms, &a.id).cmp(&(b.created_ms, &b.id)));
        tokens
    }

    /// Ends a token of `project` that `may` be ended by whoever asks.
    pub(crate) async fn revoke(
        &self,
        project: ProjectId,
        id: &str,
        may: impl FnOnce(&AccessToken) -> Result<(), Fault>,
    ) -> Result<(), Fault> {
        let id = Uuid::try_parse(id).map_err(|_| {
            let shown: String = id.chars().take(80).collect();
            Fault::invalid("id", format!("{shown:?} is no UUID")).hint("the list of tokens has their ids")
        })?;
        let id = id.to_string();
        let _change = self.changes.lock().await;
        let found = self
            .by_hash()
            .iter()
            .find(|(_, token)| token.id == id && token.project == project)
            .map(|(hash, token)| (*hash, Arc::clone(token)));
        let (hash, token) = found.ok_or_else(|| {
            Fault::new(Reason::NotFound, format!("the project has no access token {id}"))
                .hint("it may have expired; the list of tokens has the ids of those that stand")
        })?;
        may(&token)?;
        self.store.remove(id).await?;
        self.by_hash.write().unwrap_or_else(PoisonError::into_inner).remove(&hash);
        Ok(())
    }

    async fn forget_expired(&self) -> Result<(), Fault> {
        let now = now_ms();
        let expired: Vec<(Hash, String)> = self
            .by_hash()
            .iter()
            .filter(|(_, token)| token.expires_ms <= now)
            .map(|(hash, token)| (*hash, token.id.clone()))
            .collect();
        for (hash, id) in expired {
            self.store.remove(id).await?;
            self.by_hash.write().unwrap_or_else(PoisonError::into_inner).remove(&hash);
        }
        Ok(())
    }

    fn by_hash(&self) -> RwLockReadGuard<'_, ByHash> {
        self.by_hash.read().unwrap_or_else(PoisonError::into_inner)
    }
}

fn encode(token: &AccessToken, hash: &Hash) -> Result<Vec<u8>, Fault> {
    let record = Record { token: token.clone(), hash: hex::encode(hash) };
    let row = serde_json::to_vec(&record)
        .map_err(|error| Fault::new(Reason::Internal, format!("an access token: {error}")))?;
    if row.len() > MAX_TOKEN_ROW_BYTES {
        return Err(Fault::new(
            Reason::TooLarge,
            format!("the token's names take {} bytes; at most {MAX_TOKEN_ROW_BYTES}", row.len()),
        )
        .hint("give a shorter pathPrefix or fewer containers"));
    }
    Ok(row)
}

fn decoded(rows: Rows) -> Result<ByHash, Fault> {
    let row = |(id, record): (String, Vec<u8>)| {
        let damaged = || Fault::new(Reason::Internal, format!("the stored access token {id} is damaged"));
        let record: Record = serde_json::from_slice(&record).map_err(|_| damaged())?;
        let hash = hex::decode(&record.hash).ok().and_then(|bytes| bytes.try_into().ok()).ok_or_else(damaged)?;
        Ok((hash, Arc::new(record.token)))
    };
    rows.into_iter().map(row).collect()
}

fn hash(secret: &str) -> Hash {
    *blake3::hash(secret.as_bytes()).as_bytes()
}

#[cfg(test)]
mod tests {
    use remora_control_plane_runtime::State;
    use remora_proto_model::Verb;

    use super::*;
    use crate::auth::{SECRET_CHARACTERS, keys::Table};

    async fn open(folder: &tempfile::TempDir) -> AccessTokens {
        let state = State::open(folder.path()).await.unwrap();
        AccessTokens::open(Arc::new(Table::access_tokens(state))).await.unwrap()
    }

    fn wanted(seconds: u64) -> Wanted {
        Wanted {
            subject: "bot".to_owned(),
            verbs: vec![Verb::FileRead],
            prefix: Some("a/b".to_owned().try_into().unwrap()),
            containers: Some(vec!["dev".parse().unwrap()]),
            ttl: Duration::from_secs(seconds),
        }
    }

    async fn mint(tokens: &AccessTokens, project: ProjectId, seconds: u64) -> Result<(AccessToken, String), Fault> {
        tokens.mint(project, wanted(seconds), "ann".to_owned(), Some("1".to_owned())).await
    }

    #[tokio::test]
    async fn a_token_survives_whole_and_its_secret_is_not_stored() {
        let folder = tempfile::tempdir().unwrap();
        let project = ProjectId::new();
        let (token, secret) = mint(&open(&folder).await, project, 60).await.unwrap();
        assert_eq!((secret.len(), &secret[..4]), (47, "rmt_"));
        let tokens = open(&folder).await;
        assert_eq!(*tokens.authenticate(&secret).await.unwrap(), token);
        assert_eq!(tokens.of_project(project), [token]);
        assert_eq!(tokens.of_project(ProjectId::new()), []);
        drop(tokens);
        let stored = std::fs::read(folder.path().join("state.redb")).unwrap();
        let random = &secret.as_bytes()[4..];
        assert!(!stored.windows(random.len()).any(|window| window == random), "the secret is in the store");
    }

    #[tokio::test]
    async fn a_token_that_another_replica_made_is_known_with_the_first_call() {
        let folder = tempfile::tempdir().unwrap();
        let state = State::open(folder.path()).await.unwrap();
        let replica = async || AccessTokens::open(Arc::new(Table::access_tokens(state.clone()))).await.unwrap();
        let (one, other) = (replica().await, replica().await);
        let project = ProjectId::new();
        for _ in 0..3 {
            let (token, secret) = mint(&one, project, 60).await.unwrap();
            assert_eq!(*other.authenticate(&secret).await.unwrap(), token);
            one.revoke(project, &token.id, |_| Ok(())).await.unwrap();
            assert_eq!(one.authenticate(&secret).await.unwrap_err().reason, Reason::CredentialsInvalid);
        }
    }

    #[tokio::test]
    async fn guesses_cost_the_store_four_looks_a_second() {
        let folder = tempfile::tempdir().unwrap();
        let tokens = open(&folder).await;
        let began = Instant::now();
        let guess = |at: usize| format!("{PREFIX}{at:0>SECRET_CHARACTERS$}");
        for at in 0..4 {
            let guesses: Vec<_> = (0..100).map(|nth| guess(100 * at + nth)).collect();
            let answers = futures_util::future::join_all(guesses.iter().map(|guess| tokens.authenticate(guess))).await;
            assert!(answers.iter().all(|answer| answer.is_err()));
        }
        assert!(began.elapsed() >= 3 * LOOK_AGAIN, "{:?}", began.elapsed());
    }

    #[tokio::test]
    async fn a_secret_that_is_not_exactly_a_token_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let tokens = open(&folder).await;
        let (_, secret) = mint(&tokens, ProjectId::new(), 60).await.unwrap();
        for bad in ["", "rmt_", &secret[..46], &format!("{secret}A"), &secret.replace("rmt_", "rmk_")] {
            assert_eq!(tokens.authenticate(bad).await.unwrap_err().reason, Reason::CredentialsInvalid, "{bad}");
        }
    }

    #[tokio::test]
    async fn a_token_ends_with_its_time_and_makes_room() {
        let folder = tempfile::tempdir().unwrap();
        let tokens = open(&folder).await;
        let project = ProjectId::new();
        let (token, secret) = mint(&tokens, project, 0).await.unwrap();
        assert_eq!(tokens.authenticate(&secret).await.unwrap_err().reason, Reason::CredentialsExpired);
        assert!(!tokens.stands(&token) && tokens.of_project(project).is_empty());
        for _ in 0..MAX_PROJECT_TOKENS {
            mint(&tokens, project, 60).await.unwrap();
        }
        let fault = mint(&tokens, project, 60).await.unwrap_err();
        assert_eq!(fault.reason, Reason::LimitReached, "the expired one does not count: {fault}");
        mint(&tokens, ProjectId::new(), 60).await.unwrap();
        assert_eq!(
            tokens.authenticate(&secret).await.unwrap_err().reason,
            Reason::CredentialsInvalid,
            "it is forgotten"
        );
    }

    #[tokio::test]
    async fn a_revoked_token_is_gone_for_good_and_only_where_it_is() {
        let folder = tempfile::tempdir().unwrap();
        let tokens = open(&folder).await;
        let project = ProjectId::new();
        let (token, secret) = mint(&tokens, project, 60).await.unwrap();
        let allowed = |_: &AccessToken| Ok(());
        let elsewhere = tokens.revoke(ProjectId::new(), &token.id, allowed).await.unwrap_err();
        assert_eq!(elsewhere.reason, Reason::NotFound);
        let forbidden = |_: &AccessToken| Err(Fault::new(Reason::RoleNotGranted, "no"));
        assert_eq!(tokens.revoke(project, &token.id, forbidden).await.unwrap_err().reason, Reason::RoleNotGranted);
        assert!(tokens.stands(&token));
        tokens.revoke(project, &token.id, allowed).await.unwrap();
        assert!(!tokens.stands(&token));
        assert_eq!(tokens.revoke(project, &token.id, allowed).await.unwrap_err().reason, Reason::NotFound);
        drop(tokens);
        assert!(open(&folder).await.authenticate(&secret).await.is_err());
    }

    #[tokio::test]
    async fn a_row_has_a_bound() {
        let folder = tempfile::tempdir().unwrap();
        let tokens = open(&folder).await;
        let long = Wanted { prefix: Some("x".repeat(2_000).try_into().unwrap()), ..wanted(60) };
        let fault = tokens.mint(ProjectId::new(), long, "ann".to_owned(), None).await.unwrap_err();
        assert_eq!(fault.reason, Reason::TooLarge);
    }
}
