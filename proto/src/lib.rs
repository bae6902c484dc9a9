//! The contract of Remora: generated messages and clients, the conversions into
//! validated types, the error model's way over gRPC, and capability tokens.
//!
//! Layout: [`agent::v1`] and [`control::v1`] are generated from `remora/`;
//! `convert/` holds one file per `.proto`, shared by client and server.

pub mod capability;
pub mod convert;
pub mod fault;

pub use remora_proto_model as model;

macro_rules! package {
    ($(#[$doc:meta])* $name:ident, $package:literal) => {
        $(#[$doc])*
        pub mod $name {
            /// Version 1. The prose is in the `.proto` files.
            #[allow(
                missing_docs,
                unreachable_pub,
                clippy::all,
                clippy::allow_attributes_without_reason,
                reason = "generated; the documentation is in the .proto files"
            )]
            pub mod v1 {
                tonic::include_proto!($package);
            }
        }
    };
}

package!(
    /// The agent's API.
    agent, "remora.agent.v1"
);
package!(
    /// The control plane's API.
    control, "remora.control.v1"
);
package!(
    /// The protocol between the agent and the shims. Internal.
    shim, "remora.shim.v1"
);

/// The compiled descriptors of every file of the contract, for reflection and
/// for tests that enumerate methods.
pub const DESCRIPTORS: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/descriptors.bin"));
