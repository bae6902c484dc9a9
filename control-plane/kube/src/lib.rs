//! The runtime of a cluster: a project is a custom resource, and its pod one of
//! Kubernetes. Objects are made by pure functions; one task a project applies them.

pub mod crd;
pub mod image;
pub mod limits;
pub mod manifests;
pub mod service_accounts;
