//! The custom resource `projects.remora.dev/v1alpha1`: a project as Kubernetes
//! keeps it, what the API server itself refuses, and the way to and from the
//! project that the rest of Remora knows.
//!
//! Its types are lenient on purpose (plain text and numbers): one object that a
//! strict type refuses would make a list of all of them unreadable. What is wrong
//! with a value is said when it becomes a [`remora_proto_model::project::Project`].

mod convert;
mod definition;
mod record;
mod spec;
mod status;

pub use self::{
    convert::{project, project_status, spec, spec_of, status},
    definition::{FINALIZER, PROJECTS, definition},
    record::{record, record_status, refusal},
    spec::{
        Amounts, Container, Dependency, ExecAction, HttpGet, Port, Probe, Project, ProjectSpec, Quota, Resources,
        SnapshotPolicy, Storage, TcpSocket, Volume, Workspace,
    },
    status::{
        Condition, ContainerState, Deletion, Durability, Endpoint, Head, Pod, ProjectStatus, Saga, SourceObject,
        StartTimings,
    },
};
