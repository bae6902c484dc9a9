//! Credentials for a token: the role of a [`WebIdentity`] is taken with what is in
//! its file at that moment, again each time that the last credentials run out.

use std::{error::Error, fs, time::SystemTime};

use aws_credential_types::{
    Credentials,
    provider::{self, ProvideCredentials, error::CredentialsError, future},
};
use aws_sdk_s3::error::DisplayErrorContext;
use aws_sdk_sts::{
    Client, Config,
    error::{ProvideErrorMetadata as _, SdkError},
    operation::assume_role_with_web_identity::AssumeRoleWithWebIdentityError,
};
use remora_proto_model::Reason;

use crate::config::WebIdentity;

/// What the token service's own log calls this server.
const SESSION_NAME: &str = "remora-control-plane";

/// See the module.
#[derive(Debug)]
pub(super) struct WebIdentityProvider {
    sts: Client,
    identity: WebIdentity,
}

/// Why a role was not given.
#[derive(Debug, thiserror::Error)]
enum Refused {
    #[error("the token in {0} cannot be read: {1}")]
    Unreadable(String, std::io::Error),
    #[error("the token service does not give the role {role}: {detail}")]
    Denied { role: String, detail: String },
    #[error("the token service has no answer: {0}")]
    Unavailable(String),
}

impl WebIdentityProvider {
    /// A provider whose requests are like those of `store`.
    pub(super) fn new(identity: &WebIdentity, store: &aws_sdk_s3::config::Builder) -> Self {
        let store = store.clone().build();
        let mut config = Config::builder();
        config.set_behavior_version(Some(aws_sdk_sts::config::BehaviorVersion::latest()));
        config.set_region(store.region().cloned());
        config.set_http_client(store.http_client());
        config.set_retry_config(store.retry_config().cloned());
        config.set_timeout_config(store.timeout_config().cloned());
        config.set_endpoint_url(identity.sts_endpoint.clone());
        WebIdentityProvider { sts: Client::from_conf(config.build()), identity: identity.clone() }
    }

    async fn assume(&self) -> provider::Result {
        let WebIdentity { role_arn, token_file, .. } = &self.identity;
        let token = fs::read_to_string(token_file).map_err(|error| {
            CredentialsError::provider_error(Refused::Unreadable(token_file.display().to_string(), error))
        })?;
        let answer = self
            .sts
            .assume_role_with_web_identity()
            .role_arn(role_arn)
            .role_session_name(SESSION_NAME)
            .web_identity_token(token.trim())
            .send()
            .await
            .map_err(|error| CredentialsError::provider_error(refused(role_arn, &error)))?;
        let given = answer
            .credentials
            .ok_or_else(|| CredentialsError::unhandled("the token service's answer holds no credentials"))?;
        let until = SystemTime::try_from(given.expiration).map_err(CredentialsError::unhandled)?;
        let (id, secret, session) = (given.access_key_id, given.secret_access_key, given.session_token);
        Ok(Credentials::new(id, secret, Some(session), Some(until), "web-identity"))
    }
}

impl ProvideCredentials for WebIdentityProvider {
    fn provide_credentials<'a>(&'a self) -> future::ProvideCredentials<'a>
    where
        Self: 'a,
    {
        future::ProvideCredentials::new(self.assume())
    }
}

fn refused(role: &str, error: &SdkError<AssumeRoleWithWebIdentityError>) -> Refused {
    let Some(said) = error.as_service_error() else {
        return Refused::Unavailable(DisplayErrorContext(error).to_string());
    };
    let (code, message) = (said.code().unwrap_or_default(), said.message().unwrap_or_default());
    let status = error.raw_response().map_or(0, |raw| raw.status().as_u16());
    let detail = format!("{status} {code} {message}").trim_end().to_owned();
    // The identity provider, or the service itself, had a bad moment.
    match (code, status) {
        ("IDPCommunicationError" | "Throttling", _) | (_, 408 | 429 | 500..=599) => Refused::Unavailable(detail),
        _ => Refused::Denied { role: role.to_owned(), detail },
    }
}

/// What to tell of `error`, where it is that there were no credentials to ask the store with.
pub(super) fn no_credentials(error: &(dyn Error + 'static)) -> Option<(Reason, String)> {
    let mut chain = std::iter::successors(Some(error), |error| (*error).source());
    let refused = chain.find_map(|error| error.downcast_ref::<Refused>())?;
    let reason = match refused {
        Refused::Unreadable(..) | Refused::Denied { .. } => Reason::StoreDenied,
        Refused::Unavailable(_) => Reason::StoreUnavailable,
    };
    Some((reason, refused.to_string()))
}
