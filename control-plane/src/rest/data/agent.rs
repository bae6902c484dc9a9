//! What the handlers of the data plane take from a request: the way to the agent
//! first, so that nobody else's body is read.

use axum::extract::FromRequestParts;
use bytes::Bytes;
use http::{header::AUTHORIZATION, request::Parts};
use remora_proto::{
    agent::v1::{
        exec_service_client::ExecServiceClient, file_service_client::FileServiceClient,
        terminal_service_client::TerminalServiceClient,
    },
    fault::from_status,
};
use remora_proto_model::{Fault, Reason};
use tonic::{Response, Status};

use super::path_bytes::{decoded, parts};
use crate::{
    audit::Entry,
    limits::MAX_MESSAGE_BYTES,
    proxy::Through,
    rest::{Shared, problem::Refused},
};

/// The agent of the project in the path, for whoever calls.
pub(in crate::rest) struct Agent {
    through: Through,
    project: String,
}

impl FromRequestParts<Shared> for Agent {
    type Rejection = Refused;

    async fn from_request_parts(request: &mut Parts, shared: &Shared) -> Result<Self, Refused> {
        let found = async {
            let entry = request.extensions.get::<Entry>().cloned();
            let identity = shared.control.identity(&request.headers).await?;
            if let Some(entry) = &entry {
                entry.who(&identity);
            }
            let authorization = request
                .headers
                .get(AUTHORIZATION)
                .ok_or_else(|| Fault::new(Reason::CredentialsMissing, "the call carries no credentials"))?;
            let (project, _) = parts(request.uri.path())?;
            let through = Through::new(shared.proxy.clone(), authorization, &project, entry)?;
            Ok(Agent { through, project })
        };
        found.await.map_err(|fault: Fault| {
            shared.metrics.refused(fault.reason);
            tracing::info!(path = request.uri.path(), reason = %fault.reason, error = %fault, "call refused");
            Refused(fault)
        })
    }
}

impl Agent {
    pub(in crate::rest) fn files(&self) -> FileServiceClient<Through> {
        FileServiceClient::new(self.through.clone()).max_decoding_message_size(MAX_MESSAGE_BYTES)
    }

    pub(in crate::rest) fn commands(&self) -> ExecServiceClient<Through> {
        ExecServiceClient::new(self.through.clone()).max_decoding_message_size(MAX_MESSAGE_BYTES)
    }

    pub(in crate::rest) fn terminals(&self) -> TerminalServiceClient<Through> {
        TerminalServiceClient::new(self.through.clone()).max_decoding_message_size(MAX_MESSAGE_BYTES)
    }

    /// A path of this project's, for a text that says what to call next.
    pub(in crate::rest) fn link(&self, below: &str) -> String {
        format!("/api/v1/projects/{}/{below}", self.project)
    }
}

/// What the path names after `files/`, as bytes.
pub(in crate::rest) struct Target(pub(in crate::rest) Bytes);

impl FromRequestParts<Shared> for Target {
    type Rejection = Refused;

    async fn from_request_parts(request: &mut Parts, _: &Shared) -> Result<Self, Refused> {
        let (_, rest) = parts(request.uri.path())?;
        Ok(Target(decoded(rest)?.into()))
    }
}

/// The id in `/api/v1/projects/{name}/{kind}/{id}`.
pub(in crate::rest) struct Id(pub(in crate::rest) String);

impl FromRequestParts<Shared> for Id {
    type Rejection = Refused;

    async fn from_request_parts(request: &mut Parts, _: &Shared) -> Result<Self, Refused> {
        let (_, rest) = parts(request.uri.path())?;
        let id = rest.split('/').next().unwrap_or_default();
        let id = String::from_utf8(decoded(id)?).map_err(|_| Fault::invalid("id", "is no UTF-8"))?;
        Ok(Id(id))
    }
}

/// The answer of a call, or the agent's own reason.
pub(in crate::rest) fn answer<T>(answered: Result<Response<T>, Status>) -> Result<T, Fault> {
    answered.map(Response::into_inner).map_err(|status| from_status(&status))
}
