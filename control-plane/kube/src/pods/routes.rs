//! A project's ways in from outside: made, kept and removed as its spec says, while its
//! pods go on. What is wanted is decided in `manifests/routes.rs`.

mod objects;

use std::{collections::BTreeMap, time::Duration};

use k8s_openapi::api::core::v1::Secret;
use kube::{Api, core::DynamicObject};
use remora_control_plane_runtime::records::Record;
use remora_proto_model::{Fault, Generation, Reason};
use tokio::time::Instant;

use self::objects::{Brought, Objects};
use super::KubePods;
use crate::{
    api::failed,
    limits::{ROUTES_DRAIN, ROUTES_LOOK, ROUTES_RETRY},
    manifests::{self, Context, Routing},
};

/// What was brought about last.
pub(super) struct Routed {
    /// Of what.
    wanted: String,
    at: Instant,
    /// How long it holds.
    rest: Duration,
    fault: Option<Fault>,
}

impl KubePods {
    /// [`KubePods::bring_routes`] where something changed, and from time to time: a
    /// certificate may be another one, and somebody else may have changed an object.
    pub(super) async fn keep_routes(&mut self, record: &Record) -> Result<(), Fault> {
        if self.cluster.settings.routing.is_none() || record.project.status.generation == Generation(0) {
            return Ok(());
        }
        let commands = BTreeMap::new();
        let context = self.context(record, record.project.status.generation, &commands);
        let wanted = serde_json::to_string(&manifests::routes(&context)).unwrap_or_default();
        if let Some(routed) = &self.routed
            && routed.wanted == wanted
            && routed.at.elapsed() < routed.rest
        {
            return routed.fault.clone().map_or(Ok(()), Err);
        }
        let brought = self.bring_routes(&context).await;
        let Brought { fault, lingers } = brought.unwrap_or_else(|fault| Brought { fault: Some(fault), lingers: false });
        let rest = match (lingers, &fault) {
            (true, _) => ROUTES_DRAIN,
            (false, Some(_)) => ROUTES_RETRY,
            (false, None) => ROUTES_LOOK,
        };
        self.routed = Some(Routed { wanted, at: Instant::now(), rest, fault: fault.clone() });
        fault.map_or(Ok(()), Err)
    }

    /// What is wanted, in place of what is there. An error is that not even what lets in too many could be removed.
    pub(super) async fn bring_routes(&self, context: &Context<'_>) -> Result<Brought, Fault> {
        let Some(routing) = &context.settings.routing else { return Ok(Brought::default()) };
        let objects = self.routes(routing);
        let mut missing = None;
        let mut wanted = manifests::routes(context);
        if let Some(name) = manifests::tls_secret_name(context) {
            match self.tls_secret(context, name).await {
                Ok(secret) => wanted.insert(0, secret),
                Err(fault) => missing = Some(fault),
            }
        }
        // A copy of a certificate is better than none while the original cannot be read.
        let Brought { fault, lingers } = objects.bring(&wanted, missing.as_ref().map(|_| "Secret")).await?;
        Ok(Brought { fault: missing.or(fault), lingers })
    }

    fn routes(&self, routing: &Routing) -> Objects<'_> {
        Objects {
            client: &self.cluster.client,
            namespace: self.place.namespace(),
            project: self.project,
            kinds: manifests::route_kinds(routing),
        }
    }

    /// Asks for the end of all of them, where the settings have routes; what was there still, in words.
    pub(super) async fn remove_routes(&self) -> Result<Vec<String>, Fault> {
        match &self.cluster.settings.routing {
            Some(routing) => self.routes(routing).remove_all().await,
            None => Ok(Vec::new()),
        }
    }

    /// A copy of the certificate that the settings name.
    async fn tls_secret(&self, context: &Context<'_>, name: &str) -> Result<DynamicObject, Fault> {
        let namespace = &context.settings.control_namespace;
        let api: Api<Secret> = Api::namespaced(self.cluster.client.clone(), namespace);
        let given = api.get(name).await.map_err(|error| failed(&format!("read Secret {namespace}/{name}"), error))?;
        manifests::tls_secret(context, &given).ok_or_else(|| {
            Fault::new(
                Reason::FailedPrecondition,
                format!("the Secret {namespace}/{name} has no tls.crt or no tls.key"),
            )
            .hint("routes have their certificate from it; make it with kubectl create secret tls")
        })
    }
}
