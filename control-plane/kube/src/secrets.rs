//! What the control plane keeps in Secrets of its own namespace: its identity,
//! made once by whichever replica is first, and rows that all replicas share.

use std::collections::BTreeMap;

use futures_util::{StreamExt as _, stream::BoxStream};
use k8s_openapi::{ByteString, api::core::v1::Secret};
use kube::{
    Api, Client,
    api::{Patch, PatchParams, PostParams},
    runtime::{
        WatchStreamExt as _,
        watcher::{self, Event},
    },
};
use remora_control_plane_runtime::identity::{Identity, Material};
use remora_proto_model::{Fault, Reason};
use serde_json::json;
use tracing::warn;

use crate::api::{MANAGER, failed, is, watching};

/// Holds the CA and the key that signs tokens.
pub const IDENTITY: &str = "remora-identity";
/// Holds the hashes of the API keys.
pub const API_KEYS: &str = "remora-api-keys";
/// Holds the hashes of the access tokens, and what they allow.
pub const ACCESS_TOKENS: &str = "remora-access-tokens";
/// Holds the first admin key.
pub const ADMIN_KEY: &str = "remora-admin-key";

/// The Secrets of one namespace.
#[derive(Clone, Debug)]
pub struct Secrets {
    api: Api<Secret>,
}

impl Secrets {
    /// Those of `namespace`, which is the control plane's own.
    pub fn new(client: Client, namespace: &str) -> Secrets {
        Secrets { api: Api::namespaced(client, namespace) }
    }

    /// The identity that all replicas have, made at the first time.
    pub async fn identity(&self) -> Result<Identity, Fault> {
        let fresh = Material::fresh()?;
        let data = BTreeMap::from([
            ("ca.key".to_owned(), ByteString(fresh.ca_key)),
            ("ca.crt".to_owned(), ByteString(fresh.ca_certificate)),
            ("token.key".to_owned(), ByteString(fresh.token_key)),
        ]);
        let mut data = self.once(IDENTITY, data).await?;
        let mut part = |name: &str| {
            data.remove(name).map(|bytes| bytes.0).ok_or_else(|| {
                Fault::new(Reason::FailedPrecondition, format!("the Secret {IDENTITY} has no {name}")).hint(
                    "restore it from a copy; without it no agent that runs can be spoken to, so hibernate all projects \
                     by kubectl before you remove it",
                )
            })
        };
        Identity::of(Material {
            ca_key: part("ca.key")?,
            ca_certificate: part("ca.crt")?,
            token_key: part("token.key")?,
        })
    }

    /// The first admin key: `fresh` where there is none yet.
    pub async fn admin_key(&self, fresh: String) -> Result<String, Fault> {
        let data = BTreeMap::from([("key".to_owned(), ByteString(fresh.into_bytes()))]);
        let mut data = self.once(ADMIN_KEY, data).await?;
        let key = data.remove("key").and_then(|bytes| String::from_utf8(bytes.0).ok());
        key.map(|key| key.trim().to_owned()).ok_or_else(|| {
            Fault::new(Reason::FailedPrecondition, format!("the Secret {ADMIN_KEY} has no text under \"key\""))
                .hint("remove it; the next start makes another admin key")
        })
    }

    /// Rows under one name.
    pub fn rows(&self, name: &'static str) -> SecretRows {
        SecretRows { api: self.api.clone(), name }
    }

    /// What the Secret `name` holds; `data` where it was not there.
    async fn once(
        &self,
        name: &str,
        data: BTreeMap<String, ByteString>,
    ) -> Result<BTreeMap<String, ByteString>, Fault> {
        let what = format!("make Secret {name}");
        let found = self.api.get_opt(name).await.map_err(|error| failed(&format!("read Secret {name}"), error))?;
        if let Some(found) = found {
            return Ok(found.data.unwrap_or_default());
        }
        let secret = named(name, data.clone());
        match self.api.create(&PostParams::default(), &secret).await {
            Ok(_) => Ok(data),
            // Another replica was first.
            Err(error) if is(&error, 409) => {
                let found = self.api.get(name).await.map_err(|error| failed(&what, error))?;
                Ok(found.data.unwrap_or_default())
            }
            Err(error) => Err(failed(&what, error)),
        }
    }
}

fn named(name: &str, data: BTreeMap<String, ByteString>) -> Secret {
    let mut secret = Secret { data: Some(data), type_: Some("Opaque".to_owned()), ..Secret::default() };
    secret.metadata.name = Some(name.to_owned());
    secret.metadata.labels = Some(BTreeMap::from([
        ("app.kubernetes.io/managed-by".to_owned(), "remora".to_owned()),
        ("app.kubernetes.io/part-of".to_owned(), "remora".to_owned()),
    ]));
    secret
}

/// A Secret as a table: a row a key. Each change names the rows that it is about,
/// so that two replicas never undo each other's.
#[derive(Clone, Debug)]
pub struct SecretRows {
    api: Api<Secret>,
    name: &'static str,
}

impl SecretRows {
    /// Every row.
    pub async fn all(&self) -> Result<Vec<(String, Vec<u8>)>, Fault> {
        let found = self.api.get_opt(self.name).await;
        let found = found.map_err(|error| failed(&format!("read Secret {}", self.name), error))?;
        Ok(found.map(rows).unwrap_or_default())
    }

    /// Keeps rows, in the place of those of the same id.
    pub async fn put(&self, rows: Vec<(String, Vec<u8>)>) -> Result<(), Fault> {
        let data: BTreeMap<String, ByteString> = rows.into_iter().map(|(id, row)| (id, ByteString(row))).collect();
        let patch = json!({ "data": data });
        let what = format!("change Secret {}", self.name);
        for _ in 0..2 {
            match self.api.patch(self.name, &PatchParams::default(), &Patch::Merge(&patch)).await {
                Ok(_) => return Ok(()),
                Err(error) if is(&error, 404) => {}
                Err(error) => return Err(failed(&what, error)),
            }
            match self.api.create(&params(), &named(self.name, data.clone())).await {
                Ok(_) => return Ok(()),
                // Another replica made it meanwhile: it is there to be changed.
                Err(error) if is(&error, 409) => {}
                Err(error) => return Err(failed(&what, error)),
            }
        }
        Err(Fault::new(Reason::Conflict, format!("the Secret {} comes and goes", self.name)).hint("try again"))
    }

    /// Removes a row, if it is there.
    pub async fn remove(&self, id: &str) -> Result<(), Fault> {
        let patch = json!({ "data": { id: null } });
        match self.api.patch(self.name, &PatchParams::default(), &Patch::Merge(patch)).await {
            Err(error) if is(&error, 404) => Ok(()),
            done => done.map(drop).map_err(|error| failed(&format!("change Secret {}", self.name), error)),
        }
    }

    /// All rows, after each change: what another replica revoked is known here within 35 s,
    /// whatever became of the connection.
    pub fn feed(&self) -> BoxStream<'static, Vec<(String, Vec<u8>)>> {
        // By its name alone it may be watched (RBAC, resourceNames).
        let one = watching().fields(&format!("metadata.name={}", self.name));
        let events = watcher::watcher(self.api.clone(), one).default_backoff();
        let mut is_listed = false;
        let rows = move |event: Result<Event<Secret>, watcher::Error>| {
            let rows = match event {
                Ok(Event::Init) => {
                    is_listed = false;
                    None
                }
                Ok(Event::InitApply(secret)) => {
                    is_listed = true;
                    Some(self::rows(secret))
                }
                Ok(Event::Apply(secret)) => Some(self::rows(secret)),
                Ok(Event::InitDone) => (!is_listed).then(Vec::new),
                Ok(Event::Delete(_)) => Some(Vec::new()),
                Err(error) => {
                    warn!(%error, "a Secret cannot be followed; another attempt is made");
                    None
                }
            };
            std::future::ready(rows)
        };
        events.filter_map(rows).boxed()
    }
}

fn params() -> PostParams {
    PostParams { field_manager: Some(MANAGER.to_owned()), ..PostParams::default() }
}

fn rows(secret: Secret) -> Vec<(String, Vec<u8>)> {
    secret.data.unwrap_or_default().into_iter().map(|(id, row)| (id, row.0)).collect()
}
