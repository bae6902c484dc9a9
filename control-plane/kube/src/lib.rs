//! The runtime of a cluster: what a project is in Kubernetes, and what makes it
//! so. Nothing else in Remora knows kube.

mod api;
mod apply;
mod cluster;
mod connection;
pub mod crd;
pub mod defaults;
pub mod image;
pub mod lease;
pub mod limits;
pub mod manifests;
mod orphans;
mod pods;
mod records;
pub mod secrets;
mod seen;
pub mod service_accounts;

pub use cluster::{Cluster, KubeRuntime, client};
pub use connection::client_of;
pub use records::KubeRecords;
pub use secrets::{SecretRows, Secrets};
