//! [`Projects`] put together, over this machine or over what another crate brings.

use std::{
    collections::BTreeMap,
    sync::{Arc, RwLock},
};

use remora_proto_model::Fault;
use tokio::sync::{Mutex, broadcast};
use tokio_util::task::AbortOnDropHandle;
use tracing::warn;

use super::{Inner, Projects, Settings, Table, entry::Entry, follow, lead::Lead};
use crate::{
    config::{RuntimeConfig, StoreEndpoint},
    identity::Identity,
    limits::CHANGES_BEHIND,
    local::{Local, runtime::LocalRuntime},
    pods::Runtime,
    records::Records,
    state::{State, record::Stored},
    store::Store,
};

/// What [`Projects::over`] is made of.
#[derive(Debug)]
pub struct Parts {
    /// Where records are kept.
    pub records: Arc<dyn Records>,
    /// Where pods are.
    pub runtime: Arc<dyn Runtime>,
    /// Who signs and who is signed.
    pub identity: Arc<Identity>,
    /// Where snapshots go.
    pub store: StoreEndpoint,
    /// Bounds.
    pub settings: Settings,
}

impl Projects {
    /// Opens the state in a folder of this machine, finds the projects that run,
    /// and goes on with what a server before this one had begun.
    pub async fn open(config: RuntimeConfig) -> Result<(Projects, State), Fault> {
        let state = State::open(&config.data_dir).await?;
        let identity = Arc::new(Identity::open(&state).await?);
        let store = config.store.clone();
        let settings = Settings {
            prefix: store.prefix.clone(),
            max_projects: config.max_projects,
            prune_interval: config.prune_interval,
        };
        let local = Local { config, identity: Arc::clone(&identity) };
        let parts = Parts {
            records: Arc::new(Stored(state.clone())),
            runtime: Arc::new(LocalRuntime(Arc::new(local))),
            identity,
            store,
            settings,
        };
        let projects = Projects::over(parts).await?;
        projects.lead().await;
        Ok((projects, state))
    }

    /// Knows the projects of `parts`; drives none before [`Projects::lead`].
    pub async fn over(parts: Parts) -> Result<Projects, Fault> {
        let Parts { records, runtime, identity, store, settings } = parts;
        // From before the list on, so that nothing falls between the two.
        let feed = Arc::clone(&records).feed();
        let mut table = Table { by_id: Default::default(), by_name: BTreeMap::new() };
        for record in records.all().await? {
            let kept = record.source.as_ref().map(|source| source.file.as_str());
            if feed.is_none()
                && let Err(fault) = runtime.sweep_sources(&record, kept).await
            {
                warn!(project = %record.project.id, %fault, "archives that nothing needs stay");
            }
            let entry = Arc::new(Entry::new(record));
            let project = entry.project();
            table.by_name.insert(project.name, project.id);
            table.by_id.insert(project.id, entry);
        }
        let (changes, _) = broadcast::channel(CHANGES_BEHIND);
        let inner = Arc::new(Inner {
            store: Store::new(&store),
            settings,
            records,
            runtime,
            identity,
            table: RwLock::new(table),
            changes,
            claims: Mutex::new(()),
            look_ups: Mutex::new(()),
            lead: Lead::default(),
            shared: feed.is_some(),
        });
        let follower = feed.map(|feed| {
            let following = follow::follow(Arc::clone(&inner), feed);
            Arc::new(AbortOnDropHandle::new(tokio::spawn(following)))
        });
        Ok(Projects { inner, _follower: follower })
    }
}
