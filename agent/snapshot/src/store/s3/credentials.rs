//! Why a request had no credentials, in words and in kind: a token service that
//! refuses is not one that does not answer.

use std::{error::Error, io, iter::successors};

use aws_credential_types::provider::error::CredentialsError;
use aws_sdk_s3::error::{DisplayErrorContext, ProvideErrorMetadata as _, SdkError};
use aws_sdk_sts::operation::assume_role_with_web_identity::AssumeRoleWithWebIdentityError;

/// There are no credentials to sign a request with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Missing {
    /// Why.
    pub(super) detail: String,
    /// Whether the same question may have another answer a moment later.
    pub(super) for_now: bool,
}

/// What `error` says of credentials, where it is that there are none.
pub(super) fn missing(error: &(dyn Error + 'static)) -> Option<Missing> {
    let mut chain = successors(Some(error), |error| (*error).source());
    let error = chain.find_map(|error| error.downcast_ref::<CredentialsError>())?;
    let mut causes = successors(error.source(), |error| (*error).source());
    let refusal = causes.find_map(|cause| cause.downcast_ref::<SdkError<AssumeRoleWithWebIdentityError>>());
    if let Some(refusal) = refusal {
        return Some(of_token_service(refusal));
    }
    let unreadable = error.source().and_then(|cause| cause.downcast_ref::<io::Error>());
    Some(match (error, unreadable) {
        (CredentialsError::ProviderError(_), Some(problem)) => {
            Missing { detail: format!("the file of the token cannot be read: {problem}"), for_now: false }
        }
        _ => Missing {
            detail: format!("no credentials were found: {}", DisplayErrorContext(error)),
            for_now: matches!(error, CredentialsError::ProviderTimedOut(_) | CredentialsError::ProviderError(_)),
        },
    })
}

fn of_token_service(error: &SdkError<AssumeRoleWithWebIdentityError>) -> Missing {
    let Some(said) = error.as_service_error() else {
        let detail = format!("the token service did not answer: {}", DisplayErrorContext(error));
        return Missing { detail, for_now: true };
    };
    let status = error.raw_response().map_or(0, |raw| raw.status().as_u16());
    let (code, message) = (said.code().unwrap_or_default(), said.message().unwrap_or_default());
    // The identity provider, or the service itself, had a bad moment.
    let for_now = matches!(code, "IDPCommunicationError" | "Throttling") || matches!(status, 408 | 429 | 500..=599);
    let detail = format!("the token service does not take the token: {status} {code} {message}");
    Missing { detail: detail.trim_end().to_owned(), for_now }
}
