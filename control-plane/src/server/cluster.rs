//! Behind the ports: a cluster.

use std::sync::Arc;

use remora_control_plane_kube::{
    Cluster, KubeRecords, KubeRuntime, client, image::Commands, lease, secrets, service_accounts::ServiceAccounts,
};
use remora_control_plane_runtime::{Parts, Projects, Settings, limits};
use remora_proto_model::project::Role;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::{Behind, Served, StartError};
use crate::{
    auth::{
        access::AccessTokens,
        keys::{Keys, new_secret},
    },
    config::ClusterPlace,
};

/// The Lease of whoever acts.
const LEASE: &str = "remora";
/// Name of the key that is made with the installation.
const ADMIN: &str = "admin";

pub(super) async fn open(place: ClusterPlace) -> Result<Behind, StartError> {
    let ClusterPlace { settings, namespace, pod_name, insecure_registries, grants } = place;
    let client = client().await?;
    let secrets = secrets::Secrets::new(client.clone(), &namespace);
    let identity = Arc::new(secrets.identity().await?);
    let keys = Arc::new(Keys::open(Arc::new(secrets.rows(secrets::API_KEYS))).await?);
    let access_tokens = Arc::new(AccessTokens::open(Arc::new(secrets.rows(secrets::ACCESS_TOKENS))).await?);
    // Where it was removed on purpose, another one is no harm: it is as hard to read as it was.
    keys.ensure(ADMIN, Role::Admin, &secrets.admin_key(new_secret()).await?).await?;
    // Where nobody has a role, no token needs to be shown to anybody.
    let accounts = (!grants.is_empty()).then(|| Arc::new(ServiceAccounts::new(client.clone(), grants)));
    let store = settings.store.clone();
    let store_name = super::store_name(&store);
    let cluster = Cluster::new(client.clone(), settings, Arc::clone(&identity), Commands::new(insecure_registries));
    let parts = Parts {
        records: Arc::new(KubeRecords::new(client.clone())),
        runtime: Arc::new(KubeRuntime::new(cluster)),
        identity,
        settings: Settings {
            prefix: store.prefix.clone(),
            max_projects: limits::MAX_PROJECTS,
            prune_interval: limits::PRUNE_INTERVAL,
        },
        store,
    };
    let projects = Projects::over(parts).await?;
    let mut served = Served::default();
    let stop = served.stop.clone();
    let led = projects.clone();
    served.tasks.push(tokio::spawn(async move {
        let (sender, leads) = watch::channel(false);
        let campaign = lease::campaign(client.clone(), &namespace, LEASE, &pod_name, &sender);
        tokio::join!(stop.run_until_cancelled(campaign), lead(&led, leads, &stop));
        // Its drivers have ended before: nobody else acts while they do.
        if let Err(fault) = lease::release(client, &namespace, LEASE, &pod_name).await {
            tracing::warn!(%fault, "the next leader has to wait for the end of the Lease");
        }
    }));
    Ok(Behind { projects, keys, access_tokens, accounts, store_name, data_dir: None, admin_key: None, served })
}

/// Acts on the projects while this replica leads.
async fn lead(projects: &Projects, mut leads: watch::Receiver<bool>, stop: &CancellationToken) {
    while let Some(Ok(())) = stop.run_until_cancelled(leads.changed()).await {
        if *leads.borrow_and_update() {
            projects.lead().await;
        } else {
            projects.yield_lead().await;
        }
    }
}
