//! What a project becomes in a cluster, as pure functions from the project to
//! the objects of Kubernetes. Nothing here asks or tells an API server.
//!
//! A name that people choose reaches an object only after it was parsed into a
//! type whose grammar is that of a label; other text (commands, variables,
//! patterns) only as an argument or a value that no shell reads, with `$` doubled,
//! because Kubernetes would put variables in its place.

mod accepts;
mod context;
mod credentials;
mod deployments;
mod environment;
mod labels;
mod namespace;
mod network;
mod place;
mod pod;
mod preset;
mod routes;
mod routing;
mod secrets;
mod services;
mod text;
mod volume;

pub use self::{
    accepts::{accepts, has_a_place},
    context::{AgentMaterial, Context, EncryptionKey, Settings, agent_secret_name, pod_name},
    credentials::{credentials, credentials_name},
    deployments::{container_of, deployments, made_of},
    labels::{COMPONENT, CONTAINER, GENERATION, MANAGED_BY, MANAGER, PROJECT_ID, USER_ID},
    namespace::{limit_range, namespace, resource_quota, role_binding, service_account},
    network::network_policies,
    place::Place,
    pod::{DEHYDRATE, FINAL_SNAPSHOT, MADE, at_rest, made, pod},
    preset::image,
    routes::{DECIDED_HEADERS, ROUTE, ROUTES, address, route_kinds, routes, tls_secret, tls_secret_name},
    routing::{Controller, Gate, Rate, Routing, Tls, Way},
    secrets::{agent_secret, store_secret},
    services::services,
    volume::{data_claims, data_name, volume_claim},
};

pub(crate) use self::{namespace::QUOTA, secrets::STORE_SECRET, volume::WORKSPACE};
