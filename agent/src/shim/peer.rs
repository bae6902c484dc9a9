//! Who may call the shim: whoever knows its secret.

use remora_proto::{
    fault::to_status,
    model::{Fault, Reason},
};
use tonic::{Request, Status, service::Interceptor};

/// The metadata that carries the secret.
pub const SECRET_METADATA: &str = "remora-shim-secret";

/// Lets a call through that carries the secret.
#[derive(Clone)]
pub(super) struct Guard {
    digest: blake3::Hash,
}

impl Guard {
    pub(super) fn new(secret: &[u8]) -> Self {
        Guard { digest: blake3::hash(secret.trim_ascii()) }
    }
}

impl Interceptor for Guard {
    fn call(&mut self, request: Request<()>) -> Result<Request<()>, Status> {
        let Some(given) = request.metadata().get(SECRET_METADATA) else {
            return Err(to_status(&Fault::new(Reason::CredentialsMissing, "the shim's secret is missing")));
        };
        // Digests compare in constant time and say nothing about the secret's length.
        if blake3::hash(given.as_bytes()) != self.digest {
            return Err(to_status(&Fault::new(Reason::CredentialsInvalid, "the shim's secret is another one")));
        }
        Ok(request)
    }
}
