//! Values that every side of Remora shares and that carry no transport: the
//! error model, identifiers, the capability that authorises a call, and the
//! table that says which verb a method needs.
//!
//! This crate exists so that the engines (`agent/*`) and the pure domain
//! (`control-plane/project`) can speak these types without importing tonic.

mod access_token;
mod capability;
mod fault;
mod ids;
pub mod project;
mod reason;
mod verb;

pub use access_token::AccessToken;
pub use capability::{Capability, CapabilityError, PathPrefix};
pub use fault::{Effect, Fault, errno_reason};
pub use ids::{ContainerName, Generation, IdError, IdempotencyKey, ProjectId, ProjectName, SessionId, UserId};
pub use reason::{GrpcCode, Reason};
pub use verb::{METHODS, Verb, verb_of};
